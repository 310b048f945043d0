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

mod connections;
mod driver;
mod error;
mod requests;
mod roster;
mod work;

use std::collections::VecDeque;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io, mem};

use lameduck::{
    Blockers, Cause, Effect, Event, JobId, ListenerId, Machine, Phase, Policy, Refused, Report,
    Time,
};

pub use self::connections::Look;
use self::driver::{Driver, Listeners};
pub use self::error::NotTaken;
pub use self::requests::{Counted, begin, end, head};
use self::roster::Roster;
pub use self::roster::Token;
use crate::clock::now_ns;
use crate::fence::Survivors;
use crate::ledger::{Ledger, Totals};
use crate::log_lines::{Line, LogLines};
use crate::report_file::{ReportFile, Writer};
use crate::start::{self, StartError, Taken};
use crate::wake::{self, SignalsBlocked, Waker};
use crate::watchdog::{self, Watchdog};

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
        let Taken { waker, watchdog, claims } = start::take(
            &options.signals,
            options.policy.budget(),
            watchdog::Options {
                descriptor: options.descriptor,
                exit_code: options.exit_code,
                ledger: Some(Arc::clone(&options.ledger)),
                render_beats: !options.embedder_beats,
                report_file: options.report_file.clone(),
                ..watchdog::Options::default()
            },
        )?;
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

    /// What readiness probes shall answer.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.flags.ready.load(Acquire)
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
