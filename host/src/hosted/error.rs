//! Why something that the server said was not taken.

use std::fmt;

use lameduck::Refused;

use crate::fence::FenceError;
use crate::ledger::LedgerError;

/// Why something that the server said was not taken. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTaken {
    /// The descriptor is no listening socket.
    Descriptor(FenceError),
    /// This process is a forked child of the one that started it.
    Forked,
    /// The connection is unknown, or there are too many.
    Ledger(LedgerError),
    /// More ids were given out than there are.
    NoIdLeft,
    /// The request arrived behind the response that announced the close, or on a connection that was told to end: do not
    /// process it, close the connection (RFC 9112 §9.6). It is not in flight.
    NotProcessed,
    /// The machine refused it.
    Refused(Refused),
    /// It was [released](Hosted::release) before it was over.
    Released,
    /// The policy refuses new requests while draining: answer 503 and close the connection. It has its verdict.
    RefuseRequest,
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(error) => error.fmt(f),
            Self::Forked => {
                f.write_str("this belongs to the parent process: start one in this process")
            }
            Self::Ledger(error) => error.fmt(f),
            Self::NoIdLeft => f.write_str("more than 4294967295 were begun in this process"),
            Self::NotProcessed => f.write_str(
                "this request came after its connection was told to close: do not process it, close the connection",
            ),
            Self::Refused(refused) => refused.fmt(f),
            Self::Released => f.write_str("it was released before the shutdown was over"),
            Self::RefuseRequest => f.write_str(
                "the policy refuses new requests while draining: answer 503 with Connection: close, and close",
            ),
        }
    }
}

impl std::error::Error for NotTaken {}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<LedgerError> for NotTaken {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}
