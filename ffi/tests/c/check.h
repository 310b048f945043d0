/* What the test programs share: checks that say what was expected, and a clock. */
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

#endif
