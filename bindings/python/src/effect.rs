//! Effects and wakes, as Python objects.

use lameduck::{Effect, Time, Wake};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// One thing to do: a dict whose `type` is the effect's name in snake case; the other members are those of the effect.
pub(crate) fn effect<'py>(py: Python<'py>, effect: Effect) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let set = |name: &str, value: u64| dict.set_item(name, value);
    let kind = match effect {
        Effect::AbandonHook { hook } => {
            set("hook", hook.0.into())?;
            "abandon_hook"
        }
        Effect::AbortRequests => "abort_requests",
        Effect::AnnounceClose { connection } => {
            set("connection", connection.0)?;
            "announce_close"
        }
        Effect::CancelJob { job } => {
            set("job", job.0.into())?;
            "cancel_job"
        }
        Effect::CloseIdle { connection, look } => {
            set("connection", connection.0)?;
            dict.set_item("look", look)?;
            "close_idle"
        }
        Effect::CloseListener { listener } => {
            set("listener", listener.0.into())?;
            "close_listener"
        }
        Effect::CloseLongLived { connection, request } => {
            set("connection", connection.0)?;
            dict.set_item("request", request.map(|request| request.0))?;
            "close_long_lived"
        }
        Effect::Exit { code } => {
            set("code", code.into())?;
            "exit"
        }
        Effect::FenceListener { listener } => {
            set("listener", listener.0.into())?;
            "fence_listener"
        }
        Effect::ForceConnection { connection, unanswered } => {
            set("connection", connection.0)?;
            set("unanswered", unanswered.into())?;
            "force_connection"
        }
        Effect::NotifyLongLived { connection, request } => {
            set("connection", connection.0)?;
            dict.set_item("request", request.map(|request| request.0))?;
            "notify_long_lived"
        }
        Effect::PhaseChanged { phase } => {
            dict.set_item("phase", phase.name())?;
            "phase_changed"
        }
        Effect::RefuseRequest { connection, request } => {
            set("connection", connection.0)?;
            set("request", request.0.into())?;
            "refuse_request"
        }
        Effect::RefuseStreams { connection } => {
            set("connection", connection.0)?;
            "refuse_streams"
        }
        Effect::RunHook { hook } => {
            set("hook", hook.0.into())?;
            "run_hook"
        }
        Effect::SetReadiness { ready } => {
            dict.set_item("ready", ready)?;
            "set_readiness"
        }
    };
    dict.set_item("type", kind)?;
    Ok(dict)
}

/// When the machine wants to be ticked, and why.
pub(crate) fn wake((at, why): (Time, Wake)) -> (u64, &'static str) {
    (at.as_nanos(), why.name())
}
