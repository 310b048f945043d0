//! What an application calls with the messages of its answer: looks at them on their way to the server.

use std::sync::atomic::Ordering::Relaxed;

use lameduck::Outcome;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use pyo3::{ffi, intern};

use crate::exchange::Exchange;
use crate::method::{self, Method};

/// A body of so many bytes is taken by a server at once, if it is the first of its answer; a longer one may have to wait for its
/// reader.
const TAKEN_AT_ONCE: usize = 16 * 1024;

/// The application's `send`, a function of one message, whose `__self__` is the exchange.
pub(crate) fn function<'py>(exchange: &Bound<'py, Exchange>) -> PyResult<Bound<'py, PyAny>> {
    static SEND: Method = Method::of_one(c"send", send);
    SEND.bound(exchange)
}

fn take<'py>(
    slf: &Bound<'py, Exchange>,
    message: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (slf.py(), slf.get());
    if this.hold.get().is_draining() {
        return this.wrapper.bind(py).call_method1(intern!(py, "send_late"), (slf, message));
    }
    let kind = match message.cast::<PyDict>() {
        Ok(dict) => dict.get_item(intern!(py, "type"))?,
        Err(_) => Some(message.get_item(intern!(py, "type"))?),
    };
    let kind = kind.ok_or_else(|| PyKeyError::new_err("type"))?;
    let is_last = match kind.cast::<PyString>()?.to_str()? {
        "http.response.start" => {
            this.note_start(message);
            false
        }
        "http.response.body" if is_true(message, intern!(py, "more_body"))? => {
            this.goes_on.store(true, Relaxed);
            false
        }
        "http.response.body" if !this.goes_on.load(Relaxed) && is_short(message)? => {
            this.finish(py, Outcome::Completed);
            false
        }
        "http.response.body" | "http.response.pathsend" => true,
        _ => false,
    };
    if is_last {
        return this.wrapper.bind(py).call_method1(intern!(py, "send_last"), (slf, message));
    }
    method::apply(this.pass_on.bind(py), [message])
}

/// # Safety
/// The interpreter calls it, with an [`Exchange`] and an object.
unsafe extern "C" fn send(
    slf: *mut ffi::PyObject,
    message: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it with two objects that live meanwhile, and `function` bound it to an `Exchange`.
    unsafe {
        method::call(|py| {
            let slf = Borrowed::from_ptr(py, slf).cast_unchecked::<Exchange>();
            take(&slf, &Borrowed::from_ptr(py, message))
        })
    }
}

/// Servers send dicts; the specification asks for no more than a mapping.
pub(crate) fn optional<'py>(
    message: &Bound<'py, PyAny>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match message.cast::<PyDict>() {
        Ok(dict) => dict.get_item(key),
        Err(_) => message.call_method1(intern!(message.py(), "get"), (key,)).map(Some),
    }
}

fn is_true(message: &Bound<'_, PyAny>, key: &Bound<'_, PyString>) -> PyResult<bool> {
    optional(message, key)?.map_or(Ok(false), |value| value.is_truthy())
}

fn is_short(message: &Bound<'_, PyAny>) -> PyResult<bool> {
    let body = optional(message, intern!(message.py(), "body"))?;
    Ok(body.is_none_or(|body| {
        body.is_none()
            || body.cast::<PyBytes>().is_ok_and(|body| body.as_bytes().len() <= TAKEN_AT_ONCE)
    }))
}
