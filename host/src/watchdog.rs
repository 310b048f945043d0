//! The watchdog: at the hard deadline the process ends, whatever its event loop is doing.
//!
//! Native threads, made up front while memory and threads can still be had. The *killer* waits for the
//! deadline and then calls `_exit`; the *printer* writes the provisional report first, if it can within
//! [`PRINT_NS`] of the deadline. So a full pipe delays the end by that much and no more. A report that shall also go into
//! a [file](Options::report_file) has a printer of its own, so that the pipe does not cost the file.
//!
//! It is armed by a signal's arrival ([`Options::signals`], through the [interposer]), even if
//! nobody ever handles that signal, or by [`Watchdog::arm`]. A driver whose shutdown is complete calls
//! [`Watchdog::disarm`], or drops it.
//!
//! While it is armed, nothing here allocates or takes a lock that another thread could hold. The descriptor's flags
//! are left alone: a shared one must never become non-blocking.
//!
//! # What is printed
//! One line for whoever is on call, then a report of the schema `lameduck-report/1` on a line of its own: the last one
//! that the driver [rendered](Watchdog::render). If the event loop was blocked when the signal came, there is none
//! of this shutdown; then it is the one [rendered while serving](Watchdog::render_serving), with the
//! ledger's counts, as if the connections had been handed over at the deadline. A report of a blocked loop has one
//! member more, `event_loop_blocked_ms`: for how long nothing was heard from the loop.
//!
//! # Time
//! All of it is `CLOCK_MONOTONIC`: the arrival, the deadline, and the waiting in between (a futex with a relative
//! timeout, or `poll`). Whoever sets the wall clock changes nothing here. A process stopped
//! by SIGSTOP across its deadline ends as soon as it is continued.
//!
//! On a machine with more to do than processors, the two threads ask for a short slice and, where that is allowed, a high
//! priority (Linux): they sleep until the deadline and then need very little, but at once.
//!
//! Not within its power: SIGSTOP itself, uninterruptible sleep, and a control group that has used up its share of
//! the processor.

use std::ffi::c_int;
use std::fmt::{self, Write as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::{io, mem};

use lameduck::{Cause, Report};

use crate::clock::{MonotonicNs, now_ns};
use crate::descriptor;
use crate::interposer;
use crate::ledger::{Ledger, Totals};
use crate::provisional::{CAPACITY, Provisional};
use crate::report_file::{ReportFile, Writer};
use crate::wake::{self, SignalsBlocked, Waker};
use crate::{terminal, unhandled};

/// The longest provisional report, in bytes.
pub const REPORT_MAX: usize = CAPACITY;
/// How long after the deadline the printer may still write, in nanoseconds.
pub const PRINT_NS: u64 = 50_000_000;
/// A driver that gave no sign of life for longer than this before the deadline is called blocked, in nanoseconds.
/// Call [`Watchdog::heartbeat`] at least twice as often while the watchdog is armed.
pub const BLOCKED_NS: u64 = 200_000_000;

const STACK_BYTES: usize = 128 * 1024;
/// After a deadline that was slept through (SIGSTOP), the printer still gets this long.
const LATE_PRINT_NS: u64 = 10_000_000;

/// How a [`Watchdog`] is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to print, usually 2. Duplicated at the start, so that it may be closed later. `None` prints nothing, and
    /// so does 2 when standard error is closed: a daemon needs its watchdog all the same.
    pub descriptor: Option<RawFd>,
    /// A file that gets the report, too.
    pub report_file: Option<Arc<ReportFile>>,
    /// The status with which the process ends at the deadline, 0 to 255.
    pub exit_code: u8,
    /// Signals whose first arrival since the start arms the watchdog. Install an
    /// [`Interposer`](interposer::Interposer) for each, best just after the start: what came before it does not count.
    pub signals: Vec<c_int>,
    /// From a signal's arrival to the deadline it sets, in nanoseconds: grace − margin.
    pub budget_ns: u64,
    /// Whose totals to print when the driver itself says nothing.
    pub ledger: Option<Arc<Ledger>>,
    /// A signal whose handler writes the stack of every thread somewhere, without a lock or an allocation (Python's
    /// `faulthandler.register`). It is raised in the printer's thread, before the report is printed.
    pub stacks: Option<c_int>,
    /// Whether [`Watchdog::render`] is a sign of life: the driver renders on its event loop. Otherwise only
    /// [`Watchdog::heartbeat`] is.
    pub render_beats: bool,
}

impl Default for Options {
    /// Prints to standard error, ends with status 1, 29 s after a signal, but heeds none.
    fn default() -> Self {
        Self {
            descriptor: Some(2),
            report_file: None,
            exit_code: 1,
            signals: Vec::new(),
            budget_ns: 29_000_000_000,
            ledger: None,
            stacks: None,
            render_beats: true,
        }
    }
}

/// Why a watchdog was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchdogError {
    /// The descriptor could not be duplicated.
    Descriptor(io::Error),
    /// The system gave no thread, or no descriptor to wake it by.
    Resources(io::Error),
}

impl fmt::Display for WatchdogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(error) => {
                write!(f, "the watchdog cannot print to the descriptor it was given: {error}")
            }
            Self::Resources(error) => write!(
                f,
                "the watchdog cannot start ({error}): without it a blocked process is not ended in time"
            ),
        }
    }
}

impl std::error::Error for WatchdogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Descriptor(error) | Self::Resources(error) => Some(error),
        }
    }
}

/// The report was longer than [`REPORT_MAX`]; the previous one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportTooLong {
    /// Its length in bytes.
    pub bytes: usize,
}

impl fmt::Display for ReportTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a provisional report of {} bytes is longer than {REPORT_MAX}: name fewer blockers",
            self.bytes
        )
    }
}

impl std::error::Error for ReportTooLong {}

/// A running watchdog. Dropping it disarms it and joins its threads, which takes no noticeable time. In a
/// forked child, which has none of the threads, all methods do nothing.
pub struct Watchdog {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts its threads, with all signals blocked in them, and waits until they run.
    ///
    /// # Errors
    /// [`WatchdogError`]; nothing runs then.
    pub fn start(options: Options) -> Result<Self, WatchdogError> {
        let descriptor =
            options.descriptor.map(Descriptor::duplicate).transpose().or_else(|error| {
                match (options.descriptor, error.raw_os_error()) {
                    (Some(libc::STDERR_FILENO), Some(libc::EBADF)) => Ok(None),
                    _ => Err(WatchdogError::Descriptor(error)),
                }
            })?;
        let waker = Waker::claim().map_err(WatchdogError::Resources)?;
        let shared = Arc::new(Shared {
            process: wake::process_id(),
            started: now_ns(),
            exit_code: options.exit_code,
            bare: unhandled::bare_template(options.exit_code).into_boxed_slice(),
            signals: options.signals,
            budget_ns: options.budget_ns,
            ledger: options.ledger,
            outputs: [descriptor.map(Output::Descriptor), options.report_file.map(Output::File)]
                .into_iter()
                .flatten()
                .collect(),
            stacks: options.stacks,
            render_beats: options.render_beats,
            waker,
            deadline: AtomicU64::new(WAITING),
            arrival: AtomicU64::new(0),
            armed_by: AtomicI32::new(0),
            heartbeat: AtomicU64::new(0),
            rendered: AtomicU64::new(0),
            provisional: Provisional::new(),
            writer: Mutex::new(()),
            starter: thread::current(),
            running: AtomicU32::new(0),
            quit: AtomicBool::new(false),
            print: AtomicBool::new(false),
            printing: AtomicU32::new(0),
        });
        // An early return drops `watchdog`, which ends the thread that was started.
        let mut watchdog = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let _blocked = SignalsBlocked::now();
        let mut printers = Vec::new();
        for number in 0..shared.outputs.len() {
            let name = shared.outputs[number].thread_name();
            let shared = Arc::clone(&shared);
            // All that printing needs is allocated now.
            let mut paper = Paper::new();
            let printer =
                spawn(name, move || print_when_told(&shared, &shared.outputs[number], &mut paper))?;
            printers.push(printer.thread().clone());
            watchdog.threads.push(printer);
        }
        watchdog.threads.push(spawn("lameduck-kill", {
            let shared = Arc::clone(&shared);
            move || kill_in_time(&shared, &printers)
        })?);
        // A thread allocates while it starts. That must be over before anybody counts on it.
        while (shared.running.load(Acquire) as usize) < watchdog.threads.len() {
            thread::park();
        }
        Ok(watchdog)
    }

    /// Sets the deadline, armed or not, and whether a signal set it or not: the driver's word counts from now on.
    /// A deadline in the past ends the process at once. Returns false if the deadline has already struck.
    pub fn arm(&self, deadline: MonotonicNs) -> bool {
        self.set(|_| Some(deadline.clamp(1, DEADLINE_MAX)))
    }

    /// Moves the deadline, later or earlier. Returns false, and changes nothing, if the watchdog is not armed or
    /// the deadline has already struck.
    pub fn extend(&self, deadline: MonotonicNs) -> bool {
        self.set(|now| (now != WAITING && now != OFF).then(|| deadline.clamp(1, DEADLINE_MAX)))
    }

    /// Calls the watchdog off: no signal arms it any more, only [`arm`](Self::arm) does. Returns false if the
    /// deadline has already struck: then the process is about to end.
    pub fn disarm(&self) -> bool {
        self.set(|_| Some(OFF))
    }

    /// The deadline, if one is set. A signal sets it a moment after it arrived.
    #[must_use]
    pub fn deadline(&self) -> Option<MonotonicNs> {
        let deadline = self.shared.deadline.load(Acquire);
        (WAITING < deadline && deadline <= DEADLINE_MAX).then_some(deadline)
    }

    /// The event loop is alive. One clock reading and one store.
    pub fn heartbeat(&self) {
        self.shared.heartbeat.store(now_ns(), Relaxed);
    }

    /// Keeps `report`, a JSON object, as what to print at the deadline, in place of the one before. Call it
    /// after every drained input of a shutdown. Also a [`heartbeat`](Self::heartbeat), unless the driver beats
    /// [elsewhere](Options::render_beats).
    ///
    /// # Errors
    /// [`ReportTooLong`]; the previous report stays.
    pub fn render(&self, report: &[u8]) -> Result<(), ReportTooLong> {
        self.publish(report)?;
        let now = now_ns();
        if self.shared.render_beats {
            self.shared.heartbeat.store(now, Relaxed);
        }
        self.shared.rendered.store(now, Release);
        Ok(())
    }

    /// [Renders](Self::render) `report`, saying what would be true of it if the watchdog printed it: the exit code,
    /// and what is lost by ending there.
    ///
    /// # Errors
    /// [`ReportTooLong`]; the previous report stays.
    pub fn render_report(&self, mut report: Report) -> Result<(), ReportTooLong> {
        report.exit_code = self.shared.exit_code;
        report.lost.push(String::from("the process was ended at the hard deadline"));
        report.lost.extend(unhandled::cut(report.requests.in_flight).map(|cut| cut.to_string()));
        self.render(report.to_json().as_bytes())
    }

    /// Keeps what is known while serving (the policy, hooks, jobs, listeners) for the case that the event loop is
    /// blocked when the signal comes. Call it once the policy is known and when one of these changes.
    ///
    /// # Errors
    /// [`ReportTooLong`]; the previous report stays.
    pub fn render_serving(&self, report: &Report) -> Result<(), ReportTooLong> {
        self.publish(&unhandled::template(report, self.shared.exit_code))
    }

    fn publish(&self, report: &[u8]) -> Result<(), ReportTooLong> {
        if report.len() > REPORT_MAX {
            return Err(ReportTooLong { bytes: report.len() });
        }
        if self.is_here() {
            // Among drivers only: the printer never takes it.
            let _writer = self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.provisional.publish(report);
        }
        Ok(())
    }

    fn set(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        if !self.is_here() {
            return false;
        }
        // One word decides between this and the killer: whoever changes it first has its way.
        let changed = self
            .shared
            .deadline
            .fetch_update(AcqRel, Acquire, |now| if now == FIRED { None } else { next(now) });
        self.shared.waker.poke();
        changed.is_ok()
    }

    /// Whether this is the process that has the threads, not a forked child of it.
    fn is_here(&self) -> bool {
        self.shared.process == wake::process_id()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let threads = mem::take(&mut self.threads);
        if !self.is_here() {
            // A forked child: there is nobody to join, nor to detach.
            mem::forget(threads);
            return;
        }
        self.disarm();
        self.shared.quit.store(true, Release);
        self.shared.waker.poke();
        for thread in threads {
            thread.thread().unpark();
            // An error means that it panicked; then it watches no more and there is nothing to tell.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("deadline", &self.deadline())
            .field("exit_code", &self.shared.exit_code)
            .field("signals", &self.shared.signals)
            .finish_non_exhaustive()
    }
}

/// Values of `Shared::deadline` that are no deadlines.
const WAITING: u64 = 0;
const OFF: u64 = u64::MAX;
const FIRED: u64 = u64::MAX - 1;
const DEADLINE_MAX: u64 = u64::MAX - 2;

struct Shared {
    process: libc::pid_t,
    started: MonotonicNs,
    exit_code: u8,
    /// What to fill in when no report was rendered.
    bare: Box<[u8]>,
    signals: Vec<c_int>,
    budget_ns: u64,
    ledger: Option<Arc<Ledger>>,
    /// One printer each. Not the printers' own: who closes all descriptors closes ours, and a thread at its end
    /// would trip over that.
    outputs: Vec<Output>,
    stacks: Option<c_int>,
    render_beats: bool,
    /// The killer's.
    waker: Waker,
    deadline: AtomicU64,
    /// Arrival of the signal that armed the watchdog, 0 if none did.
    arrival: AtomicU64,
    /// That signal.
    armed_by: AtomicI32,
    heartbeat: AtomicU64,
    /// When the last report was rendered, 0 if none was.
    rendered: AtomicU64,
    provisional: Provisional,
    writer: Mutex<()>,
    starter: Thread,
    /// How many of the threads have started.
    running: AtomicU32,
    quit: AtomicBool,
    print: AtomicBool,
    /// How many printers are not done yet.
    printing: AtomicU32,
}

impl Shared {
    /// Called by each thread once it needs nothing any more that it has not got.
    fn is_running(&self) {
        self.running.fetch_add(1, AcqRel);
        self.starter.unpark();
    }

    /// The first arrival since the start of a signal that arms this watchdog, and the signal.
    fn first_arrival(&self) -> Option<(MonotonicNs, c_int)> {
        let arrival = |signal| Some((interposer::arrival_since(signal, self.started)?, signal));
        self.signals.iter().copied().filter_map(arrival).min()
    }
}

/// The killer's thread.
fn kill_in_time(shared: &Shared, printers: &[Thread]) {
    run_soon();
    shared.is_running();
    loop {
        if shared.quit.load(Acquire) {
            return;
        }
        if let Some((arrival, signal)) = shared.first_arrival() {
            let _ = shared.armed_by.compare_exchange(0, signal, AcqRel, Relaxed);
            let _ = shared.arrival.compare_exchange(0, arrival, AcqRel, Relaxed);
            let deadline = arrival.saturating_add(shared.budget_ns).clamp(1, DEADLINE_MAX);
            // Fails if the driver has set a deadline of its own, or called the watchdog off.
            let _ = shared.deadline.compare_exchange(WAITING, deadline, AcqRel, Relaxed);
        }
        match shared.deadline.load(Acquire) {
            WAITING | OFF => shared.waker.wait(None),
            deadline if now_ns() < deadline => shared.waker.wait(Some(deadline)),
            deadline => {
                if shared.deadline.compare_exchange(deadline, FIRED, AcqRel, Relaxed).is_ok() {
                    end_process(shared, printers, deadline);
                }
            }
        }
    }
}

fn end_process(shared: &Shared, printers: &[Thread], deadline: MonotonicNs) -> ! {
    let latest = deadline.saturating_add(PRINT_NS).max(now_ns().saturating_add(LATE_PRINT_NS));
    shared.printing.store(printers.len() as u32, Relaxed);
    // Release: a printer that sees it counts itself off what was stored before.
    shared.print.store(true, Release);
    printers.iter().for_each(Thread::unpark);
    while shared.printing.load(Acquire) > 0 && now_ns() < latest {
        shared.waker.wait(Some(latest));
    }
    // SAFETY: no preconditions; it runs no destructor and no exit handler, which a blocked thread could hold up.
    unsafe { libc::_exit(shared.exit_code.into()) }
}

/// Where a printer writes to.
enum Output {
    Descriptor(Descriptor),
    File(Arc<ReportFile>),
}

impl Output {
    fn thread_name(&self) -> &'static str {
        match self {
            Self::Descriptor(_) => "lameduck-print",
            Self::File(_) => "lameduck-file",
        }
    }
}

/// A printer's thread.
fn print_when_told(shared: &Shared, output: &Output, paper: &mut Paper) {
    run_soon();
    shared.is_running();
    while !shared.print.load(Acquire) {
        if shared.quit.load(Acquire) {
            return;
        }
        thread::park();
    }
    let report_at = compose(shared, paper);
    let text = paper.text.as_bytes();
    // Whatever goes wrong here, there is nobody left to tell and no time to do it in.
    let _ = match output {
        Output::Descriptor(descriptor) => {
            shared.stacks.into_iter().for_each(raise_here);
            descriptor::write_all(descriptor.0.as_raw_fd(), text)
        }
        Output::File(file) => file.write(&text[report_at..], Writer::Watchdog),
    };
    shared.printing.fetch_sub(1, Release);
    shared.waker.poke();
}

/// Runs the handler of `signal` in this thread, which has all signals blocked. Not if nobody handles it: that would end the
/// process in a way that nobody asked for.
fn raise_here(signal: c_int) {
    if !interposer::is_handled(signal) {
        return;
    }
    // SAFETY: a zeroed set is a valid one to begin with; the calls get valid pointers, or none.
    unsafe {
        let mut one: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut one);
        libc::sigaddset(&mut one, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &one, std::ptr::null_mut());
        libc::raise(signal);
    }
}

/// What the printer writes with.
struct Paper {
    text: Text,
    report: Box<[u8]>,
}

impl Paper {
    fn new() -> Self {
        Self { text: Text::new(), report: vec![0; CAPACITY].into_boxed_slice() }
    }
}

/// What was heard from the event loop.
enum Heard {
    /// It showed itself within [`BLOCKED_NS`].
    Lately,
    /// Nothing for as many milliseconds.
    NothingFor(u64),
    /// It never handled the signal, which came so many milliseconds ago.
    NotTheSignal { signal: c_int, ms: u64 },
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lately => f.write_str("the process ends now"),
            Self::NothingFor(ms) => write!(f, "event loop blocked for {ms} ms"),
            Self::NotTheSignal { signal, ms } => {
                f.write_str("event loop blocked: ")?;
                match *signal {
                    libc::SIGHUP => f.write_str("SIGHUP"),
                    libc::SIGINT => f.write_str("SIGINT"),
                    libc::SIGQUIT => f.write_str("SIGQUIT"),
                    libc::SIGTERM => f.write_str("SIGTERM"),
                    other => write!(f, "signal {other}"),
                }?;
                write!(f, " came {ms} ms ago and nobody handled it")
            }
        }
    }
}

/// What to print: one line for whoever is on call, then the report on a line of its own. Returns where that begins.
fn compose(shared: &Shared, Paper { text, report }: &mut Paper) -> usize {
    let totals = shared.ledger.as_ref().map(|ledger| ledger.totals());
    let arrival = shared.arrival.load(Acquire);
    let rendered = shared.rendered.load(Acquire);
    let heartbeat = shared.heartbeat.load(Relaxed);
    let now = now_ns();
    let milliseconds = |since: u64| now.saturating_sub(since) / 1_000_000;
    // A report from before the signal says nothing about this shutdown.
    let handled = rendered != 0 && rendered >= arrival;
    let heard = if !handled && arrival != 0 {
        let signal = shared.armed_by.load(Acquire);
        Heard::NotTheSignal { signal, ms: milliseconds(arrival) }
    } else if heartbeat != 0 && now.saturating_sub(heartbeat) > BLOCKED_NS {
        Heard::NothingFor(milliseconds(heartbeat))
    } else {
        Heard::Lately
    };

    // Writing to a Text never fails, it only cuts.
    let _ = write!(text, "lameduck: hard deadline reached: {heard}");
    if let Some(Totals { connections, in_flight, .. }) = totals {
        let _ =
            write!(text, "; {connections} connections, {in_flight} requests in flight (ledger)");
    }
    let _ = text.write_str("\n");
    let report_at = text.length;

    let length = shared.provisional.copy_to(report).unwrap_or(0);
    let report = &report[..length];
    if handled && !unhandled::is_template(report) {
        text.push(report);
    } else {
        let template = if unhandled::is_template(report) { report } else { &shared.bare };
        let cause = match shared.armed_by.load(Acquire) {
            libc::SIGINT if terminal::stdin_is_terminal() => Some(Cause::Interrupt),
            libc::SIGINT | libc::SIGTERM => Some(Cause::Terminate),
            _ => None,
        };
        let took_ms = if arrival == 0 { 0 } else { milliseconds(arrival) };
        let why: &dyn fmt::Display = match &heard {
            Heard::Lately => &"hard deadline reached before any report was made",
            blocked => blocked,
        };
        let totals = totals.unwrap_or_default();
        let facts = unhandled::Facts { took_ms, cause: cause.map(Cause::name), why, totals };
        let _ = unhandled::fill(template, &facts, text);
    }
    if let Heard::NothingFor(ms) | Heard::NotTheSignal { ms, .. } = heard
        && text.as_bytes().ends_with(b"}")
    {
        text.length -= 1;
        let _ = write!(text, ",\"event_loop_blocked_ms\":{ms}}}");
    }
    let _ = text.write_str("\n");
    report_at
}

/// Text in memory that was allocated beforehand. What does not fit is cut.
struct Text {
    bytes: Box<[u8]>,
    length: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: vec![0; CAPACITY + 2048].into_boxed_slice(), length: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        let rest = &mut self.bytes[self.length..];
        let fits = bytes.len().min(rest.len());
        rest[..fits].copy_from_slice(&bytes[..fits]);
        self.length += fits;
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// A duplicate of the descriptor to print to.
struct Descriptor(OwnedFd);

impl Descriptor {
    fn duplicate(fd: RawFd) -> io::Result<Self> {
        // SAFETY: any descriptor number may be asked for a duplicate.
        let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
        descriptor::done(duplicate)?;
        // SAFETY: the duplicate was made just now and is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(duplicate) }))
    }
}

fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, WatchdogError> {
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(body).map_err(WatchdogError::Resources)
}

/// Asks the scheduler to let this thread run soon after it wakes. Refused without harm.
#[cfg(target_os = "linux")]
fn run_soon() {
    /// What `sched_setattr` reads, in its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        /// With this policy the length of a slice (since Linux 6.12; before, it is ignored).
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    const SHORTEST_SLICE_NS: u64 = 100_000;
    // SAFETY: no preconditions; 0 is this thread.
    let as_it_is = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    for nice in [-20, as_it_is] {
        let attributes = Attributes {
            size: size_of::<Attributes>() as u32,
            policy: libc::SCHED_OTHER as u32,
            flags: 0,
            nice,
            priority: 0,
            runtime: SHORTEST_SLICE_NS,
            deadline: 0,
            period: 0,
        };
        // SAFETY: the attributes live through the call, which reads as many bytes as their size says; 0 is this thread.
        if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } == 0 {
            return;
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn run_soon() {}
