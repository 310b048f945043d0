/* Bad input: NULL, the wrong version, the wrong size, a value that is none of its enum, a contradiction, a fault of the library itself.
 * Each gives a status and a sentence, and changes nothing. */
#define _GNU_SOURCE
#include "check.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of the library when it is built for tests: the next call on this thread panics. */
void lameduck_test_panic_next(void);

static void the_versions_agree(void) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", LAMEDUCK_VERSION_MAJOR, LAMEDUCK_VERSION_MINOR, LAMEDUCK_VERSION_PATCH);
    CHECK(strcmp(lameduck_version(), text) == 0);
    CHECK(lameduck_version_number() == LAMEDUCK_VERSION_NUMBER);
}

/* The header's number is made of its parts, each in digits of its own; a unit test says the same of the library's. */
#undef LAMEDUCK_VERSION_MAJOR
#undef LAMEDUCK_VERSION_MINOR
#undef LAMEDUCK_VERSION_PATCH
#define LAMEDUCK_VERSION_MAJOR 12
#define LAMEDUCK_VERSION_MINOR 34
#define LAMEDUCK_VERSION_PATCH 56
_Static_assert(LAMEDUCK_VERSION_NUMBER == 12034056, "no two versions share a number");

static void errors_are_sentences(void) {
    CHECK(strcmp(lameduck_last_error(), "") == 0);
    CHECK(strcmp(lameduck_strerror(LAMEDUCK_OK), "done") == 0);
    CHECK(strcmp(lameduck_strerror(4711), "a status that this library does not know") == 0);
    IS(LAMEDUCK_NULL_POINTER, lameduck_tick(NULL, 0));
    SAYS("machine is NULL");
    OK(lameduck_free(NULL));
    SAYS("machine is NULL"); /* of the last that was refused */
}

static void a_policy_that_is_none(void) {
    lameduck_machine *machine = (lameduck_machine *)0x10;
    lameduck_policy policy = unset(), before;
    IS(LAMEDUCK_NULL_POINTER, lameduck_policy_init(NULL, sizeof policy));
    memset(&policy, 0x5a, sizeof policy);
    before = policy;
    IS(LAMEDUCK_WRONG_SIZE, lameduck_policy_init(&policy, sizeof policy - 8));
    CHECK(memcmp(&before, &policy, sizeof policy) == 0);
    policy = unset();
    policy.size = 8;
    IS(LAMEDUCK_WRONG_SIZE, lameduck_machine_new(&policy, &machine));
    CHECK(strstr(lameduck_last_error(), "a lameduck_policy of 8 bytes is none that this library (") == lameduck_last_error());
    policy = unset();
    policy.readiness = (lameduck_readiness)7;
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_machine_new(&policy, &machine));
    SAYS("7 is no lameduck_readiness");
    policy = unset();
    policy.new_requests = (lameduck_new_requests)UINT32_MAX;
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_machine_new(&policy, &machine));
    SAYS("4294967295 is no lameduck_new_requests");
    policy = unset();
    policy.window_ns = LAMEDUCK_UNLIMITED;
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_machine_new(&policy, &machine));
    SAYS("window_ns cannot be unlimited; leave it LAMEDUCK_UNSET, or give nanoseconds");
    policy = unset();
    policy.window_ns = UINT64_C(20000000000);
    policy.reserve_ns = UINT64_C(15000000000);
    IS(LAMEDUCK_CONTRADICTION, lameduck_machine_new(&policy, &machine));
    CHECK(strstr(lameduck_last_error(), "window 20s + reserve 15s exceeds grace 30s"));
    const char *variables[] = { "LAMEDUCK_GRACE=soon", NULL };
    policy = unset();
    policy.environment = variables;
    IS(LAMEDUCK_CONTRADICTION, lameduck_machine_new(&policy, &machine));
    CHECK(strstr(lameduck_last_error(), "LAMEDUCK_GRACE=soon is not a number of seconds"));
    CHECK(machine == (lameduck_machine *)0x10);
    size_t length = 4711;
    policy = unset();
    IS(LAMEDUCK_NULL_POINTER, lameduck_policy_describe(&policy, NULL, 5, &length));
    IS(LAMEDUCK_NULL_POINTER, lameduck_policy_describe(&policy, NULL, 0, NULL));
    char text[8] = "before";
    IS(LAMEDUCK_BUFFER_TOO_SMALL, lameduck_policy_describe(&policy, text, sizeof text, &length));
    CHECK(strcmp(text, "before") == 0 && length == 4711);
}

static void options_that_are_none(void) {
    lameduck_server *server = (lameduck_server *)0x10;
    lameduck_hold *hold = (lameduck_hold *)0x10;
    lameduck_options options;
    IS(LAMEDUCK_WRONG_SIZE, lameduck_options_init(&options, 0));
#define REFUSES(expected, change)                                                                                                \
    OK(lameduck_options_init(&options, sizeof options));                                                                         \
    change;                                                                                                                      \
    IS(expected, lameduck_start(&options, &server));                                                                             \
    IS(expected, lameduck_hold_start(&options, LAMEDUCK_FENCING_AUTO, &hold))
    const int killed[] = { SIGTERM, SIGKILL };
    REFUSES(LAMEDUCK_WRONG_SIZE, options.size++);
    REFUSES(LAMEDUCK_UNKNOWN_VALUE, options.drive = (lameduck_drive)2);
    REFUSES(LAMEDUCK_NULL_POINTER, options.signal_count = 1);
    REFUSES(LAMEDUCK_UNKNOWN_VALUE, (options.signals = killed, options.signal_count = 1000000));
    REFUSES(LAMEDUCK_SYSTEM, (options.signals = killed, options.signal_count = 2));
    SAYS("signal 9 cannot be caught by any process: choose another one");
    REFUSES(LAMEDUCK_SYSTEM, options.report_file = "/nowhere/report.json");
    REFUSES(LAMEDUCK_SYSTEM, options.watchdog_descriptor = 4711);
    OK(lameduck_options_init(&options, sizeof options));
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_hold_start(&options, (lameduck_fencing)4, &hold));
    options.drive = LAMEDUCK_DRIVE_LOOP;
    IS(LAMEDUCK_WRONG_DRIVE, lameduck_hold_start(&options, LAMEDUCK_FENCING_AUTO, &hold));
    IS(LAMEDUCK_NULL_POINTER, lameduck_start(&options, NULL));
    CHECK(server == (lameduck_server *)0x10 && hold == (lameduck_hold *)0x10);
    /* None of them left a handler behind. */
    struct sigaction action;
    CHECK(sigaction(SIGTERM, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
}

static void events_that_are_none(void) {
    lameduck_machine *machine;
    lameduck_policy policy = unset();
    OK(lameduck_machine_new(&policy, &machine));
    IS(LAMEDUCK_NULL_POINTER, lameduck_handle(machine, NULL, 0));
    lameduck_event event = { .type = (lameduck_event_type)0 };
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_handle(machine, &event, 0));
    SAYS("0 is no lameduck_event_type");
    event.type = LAMEDUCK_EVENT_TYPE_SHUTDOWN;
    event.cause = (lameduck_cause)99;
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_handle(machine, &event, 0));
    event = (lameduck_event){ .type = LAMEDUCK_EVENT_TYPE_LISTENER_FAILED };
    IS(LAMEDUCK_NULL_POINTER, lameduck_handle(machine, &event, 0));
    SAYS("event->text is NULL");
    lameduck_phase phase = LAMEDUCK_PHASE_DONE;
    OK(lameduck_machine_phase(machine, &phase));
    CHECK(phase == LAMEDUCK_PHASE_SERVING);
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_free((lameduck_server *)(void *)machine));
    OK(lameduck_machine_free(machine));
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_machine_free(machine));
    SAYS("the machine was freed, or never was one");
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_tick(machine, 1));
}

static void a_server_asked_for_nonsense(void) {
    lameduck_server *server = serving();
    uint64_t connection = 4711, listener = 4711, request = 4711;
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_connection_open(server, -1, (lameduck_protocol)5, NULL, &connection));
    IS(LAMEDUCK_NULL_POINTER, lameduck_connection_open(server, -1, LAMEDUCK_PROTOCOL_HTTP1, NULL, NULL));
    IS(LAMEDUCK_BAD_DESCRIPTOR, lameduck_listener_add(server, pair[0], &listener));
    IS(LAMEDUCK_BAD_DESCRIPTOR, lameduck_listener_add(server, -1, &listener));
    IS(LAMEDUCK_UNKNOWN_LISTENER, lameduck_listener_closed(server, UINT64_MAX));
    IS(LAMEDUCK_UNKNOWN_JOB, lameduck_job_end(server, 4711, LAMEDUCK_JOB_OUTCOME_COMPLETED));
    IS(LAMEDUCK_UNKNOWN_CONNECTION, lameduck_request_begin(server, UINT64_MAX, &request));
    IS(LAMEDUCK_SERVING, lameduck_escalate(server));
    IS(LAMEDUCK_WRONG_DRIVE, lameduck_dispatch(server));
    IS(LAMEDUCK_NULL_POINTER, lameduck_hook_add(server, LAMEDUCK_STAGE_CLOSE, "x", 0, LAMEDUCK_UNSET, NULL, NULL, NULL));
    IS(LAMEDUCK_UNKNOWN_VALUE, lameduck_change_grace(server, LAMEDUCK_UNLIMITED));
    int code = 4711;
    IS(LAMEDUCK_TIMED_OUT, lameduck_wait(server, 1000, &code));
    CHECK(connection == 4711 && listener == 4711 && request == 4711 && code == 4711);
    lameduck_metrics metrics;
    OK(lameduck_server_metrics(server, &metrics));
    CHECK(metrics.connections == 0 && metrics.phase == LAMEDUCK_PHASE_SERVING && metrics.ready);
    OK(lameduck_free(server));
    close(pair[0]);
    close(pair[1]);
}

/* What a fault of the library looks like, in each sort of call: a status, and it goes on. */
static void a_panic(void) {
    lameduck_server *server = serving();
    lameduck_machine *machine;
    lameduck_policy policy = unset();
    uint64_t connection = 4711;
    size_t objects = 4711;
#define PANICS(call)                                                                                                             \
    lameduck_test_panic_next();                                                                                                  \
    IS(LAMEDUCK_PANIC, call);                                                                                                    \
    SAYS("a fault of lameduck itself: injected; please report it")
    OK(lameduck_machine_new(&policy, &machine));
    PANICS(lameduck_objects(&objects));
    PANICS(lameduck_tick(machine, 0));
    PANICS(lameduck_connection_open(server, -1, LAMEDUCK_PROTOCOL_HTTP1, NULL, &connection));
    PANICS(lameduck_shutdown(server, LAMEDUCK_CAUSE_TERMINATE, NULL));
    PANICS(lameduck_free(server));
    PANICS(lameduck_machine_free(machine));
    CHECK(connection == 4711 && objects == 4711);
    OK(lameduck_connection_open(server, -1, LAMEDUCK_PROTOCOL_HTTP1, NULL, &connection));
    OK(lameduck_free(server));
    OK(lameduck_machine_free(machine));
}

int main(void) {
    errors_are_sentences();
    the_versions_agree();
    a_policy_that_is_none();
    options_that_are_none();
    events_that_are_none();
    a_server_asked_for_nonsense();
    a_panic();
    size_t objects;
    OK(lameduck_objects(&objects));
    CHECK(objects == 0);
    puts("bad: ok");
    return 0;
}
