//! A window around a server that knows nothing of lameduck: the signal reaches it when the window is over.

use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use lameduck::{Effect, Event, HookId};
use lameduck_host::hold::{Fencing, Hold, NotTaken, Options};
use lameduck_host::log_lines::{Level, Line, LogLines};

use crate::enums::{RawCause, RawStage, lameduck_phase};
use crate::hook::{self, Hook, lameduck_hook};
use crate::input::{self, Output, input_enum};
use crate::options::{Callbacks, Drive, lameduck_options};
use crate::registry::{Entry, Registry, Sort};
use crate::server::Starting;
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};
use crate::text;

/// When the listeners of a held server are fenced at the end of the window.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_fencing {
    /// When no other process holds them, or only such as hold a window too and are in it.
    Auto = 0,
    /// Every process that holds them is stopping too.
    Always = 1,
    /// Never: this process is a recycled worker, or its listener is somebody else's.
    Never = 2,
    /// As auto, for one of several workers whose parent keeps the listener but stops only together with all of them.
    Siblings = 3,
}

input_enum!(RawFencing: lameduck_fencing => Fencing, "lameduck_fencing", {
    Auto => Fencing::Auto,
    Always => Fencing::Always,
    Never => Fencing::Never,
    Siblings => Fencing::Siblings,
});

/// A window around a server that has a shutdown of its own and stays as it is: started by lameduck_hold_start, freed by
/// lameduck_hold_free. Usable from any thread of the process that started it.
pub struct lameduck_hold {
    _handle: [u8; 0],
}

pub(crate) struct Held {
    hold: Arc<Hold>,
    embedder: Arc<Embedder>,
}

pub(crate) static HOLDS: Registry<Held, (), 64> = Registry::new(Sort::Hold, "hold");

fn find(hold: *const lameduck_hold) -> Result<Arc<Entry<Held, ()>>, Failure> {
    if hold.is_null() {
        return Err(input::null("hold"));
    }
    HOLDS.find(hold.addr())
}

/// Tells C, on the hold's thread.
struct Embedder {
    callbacks: Callbacks,
    hooks: Mutex<HashMap<HookId, Hook>>,
    said: Mutex<LogLines>,
    /// Of hooks; the machine that gets them cannot name them.
    last_id: Mutex<u32>,
    /// Set right after the start; a signal may come first.
    hold: OnceLock<Weak<Hold>>,
}

impl Embedder {
    fn hold(&self) -> Option<Arc<Hold>> {
        self.hold.wait().upgrade()
    }

    fn told(self: &Arc<Self>, effect: Effect) {
        // C has freed it, perhaps in a callback: what is left is for nobody.
        let Some(hold) = self.hold() else { return };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = hold.log_lines(&mut said);
        drop((said, hold));
        lines.iter().for_each(|line| self.callbacks.log(line));
        match effect {
            Effect::AbortRequests => self.callbacks.abort_requests(),
            Effect::Exit { code } => self.over(code),
            Effect::PhaseChanged { phase } => self.callbacks.phase(phase),
            Effect::RunHook { hook } => self.run_hook(hook),
            Effect::SetReadiness { ready } => self.callbacks.readiness(ready),
            // The server's own business: it tells of no connections and no jobs.
            _ => {}
        }
    }

    fn over(&self, code: u8) {
        let Some(hold) = self.hold() else { return };
        if let Err(error) = hold.write_report() {
            let text = format!("the report was not written to its file: {error}");
            self.callbacks.log(&Line { level: Level::Warn, text });
        }
        if let Some(report) = hold.report() {
            self.callbacks.log(&Line { level: Level::Info, text: report.to_json() });
        }
        self.callbacks.done(code);
    }

    fn run_hook(self: &Arc<Self>, id: HookId) {
        let Some(hook) = self.hooks().remove(&id) else { return };
        let embedder = Arc::clone(self);
        let finished = move |error| {
            if let Some(hold) = embedder.hold() {
                // Refused when its time was over: that is in the report already.
                let _ = hold.handle(Event::HookFinished { hook: id, error });
            }
        };
        hook::run_on_a_thread(id, hook, finished);
    }

    fn hooks(&self) -> MutexGuard<'_, HashMap<HookId, Hook>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(not_taken: NotTaken) -> Failure {
    match not_taken {
        NotTaken::Refused(refused) => refused.into(),
        NotTaken::Forked => Failure::new(LAMEDUCK_FORKED, not_taken.to_string()),
        _ => Failure::new(LAMEDUCK_SYSTEM, not_taken.to_string()),
    }
}

/// Holds the signals of a server that knows nothing of lameduck: when one comes, the server serves on for the window, its listeners are
/// fenced, and then the signal reaches it as if it had just come, so that it stops in its own way. Call it after the server has installed
/// its handlers. Of `options` (may be NULL) `policy`, `signals`, `watchdog_descriptor`, `report_file`, `user_data` and the callbacks
/// `abort_requests`, `readiness`, `phase`, `log` and `done` count; `drive` must be LAMEDUCK_DRIVE_THREAD.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_CONTRADICTION, LAMEDUCK_WRONG_DRIVE, LAMEDUCK_SYSTEM,
/// LAMEDUCK_FULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_hold_start(
    options: *const lameduck_options,
    fencing: RawFencing,
    hold: *mut *mut lameduck_hold,
) -> lameduck_status {
    guard(|| {
        let (place, fencing) = (Output::new(hold, "hold")?, fencing.parse()?);
        // SAFETY: the caller's options are as the header says.
        let started = unsafe { Starting::read(options)? };
        let handle = HOLDS.insert(|()| start(started, fencing))?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(std::ptr::without_provenance_mut(handle)) };
        Ok(())
    })
}

fn start(started: Starting, fencing: Fencing) -> Result<Held, Failure> {
    if started.drive == Drive::Loop {
        return Err(Failure::new(
            LAMEDUCK_WRONG_DRIVE,
            "a hold has no loop: its server does not know of it; start it with LAMEDUCK_DRIVE_THREAD",
        ));
    }
    let report_file = started.report_file()?;
    let embedder = Arc::new(Embedder {
        callbacks: started.callbacks,
        hooks: Mutex::default(),
        said: Mutex::default(),
        last_id: Mutex::default(),
        hold: OnceLock::new(),
    });
    let defaults = Options::new(started.policy.clone());
    let options = Options {
        signals: started.signals.clone().unwrap_or(defaults.signals),
        fencing,
        descriptor: started.descriptor,
        report_file,
        ..defaults
    };
    started.say_hello(&embedder.callbacks);
    let told = Arc::clone(&embedder);
    let hold = Hold::start(options, move |effect| told.told(effect))
        .map(Arc::new)
        .map_err(|error| Failure::new(LAMEDUCK_SYSTEM, error.to_string()))?;
    // It is set once, here.
    let _ = embedder.hold.set(Arc::downgrade(&hold));
    Ok(Held { hold, embedder })
}

/// Delivers a held signal at once, calls the watchdog off, and frees the hold; NULL is freed already. A server that shall be
/// gone at the deadline whatever happens keeps it until the process ends.
///
/// LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_hold_free(hold: *mut lameduck_hold) -> lameduck_status {
    guard(|| if hold.is_null() { Ok(()) } else { HOLDS.remove(hold.addr()).map(drop) })
}

/// Asks for the shutdown without a signal from outside: window, then the first of the hold's signals is delivered.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_hold_shutdown(
    hold: *mut lameduck_hold,
    cause: RawCause,
) -> lameduck_status {
    guard(|| {
        let (found, cause) = (find(hold)?, cause.parse()?);
        let event = Event::Shutdown { cause, ever_accepted: true };
        found.object.hold.handle(event).map_err(refusal)
    })
}

/// The server has accepted a connection: for the policy's `development`.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_hold_accepted(hold: *mut lameduck_hold) -> lameduck_status {
    guard(|| {
        find(hold)?.object.hold.accepted();
        Ok(())
    })
}

/// Whether a response to this peer is to say `Connection: close`. `peer` is any number that stays the same as long as its connection, such
/// as its descriptor; with different ones, not all come back at once.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_hold_announcing(
    hold: *const lameduck_hold,
    peer: u64,
    announce: *mut bool,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(hold)?, Output::new(announce, "announce")?);
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(found.object.hold.announcing_to(peer)) };
        Ok(())
    })
}

/// The server has stopped: its listeners are closed and nothing is in flight. Now the `close` hooks run. Call it from the server's own
/// shutdown, once.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_hold_server_stopped(hold: *mut lameduck_hold) -> lameduck_status {
    guard(|| {
        find(hold)?.object.hold.server_stopped();
        Ok(())
    })
}

/// Registers a clean-up, as lameduck_hook_add does; it runs on a thread of its own.
///
/// As for lameduck_hook_add.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // as C reads it
pub unsafe extern "C" fn lameduck_hold_hook_add(
    hold: *mut lameduck_hold,
    stage: RawStage,
    name: *const c_char,
    order: i32,
    timeout_ns: u64,
    run: lameduck_hook,
    user_data: *mut c_void,
) -> lameduck_status {
    guard(|| {
        let (found, stage) = (find(hold)?, stage.parse()?);
        // SAFETY: the caller's string is as the header says.
        let name = unsafe { text::string(name, "name")? };
        let timeout = input::span(timeout_ns, "timeout_ns")?;
        let known = Hook::new(run, user_data)?;
        let embedder = &found.object.embedder;
        let mut last = embedder.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        let id = HookId(*last + 1);
        // Before the thread can be told to run it.
        embedder.hooks().insert(id, known);
        let event = Event::HookRegistered { hook: id, stage, name, order, timeout };
        found.object.hold.handle(event).map_err(|not_taken| {
            embedder.hooks().remove(&id);
            refusal(not_taken)
        })?;
        *last = id.0;
        Ok(())
    })
}

/// Where the hold stands; LAMEDUCK_PHASE_DRAINING until the server says that it has stopped.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_hold_phase(
    hold: *const lameduck_hold,
    phase: *mut lameduck_phase,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(hold)?, Output::new(phase, "phase")?);
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(found.object.hold.phase().into()) };
        Ok(())
    })
}

/// Whether the signal was handed over to the server: the window is over.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_hold_handed_over(
    hold: *const lameduck_hold,
    handed_over: *mut bool,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(hold)?, Output::new(handed_over, "handed_over")?);
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(found.object.hold.handed_over()) };
        Ok(())
    })
}

/// Writes the report as it stands into `buffer`, as lameduck_report does.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_hold_report(
    hold: *const lameduck_hold,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> lameduck_status {
    guard(|| {
        let report = find(hold)?.object.hold.report().ok_or_else(|| refusal(NotTaken::Forked))?;
        // SAFETY: the caller's pointers are as the header says.
        unsafe { text::hand_out(&report.to_json(), buffer, capacity, length) }
    })
}
