//! Holds a server that knows nothing of us: its own shutdown begins a window later than the signal.
//!
//! The signals are [deferred](crate::interposer), the machine runs the window on a thread of its own, and then the signal is
//! handed over, so that the server ends as if it had just come:
//!
//! ```text
//! t0        the signal arrives and is held; the machine starts to drain, the watchdog is armed
//!           window: the server serves on; responses announce, from the middle at the latest
//! t1        each listener is fenced, the server accepts for `settle`
//! hand-over when the queues are empty and what was accepted has been read: the server's own action is restored,
//!           the signal delivered to it, once
//!           the server drains in its own way, and says when it has: `server_stopped`
//! Closing   `close` hooks, `flush` hooks, Done. The exit status is the server's
//! T         the watchdog ends the process, whatever happened to any of this
//! ```
//!
//! What is the operating system's is done here. Every other [`Effect`] goes to the embedder, on the hold's thread and under no
//! lock; it answers with [`Hold::handle`], from any thread. The hold accepts nothing and closes nothing.
//!
//! A Unix socket is not fenced: whatever makes it refuse makes the server's own `accept` fail, which a server that is not told
//! takes for an error. There the hand-over waits for a moment at which the queue is empty, and what arrives between that and
//! the server's close is lost.
//!
//! If the server has not stopped by the drain deadline, the machine goes on to Closing without it, so that logs are
//! still flushed before T.
//!
//! **Forks.** A hold belongs to the process that started it. In a forked child it is inert (no thread, no handler, no
//! window, see [`crate::interposer`]); every worker starts its own, after the fork.
//!
//! **Supervisors** that have a deadline of their own count it from the signal too, window included (gunicorn's `graceful_timeout`, 30 s):
//! the grace must lie below it.
//!
//! **Two interrupts.** A SIGINT that comes during the window, after whatever began it, ends the window at once
//! ([`Event::Escalate`]) and is used up by that. Any other second signal is delivered with the first.

mod driver;
mod holders;
mod quiet;
mod stop_flag;

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::{fmt, io, mem};

use lameduck::report::{Mark, Millis};
use lameduck::{Cause, Effect, Event, Machine, Phase, Policy, Refused, Report, Time, announcement};

use self::driver::Driver;
pub use self::stop_flag::StopFlag;
use crate::clock::now_ns;
use crate::fence::{FenceError, Way};
use crate::interposer::{self, Interposer, InterposerError};
use crate::ledger::Ledger;
use crate::log_lines::{Level, Line, LogLines};
use crate::notify::NotifyError;
use crate::report_file::{ReportFile, Writer};
use crate::start::{self, StartError, Taken};
use crate::wake::{self, SignalsBlocked, Waker};
use crate::watchdog::{self, Watchdog};

/// When a listener is fenced at the end of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// The embedder knows that every process that holds the listener is stopping too, although not all of them can say so:
    /// a supervisor that only ever stops all of its workers at once.
    Always,
    /// When no other process holds it, or only such as hold a window too and are in it. Found out in `/proc`, at t1. A
    /// parent that cannot be looked into counts as a holder, unless it is another user than the one who opened the listener.
    #[default]
    Auto,
    /// Never: this process is a recycled worker, or its listener is somebody else's.
    Never,
    /// As [`Auto`](Self::Auto), for one of several workers whose parent keeps the listener but never stops all of them at once
    /// to start others: when the parent and siblings hold it, and every sibling is in its window, the parent ends too.
    Siblings,
}

/// How a [`Hold`] is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Window, deadline and all other times.
    pub policy: Policy,
    /// Which signals to hold. Those that the process ignores are left alone. The first is the one
    /// that is delivered when the shutdown was asked for by [`Event::Shutdown`].
    pub signals: Vec<c_int>,
    /// The listening sockets. `None`: those that this process has when the signal comes.
    pub listeners: Option<Vec<RawFd>>,
    /// When to fence them.
    pub fencing: Fencing,
    /// Where the embedder counts while serving. Handed over to the machine when the signal comes, on the hold's thread.
    pub ledger: Option<Arc<Ledger>>,
    /// Where the watchdog prints.
    pub descriptor: Option<RawFd>,
    /// A file that gets the report, too: from the watchdog, or by [`Hold::write_report`].
    pub report_file: Option<Arc<ReportFile>>,
    /// See [`watchdog::Options::stacks`].
    pub stacks: Option<c_int>,
    /// The embedder's event loop shows that it is alive, by [`Hold::beat`], from the begin of a shutdown on. Otherwise the hold's
    /// own thread does, which is never blocked.
    pub embedder_beats: bool,
    /// How the parent tells all of its children to stop, when it uses no signal. Set, it counts as a SIGTERM of now. Under
    /// [`Fencing::Auto`] a parent that holds the listener is then taken to end too, if at t1 it waits for several things at once
    /// (`poll`), and not in `waitpid` for one child after the other, to start others.
    pub stop_flag: Option<StopFlag>,
    /// Tells the service manager that the environment names. Not for worker processes, which it does not listen to.
    pub tells_service: bool,
    /// The status with which the watchdog ends the process.
    pub exit_code: u8,
}

impl Options {
    /// Holds SIGTERM and SIGINT under `policy`; the rest as [`watchdog::Options`] has it.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let watchdog::Options { descriptor, exit_code, .. } = watchdog::Options::default();
        Self {
            policy,
            signals: vec![libc::SIGTERM, libc::SIGINT],
            listeners: None,
            fencing: Fencing::Auto,
            ledger: None,
            descriptor,
            report_file: None,
            stacks: None,
            embedder_beats: false,
            stop_flag: None,
            tells_service: false,
            exit_code,
        }
    }
}

/// Why [`Hold::handle`] did not take an event. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTaken {
    /// This process is a forked child of the one that started the hold.
    Forked,
    /// The machine refused it.
    Refused(Refused),
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forked => {
                f.write_str("the hold belongs to the parent process: start one in this process")
            }
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for NotTaken {}

/// A running hold. Dropping it ends it: a held signal is delivered at once, the watchdog is disarmed. A server that shall
/// be gone at T whatever happens must keep it until the process ends.
pub struct Hold {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Hold {
    /// Starts to hold the signals. Call it after the server has installed its own handlers; should it install
    /// them a few seconds later after all, ours goes on top again (see [`reclaim`](Self::reclaim)).
    ///
    /// `embedder` gets every effect that is not done here. It is called on the hold's thread, must return soon, and may
    /// call the hold. If it panics, the effect is lost and the rest goes on.
    ///
    /// # Errors
    /// [`StartError`]; nothing has changed then.
    pub fn start(
        options: Options,
        embedder: impl FnMut(Effect) + Send + 'static,
    ) -> Result<Self, StartError> {
        let Taken { waker, watchdog, claims } = start::take(
            &options.signals,
            options.policy.budget(),
            watchdog::Options {
                descriptor: options.descriptor,
                exit_code: options.exit_code,
                ledger: options.ledger.clone(),
                stacks: options.stacks,
                render_beats: !options.embedder_beats,
                report_file: options.report_file.clone(),
                ..watchdog::Options::default()
            },
        )?;
        let shared = Arc::new(Shared {
            process: wake::process_id(),
            waker,
            machine: Mutex::new(Machine::new(options.policy.clone())),
            asked: Mutex::new(None),
            detail: Mutex::new(None),
            report_file: options.report_file.clone(),
            claims: Mutex::new(claims),
            ways: Mutex::new(Vec::new()),
            watchdog,
            seed: options.policy.seed.value,
            accepted: AtomicBool::new(false),
            announce_from: AtomicU64::new(NEVER),
            t0: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            serves: AtomicBool::new(false),
            trouble: Mutex::new(None),
            stopped: AtomicBool::new(false),
            quit: AtomicBool::new(false),
        });
        let driver = Driver::new(Arc::clone(&shared), options, embedder);
        let _blocked = SignalsBlocked::now();
        let builder = thread::Builder::new().name("lameduck-hold".to_owned());
        let thread = builder.spawn(move || driver.run()).map_err(StartError::Resources)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes an event that happens now. [`Event::Shutdown`] asks the hold to stop the server without a signal
    /// from outside: it goes through the window and then delivers the first of its signals. Events of
    /// listeners are the hold's own business.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing has changed then.
    pub fn handle(&self, event: Event) -> Result<(), NotTaken> {
        if !self.is_here() {
            return Err(NotTaken::Forked);
        }
        let now = Time::from_nanos(now_ns());
        let taken = {
            let mut machine = self.shared.machine();
            match event {
                Event::Shutdown { cause, ever_accepted } if machine.phase() == Phase::Serving => {
                    self.shared.ask(Asked { cause, ever_accepted, at: now });
                    Ok(())
                }
                event => machine.handle(event, now).map_err(NotTaken::Refused),
            }
        };
        self.shared.waker.poke();
        taken
    }

    /// The server has stopped: its listeners are closed and nothing is in flight. Say it from its own shutdown event
    /// (ASGI: `lifespan.shutdown`; gunicorn: `worker_exit`). Now, and not before, Closing runs the
    /// `close` hooks. If the server stopped of itself the shutdown begins with this, without a window; a signal that was held
    /// is then delivered after Done.
    pub fn server_stopped(&self) {
        if self.is_here() {
            self.shared.stopped.store(true, Release);
            self.shared.waker.poke();
        }
    }

    /// This process does its work although it has no listener, and the service manager may know. With one it is told by itself.
    pub fn serves(&self) {
        if self.is_here() {
            self.shared.serves.store(true, Release);
            self.shared.waker.poke();
        }
    }

    /// The server has accepted a connection. Only a policy for development asks (see
    /// [`Settings::development`](lameduck::Settings)).
    pub fn accepted(&self) {
        self.shared.accepted.store(true, Relaxed);
    }

    /// Whether every response shall announce now that its connection closes: from the middle of the window on. For servers that
    /// tell the machine of no connections; the others get [`Effect::AnnounceClose`]. While serving it is one load.
    #[must_use]
    pub fn announcing(&self) -> bool {
        let from = self.shared.announce_from.load(Relaxed);
        from != NEVER && self.is_here() && from <= now_ns()
    }

    /// The same for a response to `peer`, a number that stays the same as long as its connection: from the peer's own moment in the
    /// first half of the window on, so that not all of them come back at once.
    #[must_use]
    pub fn announcing_to(&self, peer: u64) -> bool {
        let from = self.shared.announce_from.load(Relaxed);
        if from == NEVER || !self.is_here() {
            return false;
        }
        let (now, t0) = (now_ns(), self.shared.t0.load(Relaxed));
        from <= now || announcement(from.saturating_sub(t0), self.shared.seed, peer) <= now - t0
    }

    /// The embedder's event loop is alive, see [`Options::embedder_beats`]. One clock reading and one store.
    pub fn beat(&self) {
        if let (Some(watchdog), true) = (&self.shared.watchdog, self.is_here()) {
            watchdog.heartbeat();
        }
    }

    /// Whether the signal was handed over to the server.
    #[must_use]
    pub fn handed_over(&self) -> bool {
        self.shared.handed_over.load(Acquire) != 0
    }

    /// Where the machine stands. In a forked child nothing has been asked of it: Serving.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.is_here() { self.shared.machine().phase() } else { Phase::Serving }
    }

    /// The report as it stands, with the mark `handed over` in its timeline once the signal was. `None` in a forked
    /// child.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.is_here().then(|| self.shared.report(&self.shared.machine()))
    }

    /// What the report and the log say of the cause beside its name; the first word counts. A signal says its own.
    pub fn describe_cause(&self, detail: &str) {
        if self.is_here() {
            self.shared.describe_cause(detail);
        }
    }

    /// What the log is to say now, after what `said` said. Ask after every effect, and every few hundred milliseconds.
    pub fn log_lines(&self, said: &mut LogLines) -> Vec<Line> {
        if !self.is_here() {
            return Vec::new();
        }
        let machine = self.shared.machine();
        let report = self.shared.report(&machine);
        let mut lines = said.poll(&machine, &report, Time::from_nanos(now_ns()));
        let trouble = self.shared.trouble().take();
        lines.extend(trouble.map(|error| Line { level: Level::Warn, text: error.to_string() }));
        lines
    }

    /// Writes the report as it stands into its [file](Options::report_file), if there is one.
    ///
    /// # Errors
    /// What the system says; the file is as it was.
    pub fn write_report(&self) -> io::Result<()> {
        match (&self.shared.report_file, self.report()) {
            (Some(file), Some(report)) => {
                file.write((report.to_json() + "\n").as_bytes(), Writer::Driver)
            }
            _ => Ok(()),
        }
    }

    /// How each listener was brought to its end, by its descriptor; in words, for the log. Empty before t1 and in a forked child.
    #[must_use]
    pub fn ways(&self) -> Vec<(RawFd, Result<Way, FenceError>)> {
        if self.is_here() { self.shared.ways().clone() } else { Vec::new() }
    }

    /// Whether our handler is in force for every signal. Once they were handed over they are the server's.
    #[must_use]
    pub fn owned(&self) -> bool {
        let claims = self.shared.claims();
        self.is_here() && !claims.is_empty() && claims.iter().all(Interposer::owned)
    }

    /// Goes on top of whoever installed a handler since, who gets the signal after the window in
    /// our place. The hold itself does so during its first seconds, for servers that install theirs late.
    ///
    /// # Errors
    /// [`InterposerError`]; then that signal is not held.
    pub fn reclaim(&self) -> Result<(), InterposerError> {
        if self.is_here() { self.shared.reclaim() } else { Ok(()) }
    }

    /// Whether this is the process that has the thread, not a forked child of it, in which a lock may be held for
    /// ever.
    fn is_here(&self) -> bool {
        self.shared.process == wake::process_id()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if !self.is_here() {
            // There is nobody to join, nor to detach.
            mem::forget(thread);
            return;
        }
        self.shared.quit.store(true, Release);
        self.shared.waker.poke();
        // The embedder may drop it on the hold's own thread, which ends of itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
        {
            // An error means that it panicked; then there is nobody to tell.
            let _ = thread.join();
        }
        self.shared.claims().clear();
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("phase", &self.phase())
            .field("here", &self.is_here())
            .finish_non_exhaustive()
    }
}

/// A value of `Shared::announce_from` that is no time.
const NEVER: u64 = u64::MAX;

/// A shutdown that no signal began.
#[derive(Clone, Copy)]
struct Asked {
    cause: Cause,
    ever_accepted: bool,
    at: Time,
}

struct Shared {
    process: libc::pid_t,
    waker: Waker,
    machine: Mutex<Machine>,
    asked: Mutex<Option<Asked>>,
    /// What the report says of the cause beside its name.
    detail: Mutex<Option<String>>,
    report_file: Option<Arc<ReportFile>>,
    /// Empty once the signal was handed over.
    claims: Mutex<Vec<Interposer>>,
    ways: Mutex<Vec<(RawFd, Result<Way, FenceError>)>>,
    watchdog: Option<Watchdog>,
    seed: u64,
    accepted: AtomicBool,
    announce_from: AtomicU64,
    /// When the shutdown was asked for; 0 while Serving.
    t0: AtomicU64,
    /// 0 until then.
    handed_over: AtomicU64,
    /// The embedder says so.
    serves: AtomicBool,
    /// Why the service manager does not hear us, until it was logged.
    trouble: Mutex<Option<NotifyError>>,
    stopped: AtomicBool,
    quit: AtomicBool,
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        // A machine whose event panicked is no worse than one that never got it.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> MutexGuard<'_, Vec<Interposer>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ways(&self) -> MutexGuard<'_, Vec<(RawFd, Result<Way, FenceError>)>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<NotifyError>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, asked: Asked) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(asked);
    }

    fn detail(&self) -> MutexGuard<'_, Option<String>> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe_cause(&self, detail: &str) {
        self.detail().get_or_insert_with(|| detail.to_owned());
    }

    fn report(&self, machine: &Machine) -> Report {
        let mut report = machine.report(Time::from_nanos(now_ns()));
        report.cause_detail.clone_from(&self.detail());
        let (t0, at) = (self.t0.load(Acquire), self.handed_over.load(Acquire));
        if at != 0 {
            let at_ms = Millis(Time::from_nanos(at).since(Time::from_nanos(t0)));
            let later = report.timeline.iter().position(|mark| mark.at_ms > at_ms);
            let place = later.unwrap_or(report.timeline.len());
            report.timeline.insert(place, Mark { at_ms, what: "handed over" });
        }
        report
    }

    fn reclaim(&self) -> Result<(), InterposerError> {
        for claim in self.claims().iter_mut() {
            if !claim.owned() && !interposer::is_ignored(claim.signal()) {
                // The old one, should it hold the signal already, delivers it to the new one.
                *claim = Interposer::defer(claim.signal())?;
            }
        }
        Ok(())
    }
}
