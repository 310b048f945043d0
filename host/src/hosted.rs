//! Drives the machine for a server that tells of its connections and requests, and does at the operating system what the
//! machine says: signals, fences, the watchdog, the service manager, the log, the report.
//!
//! The server counts in the [ledger](crate::ledger) while serving, calls nothing else per request, and gets what it must do itself as
//! [`Told`], on the thread of this, under no lock. It answers from any thread.
//!
//! ```text
//! open, begin, end, close       the ledger alone, until the hand-over; events afterwards
//! a signal, or `stop`           the hand-over: what was counted becomes the machine's
//! Told::Effect                  announce, close, force, run a hook …: what only the server can do
//! Told::CloseListener           its queue is empty: close it, say so
//! Told::Done                    over: end the process with this code
//! ```
//!
//! **Signals** are taken: the action that was there before does not run, and comes back when this is dropped. A second SIGINT
//! insists ([`Event::Escalate`]).
//!
//! **Requests without a name.** While serving a request is only counted. The requests that a connection is adopted with
//! are alike, so an end that names none ends the oldest; whoever wants one to be told apart (its label in the report, an event
//! stream that is to be notified) [describes](Hosted::describe) it.
//!
//! **Forks.** It belongs to the process that started it. In a forked child its methods answer [`NotTaken::Forked`], or do nothing.

mod driver;
mod roster;

use std::collections::VecDeque;
use std::ffi::c_int;
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io, mem};

use lameduck::row::Change;
use lameduck::{
    Blockers, Cause, ConnectionId, Effect, Event, HookId, JobId, JobOutcome, JobSource, ListenerId,
    Machine, OnDrain, Outcome, Phase, Policy, Protocol, Refused, Report, RequestId, RequestKind,
    Stage, Time, ledger as word,
};

use self::driver::{Driver, Listeners};
pub use self::roster::Token;
use self::roster::{Described, Roster};
use crate::clock::now_ns;
use crate::fence::{self, FenceError, Survivors};
use crate::interposer::{self, Interposer, InterposerError};
use crate::last_look;
use crate::ledger::{Ledger, LedgerError, Totals};
use crate::linger;
use crate::log_lines::{Line, LogLines};
use crate::report_file::{ReportFile, Writer};
use crate::wake::{self, SignalsBlocked, Waker};
use crate::watchdog::{self, Watchdog, WatchdogError};

/// How a [`Hosted`] is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Window, deadline and all other times.
    pub policy: Policy,
    /// Which signals ask the server to stop. Those that the process ignores are left alone.
    pub signals: Vec<c_int>,
    /// Who goes on accepting from this server's listeners when it has stopped.
    pub survivors: Survivors,
    /// Where connections and requests are counted. Not handed over yet.
    pub ledger: Arc<Ledger>,
    /// Where the watchdog prints.
    pub descriptor: Option<RawFd>,
    /// A file that gets the report.
    pub report_file: Option<Arc<ReportFile>>,
    /// The embedder's event loop shows that it is alive, by [`Hosted::beat`], whenever it gets [`Told::Beat`]. Otherwise the
    /// thread of this does, which is never blocked.
    pub embedder_beats: bool,
    /// The status with which the watchdog ends the process.
    pub exit_code: u8,
}

impl Options {
    /// SIGTERM and SIGINT under `policy`, counted in `ledger`; the rest as [`watchdog::Options`] has it.
    #[must_use]
    pub fn new(policy: Policy, ledger: Arc<Ledger>) -> Self {
        let watchdog::Options { descriptor, exit_code, .. } = watchdog::Options::default();
        Self {
            policy,
            signals: vec![libc::SIGTERM, libc::SIGINT],
            survivors: Survivors::None,
            ledger,
            descriptor,
            report_file: None,
            embedder_beats: false,
            exit_code,
        }
    }
}

/// What the server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Show that the event loop is alive, see [`Options::embedder_beats`].
    Beat,
    /// Nobody waits at it any more: close the listener and say so ([`Hosted::listener_closed`]).
    CloseListener {
        /// The listener.
        listener: ListenerId,
        /// Its descriptor.
        fd: RawFd,
    },
    /// It is over. The report is written.
    Done {
        /// 0 when nothing was lost.
        code: u8,
    },
    /// To be done, as the machine says. Never one of listeners, nor the exit.
    Effect(Effect),
    /// For the log.
    Line(Line),
}

/// Why it was not started. Nothing has changed then.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A signal could not be taken.
    Interposer(InterposerError),
    /// The system gave no thread.
    Resources(io::Error),
    /// The watchdog could not be started.
    Watchdog(WatchdogError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interposer(error) => error.fmt(f),
            Self::Resources(error) => {
                write!(
                    f,
                    "lameduck cannot start its thread ({error}): nothing would drive a shutdown"
                )
            }
            Self::Watchdog(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Interposer(error) => Some(error),
            Self::Resources(error) => Some(error),
            Self::Watchdog(error) => Some(error),
        }
    }
}

/// Why something that the server said was not taken. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTaken {
    /// The descriptor is no listening socket.
    Descriptor(FenceError),
    /// This process is a forked child of the one that started it.
    Forked,
    /// The connection is unknown, or there are too many.
    Ledger(LedgerError),
    /// More ids were given out than there are.
    NoIdLeft,
    /// The request arrived behind the response that announced the close, or on a connection that was told to end: do not
    /// process it, close the connection (RFC 9112 §9.6). It is not in flight.
    NotProcessed,
    /// The machine refused it.
    Refused(Refused),
    /// It was [released](Hosted::release) before it was over.
    Released,
    /// The policy refuses new requests while draining: answer 503 and close the connection. It has its verdict.
    RefuseRequest,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(error) => error.fmt(f),
            Self::Forked => {
                f.write_str("this belongs to the parent process: start one in this process")
            }
            Self::Ledger(error) => error.fmt(f),
            Self::NoIdLeft => f.write_str("more than 4294967295 were begun in this process"),
            Self::NotProcessed => f.write_str(
                "this request came after its connection was told to close: do not process it, close the connection",
            ),
            Self::Refused(refused) => refused.fmt(f),
            Self::Released => f.write_str("it was released before the shutdown was over"),
            Self::RefuseRequest => f.write_str(
                "the policy refuses new requests while draining: answer 503 with Connection: close, and close",
            ),
        }
    }
}

impl std::error::Error for NotTaken {}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<LedgerError> for NotTaken {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// What to do with a connection that was to be closed as idle, see [`Hosted::look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Bytes of a next request have arrived: it stays open, the machine knows.
    Busy,
    /// It has ended meanwhile.
    Gone,
    /// Close it.
    Idle,
}

/// What a count of a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Late: the hand-over has been, so the machine must be told ([`Hosted::begin_late`], [`Hosted::end_late`]).
    Late,
    /// All there is to do while serving.
    Yes,
}

/// Counts a request that begins. Touches its connection's line and nothing else.
///
/// # Errors
/// [`NotTaken::Ledger`], [`NotTaken::Refused`] when there are too many on the connection.
#[inline]
pub fn begin(ledger: &Ledger, connection: ConnectionId) -> Result<Counted, NotTaken> {
    let (change, late) = match ledger.begin(connection.0)? {
        Change::Counted { previous } => (previous, Counted::Yes),
        Change::HandedOver { previous } => (previous, Counted::Late),
    };
    if change.in_flight == word::IN_FLIGHT_MAX {
        return Err(NotTaken::Refused(Refused::TooMany));
    }
    Ok(late)
}

/// The head of a response is about to be written, `closes` if it says `Connection: close` in any case. Whether it says so; `None`: the
/// hand-over has been, [`Hosted::head_late`] knows.
///
/// # Errors
/// [`NotTaken::Ledger`].
#[inline]
pub fn head(
    ledger: &Ledger,
    connection: ConnectionId,
    closes: bool,
) -> Result<Option<bool>, NotTaken> {
    let row = ledger.row(connection.0)?;
    if row.handed {
        return Ok(None);
    }
    if !closes || row.announced {
        return Ok(Some(closes || row.announced));
    }
    match ledger.announce(connection.0)? {
        Change::Counted { .. } => Ok(Some(true)),
        // It fell in between.
        Change::HandedOver { .. } => Ok(None),
    }
}

/// Counts a request that has ended, and that nobody described.
///
/// # Errors
/// [`NotTaken::Ledger`], [`NotTaken::Refused`] when none was in flight.
#[inline]
pub fn end(ledger: &Ledger, connection: ConnectionId) -> Result<Counted, NotTaken> {
    match ledger.end(connection.0)? {
        Change::Counted { previous } if previous.in_flight > 0 => Ok(Counted::Yes),
        Change::Counted { .. } => Err(NotTaken::Refused(Refused::NotInFlight)),
        Change::HandedOver { .. } => Ok(Counted::Late),
    }
}

/// A running one. Dropping it ends its thread, gives the signals back and disarms the watchdog: a server that shall be gone at T
/// whatever happens keeps it until the process ends.
pub struct Hosted {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Hosted {
    /// Takes the signals and starts its thread. `embedder` gets what the server must do, on that thread; it must return soon and may
    /// call this. If it panics, what it was told is lost and the rest goes on.
    ///
    /// # Errors
    /// [`StartError`]; nothing has changed then.
    pub fn start(
        options: Options,
        embedder: impl FnMut(Told) + Send + 'static,
    ) -> Result<Self, StartError> {
        let signals: Vec<c_int> =
            options.signals.iter().copied().filter(|s| !interposer::is_ignored(*s)).collect();
        let waker = Waker::claim().map_err(StartError::Resources)?;
        // In this order: a signal between the two would arm nothing.
        let watchdog = options.policy.budget().map(|budget| {
            Watchdog::start(watchdog::Options {
                descriptor: options.descriptor,
                exit_code: options.exit_code,
                signals: signals.clone(),
                budget_ns: u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX),
                ledger: Some(Arc::clone(&options.ledger)),
                stacks: None,
                render_beats: !options.embedder_beats,
                report_file: options.report_file.clone(),
            })
        });
        let watchdog = watchdog.transpose().map_err(StartError::Watchdog)?;
        let claims: Result<Vec<_>, _> = signals.iter().map(|s| Interposer::defer(*s)).collect();
        let claims = claims.map_err(StartError::Interposer)?;
        let flags =
            Arc::new(Flags { aborting: AtomicBool::new(false), ready: AtomicBool::new(true) });
        let shared = Arc::new(Shared {
            process: wake::process_id(),
            waker,
            ledger: options.ledger,
            watchdog,
            report_file: options.report_file,
            flags: Arc::clone(&flags),
            quit: AtomicBool::new(false),
            state: Mutex::new(State {
                flags,
                machine: Machine::new(options.policy),
                roster: Roster::default(),
                listeners: Listeners::default(),
                effects: VecDeque::new(),
                said: LogLines::new(),
                detail: None,
                ever_accepted: false,
                last_id: 0,
                cancelled: Vec::new(),
                exit: None,
            }),
            over: Condvar::new(),
        });
        let driver = Driver::new(
            Arc::clone(&shared),
            claims,
            options.survivors,
            options.embedder_beats,
            embedder,
        );
        let _blocked = SignalsBlocked::now();
        let builder = thread::Builder::new().name("lameduck".to_owned());
        let thread = builder.spawn(move || driver.run()).map_err(StartError::Resources)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Where connections and requests are counted.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// Asks the server to stop; `detail` says why, beside the cause, in the report and the log: the first word counts. Repeated, it can
    /// only raise the severity.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn stop(&self, cause: Cause, detail: Option<&str>) -> Result<(), NotTaken> {
        self.shared.here()?;
        self.shared.stop(cause, detail, Time::from_nanos(now_ns())).map_err(NotTaken::from)
    }

    /// Somebody insists, see [`Event::Escalate`].
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn escalate(&self) -> Result<(), NotTaken> {
        self.event(Event::Escalate)
    }

    /// The orchestrator's budget became longer or shorter, see [`Event::DeadlineChanged`].
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn change_grace(&self, grace: Duration) -> Result<(), NotTaken> {
        self.event(Event::DeadlineChanged { grace })
    }

    /// Waits until it is over, at most so long (`None`: for ever). The exit code, or `None` when time ran out.
    ///
    /// # Errors
    /// [`NotTaken::Forked`], [`NotTaken::Released`].
    pub fn wait(&self, patience: Option<Duration>) -> Result<Option<u8>, NotTaken> {
        self.shared.here()?;
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut state = self.shared.state();
        while state.exit.is_none() {
            if self.shared.quit.load(Acquire) {
                return Err(NotTaken::Released);
            }
            state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = self.shared.over.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.shared.over.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        Ok(state.exit)
    }

    /// The server accepts at this listening socket; it goes on doing so until [`Told::CloseListener`]. The descriptor stays the
    /// server's.
    ///
    /// # Errors
    /// [`NotTaken::Descriptor`], and [`NotTaken::Refused`] once a stop was asked for: close the socket.
    pub fn listener_opened(&self, fd: RawFd) -> Result<ListenerId, NotTaken> {
        self.shared.here()?;
        fence::check_listening(fd).map_err(NotTaken::Descriptor)?;
        let mut state = self.shared.state();
        let listener = ListenerId(state.next_id()?);
        state.handle(Event::ListenerOpened { listener })?;
        state.listeners.opened(listener, fd);
        drop(state);
        self.shared.waker.poke();
        Ok(listener)
    }

    /// The listener is closed.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn listener_closed(&self, listener: ListenerId) -> Result<(), NotTaken> {
        self.event_of_listener(listener, Event::ListenerClosed { listener })
    }

    /// The listener failed and is closed; `error` is what the system said.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn listener_failed(&self, listener: ListenerId, error: String) -> Result<(), NotTaken> {
        self.event_of_listener(listener, Event::ListenerFailed { listener, error })
    }

    /// A connection was accepted. `fd` is its socket, for the last look; `None` when the server looks itself. `tag` is what the
    /// embedder knows it by, see [`tag`](Self::tag).
    ///
    /// # Errors
    /// [`NotTaken::Ledger`] when there are too many; [`NotTaken::Refused`] when it is too late: close it.
    pub fn open(
        &self,
        protocol: Protocol,
        fd: Option<RawFd>,
        tag: usize,
    ) -> Result<ConnectionId, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.ever_accepted = true;
        let opened = self.shared.ledger.open(number(protocol))?;
        let connection = ConnectionId(opened.handle);
        if opened.handed_over {
            let told = state.handle(Event::ConnectionOpened { connection, protocol });
            if let Err(refused) = told {
                let _ = self.shared.ledger.close(opened.handle);
                return Err(refused.into());
            }
        }
        state.roster.opened(connection, fd, tag);
        self.shared.poke_when(opened.handed_over);
        Ok(connection)
    }

    /// The connection is gone, whoever closed it. Say it before its descriptor is closed, so that nobody looks at another socket
    /// of the same number.
    ///
    /// # Errors
    /// [`NotTaken::Ledger`].
    pub fn close(&self, connection: ConnectionId) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let change = self.shared.ledger.close(connection.0)?;
        state.roster.closed(connection);
        let handed = matches!(change, Change::HandedOver { .. });
        if handed {
            // What the machine makes of it is no longer this connection's business.
            let _ = state.handle(Event::ConnectionClosed { connection });
        }
        self.shared.poke_when(handed);
        Ok(())
    }

    /// Who is at the other end, for the report.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn describe_peer(&self, connection: ConnectionId, peer: String) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let handed = self.shared.ledger.row(connection.0)?.handed;
        if handed {
            state.handle(Event::ConnectionDescribed { connection, peer })?;
        } else {
            state.roster.describe_peer(connection, peer);
        }
        Ok(())
    }

    /// The connection speaks another protocol from now on; its requests stay in flight.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn upgrade(&self, connection: ConnectionId, protocol: Protocol) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let handed = self.shared.ledger.row(connection.0)?.handed;
        if handed {
            state.handle(Event::ConnectionUpgraded { connection, protocol })?;
            state.roster.upgraded(connection);
        }
        let _ = self.shared.ledger.upgrade(connection.0, number(protocol))?;
        self.shared.poke_when(handed);
        Ok(())
    }

    /// Asked to close it as idle, the server found bytes of a next request and left it open. [`look`](Self::look) says it by itself.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn busy(&self, connection: ConnectionId) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.handle(Event::ConnectionBusy { connection })?;
        drop(state);
        self.shared.waker.poke();
        Ok(())
    }

    /// The last look, to be taken by whoever does [`Effect::CloseIdle`], just before: is the connection to be closed? With `half_close`
    /// its descriptor is half-closed, too; the client then closes its side, and the server, which goes on reading, learns of it.
    /// [`close`](Self::close) waits meanwhile, so the descriptor is still the connection's own.
    pub fn look(&self, connection: ConnectionId, look: bool, half_close: bool) -> Look {
        if self.shared.here().is_err() {
            return Look::Gone;
        }
        let mut state = self.shared.state();
        let Some(known) = state.roster.known(connection) else { return Look::Gone };
        let unread = known.fd.is_some_and(|fd| last_look::unread(fd).is_ok_and(|bytes| bytes > 0));
        if look && unread && state.handle(Event::ConnectionBusy { connection }).is_ok() {
            drop(state);
            self.shared.waker.poke();
            return Look::Busy;
        }
        if let (Some(fd), true) = (known.fd, half_close) {
            linger::shut(fd, Shutdown::Write);
        }
        Look::Idle
    }

    /// Shuts the connection's descriptor down, if it has one; the server, which goes on reading, learns of it.
    pub fn shut(&self, connection: ConnectionId, how: Shutdown) {
        if self.shared.here().is_ok() {
            let state = self.shared.state();
            if let Some(fd) = state.roster.known(connection).and_then(|known| known.fd) {
                linger::shut(fd, how);
            }
        }
    }

    /// Shuts the listener down, so that its owner's `accept` fails: for servers that wait in it.
    pub fn shut_listener(&self, listener: ListenerId) {
        if self.shared.here().is_ok()
            && let Some(fd) = self.shared.state().listeners.descriptor(listener)
        {
            linger::shut(fd, Shutdown::Both);
        }
    }

    /// What the embedder knows the connection by; `None` when it is gone.
    #[must_use]
    pub fn tag(&self, connection: ConnectionId) -> Option<usize> {
        self.shared.here().ok()?;
        Some(self.shared.state().roster.known(connection)?.tag)
    }

    /// A request begins.
    ///
    /// # Errors
    /// [`NotTaken::Ledger`], [`NotTaken::NotProcessed`], [`NotTaken::RefuseRequest`], [`NotTaken::Refused`].
    pub fn begin(&self, connection: ConnectionId) -> Result<Token, NotTaken> {
        match begin(&self.shared.ledger, connection)? {
            Counted::Yes => Ok(Token::COUNTED),
            Counted::Late => self.begin_late(connection),
        }
    }

    /// The rest of it for whoever has called [`begin`] on its ledger, and came late.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    #[cold]
    pub fn begin_late(&self, connection: ConnectionId) -> Result<Token, NotTaken> {
        let taken = self.begin_handed(connection);
        if taken.is_err() {
            // It is not in flight, so the ledger, from which the watchdog reads, must not say so.
            let _ = self.shared.ledger.end(connection.0);
        }
        taken
    }

    fn begin_handed(&self, connection: ConnectionId) -> Result<Token, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let state = &mut *state;
        let Some((request, token)) = state.roster.begin(connection) else {
            return Err(LedgerError::Stale { handle: connection.0 }.into());
        };
        let kind = RequestKind::Ordinary;
        let started = state.handle(Event::RequestStarted { connection, request, kind });
        let refuse = Effect::RefuseRequest { connection, request };
        let place = state.effects.iter().position(|effect| *effect == refuse);
        self.shared.waker.poke();
        if let Err(refused) = started {
            state.roster.end(connection, token);
            return Err(refused.into());
        }
        if let Some(place) = place {
            state.effects.remove(place);
            state.roster.end(connection, token);
            let (outcome, flushed) = (Outcome::Refused, true);
            state.handle(Event::RequestFinished { connection, request, outcome, flushed })?;
            return Err(NotTaken::RefuseRequest);
        }
        if !state.machine.is_in_flight(connection, request) {
            state.roster.end(connection, token);
            return Err(NotTaken::NotProcessed);
        }
        Ok(token)
    }

    /// What the request is, for its allowance and the report. Gives the request a token of its own, if it has none.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn describe(
        &self,
        connection: ConnectionId,
        token: Token,
        kind: RequestKind,
        label: String,
    ) -> Result<Token, NotTaken> {
        self.shared.here()?;
        let since = Time::from_nanos(now_ns());
        let mut state = self.shared.state();
        let row = self.shared.ledger.row(connection.0)?;
        if !row.handed {
            let in_flight = usize::from(row.in_flight);
            let described = Described { kind, label, since };
            return Ok(state.roster.describe(connection, token, described, in_flight)?);
        }
        let (request, token) = state.roster.named(connection, token)?;
        state.handle(Event::RequestDescribed { connection, request, kind, label, since })?;
        drop(state);
        self.shared.waker.poke();
        Ok(token)
    }

    /// The rest of [`head`] after the hand-over. Returns whether the response must say `Connection: close`. HTTP/2 says it by GOAWAY
    /// instead, see [`Effect::AnnounceClose`].
    ///
    /// # Errors
    /// [`NotTaken`].
    #[cold]
    pub fn head_late(
        &self,
        connection: ConnectionId,
        token: Token,
        closes: bool,
    ) -> Result<bool, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let row = self.shared.ledger.row(connection.0)?;
        let request = state.roster.request(connection, token)?;
        let asked = row.protocol == word::HTTP1 && state.roster.announces(connection);
        let announced = closes || asked;
        state.handle(Event::RequestHeadersSent { connection, request, announced })?;
        if announced {
            // For the watchdog's counts; it is open, or the machine would not know it.
            let _ = self.shared.ledger.announce(connection.0);
        }
        drop(state);
        self.shared.waker.poke();
        Ok(announced)
    }

    /// The request has ended and every byte of its response has left the process.
    ///
    /// # Errors
    /// [`NotTaken::Ledger`]; [`NotTaken::Refused`] when it ended before, or the machine gave it its verdict.
    pub fn end(
        &self,
        connection: ConnectionId,
        token: Token,
        outcome: Outcome,
    ) -> Result<(), NotTaken> {
        if token != Token::COUNTED {
            return self.end_named(connection, token, outcome);
        }
        match end(&self.shared.ledger, connection)? {
            Counted::Yes => Ok(()),
            Counted::Late => self.end_late(connection, token, outcome),
        }
    }

    /// The rest of it for whoever has called [`end`] on its ledger, and came late.
    ///
    /// # Errors
    /// As for [`end`](Self::end).
    #[cold]
    pub fn end_late(
        &self,
        connection: ConnectionId,
        token: Token,
        outcome: Outcome,
    ) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let request =
            state.roster.end(connection, token).ok_or(NotTaken::Refused(Refused::NotInFlight))?;
        let flushed = true;
        let ended = state.handle(Event::RequestFinished { connection, request, outcome, flushed });
        drop(state);
        self.shared.waker.poke();
        Ok(ended?)
    }

    /// First the name, then the count: a hand-over in between finds a request without a name, and this ends one.
    fn end_named(
        &self,
        connection: ConnectionId,
        token: Token,
        outcome: Outcome,
    ) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let handed = self.shared.ledger.row(connection.0)?.handed;
        if handed {
            drop(state);
            let _ = self.shared.ledger.end(connection.0)?;
            return self.end_late(connection, token, outcome);
        }
        if !state.roster.undescribe(connection, token) {
            return Err(NotTaken::Refused(Refused::UnknownRequest));
        }
        drop(state);
        self.end(connection, Token::COUNTED, outcome)
    }

    /// Whether the abort signals have fired: what is in flight shall give up now, and so shall what begins from now on.
    #[must_use]
    pub fn aborting(&self) -> bool {
        self.shared.flags.aborting.load(Acquire)
    }

    /// What readiness probes shall answer.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.flags.ready.load(Acquire)
    }

    /// Work beside the requests begins.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn job_begun(
        &self,
        name: String,
        source: JobSource,
        on_drain: OnDrain,
    ) -> Result<JobId, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let job = JobId(state.next_id()?);
        state.handle(Event::JobStarted { job, name, source, on_drain })?;
        self.shared.poke_when(state.machine.phase() != Phase::Serving);
        Ok(job)
    }

    /// It has ended.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn job_ended(&self, job: JobId, outcome: JobOutcome) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.handle(Event::JobFinished { job, outcome })?;
        state.cancelled.retain(|known| *known != job);
        self.shared.poke_when(state.machine.phase() != Phase::Serving);
        Ok(())
    }

    /// Whether its abort signal has fired.
    #[must_use]
    pub fn job_cancelled(&self, job: JobId) -> bool {
        self.shared.here().is_ok() && self.shared.state().cancelled.contains(&job)
    }

    /// Registers a clean-up. It runs when [`Effect::RunHook`] says so.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn hook_registered(
        &self,
        stage: Stage,
        name: String,
        order: i32,
        timeout: Option<Duration>,
        known: impl FnOnce(HookId),
    ) -> Result<HookId, NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        let hook = HookId(state.next_id()?);
        state.handle(Event::HookRegistered { hook, stage, name, order, timeout })?;
        // Before the thread can be told to run it.
        known(hook);
        drop(state);
        self.shared.waker.poke();
        Ok(hook)
    }

    /// A hook that was to be run has ended; `error` is what it failed with.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn hook_finished(&self, hook: HookId, error: Option<String>) -> Result<(), NotTaken> {
        self.event(Event::HookFinished { hook, error })
    }

    /// Which token the server knows a request by.
    #[must_use]
    pub fn token(&self, connection: ConnectionId, request: RequestId) -> Option<Token> {
        self.shared.here().ok()?;
        self.shared.state().roster.token(connection, request)
    }

    /// The embedder's event loop is alive, see [`Options::embedder_beats`].
    pub fn beat(&self) {
        if let Some(watchdog) = &self.shared.watchdog {
            watchdog.heartbeat();
        }
    }

    /// Where the machine stands. In a forked child nothing has been asked of it: Serving.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.shared.here() {
            Ok(()) => self.shared.state().machine.phase(),
            Err(_) => Phase::Serving,
        }
    }

    /// The report as it stands.
    ///
    /// # Errors
    /// [`NotTaken::Forked`].
    pub fn report(&self) -> Result<Report, NotTaken> {
        self.shared.here()?;
        Ok(self.shared.state().report())
    }

    /// What shutdown waits for, `named` of it by name.
    ///
    /// # Errors
    /// [`NotTaken::Forked`].
    pub fn blockers(&self, named: usize) -> Result<Blockers, NotTaken> {
        self.shared.here()?;
        Ok(self.shared.state().machine.blockers(Time::from_nanos(now_ns()), named))
    }

    /// Open connections and requests in flight, as the ledger has them.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.ledger.totals()
    }

    /// Each time of the policy and where it came from, as one line.
    #[must_use]
    pub fn describe_policy(&self) -> String {
        match self.shared.here() {
            Ok(()) => self.shared.state().machine.policy().describe(),
            Err(_) => String::new(),
        }
    }

    /// Ends its thread, gives the signals back, disarms the watchdog. What is told after that is lost. Dropping it does the same.
    pub fn release(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.shared.here().is_err() {
            // There is nobody to join, nor to detach.
            mem::forget(thread);
            return;
        }
        {
            let _state = self.shared.state();
            self.shared.quit.store(true, Release);
        }
        self.shared.over.notify_all();
        self.shared.waker.poke();
        // The embedder may do it on that very thread, which ends of itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
        {
            // An error means that it panicked; then there is nobody to tell.
            let _ = thread.join();
        }
        if let Some(watchdog) = &self.shared.watchdog {
            watchdog.disarm();
        }
    }

    fn event(&self, event: Event) -> Result<(), NotTaken> {
        self.shared.here()?;
        self.shared.state().handle(event)?;
        self.shared.waker.poke();
        Ok(())
    }

    fn event_of_listener(&self, listener: ListenerId, event: Event) -> Result<(), NotTaken> {
        self.shared.here()?;
        let mut state = self.shared.state();
        state.handle(event)?;
        state.listeners.closed(listener);
        drop(state);
        self.shared.waker.poke();
        Ok(())
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

struct Shared {
    process: libc::pid_t,
    waker: Waker,
    ledger: Arc<Ledger>,
    watchdog: Option<Watchdog>,
    report_file: Option<Arc<ReportFile>>,
    flags: Arc<Flags>,
    quit: AtomicBool,
    state: Mutex<State>,
    /// `State::exit` was set.
    over: Condvar,
}

/// What is asked for without a lock.
struct Flags {
    aborting: AtomicBool,
    ready: AtomicBool,
}

struct State {
    flags: Arc<Flags>,
    machine: Machine,
    roster: Roster,
    listeners: Listeners,
    /// Said by the machine, not yet done.
    effects: VecDeque<Effect>,
    said: LogLines,
    detail: Option<String>,
    ever_accepted: bool,
    /// Of listeners, jobs and hooks alike.
    last_id: u32,
    cancelled: Vec<JobId>,
    exit: Option<u8>,
}

impl Shared {
    /// Whether this is the process that has the thread: in a forked child a lock may be held for ever.
    fn here(&self) -> Result<(), NotTaken> {
        if self.process == wake::process_id() { Ok(()) } else { Err(NotTaken::Forked) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A machine whose event panicked is no worse than one that never got it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poke_when(&self, handed: bool) {
        if handed {
            self.waker.poke();
        }
    }

    /// The request to stop, and with the first one the hand-over.
    fn stop(&self, cause: Cause, detail: Option<&str>, at: Time) -> Result<(), Refused> {
        let mut state = self.state();
        let state = &mut *state;
        let ever_accepted = state.ever_accepted;
        let first = state.machine.phase() == Phase::Serving;
        state.machine.handle(Event::Shutdown { cause, ever_accepted }, at)?;
        if let Some(detail) = detail {
            state.detail.get_or_insert_with(|| detail.to_owned());
        }
        if first {
            state.roster.hand_over(&self.ledger, &mut state.machine, at);
            if let Some(watchdog) = &self.watchdog {
                // From here on silence is counted, whoever beats.
                watchdog.heartbeat();
                state.machine.hard_deadline().map(|deadline| watchdog.arm(deadline.as_nanos()));
            }
        }
        state.absorb();
        self.waker.poke();
        Ok(())
    }

    fn write_report(&self, report: &Report) -> io::Result<()> {
        match &self.report_file {
            Some(file) => file.write((report.to_json() + "\n").as_bytes(), Writer::Driver),
            None => Ok(()),
        }
    }
}

impl State {
    fn handle(&mut self, event: Event) -> Result<(), Refused> {
        self.machine.handle(event, Time::from_nanos(now_ns()))?;
        self.absorb();
        Ok(())
    }

    /// Takes the machine's effects; what callers ask about holds from now on, the rest is for the thread.
    fn absorb(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::AnnounceClose { connection } => self.roster.announce(connection),
                Effect::CancelJob { job } => self.cancelled.push(job),
                Effect::AbortRequests => self.flags.aborting.store(true, Release),
                Effect::SetReadiness { ready } => self.flags.ready.store(ready, Release),
                _ => {}
            }
            self.effects.push_back(effect);
        }
    }

    fn next_id(&mut self) -> Result<u32, NotTaken> {
        let id = self.last_id.checked_add(1).ok_or(NotTaken::NoIdLeft)?;
        self.last_id = id;
        Ok(id)
    }

    fn report(&self) -> Report {
        let mut report = self.machine.report(Time::from_nanos(now_ns()));
        report.cause_detail.clone_from(&self.detail);
        report
    }
}

/// The ledger's number of a protocol.
fn number(protocol: Protocol) -> u8 {
    protocol as u8
}
