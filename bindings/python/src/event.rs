//! Events, from a name and keyword arguments: one conversion for the machine and for the hold.

use lameduck::{ConnectionId, Event, HookId, JobId, ListenerId, RequestId};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::{self, Fields};

/// Keyword arguments are the event's fields; spans are seconds, `since` is nanoseconds.
pub(crate) fn event(name: &str, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Event> {
    let fields = Fields::new("this event", fields)?;
    let text = |field: &str| fields.required::<String>(field);
    let connection = || fields.required("connection").map(ConnectionId);
    let request = || fields.required("request").map(RequestId);
    let hook = || fields.required("hook").map(HookId);
    let job = || fields.required("job").map(JobId);
    let listener = || fields.required("listener").map(ListenerId);
    let protocol = || convert::named("protocol", &text("protocol")?);
    let kind = || convert::named("request kind", &text("kind")?);
    let event = match name {
        "connection_adopted" => Event::ConnectionAdopted {
            connection: connection()?,
            protocol: protocol()?,
            in_flight: fields.required("in_flight")?,
            announced: fields.required("announced")?,
        },
        "connection_busy" => Event::ConnectionBusy { connection: connection()? },
        "connection_closed" => Event::ConnectionClosed { connection: connection()? },
        "connection_described" => {
            Event::ConnectionDescribed { connection: connection()?, peer: text("peer")? }
        }
        "connection_opened" => {
            Event::ConnectionOpened { connection: connection()?, protocol: protocol()? }
        }
        "connection_upgraded" => {
            Event::ConnectionUpgraded { connection: connection()?, protocol: protocol()? }
        }
        "deadline_changed" => {
            Event::DeadlineChanged { grace: convert::seconds(fields.required("grace")?)? }
        }
        "escalate" => Event::Escalate,
        "hook_finished" => Event::HookFinished { hook: hook()?, error: fields.optional("error")? },
        "hook_registered" => Event::HookRegistered {
            hook: hook()?,
            stage: convert::named("stage", &text("stage")?)?,
            name: text("name")?,
            order: fields.required("order")?,
            timeout: fields.optional("timeout")?.map(convert::seconds).transpose()?,
        },
        "job_finished" => Event::JobFinished {
            job: job()?,
            outcome: convert::named("job outcome", &text("outcome")?)?,
        },
        "job_started" => Event::JobStarted {
            job: job()?,
            name: text("name")?,
            source: convert::named("job source", &text("source")?)?,
            on_drain: convert::named("drain policy", &text("on_drain")?)?,
        },
        "listener_closed" => Event::ListenerClosed { listener: listener()? },
        "listener_failed" => Event::ListenerFailed { listener: listener()?, error: text("error")? },
        "listener_opened" => Event::ListenerOpened { listener: listener()? },
        "request_described" => Event::RequestDescribed {
            connection: connection()?,
            request: request()?,
            kind: kind()?,
            label: text("label")?,
            since: convert::moment(Some(fields.required("since")?)),
        },
        "request_finished" => Event::RequestFinished {
            connection: connection()?,
            request: request()?,
            outcome: convert::named("outcome", &text("outcome")?)?,
            flushed: fields.required("flushed")?,
        },
        "request_flushed" => {
            Event::RequestFlushed { connection: connection()?, request: request()? }
        }
        "request_headers_sent" => Event::RequestHeadersSent {
            connection: connection()?,
            request: request()?,
            announced: fields.required("announced")?,
        },
        "request_started" => {
            Event::RequestStarted { connection: connection()?, request: request()?, kind: kind()? }
        }
        "shutdown" => Event::Shutdown {
            cause: convert::named("cause", &text("cause")?)?,
            ever_accepted: fields.required("ever_accepted")?,
        },
        _ => return Err(convert::invalid(format!("no event is called '{name}'"))),
    };
    fields.nothing_else()?;
    Ok(event)
}
