//! What the machine tells its driver to do.

use crate::id::{ConnectionId, HookId, JobId, ListenerId, RequestId};
use crate::phase::Phase;

/// One thing to do, in order. Effects for something that has ended meanwhile are to be
/// ignored by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Stop waiting for this hook; its result is recorded.
    AbandonHook {
        /// The hook.
        hook: HookId,
    },
    /// The drain deadline is near: fire the abort signal of every request in flight, and of
    /// each that begins later.
    AbortRequests,
    /// From now on the last response on this connection says so: `Connection: close`
    /// (RFC 9112 §9.6). HTTP/2: the first GOAWAY, with the highest stream id, which asks for
    /// no new streams and refuses none (RFC 9113 §6.8).
    AnnounceClose {
        /// The connection.
        connection: ConnectionId,
    },
    /// Fire this job's abort signal.
    CancelJob {
        /// The job.
        job: JobId,
    },
    /// Close an idle connection: half-close, read for a bounded time, close.
    CloseIdle {
        /// The connection.
        connection: ConnectionId,
        /// Look first: with unread bytes, leave it open and report
        /// [`crate::Event::ConnectionBusy`]. When `false` its time is over.
        look: bool,
    },
    /// Accept until the kernel's queue is empty, then close.
    CloseListener {
        /// The listener.
        listener: ListenerId,
    },
    /// End a long-lived exchange as its protocol does: a WebSocket close frame, the
    /// clean end of an event stream, a half-close of a tunnel.
    CloseLongLived {
        /// The connection.
        connection: ConnectionId,
        /// The stream; `None` for the connection itself.
        request: Option<RequestId>,
    },
    /// It is over: end the process with this code, unless told otherwise.
    Exit {
        /// 0 when nothing was lost.
        code: u8,
    },
    /// Drop new handshakes at this listener, go on accepting what is under way.
    FenceListener {
        /// The listener.
        listener: ListenerId,
    },
    /// Its time is over: answer what can still be answered with 503, then cut. Closing
    /// waits a second at most for the connection to be reported closed, so that the
    /// answer leaves: read on until then. Before the drain deadline it has had its time to
    /// go, and nothing is worth waiting for.
    ForceConnection {
        /// The connection.
        connection: ConnectionId,
        /// Requests whose head is unsent: 503 + `Retry-After` + `Connection: close`.
        unanswered: u32,
    },
    /// Tell a long-lived peer that the server is leaving; a long poll, that it shall answer
    /// now.
    NotifyLongLived {
        /// The connection.
        connection: ConnectionId,
        /// The stream or long poll; `None` for the connection itself.
        request: Option<RequestId>,
    },
    /// A new phase began.
    PhaseChanged {
        /// Which.
        phase: Phase,
    },
    /// Answer this request 503 (`new_requests: refuse`) and report it finished, refused.
    RefuseRequest {
        /// Its connection.
        connection: ConnectionId,
        /// The request.
        request: RequestId,
    },
    /// HTTP/2: the final GOAWAY, with the last stream that was processed. Streams above it
    /// were never seen and may be repeated elsewhere (RFC 9113 §6.8).
    RefuseStreams {
        /// The connection.
        connection: ConnectionId,
    },
    /// Run this hook and report [`crate::Event::HookFinished`].
    RunHook {
        /// The hook.
        hook: HookId,
    },
    /// What readiness probes shall answer.
    SetReadiness {
        /// Whether this server wants new traffic.
        ready: bool,
    },
}
