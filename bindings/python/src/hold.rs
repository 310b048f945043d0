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
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::exchange::Exchange;
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

    pub(crate) fn end_exchange(&self, handle: u64, outcome: Outcome) {
        let ended =
            self.exchanges().get_mut(word::index_of(handle) as usize).and_then(Option::take);
        self.end_request(handle, outcome);
        // Not under the lock: what it holds may be the last of its kind, and run whatever Python code.
        drop(ended);
    }

    /// Whether requests have more to do than to be counted.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    fn end_request(&self, handle: u64, outcome: Outcome) {
        if let Ok(Change::HandedOver { .. }) = self.ledger.end(handle) {
            let connection = ConnectionId(handle);
            let (request, flushed) = (THE_REQUEST, true);
            self.tell(Event::RequestFinished { connection, request, outcome, flushed });
        }
        self.closed(handle);
    }

    fn opened(&self, protocol: Protocol, word: u8) -> u64 {
        let Ok(opened) = self.ledger.open(word) else { return 0 };
        if opened.handed_over {
            let connection = ConnectionId(opened.handle);
            self.tell(Event::ConnectionOpened { connection, protocol });
        }
        opened.handle
    }

    fn closed(&self, handle: u64) {
        if let Ok(Change::HandedOver { .. }) = self.ledger.close(handle) {
            self.tell(Event::ConnectionClosed { connection: ConnectionId(handle) });
        }
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

    /// An HTTP request begins: returns it, and the function that its application calls with the messages of its answer. `app` has `send_late` and `send_last`.
    fn begin(
        slf: &Bound<'_, Self>,
        scope: Py<PyAny>,
        send: Py<PyAny>,
        app: Py<PyAny>,
        task: Option<Py<PyAny>>,
    ) -> PyResult<(Py<Exchange>, Py<PyAny>)> {
        let (py, this) = (slf.py(), slf.get());
        let handle = this.request_began();
        let exchange = Exchange::new((scope, send, app), slf.clone().unbind(), task, handle);
        let exchange = Py::new(py, exchange)?;
        if handle != 0 {
            let index = word::index_of(handle) as usize;
            let mut exchanges = this.exchanges();
            if exchanges.len() <= index {
                exchanges.resize_with(index + 1, || None);
            }
            exchanges[index] = Some(exchange.clone_ref(py));
        }
        let sender = Exchange::sender(exchange.bind(py))?.unbind();
        Ok((exchange, sender))
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

    /// A request begins. Returns its handle, 0 when there are too many to count.
    fn request_began(&self) -> u64 {
        let handle = self.opened(Protocol::Http1, HTTP1);
        if let Ok(Change::HandedOver { .. }) = self.ledger.begin(handle) {
            let connection = ConnectionId(handle);
            let kind = RequestKind::Ordinary;
            self.tell(Event::RequestStarted { connection, request: THE_REQUEST, kind });
        }
        handle
    }

    /// It has ended.
    fn request_ended(&self, handle: u64, outcome: &str) -> PyResult<()> {
        self.end_request(handle, convert::named("outcome", outcome)?);
        Ok(())
    }

    /// A WebSocket opens. Returns its handle, 0 when there are too many to count.
    fn websocket_opened(&self) -> u64 {
        self.opened(Protocol::Websocket, WEBSOCKET)
    }

    /// It has closed.
    fn websocket_closed(&self, handle: u64) {
        self.closed(handle);
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
