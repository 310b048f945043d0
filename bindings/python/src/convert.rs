//! Names, numbers and spans, from Python.

use std::time::Duration;

use lameduck::{
    Cause, JobOutcome, JobSource, OnDrain, Outcome, Protocol, RequestKind, Stage, Time,
};
use lameduck_host::clock;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub(crate) fn invalid(reason: impl Into<String>) -> PyErr {
    PyValueError::new_err(reason.into())
}

/// The moment something happened: what the caller says, else now.
pub(crate) fn moment(now: Option<u64>) -> Time {
    Time::from_nanos(now.unwrap_or_else(clock::now_ns))
}

/// Seconds as people give them, to the microsecond.
pub(crate) fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map(|span| {
            let micros = span.as_nanos().saturating_add(500) / 1_000;
            Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
        })
        .map_err(|_| invalid(format!("{value} is not a number of seconds, zero or more")))
}

macro_rules! by_name {
    ($function:ident, $type:ty, $what:literal, $($name:literal => $value:expr),+ $(,)?) => {
        pub(crate) fn $function(name: &str) -> PyResult<$type> {
            match name {
                $($name => Ok($value),)+
                _ => Err(invalid(format!(concat!("no ", $what, " is called '{}'"), name))),
            }
        }
    };
}

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

pub(crate) fn cause(name: &str) -> PyResult<Cause> {
    let found = Cause::ALL.into_iter().find(|cause| cause.name() == name);
    found.ok_or_else(|| invalid(format!("no cause is called '{name}'")))
}

pub(crate) fn protocol(name: &str) -> PyResult<Protocol> {
    let found = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
    found.ok_or_else(|| invalid(format!("no protocol is called '{name}'")))
}

pub(crate) fn request_kind(name: &str) -> PyResult<RequestKind> {
    let found = RequestKind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| invalid(format!("no request kind is called '{name}'")))
}

/// Keyword arguments, taken one by one; what is left over in the end was misspelt.
pub(crate) struct Fields<'py> {
    of: &'static str,
    left: Option<Bound<'py, PyDict>>,
}

impl<'py> Fields<'py> {
    pub(crate) fn new(of: &'static str, given: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        Ok(Self { of, left: given.map(PyDictMethods::copy).transpose()? })
    }

    /// `None` when it is absent, or `None`.
    pub(crate) fn optional<T: FromPyObjectOwned<'py>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(left) = &self.left else { return Ok(None) };
        let Some(value) = left.get_item(name)? else { return Ok(None) };
        left.del_item(name)?;
        if value.is_none() {
            return Ok(None);
        }
        match value.extract::<T>() {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let error: PyErr = error.into();
                let sentence = format!("{name} of {}: {}", self.of, error.value(left.py()));
                Err(PyTypeError::new_err(sentence))
            }
        }
    }

    pub(crate) fn required<T: FromPyObjectOwned<'py>>(&self, name: &str) -> PyResult<T> {
        self.optional(name)?
            .ok_or_else(|| PyTypeError::new_err(format!("{} needs {name}", self.of)))
    }

    /// Call it last.
    pub(crate) fn nothing_else(self) -> PyResult<()> {
        match self.left.and_then(|left| left.keys().iter().next()) {
            None => Ok(()),
            Some(name) => Err(PyTypeError::new_err(format!("{} has no {name}", self.of))),
        }
    }
}
