/* lameduck_request_begin and lameduck_request_end without a call, for servers to which some nanoseconds matter. MIT or Apache-2.0.
 *
 * Get the word of a connection by lameduck_connection_word when it opens, and keep it as long as the connection. It has the
 * connection's generation in its upper half, which is the upper half of its handle too, and its state in the lower:
 *
 *   31     handed     the shutdown has begun: what happens from now on is said to the library, not counted
 *   30     fault      the count was once wrong
 *   20     open       a connection is in it
 *   19     announced  the peer was told that the connection closes
 *   16-18  protocol   a lameduck_protocol
 *   0-15   in flight  requests begun and not ended
 *
 * These functions count, by one compare-and-swap, where counting is all there is to do, and otherwise call the library. So they may
 * be mixed with its functions, and be called after the connection was closed. */
#ifndef LAMEDUCK_INLINE_H
#define LAMEDUCK_INLINE_H

#include "lameduck.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LAMEDUCK_WORD_IN_FLIGHT UINT64_C(0xFFFF)
#define LAMEDUCK_WORD_OPEN (UINT64_C(1) << 20)
#define LAMEDUCK_WORD_HANDED (UINT64_C(1) << 31)

/** Whether `value` is the word of this connection, open, before the shutdown. */
static inline bool lameduck_word_counts(uint64_t value, uint64_t connection) {
    return ((value ^ connection) >> 32) == 0 && (value & (LAMEDUCK_WORD_OPEN | LAMEDUCK_WORD_HANDED)) == LAMEDUCK_WORD_OPEN;
}

/** lameduck_request_begin. `word` may be NULL. */
static inline lameduck_status lameduck_request_begin_inline(lameduck_server *server, uint64_t connection, uint64_t *word,
                                                            uint64_t *request) {
#if defined(__GNUC__)
    if (word && request) {
        uint64_t value = __atomic_load_n(word, __ATOMIC_RELAXED);
        while (lameduck_word_counts(value, connection) && (value & LAMEDUCK_WORD_IN_FLIGHT) != LAMEDUCK_WORD_IN_FLIGHT) {
            /* Release: what was done before is visible to the shutdown that finds the request counted. */
            if (__atomic_compare_exchange_n(word, &value, value + 1, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
                *request = LAMEDUCK_REQUEST_COUNTED;
                return LAMEDUCK_OK;
            }
        }
    }
#else
    (void)word;
#endif
    return lameduck_request_begin(server, connection, request);
}

/** lameduck_request_end. `word` may be NULL. */
static inline lameduck_status lameduck_request_end_inline(lameduck_server *server, uint64_t connection, uint64_t *word,
                                                          uint64_t request, lameduck_outcome outcome) {
#if defined(__GNUC__)
    if (word && request == LAMEDUCK_REQUEST_COUNTED && outcome <= LAMEDUCK_OUTCOME_ENDED) {
        uint64_t value = __atomic_load_n(word, __ATOMIC_RELAXED);
        while (lameduck_word_counts(value, connection) && (value & LAMEDUCK_WORD_IN_FLIGHT) != 0) {
            if (__atomic_compare_exchange_n(word, &value, value - 1, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) return LAMEDUCK_OK;
        }
    }
#else
    (void)word;
#endif
    return lameduck_request_end(server, connection, request, outcome);
}

#ifdef __cplusplus
}
#endif

#endif
