//! What the machine says, on its way to C: on lameduck's own thread, or through a queue to the event loop's.

use std::collections::{HashMap, VecDeque};
use std::ffi::c_int;
use std::net::Shutdown;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};

use lameduck::{ConnectionId, Effect, HookId, RequestId};
use lameduck_host::doorbell::Doorbell;
use lameduck_host::hosted::{Hosted, Look, Told};

use crate::hook::{self, Hook};
use crate::input::Output;
use crate::options::{Callbacks, UserData};
use crate::server::{self, lameduck_server};
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};

/// What a loop has yet to be told.
struct Outbox {
    bell: Doorbell,
    queue: Mutex<VecDeque<Told>>,
    /// Held by the call that tells it.
    dispatching: Mutex<()>,
}

/// Tells C.
pub(crate) struct Embedder {
    callbacks: Callbacks,
    /// `None`: on the thread that is told.
    outbox: Option<Outbox>,
    hooks: Mutex<HashMap<HookId, Hook>>,
    /// C has freed the server, perhaps in the callback that runs just now: what is left is for nobody.
    released: AtomicBool,
    /// Set right after the start; a signal may come first.
    hosted: OnceLock<Weak<Hosted>>,
}

impl Embedder {
    pub(crate) fn new(callbacks: Callbacks, has_loop: bool) -> Result<Self, Failure> {
        let outbox = has_loop.then(Doorbell::new).transpose();
        let outbox = outbox.map_err(|error| {
            let sentence = format!("no descriptor is left to call the event loop by: {error}");
            Failure::new(LAMEDUCK_SYSTEM, sentence)
        })?;
        Ok(Self {
            callbacks,
            outbox: outbox.map(|bell| Outbox {
                bell,
                queue: Mutex::default(),
                dispatching: Mutex::default(),
            }),
            hooks: Mutex::default(),
            released: AtomicBool::new(false),
            hosted: OnceLock::new(),
        })
    }

    pub(crate) fn drives(&self, hosted: &Arc<Hosted>) {
        // It is set once, by whoever started it.
        let _ = self.hosted.set(Arc::downgrade(hosted));
    }

    pub(crate) fn hooks(&self) -> MutexGuard<'_, HashMap<HookId, Hook>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hosted(&self) -> Option<Arc<Hosted>> {
        self.hosted.wait().upgrade()
    }

    /// Says it now, or leaves it for the loop.
    pub(crate) fn told(self: &Arc<Self>, told: Told) {
        match &self.outbox {
            None => self.tell(told),
            Some(outbox) => {
                lock(&outbox.queue).push_back(told);
                outbox.bell.ring();
            }
        }
    }

    fn descriptor(&self) -> Result<c_int, Failure> {
        self.outbox().map(|outbox| outbox.bell.descriptor())
    }

    fn outbox(&self) -> Result<&Outbox, Failure> {
        self.outbox.as_ref().ok_or_else(|| {
            Failure::new(
                LAMEDUCK_WRONG_DRIVE,
                "this server was started with LAMEDUCK_DRIVE_THREAD: its callbacks run on a thread of \
                 lameduck's, there is nothing to dispatch",
            )
        })
    }

    fn dispatch(self: &Arc<Self>) -> Result<(), Failure> {
        let outbox = self.outbox()?;
        let _dispatching = match outbox.dispatching.try_lock() {
            Ok(dispatching) => dispatching,
            // The call that panicked is over.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(
                    LAMEDUCK_BUSY,
                    "another call of lameduck_dispatch is running; call it on one thread, and not from a callback",
                ));
            }
        };
        // Before the queue is looked at: what comes after that rings again.
        outbox.bell.silence();
        // What comes while this is told is for the next call, so that it returns.
        let waiting = std::mem::take(&mut *lock(&outbox.queue));
        waiting.into_iter().for_each(|told| self.tell(told));
        Ok(())
    }

    pub(crate) fn release(&self) {
        self.released.store(true, Release);
    }

    fn tell(self: &Arc<Self>, told: Told) {
        if self.released.load(Acquire) {
            return;
        }
        match told {
            Told::Beat => drop(self.hosted().map(|hosted| hosted.beat())),
            Told::CloseListener { listener, fd } => {
                if !self.callbacks.close_listener(listener, fd)
                    && let Some(hosted) = self.hosted()
                {
                    hosted.shut_listener(listener);
                }
            }
            Told::Done { code } => self.callbacks.done(code),
            Told::Effect(effect) => self.perform(effect),
            Told::Line(line) => self.callbacks.log(&line),
        }
    }

    fn perform(self: &Arc<Self>, effect: Effect) {
        let Some(hosted) = self.hosted() else { return };
        let Callbacks { of: callbacks, data: UserData(data) } = self.callbacks;
        // A connection that has ended meanwhile has no context any more.
        let context =
            |connection| hosted.tag(connection).map(std::ptr::with_exposed_provenance_mut);
        let token = |connection, request: Option<RequestId>| match request {
            None => Some(0),
            Some(request) => hosted.token(connection, request).map(|token| token.0),
        };
        let on = |connection: ConnectionId, call: Option<unsafe extern "C" fn(_, u64, _)>| {
            if let (Some(call), Some(context)) = (call, context(connection)) {
                // SAFETY: C's function, called as the header says.
                unsafe { call(data, connection.0, context) };
            }
        };
        match effect {
            Effect::AnnounceClose { connection } => on(connection, callbacks.announce_close),
            Effect::RefuseStreams { connection } => on(connection, callbacks.refuse_streams),
            Effect::CloseIdle { connection, look } => {
                let half_close = callbacks.close_idle.is_none();
                let idle = hosted.look(connection, look, half_close) == Look::Idle;
                on(connection, callbacks.close_idle.filter(|_| idle));
            }
            Effect::ForceConnection { connection, unanswered } => {
                match callbacks.force_connection {
                    None => hosted.shut(connection, Shutdown::Both),
                    Some(force) => {
                        if let Some(context) = context(connection) {
                            // SAFETY: C's function, called as the header says.
                            unsafe { force(data, connection.0, unanswered, context) };
                        }
                    }
                }
            }
            Effect::NotifyLongLived { connection, request } => {
                if let (Some(notify), Some(token), Some(context)) =
                    (callbacks.notify_long_lived, token(connection, request), context(connection))
                {
                    // SAFETY: C's function, called as the header says.
                    unsafe { notify(data, connection.0, token, context) };
                }
            }
            Effect::CloseLongLived { connection, request } => match callbacks.close_long_lived {
                None => hosted.shut(connection, Shutdown::Write),
                Some(close) => {
                    if let (Some(token), Some(context)) =
                        (token(connection, request), context(connection))
                    {
                        // SAFETY: C's function, called as the header says.
                        unsafe { close(data, connection.0, token, context) };
                    }
                }
            },
            Effect::AbortRequests => self.callbacks.abort_requests(),
            Effect::CancelJob { job } => self.callbacks.cancel_job(job),
            Effect::SetReadiness { ready } => self.callbacks.readiness(ready),
            Effect::PhaseChanged { phase } => self.callbacks.phase(phase),
            Effect::RunHook { hook } => self.run_hook(hook),
            // The hook itself cannot be stopped; what it says later is refused. The others are not told.
            _ => {}
        }
    }

    fn run_hook(self: &Arc<Self>, id: HookId) {
        let Some(hook) = self.hooks().remove(&id) else { return };
        let embedder = Arc::clone(self);
        let finished = move |error| {
            if let Some(hosted) = embedder.hosted() {
                // Refused when its time was over: that is in the report already.
                let _ = hosted.hook_finished(id, error);
            }
        };
        if self.outbox.is_some() {
            hook::run(id, &hook, finished);
        } else {
            hook::run_on_a_thread(id, hook, finished);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to poll for readability with LAMEDUCK_DRIVE_LOOP: then call lameduck_dispatch. Belongs to the server: never read from it or
/// close it; take it out of your loop before lameduck_free.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_WRONG_DRIVE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_descriptor(
    server: *const lameduck_server,
    descriptor: *mut c_int,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (server::find(server)?, Output::new(descriptor, "descriptor")?);
        let descriptor = found.object.embedder.descriptor()?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(descriptor) };
        Ok(())
    })
}

/// Calls the callbacks and hooks that are due, on this thread, with LAMEDUCK_DRIVE_LOOP. Never waits. While draining it is also how the
/// watchdog knows that the loop is alive.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_WRONG_DRIVE, LAMEDUCK_BUSY.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_dispatch(server: *mut lameduck_server) -> lameduck_status {
    guard(|| server::find(server)?.object.embedder.dispatch())
}
