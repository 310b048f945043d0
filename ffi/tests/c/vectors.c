/* Replays the files of tests/vectors through the public functions and types of lameduck.h: handles, enums, 64-bit times and refusals are the
 * same here as in the core. Arguments: the files. */
#include "check.h"

#include <inttypes.h>
#include <jansson.h>

struct name {
    const char *name;
    int64_t value;
};

static const struct name PROTOCOLS[] = { { "http1", LAMEDUCK_PROTOCOL_HTTP1 },
                                         { "http2", LAMEDUCK_PROTOCOL_HTTP2 },
                                         { "websocket", LAMEDUCK_PROTOCOL_WEBSOCKET },
                                         { "tunnel", LAMEDUCK_PROTOCOL_TUNNEL },
                                         { "other", LAMEDUCK_PROTOCOL_OTHER },
                                         { 0 } };
static const struct name KINDS[] = { { "ordinary", LAMEDUCK_REQUEST_KIND_ORDINARY },
                                     { "stream", LAMEDUCK_REQUEST_KIND_STREAM },
                                     { "long_poll", LAMEDUCK_REQUEST_KIND_LONG_POLL },
                                     { "upload", LAMEDUCK_REQUEST_KIND_UPLOAD },
                                     { 0 } };
static const struct name OUTCOMES[] = { { "completed", LAMEDUCK_OUTCOME_COMPLETED },
                                        { "client_gone", LAMEDUCK_OUTCOME_CLIENT_GONE },
                                        { "refused", LAMEDUCK_OUTCOME_REFUSED },
                                        { "ended", LAMEDUCK_OUTCOME_ENDED },
                                        { 0 } };
static const struct name JOB_OUTCOMES[] = { { "completed", LAMEDUCK_JOB_OUTCOME_COMPLETED },
                                            { "failed", LAMEDUCK_JOB_OUTCOME_FAILED },
                                            { "aborted", LAMEDUCK_JOB_OUTCOME_ABORTED },
                                            { 0 } };
static const struct name SOURCES[] = { { "background", LAMEDUCK_JOB_SOURCE_BACKGROUND },
                                       { "request", LAMEDUCK_JOB_SOURCE_REQUEST },
                                       { 0 } };
static const struct name ON_DRAINS[] = { { "wait", LAMEDUCK_ON_DRAIN_WAIT }, { "cancel", LAMEDUCK_ON_DRAIN_CANCEL }, { 0 } };
static const struct name STAGES[] = { { "drain", LAMEDUCK_STAGE_DRAIN },
                                      { "close", LAMEDUCK_STAGE_CLOSE },
                                      { "flush", LAMEDUCK_STAGE_FLUSH },
                                      { 0 } };
static const struct name CAUSES[] = { { "programmatic", LAMEDUCK_CAUSE_PROGRAMMATIC },
                                      { "peer_message", LAMEDUCK_CAUSE_PEER_MESSAGE },
                                      { "parent_gone", LAMEDUCK_CAUSE_PARENT_GONE },
                                      { "terminate", LAMEDUCK_CAUSE_TERMINATE },
                                      { "interrupt", LAMEDUCK_CAUSE_INTERRUPT },
                                      { "uncaught_exception", LAMEDUCK_CAUSE_UNCAUGHT_EXCEPTION },
                                      { "unhandled_rejection", LAMEDUCK_CAUSE_UNHANDLED_REJECTION },
                                      { 0 } };
static const struct name PHASES[] = { { "serving", LAMEDUCK_PHASE_SERVING },
                                      { "draining", LAMEDUCK_PHASE_DRAINING },
                                      { "closing", LAMEDUCK_PHASE_CLOSING },
                                      { "done", LAMEDUCK_PHASE_DONE },
                                      { 0 } };
static const struct name WAKES[] = { { "progress", LAMEDUCK_WAKE_PROGRESS },
                                     { "connection", LAMEDUCK_WAKE_CONNECTION },
                                     { "hook_timeout", LAMEDUCK_WAKE_HOOK_TIMEOUT },
                                     { "window_idle", LAMEDUCK_WAKE_WINDOW_IDLE },
                                     { "window_end", LAMEDUCK_WAKE_WINDOW_END },
                                     { "settle_end", LAMEDUCK_WAKE_SETTLE_END },
                                     { "abort_lead", LAMEDUCK_WAKE_ABORT_LEAD },
                                     { "drain_deadline", LAMEDUCK_WAKE_DRAIN_DEADLINE },
                                     { "close_stage_end", LAMEDUCK_WAKE_CLOSE_STAGE_END },
                                     { "flush_stage_end", LAMEDUCK_WAKE_FLUSH_STAGE_END },
                                     { 0 } };
static const struct name REFUSALS[] = { { "already_known", LAMEDUCK_ALREADY_KNOWN },
                                        { "allowance_spent", LAMEDUCK_ALLOWANCE_SPENT },
                                        { "closing", LAMEDUCK_CLOSING },
                                        { "done", LAMEDUCK_DONE },
                                        { "draining", LAMEDUCK_DRAINING },
                                        { "forced", LAMEDUCK_FORCED },
                                        { "headers_already_sent", LAMEDUCK_HEADERS_ALREADY_SENT },
                                        { "not_idle", LAMEDUCK_NOT_IDLE },
                                        { "not_in_flight", LAMEDUCK_NOT_IN_FLIGHT },
                                        { "not_running", LAMEDUCK_NOT_RUNNING },
                                        { "serving", LAMEDUCK_SERVING },
                                        { "too_many", LAMEDUCK_TOO_MANY },
                                        { "unknown_connection", LAMEDUCK_UNKNOWN_CONNECTION },
                                        { "unknown_hook", LAMEDUCK_UNKNOWN_HOOK },
                                        { "unknown_job", LAMEDUCK_UNKNOWN_JOB },
                                        { "unknown_listener", LAMEDUCK_UNKNOWN_LISTENER },
                                        { "unknown_request", LAMEDUCK_UNKNOWN_REQUEST },
                                        { 0 } };
static const struct name EVENTS[] = { { "connection_adopted", LAMEDUCK_EVENT_TYPE_CONNECTION_ADOPTED },
                                      { "connection_busy", LAMEDUCK_EVENT_TYPE_CONNECTION_BUSY },
                                      { "connection_closed", LAMEDUCK_EVENT_TYPE_CONNECTION_CLOSED },
                                      { "connection_described", LAMEDUCK_EVENT_TYPE_CONNECTION_DESCRIBED },
                                      { "connection_opened", LAMEDUCK_EVENT_TYPE_CONNECTION_OPENED },
                                      { "connection_upgraded", LAMEDUCK_EVENT_TYPE_CONNECTION_UPGRADED },
                                      { "deadline_changed", LAMEDUCK_EVENT_TYPE_DEADLINE_CHANGED },
                                      { "escalate", LAMEDUCK_EVENT_TYPE_ESCALATE },
                                      { "hook_finished", LAMEDUCK_EVENT_TYPE_HOOK_FINISHED },
                                      { "hook_registered", LAMEDUCK_EVENT_TYPE_HOOK_REGISTERED },
                                      { "job_finished", LAMEDUCK_EVENT_TYPE_JOB_FINISHED },
                                      { "job_started", LAMEDUCK_EVENT_TYPE_JOB_STARTED },
                                      { "listener_closed", LAMEDUCK_EVENT_TYPE_LISTENER_CLOSED },
                                      { "listener_failed", LAMEDUCK_EVENT_TYPE_LISTENER_FAILED },
                                      { "listener_opened", LAMEDUCK_EVENT_TYPE_LISTENER_OPENED },
                                      { "request_described", LAMEDUCK_EVENT_TYPE_REQUEST_DESCRIBED },
                                      { "request_finished", LAMEDUCK_EVENT_TYPE_REQUEST_FINISHED },
                                      { "request_flushed", LAMEDUCK_EVENT_TYPE_REQUEST_FLUSHED },
                                      { "request_headers_sent", LAMEDUCK_EVENT_TYPE_REQUEST_HEADERS_SENT },
                                      { "request_started", LAMEDUCK_EVENT_TYPE_REQUEST_STARTED },
                                      { "shutdown", LAMEDUCK_EVENT_TYPE_SHUTDOWN },
                                      { 0 } };

static int64_t value_of(const struct name *names, const char *name) {
    for (; names->name; names++)
        if (strcmp(names->name, name) == 0) return names->value;
    fprintf(stderr, "nothing is called '%s' here\n", name);
    abort();
}

static const char *name_of(const struct name *names, int64_t value) {
    for (; names->name; names++)
        if (names->value == value) return names->name;
    fprintf(stderr, "nothing has the number %" PRId64 " here\n", value);
    abort();
}

static int64_t whole(json_t *value) {
    CHECK(json_is_integer(value));
    return json_integer_value(value);
}

static const char *word(json_t *value) {
    CHECK(json_is_string(value));
    return json_string_value(value);
}

/* Times since the origin, in microseconds that may be negative. */
static uint64_t moment(uint64_t origin, json_t *us) {
    return origin + (uint64_t)whole(us) * 1000;
}

static lameduck_event event_of(json_t *given, uint64_t origin) {
    lameduck_event event = { .type = (lameduck_event_type)value_of(EVENTS, word(json_object_get(given, "type"))),
                             .timeout_ns = LAMEDUCK_UNSET };
    const char *key;
    json_t *value;
    json_object_foreach(given, key, value) {
        if (strcmp(key, "type") == 0) continue;
        else if (strcmp(key, "connection") == 0) event.connection = (uint64_t)whole(value);
        else if (strcmp(key, "request") == 0) event.request = (uint32_t)whole(value);
        else if (strcmp(key, "listener") == 0) event.listener = (uint32_t)whole(value);
        else if (strcmp(key, "hook") == 0) event.hook = (uint32_t)whole(value);
        else if (strcmp(key, "job") == 0) event.job = (uint32_t)whole(value);
        else if (strcmp(key, "in_flight") == 0) event.in_flight = (uint32_t)whole(value);
        else if (strcmp(key, "order") == 0) event.order = (int32_t)whole(value);
        else if (strcmp(key, "protocol") == 0) event.protocol = (lameduck_protocol)value_of(PROTOCOLS, word(value));
        else if (strcmp(key, "kind") == 0) event.request_kind = (lameduck_request_kind)value_of(KINDS, word(value));
        else if (strcmp(key, "stage") == 0) event.stage = (lameduck_stage)value_of(STAGES, word(value));
        else if (strcmp(key, "source") == 0) event.job_source = (lameduck_job_source)value_of(SOURCES, word(value));
        else if (strcmp(key, "on_drain") == 0) event.on_drain = (lameduck_on_drain)value_of(ON_DRAINS, word(value));
        else if (strcmp(key, "cause") == 0) event.cause = (lameduck_cause)value_of(CAUSES, word(value));
        else if (strcmp(key, "outcome") == 0) {
            if (event.type == LAMEDUCK_EVENT_TYPE_JOB_FINISHED)
                event.job_outcome = (lameduck_job_outcome)value_of(JOB_OUTCOMES, word(value));
            else
                event.outcome = (lameduck_outcome)value_of(OUTCOMES, word(value));
        } else if (strcmp(key, "announced") == 0) event.announced = json_is_true(value);
        else if (strcmp(key, "flushed") == 0) event.flushed = json_is_true(value);
        else if (strcmp(key, "ever_accepted") == 0) event.ever_accepted = json_is_true(value);
        else if (strcmp(key, "grace_us") == 0) event.grace_ns = (uint64_t)whole(value) * 1000;
        else if (strcmp(key, "timeout_us") == 0) event.timeout_ns = json_is_null(value) ? LAMEDUCK_UNSET : (uint64_t)whole(value) * 1000;
        else if (strcmp(key, "since_us") == 0) event.since_ns = moment(origin, value);
        else if (strcmp(key, "peer") == 0 || strcmp(key, "name") == 0 || strcmp(key, "label") == 0 || strcmp(key, "error") == 0)
            event.text = json_is_null(value) ? NULL : word(value);
        else {
            fprintf(stderr, "no event has a field '%s'\n", key);
            abort();
        }
    }
    return event;
}

/* What the file says of an effect. */
static json_t *json_of(const lameduck_effect *effect) {
    json_t *object = json_object();
#define SET(key, json) json_object_set_new(object, key, json)
#define CONNECTION() SET("connection", json_integer((json_int_t)effect->connection))
#define REQUEST() SET("request", effect->has_request ? json_integer(effect->request) : json_null())
#define NAMED(name) SET("type", json_string(name))
    switch (effect->type) {
    case LAMEDUCK_EFFECT_TYPE_ABANDON_HOOK: NAMED("abandon_hook"), SET("hook", json_integer(effect->hook)); break;
    case LAMEDUCK_EFFECT_TYPE_ABORT_REQUESTS: NAMED("abort_requests"); break;
    case LAMEDUCK_EFFECT_TYPE_ANNOUNCE_CLOSE: NAMED("announce_close"), CONNECTION(); break;
    case LAMEDUCK_EFFECT_TYPE_CANCEL_JOB: NAMED("cancel_job"), SET("job", json_integer(effect->job)); break;
    case LAMEDUCK_EFFECT_TYPE_CLOSE_IDLE: NAMED("close_idle"), CONNECTION(), SET("look", json_boolean(effect->look)); break;
    case LAMEDUCK_EFFECT_TYPE_CLOSE_LISTENER: NAMED("close_listener"), SET("listener", json_integer(effect->listener)); break;
    case LAMEDUCK_EFFECT_TYPE_CLOSE_LONG_LIVED: NAMED("close_long_lived"), CONNECTION(), REQUEST(); break;
    case LAMEDUCK_EFFECT_TYPE_EXIT: NAMED("exit"), SET("code", json_integer(effect->code)); break;
    case LAMEDUCK_EFFECT_TYPE_FENCE_LISTENER: NAMED("fence_listener"), SET("listener", json_integer(effect->listener)); break;
    case LAMEDUCK_EFFECT_TYPE_FORCE_CONNECTION:
        NAMED("force_connection"), CONNECTION(), SET("unanswered", json_integer(effect->unanswered));
        break;
    case LAMEDUCK_EFFECT_TYPE_NOTIFY_LONG_LIVED: NAMED("notify_long_lived"), CONNECTION(), REQUEST(); break;
    case LAMEDUCK_EFFECT_TYPE_PHASE_CHANGED:
        NAMED("phase_changed"), SET("phase", json_string(name_of(PHASES, effect->phase)));
        break;
    case LAMEDUCK_EFFECT_TYPE_REFUSE_REQUEST: NAMED("refuse_request"), CONNECTION(), REQUEST(); break;
    case LAMEDUCK_EFFECT_TYPE_REFUSE_STREAMS: NAMED("refuse_streams"), CONNECTION(); break;
    case LAMEDUCK_EFFECT_TYPE_RUN_HOOK: NAMED("run_hook"), SET("hook", json_integer(effect->hook)); break;
    case LAMEDUCK_EFFECT_TYPE_SET_READINESS: NAMED("set_readiness"), SET("ready", json_boolean(effect->ready)); break;
    case LAMEDUCK_EFFECT_TYPE_NONE:
    default: CHECK(!"an effect that the header knows");
    }
    return object;
}

static json_t *effects_of(lameduck_machine *machine) {
    json_t *effects = json_array();
    for (;;) {
        lameduck_effect effect;
        OK(lameduck_poll_effect(machine, &effect));
        if (effect.type == LAMEDUCK_EFFECT_TYPE_NONE) return effects;
        json_array_append_new(effects, json_of(&effect));
    }
}

static json_t *wake_of(lameduck_machine *machine, uint64_t origin) {
    uint64_t at;
    lameduck_wake why;
    OK(lameduck_next_wake_ns(machine, &at, &why));
    if (why == LAMEDUCK_WAKE_NONE) {
        CHECK(at == LAMEDUCK_UNSET);
        return json_null();
    }
    CHECK((int64_t)(at - origin) % 1000 == 0);
    return json_pack("{s:I, s:s}", "at_us", (json_int_t)((int64_t)(at - origin) / 1000), "why", name_of(WAKES, why));
}

static void span(uint64_t *field, json_t *ms) {
    if (ms) *field = (uint64_t)whole(ms) * 1000000;
}

/* The machine of a file, or NULL with its contradiction checked. */
static lameduck_machine *machine_of(json_t *vector) {
    json_t *given = json_object_get(vector, "policy"), *value;
    lameduck_policy policy;
    OK(lameduck_policy_init(&policy, sizeof policy));
    if ((value = json_object_get(given, "grace_ms"))) {
        if (json_is_string(value)) {
            CHECK(strcmp(word(value), "unlimited") == 0);
            policy.grace_ns = LAMEDUCK_UNLIMITED;
        } else {
            span(&policy.grace_ns, value);
        }
    }
    span(&policy.margin_ns, json_object_get(given, "margin_ms"));
    span(&policy.reserve_ns, json_object_get(given, "reserve_ms"));
    span(&policy.window_ns, json_object_get(given, "window_ms"));
    span(&policy.settle_ns, json_object_get(given, "settle_ms"));
    span(&policy.quiet_ns, json_object_get(given, "quiet_ms"));
    span(&policy.abort_lead_ns, json_object_get(given, "abort_lead_ms"));
    span(&policy.window_idle_ns, json_object_get(given, "window_idle_ms"));
    if ((value = json_object_get(given, "new_requests")))
        policy.new_requests = strcmp(word(value), "refuse") == 0 ? LAMEDUCK_NEW_REQUESTS_REFUSE : LAMEDUCK_NEW_REQUESTS_SERVE;
    if ((value = json_object_get(given, "readiness")))
        policy.readiness = strcmp(word(value), "keep") == 0 ? LAMEDUCK_READINESS_KEEP : LAMEDUCK_READINESS_FAIL;
    if ((value = json_object_get(given, "seed"))) {
        policy.seeded = true;
        policy.seed = strtoull(word(value), NULL, 10);
    }
    policy.interactive = json_is_true(json_object_get(given, "interactive"));
    policy.development = json_is_true(json_object_get(given, "development"));

    const char *variables[16] = { NULL };
    char text[16][128];
    size_t count = 0;
    const char *name;
    json_object_foreach(json_object_get(vector, "environment"), name, value) {
        CHECK(count < 15);
        snprintf(text[count], sizeof text[count], "%s=%s", name, word(value));
        variables[count] = text[count];
        count++;
    }
    policy.environment = variables;

    lameduck_machine *machine = NULL;
    json_t *contradiction = json_object_get(vector, "contradiction");
    if (contradiction) {
        IS(LAMEDUCK_CONTRADICTION, lameduck_machine_new(&policy, &machine));
        CHECK(strcmp(lameduck_last_error(), word(contradiction)) == 0);
        CHECK(machine == NULL);
        return NULL;
    }
    OK(lameduck_machine_new(&policy, &machine));
    return machine;
}

static void same(const char *file, size_t step, const char *what, json_t *wanted, json_t *got) {
    if (!json_equal(wanted, got)) {
        fprintf(stderr, "%s: steps[%zu]: %s\n  expected ", file, step, what);
        json_dumpf(wanted, stderr, JSON_ENCODE_ANY | JSON_SORT_KEYS);
        fputs("\n  played   ", stderr);
        json_dumpf(got, stderr, JSON_ENCODE_ANY | JSON_SORT_KEYS);
        fputc('\n', stderr);
        exit(1);
    }
    json_decref(got);
}

static void replay(const char *file) {
    json_error_t error;
    json_t *vector = json_load_file(file, 0, &error);
    if (!vector) {
        fprintf(stderr, "%s: %s\n", file, error.text);
        exit(1);
    }
    lameduck_machine *machine = machine_of(vector);
    if (machine) {
        uint64_t origin = strtoull(word(json_object_get(vector, "origin_ns")), NULL, 10), now = origin;
        size_t index;
        json_t *step;
        json_array_foreach(json_object_get(vector, "steps"), index, step) {
            now = moment(origin, json_object_get(step, "at_us"));
            json_t *given = json_object_get(step, "event"), *refused = json_object_get(step, "refused");
            if (given) {
                lameduck_event event = event_of(given, origin);
                lameduck_status status = lameduck_handle(machine, &event, now);
                lameduck_status wanted = refused ? (lameduck_status)value_of(REFUSALS, word(refused)) : LAMEDUCK_OK;
                if (status != wanted) {
                    fprintf(stderr, "%s: steps[%zu]: %d (%s), not %d\n", file, index, (int)status, lameduck_strerror(status),
                            (int)wanted);
                    exit(1);
                }
            } else {
                CHECK(json_is_true(json_object_get(step, "tick")));
                OK(lameduck_tick(machine, now));
            }
            same(file, index, "effects", json_object_get(step, "effects"), effects_of(machine));
            same(file, index, "wake", json_object_get(step, "wake"), wake_of(machine, origin));
            lameduck_phase phase;
            OK(lameduck_machine_phase(machine, &phase));
            same(file, index, "phase", json_object_get(step, "phase"), json_string(name_of(PHASES, phase)));
        }
        size_t length, again;
        OK(lameduck_machine_report(machine, now, NULL, 0, &length));
        char *text = malloc(length + 1);
        again = 4711;
        IS(LAMEDUCK_BUFFER_TOO_SMALL, lameduck_machine_report(machine, now, text, length, &again));
        CHECK(again == 4711);
        OK(lameduck_machine_report(machine, now, text, length + 1, &again));
        CHECK(again == length && strlen(text) == length);
        json_t *report = json_loads(text, 0, &error);
        CHECK(report);
        same(file, index, "report", json_object_get(vector, "report"), report);
        free(text);
        OK(lameduck_machine_free(machine));
    }
    json_decref(vector);
}

int main(int count, char **files) {
    /* The files themselves say that there are a hundred at least. */
    CHECK(count > 100);
    for (int file = 1; file < count; file++) replay(files[file]);
    printf("vectors: %d files, ok\n", count - 1);
    return 0;
}
