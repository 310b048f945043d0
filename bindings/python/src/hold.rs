//! A running hold with its ledger.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lameduck::ledger::{self as word, HTTP1, WEBSOCKET};
use lameduck::row::Change;
use lameduck::{ConnectionId, Event, Outcome, Protocol, RequestId, RequestKind};
use lameduck_host::hold::{Fencing, NotTaken, Options, StopFlag};
use lameduck_host::ledger::{Ledger, Spacing};
use lameduck_host::log_lines::{Level, LogLines};
use lameduck_host::report_file::ReportFile;
use lameduck_host::start::StartError;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::answer;
use crate::exchange::Exchange;
use crate::method::{self, Method};
use crate::outbox::Outbox;
use crate::policy::Policy;
use crate::{convert, effect, event};

/// What a request is called on the connection that stands for it: a server tells its application of requests, not of
/// connections, so each has one of its own.
const THE_REQUEST: RequestId = RequestId(0);

/// Holds the signals of this process and runs the machine on a thread of its own, see the host's `hold`. Usable from any thread;
/// in a forked child it does nothing.
#[pyclass(frozen, module = "lameduck._lameduck")]
pub(crate) struct Hold {
    /// `None` once it was released.
    hold: RwLock<Option<Arc<lameduck_host::hold::Hold>>>,
    ledger: Arc<Ledger>,
    outbox: Arc<Outbox>,
    said: Mutex<LogLines>,
    /// Those in flight, by the place of their handle.
    exchanges: Mutex<Vec<Option<Py<Exchange>>>>,
    draining: AtomicBool,
}

impl Hold {
    fn hold(&self) -> Option<Arc<lameduck_host::hold::Hold>> {
        self.hold.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After the hand-over only. A refusal is an ordinary race with the machine's own verdict.
    fn tell(&self, event: Event) {
        if let Some(hold) = self.hold() {
            let _ = hold.handle(event);
        }
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Option<Py<Exchange>>>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is found by its handle.
    pub(crate) fn keep(&self, handle: u64, exchange: Py<Exchange>) {
        if handle != 0 {
            let index = word::index_of(handle) as usize;
            let mut exchanges = self.exchanges();
            if exchanges.len() <= index {
                exchanges.resize_with(index + 1, || None);
            }
            exchanges[index] = Some(exchange);
        }
    }

    pub(crate) fn end_exchange(&self, py: Python<'_>, handle: u64, outcome: Outcome) {
        if handle != 0 {
            let index = word::index_of(handle) as usize;
            let ended = self.exchanges().get_mut(index).and_then(Option::take);
            self.request_ended(handle, outcome);
            // Not under the lock: what it holds may be the last of its kind, and run whatever Python code.
            drop(ended.map(|ended| ended.into_bound(py)));
        }
    }

    /// Whether requests have more to do than to be counted.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// A request begins. Returns its handle, 0 when there are too many to count.
    pub(crate) fn request_began(&self) -> u64 {
        let Ok(opened) = self.ledger.open_with_request(HTTP1) else { return 0 };
        if opened.handed_over {
            let (connection, request) = (ConnectionId(opened.handle), THE_REQUEST);
            self.tell(Event::ConnectionOpened { connection, protocol: Protocol::Http1 });
            self.tell(Event::RequestStarted { connection, request, kind: RequestKind::Ordinary });
        }
        opened.handle
    }

    /// It has ended.
    pub(crate) fn request_ended(&self, handle: u64, outcome: Outcome) {
        if let Ok(Change::HandedOver { .. }) = self.ledger.close_with_request(handle) {
            let (connection, request, flushed) = (ConnectionId(handle), THE_REQUEST, true);
            self.tell(Event::RequestFinished { connection, request, outcome, flushed });
            self.tell(Event::ConnectionClosed { connection });
        }
    }

    /// Makes methods of what every request of other servers pays for.
    pub(crate) fn add_methods(py: Python<'_>) -> PyResult<()> {
        static BEGAN: Method = Method::of_none(c"request_began", request_began);
        static ENDED: Method = Method::of_several(c"request_ended", request_ended);
        let class = py.get_type::<Self>();
        BEGAN.add_to("request_began", &class)?;
        ENDED.add_to("request_ended", &class)
    }
}

/// A handle of Python's. `extract` takes longer than all the rest of an end: what it calls is for numbers of any length.
fn handle_of(handle: &Bound<'_, PyAny>) -> PyResult<u64> {
    if size_of::<usize>() < size_of::<u64>() {
        return handle.extract();
    }
    // SAFETY: it is an object. What is no such number gives the highest, and an exception.
    let found = unsafe { ffi::PyLong_AsSize_t(handle.as_ptr()) };
    let refused = if found == usize::MAX { PyErr::take(handle.py()) } else { None };
    refused.map_or(Ok(found as u64), Err)
}

/// # Safety
/// The interpreter calls it, with a [`Hold`].
unsafe extern "C" fn request_began(
    slf: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it as a method of that class.
    unsafe {
        method::call(|py| {
            let slf = Borrowed::from_ptr(py, slf).cast_unchecked::<Hold>();
            let handle = slf.get().request_began();
            Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromUnsignedLongLong(handle))
        })
    }
}

/// # Safety
/// The interpreter calls it, with a [`Hold`] and its arguments.
unsafe extern "C" fn request_ended(
    slf: *mut ffi::PyObject,
    given: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls it as a method of that class.
    unsafe {
        method::call(|py| {
            let [handle, outcome] = method::arguments(py, "request_ended", given, count)?;
            let slf = Borrowed::from_ptr(py, slf).cast_unchecked::<Hold>();
            let outcome = convert::named("outcome", outcome.cast::<PyString>()?.to_str()?)?;
            slf.get().request_ended(handle_of(&handle)?, outcome);
            Ok(py.None().into_bound(py))
        })
    }
}

#[pymethods]
impl Hold {
    /// Starts to hold `signals`; call it after the server has installed its handlers. `stacks` is a signal whose handler
    /// prints the stacks of all threads; `report_file` gets the report; `stop_flag` is the
    /// address of a POSIX semaphore that lives as long as the process: above zero it is a SIGTERM; with `tells_service` the service manager is told. Raises `OSError` when the system has not what it
    /// takes, else `ValueError`.
    #[new]
    #[pyo3(signature = (policy, /, *, signals, fencing="auto", stacks=None, report_file=None, stop_flag=None, tells_service=false))]
    fn new(
        policy: &Bound<'_, Policy>,
        signals: Vec<i32>,
        fencing: &str,
        stacks: Option<i32>,
        report_file: Option<&str>,
        stop_flag: Option<usize>,
        tells_service: bool,
    ) -> PyResult<Self> {
        let report_file = report_file
            .map(|path| ReportFile::open(path).map(Arc::new))
            .transpose()
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        let fencing = match fencing {
            "always" => Fencing::Always,
            "auto" => Fencing::Auto,
            "never" => Fencing::Never,
            "siblings" => Fencing::Siblings,
            _ => return Err(convert::invalid(format!("there is no fencing '{fencing}'"))),
        };
        let ledger = Arc::new(Ledger::new(Spacing::Line));
        let outbox = Arc::new(Outbox::default());
        let options = Options {
            signals,
            fencing,
            stacks,
            report_file,
            embedder_beats: true,
            // SAFETY: it is the address of a `SemLock` that `_hypercorn.py` keeps for as long as the process lives.
            stop_flag: stop_flag.map(|address| unsafe { StopFlag::new(address as *mut _) }),
            tells_service,
            ledger: Some(Arc::clone(&ledger)),
            ..Options::new(policy.get().0.clone())
        };
        let embedder = {
            let outbox = Arc::clone(&outbox);
            move |effect| outbox.put(effect)
        };
        let hold = lameduck_host::hold::Hold::start(options, embedder).map_err(|error| {
            let sentence = error.to_string();
            match error {
                StartError::Interposer(_) => PyValueError::new_err(sentence),
                _ => PyOSError::new_err(sentence),
            }
        })?;
        let hold = RwLock::new(Some(Arc::new(hold)));
        Ok(Self {
            hold,
            ledger,
            outbox,
            said: Mutex::default(),
            exchanges: Mutex::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// Waits for effects, without holding up other Python threads: a list, empty after `patience` seconds, or `None`
    /// once nothing more will come.
    #[pyo3(signature = (patience=None))]
    fn next_effects<'py>(
        &self,
        py: Python<'py>,
        patience: Option<f64>,
    ) -> PyResult<Option<Vec<Bound<'py, PyDict>>>> {
        let patience = patience.map(convert::seconds).transpose()?;
        let taken = py.detach(|| self.outbox.take(patience));
        let dicts = |effects: Vec<_>| effects.into_iter().map(|e| effect::effect(py, e)).collect();
        taken.map(dicts).transpose()
    }

    /// Takes an event that happens now. Returns `None`, or the name of the reason for which it was refused.
    #[pyo3(signature = (event, /, **fields))]
    fn handle(
        &self,
        event: &str,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Option<&'static str>> {
        let event = event::event(event, fields)?;
        let Some(hold) = self.hold() else { return Ok(Some("done")) };
        match hold.handle(event) {
            Ok(()) => Ok(None),
            Err(NotTaken::Refused(refused)) => Ok(Some(refused.name())),
            Err(other) => Err(PyRuntimeError::new_err(other.to_string())),
        }
    }

    /// An HTTP request begins that goes the long way, in this task and event loop, if they are known. Returns the function that its application calls
    /// with the messages of its answer, whose `__self__` is its `Exchange`.
    fn begin<'py>(
        slf: &Bound<'py, Self>,
        scope: &Bound<'py, PyAny>,
        send: &Bound<'py, PyAny>,
        wrapper: &Bound<'py, PyAny>,
        task: Option<Bound<'py, PyAny>>,
        event_loop: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let exchange = Exchange::elsewhere(wrapper, slf, scope, send, task, event_loop)?;
        answer::function(&exchange)
            .inspect_err(|_| exchange.get().finish(slf.py(), Outcome::Completed))
    }

    /// The one with this handle, if it is in flight.
    fn exchange(&self, py: Python<'_>, handle: u64) -> Option<Py<Exchange>> {
        let exchanges = self.exchanges();
        let found = exchanges.get(word::index_of(handle) as usize)?.as_ref()?;
        (found.get().handle() == handle).then(|| found.clone_ref(py))
    }

    /// All that are in flight.
    fn in_flight(&self, py: Python<'_>) -> Vec<Py<Exchange>> {
        self.exchanges().iter().flatten().map(|exchange| exchange.clone_ref(py)).collect()
    }

    /// A WebSocket opens. Returns its handle, 0 when there are too many to count.
    fn websocket_opened(&self) -> u64 {
        let Ok(opened) = self.ledger.open(WEBSOCKET) else { return 0 };
        if opened.handed_over {
            let (connection, protocol) = (ConnectionId(opened.handle), Protocol::Websocket);
            self.tell(Event::ConnectionOpened { connection, protocol });
        }
        opened.handle
    }

    /// It has closed.
    fn websocket_closed(&self, handle: u64) {
        if let Ok(Change::HandedOver { .. }) = self.ledger.close(handle) {
            self.tell(Event::ConnectionClosed { connection: ConnectionId(handle) });
        }
    }

    /// Whether a response to this peer, a number that is its own, shall say now that its connection closes.
    fn announcing_to(&self, peer: i64) -> bool {
        self.hold().is_some_and(|hold| hold.announcing_to(peer.cast_unsigned()))
    }

    /// The interpreter is alive.
    fn beat(&self) {
        if let Some(hold) = self.hold() {
            hold.beat();
        }
    }

    /// The server has stopped: its listeners are closed and nothing is in flight.
    fn server_stopped(&self) {
        if let Some(hold) = self.hold() {
            hold.server_stopped();
        }
    }

    /// It does its work without a listener, and the service manager may know.
    fn serves(&self) {
        if let Some(hold) = self.hold() {
            hold.serves();
        }
    }

    /// From now on each request has more to do than to be counted.
    fn drains(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the server was told to stop: the window is over.
    #[getter]
    fn handed_over(&self) -> bool {
        self.hold().is_some_and(|hold| hold.handed_over())
    }

    /// Whether our handler is in force for every signal.
    #[getter]
    fn owned(&self) -> bool {
        self.hold().is_some_and(|hold| hold.owned())
    }

    /// Where the machine stands.
    #[getter]
    fn phase(&self) -> &'static str {
        self.hold().map_or("done", |hold| hold.phase().name())
    }

    /// Open connections and requests in flight, as the ledger has them.
    #[getter]
    fn totals(&self) -> (u64, u64) {
        let totals = self.ledger.totals();
        (totals.connections, totals.in_flight)
    }

    /// The report as it stands, as JSON; `None` in a forked child or once it was released.
    fn report(&self) -> Option<String> {
        self.hold()?.report().map(|report| report.to_json())
    }

    /// What the report and the log say of the cause beside its name; the first word counts.
    fn describe_cause(&self, detail: &str) {
        if let Some(hold) = self.hold() {
            hold.describe_cause(detail);
        }
    }

    /// What the log is to say now: whether it is a warning, and the line.
    fn log_lines(&self) -> Vec<(bool, String)> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = self.hold().map(|hold| hold.log_lines(&mut said)).unwrap_or_default();
        lines.into_iter().map(|line| (line.level == Level::Warn, line.text)).collect()
    }

    /// Writes the report into its file, if there is one. Raises `OSError`.
    fn write_report(&self) -> PyResult<()> {
        match self.hold() {
            Some(hold) => Ok(hold.write_report()?),
            None => Ok(()),
        }
    }

    /// How each listener was brought to its end, for the log. Empty before that.
    fn ways(&self) -> Vec<String> {
        let ways = self.hold().map(|hold| hold.ways()).unwrap_or_default();
        ways.into_iter()
            .map(|(descriptor, way)| match way {
                Ok(way) => format!("listener {descriptor}: {way}"),
                Err(error) => format!("listener {descriptor}: not fenced: {error}"),
            })
            .collect()
    }

    /// Gives the signals back, delivers a held one, and calls the watchdog off.
    fn release(&self, py: Python<'_>) {
        let hold = self.hold.write().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(hold));
        self.outbox.close();
    }
}
