//! Names, numbers and spans, from Python.

use std::time::Duration;

use lameduck::Time;
use lameduck_host::clock;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::de::DeserializeOwned;

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

/// The value that the core's reports and vectors call `name`.
pub(crate) fn named<T: DeserializeOwned>(what: &str, name: &str) -> PyResult<T> {
    lameduck::named(what, name).map_err(invalid)
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
