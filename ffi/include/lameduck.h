/* lameduck: how a server ends without dropping anybody. MIT or Apache-2.0.
 *
 * Made of ffi/src by cbindgen; do not edit. In C++ include lameduck.hpp instead.
 *
 * Two ways of driving:
 *
 *   hosted     lameduck_start takes the signals of the process, fences its listeners, keeps the deadlines, writes log and report, and
 *              calls you for what only you can do: on a thread of its own, or on your loop (lameduck_dispatch).
 *              An unmodified server: lameduck_hold_start.
 *   sans-IO    lameduck_machine_new decides and does nothing: events in (lameduck_handle), effects out (lameduck_poll_effect),
 *              and when to come back (lameduck_next_wake_ns, lameduck_tick).
 *
 * Errors     Every function returns a lameduck_status, but for those that only name something. What is not LAMEDUCK_OK has changed
 *            nothing and written nothing; lameduck_last_error says why in a sentence. No function crashes for a handle that
 *            was freed, closed or made up, nor for a number that is no value of its enum.
 * Ownership  What is passed in is copied. A pointer to lameduck_machine, lameduck_server or lameduck_hold is a number that only lameduck
 *            understands: never follow it. Connections, requests, listeners, jobs and hooks are numbers, never 0, never of two.
 *            Descriptors stay yours. Pointers to structs, buffers and strings must be NULL or valid.
 * Threads    Every function may be called from any thread, and from callbacks. None may be called from a signal handler.
 * Time       Nanoseconds, uint64_t. LAMEDUCK_UNSET and LAMEDUCK_UNLIMITED are no times.
 */

#ifndef LAMEDUCK_H
#define LAMEDUCK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAMEDUCK_VERSION_MAJOR 0
#define LAMEDUCK_VERSION_MINOR 1
#define LAMEDUCK_VERSION_PATCH 0
/** Rises with each version. Compare lameduck_version_number, which is the library's. */
#define LAMEDUCK_VERSION_NUMBER \
    (LAMEDUCK_VERSION_MAJOR * 1000000 + LAMEDUCK_VERSION_MINOR * 1000 + LAMEDUCK_VERSION_PATCH)

/** A span that nobody set. */
#define LAMEDUCK_UNSET UINT64_MAX
/** No limit. */
#define LAMEDUCK_UNLIMITED (UINT64_MAX - 1)
/** A request that was begun while serving, when they are only counted. */
#define LAMEDUCK_REQUEST_COUNTED UINT64_C(0)
/** A hook returns it when lameduck_hook_finished will say how it ended. */
#define LAMEDUCK_HOOK_LATER INT_MIN

/**
 * What became of a call. Numbers are never reused and never change; new ones may come, so treat one that you do
 * not know as a refusal. Whatever is not LAMEDUCK_OK has changed nothing and written nothing.
 *
 */
enum lameduck_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Done.
     */
    LAMEDUCK_OK = 0,
    /**
     * A pointer that must not be NULL is NULL.
     */
    LAMEDUCK_NULL_POINTER = 1,
    /**
     * The object was freed, or never was one of this sort.
     */
    LAMEDUCK_INVALID_HANDLE = 2,
    /**
     * The struct's `size` is none that this library knows: fill it by its init function, from the header that you link with.
     */
    LAMEDUCK_WRONG_SIZE = 3,
    /**
     * A number that is no value of its enum, or a value that no program can mean. The message names it.
     */
    LAMEDUCK_UNKNOWN_VALUE = 4,
    /**
     * The policy contradicts itself; the message spells the sum out.
     */
    LAMEDUCK_CONTRADICTION = 5,
    /**
     * The buffer is too small; the message says how many bytes it takes.
     */
    LAMEDUCK_BUFFER_TOO_SMALL = 6,
    /**
     * A fault of lameduck itself, which was contained. Please report it. The object may have missed what it was told.
     */
    LAMEDUCK_PANIC = 7,
    /**
     * The object belongs to the parent process: make one in this process.
     */
    LAMEDUCK_FORKED = 8,
    /**
     * The operating system refused; the message says what, and what that means.
     */
    LAMEDUCK_SYSTEM = 9,
    /**
     * Time ran out first.
     */
    LAMEDUCK_TIMED_OUT = 10,
    /**
     * There are as many as there can be.
     */
    LAMEDUCK_FULL = 11,
    /**
     * The descriptor is no listening socket.
     */
    LAMEDUCK_BAD_DESCRIPTOR = 12,
    /**
     * Another call of lameduck_dispatch is running, perhaps the one whose callback this is.
     */
    LAMEDUCK_BUSY = 13,
    /**
     * The server is driven in the other way, see lameduck_drive.
     */
    LAMEDUCK_WRONG_DRIVE = 14,
    /**
     * The policy refuses new requests while draining: answer 503 with `Connection: close`, then close the connection. The
     * request has its verdict: do not end it.
     */
    LAMEDUCK_REFUSE_REQUEST = 15,
    /**
     * The request came after its connection was told to close: do not process it, close the connection (RFC 9112 §9.6).
     * It is not in flight: do not end it.
     */
    LAMEDUCK_NOT_PROCESSED = 16,
    /**
     * The server was freed while the call waited.
     */
    LAMEDUCK_RELEASED = 17,
    /**
     * This id is in use already.
     */
    LAMEDUCK_ALREADY_KNOWN = 100,
    /**
     * The connection's time to complete a request head is over: close it.
     */
    LAMEDUCK_ALLOWANCE_SPENT = 101,
    /**
     * The server is closing and takes nothing new.
     */
    LAMEDUCK_CLOSING = 102,
    /**
     * Shutdown is complete.
     */
    LAMEDUCK_DONE = 103,
    /**
     * The server is draining and takes nothing new of this sort.
     */
    LAMEDUCK_DRAINING = 104,
    /**
     * The drain deadline passed and this connection was forced to end.
     */
    LAMEDUCK_FORCED = 105,
    /**
     * The head of this response was reported before.
     */
    LAMEDUCK_HEADERS_ALREADY_SENT = 106,
    /**
     * The connection carries a request or is long-lived.
     */
    LAMEDUCK_NOT_IDLE = 107,
    /**
     * The request has ended before.
     */
    LAMEDUCK_NOT_IN_FLIGHT = 108,
    /**
     * The hook is not running.
     */
    LAMEDUCK_NOT_RUNNING = 109,
    /**
     * Shutdown has not been requested.
     */
    LAMEDUCK_SERVING = 110,
    /**
     * More requests than a connection can have: 65535.
     */
    LAMEDUCK_TOO_MANY = 111,
    /**
     * No such connection: it was closed, or never was.
     */
    LAMEDUCK_UNKNOWN_CONNECTION = 112,
    /**
     * No such hook.
     */
    LAMEDUCK_UNKNOWN_HOOK = 113,
    /**
     * No such job is running.
     */
    LAMEDUCK_UNKNOWN_JOB = 114,
    /**
     * No such listener is open.
     */
    LAMEDUCK_UNKNOWN_LISTENER = 115,
    /**
     * No such request is in flight on this connection.
     */
    LAMEDUCK_UNKNOWN_REQUEST = 116,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_status lameduck_status;
#else
typedef int32_t lameduck_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where the server stands on its way out. A phase never goes back.
 */
enum lameduck_phase
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Nothing has been asked of it.
     */
    LAMEDUCK_PHASE_SERVING = 0,
    /**
     * First the window (accept and serve, tell clients to go elsewhere), then emptying (listeners closed, what is in
     * flight finishes).
     */
    LAMEDUCK_PHASE_DRAINING = 1,
    /**
     * `close` hooks, then `flush` hooks.
     */
    LAMEDUCK_PHASE_CLOSING = 2,
    /**
     * The report is final.
     */
    LAMEDUCK_PHASE_DONE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_phase lameduck_phase;
#else
typedef uint32_t lameduck_phase;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How urgent a line of the log is.
 */
enum lameduck_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * As it should be.
     */
    LAMEDUCK_LEVEL_INFO = 0,
    /**
     * Something is lost, or will be.
     */
    LAMEDUCK_LEVEL_WARN = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_level lameduck_level;
#else
typedef uint32_t lameduck_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the driver is to do. Each comes with the fields of lameduck_effect that are named here.
 */
enum lameduck_effect_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * There is none left.
     */
    LAMEDUCK_EFFECT_TYPE_NONE = 0,
    /**
     * Stop waiting for this hook; its result is recorded: `hook`.
     */
    LAMEDUCK_EFFECT_TYPE_ABANDON_HOOK = 1,
    /**
     * The drain deadline is near: fire the abort signal of every request in flight, and of each that begins later.
     */
    LAMEDUCK_EFFECT_TYPE_ABORT_REQUESTS = 2,
    /**
     * From now on the last response on this connection says so: `connection`. `Connection: close` (RFC 9112 §9.6); in HTTP/2
     * the first GOAWAY, which refuses no streams (RFC 9113 §6.8).
     */
    LAMEDUCK_EFFECT_TYPE_ANNOUNCE_CLOSE = 3,
    /**
     * Fire this job's abort signal: `job`.
     */
    LAMEDUCK_EFFECT_TYPE_CANCEL_JOB = 4,
    /**
     * Close an idle connection: half-close, read for a bounded time, close, say that it is closed: `connection`, `look` (with unread
     * bytes leave it open, and say that it is busy).
     */
    LAMEDUCK_EFFECT_TYPE_CLOSE_IDLE = 5,
    /**
     * Accept until the kernel's queue is empty, close, say so: `listener`.
     */
    LAMEDUCK_EFFECT_TYPE_CLOSE_LISTENER = 6,
    /**
     * End a long-lived exchange as its protocol does: `connection`, `request` if `has_request`, otherwise the connection itself.
     */
    LAMEDUCK_EFFECT_TYPE_CLOSE_LONG_LIVED = 7,
    /**
     * It is over: `code`, 0 when nothing was lost.
     */
    LAMEDUCK_EFFECT_TYPE_EXIT = 8,
    /**
     * Drop new handshakes at this listener where the system can, go on accepting: `listener`.
     */
    LAMEDUCK_EFFECT_TYPE_FENCE_LISTENER = 9,
    /**
     * Its time is over: answer what can still be answered with 503, cut the rest, close, say so: `connection`, `unanswered` (how
     * many requests have no head sent).
     */
    LAMEDUCK_EFFECT_TYPE_FORCE_CONNECTION = 10,
    /**
     * Tell a long-lived peer that the server is leaving; a long poll shall answer now: `connection`, `request` if `has_request`.
     */
    LAMEDUCK_EFFECT_TYPE_NOTIFY_LONG_LIVED = 11,
    /**
     * Tell whoever listens: `phase`.
     */
    LAMEDUCK_EFFECT_TYPE_PHASE_CHANGED = 12,
    /**
     * Answer this request 503 and say that it is finished, refused: `connection`, `request`.
     */
    LAMEDUCK_EFFECT_TYPE_REFUSE_REQUEST = 13,
    /**
     * HTTP/2: the final GOAWAY, with the last stream that was processed: `connection`.
     */
    LAMEDUCK_EFFECT_TYPE_REFUSE_STREAMS = 14,
    /**
     * Run this hook and say when it has ended: `hook`.
     */
    LAMEDUCK_EFFECT_TYPE_RUN_HOOK = 15,
    /**
     * What readiness probes shall answer: `ready`.
     */
    LAMEDUCK_EFFECT_TYPE_SET_READINESS = 16,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_effect_type lameduck_effect_type;
#else
typedef uint32_t lameduck_effect_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a machine wants to be ticked.
 */
enum lameduck_wake
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It does not: only an event can change anything.
     */
    LAMEDUCK_WAKE_NONE = 0,
    /**
     * Something ended, or can start.
     */
    LAMEDUCK_WAKE_PROGRESS = 1,
    /**
     * A connection's moment.
     */
    LAMEDUCK_WAKE_CONNECTION = 2,
    /**
     * A hook's own limit.
     */
    LAMEDUCK_WAKE_HOOK_TIMEOUT = 3,
    /**
     * Traffic stopped during the window.
     */
    LAMEDUCK_WAKE_WINDOW_IDLE = 4,
    /**
     * t1.
     */
    LAMEDUCK_WAKE_WINDOW_END = 5,
    /**
     * The fenced listeners have settled.
     */
    LAMEDUCK_WAKE_SETTLE_END = 6,
    /**
     * The abort signals' moment.
     */
    LAMEDUCK_WAKE_ABORT_LEAD = 7,
    /**
     * t2.
     */
    LAMEDUCK_WAKE_DRAIN_DEADLINE = 8,
    /**
     * The `close` hooks' limit.
     */
    LAMEDUCK_WAKE_CLOSE_STAGE_END = 9,
    /**
     * The `flush` hooks' limit.
     */
    LAMEDUCK_WAKE_FLUSH_STAGE_END = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_wake lameduck_wake;
#else
typedef uint32_t lameduck_wake;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What is spoken on a connection.
 */
enum lameduck_protocol
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * HTTP/1.0 and 1.1.
     */
    LAMEDUCK_PROTOCOL_HTTP1 = 0,
    /**
     * HTTP/2.
     */
    LAMEDUCK_PROTOCOL_HTTP2 = 1,
    /**
     * WebSocket.
     */
    LAMEDUCK_PROTOCOL_WEBSOCKET = 2,
    /**
     * `CONNECT`.
     */
    LAMEDUCK_PROTOCOL_TUNNEL = 3,
    /**
     * Anything else that was upgraded to.
     */
    LAMEDUCK_PROTOCOL_OTHER = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_protocol lameduck_protocol;
#else
typedef uint32_t lameduck_protocol;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a request is.
 */
enum lameduck_request_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Asked, answered.
     */
    LAMEDUCK_REQUEST_KIND_ORDINARY = 0,
    /**
     * An event stream: told to end at drain, ended in the second half of the window.
     */
    LAMEDUCK_REQUEST_KIND_STREAM = 1,
    /**
     * Held open until something happens: told to answer early, so that its client polls elsewhere.
     */
    LAMEDUCK_REQUEST_KIND_LONG_POLL = 2,
    /**
     * A body still arriving.
     */
    LAMEDUCK_REQUEST_KIND_UPLOAD = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_request_kind lameduck_request_kind;
#else
typedef uint32_t lameduck_request_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How a request ended, as the server saw it.
 */
enum lameduck_outcome
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Answered.
     */
    LAMEDUCK_OUTCOME_COMPLETED = 0,
    /**
     * The peer went away first.
     */
    LAMEDUCK_OUTCOME_CLIENT_GONE = 1,
    /**
     * Answered 503.
     */
    LAMEDUCK_OUTCOME_REFUSED = 2,
    /**
     * A long-lived exchange got notice and its protocol's end.
     */
    LAMEDUCK_OUTCOME_ENDED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_outcome lameduck_outcome;
#else
typedef uint32_t lameduck_outcome;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why the server stops. The first cause names the report; severity only rises.
 */
enum lameduck_cause
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The program asked for it.
     */
    LAMEDUCK_CAUSE_PROGRAMMATIC = 0,
    /**
     * A peer process asked for it.
     */
    LAMEDUCK_CAUSE_PEER_MESSAGE = 1,
    /**
     * The parent process is gone.
     */
    LAMEDUCK_CAUSE_PARENT_GONE = 2,
    /**
     * SIGTERM, or a SIGINT that no terminal sent.
     */
    LAMEDUCK_CAUSE_TERMINATE = 3,
    /**
     * Ctrl-C: a SIGINT while standard input is a terminal. Skips the window.
     */
    LAMEDUCK_CAUSE_INTERRUPT = 4,
    /**
     * Fatal: an exception that nobody caught. Skips the window, exits 1.
     */
    LAMEDUCK_CAUSE_UNCAUGHT_EXCEPTION = 5,
    /**
     * Fatal: a promise rejection that nobody handled. Skips the window, exits 1.
     */
    LAMEDUCK_CAUSE_UNHANDLED_REJECTION = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_cause lameduck_cause;
#else
typedef uint32_t lameduck_cause;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * When a hook runs.
 */
enum lameduck_stage
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * When draining begins: pause consumers, deregister.
     */
    LAMEDUCK_STAGE_DRAIN = 0,
    /**
     * When every request has its verdict: pools, clients.
     */
    LAMEDUCK_STAGE_CLOSE = 1,
    /**
     * After the `close` hooks: logs, metrics.
     */
    LAMEDUCK_STAGE_FLUSH = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_stage lameduck_stage;
#else
typedef uint32_t lameduck_stage;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What began a job.
 */
enum lameduck_job_source
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The program itself: a timer, a consumer. Refused while draining.
     */
    LAMEDUCK_JOB_SOURCE_BACKGROUND = 0,
    /**
     * A request that was admitted, answered by now or not.
     */
    LAMEDUCK_JOB_SOURCE_REQUEST = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_job_source lameduck_job_source;
#else
typedef uint32_t lameduck_job_source;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What draining means to a job.
 */
enum lameduck_on_drain
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It has until the drain deadline; its abort signal fires shortly before that.
     */
    LAMEDUCK_ON_DRAIN_WAIT = 0,
    /**
     * Its abort signal fires when draining begins; that it stops then is no loss.
     */
    LAMEDUCK_ON_DRAIN_CANCEL = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_on_drain lameduck_on_drain;
#else
typedef uint32_t lameduck_on_drain;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How a job ended.
 */
enum lameduck_job_outcome
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It did its work.
     */
    LAMEDUCK_JOB_OUTCOME_COMPLETED = 0,
    /**
     * It failed.
     */
    LAMEDUCK_JOB_OUTCOME_FAILED = 1,
    /**
     * It stopped because its abort signal fired.
     */
    LAMEDUCK_JOB_OUTCOME_ABORTED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_job_outcome lameduck_job_outcome;
#else
typedef uint32_t lameduck_job_outcome;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What happens to a request that arrives while draining.
 */
enum lameduck_new_requests
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The default: serve.
     */
    LAMEDUCK_NEW_REQUESTS_UNSET = 0,
    /**
     * Served: the balancer has not looked away yet.
     */
    LAMEDUCK_NEW_REQUESTS_SERVE = 1,
    /**
     * 503 and `Connection: close`.
     */
    LAMEDUCK_NEW_REQUESTS_REFUSE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_new_requests lameduck_new_requests;
#else
typedef uint32_t lameduck_new_requests;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What readiness probes answer while draining.
 */
enum lameduck_readiness
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The default: fail.
     */
    LAMEDUCK_READINESS_UNSET = 0,
    /**
     * Not ready from the request to stop on.
     */
    LAMEDUCK_READINESS_FAIL = 1,
    /**
     * Ready until the listeners close.
     */
    LAMEDUCK_READINESS_KEEP = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_readiness lameduck_readiness;
#else
typedef uint32_t lameduck_readiness;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What happened. Of lameduck_event, each needs the fields that are named here. Which is legal when: docs/phases.md.
 */
enum lameduck_event_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A connection that was open at the request to stop: `connection`, `protocol`, `in_flight`, `announced`. Its requests
     * are `0` to `in_flight - 1` from now on, of kind ordinary.
     */
    LAMEDUCK_EVENT_TYPE_CONNECTION_ADOPTED = 1,
    /**
     * The driver was asked to close an idle connection, found bytes of a next request on it and left it open: `connection`.
     */
    LAMEDUCK_EVENT_TYPE_CONNECTION_BUSY = 2,
    /**
     * The connection is gone, whoever closed it: `connection`.
     */
    LAMEDUCK_EVENT_TYPE_CONNECTION_CLOSED = 3,
    /**
     * Who is at the other end, for the report: `connection`, `text`.
     */
    LAMEDUCK_EVENT_TYPE_CONNECTION_DESCRIBED = 4,
    /**
     * A connection was accepted since: `connection`, `protocol`.
     */
    LAMEDUCK_EVENT_TYPE_CONNECTION_OPENED = 5,
    /**
     * The connection changed its protocol; its requests stay in flight: `connection`, `protocol`.
     */
    LAMEDUCK_EVENT_TYPE_CONNECTION_UPGRADED = 6,
    /**
     * The orchestrator's budget became longer or shorter: `grace_ns`, counted from the request to stop.
     */
    LAMEDUCK_EVENT_TYPE_DEADLINE_CHANGED = 7,
    /**
     * Somebody insists: ends the window; then forces what is in flight; then ends the hooks.
     */
    LAMEDUCK_EVENT_TYPE_ESCALATE = 8,
    /**
     * A hook that was to be run has ended: `hook`, `text` (what it failed with; NULL when it succeeded).
     */
    LAMEDUCK_EVENT_TYPE_HOOK_FINISHED = 9,
    /**
     * A clean-up: `hook` (a new id), `stage`, `text` (what the report calls it), `order` (lower first, equal together),
     * `timeout_ns` (LAMEDUCK_UNSET: the stage's end).
     */
    LAMEDUCK_EVENT_TYPE_HOOK_REGISTERED = 10,
    /**
     * Background work has ended: `job`, `job_outcome`.
     */
    LAMEDUCK_EVENT_TYPE_JOB_FINISHED = 11,
    /**
     * Work beside the requests began: `job` (a new id), `text` (what the report calls it), `job_source`, `on_drain`.
     */
    LAMEDUCK_EVENT_TYPE_JOB_STARTED = 12,
    /**
     * A listener is closed: `listener`.
     */
    LAMEDUCK_EVENT_TYPE_LISTENER_CLOSED = 13,
    /**
     * A listener failed: `listener`, `text` (what the operating system said).
     */
    LAMEDUCK_EVENT_TYPE_LISTENER_FAILED = 14,
    /**
     * A listener accepts connections: `listener` (a new id).
     */
    LAMEDUCK_EVENT_TYPE_LISTENER_OPENED = 15,
    /**
     * What a request is, for its allowance and the report: `connection`, `request`, `request_kind`, `text` (method and
     * route), `since_ns` (when it began).
     */
    LAMEDUCK_EVENT_TYPE_REQUEST_DESCRIBED = 16,
    /**
     * The driver is done with a request: `connection`, `request`, `outcome`, `flushed` (whether every byte of the response has
     * left the process; otherwise LAMEDUCK_EVENT_TYPE_REQUEST_FLUSHED follows).
     */
    LAMEDUCK_EVENT_TYPE_REQUEST_FINISHED = 17,
    /**
     * The last byte of a finished response has left the process: `connection`, `request`.
     */
    LAMEDUCK_EVENT_TYPE_REQUEST_FLUSHED = 18,
    /**
     * The head of the response was written: `connection`, `request`, `announced` (it said `Connection: close`).
     */
    LAMEDUCK_EVENT_TYPE_REQUEST_HEADERS_SENT = 19,
    /**
     * A request was parsed: `connection`, `request` (a new id on that connection), `request_kind`.
     */
    LAMEDUCK_EVENT_TYPE_REQUEST_STARTED = 20,
    /**
     * The server shall stop: `cause`, `ever_accepted`. Repeated, it can only raise the severity.
     */
    LAMEDUCK_EVENT_TYPE_SHUTDOWN = 21,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_event_type lameduck_event_type;
#else
typedef uint32_t lameduck_event_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * On which thread callbacks and hooks run.
 */
enum lameduck_drive
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * On a thread of lameduck's; each hook on one of its own. For servers of threads.
     */
    LAMEDUCK_DRIVE_THREAD = 0,
    /**
     * On the thread that calls lameduck_dispatch, which you do when lameduck_descriptor is readable. For event loops.
     */
    LAMEDUCK_DRIVE_LOOP = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_drive lameduck_drive;
#else
typedef uint32_t lameduck_drive;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * When the listeners of a held server are fenced at the end of the window.
 */
enum lameduck_fencing
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * When no other process holds them, or only such as hold a window too and are in it.
     */
    LAMEDUCK_FENCING_AUTO = 0,
    /**
     * Every process that holds them is stopping too.
     */
    LAMEDUCK_FENCING_ALWAYS = 1,
    /**
     * Never: this process is a recycled worker, or its listener is somebody else's.
     */
    LAMEDUCK_FENCING_NEVER = 2,
    /**
     * As auto, for one of several workers whose parent keeps the listener but stops only together with all of them.
     */
    LAMEDUCK_FENCING_SIBLINGS = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum lameduck_fencing lameduck_fencing;
#else
typedef uint32_t lameduck_fencing;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A window around a server that has a shutdown of its own and stays as it is: started by lameduck_hold_start, freed by
 * lameduck_hold_free. Usable from any thread of the process that started it.
 */
typedef struct lameduck_hold lameduck_hold;

/**
 * A machine that decides how a server ends: events in, effects out. It has no clock, thread, socket or signal; you tell it the
 * time. Tell it while Serving only of listeners, hooks and jobs; at the request to stop, tell it
 * LAMEDUCK_EVENT_TYPE_SHUTDOWN and then, before any tick, one LAMEDUCK_EVENT_TYPE_CONNECTION_ADOPTED for each open connection;
 * from then on everything. Free it by lameduck_machine_free. Usable from any thread; calls wait for each other.
 */
typedef struct lameduck_machine lameduck_machine;

/**
 * A server that lameduck stops: one per process, as a rule. Started by lameduck_start, freed by lameduck_free. Usable from
 * any thread. It belongs to the process that started it: in a forked child calls return LAMEDUCK_FORKED, but for
 * lameduck_request_begin and lameduck_request_end, which count in the child's copy, for nobody.
 */
typedef struct lameduck_server lameduck_server;

/**
 * What the operator decides. Fill it by lameduck_policy_init, then set what shall differ; whatever stays LAMEDUCK_UNSET
 * shrinks to fit the grace. Variables `LAMEDUCK_GRACE`, `LAMEDUCK_WINDOW`, `LAMEDUCK_MARGIN`, `LAMEDUCK_RESERVE`, `LAMEDUCK_SETTLE`,
 * `LAMEDUCK_QUIET` (seconds, decimals allowed) and `LAMEDUCK_REPORT_FILE` beat what the program sets. Times are nanoseconds.
 */
typedef struct lameduck_policy {
    /**
     * Set by lameduck_policy_init: which version of this struct it is.
     */
    size_t size;
    /**
     * From the request to stop until the process must be gone: what the orchestrator allows between its SIGTERM and its
     * SIGKILL. Default 30 s. May be LAMEDUCK_UNLIMITED.
     */
    uint64_t grace_ns;
    /**
     * Kept free before the SIGKILL. Default min(1 s, grace/10).
     */
    uint64_t margin_ns;
    /**
     * Kept for the `close` and `flush` hooks. Default min(5 s, grace/5).
     */
    uint64_t reserve_ns;
    /**
     * The lame-duck window: longer than the balancer's probe period × threshold plus propagation. Default min(5 s, grace/4).
     */
    uint64_t window_ns;
    /**
     * How long a fenced listener still accepts: more than the client's round trip. Default 100 ms.
     */
    uint64_t settle_ns;
    /**
     * How long a connection must have been silent before the server closes it. Default 500 ms.
     */
    uint64_t quiet_ns;
    /**
     * How long before the drain deadline the abort signals fire. Default 1 s.
     */
    uint64_t abort_lead_ns;
    /**
     * The window ends early once neither a connection nor a request arrived for this long. Default never.
     */
    uint64_t window_idle_ns;
    /**
     * Seeds every spread, if `seeded`. Default 0.
     */
    uint64_t seed;
    /**
     * Whether `seed` counts.
     */
    bool seeded;
    /**
     * Somebody is developing: what is unset of window, settle and quiet is 0, so that nobody waits for a restart. Default false;
     * lameduck_start sets it when standard input is a terminal.
     */
    bool interactive;
    /**
     * This is not production: when no connection was ever accepted, an unset window is skipped. Default false.
     */
    bool development;
    /**
     * Default LAMEDUCK_NEW_REQUESTS_UNSET.
     */
    lameduck_new_requests new_requests;
    /**
     * Default LAMEDUCK_READINESS_UNSET.
     */
    lameduck_readiness readiness;
    /**
     * The variables that beat all this: strings `NAME=value`, the last followed by NULL, as `environ` has them. Default NULL:
     * those of the process, which nobody may change during the call. A list with nothing in it: none.
     */
    const char *const *environment;
} lameduck_policy;

/**
 * What the server does when the machine says so. Each may be NULL. They are called one after the other, under no lock, and may
 * call lameduck; they must return soon, and no C++ exception may leave them. `context` is what lameduck_connection_open was
 * given. A callback about a connection is not called once lameduck_connection_close has returned; with LAMEDUCK_DRIVE_THREAD it may
 * be running just then.
 */
typedef struct lameduck_callbacks {
    /**
     * The last response on this connection is to say `Connection: close` from now on (lameduck_response_head says so, too); HTTP/2: send
     * the first GOAWAY, which refuses no streams.
     */
    void (*announce_close)(void *user_data, uint64_t connection, void *context);
    /**
     * HTTP/2: send the final GOAWAY, with the last stream that was processed.
     */
    void (*refuse_streams)(void *user_data, uint64_t connection, void *context);
    /**
     * Tell a long-lived peer that the server is leaving; a long poll is to answer now. `request` is 0 for the
     * connection itself.
     */
    void (*notify_long_lived)(void *user_data, uint64_t connection, uint64_t request, void *context);
    /**
     * End it as its protocol does: a WebSocket close frame, the end of an event stream, a half-close. `request` is 0 for the
     * connection itself. NULL: a connection with a descriptor is half-closed.
     */
    void (*close_long_lived)(void *user_data, uint64_t connection, uint64_t request, void *context);
    /**
     * Close an idle connection: half-close, read for a bounded time, close, lameduck_connection_close. The last look at its
     * descriptor has been taken; if you have bytes of a next request in a buffer of your own, leave it open and call
     * lameduck_connection_busy. NULL: its descriptor is half-closed, and you learn of it when the client has closed its side.
     */
    void (*close_idle)(void *user_data, uint64_t connection, void *context);
    /**
     * Its time is over: answer what you can still answer with 503 + `Retry-After` + `Connection: close`, cut the rest, close,
     * lameduck_connection_close. `unanswered` requests have no head sent. NULL: its descriptor is shut down.
     */
    void (*force_connection)(void *user_data, uint64_t connection, uint32_t unanswered, void *context);
    /**
     * Nobody waits at this listener any more: close its descriptor, lameduck_listener_closed. Until then go on
     * accepting. NULL: it is shut down, so that your accept fails (EINVAL); then close it and say so.
     */
    void (*close_listener)(void *user_data, uint64_t listener, int descriptor);
    /**
     * The drain deadline is near: what is in flight should give up, so that transactions roll back.
     */
    void (*abort_requests)(void *user_data);
    /**
     * This job should give up.
     */
    void (*cancel_job)(void *user_data, uint64_t job);
    /**
     * Whether this server wants new traffic, for readiness probes.
     */
    void (*readiness)(void *user_data, bool ready);
    /**
     * A phase has begun.
     */
    void (*phase)(void *user_data, lameduck_phase phase);
    /**
     * A line for the log, without its end; the last one is the report. Lives as long as the call. NULL: standard error, after
     * `lameduck: `.
     */
    void (*log)(void *user_data, lameduck_level level, const char *line);
    /**
     * It is over: stop your loop and end the process with this code, 0 when nothing was lost.
     */
    void (*done)(void *user_data, int code);
} lameduck_callbacks;

/**
 * How a server is started. Fill it by lameduck_options_init, then set what shall differ.
 */
typedef struct lameduck_options {
    /**
     * Set by lameduck_options_init: which version of this struct it is.
     */
    size_t size;
    /**
     * Default NULL: one in which nothing is set. Copied.
     */
    const struct lameduck_policy *policy;
    /**
     * Default LAMEDUCK_DRIVE_THREAD.
     */
    lameduck_drive drive;
    /**
     * Other processes accept from the same sockets and go on doing so (prefork): fence nothing. Default false.
     */
    bool shared_listeners;
    /**
     * Which signals ask the server to stop, `signal_count` of them; copied. NULL: SIGTERM and SIGINT. Not NULL and a count of
     * 0: none. They are taken: an action that was there before does not run until lameduck_free. A second SIGINT ends the window, the
     * next one the drain.
     */
    const int *signals;
    /**
     * How many.
     */
    size_t signal_count;
    /**
     * Where the watchdog prints; duplicated. Default 2, -1 is nowhere.
     */
    int watchdog_descriptor;
    /**
     * A file that gets the report, whole or not at all; `{pid}` in it is the process. Default NULL: none. `LAMEDUCK_REPORT_FILE`
     * beats it.
     */
    const char *report_file;
    /**
     * What the server does. Default: nothing.
     */
    struct lameduck_callbacks callbacks;
    /**
     * The first argument of each callback. Default NULL. Must live until lameduck_free has returned.
     */
    void *user_data;
} lameduck_options;

/**
 * What a hook returns: 0 when it succeeded, LAMEDUCK_HOOK_LATER when lameduck_hook_finished will say so, anything else (an
 * error number) when it failed.
 */
typedef int (*lameduck_hook)(void *user_data, uint64_t hook);

/**
 * One thing that happened, for lameduck_handle. Only the fields that its type names are read:
 * `(lameduck_event){ .type = LAMEDUCK_EVENT_TYPE_CONNECTION_CLOSED, .connection = id }`.
 */
typedef struct lameduck_event {
    /**
     * What happened.
     */
    lameduck_event_type type;
    /**
     * What is spoken.
     */
    lameduck_protocol protocol;
    /**
     * The driver's own name for the connection, below 2^53.
     */
    uint64_t connection;
    /**
     * The driver's name for the request, unique on its connection while it is in flight.
     */
    uint32_t request;
    /**
     * Requests in flight, at most 65535.
     */
    uint32_t in_flight;
    /**
     * What the request is.
     */
    lameduck_request_kind request_kind;
    /**
     * How the request ended.
     */
    lameduck_outcome outcome;
    /**
     * Unique while it is open.
     */
    uint32_t listener;
    /**
     * Unique for the life of the machine.
     */
    uint32_t hook;
    /**
     * Unique while it runs.
     */
    uint32_t job;
    /**
     * When the hook runs.
     */
    lameduck_stage stage;
    /**
     * Lower first.
     */
    int32_t order;
    /**
     * What began the job.
     */
    lameduck_job_source job_source;
    /**
     * What draining means to the job.
     */
    lameduck_on_drain on_drain;
    /**
     * How the job ended.
     */
    lameduck_job_outcome job_outcome;
    /**
     * Why the server stops.
     */
    lameduck_cause cause;
    /**
     * Whether a response said `Connection: close`.
     */
    bool announced;
    /**
     * Whether every byte has left the process.
     */
    bool flushed;
    /**
     * Whether this process ever accepted a connection.
     */
    bool ever_accepted;
    /**
     * A span in nanoseconds.
     */
    uint64_t grace_ns;
    /**
     * A span in nanoseconds, or LAMEDUCK_UNSET.
     */
    uint64_t timeout_ns;
    /**
     * A moment on the driver's clock.
     */
    uint64_t since_ns;
    /**
     * A name, label, peer or error; copied. Bytes that are not UTF-8 are replaced.
     */
    const char *text;
} lameduck_event;

/**
 * One thing to do. Fields that its type does not name are 0. An effect for something that has ended meanwhile is to be ignored.
 */
typedef struct lameduck_effect {
    /**
     * What to do.
     */
    lameduck_effect_type type;
    /**
     * The request, if `has_request`.
     */
    uint32_t request;
    /**
     * The connection.
     */
    uint64_t connection;
    /**
     * The listener.
     */
    uint32_t listener;
    /**
     * The hook.
     */
    uint32_t hook;
    /**
     * The job.
     */
    uint32_t job;
    /**
     * Requests whose head is unsent.
     */
    uint32_t unanswered;
    /**
     * The phase that has begun.
     */
    lameduck_phase phase;
    /**
     * The exit code.
     */
    int32_t code;
    /**
     * Whether `request` counts.
     */
    bool has_request;
    /**
     * Look first.
     */
    bool look;
    /**
     * Whether this server wants new traffic.
     */
    bool ready;
} lameduck_effect;

/**
 * What a server counts.
 */
typedef struct lameduck_metrics {
    /**
     * Open connections.
     */
    uint64_t connections;
    /**
     * Requests in flight on them.
     */
    uint64_t in_flight;
    /**
     * Connections whose count was once wrong: an end without a begin, more than 65535 at once. A fault of the server's.
     */
    uint64_t faults;
    /**
     * Of the requests that were in flight at the request to stop or came since: answered.
     */
    uint64_t completed;
    /**
     * The peer went away first.
     */
    uint64_t client_gone;
    /**
     * Answered 503 on arrival.
     */
    uint64_t refused;
    /**
     * A long-lived exchange that got notice and its protocol's end.
     */
    uint64_t ended;
    /**
     * Cut at the drain deadline.
     */
    uint64_t forced;
    /**
     * Arrived behind the response that announced the close; not processed.
     */
    uint64_t not_processed;
    /**
     * Nanoseconds since the request to stop; 0 while serving.
     */
    uint64_t draining_ns;
    /**
     * Where it stands.
     */
    lameduck_phase phase;
    /**
     * Whether it wants new traffic.
     */
    bool ready;
} lameduck_metrics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * A connection was accepted. `descriptor` is its socket, which stays yours; -1 when there is none, or when you look yourself for unread
 * bytes before an idle connection is closed. `context` goes to the callbacks about this connection; it may be NULL. Writes
 * the connection's handle, which is never 0 and below 2^52, and never names another connection.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_FULL (4194304 are open: serve it
 * uncounted), LAMEDUCK_CLOSING and LAMEDUCK_DONE (close it).
 */
lameduck_status lameduck_connection_open(struct lameduck_server *server,
                                         int descriptor,
                                         lameduck_protocol protocol,
                                         void *context,
                                         uint64_t *connection);

/**
 * The connection is gone, whoever closed it. Call it before you close the descriptor, so that nobody looks at another socket of the
 * same number. Requests that are still in flight on it have their verdict: client gone.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_CONNECTION.
 */
lameduck_status lameduck_connection_close(struct lameduck_server *server,
                                          uint64_t connection);

/**
 * Who is at the other end, for the report; copied.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_DONE.
 */
lameduck_status lameduck_connection_describe(struct lameduck_server *server, uint64_t connection, const char *peer);

/**
 * The connection speaks another protocol from now on; its requests stay in flight.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_CONNECTION,
 * LAMEDUCK_FORCED, LAMEDUCK_DONE.
 */
lameduck_status lameduck_connection_upgrade(struct lameduck_server *server,
                                            uint64_t connection,
                                            lameduck_protocol protocol);

/**
 * Asked by `close_idle`, you found bytes of a next request in a buffer of your own and left the connection open.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_SERVING, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_NOT_IDLE,
 * LAMEDUCK_ALLOWANCE_SPENT (its time to complete a request head is over: close it), LAMEDUCK_FORCED, LAMEDUCK_DONE.
 */
lameduck_status lameduck_connection_busy(struct lameduck_server *server,
                                         uint64_t connection);

/**
 * What to poll for readability with LAMEDUCK_DRIVE_LOOP: then call lameduck_dispatch. Belongs to the server: never read from it or
 * close it; take it out of your loop before lameduck_free.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_WRONG_DRIVE.
 */
lameduck_status lameduck_descriptor(const struct lameduck_server *server,
                                    int *descriptor);

/**
 * Calls the callbacks and hooks that are due, on this thread, with LAMEDUCK_DRIVE_LOOP. Never waits. While draining it is also how the
 * watchdog knows that the loop is alive.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_WRONG_DRIVE, LAMEDUCK_BUSY.
 */
lameduck_status lameduck_dispatch(struct lameduck_server *server);

/**
 * Holds the signals of a server that knows nothing of lameduck: when one comes, the server serves on for the window, its listeners are
 * fenced, and then the signal reaches it as if it had just come, so that it stops in its own way. Call it after the server has installed
 * its handlers. Of `options` (may be NULL) `policy`, `signals`, `watchdog_descriptor`, `report_file`, `user_data` and the callbacks
 * `abort_requests`, `readiness`, `phase`, `log` and `done` count; `drive` must be LAMEDUCK_DRIVE_THREAD.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_CONTRADICTION, LAMEDUCK_WRONG_DRIVE, LAMEDUCK_SYSTEM,
 * LAMEDUCK_FULL.
 */
lameduck_status lameduck_hold_start(const struct lameduck_options *options,
                                    lameduck_fencing fencing,
                                    struct lameduck_hold **hold);

/**
 * Delivers a held signal at once, calls the watchdog off, and frees the hold; NULL is freed already. A server that shall be
 * gone at the deadline whatever happens keeps it until the process ends.
 *
 * LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_hold_free(struct lameduck_hold *hold);

/**
 * Asks for the shutdown without a signal from outside: window, then the first of the hold's signals is delivered.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_DONE.
 */
lameduck_status lameduck_hold_shutdown(struct lameduck_hold *hold, lameduck_cause cause);

/**
 * The server has accepted a connection: for the policy's `development`.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_hold_accepted(struct lameduck_hold *hold);

/**
 * Whether a response to this peer is to say `Connection: close`. `peer` is any number that stays the same as long as its connection, such
 * as its descriptor; with different ones, not all come back at once.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_hold_announcing(const struct lameduck_hold *hold,
                                         uint64_t peer,
                                         bool *announce);

/**
 * The server has stopped: its listeners are closed and nothing is in flight. Now the `close` hooks run. Call it from the server's own
 * shutdown, once.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_hold_server_stopped(struct lameduck_hold *hold);

/**
 * Registers a clean-up, as lameduck_hook_add does; it runs on a thread of its own.
 *
 * As for lameduck_hook_add.
 */
lameduck_status lameduck_hold_hook_add(struct lameduck_hold *hold,
                                       lameduck_stage stage,
                                       const char *name,
                                       int32_t order,
                                       uint64_t timeout_ns,
                                       lameduck_hook run,
                                       void *user_data);

/**
 * Where the hold stands; LAMEDUCK_PHASE_DRAINING until the server says that it has stopped.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_hold_phase(const struct lameduck_hold *hold, lameduck_phase *phase);

/**
 * Whether the signal was handed over to the server: the window is over.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_hold_handed_over(const struct lameduck_hold *hold, bool *handed_over);

/**
 * Writes the report as it stands into `buffer`, as lameduck_report does.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BUFFER_TOO_SMALL.
 */
lameduck_status lameduck_hold_report(const struct lameduck_hold *hold, char *buffer, size_t capacity, size_t *length);

/**
 * Registers a clean-up. Hooks of a stage run by `order`, lower first, equal ones together; each has at most `timeout_ns`
 * (LAMEDUCK_UNSET: until its stage ends). `run` gets `user_data`, which must live until it has run or lameduck_free has
 * returned. With LAMEDUCK_DRIVE_LOOP it runs on the loop and must not block: return LAMEDUCK_HOOK_LATER. `name` is what the
 * report calls it; copied. Writes the hook's handle to `*hook`, which may be NULL.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_FULL, LAMEDUCK_DRAINING,
 * LAMEDUCK_CLOSING, LAMEDUCK_DONE.
 */
lameduck_status lameduck_hook_add(struct lameduck_server *server,
                                  lameduck_stage stage,
                                  const char *name,
                                  int32_t order,
                                  uint64_t timeout_ns,
                                  lameduck_hook run,
                                  void *user_data,
                                  uint64_t *hook);

/**
 * A hook that returned LAMEDUCK_HOOK_LATER has ended. `error` is what it failed with, copied; NULL when it succeeded.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_HOOK, LAMEDUCK_NOT_RUNNING (its time was over),
 * LAMEDUCK_DONE.
 */
lameduck_status lameduck_hook_finished(struct lameduck_server *server,
                                       uint64_t hook,
                                       const char *error);

/**
 * Work beside the requests begins; a shutdown waits for it until the drain deadline. `name` is what the report calls it; copied.
 * Writes the job's handle, which is never 0 and never used again.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_FULL, LAMEDUCK_DRAINING (only what a
 * request began is taken now), LAMEDUCK_CLOSING, LAMEDUCK_DONE.
 */
lameduck_status lameduck_job_begin(struct lameduck_server *server,
                                   const char *name,
                                   lameduck_job_source source,
                                   lameduck_on_drain on_drain,
                                   uint64_t *job);

/**
 * It has ended.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_JOB, LAMEDUCK_DONE.
 */
lameduck_status lameduck_job_end(struct lameduck_server *server,
                                 uint64_t job,
                                 lameduck_job_outcome outcome);

/**
 * Whether it should give up. False for a job that has ended.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_JOB.
 */
lameduck_status lameduck_job_cancelled(const struct lameduck_server *server, uint64_t job, bool *cancelled);

/**
 * The server accepts at this listening socket, which stays yours. At the end of the window lameduck stops new arrivals; go on
 * accepting until `close_listener` says that nobody waits any more.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BAD_DESCRIPTOR, LAMEDUCK_FULL, LAMEDUCK_DRAINING and
 * LAMEDUCK_CLOSING and LAMEDUCK_DONE (close the socket).
 */
lameduck_status lameduck_listener_add(struct lameduck_server *server,
                                      int descriptor,
                                      uint64_t *listener);

/**
 * The listener is closed.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_LISTENER, LAMEDUCK_DONE.
 */
lameduck_status lameduck_listener_closed(struct lameduck_server *server, uint64_t listener);

/**
 * The listener failed and accepts nothing any more; `error` is what the operating system said, copied.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_LISTENER, LAMEDUCK_DONE.
 */
lameduck_status lameduck_listener_failed(struct lameduck_server *server, uint64_t listener, const char *error);

/**
 * Makes a machine that serves under `policy` (NULL: one in which nothing is set), which is copied.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_CONTRADICTION, LAMEDUCK_FULL.
 */
lameduck_status lameduck_machine_new(const struct lameduck_policy *policy, struct lameduck_machine **machine);

/**
 * Frees a machine. NULL is freed already. Whatever is called with it from now on is refused.
 *
 * LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_machine_free(struct lameduck_machine *machine);

/**
 * Takes one event that happened at `now_ns`: nanoseconds of a monotonic clock since an origin that you chose. A time that runs
 * back is taken as the latest seen. An event that is refused has changed nothing, not even the clock.
 *
 * LAMEDUCK_NULL_POINTER (also the event's `text`, where it needs one), LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_VALUE, and the
 * reasons from 100 on: some of them are ordinary races, such as a request that ends after it was forced.
 */
lameduck_status lameduck_handle(struct lameduck_machine *machine,
                                const struct lameduck_event *event,
                                uint64_t now_ns);

/**
 * Takes the next effect. After every event and tick take all, until one is LAMEDUCK_EFFECT_TYPE_NONE, and do them in order.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
 */
lameduck_status lameduck_poll_effect(struct lameduck_machine *machine,
                                     struct lameduck_effect *effect);

/**
 * When the machine wants to be ticked, and why. It may lie in the past: then tick now. When only an event can change anything
 * `why` is LAMEDUCK_WAKE_NONE and `at_ns` LAMEDUCK_UNSET. `why` may be NULL.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
 */
lameduck_status lameduck_next_wake_ns(const struct lameduck_machine *machine,
                                      uint64_t *at_ns,
                                      lameduck_wake *why);

/**
 * Lets time pass: fires every deadline up to `now_ns`, in order. Early or twice does nothing.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
 */
lameduck_status lameduck_tick(struct lameduck_machine *machine, uint64_t now_ns);

/**
 * Where it stands.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
 */
lameduck_status lameduck_machine_phase(const struct lameduck_machine *machine, lameduck_phase *phase);

/**
 * T, when the process must have ended, on the driver's clock; LAMEDUCK_UNSET while Serving, LAMEDUCK_UNLIMITED when there is none.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE.
 */
lameduck_status lameduck_machine_deadline_ns(const struct lameduck_machine *machine,
                                             uint64_t *at_ns);

/**
 * Writes the report as it stands at `now_ns` as JSON, one line, schema `lameduck-report/1`, into `buffer` (see lameduck_report for
 * buffers).
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_BUFFER_TOO_SMALL.
 */
lameduck_status lameduck_machine_report(const struct lameduck_machine *machine,
                                        uint64_t now_ns,
                                        char *buffer,
                                        size_t capacity,
                                        size_t *length);

/**
 * Counts for a metrics page, at a cost that grows with the connections. While others count it is of no single moment.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_server_metrics(const struct lameduck_server *server, struct lameduck_metrics *metrics);

/**
 * Writes what shutdown waits for as JSON, one line, into `buffer` (see lameduck_report): counts, and the oldest 10 by name.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BUFFER_TOO_SMALL.
 */
lameduck_status lameduck_blockers(const struct lameduck_server *server,
                                  char *buffer,
                                  size_t capacity,
                                  size_t *length);

/**
 * How many objects have not been freed: machines, servers and holds. For tests of whoever must not leak.
 *
 * LAMEDUCK_NULL_POINTER.
 */
lameduck_status lameduck_objects(size_t *objects);

/**
 * Fills options with the defaults. `size` is `sizeof(lameduck_options)`.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE.
 */
lameduck_status lameduck_options_init(struct lameduck_options *options, size_t size);

/**
 * Fills a policy with what nobody has set. `size` is `sizeof(lameduck_policy)`.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE.
 */
lameduck_status lameduck_policy_init(struct lameduck_policy *policy, size_t size);

/**
 * Checks a policy, and writes each time and where it came from as one line into `buffer` (see lameduck_report for buffers).
 * `policy` may be NULL.
 *
 * LAMEDUCK_CONTRADICTION, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_WRONG_SIZE, LAMEDUCK_BUFFER_TOO_SMALL, LAMEDUCK_NULL_POINTER.
 */
lameduck_status lameduck_policy_describe(const struct lameduck_policy *policy,
                                         char *buffer,
                                         size_t capacity,
                                         size_t *length);

/**
 * A request begins: its head was parsed. While serving this is one atomic change of the connection's own word; no lock, no
 * allocation, nothing that another connection touches. Writes the request's handle, for the calls below: LAMEDUCK_REQUEST_COUNTED
 * while serving, when a request is one of so many and no more.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_TOO_MANY; while draining also
 * LAMEDUCK_REFUSE_REQUEST and LAMEDUCK_NOT_PROCESSED, LAMEDUCK_FORCED, LAMEDUCK_DONE, LAMEDUCK_FORKED. Unless it returned LAMEDUCK_OK, do not end it.
 */
lameduck_status lameduck_request_begin(struct lameduck_server *server,
                                       uint64_t connection,
                                       uint64_t *request);

/**
 * The request has ended, and every byte of its response has left the process for the kernel. LAMEDUCK_REQUEST_COUNTED ends one
 * that was begun while serving, the oldest.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_UNKNOWN_REQUEST,
 * LAMEDUCK_NOT_IN_FLIGHT; while draining also LAMEDUCK_DONE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_request_end(struct lameduck_server *server,
                                     uint64_t connection,
                                     uint64_t request,
                                     lameduck_outcome outcome);

/**
 * The word in which the requests of a connection are counted, for lameduck_inline.h. It may be looked at as long as the process
 * lives; once the connection is closed it is another's, and its generation says so.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_CONNECTION.
 */
lameduck_status lameduck_connection_word(struct lameduck_server *server,
                                         uint64_t connection,
                                         uint64_t **word);

/**
 * What the request is, for its allowance and the report; `label` (method and route) is copied. An event stream or a long poll must be
 * described, or nobody tells it to end. Takes a lock. Gives the request a handle of its own, if it has none, and writes it to
 * `*request`.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_UNKNOWN_CONNECTION,
 * LAMEDUCK_UNKNOWN_REQUEST, LAMEDUCK_DONE.
 */
lameduck_status lameduck_request_describe(struct lameduck_server *server,
                                          uint64_t connection,
                                          uint64_t *request,
                                          lameduck_request_kind kind,
                                          const char *label);

/**
 * The head of the response is about to be written. Writes to `*announce` whether it is to say `Connection: close`; then close the
 * connection once that response has left, as after `close_idle`. `closes`: it says so in any case. With pipelined requests
 * ask for the last one. While serving this is one load. In HTTP/2 the GOAWAY says it, and this writes false.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_CONNECTION; while draining also LAMEDUCK_UNKNOWN_REQUEST,
 * LAMEDUCK_HEADERS_ALREADY_SENT, LAMEDUCK_DONE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_response_head(struct lameduck_server *server,
                                       uint64_t connection,
                                       uint64_t request,
                                       bool closes,
                                       bool *announce);

/**
 * Takes the signals and starts lameduck for this process; `options` may be NULL. Call it when the server listens and has installed
 * whatever signal handlers it has, before the first lameduck_connection_open, and keep the server until the process ends: the
 * watchdog ends the process at the deadline as long as it is there. The policy and who supervises the process go to the log.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_WRONG_SIZE, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_CONTRADICTION, LAMEDUCK_SYSTEM (a signal that
 * cannot be taken, no thread, a report file that cannot be written), LAMEDUCK_FULL.
 */
lameduck_status lameduck_start(const struct lameduck_options *options,
                               struct lameduck_server **server);

/**
 * Gives the signals back, calls the watchdog off, ends the threads, and frees the server; NULL is freed already. A shutdown that is
 * under way ends with it, so let lameduck_wait return first. No callback runs any more when it returns, unless it is called
 * from one; a hook on a thread of its own may. Whatever is called with the server from now on is refused.
 *
 * LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_free(struct lameduck_server *server);

/**
 * Asks the server to stop; returns at once. `detail` says why in the report, beside the cause; it may be NULL. Repeated, it can only
 * raise the severity.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_DONE.
 */
lameduck_status lameduck_shutdown(struct lameduck_server *server,
                                  lameduck_cause cause,
                                  const char *detail);

/**
 * Somebody insists: ends the window; called again it forces what is in flight; then it ends the hooks.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_SERVING, LAMEDUCK_DONE.
 */
lameduck_status lameduck_escalate(struct lameduck_server *server);

/**
 * The orchestrator's budget became longer or shorter: the new grace, in nanoseconds, still counted from the request to stop.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_UNKNOWN_VALUE, LAMEDUCK_SERVING, LAMEDUCK_DONE.
 */
lameduck_status lameduck_change_grace(struct lameduck_server *server,
                                      uint64_t grace_ns);

/**
 * Waits until the shutdown is over, at most `timeout_ns` (LAMEDUCK_UNLIMITED: for ever), and says with which code the process is to
 * end: 0 when nothing was lost. With LAMEDUCK_DRIVE_LOOP do not wait on the loop's thread; the `done` callback says it.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_TIMED_OUT, LAMEDUCK_RELEASED.
 */
lameduck_status lameduck_wait(const struct lameduck_server *server,
                              uint64_t timeout_ns,
                              int *code);

/**
 * Where the server stands.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_server_phase(const struct lameduck_server *server, lameduck_phase *phase);

/**
 * What readiness probes shall be answered: whether this server wants new traffic.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_ready(const struct lameduck_server *server, bool *ready);

/**
 * Whether the drain deadline is so near that what is in flight, and what begins from now on, should give up.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED.
 */
lameduck_status lameduck_aborting(const struct lameduck_server *server, bool *aborting);

/**
 * Writes the report as it stands as JSON, one line, schema `lameduck-report/1`, into `buffer` of `capacity` bytes, ended by a NUL, and
 * its length without that NUL into `length`. With a NULL buffer and a capacity of 0 it writes the length alone; ask with
 * some room to spare, the report grows.
 *
 * LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_FORKED, LAMEDUCK_BUFFER_TOO_SMALL.
 */
lameduck_status lameduck_report(const struct lameduck_server *server,
                                char *buffer,
                                size_t capacity,
                                size_t *length);

/**
 * What a status means, as a sentence. Never NULL; lives as long as the program. For any number, also of a newer library.
 */
const char *lameduck_strerror(int32_t status);

/**
 * The sentence of the last call on this thread that did not return LAMEDUCK_OK: what was refused, why, what to do. Empty
 * when there was none. Never NULL; lives until the next such call on this thread, or the thread's end.
 */
const char *lameduck_last_error(void);

/**
 * Which lameduck is linked, as `major.minor.patch`. Never NULL; lives as long as the program.
 */
const char *lameduck_version(void);

/**
 * The same as one number that rises with each version: major × 1000000 + minor × 1000 + patch. Compare it to
 * LAMEDUCK_VERSION_NUMBER, which is the header's.
 */
uint32_t lameduck_version_number(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LAMEDUCK_H */
