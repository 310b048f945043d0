//! One HTTP request in flight: what each request pays for while serving. Everything else is in `_asgi.py`, which derives from it.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use lameduck::Outcome;
use lameduck_host::clock;
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use pyo3::{ffi, intern};

use crate::convert;
use crate::hold::Hold;

/// A body of so many bytes is taken by a server at once, if it is the first of its answer; a longer one may have to wait for its
/// reader.
const TAKEN_AT_ONCE: usize = 16 * 1024;

/// What the extension knows of the request.
#[pyclass(frozen, module = "lameduck._lameduck")]
pub(crate) struct Exchange {
    #[pyo3(get)]
    scope: Py<PyAny>,
    /// The server's.
    #[pyo3(get)]
    send: Py<PyAny>,
    /// Has `send_late` and `send_last`, for what is not done here.
    app: Py<PyAny>,
    hold: Py<Hold>,
    /// The task that it runs in.
    #[pyo3(get)]
    task: Option<Py<PyAny>>,
    /// When it began.
    #[pyo3(get)]
    since: u64,
    handle: u64,
    headers: OnceLock<Py<PyAny>>,
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
    pub(crate) fn new(
        (scope, send, app): (Py<PyAny>, Py<PyAny>, Py<PyAny>),
        hold: Py<Hold>,
        task: Option<Py<PyAny>>,
        handle: u64,
    ) -> Self {
        Self {
            scope,
            send,
            app,
            hold,
            task,
            since: clock::now_ns(),
            handle,
            headers: OnceLock::new(),
            begun: AtomicBool::new(false),
            goes_on: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            forced: AtomicBool::new(false),
            refusal: OnceLock::new(),
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
        self.finish(if answered { Outcome::Completed } else { Outcome::ClientGone });
        None
    }

    /// It has ended; the first word counts.
    fn end_as(&self, outcome: &str) -> PyResult<()> {
        self.finish(convert::named("outcome", outcome)?);
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
            let _ = self.headers.set(headers.unbind());
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
        self.headers.get().map(|headers| headers.clone_ref(py))
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
    /// The application's `send`, a function of one message. Not a method that the macros make: for these the interpreter makes a
    /// tuple of what it passes, twice a request.
    pub(crate) fn sender<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static DEFINITION: Definition = Definition(UnsafeCell::new(ffi::PyMethodDef {
            ml_name: c"send".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: send },
            ml_flags: ffi::METH_O,
            ml_doc: c"Takes one message of the answer.".as_ptr(),
        }));
        let module = std::ptr::null_mut();
        // SAFETY: the definition lives for ever, and `slf` is what `send` expects.
        unsafe {
            let made = ffi::PyCFunction_NewEx(DEFINITION.0.get(), slf.as_ptr(), module);
            Bound::from_owned_ptr_or_err(slf.py(), made)
        }
    }

    fn take<'py>(
        slf: &Bound<'py, Self>,
        message: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if this.hold.get().is_draining() {
            return this.app.bind(py).call_method1(intern!(py, "send_late"), (slf, message));
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
                this.finish(Outcome::Completed);
                false
            }
            "http.response.body" | "http.response.pathsend" => true,
            _ => false,
        };
        if is_last {
            return this.app.bind(py).call_method1(intern!(py, "send_last"), (slf, message));
        }
        let end = std::ptr::null_mut::<ffi::PyObject>();
        // SAFETY: both are objects, and the list of arguments ends. It makes no tuple, as `call1` does.
        unsafe {
            let made = ffi::PyObject_CallFunctionObjArgs(this.send.as_ptr(), message.as_ptr(), end);
            Bound::from_owned_ptr_or_err(py, made)
        }
    }

    fn finish(&self, outcome: Outcome) {
        if !self.over.swap(true, AcqRel) {
            self.hold.get().end_exchange(self.handle, outcome);
        }
    }
}

/// A method's definition is never written to, but the interpreter asks for a pointer that could.
struct Definition(UnsafeCell<ffi::PyMethodDef>);
// SAFETY: see above.
unsafe impl Sync for Definition {}

/// # Safety
/// The interpreter calls it, with an [`Exchange`] and an object.
unsafe extern "C" fn send(
    slf: *mut ffi::PyObject,
    message: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it, so this thread is attached to it; both live while it does.
    let (py, slf, message) = unsafe {
        let py = Python::assume_attached();
        (py, Bound::from_borrowed_ptr(py, slf), Bound::from_borrowed_ptr(py, message))
    };
    let taken = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `sender` bound it to one.
        Exchange::take(unsafe { slf.cast_unchecked::<Exchange>() }, &message)
    }));
    let bug = |_| Err(PyRuntimeError::new_err("lameduck: a bug, see what was printed"));
    let taken = taken.unwrap_or_else(bug);
    match taken {
        Ok(awaitable) => awaitable.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
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
