//! Effects and wakes, as JavaScript objects.

use lameduck::{Effect, Time, Wake};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

use crate::convert;

/// One thing to do. `type` is the effect's name in snake case; the other fields are
/// those of the effect, absent where it has none.
#[napi(object, object_from_js = false)]
#[derive(Default)]
#[allow(missing_docs)]
pub struct JsEffect {
    #[napi(js_name = "type")]
    pub kind: &'static str,
    pub connection: Option<f64>,
    pub request: Option<u32>,
    pub listener: Option<u32>,
    pub hook: Option<u32>,
    pub job: Option<u32>,
    pub look: Option<bool>,
    pub ready: Option<bool>,
    pub unanswered: Option<u32>,
    pub phase: Option<&'static str>,
    pub code: Option<u32>,
}

/// When the machine wants to be ticked, and why.
#[napi(object, object_from_js = false)]
#[allow(missing_docs)]
pub struct JsWake {
    pub at: BigInt,
    pub why: &'static str,
}

pub(crate) fn wake((at, why): (Time, Wake)) -> JsWake {
    JsWake { at: BigInt::from(at.as_nanos()), why: why.name() }
}

pub(crate) fn effect(effect: Effect) -> JsEffect {
    let named = |kind| JsEffect { kind, ..JsEffect::default() };
    match effect {
        Effect::AbandonHook { hook } => JsEffect { hook: Some(hook.0), ..named("abandon_hook") },
        Effect::AbortRequests => named("abort_requests"),
        Effect::AnnounceClose { connection } => {
            JsEffect { connection: Some(convert::handle(connection)), ..named("announce_close") }
        }
        Effect::CancelJob { job } => JsEffect { job: Some(job.0), ..named("cancel_job") },
        Effect::CloseIdle { connection, look } => JsEffect {
            connection: Some(convert::handle(connection)),
            look: Some(look),
            ..named("close_idle")
        },
        Effect::CloseListener { listener } => {
            JsEffect { listener: Some(listener.0), ..named("close_listener") }
        }
        Effect::CloseLongLived { connection, request } => JsEffect {
            connection: Some(convert::handle(connection)),
            request: request.map(|request| request.0),
            ..named("close_long_lived")
        },
        Effect::Exit { code } => JsEffect { code: Some(u32::from(code)), ..named("exit") },
        Effect::FenceListener { listener } => {
            JsEffect { listener: Some(listener.0), ..named("fence_listener") }
        }
        Effect::ForceConnection { connection, unanswered } => JsEffect {
            connection: Some(convert::handle(connection)),
            unanswered: Some(unanswered),
            ..named("force_connection")
        },
        Effect::NotifyLongLived { connection, request } => JsEffect {
            connection: Some(convert::handle(connection)),
            request: request.map(|request| request.0),
            ..named("notify_long_lived")
        },
        Effect::PhaseChanged { phase } => {
            JsEffect { phase: Some(phase.name()), ..named("phase_changed") }
        }
        Effect::RefuseRequest { connection, request } => JsEffect {
            connection: Some(convert::handle(connection)),
            request: Some(request.0),
            ..named("refuse_request")
        },
        Effect::RefuseStreams { connection } => {
            JsEffect { connection: Some(convert::handle(connection)), ..named("refuse_streams") }
        }
        Effect::RunHook { hook } => JsEffect { hook: Some(hook.0), ..named("run_hook") },
        Effect::SetReadiness { ready } => JsEffect { ready: Some(ready), ..named("set_readiness") },
    }
}
