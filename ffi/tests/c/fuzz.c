/* Every function with handles and values that are right, wrong, NULL, freed, of another sort and used by another thread just now: none may
 * crash, hang or leak, write an output that it refuses, or answer with a status that does not exist.
 *
 *   fuzz <seed> <operations per thread> <threads>
 *
 * Callbacks and hooks fuzz too, down to freeing the server that calls them. */
#define _GNU_SOURCE
#include "check.h"

#include <lameduck_inline.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <valgrind/helgrind.h>

enum { MACHINES = 12, SERVERS = 4, HOLDS = 2, STALE = 32, MOST_THREADS = 16 };
enum sort { CONNECTION, REQUEST, LISTENER, JOB, HOOK, SORTS };
enum { NUMBERS = 12 };

/* What is alive, as far as anybody knows; whoever takes a handle out frees it. */
static _Atomic(lameduck_machine *) machines[MACHINES];
static _Atomic(lameduck_server *) servers[SERVERS];
static _Atomic(lameduck_hold *) holds[HOLDS];
/* What once was alive. */
static _Atomic(void *) stale[STALE];
/* What each server gave out; now and then one is tried as another. */
static _Atomic uint64_t numbers[SERVERS][SORTS][NUMBERS];
static int listening = -1, pair[2];
static atomic_ulong refused, done;

struct dice {
    uint64_t state;
};

static uint64_t roll(struct dice *dice) { /* splitmix64 */
    uint64_t z = (dice->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t below(struct dice *dice, uint64_t limit) {
    return roll(dice) % limit;
}

static bool one_in(struct dice *dice, uint64_t n) {
    return below(dice, n) == 0;
}

/* A handle that may be anything. `pool` has those of the right sort. */
static void *any(struct dice *dice, void *right) {
    switch (below(dice, 16)) {
    case 0: return NULL;
    case 1: return atomic_load(&stale[below(dice, STALE)]);
    case 2: return atomic_load(&machines[below(dice, MACHINES)]);
    case 3: return atomic_load(&servers[below(dice, SERVERS)]);
    case 4: return atomic_load(&holds[below(dice, HOLDS)]);
    case 5: return (void *)(uintptr_t)roll(dice);
    case 6: return (void *)((uintptr_t)right ^ (UINT64_C(1) << below(dice, 64)));
    default: return right;
    }
}

static lameduck_machine *machine_of(struct dice *dice) {
    return any(dice, atomic_load(&machines[below(dice, MACHINES)]));
}


static lameduck_hold *hold_of(struct dice *dice) {
    return any(dice, atomic_load(&holds[below(dice, HOLDS)]));
}

static uint64_t number(struct dice *dice, uint64_t place, enum sort sort) {
    if (one_in(dice, 16)) place = below(dice, SERVERS);
    if (one_in(dice, 16)) sort = (enum sort)below(dice, SORTS);
    switch (below(dice, 24)) {
    case 0: return roll(dice);
    case 1: return below(dice, 4);
    case 2: return UINT64_MAX - below(dice, 3);
    default: return atomic_load(&numbers[place][sort][below(dice, NUMBERS)]);
    }
}

static void keep(struct dice *dice, uint64_t place, enum sort sort, uint64_t value) {
    atomic_store(&numbers[place][sort][below(dice, NUMBERS)], value);
}

/* Of `count` values, or one beyond, or none. */
static uint32_t value(struct dice *dice, uint32_t count) {
    if (one_in(dice, 20)) return one_in(dice, 2) ? count : (uint32_t)roll(dice);
    return (uint32_t)below(dice, count);
}

static const char *text(struct dice *dice) {
    static const char *const TEXTS[] = { "GET /orders/:id", "", "\xff\xfe not UTF-8", "a\nline\"\\", "import" };
    return one_in(dice, 12) ? NULL : TEXTS[below(dice, 5)];
}

static uint64_t span(struct dice *dice) {
    static const uint64_t SPANS[] = { 0, 1, 1000, 1000000, 100000000, LAMEDUCK_UNSET, LAMEDUCK_UNLIMITED, UINT64_MAX / 2 };
    return SPANS[below(dice, 8)];
}

/* Where an output goes: to `right`, or nowhere, or askew. */
static void *out(struct dice *dice, void *right) {
    switch (below(dice, 24)) {
    case 0: return NULL;
    case 1: return (char *)right + 1;
    default: return right;
    }
}

#define CANARY 0xA5

/* An output of any type, with room to be askew; refused calls leave it as it is. */
struct output {
    union {
        uint64_t number;
        int code;
        bool flag;
        void *pointer;
        size_t size;
        lameduck_effect effect;
        lameduck_metrics metrics;
        lameduck_policy policy;
        lameduck_options options;
        char bytes[512];
    };
    char room[8];
};

static void is_whole(const struct output *output) {
    for (size_t at = 0; at < sizeof *output; at++) CHECK(((const unsigned char *)output)[at] == CANARY);
}

/* Which lines have succeeded, so that a fuzzer that is refused everywhere is noticed. */
enum { LINES = 1024 };
static atomic_ulong tried[LINES], succeeded[LINES];

#define judge(call) judge_at(__LINE__, (call))

static lameduck_status judge_at(int line, lameduck_status status) {
    CHECK(line < LINES);
    atomic_fetch_add_explicit(&tried[line], 1, memory_order_relaxed);
    if (status == LAMEDUCK_OK) atomic_fetch_add_explicit(&succeeded[line], 1, memory_order_relaxed);
    CHECK(status != LAMEDUCK_PANIC);
    CHECK(strstr(lameduck_strerror(status), "does not know") == NULL);
    if (status == LAMEDUCK_OK) {
        atomic_fetch_add_explicit(&done, 1, memory_order_relaxed);
    } else {
        CHECK(lameduck_last_error()[0] != '\0');
        atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
    }
    return status;
}

static void free_machine(struct dice *dice, lameduck_machine *machine) {
    if (machine) atomic_store(&stale[below(dice, STALE)], machine);
    judge(lameduck_machine_free(machine));
}

static void free_server(struct dice *dice, lameduck_server *server) {
    if (server) atomic_store(&stale[below(dice, STALE)], server);
    judge(lameduck_free(server));
}

static void free_hold(struct dice *dice, lameduck_hold *hold) {
    if (hold) atomic_store(&stale[below(dice, STALE)], hold);
    judge(lameduck_hold_free(hold));
}

static void fill_policy(struct dice *dice, lameduck_policy *policy) {
    static const char *const NONE[] = { NULL };
    static const char *const SOME[] = { "LAMEDUCK_WINDOW=0.01", "LAMEDUCK_GRAC=1", "no equals", "LAMEDUCK_QUIET=x", NULL };
    OK(lameduck_policy_init(policy, sizeof *policy));
    policy->environment = one_in(dice, 8) ? SOME : NONE;
    /* Without a limit there is no watchdog, which would end this process. */
    policy->grace_ns = one_in(dice, 4) ? UINT64_C(3600000000000) : LAMEDUCK_UNLIMITED;
    policy->window_ns = one_in(dice, 8) ? span(dice) : below(dice, 3) * 1000000;
    policy->quiet_ns = one_in(dice, 8) ? span(dice) : 1000000;
    policy->settle_ns = 1000000;
    if (one_in(dice, 10)) policy->reserve_ns = span(dice);
    if (one_in(dice, 10)) policy->margin_ns = span(dice);
    if (one_in(dice, 10)) policy->abort_lead_ns = span(dice);
    if (one_in(dice, 10)) policy->window_idle_ns = span(dice);
    policy->new_requests = (lameduck_new_requests)value(dice, 3);
    policy->readiness = (lameduck_readiness)value(dice, 3);
    if (one_in(dice, 20)) policy->size = below(dice, 512);
    memset(&policy->interactive, (int)below(dice, 4), 1);
    memset(&policy->seeded, (int)below(dice, 256), 1);
    policy->seed = roll(dice);
}

static void operate(struct dice *dice);

/* Callbacks: each is a die of its own, and does one more operation. */
static _Thread_local int depth;

static void called(uint64_t seed) {
    if (depth > 2) return;
    depth++;
    struct dice dice = { seed ^ check_now_ns() };
    operate(&dice);
    depth--;
}

static void on_connection(void *user_data, uint64_t connection, void *context) {
    (void)user_data, (void)context;
    called(connection);
}
static void on_request(void *user_data, uint64_t connection, uint64_t request, void *context) {
    (void)user_data, (void)context;
    called(connection ^ request);
}
static void on_force(void *user_data, uint64_t connection, uint32_t unanswered, void *context) {
    (void)user_data, (void)context;
    called(connection + unanswered);
}
static void on_listener(void *user_data, uint64_t listener, int descriptor) {
    (void)user_data, (void)descriptor;
    called(listener);
}
static void on_nothing(void *user_data) {
    (void)user_data;
    called(1);
}
static void on_job(void *user_data, uint64_t job) {
    (void)user_data;
    called(job);
}
static void on_ready(void *user_data, bool ready) {
    (void)user_data;
    called(ready);
}
static void on_phase(void *user_data, lameduck_phase phase) {
    (void)user_data;
    called(phase);
}
static void on_log(void *user_data, lameduck_level level, const char *line) {
    (void)user_data, (void)level;
    CHECK(strlen(line) < 1000000);
}
static void on_done(void *user_data, int code) {
    (void)user_data;
    CHECK(code == 0 || code == 1);
    called(7);
}
static int on_hook(void *user_data, uint64_t hook) {
    /* So that somebody finds it running, whosever it is. */
    for (int place = 0; place < SERVERS; place++)
        for (int n = 0; n < NUMBERS; n += 2) atomic_store(&numbers[place][HOOK][n], hook);
    called(hook);
    return user_data ? LAMEDUCK_HOOK_LATER : (int)(hook % 2);
}

static void fill_options(struct dice *dice, lameduck_options *options, lameduck_policy *policy, bool held) {
    static const int SOME[] = { SIGUSR1, SIGUSR2 };
    static const int BAD[] = { SIGKILL, -1, 4711 };
    OK(lameduck_options_init(options, sizeof *options));
    fill_policy(dice, policy);
    options->policy = policy;
    options->signals = one_in(dice, 12) ? BAD : SOME;
    options->signal_count = held ? 1 + below(dice, 2) : below(dice, 3);
    options->drive = (lameduck_drive)(held && !one_in(dice, 8) ? 0 : value(dice, 2));
    options->watchdog_descriptor = one_in(dice, 8) ? 9999 : -1;
    options->shared_listeners = one_in(dice, 3);
    if (one_in(dice, 20)) options->size = below(dice, 512);
    if (one_in(dice, 12)) options->report_file = "/nowhere/at/all.json";
    options->callbacks.log = on_log;
    if (one_in(dice, 4)) return;
    options->callbacks = (lameduck_callbacks){ .announce_close = on_connection,
                                               .refuse_streams = on_connection,
                                               .notify_long_lived = on_request,
                                               .close_long_lived = on_request,
                                               .close_idle = on_connection,
                                               .force_connection = on_force,
                                               .close_listener = on_listener,
                                               .abort_requests = on_nothing,
                                               .cancel_job = on_job,
                                               .readiness = on_ready,
                                               .phase = on_phase,
                                               .log = on_log,
                                               .done = on_done };
}

static lameduck_event some_event(struct dice *dice) {
    lameduck_event event = { .type = (lameduck_event_type)(1 + value(dice, 21)) };
    if (one_in(dice, 30)) event.type = (lameduck_event_type)0;
    event.protocol = (lameduck_protocol)value(dice, 5);
    /* Few ids, so that they meet. */
    event.connection = one_in(dice, 6) ? roll(dice) : below(dice, 6);
    event.request = (uint32_t)below(dice, 4);
    event.in_flight = one_in(dice, 20) ? (uint32_t)roll(dice) : (uint32_t)below(dice, 4);
    event.request_kind = (lameduck_request_kind)value(dice, 4);
    event.outcome = (lameduck_outcome)value(dice, 4);
    event.listener = (uint32_t)below(dice, 4);
    event.hook = (uint32_t)below(dice, 8);
    event.job = (uint32_t)below(dice, 8);
    event.stage = (lameduck_stage)value(dice, 3);
    event.order = (int32_t)roll(dice);
    event.job_source = (lameduck_job_source)value(dice, 2);
    event.on_drain = (lameduck_on_drain)value(dice, 2);
    event.job_outcome = (lameduck_job_outcome)value(dice, 3);
    event.cause = (lameduck_cause)value(dice, 7);
    memset(&event.announced, (int)below(dice, 4), 1);
    memset(&event.flushed, (int)below(dice, 256), 1);
    event.ever_accepted = one_in(dice, 2);
    event.grace_ns = span(dice);
    event.timeout_ns = span(dice);
    event.since_ns = span(dice);
    event.text = text(dice);
    return event;
}

enum { OPERATIONS = 54 };

static void operate(struct dice *dice) {
    struct output output, second;
    memset(&output, CANARY, sizeof output);
    memset(&second, CANARY, sizeof second);
    lameduck_status status = LAMEDUCK_OK;
    const uint64_t now = below(dice, 4) == 0 ? span(dice) : check_now_ns();
    const uint64_t place = below(dice, SERVERS);
    lameduck_server *server = any(dice, atomic_load(&servers[place]));
    lameduck_hold *hold = hold_of(dice);
    lameduck_machine *machine = machine_of(dice);
    const uint64_t connection = number(dice, place, CONNECTION);
    static _Thread_local char paper[1 << 16];
    paper[0] = (char)CANARY;
    char *const buffer = one_in(dice, 12) ? NULL : paper;
    const size_t capacity = !buffer ? below(dice, 2) : one_in(dice, 4) ? below(dice, 2000) : sizeof paper;

    switch (below(dice, OPERATIONS)) {
    case 0: case 1: { /* sans-IO */
        lameduck_policy policy;
        fill_policy(dice, &policy);
        if (!judge(status = lameduck_machine_new(one_in(dice, 8) ? NULL : &policy, out(dice, &output.pointer)))) {
            lameduck_machine *new_one;
            memcpy(&new_one, output.bytes, sizeof new_one);
            free_machine(dice, atomic_exchange(&machines[below(dice, MACHINES)], new_one));
        }
        break;
    }
    case 2: if (one_in(dice, 4)) free_machine(dice, atomic_exchange(&machines[below(dice, MACHINES)], NULL)); break;
    case 3: judge(lameduck_machine_free(atomic_load(&stale[below(dice, STALE)]))); break;
    case 4: case 5: case 6: case 7: case 8: case 9: case 10: {
        lameduck_event event = some_event(dice);
        judge(lameduck_handle(machine, one_in(dice, 30) ? NULL : &event, now));
        break;
    }
    case 11: case 12: status = judge(lameduck_poll_effect(machine, out(dice, &output.effect))); break;
    case 13:
        status = judge(lameduck_next_wake_ns(machine, one_in(dice, 20) ? NULL : &output.number, one_in(dice, 4) ? NULL : (void *)&second));
        if (status) is_whole(&second);
        break;
    case 14: case 15: judge(lameduck_tick(machine, now)); break;
    case 16: status = judge(lameduck_machine_phase(machine, out(dice, &output))); break;
    case 17: status = judge(lameduck_machine_deadline_ns(machine, out(dice, &output))); break;
    case 18:
        status = judge(lameduck_machine_report(machine, now, buffer, capacity, out(dice, &second.size)));
        if (status) is_whole(&second);
        break;

    case 19: if (one_in(dice, 4)) { /* hosted */
        lameduck_policy policy;
        lameduck_options options;
        fill_options(dice, &options, &policy, false);
        if (!judge(status = lameduck_start(&options, out(dice, &output.pointer)))) {
            lameduck_server *new_one;
            memcpy(&new_one, output.bytes, sizeof new_one);
            free_server(dice, atomic_exchange(&servers[below(dice, SERVERS)], new_one));
        }
        } break;
    case 20: if (one_in(dice, 24)) free_server(dice, atomic_exchange(&servers[below(dice, SERVERS)], NULL)); break;
    case 21: judge(lameduck_free(atomic_load(&stale[below(dice, STALE)]))); break;
    case 22: status = judge(lameduck_descriptor(server, out(dice, &output.code))); break;
    case 23: judge(lameduck_dispatch(server)); break;
    case 24: if (one_in(dice, 20)) judge(lameduck_shutdown(server, (lameduck_cause)value(dice, 7), text(dice))); break;
    case 25: if (one_in(dice, 4)) judge(lameduck_escalate(server)); break;
    case 26: judge(lameduck_change_grace(server, one_in(dice, 3) ? LAMEDUCK_UNSET : UINT64_C(7200000000000))); break;
    case 27: status = judge(lameduck_wait(server, below(dice, 1000), out(dice, &output.code))); break;
    case 28: status = judge(lameduck_server_phase(server, out(dice, &output))); break;
    case 29: status = judge(lameduck_ready(server, out(dice, &output.flag))); break;
    case 30: status = judge(lameduck_aborting(server, out(dice, &output.flag))); break;
    case 31:
        status = judge(one_in(dice, 2) ? lameduck_report(server, buffer, capacity, out(dice, &second.size))
                                       : lameduck_blockers(server, buffer, capacity, out(dice, &second.size)));
        if (status) is_whole(&second);
        break;
    case 32: status = judge(lameduck_server_metrics(server, out(dice, &output.metrics))); break;
    case 33: case 34: {
        int descriptor = one_in(dice, 2) ? -1 : pair[below(dice, 2)];
        void *where = out(dice, &output.number);
        status = judge(lameduck_connection_open(server, descriptor, (lameduck_protocol)value(dice, 5), &numbers, where));
        if (!status) keep(dice, place, CONNECTION, output.number);
        break;
    }
    case 35: judge(lameduck_connection_close(server, connection)); break;
    case 36: judge(lameduck_connection_describe(server, connection, text(dice))); break;
    case 37: judge(lameduck_connection_upgrade(server, connection, (lameduck_protocol)value(dice, 5))); break;
    case 38: judge(lameduck_connection_busy(server, connection)); break;
    case 39: case 40: case 41: {
        void *where = out(dice, &output.number);
        status = judge(lameduck_request_begin(server, connection, where));
        if (!status) keep(dice, place, REQUEST, output.number);
        break;
    }
    case 42: case 43: judge(lameduck_request_end(server, connection, one_in(dice, 2) ? 0 : number(dice, place, REQUEST), (lameduck_outcome)value(dice, 4))); break;
    case 44: { /* without a call */
        uint64_t *word = NULL;
        if (!judge(lameduck_connection_word(server, connection, one_in(dice, 10) ? NULL : &word))) {
            VALGRIND_HG_DISABLE_CHECKING(word, sizeof *word); /* atomic, see below */
            for (int n = 0; n < 4; n++) {
                if (!judge(lameduck_request_begin_inline(server, connection, word, &output.number)) && n % 2)
                    judge(lameduck_request_end_inline(server, connection, word, output.number, (lameduck_outcome)value(dice, 4)));
            }
        }
        break;
    }
    case 45: {
        uint64_t request = one_in(dice, 2) ? 0 : number(dice, place, REQUEST), before = request;
        uint64_t *where = one_in(dice, 20) ? NULL : &request;
        if (judge(lameduck_request_describe(server, connection, where, (lameduck_request_kind)value(dice, 4), text(dice))))
            CHECK(request == before);
        else
            keep(dice, place, REQUEST, request);
        break;
    }
    case 46: status = judge(lameduck_response_head(server, connection, one_in(dice, 2) ? 0 : number(dice, place, REQUEST), one_in(dice, 8), out(dice, &output.flag))); break;
    case 47: {
        int descriptor = one_in(dice, 4) ? (int)below(dice, 64) : listening;
        listen(listening, 8); /* anew, should it have been shut down */
        status = judge(lameduck_listener_add(server, descriptor, one_in(dice, 20) ? NULL : &output.number));
        if (!status) keep(dice, place, LISTENER, output.number);
        break;
    }
    case 48:
        judge(one_in(dice, 2) ? lameduck_listener_closed(server, number(dice, place, LISTENER))
                              : lameduck_listener_failed(server, number(dice, place, LISTENER), text(dice)));
        break;
    case 49:
        status = judge(lameduck_job_begin(server, text(dice), (lameduck_job_source)value(dice, 2), (lameduck_on_drain)value(dice, 2),
                                          one_in(dice, 20) ? NULL : &output.number));
        if (!status) keep(dice, place, JOB, output.number);
        break;
    case 50:
        if (one_in(dice, 2)) judge(lameduck_job_end(server, number(dice, place, JOB), (lameduck_job_outcome)value(dice, 3)));
        else status = judge(lameduck_job_cancelled(server, number(dice, place, JOB), out(dice, &output.flag)));
        break;
    case 51:
        if (one_in(dice, 4)) {
            status = judge(lameduck_hook_add(server, (lameduck_stage)value(dice, 3), text(dice), (int32_t)below(dice, 3), span(dice),
                                             one_in(dice, 12) ? NULL : on_hook, one_in(dice, 3) ? &numbers : NULL,
                                             one_in(dice, 3) ? NULL : &output.number));
            if (!status) { /* its handle was not asked for, perhaps */
                if (output.number < UINT32_MAX) keep(dice, place, HOOK, output.number);
                return;
            }
        } else {
            judge(lameduck_hook_finished(server, number(dice, place, HOOK), text(dice)));
        }
        break;

    case 52: /* held */
        switch (below(dice, 12)) {
        case 0:
            if (one_in(dice, 2)) {
                lameduck_policy policy;
                lameduck_options options;
                fill_options(dice, &options, &policy, true);
                if (!judge(status = lameduck_hold_start(&options, (lameduck_fencing)value(dice, 4), out(dice, &output.pointer)))) {
                    lameduck_hold *new_one;
                    memcpy(&new_one, output.bytes, sizeof new_one);
                    free_hold(dice, atomic_exchange(&holds[below(dice, HOLDS)], new_one));
                }
            }
            break;
        case 1: if (one_in(dice, 6)) free_hold(dice, atomic_exchange(&holds[below(dice, HOLDS)], NULL)); break;
        case 2: judge(lameduck_hold_free(atomic_load(&stale[below(dice, STALE)]))); break;
        case 3: if (one_in(dice, 4)) judge(lameduck_hold_shutdown(hold, (lameduck_cause)value(dice, 7))); break;
        case 4: judge(lameduck_hold_accepted(hold)); break;
        case 5: status = judge(lameduck_hold_announcing(hold, roll(dice), out(dice, &output.flag))); break;
        case 6: if (one_in(dice, 4)) judge(lameduck_hold_server_stopped(hold)); break;
        case 7:
            judge(lameduck_hold_hook_add(hold, (lameduck_stage)value(dice, 3), text(dice), 0, span(dice),
                                         one_in(dice, 12) ? NULL : on_hook, NULL));
            break;
        case 8: status = judge(lameduck_hold_phase(hold, out(dice, &output))); break;
        case 9: status = judge(lameduck_hold_handed_over(hold, out(dice, &output.flag))); break;
        case 10:
            status = judge(lameduck_hold_report(hold, buffer, capacity, out(dice, &second.size)));
            if (status) is_whole(&second);
            break;
        case 11: if (one_in(dice, 16)) kill(getpid(), one_in(dice, 2) ? SIGUSR1 : SIGUSR2); break;
        }
        break;
    case 53: { /* and the rest */
        status = judge(lameduck_policy_init(out(dice, &output.policy), one_in(dice, 3) ? below(dice, 512) : sizeof(lameduck_policy)));
        if (status) is_whole(&output);
        memset(&output, CANARY, sizeof output);
        status = judge(lameduck_options_init(out(dice, &output.options), one_in(dice, 3) ? below(dice, 512) : sizeof(lameduck_options)));
        if (status) is_whole(&output);
        memset(&output, CANARY, sizeof output);
        lameduck_policy policy;
        fill_policy(dice, &policy);
        status = judge(lameduck_policy_describe(&policy, buffer, capacity, out(dice, &second.size)));
        if (status) is_whole(&second);
        judge(lameduck_objects(one_in(dice, 8) ? NULL : &second.size));
        CHECK(lameduck_version()[0] && lameduck_version_number() == LAMEDUCK_VERSION_NUMBER);
        CHECK(lameduck_strerror((int32_t)roll(dice))[0]);
        break;
    }
    }
    if (status) is_whole(&output);
}

struct task {
    uint64_t seed;
    long operations;
};

static void *work(void *argument) {
    struct task *task = argument;
    struct dice dice = { task->seed };
    for (long n = 0; n < task->operations; n++) operate(&dice);
    return NULL;
}

static void nothing(int signal) {
    (void)signal;
}

int main(int count, char **arguments) {
    CHECK(count == 4);
    const uint64_t seed = strtoull(arguments[1], NULL, 10);
    const long operations = atol(arguments[2]);
    const int threads = atoi(arguments[3]);
    CHECK(threads > 0 && threads <= MOST_THREADS);
    /* Helgrind takes an atomic load and an atomic change of one word for a race. */
    VALGRIND_HG_DISABLE_CHECKING(machines, sizeof machines);
    VALGRIND_HG_DISABLE_CHECKING(servers, sizeof servers);
    VALGRIND_HG_DISABLE_CHECKING(holds, sizeof holds);
    VALGRIND_HG_DISABLE_CHECKING(stale, sizeof stale);
    VALGRIND_HG_DISABLE_CHECKING(numbers, sizeof numbers);
    VALGRIND_HG_DISABLE_CHECKING(tried, sizeof tried);
    VALGRIND_HG_DISABLE_CHECKING(succeeded, sizeof succeeded);
    VALGRIND_HG_DISABLE_CHECKING(&refused, sizeof refused);
    VALGRIND_HG_DISABLE_CHECKING(&done, sizeof done);
    signal(SIGUSR1, nothing);
    signal(SIGUSR2, nothing);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    listening = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listening, (struct sockaddr *)&address, sizeof address) == 0 && listen(listening, 8) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);

    pthread_t handles[MOST_THREADS];
    struct task tasks[MOST_THREADS];
    for (int n = 0; n < threads; n++) {
        tasks[n] = (struct task){ seed * 1000 + (uint64_t)n, operations };
        CHECK(pthread_create(&handles[n], NULL, work, &tasks[n]) == 0);
    }
    for (int n = 0; n < threads; n++) pthread_join(handles[n], NULL);

    /* Hooks on threads of their own go on fuzzing for a moment, and may begin one more. */
    struct dice dice = { seed };
    size_t left = 1;
    for (int rest = 0; rest < 10000 && left; rest++) {
        for (int n = 0; n < SERVERS; n++) free_server(&dice, atomic_exchange(&servers[n], NULL));
        for (int n = 0; n < HOLDS; n++) free_hold(&dice, atomic_exchange(&holds[n], NULL));
        for (int n = 0; n < MACHINES; n++) free_machine(&dice, atomic_exchange(&machines[n], NULL));
        OK(lameduck_objects(&left));
        if (left) usleep(1000);
    }
    CHECK(left == 0);
    for (int line = 0; line < LINES; line++) {
        if (atomic_load(&tried[line]) > 5000 && atomic_load(&succeeded[line]) == 0) {
            fprintf(stderr, "fuzz.c:%d: refused %lu times out of as many: this is no test of it\n", line, atomic_load(&tried[line]));
            return 1;
        }
        if (getenv("FUZZ_LINES") && atomic_load(&tried[line]))
            printf("%d: %lu of %lu\n", line, atomic_load(&succeeded[line]), atomic_load(&tried[line]));
    }
    printf("fuzz: seed %llu: %lu done, %lu refused, ok\n", (unsigned long long)seed, atomic_load(&done), atomic_load(&refused));
    return 0;
}
