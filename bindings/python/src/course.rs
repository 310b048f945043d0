//! The awaitable of a request: runs its application as a coroutine of ours would, `begin` before it and `leave` behind it.

use std::mem;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{MutexGuard, TryLockError};

use lameduck::Outcome;
use pyo3::exceptions::{
    PyGeneratorExit, PyRuntimeError, PyRuntimeWarning, PyStopIteration, PyTypeError, PyValueError,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};
use pyo3::{ffi, intern};

use crate::answer;
use crate::exchange::Exchange;
use crate::gate::Way;
use crate::method;

/// How far it has come. Locked for as long as it runs, and nobody waits for that.
pub(crate) enum Course {
    /// It was not awaited yet.
    Ahead { way: Py<Way>, receive: Py<PyAny> },
    /// It runs this coroutine, in this task, which is known once it waits for something.
    Begun { stage: Stage, coroutine: Py<PyAny>, way: Py<Way>, task: Option<Py<PyAny>> },
    /// Another awaits the application, in this task, if one is known.
    Elsewhere { task: Option<Py<PyAny>> },
    /// It has returned or raised.
    Over,
}

/// Whose the coroutine is.
pub(crate) enum Stage {
    Application,
    /// The wrapper's, which looks at what the application has raised.
    Raised(Box<PyErr>),
    /// The wrapper's.
    Wrapper,
}

impl Course {
    /// What it stands for, once it has begun.
    pub(crate) fn coroutine(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Begun { coroutine, .. } => Some(coroutine),
            _ => None,
        }
    }

    pub(crate) fn task(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Begun { task, .. } | Self::Elsewhere { task } => task.as_ref(),
            _ => None,
        }
    }

    /// For the collector of garbage.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Ahead { receive, .. } => visit.call(receive),
            Self::Begun { coroutine, task, .. } => {
                visit.call(coroutine)?;
                visit.call(task)
            }
            Self::Elsewhere { task } => visit.call(task),
            Self::Over => Ok(()),
        }
    }

    /// It yields. Whoever wants to cancel it has to know the task; one that does not wait cannot be cancelled.
    fn waits(&mut self, exchange: &Exchange, py: Python<'_>) {
        if let Self::Begun { way, task: task @ None, .. } = self
            && let Some(event_loop) = exchange.event_loop(py)
        {
            let found = method::apply(way.get().task_in.bind(py), [&event_loop]);
            *task = found.ok().filter(|found| !found.is_none()).map(Bound::unbind);
        }
    }
}

/// What an awaitable is driven with.
pub(crate) enum Given<'a, 'py> {
    Value(&'a Bound<'py, PyAny>),
    Error(&'a Bound<'py, PyTuple>),
    Close,
}

enum Left<'py> {
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
}

/// Goes on until it yields; `None` when it has returned.
pub(crate) fn resume<'py>(
    slf: &Bound<'py, Exchange>,
    given: Given<'_, 'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = slf.py();
    go_on(slf, given).map_err(|error| {
        if !error.is_instance_of::<PyStopIteration>(py) {
            return error;
        }
        // Whoever awaits would take it for a return.
        let raised = PyRuntimeError::new_err("coroutine raised StopIteration");
        raised.set_cause(py, Some(error));
        raised
    })
}

fn go_on<'py>(
    slf: &Bound<'py, Exchange>,
    given: Given<'_, 'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = slf.py();
    let mut course =
        to_run(slf.get()).ok_or_else(|| PyValueError::new_err("coroutine already executing"))?;
    if matches!(*course, Course::Ahead { .. }) {
        begin(slf, &mut course, &given)?;
    }
    let none = py.None().into_bound(py);
    let mut given = given;
    loop {
        let Some(coroutine) = course.coroutine() else {
            return match given {
                Given::Close => Ok(None),
                _ => Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine")),
            };
        };
        let left = match go(coroutine.bind(py), &given) {
            Ok(Left::Yielded(value)) => {
                course.waits(slf.get(), py);
                return Ok(Some(value));
            }
            Ok(Left::Returned(value)) => Ok(value),
            Err(error) => Err(error),
        };
        given = Given::Value(&none);
        let Course::Begun { stage, way, task, .. } = mem::replace(&mut *course, Course::Over)
        else {
            return Ok(None);
        };
        let (stage, coroutine) = match (stage, left) {
            (Stage::Application, Ok(_)) => match slf.get().leave(py, false) {
                // The server cuts the connection of an application that has left.
                Some(refusal) => (Stage::Wrapper, awaited(slf, &refusal)?),
                None => return Ok(None),
            },
            (Stage::Application, Err(error)) => raised(slf, error)?,
            (Stage::Raised(error), Ok(dealt_with)) if !dealt_with.is_truthy()? => {
                return Err(*error);
            }
            (Stage::Raised(before), Err(error)) => {
                // It may have failed before it came to that.
                drop(slf.get().leave(py, true));
                if error.context(py).is_none() && !error.value(py).is(before.value(py)) {
                    error.set_context(py, Some(*before));
                }
                return Err(error);
            }
            (_, left) => return left.map(|_| None),
        };
        *course = Course::Begun { stage, coroutine, way, task };
    }
}

/// `None` while it runs.
pub(crate) fn locked(exchange: &Exchange) -> Option<MutexGuard<'_, Course>> {
    match exchange.course.try_lock() {
        Ok(course) => Some(course),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What `look` sees of it; `None` while it runs. Who wants to run it waits meanwhile: nothing in there may run Python.
pub(crate) fn seen<T>(exchange: &Exchange, look: impl FnOnce(&Course) -> T) -> Option<T> {
    exchange.looks.fetch_add(LOOK_BEGUN, SeqCst);
    let found = locked(exchange).map(|course| look(&course));
    exchange.looks.fetch_add(LOOK_ENDED, SeqCst);
    found
}

/// `None` while it runs, but not because somebody on another thread looks at it.
fn to_run(exchange: &Exchange) -> Option<MutexGuard<'_, Course>> {
    loop {
        let looks = exchange.looks.load(SeqCst);
        let course = locked(exchange);
        let unseen = looks % LOOK_ENDED == looks / LOOK_ENDED;
        if course.is_some() || (unseen && exchange.looks.load(SeqCst) == looks) {
            return course;
        }
        std::hint::spin_loop();
    }
}

// Those that began are counted in the lower half, those that ended in the upper.
const LOOK_BEGUN: u64 = 1;
const LOOK_ENDED: u64 = 1 << 32;

/// Says so if nobody has awaited it, as coroutines do.
pub(crate) fn dropped(course: &Course) {
    if matches!(course, Course::Ahead { .. }) {
        Python::try_attach(|py| {
            let raised = PyErr::take(py);
            let category = py.get_type::<PyRuntimeWarning>();
            let sentence = c"coroutine 'AsgiApp.__call__' was never awaited";
            if let Err(error) = PyErr::warn(py, &category, sentence, 1) {
                error.write_unraisable(py, None);
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}

/// It is awaited, and so the request begins.
fn begin(slf: &Bound<'_, Exchange>, course: &mut Course, given: &Given<'_, '_>) -> PyResult<()> {
    let (py, this) = (slf.py(), slf.get());
    match given {
        Given::Value(value) if value.is_none() => {}
        Given::Value(_) => {
            let rule = "can't send non-None value to a just-started coroutine";
            return Err(PyTypeError::new_err(rule));
        }
        Given::Error(_) | Given::Close => {}
    }
    let Course::Ahead { way, receive } = mem::replace(course, Course::Over) else { return Ok(()) };
    let hold = this.hold.get();
    let plain = match given {
        Given::Value(_) => !hold.is_draining() && way.get().takes(this.scope.bind(py))?,
        // In a coroutine that was not begun it is raised before anything is done.
        Given::Error(_) => false,
        Given::Close => return Ok(()),
    };
    let (stage, coroutine) = if plain {
        Exchange::begin(slf, way.get().event_loop(py)?);
        if hold.is_draining() {
            // Who described those in flight may have missed it.
            let described = this.wrapper.bind(py).call_method1(intern!(py, "came_late"), (slf,));
            described.inspect_err(|_| this.finish(py, Outcome::Completed))?;
        }
        match application(slf, way.get(), &receive) {
            Ok(coroutine) => (Stage::Application, coroutine),
            Err(error) => raised(slf, error)?,
        }
    } else {
        let arguments = (&this.scope, &receive, &this.pass_on);
        let coroutine = this.wrapper.bind(py).call_method1(intern!(py, "_long_way"), arguments)?;
        (Stage::Wrapper, coroutine.unbind())
    };
    *course = Course::Begun { stage, coroutine, way, task: None };
    Ok(())
}

fn application(slf: &Bound<'_, Exchange>, way: &Way, receive: &Py<PyAny>) -> PyResult<Py<PyAny>> {
    let (py, this) = (slf.py(), slf.get());
    method::apply(way.mark.bind(py), [&PyBool::new(py, true)])?;
    let answer = answer::function(slf)?;
    let arguments = [this.scope.bind(py), receive.bind(py), &answer];
    let made = method::apply(way.app.bind(py), arguments)?;
    if made.get_type().is(&way.coroutine) { Ok(made.unbind()) } else { awaited(slf, &made) }
}

/// The application has raised this.
fn raised(slf: &Bound<'_, Exchange>, error: PyErr) -> PyResult<(Stage, Py<PyAny>)> {
    let (py, this) = (slf.py(), slf.get());
    let coroutine =
        this.wrapper.bind(py).call_method1(intern!(py, "_ended_here"), (slf, error.value(py)));
    let coroutine = coroutine.inspect_err(|_| drop(this.leave(py, true)))?;
    Ok((Stage::Raised(Box::new(error)), coroutine.unbind()))
}

/// A coroutine that awaits whatever can be awaited.
fn awaited(slf: &Bound<'_, Exchange>, awaitable: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    let coroutine =
        slf.get().wrapper.bind(py).call_method1(intern!(py, "_awaited"), (awaitable,))?;
    Ok(coroutine.unbind())
}

fn go<'py>(coroutine: &Bound<'py, PyAny>, given: &Given<'_, 'py>) -> PyResult<Left<'py>> {
    let py = coroutine.py();
    match given {
        Given::Value(value) => {
            let mut result = std::ptr::null_mut();
            // SAFETY: they are objects. What it says of `result` is looked at before `result` is.
            unsafe {
                match ffi::PyIter_Send(coroutine.as_ptr(), value.as_ptr(), &raw mut result) {
                    ffi::PySendResult::PYGEN_NEXT => {
                        Ok(Left::Yielded(Bound::from_owned_ptr(py, result)))
                    }
                    ffi::PySendResult::PYGEN_RETURN => {
                        Ok(Left::Returned(Bound::from_owned_ptr(py, result)))
                    }
                    ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
                }
            }
        }
        Given::Error(error) => match coroutine.call_method1(intern!(py, "throw"), *error) {
            Ok(value) => Ok(Left::Yielded(value)),
            Err(end) if end.is_instance_of::<PyStopIteration>(py) => {
                Ok(Left::Returned(end.value(py).getattr(intern!(py, "value"))?))
            }
            Err(error) => Err(error),
        },
        Given::Close => {
            coroutine.call_method0(intern!(py, "close"))?;
            Err(PyGeneratorExit::new_err(()))
        }
    }
}
