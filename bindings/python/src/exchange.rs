//! One HTTP request in flight: what each request pays for while serving. Everything else is in `_asgi.py`, which derives from it.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use lameduck::Outcome;
use lameduck_host::clock;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use pyo3::{ffi, intern};

use crate::convert;
use crate::method::{self, Method};
use crate::short_way::ShortWay;

/// A body of so many bytes is taken by a server at once, if it is the first of its answer; a longer one may have to wait for its
/// reader.
const TAKEN_AT_ONCE: usize = 16 * 1024;

/// What the extension knows of the request.
#[pyclass(frozen, module = "lameduck._lameduck")]
pub(crate) struct Exchange {
    way: Py<ShortWay>,
    #[pyo3(get)]
    scope: Py<PyAny>,
    /// The server's.
    #[pyo3(get)]
    send: Py<PyAny>,
    /// The task that it runs in.
    #[pyo3(get)]
    task: Option<Py<PyAny>>,
    /// When it began.
    #[pyo3(get)]
    since: u64,
    handle: u64,
    /// Set once. (A `OnceLock` takes longer than all else that is done with the head of an answer.)
    headers: Mutex<Option<Py<PyAny>>>,
    begun: AtomicBool,
    /// Part of the body was sent, and more will come.
    goes_on: AtomicBool,
    over: AtomicBool,
    /// Its task is being cancelled because its time is over: to be ended in its protocol's manner.
    ending: AtomicBool,
    /// The same: to be cut.
    forced: AtomicBool,
    /// The task that answers in the application's place.
    refusal: OnceLock<Py<PyAny>>,
}

impl Exchange {
    /// It begins, and is counted and kept from now on.
    pub(crate) fn begin<'py>(
        way: &Bound<'py, ShortWay>,
        scope: &Bound<'py, PyAny>,
        send: &Bound<'py, PyAny>,
        task: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let hold = way.get().hold.get();
        let handle = hold.request_began();
        let exchange = Self {
            way: way.clone().unbind(),
            scope: scope.clone().unbind(),
            send: send.clone().unbind(),
            task: task.map(|task| task.clone().unbind()),
            since: clock::now_ns(),
            handle,
            headers: Mutex::new(None),
            begun: AtomicBool::new(false),
            goes_on: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            forced: AtomicBool::new(false),
            refusal: OnceLock::new(),
        };
        match Bound::new(way.py(), exchange) {
            Ok(exchange) => {
                hold.keep(handle, exchange.clone().unbind());
                Ok(exchange)
            }
            Err(error) => {
                hold.request_ended(handle, Outcome::Completed);
                Err(error)
            }
        }
    }
}

#[pymethods]
impl Exchange {
    /// The application has returned, or raised: what was not ended by its last message ends. Returns the task that answers in its
    /// place, if there is one, and then that ends it.
    fn leave(&self, py: Python<'_>, raised: bool) -> Option<Py<PyAny>> {
        if let Some(refusal) = self.refusal.get() {
            return Some(refusal.clone_ref(py));
        }
        // What raises before it answers is answered 500 by the server; what has begun and did not end has lost its client.
        let answered = raised && !self.begun.load(Relaxed);
        self.finish(py, if answered { Outcome::Completed } else { Outcome::ClientGone });
        None
    }

    /// It has ended; the first word counts.
    fn end_as(&self, py: Python<'_>, outcome: &str) -> PyResult<()> {
        self.finish(py, convert::named("outcome", outcome)?);
        Ok(())
    }

    /// Its time is over: its task is about to be cancelled, to end it in its protocol's manner or to cut it. Returns whether it was in
    /// flight.
    fn cut_short(&self, in_its_manner: bool) -> bool {
        let in_flight = !self.over();
        if in_flight {
            if in_its_manner { &self.ending } else { &self.forced }.store(true, Release);
        }
        in_flight
    }

    /// From now on this task answers, not the application.
    fn refuse_by(&self, task: Py<PyAny>) {
        let _ = self.refusal.set(task);
    }

    /// See [`refuse_by`](Self::refuse_by).
    #[getter]
    fn refusal(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.refusal.get().map(|task| task.clone_ref(py))
    }

    /// The head of the answer, as the application made it, is about to be sent.
    fn note_start(&self, message: &Bound<'_, PyAny>) -> PyResult<()> {
        self.begun.store(true, Release);
        if let Some(headers) = optional(message, intern!(message.py(), "headers"))? {
            let mut kept = self.kept_headers();
            if kept.is_none() {
                *kept = Some(headers.unbind());
            }
        }
        Ok(())
    }

    /// 0 when there were too many to count.
    #[getter]
    pub(crate) fn handle(&self) -> u64 {
        self.handle
    }

    /// The application's headers, once the answer has begun.
    #[getter]
    fn headers(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.kept_headers().as_ref().map(|headers| headers.clone_ref(py))
    }

    #[getter]
    fn begun(&self) -> bool {
        self.begun.load(Acquire)
    }

    #[getter]
    fn over(&self) -> bool {
        self.over.load(Acquire)
    }

    /// Whether [`cut_short`](Self::cut_short) was called, and in its protocol's manner.
    #[getter]
    fn cut(&self) -> (bool, bool) {
        let ending = self.ending.load(Acquire);
        (ending || self.forced.load(Acquire), ending)
    }
}

impl Exchange {
    /// The application's `send`, a function of one message. Without it the request is over.
    pub(crate) fn sender<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static SEND: Method = Method::of_one(c"send", send);
        SEND.bound(slf).inspect_err(|_| slf.get().finish(slf.py(), Outcome::Completed))
    }

    /// `leave(answer)`: the application has returned, which called this function to answer. See [`leave`](Self::leave).
    pub(crate) fn leaver(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        static LEAVE: Method = Method::of_one(c"leave", leave);
        LEAVE.bound(&py.None().into_bound(py))
    }

    fn take<'py>(
        slf: &Bound<'py, Self>,
        message: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let way = this.way.get();
        if way.hold.get().is_draining() {
            return way.app.bind(py).call_method1(intern!(py, "send_late"), (slf, message));
        }
        let kind = match message.cast::<PyDict>() {
            Ok(dict) => dict.get_item(intern!(py, "type"))?,
            Err(_) => Some(message.get_item(intern!(py, "type"))?),
        };
        let kind = kind.ok_or_else(|| PyKeyError::new_err("type"))?;
        let is_last = match kind.cast::<PyString>()?.to_str()? {
            "http.response.start" => {
                this.note_start(message)?;
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
            return way.app.bind(py).call_method1(intern!(py, "send_last"), (slf, message));
        }
        let end = std::ptr::null_mut::<ffi::PyObject>();
        // SAFETY: both are objects, and the list of arguments ends. It makes no tuple, as `call1` does.
        unsafe {
            let made = ffi::PyObject_CallFunctionObjArgs(this.send.as_ptr(), message.as_ptr(), end);
            Bound::from_owned_ptr_or_err(py, made)
        }
    }

    fn kept_headers(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn finish(&self, py: Python<'_>, outcome: Outcome) {
        if !self.over.swap(true, AcqRel) {
            self.way.get().hold.get().end_exchange(py, self.handle, outcome);
        }
    }
}

/// # Safety
/// The interpreter calls it, with an [`Exchange`] and an object.
unsafe extern "C" fn send(
    slf: *mut ffi::PyObject,
    message: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it with two objects that live meanwhile, and `sender` bound it to an `Exchange`.
    unsafe {
        method::call(|py| {
            let slf = Borrowed::from_ptr(py, slf).cast_unchecked::<Exchange>();
            Exchange::take(&slf, &Borrowed::from_ptr(py, message))
        })
    }
}

/// # Safety
/// The interpreter calls it, with an object.
unsafe extern "C" fn leave(
    _: *mut ffi::PyObject,
    answer: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it with an object that lives meanwhile. Of one that is no function `PyCFunction_GetSelf` raises.
    unsafe {
        method::call(|py| {
            let exchange = ffi::PyCFunction_GetSelf(answer);
            let exchange = Borrowed::from_ptr_or_err(py, exchange)?;
            let refusal = exchange.cast::<Exchange>()?.get().leave(py, false);
            Ok(refusal.unwrap_or_else(|| py.None()).into_bound(py))
        })
    }
}

/// Servers send dicts; the specification asks for no more than a mapping.
fn optional<'py>(
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
