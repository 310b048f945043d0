//! One HTTP request in flight: what each request pays for while serving. Everything else is in `_asgi.py`.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Mutex, PoisonError};

use lameduck::Outcome;
use lameduck_host::clock;
use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::answer;
use crate::convert;
use crate::course::{self, Course, Given};
use crate::gate::{Gate, Way};
use crate::hold::Hold;
use crate::set_once::SetOnce;

/// What the extension knows of the request, and what a server awaits to have it answered: a coroutine, as far as others can see.
#[pyclass(frozen, module = "lameduck._lameduck")]
pub(crate) struct Exchange {
    /// Has `send_late`, `send_last`, `came_late` and so on, for what is not done here.
    pub(crate) wrapper: Py<PyAny>,
    pub(crate) hold: Py<Hold>,
    #[pyo3(get)]
    pub(crate) scope: Py<PyAny>,
    /// The server's `send`.
    #[pyo3(get)]
    pub(crate) pass_on: Py<PyAny>,
    pub(crate) course: Mutex<Course>,
    /// How often others looked at that.
    pub(crate) looks: AtomicU64,
    since: AtomicU64,
    handle: AtomicU64,
    /// The one that it runs in.
    event_loop: SetOnce,
    /// The first message of its answer.
    head: SetOnce,
    begun: AtomicBool,
    /// Part of the body was sent, and more will come.
    pub(crate) goes_on: AtomicBool,
    over: AtomicBool,
    /// Its task is being cancelled because its time is over: to be ended in its protocol's manner.
    ending: AtomicBool,
    /// The same: to be cut.
    forced: AtomicBool,
    /// The task that answers in the application's place.
    refusal: SetOnce,
}

impl Exchange {
    /// It begins once it is awaited.
    pub(crate) fn ahead(
        wrapper: &Bound<'_, Gate>,
        way: Py<Way>,
        scope: &Bound<'_, PyAny>,
        receive: &Bound<'_, PyAny>,
        send: &Bound<'_, PyAny>,
    ) -> Self {
        let hold = way.get().hold.clone_ref(wrapper.py());
        let course = Course::Ahead { way, receive: receive.clone().unbind() };
        Self::new(wrapper.as_any(), hold, scope, send, course)
    }

    /// It begins, in this task, if one is known. Its application is awaited elsewhere.
    pub(crate) fn elsewhere<'py>(
        wrapper: &Bound<'py, PyAny>,
        hold: &Bound<'py, Hold>,
        scope: &Bound<'py, PyAny>,
        send: &Bound<'py, PyAny>,
        task: Option<Bound<'_, PyAny>>,
        event_loop: Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let course = Course::Elsewhere { task: task.map(Bound::unbind) };
        let exchange = Self::new(wrapper, hold.clone().unbind(), scope, send, course);
        let exchange = Bound::new(hold.py(), exchange)?;
        Self::begin(&exchange, event_loop);
        Ok(exchange)
    }

    fn new(
        wrapper: &Bound<'_, PyAny>,
        hold: Py<Hold>,
        scope: &Bound<'_, PyAny>,
        send: &Bound<'_, PyAny>,
        course: Course,
    ) -> Self {
        Self {
            wrapper: wrapper.clone().unbind(),
            hold,
            scope: scope.clone().unbind(),
            pass_on: send.clone().unbind(),
            course: Mutex::new(course),
            looks: AtomicU64::new(0),
            since: AtomicU64::new(0),
            handle: AtomicU64::new(0),
            event_loop: SetOnce::default(),
            head: SetOnce::default(),
            begun: AtomicBool::new(false),
            goes_on: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            forced: AtomicBool::new(false),
            refusal: SetOnce::default(),
        }
    }

    /// It is counted and kept from now on.
    pub(crate) fn begin(slf: &Bound<'_, Self>, event_loop: Bound<'_, PyAny>) {
        let this = slf.get();
        if !event_loop.is_none() {
            this.event_loop.set(event_loop);
        }
        let hold = this.hold.get();
        let handle = hold.request_began();
        this.since.store(clock::now_ns(), Relaxed);
        this.handle.store(handle, Relaxed);
        hold.keep(handle, slf.clone().unbind());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        course::dropped(self.course.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

#[pymethods]
impl Exchange {
    /// The application has returned, or raised: what was not ended by its last message ends. Returns the task that answers in its
    /// place, if there is one, and then that ends it.
    pub(crate) fn leave<'py>(&self, py: Python<'py>, raised: bool) -> Option<Bound<'py, PyAny>> {
        if let Some(refusal) = self.refusal.get(py) {
            return Some(refusal);
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
    fn refuse_by(&self, task: Bound<'_, PyAny>) {
        self.refusal.set(task);
    }

    /// See [`refuse_by`](Self::refuse_by).
    #[getter]
    fn refusal<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.refusal.get(py)
    }

    /// The head of the answer, as the application made it, is about to be sent.
    pub(crate) fn note_start(&self, message: &Bound<'_, PyAny>) {
        self.begun.store(true, Release);
        self.head.set(message.clone());
    }

    /// The event loop that it runs in, if there is one.
    #[getter]
    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.event_loop.get(py)
    }

    /// The task that it runs in, while its application waits for something.
    #[getter]
    fn task(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        course::seen(self, |course| course.task().map(|task| task.clone_ref(py)))?
    }

    /// When it began.
    #[getter]
    fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// 0 when there were too many to count, and before it begins.
    #[getter]
    pub(crate) fn handle(&self) -> u64 {
        self.handle.load(Relaxed)
    }

    /// The application's headers, once the answer has begun.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let head = self.head.get(py);
        head.map_or(Ok(None), |head| answer::optional(&head, intern!(py, "headers")))
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

    /// What can hold what holds this. No more: each such circle has another who can break it.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.wrapper)?;
        visit.call(&self.scope)?;
        visit.call(&self.pass_on)?;
        self.event_loop.traverse(&visit)?;
        self.head.traverse(&visit)?;
        self.refusal.traverse(&visit)?;
        // One that runs is not garbage.
        course::locked(self).map_or(Ok(()), |course| course.traverse(&visit))
    }

    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        course::resume(slf, Given::Value(&slf.py().None().into_bound(slf.py())))
    }

    /// See `collections.abc.Coroutine`, as of the next two.
    fn send<'py>(slf: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        yielded(course::resume(slf, Given::Value(value))?)
    }

    #[pyo3(signature = (*error))]
    fn throw<'py>(
        slf: &Bound<'py, Self>,
        error: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        yielded(course::resume(slf, Given::Error(error))?)
    }

    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        match course::resume(slf, Given::Close) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
            Err(end) if end.is_instance_of::<PyGeneratorExit>(slf.py()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// For those who look at coroutines, as of the next ones: it stands for the coroutine that it runs.
    #[getter]
    fn cr_await(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.of_coroutine(intern!(py, "cr_await"))
    }

    #[getter]
    fn cr_code(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.of_coroutine(intern!(py, "cr_code"))
    }

    #[getter]
    fn cr_frame(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.of_coroutine(intern!(py, "cr_frame"))
    }

    #[getter]
    fn cr_running(&self) -> bool {
        course::seen(self, |_| ()).is_none()
    }

    #[getter]
    fn cr_suspended(&self) -> bool {
        course::seen(self, |course| course.coroutine().is_some()).unwrap_or(false)
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        "__call__"
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        "AsgiApp.__call__"
    }
}

impl Exchange {
    pub(crate) fn finish(&self, py: Python<'_>, outcome: Outcome) {
        if !self.over.swap(true, AcqRel) {
            self.hold.get().end_exchange(py, self.handle(), outcome);
        }
    }

    fn of_coroutine(&self, name: &Bound<'_, PyString>) -> Option<Py<PyAny>> {
        let py = name.py();
        let coroutine =
            course::seen(self, |course| course.coroutine().map(|found| found.clone_ref(py)))??;
        coroutine.bind(py).getattr(name).ok().map(Bound::unbind)
    }
}

/// An iterator that has returned says so by an exception.
fn yielded(value: Option<Bound<'_, PyAny>>) -> PyResult<Bound<'_, PyAny>> {
    value.ok_or_else(|| PyStopIteration::new_err(()))
}
