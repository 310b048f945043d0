//! The enums of the header, beside those that belong to one subject.

use lameduck::{
    Cause, JobOutcome, JobSource, OnDrain, Outcome, Phase, Protocol, RequestKind, Stage, Wake,
};

use crate::input::input_enum;

/// What is spoken on a connection.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_protocol {
    /// HTTP/1.0 and 1.1.
    Http1 = 0,
    /// HTTP/2.
    Http2 = 1,
    /// WebSocket.
    Websocket = 2,
    /// `CONNECT`.
    Tunnel = 3,
    /// Anything else that was upgraded to.
    Other = 4,
}

input_enum!(RawProtocol: lameduck_protocol => Protocol, "lameduck_protocol", {
    Http1 => Protocol::Http1,
    Http2 => Protocol::Http2,
    Websocket => Protocol::Websocket,
    Tunnel => Protocol::Tunnel,
    Other => Protocol::Other,
});

/// What a request is.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_request_kind {
    /// Asked, answered.
    Ordinary = 0,
    /// An event stream: told to end at drain, ended in the second half of the window.
    Stream = 1,
    /// Held open until something happens: told to answer early, so that its client polls elsewhere.
    LongPoll = 2,
    /// A body still arriving.
    Upload = 3,
}

input_enum!(RawRequestKind: lameduck_request_kind => RequestKind, "lameduck_request_kind", {
    Ordinary => RequestKind::Ordinary,
    Stream => RequestKind::Stream,
    LongPoll => RequestKind::LongPoll,
    Upload => RequestKind::Upload,
});

/// How a request ended, as the server saw it.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_outcome {
    /// Answered.
    Completed = 0,
    /// The peer went away first.
    ClientGone = 1,
    /// Answered 503.
    Refused = 2,
    /// A long-lived exchange got notice and its protocol's end.
    Ended = 3,
}

input_enum!(RawOutcome: lameduck_outcome => Outcome, "lameduck_outcome", {
    Completed => Outcome::Completed,
    ClientGone => Outcome::ClientGone,
    Refused => Outcome::Refused,
    Ended => Outcome::Ended,
});

/// Why the server stops. The first cause names the report; severity only rises.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_cause {
    /// The program asked for it.
    Programmatic = 0,
    /// A peer process asked for it.
    PeerMessage = 1,
    /// The parent process is gone.
    ParentGone = 2,
    /// SIGTERM, or a SIGINT that no terminal sent.
    Terminate = 3,
    /// Ctrl-C: a SIGINT while standard input is a terminal. Skips the window.
    Interrupt = 4,
    /// Fatal: an exception that nobody caught. Skips the window, exits 1.
    UncaughtException = 5,
    /// Fatal: a promise rejection that nobody handled. Skips the window, exits 1.
    UnhandledRejection = 6,
}

input_enum!(RawCause: lameduck_cause => Cause, "lameduck_cause", {
    Programmatic => Cause::Programmatic,
    PeerMessage => Cause::PeerMessage,
    ParentGone => Cause::ParentGone,
    Terminate => Cause::Terminate,
    Interrupt => Cause::Interrupt,
    UncaughtException => Cause::UncaughtException,
    UnhandledRejection => Cause::UnhandledRejection,
});

/// When a hook runs.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_stage {
    /// When draining begins: pause consumers, deregister.
    Drain = 0,
    /// When every request has its verdict: pools, clients.
    Close = 1,
    /// After the `close` hooks: logs, metrics.
    Flush = 2,
}

input_enum!(RawStage: lameduck_stage => Stage, "lameduck_stage", {
    Drain => Stage::Drain,
    Close => Stage::Close,
    Flush => Stage::Flush,
});

/// What began a job.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_job_source {
    /// The program itself: a timer, a consumer. Refused while draining.
    Background = 0,
    /// A request that was admitted, answered by now or not.
    Request = 1,
}

input_enum!(RawJobSource: lameduck_job_source => JobSource, "lameduck_job_source", {
    Background => JobSource::Background,
    Request => JobSource::Request,
});

/// What draining means to a job.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_on_drain {
    /// It has until the drain deadline; its abort signal fires shortly before that.
    Wait = 0,
    /// Its abort signal fires when draining begins; that it stops then is no loss.
    Cancel = 1,
}

input_enum!(RawOnDrain: lameduck_on_drain => OnDrain, "lameduck_on_drain", {
    Wait => OnDrain::Wait,
    Cancel => OnDrain::Cancel,
});

/// How a job ended.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_job_outcome {
    /// It did its work.
    Completed = 0,
    /// It failed.
    Failed = 1,
    /// It stopped because its abort signal fired.
    Aborted = 2,
}

input_enum!(RawJobOutcome: lameduck_job_outcome => JobOutcome, "lameduck_job_outcome", {
    Completed => JobOutcome::Completed,
    Failed => JobOutcome::Failed,
    Aborted => JobOutcome::Aborted,
});

/// Where the server stands on its way out. A phase never goes back.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_phase {
    /// Nothing has been asked of it.
    Serving = 0,
    /// First the window (accept and serve, tell clients to go elsewhere), then emptying (listeners closed, what is in
    /// flight finishes).
    Draining = 1,
    /// `close` hooks, then `flush` hooks.
    Closing = 2,
    /// The report is final.
    Done = 3,
}

impl From<Phase> for lameduck_phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Serving => Self::Serving,
            Phase::Draining => Self::Draining,
            Phase::Closing => Self::Closing,
            Phase::Done => Self::Done,
        }
    }
}

/// Why a machine wants to be ticked.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_wake {
    /// It does not: only an event can change anything.
    None = 0,
    /// Something ended, or can start.
    Progress = 1,
    /// A connection's moment.
    Connection = 2,
    /// A hook's own limit.
    HookTimeout = 3,
    /// Traffic stopped during the window.
    WindowIdle = 4,
    /// t1.
    WindowEnd = 5,
    /// The fenced listeners have settled.
    SettleEnd = 6,
    /// The abort signals' moment.
    AbortLead = 7,
    /// t2.
    DrainDeadline = 8,
    /// The `close` hooks' limit.
    CloseStageEnd = 9,
    /// The `flush` hooks' limit.
    FlushStageEnd = 10,
}

impl From<Wake> for lameduck_wake {
    fn from(wake: Wake) -> Self {
        match wake {
            Wake::Progress => Self::Progress,
            Wake::Connection => Self::Connection,
            Wake::HookTimeout => Self::HookTimeout,
            Wake::WindowIdle => Self::WindowIdle,
            Wake::WindowEnd => Self::WindowEnd,
            Wake::SettleEnd => Self::SettleEnd,
            Wake::AbortLead => Self::AbortLead,
            Wake::DrainDeadline => Self::DrainDeadline,
            Wake::CloseStageEnd => Self::CloseStageEnd,
            Wake::FlushStageEnd => Self::FlushStageEnd,
        }
    }
}
