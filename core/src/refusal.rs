//! Why an event was refused.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The event was illegal and changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// That id is in use.
    AlreadyKnown,
    /// Its time for a request head is over.
    AllowanceSpent,
    /// The server is past the point where this could still be done.
    Closing,
    /// Shutdown is complete.
    Done,
    /// The server is draining and takes nothing new of this sort.
    Draining,
    /// The machine already forced this connection; its requests have their verdict.
    Forced,
    /// The request's response was begun before.
    HeadersAlreadySent,
    /// The connection carries a request or is long-lived; it was not to be closed as idle.
    NotIdle,
    /// The request was finished before.
    NotInFlight,
    /// The hook was not running.
    NotRunning,
    /// Shutdown has not been requested; the driver's ledger counts until then.
    Serving,
    /// More requests than a connection can have.
    TooMany,
    /// No such connection.
    UnknownConnection,
    /// No such hook.
    UnknownHook,
    /// No such job.
    UnknownJob,
    /// No such listener.
    UnknownListener,
    /// No such request on this connection.
    UnknownRequest,
}

impl Refused {
    /// The name used by bindings and vectors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlreadyKnown => "already_known",
            Self::AllowanceSpent => "allowance_spent",
            Self::Closing => "closing",
            Self::Done => "done",
            Self::Draining => "draining",
            Self::Forced => "forced",
            Self::HeadersAlreadySent => "headers_already_sent",
            Self::NotIdle => "not_idle",
            Self::NotInFlight => "not_in_flight",
            Self::NotRunning => "not_running",
            Self::Serving => "serving",
            Self::TooMany => "too_many",
            Self::UnknownConnection => "unknown_connection",
            Self::UnknownHook => "unknown_hook",
            Self::UnknownJob => "unknown_job",
            Self::UnknownListener => "unknown_listener",
            Self::UnknownRequest => "unknown_request",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyKnown => "this id is already in use; give each one a new id",
            Self::AllowanceSpent => {
                "the connection's time to complete a request head is over; close it"
            }
            Self::Closing => "the server is closing and takes nothing new; do this before shutdown",
            Self::Done => "shutdown is complete; nothing more can happen in this process",
            Self::Draining => {
                "the server is draining and takes nothing new of this sort; do this before shutdown"
            }
            Self::Forced => "the drain deadline passed and this connection was forced to end",
            Self::HeadersAlreadySent => "the head of this response was already reported as sent",
            Self::NotIdle => {
                "this connection carries a request or is long-lived; only an idle one can be busy"
            }
            Self::NotInFlight => "this request has already finished",
            Self::NotRunning => "this hook is not running",
            Self::Serving => {
                "shutdown has not been requested; count in the ledger until the hand-over"
            }
            Self::TooMany => {
                "a connection has at most 65535 requests in flight; pass the ledger's count"
            }
            Self::UnknownConnection => "no such connection; adopt or open it first",
            Self::UnknownHook => "no such hook; register it first",
            Self::UnknownJob => "no such job is running",
            Self::UnknownListener => "no such listener is open",
            Self::UnknownRequest => "no such request is in flight on this connection",
        })
    }
}

impl core::error::Error for Refused {}
