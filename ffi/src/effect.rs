//! Effects of a machine, to C.

use lameduck::{ConnectionId, Effect, HookId, JobId, ListenerId, RequestId};

use crate::enums::lameduck_phase;

/// What the driver is to do. Each comes with the fields of lameduck_effect that are named here.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum lameduck_effect_type {
    /// There is none left.
    None = 0,
    /// Stop waiting for this hook; its result is recorded: `hook`.
    AbandonHook = 1,
    /// The drain deadline is near: fire the abort signal of every request in flight, and of each that begins later.
    AbortRequests = 2,
    /// From now on the last response on this connection says so: `connection`. `Connection: close` (RFC 9112 §9.6); in HTTP/2
    /// the first GOAWAY, which refuses no streams (RFC 9113 §6.8).
    AnnounceClose = 3,
    /// Fire this job's abort signal: `job`.
    CancelJob = 4,
    /// Close an idle connection: half-close, read for a bounded time, close, say that it is closed: `connection`, `look` (with unread
    /// bytes leave it open, and say that it is busy).
    CloseIdle = 5,
    /// Accept until the kernel's queue is empty, close, say so: `listener`.
    CloseListener = 6,
    /// End a long-lived exchange as its protocol does: `connection`, `request` if `has_request`, otherwise the connection itself.
    CloseLongLived = 7,
    /// It is over: `code`, 0 when nothing was lost.
    Exit = 8,
    /// Drop new handshakes at this listener where the system can, go on accepting: `listener`.
    FenceListener = 9,
    /// Its time is over: answer what can still be answered with 503, cut the rest, close, say so: `connection`, `unanswered` (how
    /// many requests have no head sent).
    ForceConnection = 10,
    /// Tell a long-lived peer that the server is leaving; a long poll shall answer now: `connection`, `request` if `has_request`.
    NotifyLongLived = 11,
    /// Tell whoever listens: `phase`.
    PhaseChanged = 12,
    /// Answer this request 503 and say that it is finished, refused: `connection`, `request`.
    RefuseRequest = 13,
    /// HTTP/2: the final GOAWAY, with the last stream that was processed: `connection`.
    RefuseStreams = 14,
    /// Run this hook and say when it has ended: `hook`.
    RunHook = 15,
    /// What readiness probes shall answer: `ready`.
    SetReadiness = 16,
}

/// One thing to do. Fields that its type does not name are 0. An effect for something that has ended meanwhile is to be ignored.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lameduck_effect {
    /// What to do.
    r#type: lameduck_effect_type,
    /// The request, if `has_request`.
    request: u32,
    /// The connection.
    connection: u64,
    /// The listener.
    listener: u32,
    /// The hook.
    hook: u32,
    /// The job.
    job: u32,
    /// Requests whose head is unsent.
    unanswered: u32,
    /// The phase that has begun.
    phase: lameduck_phase,
    /// The exit code.
    code: i32,
    /// Whether `request` counts.
    has_request: bool,
    /// Look first.
    look: bool,
    /// Whether this server wants new traffic.
    ready: bool,
}

impl From<Option<Effect>> for lameduck_effect {
    fn from(effect: Option<Effect>) -> Self {
        use lameduck_effect_type as Type;
        let of = |r#type| Self {
            r#type,
            request: 0,
            connection: 0,
            listener: 0,
            hook: 0,
            job: 0,
            unanswered: 0,
            phase: lameduck_phase::Serving,
            code: 0,
            has_request: false,
            look: false,
            ready: false,
        };
        let on = |type_, ConnectionId(connection)| Self { connection, ..of(type_) };
        let with = |effect: Self, request: Option<RequestId>| Self {
            has_request: request.is_some(),
            request: request.map_or(0, |request| request.0),
            ..effect
        };
        let at = |type_, ListenerId(listener)| Self { listener, ..of(type_) };
        let hooked = |type_, HookId(hook)| Self { hook, ..of(type_) };
        let Some(effect) = effect else { return of(Type::None) };
        match effect {
            Effect::AbandonHook { hook } => hooked(Type::AbandonHook, hook),
            Effect::AbortRequests => of(Type::AbortRequests),
            Effect::AnnounceClose { connection } => on(Type::AnnounceClose, connection),
            Effect::CancelJob { job: JobId(job) } => Self { job, ..of(Type::CancelJob) },
            Effect::CloseIdle { connection, look } => {
                Self { look, ..on(Type::CloseIdle, connection) }
            }
            Effect::CloseListener { listener } => at(Type::CloseListener, listener),
            Effect::CloseLongLived { connection, request } => {
                with(on(Type::CloseLongLived, connection), request)
            }
            Effect::Exit { code } => Self { code: code.into(), ..of(Type::Exit) },
            Effect::FenceListener { listener } => at(Type::FenceListener, listener),
            Effect::ForceConnection { connection, unanswered } => {
                Self { unanswered, ..on(Type::ForceConnection, connection) }
            }
            Effect::NotifyLongLived { connection, request } => {
                with(on(Type::NotifyLongLived, connection), request)
            }
            Effect::PhaseChanged { phase } => {
                Self { phase: phase.into(), ..of(Type::PhaseChanged) }
            }
            Effect::RefuseRequest { connection, request } => {
                with(on(Type::RefuseRequest, connection), Some(request))
            }
            Effect::RefuseStreams { connection } => on(Type::RefuseStreams, connection),
            Effect::RunHook { hook } => hooked(Type::RunHook, hook),
            Effect::SetReadiness { ready } => Self { ready, ..of(Type::SetReadiness) },
        }
    }
}
