//! What every function returns, and the border that no panic crosses.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use lameduck::Refused;
use lameduck_host::hosted::NotTaken;
use lameduck_host::ledger::LedgerError;

/// What became of a call. Numbers are never reused and never change; new ones may come, so treat one that you do
/// not know as a refusal. Whatever is not LAMEDUCK_OK has changed nothing and written nothing.
///
/// cbindgen:rename-all=None
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // each is named by C
pub enum lameduck_status {
    /// Done.
    LAMEDUCK_OK = 0,
    /// A pointer that must not be NULL is NULL.
    LAMEDUCK_NULL_POINTER = 1,
    /// The object was freed, or never was one of this sort.
    LAMEDUCK_INVALID_HANDLE = 2,
    /// The struct's `size` is none that this library knows: fill it by its init function, from the header that you link with.
    LAMEDUCK_WRONG_SIZE = 3,
    /// A number that is no value of its enum, or a value that no program can mean. The message names it.
    LAMEDUCK_UNKNOWN_VALUE = 4,
    /// The policy contradicts itself; the message spells the sum out.
    LAMEDUCK_CONTRADICTION = 5,
    /// The buffer is too small; the message says how many bytes it takes.
    LAMEDUCK_BUFFER_TOO_SMALL = 6,
    /// A fault of lameduck itself, which was contained. Please report it. The object may have missed what it was told.
    LAMEDUCK_PANIC = 7,
    /// The object belongs to the parent process: make one in this process.
    LAMEDUCK_FORKED = 8,
    /// The operating system refused; the message says what, and what that means.
    LAMEDUCK_SYSTEM = 9,
    /// Time ran out first.
    LAMEDUCK_TIMED_OUT = 10,
    /// There are as many as there can be.
    LAMEDUCK_FULL = 11,
    /// The descriptor is no listening socket.
    LAMEDUCK_BAD_DESCRIPTOR = 12,
    /// Another call of lameduck_dispatch is running, perhaps the one whose callback this is.
    LAMEDUCK_BUSY = 13,
    /// The server is driven in the other way, see lameduck_drive.
    LAMEDUCK_WRONG_DRIVE = 14,
    /// The policy refuses new requests while draining: answer 503 with `Connection: close`, then close the connection. The
    /// request has its verdict: do not end it.
    LAMEDUCK_REFUSE_REQUEST = 15,
    /// The request came after its connection was told to close: do not process it, close the connection (RFC 9112 §9.6).
    /// It is not in flight: do not end it.
    LAMEDUCK_NOT_PROCESSED = 16,
    /// The server was freed while the call waited.
    LAMEDUCK_RELEASED = 17,
    /// This id is in use already.
    LAMEDUCK_ALREADY_KNOWN = 100,
    /// The connection's time to complete a request head is over: close it.
    LAMEDUCK_ALLOWANCE_SPENT = 101,
    /// The server is closing and takes nothing new.
    LAMEDUCK_CLOSING = 102,
    /// Shutdown is complete.
    LAMEDUCK_DONE = 103,
    /// The server is draining and takes nothing new of this sort.
    LAMEDUCK_DRAINING = 104,
    /// The drain deadline passed and this connection was forced to end.
    LAMEDUCK_FORCED = 105,
    /// The head of this response was reported before.
    LAMEDUCK_HEADERS_ALREADY_SENT = 106,
    /// The connection carries a request or is long-lived.
    LAMEDUCK_NOT_IDLE = 107,
    /// The request has ended before.
    LAMEDUCK_NOT_IN_FLIGHT = 108,
    /// The hook is not running.
    LAMEDUCK_NOT_RUNNING = 109,
    /// Shutdown has not been requested.
    LAMEDUCK_SERVING = 110,
    /// More requests than a connection can have: 65535.
    LAMEDUCK_TOO_MANY = 111,
    /// No such connection: it was closed, or never was.
    LAMEDUCK_UNKNOWN_CONNECTION = 112,
    /// No such hook.
    LAMEDUCK_UNKNOWN_HOOK = 113,
    /// No such job is running.
    LAMEDUCK_UNKNOWN_JOB = 114,
    /// No such listener is open.
    LAMEDUCK_UNKNOWN_LISTENER = 115,
    /// No such request is in flight on this connection.
    LAMEDUCK_UNKNOWN_REQUEST = 116,
}

use lameduck_status::*;

/// Why a call failed, with the sentence for [`lameduck_last_error`].
#[derive(Debug)]
pub(crate) struct Failure {
    status: lameduck_status,
    message: Cow<'static, str>,
}

impl Failure {
    pub(crate) fn new(status: lameduck_status, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::AlreadyKnown => LAMEDUCK_ALREADY_KNOWN,
            Refused::AllowanceSpent => LAMEDUCK_ALLOWANCE_SPENT,
            Refused::Closing => LAMEDUCK_CLOSING,
            Refused::Done => LAMEDUCK_DONE,
            Refused::Draining => LAMEDUCK_DRAINING,
            Refused::Forced => LAMEDUCK_FORCED,
            Refused::HeadersAlreadySent => LAMEDUCK_HEADERS_ALREADY_SENT,
            Refused::NotIdle => LAMEDUCK_NOT_IDLE,
            Refused::NotInFlight => LAMEDUCK_NOT_IN_FLIGHT,
            Refused::NotRunning => LAMEDUCK_NOT_RUNNING,
            Refused::Serving => LAMEDUCK_SERVING,
            Refused::TooMany => LAMEDUCK_TOO_MANY,
            Refused::UnknownConnection => LAMEDUCK_UNKNOWN_CONNECTION,
            Refused::UnknownHook => LAMEDUCK_UNKNOWN_HOOK,
            Refused::UnknownJob => LAMEDUCK_UNKNOWN_JOB,
            Refused::UnknownListener => LAMEDUCK_UNKNOWN_LISTENER,
            Refused::UnknownRequest => LAMEDUCK_UNKNOWN_REQUEST,
        };
        Self::new(status, refused.to_string())
    }
}

impl From<NotTaken> for Failure {
    fn from(not_taken: NotTaken) -> Self {
        let status = match not_taken {
            NotTaken::Refused(refused) => return refused.into(),
            NotTaken::Descriptor(_) => LAMEDUCK_BAD_DESCRIPTOR,
            NotTaken::Forked => LAMEDUCK_FORKED,
            NotTaken::Ledger(LedgerError::Stale { .. }) => LAMEDUCK_UNKNOWN_CONNECTION,
            NotTaken::Ledger(_) | NotTaken::NoIdLeft => LAMEDUCK_FULL,
            NotTaken::NotProcessed => LAMEDUCK_NOT_PROCESSED,
            NotTaken::RefuseRequest => LAMEDUCK_REFUSE_REQUEST,
            NotTaken::Released => LAMEDUCK_RELEASED,
            _ => LAMEDUCK_SYSTEM,
        };
        Self::new(status, not_taken.to_string())
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

fn keep(message: Cow<'static, str>) {
    let message = CString::new(message.into_owned().replace('\0', "\u{fffd}")).unwrap_or_default();
    // A thread that is ending has nobody left to read it.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = message;
        }
    });
}

/// The border: whatever happens inside, C gets a status. A panic's own message went to standard error.
pub(crate) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> lameduck_status {
    let result = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "panic-injection")]
        injection::strike();
        call()
    }));
    let failure = match result {
        Ok(Ok(())) => return LAMEDUCK_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            // What a panic carries may panic again when it is dropped; what that one carries is left alone.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(again);
            }
            Failure::new(
                LAMEDUCK_PANIC,
                format!("a fault of lameduck itself: {text}; please report it"),
            )
        }
    };
    keep(failure.message);
    failure.status
}

/// What a status means, as a sentence. Never NULL; lives as long as the program. For any number, also of a newer library.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_strerror(status: i32) -> *const c_char {
    sentence(status).as_ptr()
}

/// The sentence of the last call on this thread that did not return LAMEDUCK_OK: what was refused, why, what to do. Empty
/// when there was none. Never NULL; lives until the next such call on this thread, or the thread's end.
#[unsafe(no_mangle)]
pub extern "C" fn lameduck_last_error() -> *const c_char {
    LAST.try_with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr()))
        .unwrap_or(c"".as_ptr())
}

fn sentence(status: i32) -> &'static CStr {
    match status {
        0 => c"done",
        1 => c"a pointer that must not be NULL is NULL",
        2 => c"the object was freed, or never was one of this sort",
        3 => c"the struct's size is none that this library knows: fill it by its init function",
        4 => c"a number that is no value of its enum, or a value that no program can mean",
        5 => c"the policy contradicts itself",
        6 => c"the buffer is too small",
        7 => c"a fault of lameduck itself, which was contained: please report it",
        8 => c"the object belongs to the parent process: make one in this process",
        9 => c"the operating system refused",
        10 => c"time ran out first",
        11 => c"there are as many as there can be",
        12 => c"the descriptor is no listening socket",
        13 => c"another call of lameduck_dispatch is running",
        14 => c"the server is driven in the other way",
        15 => c"the policy refuses new requests while draining: answer 503 and close the connection",
        16 => c"the request came after its connection was told to close: do not process it, close the connection",
        17 => c"the server was freed while the call waited",
        100 => c"this id is in use already: give each one a new id",
        101 => c"the connection's time to complete a request head is over: close it",
        102 => c"the server is closing and takes nothing new",
        103 => c"shutdown is complete",
        104 => c"the server is draining and takes nothing new of this sort",
        105 => c"the drain deadline passed and this connection was forced to end",
        106 => c"the head of this response was already reported as sent",
        107 => c"the connection carries a request or is long-lived",
        108 => c"the request has ended before",
        109 => c"the hook is not running",
        110 => c"shutdown has not been requested",
        111 => c"a connection has at most 65535 requests in flight",
        112 => c"no such connection: it was closed, or never was",
        113 => c"no such hook",
        114 => c"no such job is running",
        115 => c"no such listener is open",
        116 => c"no such request is in flight on this connection",
        _ => c"a status that this library does not know",
    }
}

/// For tests: how a fault of lameduck itself looks from outside.
#[cfg(feature = "panic-injection")]
mod injection {
    use std::cell::Cell;

    thread_local! {
        static NEXT: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn strike() {
        if NEXT.replace(false) {
            panic!("injected");
        }
    }

    /// The next call on this thread panics.
    #[unsafe(no_mangle)]
    extern "C" fn lameduck_test_panic_next() {
        NEXT.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_sentence_of_its_own() {
        let known: Vec<i32> = (0..=17).chain(100..=116).collect();
        let mut seen = std::collections::HashSet::new();
        for status in -5..300 {
            let text = sentence(status).to_str().unwrap();
            assert_eq!(text.contains("does not know"), !known.contains(&status), "{status}");
            assert!(!known.contains(&status) || seen.insert(text), "{status}: {text}");
        }
    }
}
