/* What the test programs share: checks that say what was expected, a clock, and a server to ask. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lameduck.h>

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: not true: %s (last error: %s)\n", __FILE__, __LINE__, #condition, lameduck_last_error());    \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

/* A call that must return this status. */
#define IS(expected, call)                                                                                                       \
    do {                                                                                                                         \
        lameduck_status is_status = (call);                                                                                      \
        if (is_status != (expected)) {                                                                                           \
            fprintf(stderr, "%s:%d: %s returned %d (%s), not %s; last error: %s\n", __FILE__, __LINE__, #call, (int)is_status,   \
                    lameduck_strerror(is_status), #expected, lameduck_last_error());                                             \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

#define OK(call) IS(LAMEDUCK_OK, call)

/* The sentence of the last call that was refused. */
#define SAYS(sentence)                                                                                                           \
    do {                                                                                                                         \
        if (strcmp(lameduck_last_error(), sentence) != 0) {                                                                      \
            fprintf(stderr, "%s:%d: '%s' is not '%s'\n", __FILE__, __LINE__, lameduck_last_error(), sentence);                   \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

static inline uint64_t check_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A policy that nobody set, the environment neither. */
static inline lameduck_policy unset(void) {
    static const char *const NONE[] = { NULL };
    lameduck_policy policy;
    OK(lameduck_policy_init(&policy, sizeof policy));
    policy.environment = NONE;
    return policy;
}

/* A server with that policy, which holds no signals. */
static inline lameduck_server *serving(void) {
    static const int NO_SIGNALS[1];
    lameduck_server *server;
    lameduck_options options;
    lameduck_policy policy = unset();
    OK(lameduck_options_init(&options, sizeof options));
    options.policy = &policy;
    options.signals = NO_SIGNALS;
    OK(lameduck_start(&options, &server));
    return server;
}

#endif
