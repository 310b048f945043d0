//! Hosted: a server whose signals, fences, deadlines, log and report are lameduck's business.

use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;
use std::slice;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lameduck::Policy;
use lameduck_host::fence::Survivors;
use lameduck_host::hosted::{self, Hosted};
use lameduck_host::ledger::{Ledger, Spacing};
use lameduck_host::log_lines::{Level, Line};
use lameduck_host::report_file::ReportFile;
use lameduck_host::supervisor::Surroundings;
use lameduck_host::terminal;

use crate::dispatch::Embedder;
use crate::enums::{RawCause, lameduck_phase};
use crate::input::{self, Output, UNLIMITED};
use crate::options::{Callbacks, Drive, UserData, lameduck_options};
use crate::policy::{self, Variables, check_size};
use crate::registry::{Entry, Registry, Sort};
use crate::status::{Failure, guard, lameduck_status, lameduck_status::*};
use crate::text;

/// A server that lameduck stops: one per process, as a rule. Started by lameduck_start, freed by lameduck_free. Usable from
/// any thread. It belongs to the process that started it: in a forked child calls return LAMEDUCK_FORKED, but for
/// lameduck_request_begin and lameduck_request_end, which count in the child's copy, for nobody.
pub struct lameduck_server {
    _handle: [u8; 0],
}

pub(crate) struct Server {
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) embedder: Arc<Embedder>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hosted.release();
    }
}

/// What stays in the place of a server: the ledger, so that a request can be counted without a lock, whatever becomes of
/// the server meanwhile.
#[derive(Default)]
pub(crate) struct Counter(OnceLock<Arc<Ledger>>);

pub(crate) static SERVERS: Registry<Server, Counter, 64> = Registry::new(Sort::Server, "server");

pub(crate) fn find(server: *const lameduck_server) -> Result<Arc<Entry<Server, Counter>>, Failure> {
    if server.is_null() {
        return Err(input::null("server"));
    }
    SERVERS.find(server.addr())
}

/// Where the requests of a server are counted. No lock.
#[inline]
pub(crate) fn ledger(server: *const lameduck_server) -> Result<&'static Ledger, Failure> {
    if server.is_null() {
        return Err(input::null("server"));
    }
    let counter = SERVERS.permanent(server.addr())?;
    counter.0.get().map(AsRef::as_ref).ok_or_else(|| input::null("server"))
}

/// Takes the signals and starts lameduck for this process; `options` may be NULL. Call it when the server listens and has installed
/// whatever signal handlers it has, before the first lameduck_connection_open, and keep the server until the process ends: the
/// watchdog ends the process at the deadline as long as it is there. The policy and who supervises the process go to the log.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_CONTRADICTION, LAMEDUCK_SYSTEM (a signal that
/// cannot be taken, no thread, a report file that cannot be written), LAMEDUCK_FULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_start(
    options: *const lameduck_options,
    server: *mut *mut lameduck_server,
) -> lameduck_status {
    guard(|| {
        let server = Output::new(server, "server")?;
        // SAFETY: the caller's options are as the header says.
        let started = unsafe { Starting::read(options)? };
        let handle = SERVERS.insert(|counter| started.start(counter))?;
        // SAFETY: the caller's pointer is valid.
        unsafe { server.write(std::ptr::without_provenance_mut(handle)) };
        Ok(())
    })
}

/// Gives the signals back, calls the watchdog off, ends the threads, and frees the server; NULL is freed already. A shutdown that is
/// under way ends with it, so let lameduck_wait return first. No callback runs any more when it returns, unless it is called
/// from one; a hook on a thread of its own may. Whatever is called with the server from now on is refused.
///
/// LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_free(server: *mut lameduck_server) -> lameduck_status {
    guard(|| {
        if server.is_null() {
            return Ok(());
        }
        // Others may be in a call: they end with what they have, but the driver ends now.
        SERVERS.remove(server.addr()).map(|removed| {
            removed.object.embedder.release();
            removed.object.hosted.release();
        })
    })
}

/// Options, checked and copied.
pub(crate) struct Starting {
    pub(crate) policy: Policy,
    variables: Variables,
    report_file: Option<String>,
    pub(crate) drive: Drive,
    survivors: Survivors,
    pub(crate) signals: Option<Vec<c_int>>,
    pub(crate) descriptor: Option<RawFd>,
    pub(crate) callbacks: Callbacks,
}

impl Starting {
    /// # Safety
    /// `options` is NULL, or points to a `lameduck_options` whose pointers are as the header says.
    pub(crate) unsafe fn read(given: *const lameduck_options) -> Result<Self, Failure> {
        let default = lameduck_options::default();
        let options = if given.is_null() {
            &default
        } else {
            // SAFETY: it has at least its first field.
            let size = unsafe { input::pointee(given.cast::<usize>(), "options")? };
            check_size(*size, size_of::<lameduck_options>(), "lameduck_options")?;
            // SAFETY: it is one of this version.
            unsafe { input::pointee(given, "options")? }
        };
        // SAFETY: by this function's contract.
        let (policy, variables) =
            unsafe { policy::resolve(options.policy, terminal::stdin_is_terminal())? };
        let signals = match (options.signals.is_null(), options.signal_count) {
            (true, 0) => None,
            (true, _) => return Err(input::null("options->signals")),
            (false, count) if count > 64 || !options.signals.is_aligned() => {
                let sentence = format!("{count} signals are more than there are");
                return Err(Failure::new(LAMEDUCK_UNKNOWN_VALUE, sentence));
            }
            (false, count) => {
                // SAFETY: by this function's contract there are so many.
                Some(unsafe { slice::from_raw_parts(options.signals, count) }.to_vec())
            }
        };
        Ok(Self {
            policy,
            variables,
            // SAFETY: by this function's contract.
            report_file: unsafe { text::optional(options.report_file) },
            drive: options.drive.parse()?,
            survivors: match options.shared_listeners.is_set() {
                true => Survivors::SameSocket,
                false => Survivors::None,
            },
            signals,
            descriptor: (options.watchdog_descriptor >= 0).then_some(options.watchdog_descriptor),
            callbacks: Callbacks { of: options.callbacks, data: UserData(options.user_data) },
        })
    }

    /// The file that shall get the report, if any is asked for and can be written.
    pub(crate) fn report_file(&self) -> Result<Option<Arc<ReportFile>>, Failure> {
        self.variables.report_file(self.report_file.clone())
    }

    /// The first lines of the log: what is in force, and what looks wrong.
    pub(crate) fn say_hello(&self, callbacks: &Callbacks) {
        let info = |text| callbacks.log(&Line { level: Level::Info, text });
        let warn = |text| callbacks.log(&Line { level: Level::Warn, text });
        info(format!("policy: {}", self.policy.describe()));
        let here = Surroundings::here();
        info(here.describe());
        here.warnings(&self.policy).into_iter().for_each(warn);
        self.variables.unknown().into_iter().for_each(warn);
    }

    fn start(self, counter: &'static Counter) -> Result<Server, Failure> {
        let ledger = counter.0.get_or_init(|| Arc::new(Ledger::new(Spacing::Line)));
        // The server before is gone, to its last call.
        ledger.reset();
        let report_file = self.report_file()?;
        let has_loop = self.drive == Drive::Loop;
        let embedder = Arc::new(Embedder::new(self.callbacks, has_loop)?);
        let defaults = hosted::Options::new(self.policy.clone(), Arc::clone(ledger));
        let options = hosted::Options {
            signals: self.signals.clone().unwrap_or(defaults.signals),
            survivors: self.survivors,
            descriptor: self.descriptor,
            report_file,
            embedder_beats: has_loop,
            ..defaults
        };
        self.say_hello(&self.callbacks);
        let told = Arc::clone(&embedder);
        let hosted = Hosted::start(options, move |what| told.told(what))
            .map(Arc::new)
            .map_err(|error| Failure::new(LAMEDUCK_SYSTEM, error.to_string()))?;
        embedder.drives(&hosted);
        Ok(Server { hosted, embedder })
    }
}

/// Asks the server to stop; returns at once. `detail` says why in the report, beside the cause; it may be NULL. Repeated, it can only
/// raise the severity.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_shutdown(
    server: *mut lameduck_server,
    cause: RawCause,
    detail: *const c_char,
) -> lameduck_status {
    guard(|| {
        let (found, cause) = (find(server)?, cause.parse()?);
        // SAFETY: the caller's string is as the header says.
        let detail = unsafe { text::optional(detail) };
        Ok(found.object.hosted.stop(cause, detail.as_deref())?)
    })
}

/// Somebody insists: ends the window; called again it forces what is in flight; then it ends the hooks.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_SERVING, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_escalate(server: *mut lameduck_server) -> lameduck_status {
    guard(|| Ok(find(server)?.object.hosted.escalate()?))
}

/// The orchestrator's budget became longer or shorter: the new grace, in nanoseconds, still counted from the request to stop.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_SERVING, LAMEDUCK_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_change_grace(
    server: *mut lameduck_server,
    grace_ns: u64,
) -> lameduck_status {
    guard(|| {
        let found = find(server)?;
        let grace = input::span(grace_ns, "grace_ns")?.ok_or_else(|| {
            Failure::new(LAMEDUCK_UNKNOWN_VALUE, "a changed grace needs a number of nanoseconds")
        })?;
        Ok(found.object.hosted.change_grace(grace)?)
    })
}

/// Waits until the shutdown is over, at most `timeout_ns` (LAMEDUCK_UNLIMITED: for ever), and says with which code the process is to
/// end: 0 when nothing was lost. With LAMEDUCK_DRIVE_LOOP do not wait on the loop's thread; the `done` callback says it.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_TIMED_OUT, LAMEDUCK_RELEASED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_wait(
    server: *const lameduck_server,
    timeout_ns: u64,
    code: *mut c_int,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(code, "code")?);
        // Not kept while it waits: the server can be freed meanwhile.
        let hosted = Arc::clone(&found.object.hosted);
        drop(found);
        let patience = (timeout_ns < UNLIMITED).then(|| Duration::from_nanos(timeout_ns));
        let code = hosted.wait(patience)?.ok_or_else(|| {
            Failure::new(LAMEDUCK_TIMED_OUT, "the shutdown is not over yet, or was not asked for")
        })?;
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(code.into()) };
        Ok(())
    })
}

/// Where the server stands.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_server_phase(
    server: *const lameduck_server,
    phase: *mut lameduck_phase,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(phase, "phase")?);
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(found.object.hosted.phase().into()) };
        Ok(())
    })
}

/// What readiness probes shall be answered: whether this server wants new traffic.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_ready(
    server: *const lameduck_server,
    ready: *mut bool,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(ready, "ready")?);
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(found.object.hosted.ready()) };
        Ok(())
    })
}

/// Whether the drain deadline is so near that what is in flight, and what begins from now on, should give up.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_aborting(
    server: *const lameduck_server,
    aborting: *mut bool,
) -> lameduck_status {
    guard(|| {
        let (found, place) = (find(server)?, Output::new(aborting, "aborting")?);
        // SAFETY: the caller's pointer is valid.
        unsafe { place.write(found.object.hosted.aborting()) };
        Ok(())
    })
}

/// Writes the report as it stands as JSON, one line, schema `lameduck-report/1`, into `buffer` of `capacity` bytes, ended by a NUL, and
/// its length without that NUL into `length`. With a NULL buffer and a capacity of 0 it writes the length alone; ask with
/// some room to spare, the report grows.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_report(
    server: *const lameduck_server,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> lameduck_status {
    guard(|| {
        let report = find(server)?.object.hosted.report()?.to_json();
        // SAFETY: the caller's pointers are as the header says.
        unsafe { text::hand_out(&report, buffer, capacity, length) }
    })
}
