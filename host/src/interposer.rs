//! The signal interposer: learns when a signal came, whatever the event loop is doing.
//!
//! Mode *chain*: our handler notes the time, wakes the watchdogs and then runs the handler that was there
//! before, as if it had been called directly. So it is installed after the server's own
//! (in Node: after the first `process.on('SIGTERM')`, which makes libuv install its handler).
//!
//! - The handler is async-signal-safe: atomics, `clock_gettime`, `getpid`, a futex (elsewhere than on Linux a `write`); it
//!   keeps `errno`.
//! - The flags and the mask of the previous action are kept, with `SA_SIGINFO` and `SA_ONSTACK` added.
//! - If the previous action was the default one, the handler restores it and raises the signal again: the
//!   process ends, stops or goes on exactly as without us. If the signal was ignored, it stays ignored.
//! - Instances of one process share one handler per signal; the last one to be removed restores
//!   the previous action. Two copies of this library in a process chain to each other.
//! - Whoever installs a handler after us may or may not call ours: [`Interposer::owned`] tells. What is
//!   no longer ours is never restored, because that would undo somebody else's handler; ours then stays
//!   behind as a pure link of the chain.
//! - A forked child inherits the handler; in it, it only chains. `exec` drops it, as it drops all handlers.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{
    AtomicI32, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, mem, ptr};

use crate::clock::{MonotonicNs, now_ns};
use crate::wake;

/// How many handlers a process can have: one per signal, and one more each time that somebody else's handler
/// was put on top of ours and ours is installed anew above that.
pub const MAX_HANDLERS: usize = 16;

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

/// What [`Interposer::remove`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// This process is a forked child of the one that installed it: nothing was done.
    Forked,
    /// Somebody else's action has replaced ours since; it was left alone.
    NotOurs,
    /// The previous action is in force again.
    Restored,
    /// Another instance still listens to this signal; the handler stays.
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
        check(signal)?;
        let process = wake::process_id();
        let mut slots = lock();
        let current = current_action(signal).ok_or(InterposerError::Unknown { signal })?;

        if let Some(slot) = slot_of(&current) {
            // Ours is in force: another instance's, or one that was left behind (by an owner that
            // could not remove it, or by a parent process) and lives again.
            let (state, shared) = (&mut slots[slot], &SLOTS[slot]);
            let alive = shared.stage.load(Acquire) == ACTIVE;
            if alive && shared.process.load(Relaxed) == process {
                state.instances += 1;
            } else {
                state.instances = 1;
                shared.reset(process);
                shared.stage.store(ACTIVE, Release);
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
        let (state, shared) = (&mut slots[slot], &SLOTS[slot]);
        let untouched = shared.stage.load(Relaxed);
        shared.signal.store(signal, Relaxed);
        shared.reset(process);
        shared.chain_to(&current);
        shared.stage.store(ACTIVE, Release);

        let ours = our_action(slot, &current);
        let Some(replaced) = exchange_action(signal, &ours) else {
            shared.stage.store(untouched, Release);
            return Err(InterposerError::Unknown { signal });
        };
        // The same as `current`, unless another thread changed it in between.
        shared.chain_to(&replaced);
        state.previous = Some(replaced);
        state.instances = 1;
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

    /// Gives up the claim. The last instance to do so restores the previous action exactly, if ours is still
    /// the one in force.
    pub fn remove(self) -> Removal {
        let removal = self.give_up();
        mem::forget(self);
        removal
    }

    fn give_up(&self) -> Removal {
        if self.process != wake::process_id() {
            return Removal::Forked;
        }
        let mut slots = lock();
        let (state, shared) = (&mut slots[self.slot], &SLOTS[self.slot]);
        state.instances -= 1;
        if state.instances > 0 {
            return Removal::Shared;
        }
        let ours = current_action(self.signal).filter(|now| slot_of(now) == Some(self.slot));
        let (Some(ours), Some(previous)) = (ours, state.previous) else {
            shared.stage.store(BURIED, Release);
            return Removal::NotOurs;
        };
        match exchange_action(self.signal, &previous) {
            Some(replaced) if same_handler(&replaced, &ours) => {
                shared.stage.store(IDLE, Release);
                Removal::Restored
            }
            replaced => {
                // Another thread installed its own between the look and the exchange: it wins.
                if let Some(theirs) = replaced {
                    exchange_action(self.signal, &theirs);
                }
                shared.stage.store(BURIED, Release);
                Removal::NotOurs
            }
        }
    }
}

impl Drop for Interposer {
    fn drop(&mut self) {
        self.give_up();
    }
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
        .filter(|slot| {
            slot.stage.load(Acquire) == ACTIVE
                && slot.signal.load(Relaxed) == signal
                && slot.process.load(Relaxed) == process
        })
        .flat_map(|slot| [slot.first.load(Acquire), slot.last.load(Acquire)])
        .filter(|time| *time != 0 && *time >= since)
        .min()
}

/// The part of a slot that its handler reads: atomics only.
struct Slot {
    stage: AtomicU32,
    signal: AtomicI32,
    /// In which process it notes arrivals; elsewhere it only chains.
    process: AtomicI32,
    previous_handler: AtomicUsize,
    previous_flags: AtomicI32,
    first: AtomicU64,
    last: AtomicU64,
    count: AtomicU32,
}

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
            process: AtomicI32::new(0),
            previous_handler: AtomicUsize::new(libc::SIG_DFL),
            previous_flags: AtomicI32::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            count: AtomicU32::new(0),
        }
    }

    fn reset(&self, process: libc::pid_t) {
        self.process.store(process, Relaxed);
        self.first.store(0, Relaxed);
        self.last.store(0, Relaxed);
        self.count.store(0, Relaxed);
    }

    fn chain_to(&self, previous: &libc::sigaction) {
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
    previous: Option<libc::sigaction>,
}

static STATES: Mutex<[SlotState; MAX_HANDLERS]> =
    Mutex::new([SlotState { instances: 0, previous: None }; MAX_HANDLERS]);

fn lock() -> MutexGuard<'static, [SlotState; MAX_HANDLERS]> {
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
    if slot.stage.load(Acquire) == ACTIVE && slot.process.load(Relaxed) == process {
        let now = now_ns();
        let _ = slot.first.compare_exchange(0, now, AcqRel, Relaxed);
        slot.last.store(now, Release);
        let _ = slot.count.fetch_update(AcqRel, Relaxed, |count| count.checked_add(1));
        wake::poke_all(process);
    }
    // SAFETY: as above.
    unsafe { errno.write(before) };
    chain(slot, signal, info, context);
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

fn our_action(slot: usize, previous: &libc::sigaction) -> libc::sigaction {
    let mut action = *previous;
    action.sa_sigaction = HANDLERS[slot] as usize;
    if matches!(previous.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
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
