//! Events and effects as vectors write them.

use lameduck::{
    Cause, ConnectionId, Effect, Event, HookId, JobId, JobOutcome, JobSource, ListenerId, OnDrain,
    Outcome, Protocol, RequestId, RequestKind, Stage, Time,
};
use serde_json::{Value, json};

use super::fields::{Fields, Malformed};

const KINDS: [(&str, RequestKind); 4] = [
    ("long_poll", RequestKind::LongPoll),
    ("ordinary", RequestKind::Ordinary),
    ("stream", RequestKind::Stream),
    ("upload", RequestKind::Upload),
];

const OUTCOMES: [(&str, Outcome); 4] = [
    ("client_gone", Outcome::ClientGone),
    ("completed", Outcome::Completed),
    ("ended", Outcome::Ended),
    ("refused", Outcome::Refused),
];

const JOB_OUTCOMES: [(&str, JobOutcome); 3] = [
    ("aborted", JobOutcome::Aborted),
    ("completed", JobOutcome::Completed),
    ("failed", JobOutcome::Failed),
];

const JOB_SOURCES: [(&str, JobSource); 2] =
    [("background", JobSource::Background), ("request", JobSource::Request)];

const ON_DRAIN: [(&str, OnDrain); 2] = [("cancel", OnDrain::Cancel), ("wait", OnDrain::Wait)];

const STAGES: [(&str, Stage); 3] =
    [("drain", Stage::Drain), ("close", Stage::Close), ("flush", Stage::Flush)];

/// The event that `fields` describe; times are relative to `origin`.
pub fn event(fields: &Fields<'_>, origin: Time) -> Result<Event, Malformed> {
    let connection = || fields.whole("connection").map(ConnectionId);
    let request = || fields.small("request").map(RequestId);
    let hook = || fields.small("hook").map(HookId);
    let job = || fields.small("job").map(JobId);
    let listener = || fields.small("listener").map(ListenerId);
    let protocol =
        || fields.one_of("protocol", &Protocol::ALL.map(|protocol| (protocol.name(), protocol)));
    let kind = || fields.one_of("kind", &KINDS);
    let only = |known: &[&str]| fields.only(&[&["type"], known].concat());
    Ok(match fields.text("type")? {
        "connection_adopted" => {
            only(&["connection", "protocol", "in_flight", "announced"])?;
            Event::ConnectionAdopted {
                connection: connection()?,
                protocol: protocol()?,
                in_flight: fields.small("in_flight")?,
                announced: fields.flag("announced")?,
            }
        }
        "connection_busy" => {
            only(&["connection"])?;
            Event::ConnectionBusy { connection: connection()? }
        }
        "connection_closed" => {
            only(&["connection"])?;
            Event::ConnectionClosed { connection: connection()? }
        }
        "connection_described" => {
            only(&["connection", "peer"])?;
            Event::ConnectionDescribed {
                connection: connection()?,
                peer: fields.text("peer")?.to_string(),
            }
        }
        "connection_opened" => {
            only(&["connection", "protocol"])?;
            Event::ConnectionOpened { connection: connection()?, protocol: protocol()? }
        }
        "connection_upgraded" => {
            only(&["connection", "protocol"])?;
            Event::ConnectionUpgraded { connection: connection()?, protocol: protocol()? }
        }
        "deadline_changed" => {
            only(&["grace_us"])?;
            Event::DeadlineChanged { grace: fields.micros("grace_us")? }
        }
        "escalate" => {
            only(&[])?;
            Event::Escalate
        }
        "hook_finished" => {
            only(&["hook", "error"])?;
            Event::HookFinished { hook: hook()?, error: fields.optional_text("error")? }
        }
        "hook_registered" => {
            only(&["hook", "stage", "name", "order", "timeout_us"])?;
            Event::HookRegistered {
                hook: hook()?,
                stage: fields.one_of("stage", &STAGES)?,
                name: fields.text("name")?.to_string(),
                order: fields.order("order")?,
                timeout: fields.optional_micros("timeout_us")?,
            }
        }
        "job_finished" => {
            only(&["job", "outcome"])?;
            Event::JobFinished { job: job()?, outcome: fields.one_of("outcome", &JOB_OUTCOMES)? }
        }
        "job_started" => {
            only(&["job", "name", "source", "on_drain"])?;
            Event::JobStarted {
                job: job()?,
                name: fields.text("name")?.to_string(),
                source: fields.one_of("source", &JOB_SOURCES)?,
                on_drain: fields.one_of("on_drain", &ON_DRAIN)?,
            }
        }
        "listener_closed" => {
            only(&["listener"])?;
            Event::ListenerClosed { listener: listener()? }
        }
        "listener_failed" => {
            only(&["listener", "error"])?;
            Event::ListenerFailed {
                listener: listener()?,
                error: fields.text("error")?.to_string(),
            }
        }
        "listener_opened" => {
            only(&["listener"])?;
            Event::ListenerOpened { listener: listener()? }
        }
        "request_described" => {
            only(&["connection", "request", "kind", "label", "since_us"])?;
            Event::RequestDescribed {
                connection: connection()?,
                request: request()?,
                kind: kind()?,
                label: fields.text("label")?.to_string(),
                since: fields.moment("since_us", origin)?,
            }
        }
        "request_finished" => {
            only(&["connection", "request", "outcome", "flushed"])?;
            Event::RequestFinished {
                connection: connection()?,
                request: request()?,
                outcome: fields.one_of("outcome", &OUTCOMES)?,
                flushed: fields.flag("flushed")?,
            }
        }
        "request_flushed" => {
            only(&["connection", "request"])?;
            Event::RequestFlushed { connection: connection()?, request: request()? }
        }
        "request_headers_sent" => {
            only(&["connection", "request", "announced"])?;
            Event::RequestHeadersSent {
                connection: connection()?,
                request: request()?,
                announced: fields.flag("announced")?,
            }
        }
        "request_started" => {
            only(&["connection", "request", "kind"])?;
            Event::RequestStarted { connection: connection()?, request: request()?, kind: kind()? }
        }
        "shutdown" => {
            only(&["cause", "ever_accepted"])?;
            Event::Shutdown {
                cause: fields.one_of("cause", &Cause::ALL.map(|cause| (cause.name(), cause)))?,
                ever_accepted: fields.flag("ever_accepted")?,
            }
        }
        other => {
            let rule = format!("{other:?} is no event; tests/vectors/README.md lists them");
            return Err(fields.wrong("type", &rule));
        }
    })
}

/// The effect as an object.
pub fn effect(effect: Effect) -> Value {
    match effect {
        Effect::AbandonHook { hook } => json!({ "type": "abandon_hook", "hook": hook }),
        Effect::AbortRequests => json!({ "type": "abort_requests" }),
        Effect::AnnounceClose { connection } => {
            json!({ "type": "announce_close", "connection": connection })
        }
        Effect::CancelJob { job } => json!({ "type": "cancel_job", "job": job }),
        Effect::CloseIdle { connection, look } => {
            json!({ "type": "close_idle", "connection": connection, "look": look })
        }
        Effect::CloseListener { listener } => {
            json!({ "type": "close_listener", "listener": listener })
        }
        Effect::CloseLongLived { connection, request } => {
            json!({ "type": "close_long_lived", "connection": connection, "request": request })
        }
        Effect::Exit { code } => json!({ "type": "exit", "code": code }),
        Effect::FenceListener { listener } => {
            json!({ "type": "fence_listener", "listener": listener })
        }
        Effect::ForceConnection { connection, unanswered } => json!({
            "type": "force_connection", "connection": connection, "unanswered": unanswered
        }),
        Effect::NotifyLongLived { connection, request } => {
            json!({ "type": "notify_long_lived", "connection": connection, "request": request })
        }
        Effect::PhaseChanged { phase } => {
            json!({ "type": "phase_changed", "phase": phase.name() })
        }
        Effect::RefuseRequest { connection, request } => {
            json!({ "type": "refuse_request", "connection": connection, "request": request })
        }
        Effect::RefuseStreams { connection } => {
            json!({ "type": "refuse_streams", "connection": connection })
        }
        Effect::RunHook { hook } => json!({ "type": "run_hook", "hook": hook }),
        Effect::SetReadiness { ready } => json!({ "type": "set_readiness", "ready": ready }),
    }
}
