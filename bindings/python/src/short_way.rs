//! What an application's HTTP requests need while it is serving: the most of what the wrapper costs each of them.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{ffi, intern};

use lameduck::Outcome;

use crate::exchange::Exchange;
use crate::hold::Hold;
use crate::method::{self, Method};

/// From a server's request to the application, for the plain ones. The others go the long way, in `_asgi.py`.
#[pyclass(frozen, module = "lameduck._lameduck")]
pub(crate) struct ShortWay {
    pub(crate) hold: Py<Hold>,
    /// Has `send_late`, `send_last` and `came_late`, for what is not done here.
    pub(crate) app: Py<PyAny>,
    /// Paths that are not the application's, if there are any.
    probes: Option<Py<PyDict>>,
}

#[pymethods]
impl ShortWay {
    #[new]
    #[pyo3(signature = (hold, app, probes=None))]
    pub(crate) fn new(hold: Py<Hold>, app: Py<PyAny>, probes: Option<Bound<'_, PyDict>>) -> Self {
        let probes = probes.filter(|paths| !paths.is_empty()).map(Bound::unbind);
        Self { hold, app, probes }
    }

    /// `begin(scope, send, task)`: an HTTP request begins, in this task, if one is known. Returns the function that its
    /// application calls with the messages of its answer, whose `__self__` is its `Exchange`; `None` when it has to go the long way.
    #[getter]
    fn begin<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static BEGIN: Method = Method::of_several(c"begin", begin);
        BEGIN.bound(slf)
    }
}

impl ShortWay {
    fn takes(&self, scope: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = scope.py();
        let Ok(scope) = scope.cast::<PyDict>() else { return Ok(false) };
        let Some(kind) = scope.get_item(intern!(py, "type"))? else { return Ok(false) };
        if kind.cast::<PyString>()?.to_str()? != "http" {
            return Ok(false);
        }
        let Some(probes) = &self.probes else { return Ok(true) };
        match scope.get_item(intern!(py, "path"))? {
            Some(path) => Ok(!probes.bind(py).contains(path)?),
            None => Ok(false),
        }
    }

    fn take<'py>(
        slf: &Bound<'py, Self>,
        scope: &Bound<'py, PyAny>,
        send: &Bound<'py, PyAny>,
        task: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let hold = this.hold.get();
        if hold.is_draining() || !this.takes(scope)? {
            return Ok(py.None().into_bound(py));
        }
        let exchange = Exchange::begin(slf, scope, send, (!task.is_none()).then_some(task))?;
        if hold.is_draining() {
            // Who described those in flight may have missed it.
            let described = this.app.bind(py).call_method1(intern!(py, "came_late"), (&exchange,));
            described.inspect_err(|_| exchange.get().finish(py, Outcome::Completed))?;
        }
        Exchange::sender(&exchange)
    }
}

/// # Safety
/// The interpreter calls it, with a [`ShortWay`] and its arguments.
unsafe extern "C" fn begin(
    slf: *mut ffi::PyObject,
    given: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it, and the getter bound it to a `ShortWay`.
    unsafe {
        method::call(|py| {
            let [scope, send, task] = method::arguments(py, "begin", given, count)?;
            let slf = Borrowed::from_ptr(py, slf).cast_unchecked::<ShortWay>();
            ShortWay::take(&slf, &scope, &send, &task)
        })
    }
}
