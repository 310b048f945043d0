//! The signal interposer: learns when a signal came, whatever the event loop is doing.
//!
//! Both modes are installed after the server's own handler (in Node: after the first `process.on('SIGTERM')`, which
//! makes libuv install its handler; in Python: in the lifespan's start-up).
//!
//! Mode *chain*: our handler notes the time, wakes the watchdogs and then runs the handler that was there
//! before, as if it had been called directly.
//!
//! Mode *defer*: our handler notes the time, wakes whoever waits, and that is all: the signal is *held*.
//! [`Interposer::deliver`] then restores the server's own action and sends the signal again, so that the server's
//! handler runs natively, as if the signal had just come: CPython's C handler with its wakeup descriptor (to which
//! nothing was written before), libuv's, a plain `sigaction`'s, or the system's default. [`crate::hold`] drives this.
//!
//! - The handler is async-signal-safe: atomics, `clock_gettime`, `getpid`, a futex (elsewhere than on Linux a `write`); it
//!   keeps `errno`.
//! - The flags and the mask of the previous action are kept, with `SA_SIGINFO` and `SA_ONSTACK` added. In mode *defer*
//!   also `SA_RESTART`, and `SA_RESETHAND` is taken off: a signal that the server does not learn of must not make its
//!   blocking calls fail with `EINTR`, and ours must outlast it. Calls that no flag restarts (`epoll_wait`, `poll`,
//!   `select`, `nanosleep`: signal(7)) return `EINTR` as they do with the server's own handler.
//! - If the previous action was the default one, the handler restores it and raises the signal again: the
//!   process ends, stops or goes on exactly as without us. If the signal was ignored, it stays ignored.
//! - Instances of one process share one handler per signal, in one mode; the last one to be removed restores
//!   the previous action. A held signal is delivered once, when the last instance agrees, by
//!   [`deliver`](Interposer::deliver) or by going away: so the longest window counts. Two copies of this library in a
//!   process chain to each other; both deferring, their windows add up.
//! - A held signal is never lost: whoever gives up its claim delivers it, unless it [took](Interposer::take) it.
//! - Whoever installs a handler after us may or may not call ours: [`Interposer::owned`] tells. What is
//!   no longer ours is never restored, because that would undo somebody else's handler; ours then stays
//!   behind as a pure link of the chain.
//! - A forked child inherits the handler; in it, it only chains. One that defers is taken out of the child at once
//!   (`pthread_atfork`), where it is in force, so that the child has the server's own action to the last flag; in a child
//!   of a bare `clone` it chains. `exec` drops it, as it drops all handlers.
//! - Not within its power: a signal that every thread blocks, to be taken by `sigwait` or `signalfd`. No handler
//!   runs then, ours neither.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::{fmt, mem, ptr};

use crate::clock::{MonotonicNs, now_ns};
use crate::wake;

/// How many handlers a process can have: one per signal, and one more each time that somebody else's handler
/// was put on top of ours and ours is installed anew above that.
pub const MAX_HANDLERS: usize = 16;

/// What our handler does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Notes it and runs the previous handler.
    Chain,
    /// Notes it and holds it.
    Defer,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "chain",
            Self::Defer => "defer",
        })
    }
}

/// Why an interposer was not installed. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterposerError {
    /// The signal cannot be caught: SIGKILL, SIGSTOP.
    Uncatchable {
        /// The signal's number.
        signal: i32,
    },
    /// The signal reports a fault of the program itself (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT),
    /// not anybody's wish that it stop.
    Fault {
        /// The signal's number.
        signal: i32,
    },
    /// Another instance of this process has the signal in the other mode.
    OtherMode {
        /// The signal's number.
        signal: i32,
        /// The mode that it has.
        mode: Mode,
    },
    /// There is no such signal, or the C library keeps it for itself.
    Unknown {
        /// The number that was passed in.
        signal: i32,
    },
    /// All [`MAX_HANDLERS`] handlers are in use.
    TooMany,
}

impl fmt::Display for InterposerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncatchable { signal } => {
                write!(f, "signal {signal} cannot be caught by any process: choose another one")
            }
            Self::Fault { signal } => write!(
                f,
                "signal {signal} reports a fault of the program, not a request to stop: choose another one"
            ),
            Self::OtherMode { signal, mode } => write!(
                f,
                "signal {signal} is taken in mode {mode} by another instance in this process: use that mode, or remove it"
            ),
            Self::Unknown { signal } => {
                write!(f, "there is no signal {signal} that a program may handle on this system")
            }
            Self::TooMany => write!(
                f,
                "all {MAX_HANDLERS} signal handlers are in use: other code keeps installing its own on top"
            ),
        }
    }
}

impl std::error::Error for InterposerError {}

/// What [`Interposer::remove`] or [`Interposer::deliver`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// This process is a forked child of the one that installed it: nothing was done.
    Forked,
    /// Somebody else's action has replaced ours since; it was left alone. A delivered signal goes to it, and ours, if it
    /// is called from there, passes it on.
    NotOurs,
    /// The previous action is in force again.
    Restored,
    /// Another instance still listens to this signal; the handler stays, and so does a held signal.
    Shared,
}

/// One instance's claim on a signal. Dropping it is [`remove`](Self::remove).
#[derive(Debug)]
pub struct Interposer {
    slot: usize,
    signal: c_int,
    process: libc::pid_t,
}

impl Interposer {
    /// Installs the handler in mode *chain*, or joins the one that this process has installed already.
    ///
    /// # Errors
    /// [`InterposerError`]; nothing has changed then.
    pub fn chain(signal: c_int) -> Result<Self, InterposerError> {
        Self::install(signal, Mode::Chain)
    }

    /// Installs the handler in mode *defer*, or joins the one that this process has installed already.
    ///
    /// # Errors
    /// [`InterposerError`]; nothing has changed then.
    pub fn defer(signal: c_int) -> Result<Self, InterposerError> {
        static LEAVE_CHILDREN: Once = Once::new();
        LEAVE_CHILDREN.call_once(|| {
            // Without the memory for it, a child merely chains.
            // SAFETY: the handler calls only what is async-signal-safe, and this library is not unloaded.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(leave_the_child)) };
        });
        Self::install(signal, Mode::Defer)
    }

    fn install(signal: c_int, mode: Mode) -> Result<Self, InterposerError> {
        check(signal)?;
        let process = wake::process_id();
        let mut states = lock();
        let current = current_action(signal).ok_or(InterposerError::Unknown { signal })?;
        let live = |slot: &&Slot| slot.is_live(process) && slot.signal.load(Relaxed) == signal;
        let other = SLOTS.iter().filter(live).map(Slot::mode).find(|known| *known != mode);
        if let Some(mode) = other {
            return Err(InterposerError::OtherMode { signal, mode });
        }

        if let Some(slot) = slot_of(&current) {
            // Ours is in force: another instance's, or one that was left behind (by an owner that
            // could not remove it, or by a parent process) and lives again.
            let (state, shared) = (&mut states[slot], &SLOTS[slot]);
            if shared.is_live(process) {
                state.instances += 1;
            } else {
                *state = SlotState { instances: 1, due: false };
                shared.reset(process, mode);
                shared.stage.store(ACTIVE, SeqCst);
                if let Some(previous) = shared.previous(&states) {
                    // The flags of the mode.
                    exchange_action(signal, &our_action(slot, &previous, mode));
                }
            }
            return Ok(Self { slot, signal, process });
        }

        // A slot belongs to one signal for ever: its handler may still be running in some thread.
        let slot = (0..MAX_HANDLERS)
            .find(|slot| {
                let shared = &SLOTS[*slot];
                shared.stage.load(Acquire) == IDLE && shared.signal.load(Relaxed) == signal
            })
            .or_else(|| (0..MAX_HANDLERS).find(|slot| SLOTS[*slot].stage.load(Acquire) == FREE))
            .ok_or(InterposerError::TooMany)?;
        let shared = &SLOTS[slot];
        let untouched = shared.stage.load(Relaxed);
        shared.signal.store(signal, Relaxed);
        shared.reset(process, mode);
        shared.chain_to(&current, &mut states);
        shared.stage.store(ACTIVE, SeqCst);

        let Some(replaced) = exchange_action(signal, &our_action(slot, &current, mode)) else {
            shared.stage.store(untouched, SeqCst);
            return Err(InterposerError::Unknown { signal });
        };
        if !same_handler(&replaced, &current) {
            // Another thread changed it in between.
            shared.chain_to(&replaced, &mut states);
        }
        states[slot] = SlotState { instances: 1, due: false };
        Ok(Self { slot, signal, process })
    }

    /// The signal's number.
    #[must_use]
    pub fn signal(&self) -> c_int {
        self.signal
    }

    /// Whether our handler is the one in force. If not, somebody has installed another on top, which may
    /// or may not call ours; a driver that wants to be sure installs a new interposer, then drops this one.
    #[must_use]
    pub fn owned(&self) -> bool {
        current_action(self.signal).is_some_and(|action| slot_of(&action) == Some(self.slot))
    }

    /// When the signal first came since this handler was installed.
    #[must_use]
    pub fn first_arrival(&self) -> Option<MonotonicNs> {
        if self.process != wake::process_id() {
            return None;
        }
        Some(SLOTS[self.slot].first.load(Acquire)).filter(|time| *time != 0)
    }

    /// How often the signal came since this handler was installed. Saturates.
    #[must_use]
    pub fn arrivals(&self) -> u32 {
        if self.process != wake::process_id() {
            return 0;
        }
        SLOTS[self.slot].count.load(Acquire)
    }

    /// Whether a signal is held: it came, and nobody delivered or took it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.process == wake::process_id() && SLOTS[self.slot].held.load(Acquire)
    }

    /// Takes a held signal for the caller's own use: it will not be delivered. Returns whether there was one.
    pub fn take(&self) -> bool {
        self.process == wake::process_id() && SLOTS[self.slot].held.swap(false, SeqCst)
    }

    /// Gives up the claim. The last instance to do so restores the previous action exactly, if ours is still
    /// the one in force, and delivers the signal, if it is held.
    pub fn remove(self) -> Removal {
        let removal = self.give_up(false);
        mem::forget(self);
        removal
    }

    /// Agrees to the signal's delivery and gives up the claim, as [`remove`](Self::remove) does. When the last
    /// instance goes the signal is sent, whether it came or not, to the process's main thread: where the server
    /// expects it, and where it interrupts what a server waits in. If that thread blocks the signal, or is gone, it is
    /// sent to the process. Its `siginfo_t` names this process as the sender.
    ///
    /// [`Removal::Restored`]: the server's own action has it. [`Removal::NotOurs`]: whoever replaced ours has it.
    pub fn deliver(self) -> Removal {
        let removal = self.give_up(true);
        mem::forget(self);
        removal
    }

    fn give_up(&self, deliver: bool) -> Removal {
        if self.process != wake::process_id() {
            return Removal::Forked;
        }
        let mut states = lock();
        let (state, shared) = (&mut states[self.slot], &SLOTS[self.slot]);
        state.instances -= 1;
        state.due |= deliver;
        if state.instances > 0 {
            return Removal::Shared;
        }
        let due = mem::take(&mut state.due);
        let removal = self.restore(&states);
        let stage = if removal == Removal::Restored { IDLE } else { BURIED };
        // Before the look at `held`: see the handler.
        shared.stage.store(stage, SeqCst);
        drop(states);
        if shared.held.swap(false, SeqCst) || due {
            send(self.signal);
        }
        removal
    }

    /// Puts the previous action in force again, if ours still is.
    fn restore(&self, states: &States) -> Removal {
        let ours = current_action(self.signal).filter(|now| slot_of(now) == Some(self.slot));
        let (Some(ours), Some(previous)) = (ours, SLOTS[self.slot].previous(states)) else {
            return Removal::NotOurs;
        };
        match exchange_action(self.signal, &previous) {
            Some(replaced) if same_handler(&replaced, &ours) => Removal::Restored,
            replaced => {
                // Another thread installed its own between the look and the exchange: it wins.
                if let Some(theirs) = replaced {
                    exchange_action(self.signal, &theirs);
                }
                Removal::NotOurs
            }
        }
    }
}

impl Drop for Interposer {
    fn drop(&mut self) {
        self.give_up(false);
    }
}

/// Whether this process ignores the signal. False for one that there is not.
#[must_use]
pub fn is_ignored(signal: c_int) -> bool {
    current_action(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// Whether somebody handles the signal in this process. False for one that there is not.
pub(crate) fn is_handled(signal: c_int) -> bool {
    current_action(signal)
        .is_some_and(|action| !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN))
}

/// When the signal first came in this process while an interposer for it was installed. Async-signal-safe.
#[must_use]
pub fn first_arrival(signal: c_int) -> Option<MonotonicNs> {
    arrival_since(signal, 0)
}

/// The earliest arrival of the signal at or after `since` that is known: the first one or the last one of
/// each handler.
pub(crate) fn arrival_since(signal: c_int, since: MonotonicNs) -> Option<MonotonicNs> {
    let process = wake::process_id();
    SLOTS
        .iter()
        .filter(|slot| slot.is_live(process) && slot.signal.load(Relaxed) == signal)
        .flat_map(|slot| [slot.first.load(Acquire), slot.last.load(Acquire)])
        .filter(|time| *time != 0 && *time >= since)
        .min()
}

/// What a handler knows: atomics only, but for `previous`, which it does not read.
struct Slot {
    stage: AtomicU32,
    signal: AtomicI32,
    defers: AtomicBool,
    /// A signal came in mode *defer*, and nobody delivered or took it.
    held: AtomicBool,
    /// In which process it notes arrivals; elsewhere it only chains.
    process: AtomicI32,
    previous_handler: AtomicUsize,
    previous_flags: AtomicI32,
    first: AtomicU64,
    last: AtomicU64,
    count: AtomicU32,
    /// The whole previous action, to be restored. Read and written under the lock; and read in a forked child, which
    /// has one thread.
    previous: UnsafeCell<Option<libc::sigaction>>,
}

// SAFETY: all is atomic but `previous`, whose only accesses are `Slot::previous` and `Slot::chain_to`, for which one must show
// the lock, and `leave_the_child`, which runs when there is no other thread.
unsafe impl Sync for Slot {}

/// Never used.
const FREE: u32 = 0;
/// Installed, and at least one instance listens.
const ACTIVE: u32 = 1;
/// Was restored; nobody can call the handler except a thread that is in it already.
const IDLE: u32 = 2;
/// Nobody listens, but somebody else's handler may call this one: it must chain for ever.
const BURIED: u32 = 3;

static SLOTS: [Slot; MAX_HANDLERS] = [const { Slot::new() }; MAX_HANDLERS];

impl Slot {
    const fn new() -> Self {
        Self {
            stage: AtomicU32::new(FREE),
            signal: AtomicI32::new(0),
            defers: AtomicBool::new(false),
            held: AtomicBool::new(false),
            process: AtomicI32::new(0),
            previous_handler: AtomicUsize::new(libc::SIG_DFL),
            previous_flags: AtomicI32::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            count: AtomicU32::new(0),
            previous: UnsafeCell::new(None),
        }
    }

    /// Whether an instance of this very process listens.
    fn is_live(&self, process: libc::pid_t) -> bool {
        self.stage.load(SeqCst) == ACTIVE && self.process.load(Relaxed) == process
    }

    fn mode(&self) -> Mode {
        if self.defers.load(Relaxed) { Mode::Defer } else { Mode::Chain }
    }

    fn reset(&self, process: libc::pid_t, mode: Mode) {
        self.defers.store(mode == Mode::Defer, Relaxed);
        if self.process.swap(process, Relaxed) != process {
            // A parent's. Not one of this process: a handler that is late may be storing it just now, for this instance.
            self.held.store(false, Relaxed);
        }
        self.first.store(0, Relaxed);
        self.last.store(0, Relaxed);
        self.count.store(0, Relaxed);
    }

    fn previous(&self, _lock: &States) -> Option<libc::sigaction> {
        // SAFETY: the lock is held, and nobody writes without it.
        unsafe { *self.previous.get() }
    }

    fn chain_to(&self, previous: &libc::sigaction, _lock: &mut States) {
        // SAFETY: the lock is held, and nobody reads or writes without it.
        unsafe { *self.previous.get() = Some(*previous) };
        self.previous_flags.store(previous.sa_flags, Relaxed);
        // Release: a handler that sees this address sees the flags that belong to it, but for the
        // moment in which two threads change the same signal's action, which has no order anyway.
        self.previous_handler.store(previous.sa_sigaction, Release);
    }
}

/// The part of a slot that only [`Interposer`] touches, under the lock.
#[derive(Clone, Copy)]
struct SlotState {
    instances: u32,
    /// An instance agreed to the delivery.
    due: bool,
}

type States = [SlotState; MAX_HANDLERS];

static STATES: Mutex<States> = Mutex::new([SlotState { instances: 0, due: false }; MAX_HANDLERS]);

fn lock() -> MutexGuard<'static, States> {
    STATES.lock().unwrap_or_else(PoisonError::into_inner)
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// One address per slot, so that a handler knows its slot even when several of ours are in one chain.
static HANDLERS: [Handler; MAX_HANDLERS] = [
    handler::<0>,
    handler::<1>,
    handler::<2>,
    handler::<3>,
    handler::<4>,
    handler::<5>,
    handler::<6>,
    handler::<7>,
    handler::<8>,
    handler::<9>,
    handler::<10>,
    handler::<11>,
    handler::<12>,
    handler::<13>,
    handler::<14>,
    handler::<15>,
];

/// Everything it does and calls must be async-signal-safe.
extern "C" fn handler<const SLOT: usize>(
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let slot = &SLOTS[SLOT];
    let errno = errno();
    // SAFETY: the pointer is to this thread's errno, which lives as long as the thread.
    let before = unsafe { errno.read() };
    let process = wake::process_id();
    let mut held = false;
    if slot.is_live(process) {
        let now = now_ns();
        let _ = slot.first.compare_exchange(0, now, AcqRel, Relaxed);
        slot.last.store(now, Release);
        let _ = slot.count.fetch_update(AcqRel, Relaxed, |count| count.checked_add(1));
        held = slot.defers.load(Relaxed) && hold(slot);
        wake::poke_all(process);
    }
    // SAFETY: as above.
    unsafe { errno.write(before) };
    if !held {
        chain(slot, signal, info, context);
    }
}

/// Holds the signal. Returns false if the last claim was given up just now, so that nobody would deliver it.
///
/// Whoever gives up stores the stage and then takes what is held; here it is the other way round. All four are
/// `SeqCst`: either it sees this signal, or this sees the stage, and of two who see each other one takes it.
fn hold(slot: &Slot) -> bool {
    slot.held.store(true, SeqCst);
    slot.stage.load(SeqCst) == ACTIVE || !slot.held.swap(false, SeqCst)
}

/// In a forked child: what the parent holds is no business of the child's. Async-signal-safe; it runs on the child's only
/// thread, inside `fork`.
extern "C" fn leave_the_child() {
    let process = wake::process_id();
    for (index, slot) in SLOTS.iter().enumerate() {
        let parents = slot.stage.load(Relaxed) == ACTIVE && slot.process.load(Relaxed) != process;
        if !parents || !slot.defers.load(Relaxed) {
            continue;
        }
        let signal = slot.signal.load(Relaxed);
        // SAFETY: there is no other thread, and none of the parent's was writing: the slot is active, and it is
        // written before that (or when two threads change one signal's action at once, which has no order anyway).
        let previous = unsafe { *slot.previous.get() };
        let in_force = current_action(signal).and_then(|action| slot_of(&action)) == Some(index);
        if let (true, Some(previous)) = (in_force, previous) {
            exchange_action(signal, &previous);
            slot.held.store(false, Relaxed);
            slot.stage.store(IDLE, Relaxed);
        }
    }
}

/// Sends the signal to this process, to its main thread if that takes it.
fn send(signal: c_int) {
    let process = wake::process_id();
    #[cfg(target_os = "linux")]
    if main_thread_takes(process, signal) {
        // SAFETY: no preconditions; the main thread's number is the process's.
        if unsafe { libc::syscall(libc::SYS_tgkill, process, process, signal) } == 0 {
            return;
        }
    }
    // SAFETY: no preconditions.
    unsafe { libc::kill(process, signal) };
}

/// Whether the main thread lives and does not block the signal for good: while it starts a thread, it blocks all for a
/// moment, and would take this one just after.
#[cfg(target_os = "linux")]
fn main_thread_takes(process: libc::pid_t, signal: c_int) -> bool {
    const LOOKS: u32 = 10;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(1);
    (0..LOOKS).any(|look| {
        if look > 0 {
            std::thread::sleep(PAUSE);
        }
        main_thread_takes_now(process, signal)
    })
}

/// If that cannot be known it is so.
#[cfg(target_os = "linux")]
fn main_thread_takes_now(process: libc::pid_t, signal: c_int) -> bool {
    main_thread(process).is_none_or(|status| {
        let gone = field(&status, "State:").is_some_and(|state| state.starts_with(['Z', 'X']));
        !gone && !has_signal(&status, "SigBlk:", signal)
    })
}

/// Whether the signal was sent to this process and no handler of it has begun. False where that cannot be known.
#[cfg(target_os = "linux")]
pub(crate) fn is_pending(signal: c_int) -> bool {
    main_thread(wake::process_id()).is_some_and(|status| {
        has_signal(&status, "SigPnd:", signal) || has_signal(&status, "ShdPnd:", signal)
    })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_pending(_: c_int) -> bool {
    false
}

/// What the system says of the main thread, a field a line.
#[cfg(target_os = "linux")]
fn main_thread(process: libc::pid_t) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/task/{process}/status")).ok()
}

#[cfg(target_os = "linux")]
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Whether the signal is in the set of that name.
#[cfg(target_os = "linux")]
fn has_signal(status: &str, set: &str, signal: c_int) -> bool {
    let bits = field(status, set).and_then(|bits| u64::from_str_radix(bits, 16).ok());
    bits.unwrap_or(0) & (1 << (signal - 1)) != 0
}

/// Runs the action that was there before. Async-signal-safe but for what that action does itself.
fn chain(slot: &Slot, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = slot.previous_handler.load(Acquire);
    let flags = slot.previous_flags.load(Relaxed);
    match previous {
        libc::SIG_IGN => {}
        libc::SIG_DFL => default_action(signal),
        _ if flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the address was installed by `sigaction` with SA_SIGINFO, so it is a function
            // of this type, and it gets what the kernel gave us.
            let previous: Handler = unsafe { mem::transmute::<usize, Handler>(previous) };
            previous(signal, info, context);
        }
        _ => {
            // SAFETY: the address was installed by `sigaction` or `signal` without SA_SIGINFO and is neither
            // SIG_DFL nor SIG_IGN, so it is a function of this type.
            let previous: extern "C" fn(c_int) = unsafe { mem::transmute(previous) };
            previous(signal);
        }
    }
}

/// Does what the system does with the signal when nobody handles it.
fn default_action(signal: c_int) {
    if matches!(signal, libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH) {
        return;
    }
    // SAFETY: a zeroed sigaction is valid: SIG_DFL, an empty mask, no flags.
    let action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: both calls are async-signal-safe and get valid arguments. The signal is blocked while its handler
    // runs, so the raised one is delivered, with the default action, when our handler returns.
    unsafe {
        libc::sigaction(signal, &action, ptr::null_mut());
        libc::raise(signal);
    }
}

fn check(signal: c_int) -> Result<(), InterposerError> {
    match signal {
        libc::SIGKILL | libc::SIGSTOP => Err(InterposerError::Uncatchable { signal }),
        libc::SIGABRT
        | libc::SIGBUS
        | libc::SIGFPE
        | libc::SIGILL
        | libc::SIGSEGV
        | libc::SIGTRAP => Err(InterposerError::Fault { signal }),
        _ => Ok(()),
    }
}

fn our_action(slot: usize, previous: &libc::sigaction, mode: Mode) -> libc::sigaction {
    let mut action = *previous;
    action.sa_sigaction = HANDLERS[slot] as usize;
    if mode == Mode::Defer {
        action.sa_flags &= !libc::SA_RESETHAND;
    }
    if mode == Mode::Defer || matches!(previous.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        // Without a handler no system call was interrupted; as few as possible shall be now.
        action.sa_flags |= libc::SA_RESTART;
    }
    action.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
    action
}

fn slot_of(action: &libc::sigaction) -> Option<usize> {
    HANDLERS.iter().position(|handler| *handler as usize == action.sa_sigaction)
}

fn same_handler(a: &libc::sigaction, b: &libc::sigaction) -> bool {
    a.sa_sigaction == b.sa_sigaction
}

fn current_action(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: a zeroed sigaction is valid, see `default_action`.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: no new action is passed, and the old one is written to a valid sigaction.
    (unsafe { libc::sigaction(signal, ptr::null(), &mut action) } == 0).then_some(action)
}

/// Puts `action` in force and returns the one that was.
fn exchange_action(signal: c_int, action: &libc::sigaction) -> Option<libc::sigaction> {
    // SAFETY: a zeroed sigaction is valid, see `default_action`.
    let mut replaced: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: `action` is either one that the system gave us or ours, whose handler is async-signal-safe.
    (unsafe { libc::sigaction(signal, action, &mut replaced) } == 0).then_some(replaced)
}

#[cfg(target_os = "linux")]
fn errno() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
fn errno() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__error() }
}

#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
fn errno() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno() }
}
