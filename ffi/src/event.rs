//! Events of a machine, from C.

use std::ffi::c_char;
use std::time::Duration;

use lameduck::{ConnectionId, Event, EventKind, HookId, JobId, ListenerId, RequestId, Time};

use crate::enums::{
    RawCause, RawJobOutcome, RawJobSource, RawOnDrain, RawOutcome, RawProtocol, RawRequestKind,
    RawStage,
};
use crate::input::{self, Flag, input_enum};
use crate::status::Failure;
use crate::text;

/// What happened. Of lameduck_event, each needs the fields that are named here. Which is legal when: docs/phases.md.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_event_type {
    /// A connection that was open at the request to stop: `connection`, `protocol`, `in_flight`, `announced`. Its requests
    /// are `0` to `in_flight - 1` from now on, of kind ordinary.
    ConnectionAdopted = 1,
    /// The driver was asked to close an idle connection, found bytes of a next request on it and left it open: `connection`.
    ConnectionBusy = 2,
    /// The connection is gone, whoever closed it: `connection`.
    ConnectionClosed = 3,
    /// Who is at the other end, for the report: `connection`, `text`.
    ConnectionDescribed = 4,
    /// A connection was accepted since: `connection`, `protocol`.
    ConnectionOpened = 5,
    /// The connection changed its protocol; its requests stay in flight: `connection`, `protocol`.
    ConnectionUpgraded = 6,
    /// The orchestrator's budget became longer or shorter: `grace_ns`, counted from the request to stop.
    DeadlineChanged = 7,
    /// Somebody insists: ends the window; then forces what is in flight; then ends the hooks.
    Escalate = 8,
    /// A hook that was to be run has ended: `hook`, `text` (what it failed with; NULL when it succeeded).
    HookFinished = 9,
    /// A clean-up: `hook` (a new id), `stage`, `text` (what the report calls it), `order` (lower first, equal together),
    /// `timeout_ns` (LAMEDUCK_UNSET: the stage's end).
    HookRegistered = 10,
    /// Background work has ended: `job`, `job_outcome`.
    JobFinished = 11,
    /// Work beside the requests began: `job` (a new id), `text` (what the report calls it), `job_source`, `on_drain`.
    JobStarted = 12,
    /// A listener is closed: `listener`.
    ListenerClosed = 13,
    /// A listener failed: `listener`, `text` (what the operating system said).
    ListenerFailed = 14,
    /// A listener accepts connections: `listener` (a new id).
    ListenerOpened = 15,
    /// What a request is, for its allowance and the report: `connection`, `request`, `request_kind`, `text` (method and
    /// route), `since_ns` (when it began).
    RequestDescribed = 16,
    /// The driver is done with a request: `connection`, `request`, `outcome`, `flushed` (whether every byte of the response has
    /// left the process; otherwise LAMEDUCK_EVENT_TYPE_REQUEST_FLUSHED follows).
    RequestFinished = 17,
    /// The last byte of a finished response has left the process: `connection`, `request`.
    RequestFlushed = 18,
    /// The head of the response was written: `connection`, `request`, `announced` (it said `Connection: close`).
    RequestHeadersSent = 19,
    /// A request was parsed: `connection`, `request` (a new id on that connection), `request_kind`.
    RequestStarted = 20,
    /// The server shall stop: `cause`, `ever_accepted`. Repeated, it can only raise the severity.
    Shutdown = 21,
}

input_enum!(RawEventType: lameduck_event_type => EventKind, "lameduck_event_type", {
    ConnectionAdopted => EventKind::ConnectionAdopted,
    ConnectionBusy => EventKind::ConnectionBusy,
    ConnectionClosed => EventKind::ConnectionClosed,
    ConnectionDescribed => EventKind::ConnectionDescribed,
    ConnectionOpened => EventKind::ConnectionOpened,
    ConnectionUpgraded => EventKind::ConnectionUpgraded,
    DeadlineChanged => EventKind::DeadlineChanged,
    Escalate => EventKind::Escalate,
    HookFinished => EventKind::HookFinished,
    HookRegistered => EventKind::HookRegistered,
    JobFinished => EventKind::JobFinished,
    JobStarted => EventKind::JobStarted,
    ListenerClosed => EventKind::ListenerClosed,
    ListenerFailed => EventKind::ListenerFailed,
    ListenerOpened => EventKind::ListenerOpened,
    RequestDescribed => EventKind::RequestDescribed,
    RequestFinished => EventKind::RequestFinished,
    RequestFlushed => EventKind::RequestFlushed,
    RequestHeadersSent => EventKind::RequestHeadersSent,
    RequestStarted => EventKind::RequestStarted,
    Shutdown => EventKind::Shutdown,
});

/// One thing that happened, for lameduck_handle. Only the fields that its type names are read:
/// `(lameduck_event){ .type = LAMEDUCK_EVENT_TYPE_CONNECTION_CLOSED, .connection = id }`.
#[repr(C)]
pub struct lameduck_event {
    /// What happened.
    r#type: RawEventType,
    /// What is spoken.
    protocol: RawProtocol,
    /// The driver's own name for the connection, below 2^53.
    connection: u64,
    /// The driver's name for the request, unique on its connection while it is in flight.
    request: u32,
    /// Requests in flight, at most 65535.
    in_flight: u32,
    /// What the request is.
    request_kind: RawRequestKind,
    /// How the request ended.
    outcome: RawOutcome,
    /// Unique while it is open.
    listener: u32,
    /// Unique for the life of the machine.
    hook: u32,
    /// Unique while it runs.
    job: u32,
    /// When the hook runs.
    stage: RawStage,
    /// Lower first.
    order: i32,
    /// What began the job.
    job_source: RawJobSource,
    /// What draining means to the job.
    on_drain: RawOnDrain,
    /// How the job ended.
    job_outcome: RawJobOutcome,
    /// Why the server stops.
    cause: RawCause,
    /// Whether a response said `Connection: close`.
    announced: Flag,
    /// Whether every byte has left the process.
    flushed: Flag,
    /// Whether this process ever accepted a connection.
    ever_accepted: Flag,
    /// A span in nanoseconds.
    grace_ns: u64,
    /// A span in nanoseconds, or LAMEDUCK_UNSET.
    timeout_ns: u64,
    /// A moment on the driver's clock.
    since_ns: u64,
    /// A name, label, peer or error; copied. Bytes that are not UTF-8 are replaced.
    text: *const c_char,
}

impl lameduck_event {
    /// # Safety
    /// `text`, if the event needs it, is NULL or a C string.
    pub(crate) unsafe fn parse(&self) -> Result<Event, Failure> {
        let connection = ConnectionId(self.connection);
        let request = RequestId(self.request);
        let (listener, hook, job) = (ListenerId(self.listener), HookId(self.hook), JobId(self.job));
        // SAFETY: by this function's contract.
        let text = || unsafe { text::string(self.text, "event->text") };
        Ok(match self.r#type.parse()? {
            EventKind::ConnectionAdopted => Event::ConnectionAdopted {
                connection,
                protocol: self.protocol.parse()?,
                in_flight: self.in_flight,
                announced: self.announced.is_set(),
            },
            EventKind::ConnectionBusy => Event::ConnectionBusy { connection },
            EventKind::ConnectionClosed => Event::ConnectionClosed { connection },
            EventKind::ConnectionDescribed => {
                Event::ConnectionDescribed { connection, peer: text()? }
            }
            EventKind::ConnectionOpened => {
                Event::ConnectionOpened { connection, protocol: self.protocol.parse()? }
            }
            EventKind::ConnectionUpgraded => {
                Event::ConnectionUpgraded { connection, protocol: self.protocol.parse()? }
            }
            EventKind::DeadlineChanged => {
                Event::DeadlineChanged { grace: Duration::from_nanos(self.grace_ns) }
            }
            EventKind::Escalate => Event::Escalate,
            EventKind::HookFinished => {
                // SAFETY: by this function's contract.
                Event::HookFinished { hook, error: unsafe { text::optional(self.text) } }
            }
            EventKind::HookRegistered => Event::HookRegistered {
                hook,
                stage: self.stage.parse()?,
                name: text()?,
                order: self.order,
                timeout: input::span(self.timeout_ns, "timeout_ns")?,
            },
            EventKind::JobFinished => {
                Event::JobFinished { job, outcome: self.job_outcome.parse()? }
            }
            EventKind::JobStarted => Event::JobStarted {
                job,
                name: text()?,
                source: self.job_source.parse()?,
                on_drain: self.on_drain.parse()?,
            },
            EventKind::ListenerClosed => Event::ListenerClosed { listener },
            EventKind::ListenerFailed => Event::ListenerFailed { listener, error: text()? },
            EventKind::ListenerOpened => Event::ListenerOpened { listener },
            EventKind::RequestDescribed => Event::RequestDescribed {
                connection,
                request,
                kind: self.request_kind.parse()?,
                label: text()?,
                since: Time::from_nanos(self.since_ns),
            },
            EventKind::RequestFinished => Event::RequestFinished {
                connection,
                request,
                outcome: self.outcome.parse()?,
                flushed: self.flushed.is_set(),
            },
            EventKind::RequestFlushed => Event::RequestFlushed { connection, request },
            EventKind::RequestHeadersSent => Event::RequestHeadersSent {
                connection,
                request,
                announced: self.announced.is_set(),
            },
            EventKind::RequestStarted => {
                Event::RequestStarted { connection, request, kind: self.request_kind.parse()? }
            }
            EventKind::Shutdown => Event::Shutdown {
                cause: self.cause.parse()?,
                ever_accepted: self.ever_accepted.is_set(),
            },
        })
    }
}
