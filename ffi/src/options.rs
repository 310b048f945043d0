//! How a server is started.

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::size_of;

use lameduck::{JobId, ListenerId, Phase};
use lameduck_host::log_lines::{Level, Line};

use crate::enums::lameduck_phase;
use crate::input::{Flag, Output, input_enum};
use crate::policy::{check_size, lameduck_policy};
use crate::status::{guard, lameduck_status};

/// On which thread callbacks and hooks run.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_drive {
    /// On a thread of lameduck's; each hook on one of its own. For servers of threads.
    Thread = 0,
    /// On the thread that calls lameduck_dispatch, which you do when lameduck_descriptor is readable. For event loops.
    Loop = 1,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drive {
    Thread,
    Loop,
}

input_enum!(RawDrive: lameduck_drive => Drive, "lameduck_drive", {
    Thread => Drive::Thread,
    Loop => Drive::Loop,
});

/// How urgent a line of the log is.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_level {
    /// As it should be.
    Info = 0,
    /// Something is lost, or will be.
    Warn = 1,
}

/// What the server does when the machine says so. Each may be NULL. They are called one after the other, under no lock, and may
/// call lameduck; they must return soon, and no C++ exception may leave them. `context` is what lameduck_connection_open was
/// given. A callback about a connection is not called once lameduck_connection_close has returned; with LAMEDUCK_DRIVE_THREAD it may
/// be running just then.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lameduck_callbacks {
    /// The last response on this connection is to say `Connection: close` from now on (lameduck_response_head says so, too); HTTP/2: send
    /// the first GOAWAY, which refuses no streams.
    pub(crate) announce_close:
        Option<unsafe extern "C" fn(user_data: *mut c_void, connection: u64, context: *mut c_void)>,
    /// HTTP/2: send the final GOAWAY, with the last stream that was processed.
    pub(crate) refuse_streams:
        Option<unsafe extern "C" fn(user_data: *mut c_void, connection: u64, context: *mut c_void)>,
    /// Tell a long-lived peer that the server is leaving; a long poll is to answer now. `request` is 0 for the
    /// connection itself.
    pub(crate) notify_long_lived: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            connection: u64,
            request: u64,
            context: *mut c_void,
        ),
    >,
    /// End it as its protocol does: a WebSocket close frame, the end of an event stream, a half-close. `request` is 0 for the
    /// connection itself. NULL: a connection with a descriptor is half-closed.
    pub(crate) close_long_lived: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            connection: u64,
            request: u64,
            context: *mut c_void,
        ),
    >,
    /// Close an idle connection: half-close, read for a bounded time, close, lameduck_connection_close. The last look at its
    /// descriptor has been taken; if you have bytes of a next request in a buffer of your own, leave it open and call
    /// lameduck_connection_busy. NULL: its descriptor is half-closed, and you learn of it when the client has closed its side.
    pub(crate) close_idle:
        Option<unsafe extern "C" fn(user_data: *mut c_void, connection: u64, context: *mut c_void)>,
    /// Its time is over: answer what you can still answer with 503 + `Retry-After` + `Connection: close`, cut the rest, close,
    /// lameduck_connection_close. `unanswered` requests have no head sent. NULL: its descriptor is shut down.
    pub(crate) force_connection: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            connection: u64,
            unanswered: u32,
            context: *mut c_void,
        ),
    >,
    /// Nobody waits at this listener any more: close its descriptor, lameduck_listener_closed. Until then go on
    /// accepting. NULL: it is shut down, so that your accept fails (EINVAL); then close it and say so.
    pub(crate) close_listener:
        Option<unsafe extern "C" fn(user_data: *mut c_void, listener: u64, descriptor: c_int)>,
    /// The drain deadline is near: what is in flight should give up, so that transactions roll back.
    pub(crate) abort_requests: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// This job should give up.
    pub(crate) cancel_job: Option<unsafe extern "C" fn(user_data: *mut c_void, job: u64)>,
    /// Whether this server wants new traffic, for readiness probes.
    pub(crate) readiness: Option<unsafe extern "C" fn(user_data: *mut c_void, ready: bool)>,
    /// A phase has begun.
    pub(crate) phase: Option<unsafe extern "C" fn(user_data: *mut c_void, phase: lameduck_phase)>,
    /// A line for the log, without its end; the last one is the report. Lives as long as the call. NULL: standard error, after
    /// `lameduck: `.
    pub(crate) log: Option<
        unsafe extern "C" fn(user_data: *mut c_void, level: lameduck_level, line: *const c_char),
    >,
    /// It is over: stop your loop and end the process with this code, 0 when nothing was lost.
    pub(crate) done: Option<unsafe extern "C" fn(user_data: *mut c_void, code: c_int)>,
}

/// How a server is started. Fill it by lameduck_options_init, then set what shall differ.
#[repr(C)]
pub struct lameduck_options {
    /// Set by lameduck_options_init: which version of this struct it is.
    pub(crate) size: usize,
    /// Default NULL: one in which nothing is set. Copied.
    pub(crate) policy: *const lameduck_policy,
    /// Default LAMEDUCK_DRIVE_THREAD.
    pub(crate) drive: RawDrive,
    /// Other processes accept from the same sockets and go on doing so (prefork): fence nothing. Default false.
    pub(crate) shared_listeners: Flag,
    /// Which signals ask the server to stop, `signal_count` of them; copied. NULL: SIGTERM and SIGINT. Not NULL and a count of
    /// 0: none. They are taken: an action that was there before does not run until lameduck_free. A second SIGINT ends the window, the
    /// next one the drain.
    pub(crate) signals: *const c_int,
    /// How many.
    pub(crate) signal_count: usize,
    /// Where the watchdog prints; duplicated. Default 2, -1 is nowhere.
    pub(crate) watchdog_descriptor: c_int,
    /// A file that gets the report, whole or not at all; `{pid}` in it is the process. Default NULL: none. `LAMEDUCK_REPORT_FILE`
    /// beats it.
    pub(crate) report_file: *const c_char,
    /// What the server does. Default: nothing.
    pub(crate) callbacks: lameduck_callbacks,
    /// The first argument of each callback. Default NULL. Must live until lameduck_free has returned.
    pub(crate) user_data: *mut c_void,
}

/// Fills options with the defaults. `size` is `sizeof(lameduck_options)`.
///
/// LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lameduck_options_init(
    options: *mut lameduck_options,
    size: usize,
) -> lameduck_status {
    guard(|| {
        let options = Output::new(options, "options")?;
        check_size(size, size_of::<lameduck_options>(), "lameduck_options")?;
        // SAFETY: the caller's struct is of this size.
        unsafe { options.write(lameduck_options::default()) };
        Ok(())
    })
}

impl Default for lameduck_options {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            policy: std::ptr::null(),
            drive: lameduck_drive::Thread.into(),
            shared_listeners: Flag::FALSE,
            signals: std::ptr::null(),
            signal_count: 0,
            watchdog_descriptor: 2,
            report_file: std::ptr::null(),
            callbacks: lameduck_callbacks::NONE,
            user_data: std::ptr::null_mut(),
        }
    }
}

impl lameduck_callbacks {
    const NONE: Self = Self {
        announce_close: None,
        refuse_streams: None,
        notify_long_lived: None,
        close_long_lived: None,
        close_idle: None,
        force_connection: None,
        close_listener: None,
        abort_requests: None,
        cancel_job: None,
        readiness: None,
        phase: None,
        log: None,
        done: None,
    };
}

/// C's pointer, which only C follows.
#[derive(Clone, Copy)]
pub(crate) struct UserData(pub(crate) *mut c_void);

// SAFETY: it is passed through and never followed here; the header says on which threads C gets it.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// C's functions, and what they are called with.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) of: lameduck_callbacks,
    pub(crate) data: UserData,
}

/// Those that are about no connection. They are called as the header says: with what C gave, one after the other.
impl Callbacks {
    pub(crate) fn abort_requests(&self) {
        if let Some(abort) = self.of.abort_requests {
            // SAFETY: C's function, called as the header says.
            unsafe { abort(self.data.0) };
        }
    }

    pub(crate) fn cancel_job(&self, JobId(job): JobId) {
        if let Some(cancel) = self.of.cancel_job {
            // SAFETY: C's function, called as the header says.
            unsafe { cancel(self.data.0, job.into()) };
        }
    }

    /// Whether there is one.
    pub(crate) fn close_listener(&self, ListenerId(listener): ListenerId, fd: c_int) -> bool {
        let Some(close) = self.of.close_listener else { return false };
        // SAFETY: C's function, called as the header says.
        unsafe { close(self.data.0, listener.into(), fd) };
        true
    }

    pub(crate) fn done(&self, code: u8) {
        if let Some(done) = self.of.done {
            // SAFETY: C's function, called as the header says.
            unsafe { done(self.data.0, code.into()) };
        }
    }

    pub(crate) fn log(&self, line: &Line) {
        let level = match line.level {
            Level::Info => lameduck_level::Info,
            Level::Warn => lameduck_level::Warn,
        };
        match self.of.log {
            Some(log) => {
                let text = CString::new(line.text.replace('\0', "\u{fffd}")).unwrap_or_default();
                // SAFETY: C's function, called as the header says.
                unsafe { log(self.data.0, level, text.as_ptr()) };
            }
            None => line.to_stderr(),
        }
    }

    pub(crate) fn phase(&self, phase: Phase) {
        if let Some(changed) = self.of.phase {
            // SAFETY: C's function, called as the header says.
            unsafe { changed(self.data.0, phase.into()) };
        }
    }

    pub(crate) fn readiness(&self, ready: bool) {
        if let Some(readiness) = self.of.readiness {
            // SAFETY: C's function, called as the header says.
            unsafe { readiness(self.data.0, ready) };
        }
    }
}
