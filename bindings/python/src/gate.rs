//! What a server calls: the base of `_asgi.py`'s wrapper. While serving it costs a request no Python code of ours.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::exchange::Exchange;
use crate::hold::Hold;
use crate::method;

/// Is called with a scope, `receive` and `send`, and returns what the server awaits.
#[pyclass(frozen, subclass, module = "lameduck._lameduck")]
pub(crate) struct Gate {
    /// While serving: how a plain request begins.
    way: Mutex<Option<Py<Way>>>,
}

/// What plain requests need. The others go the long way, in `_asgi.py`.
#[pyclass(frozen)]
pub(crate) struct Way {
    pub(crate) hold: Py<Hold>,
    pub(crate) app: Py<PyAny>,
    /// The event loop of the thread in which it was opened.
    event_loop: Py<PyAny>,
    thread: usize,
    /// A function that finds the event loop that runs in another, and one that finds the task that runs in a loop.
    running_loop: Py<PyAny>,
    pub(crate) task_in: Py<PyAny>,
    /// A function that marks, given `True`, what runs in a request.
    pub(crate) mark: Py<PyAny>,
    /// Paths that are not the application's, if there are any.
    probes: Option<Py<PyDict>>,
    /// The type of what an `async def` makes.
    pub(crate) coroutine: Py<PyAny>,
}

#[pymethods]
impl Gate {
    #[new]
    #[pyo3(signature = (*_given, **_named))]
    fn new(_given: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, PyDict>>) -> Self {
        Self { way: Mutex::new(None) }
    }

    /// Nothing begins before what it returns is awaited, as with an `async def`.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        scope: &Bound<'py, PyAny>,
        receive: &Bound<'py, PyAny>,
        send: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let way = slf.get().locked().as_ref().map(|way| way.clone_ref(py));
        match way {
            Some(way) => {
                Ok(Bound::new(py, Exchange::ahead(slf, way, scope, receive, send))?.into_any())
            }
            None => slf.call_method1(intern!(py, "_long_way"), (scope, receive, send)),
        }
    }

    /// From now on plain requests go to `app`. To be called in an event loop.
    fn _open(
        &self,
        hold: Py<Hold>,
        app: Py<PyAny>,
        running_loop: Py<PyAny>,
        task_in: Py<PyAny>,
        mark: Py<PyAny>,
        probes: Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let py = probes.py();
        let coroutine = py.import("types")?.getattr("CoroutineType")?.unbind();
        let probes = Some(probes).filter(|paths| !paths.is_empty()).map(Bound::unbind);
        let event_loop = method::apply(running_loop.bind(py), [])?.unbind();
        let thread = this_thread();
        let way =
            Way { hold, app, event_loop, thread, running_loop, task_in, mark, probes, coroutine };
        self.set(Some(Py::new(py, way)?));
        Ok(())
    }

    /// From now on all of them go the long way.
    fn _close(&self) {
        self.set(None);
    }
}

impl Gate {
    fn set(&self, way: Option<Py<Way>>) {
        let before = std::mem::replace(&mut *self.locked(), way);
        // Not under the lock: what it holds may be the last of its kind, and run whatever Python code.
        drop(before);
    }

    fn locked(&self) -> MutexGuard<'_, Option<Py<Way>>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    /// The event loop that runs in this thread. To ask Python each time takes longer than to count a request.
    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if this_thread() == self.thread {
            Ok(self.event_loop.bind(py).clone())
        } else {
            method::apply(self.running_loop.bind(py), [])
        }
    }

    /// Whether this is a plain request.
    pub(crate) fn takes(&self, scope: &Bound<'_, PyAny>) -> PyResult<bool> {
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
}

fn this_thread() -> usize {
    // SAFETY: it cannot fail. It is a number to some C libraries and a pointer to others.
    unsafe { libc::pthread_self() as usize }
}
