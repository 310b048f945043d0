//! Names and numbers, from JavaScript and back.

use std::time::Duration;

use lameduck::{
    Cause, ConnectionId, JobOutcome, JobSource, OnDrain, Outcome, Protocol, Refused, RequestKind,
    Stage, Time,
};
use napi::bindgen_prelude::BigInt;
use napi::{Error, Result, Status};

pub(crate) fn invalid(reason: impl Into<String>) -> Error {
    Error::new(Status::InvalidArg, reason.into())
}

/// The moment an event happened: what the caller says, else now.
pub(crate) fn moment(now: Option<BigInt>) -> Result<Time> {
    match now {
        None => Ok(Time::from_nanos(lameduck_host::clock::now_ns())),
        Some(now) => nanos(&now).map(Time::from_nanos),
    }
}

pub(crate) fn nanos(value: &BigInt) -> Result<u64> {
    match value.get_u64() {
        (false, nanos, true) => Ok(nanos),
        (false, 0, _) if value.words.iter().all(|word| *word == 0) => Ok(0),
        _ => Err(invalid("a time is a BigInt of nanoseconds from 0n to 2n ** 64n - 1n")),
    }
}

/// Milliseconds as people give them.
pub(crate) fn millis(value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value / 1_000.0)
        .map(|span| Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
        .map_err(|_| invalid(format!("{value} is not a number of milliseconds, zero or more")))
}

/// A ledger handle. What is no whole number of one names no connection.
pub(crate) fn connection(handle: f64) -> ConnectionId {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    ConnectionId(if handle.fract() == 0.0 && handle >= 0.0 { handle as u64 } else { u64::MAX })
}

pub(crate) fn handle(connection: ConnectionId) -> f64 {
    #[allow(clippy::cast_precision_loss)] // below 2^52
    let handle = connection.0 as f64;
    handle
}

/// What `handle` made of an event: nothing, or the reason's name.
pub(crate) fn refusal(result: std::result::Result<(), Refused>) -> Option<String> {
    result.err().map(|reason| reason.name().to_owned())
}

macro_rules! by_name {
    ($function:ident, $type:ty, $what:literal, $($name:literal => $value:expr),+ $(,)?) => {
        pub(crate) fn $function(name: &str) -> Result<$type> {
            match name {
                $($name => Ok($value),)+
                _ => Err(invalid(format!(concat!("no ", $what, " is called '{}'"), name))),
            }
        }
    };
}

by_name!(protocol, Protocol, "protocol",
    "http1" => Protocol::Http1,
    "http2" => Protocol::Http2,
    "websocket" => Protocol::Websocket,
    "tunnel" => Protocol::Tunnel,
    "other" => Protocol::Other,
);
by_name!(request_kind, RequestKind, "request kind",
    "long_poll" => RequestKind::LongPoll,
    "ordinary" => RequestKind::Ordinary,
    "stream" => RequestKind::Stream,
    "upload" => RequestKind::Upload,
);
by_name!(outcome, Outcome, "outcome",
    "client_gone" => Outcome::ClientGone,
    "completed" => Outcome::Completed,
    "ended" => Outcome::Ended,
    "refused" => Outcome::Refused,
);
by_name!(job_outcome, JobOutcome, "job outcome",
    "aborted" => JobOutcome::Aborted,
    "completed" => JobOutcome::Completed,
    "failed" => JobOutcome::Failed,
);
by_name!(job_source, JobSource, "job source",
    "background" => JobSource::Background,
    "request" => JobSource::Request,
);
by_name!(on_drain, OnDrain, "drain policy",
    "cancel" => OnDrain::Cancel,
    "wait" => OnDrain::Wait,
);
by_name!(stage, Stage, "stage",
    "drain" => Stage::Drain,
    "close" => Stage::Close,
    "flush" => Stage::Flush,
);

pub(crate) fn cause(name: &str) -> Result<Cause> {
    Cause::ALL
        .into_iter()
        .find(|cause| cause.name() == name)
        .ok_or_else(|| invalid(format!("no cause is called '{name}'")))
}
