//! What a user wanted, and each attempt to get it.

use lameduck::{RequestId, RequestKind};

use crate::scenario::{Work, WorkKind};
use crate::time::Nanos;

/// What a user wanted once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) pool: u32,
    pub(crate) work: Work,
    /// It must not be done twice.
    pub(crate) unrepeatable: bool,
    pub(crate) one_shot: bool,
    /// Complete answers that arrived.
    pub(crate) answers: u32,
    /// How often a server processed it.
    pub(crate) processed: u32,
    /// Connections refused so far.
    pub(crate) refusals: u32,
}

/// One attempt: it was sent on a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) wish: u32,
    pub(crate) connection: u32,
    pub(crate) server: u32,
    pub(crate) work: Work,
    /// HTTP/2: its stream.
    pub(crate) stream: u32,

    // As the client sees it.
    /// When its first byte was sent.
    pub(crate) sent_at: Nanos,
    pub(crate) head_seen: bool,
    pub(crate) fate: Option<Fate>,

    // As the server does.
    pub(crate) id: RequestId,
    pub(crate) arrived: Arrived,
    pub(crate) begun: bool,
    pub(crate) body_complete: bool,
    pub(crate) head_sent: bool,
    /// Written, but not gone from the process.
    pub(crate) unflushed: bool,
    /// The server sent its protocol's end.
    pub(crate) end_sent: bool,
    /// To be answered 503 when its turn comes.
    pub(crate) to_refuse: bool,
    pub(crate) ending: Option<Ending>,
}

/// How an attempt looked to its client in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// Answered 503.
    Unavailable,
    /// The client did not wait.
    GaveUp,
    /// Not answered, safely repeated elsewhere.
    Repeated,
    Lost(Loss),
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// It came after the response that announced.
    Announced,
    /// Its connection was reset before it was accepted.
    Backlog,
    /// The process ended.
    Exit,
    /// Its time was over.
    Forced,
    /// Its idle connection was closed while it was on the wire.
    Idle,
    /// HTTP/2: it came after the GOAWAY, and its client does not repeat it.
    Refused,
    /// Nobody took the connection.
    Unreachable,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Announced,
        Self::Backlog,
        Self::Exit,
        Self::Forced,
        Self::Idle,
        Self::Refused,
        Self::Unreachable,
    ];
}

/// What a server did with it when it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    NotYet,
    /// Before the request to stop.
    Serving,
    /// Since.
    Draining,
    /// Parsed, and dropped.
    NotProcessed,
}

/// How a server ended it: what the wire saw of its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Completed,
    ClientGone,
    Refused,
    Ended,
    Forced,
    /// Over before the request to stop.
    Before,
}

impl Request {
    pub(crate) fn kind(&self) -> RequestKind {
        match self.work.kind {
            WorkKind::LongPoll => RequestKind::LongPoll,
            WorkKind::Stream => RequestKind::Stream,
            WorkKind::Upload => RequestKind::Upload,
            WorkKind::Download | WorkKind::Quick | WorkKind::SlowReader | WorkKind::Stuck => {
                RequestKind::Ordinary
            }
        }
    }
}
