//! What the driver tells the machine.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::hook::Stage;
use crate::id::{ConnectionId, HookId, JobId, ListenerId, RequestId};
use crate::protocol::Protocol;
use crate::time::Time;

/// One thing that happened. See `table.rs` for which is legal when.
///
/// Connection and request events begin at the hand-over: while Serving the driver
/// counts in its own ledger and the machine is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection that was open at the hand-over, as the ledger had it.
    ConnectionAdopted {
        /// The ledger's handle.
        connection: ConnectionId,
        /// What is spoken on it.
        protocol: Protocol,
        /// Requests in flight; they become `RequestId(0..in_flight)`, kind ordinary.
        in_flight: u32,
        /// Whether a response in flight already said `Connection: close`.
        announced: bool,
    },
    /// The driver was asked to close an idle connection and found bytes of a next
    /// request on it; it left the connection open.
    ConnectionBusy {
        /// The connection.
        connection: ConnectionId,
    },
    /// The connection is gone, whoever closed it.
    ConnectionClosed {
        /// The connection.
        connection: ConnectionId,
    },
    /// Who is at the other end, for the report.
    ConnectionDescribed {
        /// The connection.
        connection: ConnectionId,
        /// The peer as an operator would write it.
        peer: String,
    },
    /// A connection was accepted after the hand-over.
    ConnectionOpened {
        /// The ledger's handle.
        connection: ConnectionId,
        /// What is spoken on it.
        protocol: Protocol,
    },
    /// The connection changed its protocol; its requests stay in flight.
    ConnectionUpgraded {
        /// The connection.
        connection: ConnectionId,
        /// What is spoken from now on.
        protocol: Protocol,
    },
    /// The orchestrator's budget became longer or shorter.
    DeadlineChanged {
        /// The new grace, still counted from the moment shutdown was requested. Times of the
        /// policy that nobody set fit themselves to it; the window never grows.
        grace: Duration,
    },
    /// Somebody insists: ends the window; then forces what is in flight; then ends the
    /// `close` hooks; then the `flush` hooks.
    Escalate,
    /// A hook that the machine asked for has ended.
    HookFinished {
        /// The hook.
        hook: HookId,
        /// What it failed with; `None` when it succeeded.
        error: Option<String>,
    },
    /// The user registered a clean-up.
    HookRegistered {
        /// A new id.
        hook: HookId,
        /// When it runs.
        stage: Stage,
        /// What the report calls it.
        name: String,
        /// Lower first; equal together.
        order: i32,
        /// Its own limit; without one the stage's end is its limit.
        timeout: Option<Duration>,
    },
    /// Background work has ended.
    JobFinished {
        /// The job.
        job: JobId,
        /// How.
        outcome: JobOutcome,
    },
    /// Work beside the requests began; shutdown waits for it until the drain deadline.
    JobStarted {
        /// A new id.
        job: JobId,
        /// What the report calls it.
        name: String,
        /// What began it. While draining only what a request began is taken.
        source: JobSource,
        /// What draining means to it.
        on_drain: OnDrain,
    },
    /// A listener is closed.
    ListenerClosed {
        /// The listener.
        listener: ListenerId,
    },
    /// A listener failed; it accepts nothing any more.
    ListenerFailed {
        /// The listener.
        listener: ListenerId,
        /// What the operating system said.
        error: String,
    },
    /// A listener accepts connections.
    ListenerOpened {
        /// A new id.
        listener: ListenerId,
    },
    /// What a request is, for its allowance and the report.
    RequestDescribed {
        /// Its connection.
        connection: ConnectionId,
        /// The request.
        request: RequestId,
        /// Its kind, as far as it is known by now.
        kind: RequestKind,
        /// Method and route, as an operator would write them.
        label: String,
        /// When it began.
        since: Time,
    },
    /// The driver is done with a request.
    RequestFinished {
        /// Its connection.
        connection: ConnectionId,
        /// The request.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
        /// Whether every byte of the response has left the process. When not,
        /// [`Event::RequestFlushed`] follows and the request stays in flight until then; or a
        /// second finish, [`Outcome::ClientGone`], when the client goes first.
        flushed: bool,
    },
    /// The last byte of a finished response has left the process.
    RequestFlushed {
        /// Its connection.
        connection: ConnectionId,
        /// The request.
        request: RequestId,
    },
    /// The head of the response was written: it can no longer be answered 503.
    RequestHeadersSent {
        /// Its connection.
        connection: ConnectionId,
        /// The request.
        request: RequestId,
        /// Whether it said `Connection: close` (RFC 9112 §9.6).
        announced: bool,
    },
    /// A request was parsed.
    RequestStarted {
        /// Its connection.
        connection: ConnectionId,
        /// A new id on that connection.
        request: RequestId,
        /// Its kind, as far as it is known by now.
        kind: RequestKind,
    },
    /// The server shall stop. Repeated, it can only raise the severity.
    Shutdown {
        /// Why.
        cause: Cause,
        /// Whether this process ever accepted a connection.
        ever_accepted: bool,
    },
}

/// [`Event`] without its contents: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // each is the event of the same name
pub enum EventKind {
    ConnectionAdopted,
    ConnectionBusy,
    ConnectionClosed,
    ConnectionDescribed,
    ConnectionOpened,
    ConnectionUpgraded,
    DeadlineChanged,
    Escalate,
    HookFinished,
    HookRegistered,
    JobFinished,
    JobStarted,
    ListenerClosed,
    ListenerFailed,
    ListenerOpened,
    RequestDescribed,
    RequestFinished,
    RequestFlushed,
    RequestHeadersSent,
    RequestStarted,
    Shutdown,
}

impl Event {
    /// Which event it is.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::ConnectionAdopted { .. } => EventKind::ConnectionAdopted,
            Self::ConnectionBusy { .. } => EventKind::ConnectionBusy,
            Self::ConnectionClosed { .. } => EventKind::ConnectionClosed,
            Self::ConnectionDescribed { .. } => EventKind::ConnectionDescribed,
            Self::ConnectionOpened { .. } => EventKind::ConnectionOpened,
            Self::ConnectionUpgraded { .. } => EventKind::ConnectionUpgraded,
            Self::DeadlineChanged { .. } => EventKind::DeadlineChanged,
            Self::Escalate => EventKind::Escalate,
            Self::HookFinished { .. } => EventKind::HookFinished,
            Self::HookRegistered { .. } => EventKind::HookRegistered,
            Self::JobFinished { .. } => EventKind::JobFinished,
            Self::JobStarted { .. } => EventKind::JobStarted,
            Self::ListenerClosed { .. } => EventKind::ListenerClosed,
            Self::ListenerFailed { .. } => EventKind::ListenerFailed,
            Self::ListenerOpened { .. } => EventKind::ListenerOpened,
            Self::RequestDescribed { .. } => EventKind::RequestDescribed,
            Self::RequestFinished { .. } => EventKind::RequestFinished,
            Self::RequestFlushed { .. } => EventKind::RequestFlushed,
            Self::RequestHeadersSent { .. } => EventKind::RequestHeadersSent,
            Self::RequestStarted { .. } => EventKind::RequestStarted,
            Self::Shutdown { .. } => EventKind::Shutdown,
        }
    }
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Held open until something happens: told to answer early, so that its client polls
    /// elsewhere.
    LongPoll,
    /// Asked, answered.
    Ordinary,
    /// An event stream: told to end at drain, ended in the second half of the window.
    Stream,
    /// A body still arriving.
    Upload,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::LongPoll, Self::Ordinary, Self::Stream, Self::Upload];

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LongPoll => "long_poll",
            Self::Ordinary => "ordinary",
            Self::Stream => "stream",
            Self::Upload => "upload",
        }
    }
}

/// How the driver saw a request end. The machine's own verdict `forced` is not among
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The peer went away first.
    ClientGone,
    /// Answered.
    Completed,
    /// A long-lived exchange got notice and its protocol's end.
    Ended,
    /// Answered 503.
    Refused,
}

/// What began a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSource {
    /// The program itself: a timer, a consumer.
    Background,
    /// A request that was admitted, answered by now or not.
    Request,
}

/// What draining means to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrain {
    /// Its abort signal fires when draining begins; that it stops then is no loss.
    Cancel,
    /// It has until the drain deadline; its abort signal fires shortly before that.
    Wait,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// It stopped because its abort signal fired.
    Aborted,
    /// It did its work.
    Completed,
    /// It threw.
    Failed,
}
