/* A server that lameduck hosts, in each way of driving: sockets, threads and signals are real. */
#define _GNU_SOURCE
#include "check.h"

#include <lameduck_inline.h>

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

struct told {
    uint64_t window_ns;
    lameduck_server *server;
    uint64_t connection;
    void *context;
    atomic_int announced, idle, forced, done, phases, aborted, cancelled, listeners, lines;
    atomic_int code;
    pthread_t thread;
    atomic_bool elsewhere;
    char report[65536];
};

static void here(struct told *told) {
    if (!pthread_equal(told->thread, pthread_self())) atomic_store(&told->elsewhere, true);
}

static void on_announce(void *user_data, uint64_t connection, void *context) {
    struct told *told = user_data;
    here(told);
    CHECK(told->connection == 0 || (connection == told->connection && context == told->context));
    atomic_fetch_add(&told->announced, 1);
}

static void on_idle(void *user_data, uint64_t connection, void *context) {
    struct told *told = user_data;
    here(told);
    CHECK(context == told->context);
    OK(lameduck_connection_close(told->server, connection));
    atomic_fetch_add(&told->idle, 1);
}

static void on_listener(void *user_data, uint64_t listener, int descriptor) {
    struct told *told = user_data;
    here(told);
    close(descriptor);
    OK(lameduck_listener_closed(told->server, listener));
    atomic_fetch_add(&told->listeners, 1);
}

static void on_phase(void *user_data, lameduck_phase phase) {
    struct told *told = user_data;
    here(told);
    CHECK((int)phase == atomic_fetch_add(&told->phases, 1) + 1);
}

static void on_log(void *user_data, lameduck_level level, const char *line) {
    struct told *told = user_data;
    CHECK(level == LAMEDUCK_LEVEL_INFO || level == LAMEDUCK_LEVEL_WARN);
    if (line[0] == '{') snprintf(told->report, sizeof told->report, "%s", line);
    atomic_fetch_add(&told->lines, 1);
}

static void on_done(void *user_data, int code) {
    struct told *told = user_data;
    here(told);
    atomic_store(&told->code, code);
    atomic_fetch_add(&told->done, 1);
}

static int hook_ok(void *user_data, uint64_t hook) {
    CHECK(hook != 0);
    atomic_fetch_add((atomic_int *)user_data, 1);
    return 0;
}

static int listening(void) {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    CHECK(descriptor >= 0 && bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0 && listen(descriptor, 16) == 0);
    return descriptor;
}

static void start(struct told *told, lameduck_drive drive) {
    lameduck_policy policy;
    OK(lameduck_policy_init(&policy, sizeof policy));
    policy.window_ns = told->window_ns ? told->window_ns : 300 * MS;
    policy.grace_ns = policy.window_ns + 2700 * MS;
    policy.settle_ns = 10 * MS;
    policy.quiet_ns = 50 * MS;
    const char *none[] = { NULL };
    policy.environment = none;
    lameduck_options options;
    OK(lameduck_options_init(&options, sizeof options));
    options.policy = &policy;
    options.drive = drive;
    options.user_data = told;
    options.callbacks = (lameduck_callbacks){ .announce_close = on_announce,
                                              .close_idle = on_idle,
                                              .close_listener = on_listener,
                                              .phase = on_phase,
                                              .log = on_log,
                                              .done = on_done };
    OK(lameduck_start(&options, &told->server));
    CHECK(atomic_load(&told->lines) >= 2);
}

/* Dispatches until it is over, on this thread. */
static void loop(struct told *told) {
    int descriptor;
    OK(lameduck_descriptor(told->server, &descriptor));
    while (atomic_load(&told->done) == 0) {
        struct pollfd question = { .fd = descriptor, .events = POLLIN };
        CHECK(poll(&question, 1, 10000) == 1);
        OK(lameduck_dispatch(told->server));
    }
}

static void a_whole_shutdown(lameduck_drive drive) {
    struct told told = { .thread = pthread_self() };
    start(&told, drive);
    uint64_t listener, request, job, hook;
    int pair[2], code, context;
    atomic_int hooks = 0;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    told.context = &context;
    OK(lameduck_listener_add(told.server, listening(), &listener));
    OK(lameduck_connection_open(told.server, pair[0], LAMEDUCK_PROTOCOL_HTTP1, told.context, &told.connection));
    OK(lameduck_connection_describe(told.server, told.connection, "127.0.0.1:4711"));
    OK(lameduck_request_begin(told.server, told.connection, &request));
    CHECK(request == LAMEDUCK_REQUEST_COUNTED);
    bool announce = true;
    OK(lameduck_response_head(told.server, told.connection, request, false, &announce));
    CHECK(!announce);
    OK(lameduck_request_end(told.server, told.connection, request, LAMEDUCK_OUTCOME_COMPLETED));
    IS(LAMEDUCK_NOT_IN_FLIGHT, lameduck_request_end(told.server, told.connection, request, LAMEDUCK_OUTCOME_COMPLETED));
    OK(lameduck_job_begin(told.server, "import", LAMEDUCK_JOB_SOURCE_BACKGROUND, LAMEDUCK_ON_DRAIN_WAIT, &job));
    OK(lameduck_hook_add(told.server, LAMEDUCK_STAGE_CLOSE, "database", 0, LAMEDUCK_UNSET, hook_ok, &hooks, &hook));
    OK(lameduck_hook_add(told.server, LAMEDUCK_STAGE_FLUSH, "log", 0, LAMEDUCK_UNSET, hook_ok, &hooks, NULL));

    /* One in flight across the hand-over, described before it. */
    uint64_t slow;
    OK(lameduck_request_begin(told.server, told.connection, &slow));
    OK(lameduck_request_describe(told.server, told.connection, &slow, LAMEDUCK_REQUEST_KIND_ORDINARY, "GET /slow"));
    CHECK(slow != LAMEDUCK_REQUEST_COUNTED);
    bool ready = false;
    OK(lameduck_ready(told.server, &ready));
    CHECK(ready);
    CHECK(kill(getpid(), SIGTERM) == 0);
    lameduck_phase phase = LAMEDUCK_PHASE_SERVING;
    while (phase == LAMEDUCK_PHASE_SERVING) OK(lameduck_server_phase(told.server, &phase));
    OK(lameduck_ready(told.server, &ready));
    CHECK(!ready);
    char text[8192];
    size_t length;
    OK(lameduck_blockers(told.server, text, sizeof text, &length));
    CHECK(strlen(text) == length && strstr(text, "\"label\":\"GET /slow\"") && strstr(text, "127.0.0.1:4711"));
    /* In the second half of the window every response announces. */
    usleep(200 * 1000);
    OK(lameduck_response_head(told.server, told.connection, slow, false, &announce));
    CHECK(announce);
    IS(LAMEDUCK_HEADERS_ALREADY_SENT, lameduck_response_head(told.server, told.connection, slow, false, &announce));
    /* Parsed behind the response that announced. */
    IS(LAMEDUCK_NOT_PROCESSED, lameduck_request_begin(told.server, told.connection, &request));
    OK(lameduck_request_end(told.server, told.connection, slow, LAMEDUCK_OUTCOME_COMPLETED));
    OK(lameduck_job_end(told.server, job, LAMEDUCK_JOB_OUTCOME_COMPLETED));
    if (drive == LAMEDUCK_DRIVE_LOOP) loop(&told);
    OK(lameduck_wait(told.server, 10000 * MS, &code));
    CHECK(code == 0 && atomic_load(&told.code) == 0 && atomic_load(&told.done) == 1);
    CHECK(atomic_load(&hooks) == 2 && atomic_load(&told.phases) == 3 && atomic_load(&told.announced) == 1);
    CHECK(atomic_load(&told.idle) == 1 && atomic_load(&told.listeners) == 1);
    CHECK(atomic_load(&told.elsewhere) == (drive == LAMEDUCK_DRIVE_THREAD));
    CHECK(strstr(told.report, "\"cause\":\"terminate\",\"cause_detail\":\"SIGTERM\""));
    CHECK(strstr(told.report, "\"adopted\":1,\"admitted\":0,\"not_processed\":1,\"completed\":1"));
    lameduck_metrics metrics;
    OK(lameduck_server_metrics(told.server, &metrics));
    /* The end without a begin, above, was a fault. */
    CHECK(metrics.completed == 1 && metrics.not_processed == 1 && metrics.connections == 0 && metrics.faults == 1);
    IS(LAMEDUCK_DONE, lameduck_shutdown(told.server, LAMEDUCK_CAUSE_PROGRAMMATIC, NULL));
    OK(lameduck_free(told.server));
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_free(told.server));
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_request_begin(told.server, told.connection, &request));
    close(pair[0]);
    close(pair[1]);
}

/* The inline functions and those of the library count in the same word, before and after the hand-over. */
static void inline_and_called_mix(void) {
    struct told told = { .thread = pthread_self() };
    start(&told, LAMEDUCK_DRIVE_THREAD);
    lameduck_server *server = told.server;
    uint64_t connection, other, *word, inlined, called, none = 4711;
    lameduck_metrics metrics;
    const lameduck_outcome completed = LAMEDUCK_OUTCOME_COMPLETED;
    OK(lameduck_connection_open(server, -1, LAMEDUCK_PROTOCOL_HTTP2, NULL, &connection));
    told.connection = connection;
    OK(lameduck_connection_word(server, connection, &word));
    /* A slot that is used again does not heed its old handle. */
    OK(lameduck_connection_close(server, connection));
    OK(lameduck_connection_open(server, -1, LAMEDUCK_PROTOCOL_HTTP2, NULL, &other));
    IS(LAMEDUCK_UNKNOWN_CONNECTION, lameduck_request_begin_inline(server, connection, word, &none));
    IS(LAMEDUCK_UNKNOWN_CONNECTION, lameduck_request_end_inline(server, connection, word, 0, completed));
    connection = told.connection = other;
    OK(lameduck_request_begin_inline(server, connection, word, &inlined));
    OK(lameduck_request_begin(server, connection, &called));
    OK(lameduck_server_metrics(server, &metrics));
    CHECK(metrics.in_flight == 2);
    OK(lameduck_request_end(server, connection, inlined, completed));
    OK(lameduck_request_end_inline(server, connection, word, called, completed));
    IS(LAMEDUCK_NOT_IN_FLIGHT, lameduck_request_end_inline(server, connection, word, called, completed));
    IS(LAMEDUCK_NULL_POINTER, lameduck_request_begin_inline(server, connection, word, NULL));
    for (int n = 0; n < 65535; n++) OK(lameduck_request_begin_inline(server, connection, word, &inlined));
    IS(LAMEDUCK_TOO_MANY, lameduck_request_begin_inline(server, connection, word, &none));
    for (int n = 0; n < 65534; n++) OK(lameduck_request_end_inline(server, connection, word, inlined, completed));

    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_PROGRAMMATIC, "tested"));
    OK(lameduck_request_begin_inline(server, connection, word, &called));
    CHECK(called != LAMEDUCK_REQUEST_COUNTED);
    OK(lameduck_request_end_inline(server, connection, word, inlined, completed));
    IS(LAMEDUCK_NOT_IN_FLIGHT, lameduck_request_end_inline(server, connection, word, inlined, completed));
    OK(lameduck_request_end_inline(server, connection, word, called, LAMEDUCK_OUTCOME_CLIENT_GONE));
    OK(lameduck_server_metrics(server, &metrics));
    CHECK(metrics.completed == 1 && metrics.client_gone == 1);
    OK(lameduck_connection_close(server, connection));
    OK(lameduck_free(server));
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_request_begin_inline(server, connection, word, &none));
}

/* Threads that begin and end requests while the shutdown begins: each request is counted once, by the ledger or by an event. */
enum { CROWD = 4, CONNECTIONS = 3 };

struct crowd {
    lameduck_server *server;
    uint64_t connections[CONNECTIONS], *words[CONNECTIONS];
    atomic_bool stop;
    atomic_ulong late, named;
};

static void *come_and_go(void *argument) {
    struct crowd *crowd = argument;
    for (unsigned n = 0; !atomic_load(&crowd->stop); n++) {
        uint64_t connection = crowd->connections[n % CONNECTIONS], *word = crowd->words[n % CONNECTIONS], request;
        const lameduck_outcome completed = LAMEDUCK_OUTCOME_COMPLETED;
        bool announce;
        switch (n % 4) {
        case 0:
            OK(lameduck_request_begin(crowd->server, connection, &request));
            atomic_fetch_add(&crowd->late, request != LAMEDUCK_REQUEST_COUNTED);
            OK(lameduck_request_end(crowd->server, connection, request, completed));
            break;
        case 1:
            OK(lameduck_request_begin_inline(crowd->server, connection, word, &request));
            atomic_fetch_add(&crowd->late, request != LAMEDUCK_REQUEST_COUNTED);
            OK(lameduck_response_head(crowd->server, connection, request, false, &announce));
            OK(lameduck_request_end_inline(crowd->server, connection, word, request, completed));
            break;
        default: /* with a name, which takes a lock */
            OK(lameduck_request_begin(crowd->server, connection, &request));
            atomic_fetch_add(&crowd->late, request != LAMEDUCK_REQUEST_COUNTED);
            OK(lameduck_request_describe(crowd->server, connection, &request, LAMEDUCK_REQUEST_KIND_ORDINARY, "GET /crowd"));
            atomic_fetch_add(&crowd->named, 1);
            OK(lameduck_request_end(crowd->server, connection, request, completed));
        }
    }
    return NULL;
}

static void until(atomic_ulong *count, unsigned long least) {
    for (int n = 0; atomic_load(count) < least; n++) {
        CHECK(n < 100000);
        usleep(100);
    }
}

static void a_crowd_across_the_hand_over(void) {
    for (int round = 0; round < 10; round++) {
        struct told told = { .thread = pthread_self(), .window_ns = 20000 * MS };
        start(&told, LAMEDUCK_DRIVE_THREAD);
        struct crowd crowd = { .server = told.server };
        for (int n = 0; n < CONNECTIONS; n++) { /* HTTP/2: nothing is refused behind an announcement */
            OK(lameduck_connection_open(told.server, -1, LAMEDUCK_PROTOCOL_HTTP2, NULL, &crowd.connections[n]));
            OK(lameduck_connection_word(told.server, crowd.connections[n], &crowd.words[n]));
        }
        pthread_t threads[CROWD];
        for (int n = 0; n < CROWD; n++) CHECK(pthread_create(&threads[n], NULL, come_and_go, &crowd) == 0);
        until(&crowd.named, 100);
        OK(lameduck_shutdown(told.server, LAMEDUCK_CAUSE_PROGRAMMATIC, NULL));
        until(&crowd.late, 100);
        atomic_store(&crowd.stop, true);
        for (int n = 0; n < CROWD; n++) pthread_join(threads[n], NULL);
        lameduck_metrics metrics;
        OK(lameduck_server_metrics(told.server, &metrics));
        CHECK(metrics.in_flight == 0 && metrics.faults == 0);
        char text[65536];
        size_t length;
        OK(lameduck_report(told.server, text, sizeof text, &length));
        unsigned long adopted, admitted, completed, in_flight;
        const char *requests = strstr(text, "\"requests\":{\"adopted\":");
        CHECK(sscanf(requests, "\"requests\":{\"adopted\":%lu,\"admitted\":%lu,", &adopted, &admitted) == 2);
        CHECK(sscanf(strstr(requests, "\"completed\":"), "\"completed\":%lu", &completed) == 1);
        CHECK(sscanf(strstr(requests, "\"in_flight\":"), "\"in_flight\":%lu", &in_flight) == 1);
        CHECK(in_flight == 0 && completed == adopted + admitted && adopted <= CROWD);
        CHECK(admitted == atomic_load(&crowd.late));
        OK(lameduck_free(told.server));
    }
}

/* Without callbacks: an idle connection is half-closed by its descriptor, and one whose time is over is cut. */
static void a_server_without_callbacks(void) {
    lameduck_policy policy;
    lameduck_options options;
    lameduck_server *server;
    uint64_t idle, busy, request;
    int code, one[2], other[2];
    char byte;
    const char *none[] = { NULL };
    OK(lameduck_policy_init(&policy, sizeof policy));
    policy.grace_ns = 1000 * MS;
    policy.window_ns = 0;
    policy.quiet_ns = 10 * MS;
    policy.reserve_ns = 300 * MS;
    policy.environment = none;
    OK(lameduck_options_init(&options, sizeof options));
    options.policy = &policy;
    OK(lameduck_start(&options, &server));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0);
    OK(lameduck_connection_open(server, one[0], LAMEDUCK_PROTOCOL_HTTP1, NULL, &idle));
    OK(lameduck_connection_open(server, other[0], LAMEDUCK_PROTOCOL_HTTP1, NULL, &busy));
    OK(lameduck_request_begin(server, busy, &request));
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_PROGRAMMATIC, NULL));
    CHECK(read(one[1], &byte, 1) == 0);
    close(one[1]);
    CHECK(read(one[0], &byte, 1) == 0); /* as its server reads it */
    OK(lameduck_connection_close(server, idle));
    CHECK(read(other[1], &byte, 1) == 0); /* at the drain deadline */
    OK(lameduck_connection_close(server, busy));
    OK(lameduck_wait(server, LAMEDUCK_UNLIMITED, &code));
    CHECK(code == 1);
    lameduck_metrics metrics;
    OK(lameduck_server_metrics(server, &metrics));
    CHECK(metrics.forced == 1 && metrics.completed == 0);
    OK(lameduck_free(server));
    close(one[0]), close(other[0]), close(other[1]);
}

/* A connection with bytes of a next request in its socket is busy, not idle. */
static void the_last_look(void) {
    struct told told = { .thread = pthread_self(), .window_ns = 20000 * MS };
    start(&told, LAMEDUCK_DRIVE_LOOP);
    int pair[2];
    uint64_t request;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], "G", 1) == 1);
    OK(lameduck_connection_open(told.server, pair[0], LAMEDUCK_PROTOCOL_HTTP1, NULL, &told.connection));
    OK(lameduck_shutdown(told.server, LAMEDUCK_CAUSE_INTERRUPT, NULL)); /* no window: it is due within 1.1 s */
    int descriptor;
    OK(lameduck_descriptor(told.server, &descriptor));
    char report[65536] = "";
    size_t length;
    for (uint64_t before = check_now_ns(); check_now_ns() - before < 1300 * MS;) {
        struct pollfd question = { .fd = descriptor, .events = POLLIN };
        CHECK(poll(&question, 1, 1000) == 1);
        OK(lameduck_dispatch(told.server));
    }
    CHECK(atomic_load(&told.idle) == 0);
    OK(lameduck_request_begin(told.server, told.connection, &request));
    OK(lameduck_request_end(told.server, told.connection, request, LAMEDUCK_OUTCOME_COMPLETED));
    char byte;
    CHECK(read(pair[0], &byte, 1) == 1);
    loop(&told);
    OK(lameduck_report(told.server, report, sizeof report, &length));
    CHECK(atomic_load(&told.idle) == 1 && strstr(report, "\"completed\":1"));
    OK(lameduck_free(told.server));
    close(pair[0]), close(pair[1]);
}

/* A second signal, a SIGINT, ends the window. The program's own handler does not run, and comes back. */
static volatile sig_atomic_t handled;

static void own_handler(int signal) {
    (void)signal;
    handled++;
}

static void two_signals(void) {
    struct told told = { .thread = pthread_self(), .window_ns = 60000 * MS };
    struct sigaction own = { .sa_handler = own_handler }, after;
    CHECK(sigaction(SIGTERM, &own, NULL) == 0);
    start(&told, LAMEDUCK_DRIVE_THREAD);
    uint64_t before = check_now_ns();
    int code;
    CHECK(kill(getpid(), SIGTERM) == 0);
    lameduck_phase phase = LAMEDUCK_PHASE_SERVING;
    while (phase == LAMEDUCK_PHASE_SERVING) OK(lameduck_server_phase(told.server, &phase));
    IS(LAMEDUCK_TIMED_OUT, lameduck_wait(told.server, 200 * MS, &code));
    CHECK(kill(getpid(), SIGINT) == 0);
    OK(lameduck_wait(told.server, LAMEDUCK_UNLIMITED, &code));
    CHECK(code == 0 && check_now_ns() - before < 30000 * MS && handled == 0);
    OK(lameduck_free(told.server));
    CHECK(sigaction(SIGTERM, NULL, &after) == 0 && after.sa_handler == own_handler);
    CHECK(kill(getpid(), SIGTERM) == 0);
    while (handled == 0) usleep(1000);
    signal(SIGTERM, SIG_DFL);
}

/* Whoever waits at a listener is accepted before it is closed. */
static void a_listener_with_somebody_waiting(void) {
    struct told told = { .thread = pthread_self() };
    start(&told, LAMEDUCK_DRIVE_THREAD);
    uint64_t listener;
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int descriptor = listening(), client = socket(AF_INET, SOCK_STREAM, 0), code;
    CHECK(getsockname(descriptor, (struct sockaddr *)&address, &size) == 0);
    OK(lameduck_listener_add(told.server, descriptor, &listener));
    CHECK(connect(client, (struct sockaddr *)&address, sizeof address) == 0);
    OK(lameduck_shutdown(told.server, LAMEDUCK_CAUSE_INTERRUPT, NULL)); /* no window */
    IS(LAMEDUCK_TIMED_OUT, lameduck_wait(told.server, 300 * MS, &code));
    CHECK(atomic_load(&told.listeners) == 0);
    int accepted = accept(descriptor, NULL, NULL);
    CHECK(accepted >= 0);
    OK(lameduck_wait(told.server, LAMEDUCK_UNLIMITED, &code));
    CHECK(atomic_load(&told.listeners) == 1 && code == 0);
    OK(lameduck_free(told.server));
    close(accepted), close(client);
}

/* A process that does not end: the watchdog ends it at the deadline, and says whether its loop was blocked. */
static void a_loop_at_the_deadline(bool blocked) {
    int output[2];
    CHECK(pipe(output) == 0);
    uint64_t before = check_now_ns();
    pid_t child = fork();
    if (child == 0) {
        lameduck_policy policy;
        lameduck_options options;
        lameduck_server *server;
        OK(lameduck_policy_init(&policy, sizeof policy));
        policy.grace_ns = 900 * MS;
        policy.margin_ns = 100 * MS;
        OK(lameduck_options_init(&options, sizeof options));
        options.policy = &policy;
        options.drive = LAMEDUCK_DRIVE_LOOP;
        options.watchdog_descriptor = output[1];
        OK(lameduck_start(&options, &server));
        kill(getpid(), SIGTERM);
        int descriptor;
        OK(lameduck_descriptor(server, &descriptor));
        while (blocked) pause();
        for (struct pollfd question = { .fd = descriptor, .events = POLLIN };;) {
            CHECK(poll(&question, 1, -1) == 1);
            OK(lameduck_dispatch(server));
        }
    }
    close(output[1]);
    char text[65536];
    size_t length = 0;
    for (ssize_t got; (got = read(output[0], text + length, sizeof text - 1 - length)) > 0;) length += (size_t)got;
    text[length] = '\0';
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(check_now_ns() - before >= 800 * MS);
    CHECK(strstr(text, "\"phase\":\"done\"") && !strstr(text, "\"event_loop_blocked_ms\":") == !blocked);
    close(output[0]);
}

int main(void) {
    inline_and_called_mix();
    a_crowd_across_the_hand_over();
    a_server_without_callbacks();
    the_last_look();
    two_signals();
    a_listener_with_somebody_waiting();
    a_loop_at_the_deadline(true);
    a_loop_at_the_deadline(false);
    a_whole_shutdown(LAMEDUCK_DRIVE_THREAD);
    a_whole_shutdown(LAMEDUCK_DRIVE_LOOP);
    size_t objects;
    OK(lameduck_objects(&objects));
    CHECK(objects == 0);
    puts("hosted: ok");
    return 0;
}
