/* What a draining server is told of requests that are refused, streams, WebSockets, jobs and hooks, and what it may say. */
#define _GNU_SOURCE
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

enum what { ANNOUNCED, REFUSED_STREAMS, NOTIFIED, ENDED, IDLE, FORCED, ABORTED, CANCELLED, READY, PHASE, DONE, KINDS };

/* What came first and last of each kind, and how often. */
struct told {
    lameduck_server *server;
    bool free_at_drain, freed;
    int count[KINDS];
    uint64_t first_connection[KINDS], first_request[KINDS], connection[KINDS], request[KINDS];
};

static void note(struct told *told, enum what what, uint64_t connection, uint64_t request) {
    CHECK(!told->freed);
    if (told->count[what]++ == 0) told->first_connection[what] = connection, told->first_request[what] = request;
    told->connection[what] = connection;
    told->request[what] = request;
}

static void on_announce(void *told, uint64_t connection, void *context) {
    CHECK(context == told);
    note(told, ANNOUNCED, connection, 0);
}
static void on_refuse_streams(void *told, uint64_t connection, void *context) {
    CHECK(context == told);
    note(told, REFUSED_STREAMS, connection, 0);
}
static void on_notify(void *told, uint64_t connection, uint64_t request, void *context) {
    CHECK(context == told);
    note(told, NOTIFIED, connection, request);
}
static void on_end(void *told, uint64_t connection, uint64_t request, void *context) {
    CHECK(context == told);
    note(told, ENDED, connection, request);
}
static void on_idle(void *told, uint64_t connection, void *context) {
    CHECK(context == told);
    note(told, IDLE, connection, 0);
    OK(lameduck_connection_close(((struct told *)told)->server, connection));
}
static void on_force(void *told, uint64_t connection, uint32_t unanswered, void *context) {
    CHECK(context == told);
    note(told, FORCED, connection, unanswered);
    OK(lameduck_connection_close(((struct told *)told)->server, connection));
}
static void on_abort(void *told) {
    note(told, ABORTED, 0, 0);
}
static void on_cancel(void *told, uint64_t job) {
    note(told, CANCELLED, job, 0);
}
static void on_ready(void *told, bool ready) {
    note(told, READY, ready, 0);
}
static void on_phase(void *told, lameduck_phase phase) {
    note(told, PHASE, phase, 0);
    struct told *all = told;
    if (all->free_at_drain) {
        OK(lameduck_free(all->server));
        all->freed = true;
    }
}
static void on_done(void *told, int code) {
    note(told, DONE, (uint64_t)code, 0);
}
static void on_log(void *told, lameduck_level level, const char *line) {
    (void)told, (void)level, (void)line;
}

static lameduck_policy policy_of(uint64_t window_ns, uint64_t rest_ns) {
    static const char *const NONE[] = { NULL };
    lameduck_policy policy;
    OK(lameduck_policy_init(&policy, sizeof policy));
    policy.window_ns = window_ns;
    policy.reserve_ns = 500 * MS;
    policy.grace_ns = window_ns + rest_ns;
    policy.quiet_ns = 10 * MS;
    policy.settle_ns = MS;
    policy.environment = NONE;
    return policy;
}

static struct told told;

/* On a loop, so that what is told needs no lock. */
static lameduck_server *start(const lameduck_policy *policy) {
    static const int NO_SIGNALS[1];
    lameduck_options options;
    OK(lameduck_options_init(&options, sizeof options));
    options.policy = policy;
    options.drive = LAMEDUCK_DRIVE_LOOP;
    options.signals = NO_SIGNALS;
    options.watchdog_descriptor = -1;
    options.callbacks = (lameduck_callbacks){ .announce_close = on_announce,
                                              .refuse_streams = on_refuse_streams,
                                              .notify_long_lived = on_notify,
                                              .close_long_lived = on_end,
                                              .close_idle = on_idle,
                                              .force_connection = on_force,
                                              .abort_requests = on_abort,
                                              .cancel_job = on_cancel,
                                              .readiness = on_ready,
                                              .phase = on_phase,
                                              .log = on_log,
                                              .done = on_done };
    memset(&told, 0, sizeof told);
    options.user_data = &told;
    OK(lameduck_start(&options, &told.server));
    return told.server;
}

/* One turn of the loop. */
static void turn(void) {
    int descriptor;
    OK(lameduck_descriptor(told.server, &descriptor));
    struct pollfd question = { .fd = descriptor, .events = POLLIN };
    CHECK(poll(&question, 1, 20000) == 1);
    OK(lameduck_dispatch(told.server));
}

/* Turns until it was told so often. */
static void until(enum what what, int count) {
    while (told.count[what] < count) turn();
}

static uint64_t opened(lameduck_protocol protocol) {
    uint64_t connection;
    OK(lameduck_connection_open(told.server, -1, protocol, &told, &connection));
    return connection;
}

static int ended_with(void) {
    int code;
    until(DONE, 1);
    OK(lameduck_wait(told.server, 0, &code));
    CHECK((uint64_t)code == told.connection[DONE]);
    return code;
}

static bool reports(const char *words) {
    char text[65536];
    size_t length;
    OK(lameduck_report(told.server, text, sizeof text, &length));
    return strstr(text, words) != NULL;
}

static void a_policy_that_refuses(void) {
    lameduck_policy policy = policy_of(300 * MS, 3000 * MS);
    policy.new_requests = LAMEDUCK_NEW_REQUESTS_REFUSE;
    policy.readiness = LAMEDUCK_READINESS_KEEP;
    lameduck_server *server = start(&policy);
    uint64_t connection = opened(LAMEDUCK_PROTOCOL_HTTP1), before, after = 4711;
    OK(lameduck_request_begin(server, connection, &before));
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_PEER_MESSAGE, "asked by its peer"));
    bool ready = false;
    OK(lameduck_ready(server, &ready));
    CHECK(ready);
    IS(LAMEDUCK_REFUSE_REQUEST, lameduck_request_begin(server, connection, &after));
    CHECK(after == 4711);
    OK(lameduck_request_end(server, connection, before, LAMEDUCK_OUTCOME_COMPLETED));
    CHECK(ended_with() == 0 && told.connection[READY] == 0);
    CHECK(reports("\"completed\":1,\"client_gone\":0,\"refused\":1") && reports("\"cause_detail\":\"asked by its peer\""));
    OK(lameduck_free(server));
}

/* Whether it was told of a stream and of a connection itself, in either order. */
static bool both(enum what what, uint64_t streaming, uint64_t stream, uint64_t itself) {
    const uint64_t connections[] = { told.first_connection[what], told.connection[what] };
    const uint64_t requests[] = { told.first_request[what], told.request[what] };
    int one = connections[0] == streaming ? 0 : 1;
    return connections[one] == streaming && requests[one] == stream && connections[!one] == itself && requests[!one] == 0;
}

/* A stream is told when draining begins and ended in the second half of the window; both by the handle that it was given. */
static void a_stream_and_a_websocket(void) {
    lameduck_policy policy = policy_of(300 * MS, 4000 * MS);
    lameduck_server *server = start(&policy);
    uint64_t streaming = opened(LAMEDUCK_PROTOCOL_HTTP1), upgraded = opened(LAMEDUCK_PROTOCOL_HTTP1), stream, late;
    OK(lameduck_request_begin(server, streaming, &stream));
    OK(lameduck_request_describe(server, streaming, &stream, LAMEDUCK_REQUEST_KIND_STREAM, "GET /events"));
    OK(lameduck_connection_upgrade(server, upgraded, LAMEDUCK_PROTOCOL_WEBSOCKET));
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_PROGRAMMATIC, NULL));
    until(NOTIFIED, 2);
    CHECK(both(NOTIFIED, streaming, stream, upgraded));
    until(ENDED, 2);
    CHECK(both(ENDED, streaming, stream, upgraded));
    OK(lameduck_request_end(server, streaming, stream, LAMEDUCK_OUTCOME_ENDED));
    IS(LAMEDUCK_NOT_IN_FLIGHT, lameduck_request_end(server, streaming, stream, LAMEDUCK_OUTCOME_ENDED));
    OK(lameduck_connection_close(server, upgraded));
    OK(lameduck_connection_close(server, streaming));
    IS(LAMEDUCK_UNKNOWN_CONNECTION, lameduck_request_begin(server, streaming, &late));
    CHECK(ended_with() == 0 && reports("\"ended\":1"));
    OK(lameduck_free(server));
}

/* HTTP/2 is told twice, and closed when it is idle after that. A request that began while serving can be named afterwards. */
static void http2(void) {
    lameduck_policy policy = policy_of(1000 * MS, 4000 * MS);
    lameduck_server *server = start(&policy);
    uint64_t connection = opened(LAMEDUCK_PROTOCOL_HTTP2), first, second;
    OK(lameduck_request_begin(server, connection, &first));
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_PROGRAMMATIC, NULL));
    IS(LAMEDUCK_UNKNOWN_REQUEST, lameduck_request_describe(server, connection, &(uint64_t){ 99 }, LAMEDUCK_REQUEST_KIND_ORDINARY, "x"));
    OK(lameduck_request_describe(server, connection, &first, LAMEDUCK_REQUEST_KIND_ORDINARY, "GET /first"));
    CHECK(first != LAMEDUCK_REQUEST_COUNTED);
    until(ANNOUNCED, 1);
    OK(lameduck_request_begin(server, connection, &second)); /* the first GOAWAY refuses none */
    CHECK(second != first && second != LAMEDUCK_REQUEST_COUNTED);
    bool announce = true;
    OK(lameduck_response_head(server, connection, second, false, &announce));
    CHECK(!announce);
    OK(lameduck_request_end(server, connection, second, LAMEDUCK_OUTCOME_COMPLETED));
    until(REFUSED_STREAMS, 1);
    CHECK(told.count[IDLE] == 0);
    OK(lameduck_request_end(server, connection, first, LAMEDUCK_OUTCOME_CLIENT_GONE));
    until(IDLE, 1);
    CHECK(told.connection[IDLE] == connection && ended_with() == 0);
    CHECK(reports("\"completed\":1,\"client_gone\":1"));
    OK(lameduck_free(server));
}

static int later(void *hook, uint64_t which) {
    *(uint64_t *)hook = which;
    return LAMEDUCK_HOOK_LATER;
}

static int fails(void *hook, uint64_t which) {
    (void)hook, (void)which;
    return 13;
}

/* Jobs and hooks, and what happens at the deadlines. */
static void jobs_hooks_and_deadlines(void) {
    lameduck_policy policy = policy_of(0, 4000 * MS);
    policy.reserve_ns = 2000 * MS;
    lameduck_server *server = start(&policy);
    uint64_t connection = opened(LAMEDUCK_PROTOCOL_HTTP1), request, yields, waits, refused = 4711, hook = 0, asked;
    OK(lameduck_job_begin(server, "yields", LAMEDUCK_JOB_SOURCE_BACKGROUND, LAMEDUCK_ON_DRAIN_CANCEL, &yields));
    OK(lameduck_job_begin(server, "waits", LAMEDUCK_JOB_SOURCE_REQUEST, LAMEDUCK_ON_DRAIN_WAIT, &waits));
    OK(lameduck_hook_add(server, LAMEDUCK_STAGE_CLOSE, "pool", 0, LAMEDUCK_UNSET, later, &hook, &asked));
    OK(lameduck_hook_add(server, LAMEDUCK_STAGE_CLOSE, "cache", 1, LAMEDUCK_UNSET, fails, NULL, NULL));
    OK(lameduck_request_begin(server, connection, &request));
    bool cancelled = true, aborting = true;
    OK(lameduck_job_cancelled(server, yields, &cancelled));
    OK(lameduck_aborting(server, &aborting));
    CHECK(!cancelled && !aborting);
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_PROGRAMMATIC, NULL));
    IS(LAMEDUCK_DRAINING, lameduck_job_begin(server, "late", LAMEDUCK_JOB_SOURCE_BACKGROUND, LAMEDUCK_ON_DRAIN_WAIT, &refused));
    IS(LAMEDUCK_DRAINING, lameduck_hook_add(server, LAMEDUCK_STAGE_DRAIN, "late", 0, LAMEDUCK_UNSET, fails, NULL, NULL));
    CHECK(refused == 4711);
    until(CANCELLED, 1);
    CHECK(told.connection[CANCELLED] == yields);
    OK(lameduck_job_cancelled(server, yields, &cancelled));
    CHECK(cancelled);
    OK(lameduck_job_end(server, yields, LAMEDUCK_JOB_OUTCOME_ABORTED));
    until(ABORTED, 1);
    OK(lameduck_aborting(server, &aborting));
    CHECK(aborting);
    OK(lameduck_job_end(server, waits, LAMEDUCK_JOB_OUTCOME_ABORTED));
    until(FORCED, 1);
    CHECK(told.connection[FORCED] == connection && told.request[FORCED] == 1);
    IS(LAMEDUCK_UNKNOWN_CONNECTION, lameduck_request_end(server, connection, request, LAMEDUCK_OUTCOME_COMPLETED));
    while (hook == 0) turn();
    CHECK(hook == asked);
    OK(lameduck_change_grace(server, 5000 * MS));
    OK(lameduck_hook_finished(server, hook, NULL));
    IS(LAMEDUCK_NOT_RUNNING, lameduck_hook_finished(server, hook, NULL));
    CHECK(ended_with() == 1);
    CHECK(reports("\"name\":\"pool\",\"stage\":\"close\",\"order\":0,\"result\":\"ok\""));
    CHECK(reports("\"result\":\"failed\"") && reports("it returned 13") && reports("\"what\":\"deadline changed\""));
    CHECK(reports("\"cancelled\":1,\"aborted\":1"));
    OK(lameduck_free(server));
}

/* Insisting ends the window, then forces what is in flight. */
static void somebody_insists(void) {
    lameduck_policy policy = policy_of(60000 * MS, 60000 * MS);
    lameduck_server *server = start(&policy);
    uint64_t connection = opened(LAMEDUCK_PROTOCOL_HTTP1), request, before = check_now_ns();
    OK(lameduck_request_begin(server, connection, &request));
    IS(LAMEDUCK_SERVING, lameduck_escalate(server));
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_TERMINATE, NULL));
    OK(lameduck_escalate(server));
    OK(lameduck_escalate(server));
    until(FORCED, 1);
    CHECK(ended_with() == 1 && check_now_ns() - before < 20000 * MS);
    IS(LAMEDUCK_DONE, lameduck_escalate(server));
    OK(lameduck_free(server));
}

/* Freed while another thread waits for its end. */
static void *waits(void *server) {
    int code = 4711;
    lameduck_status status = lameduck_wait(server, LAMEDUCK_UNLIMITED, &code);
    CHECK((status == LAMEDUCK_RELEASED || status == LAMEDUCK_INVALID_HANDLE) && code == 4711);
    return NULL;
}

static void freed_while_somebody_waits(void) {
    lameduck_policy policy = policy_of(0, 3000 * MS);
    lameduck_server *server = start(&policy);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, waits, server) == 0);
    usleep(20000); /* most likely it waits by then; if not, the handle is invalid, which is right too */
    OK(lameduck_free(server));
    pthread_join(thread, NULL);
}

/* Freed by a callback: what was still to be told, as that readiness fails, is told to nobody. */
static void freed_by_a_callback(void) {
    lameduck_policy policy = policy_of(0, 3000 * MS);
    lameduck_server *server = start(&policy);
    told.free_at_drain = true;
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_PROGRAMMATIC, NULL));
    usleep(100000); /* so that one turn finds all of it */
    while (!told.freed) turn();
    CHECK(told.count[PHASE] == 1 && told.count[READY] == 0);
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_dispatch(server));
}

int main(void) {
    freed_by_a_callback();
    a_policy_that_refuses();
    a_stream_and_a_websocket();
    http2();
    jobs_hooks_and_deadlines();
    somebody_insists();
    freed_while_somebody_waits();
    size_t objects;
    OK(lameduck_objects(&objects));
    CHECK(objects == 0);
    puts("drain: ok");
    return 0;
}
