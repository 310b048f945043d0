//! Names and numbers, from JavaScript and back.

use std::time::Duration;

use lameduck::{ConnectionId, Refused, Time};
use napi::bindgen_prelude::BigInt;
use napi::{Error, Result, Status};
use serde::de::DeserializeOwned;

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

/// The value that the core's reports and vectors call `name`.
pub(crate) fn named<T: DeserializeOwned>(what: &str, name: &str) -> Result<T> {
    lameduck::named(what, name).map_err(invalid)
}
