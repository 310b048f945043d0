/* What the begin and the end of a request cost: ns per pair on each of 1, 2 and 4 threads, each on a connection of its own.
 *
 *   requests                   the table, as Markdown
 *   requests <way> <pairs>     one way, so many pairs on one thread, for a tool that counts instructions */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lameduck_inline.h>

enum { ROUNDS = 9, MOST_THREADS = 4 };

static lameduck_server *server;

struct worker {
    _Alignas(128) uint64_t counter;
    uint64_t connection, *word;
    void (*run)(struct worker *, long);
    long pairs;
    pthread_barrier_t *start;
    double ns;
};

static void bare(struct worker *worker, long pairs) {
    for (; pairs > 0; pairs--) __atomic_fetch_add(&worker->counter, 1, __ATOMIC_RELEASE);
}

static void called(struct worker *worker, long pairs) {
    uint64_t request;
    for (; pairs > 0; pairs--) {
        if (lameduck_request_begin(server, worker->connection, &request)) abort();
        if (lameduck_request_end(server, worker->connection, request, LAMEDUCK_OUTCOME_COMPLETED)) abort();
    }
}

static void inlined(struct worker *worker, long pairs) {
    uint64_t request;
    for (; pairs > 0; pairs--) {
        if (lameduck_request_begin_inline(server, worker->connection, worker->word, &request)) abort();
        if (lameduck_request_end_inline(server, worker->connection, worker->word, request, LAMEDUCK_OUTCOME_COMPLETED)) abort();
    }
}

static const struct {
    const char *name, *what;
    void (*run)(struct worker *, long);
} WAYS[] = {
    { "bare", "one bare atomic increment", bare },
    { "inline", "`lameduck_request_begin_inline` + `_end_inline`", inlined },
    { "call", "`lameduck_request_begin` + `_end`", called },
};
enum { WAY_COUNT = sizeof WAYS / sizeof WAYS[0] };

static double thread_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    pthread_barrier_wait(worker->start);
    /* The thread's own time: more threads than processors wait for each other, which is not what a request costs. */
    double before = thread_ns();
    worker->run(worker, worker->pairs);
    worker->ns = (thread_ns() - before) / (double)worker->pairs;
    return NULL;
}

/* The dearest thread of one round. */
static double round_of(struct worker *workers, int threads, void (*run)(struct worker *, long), long pairs) {
    pthread_t handles[MOST_THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    double most = 0;
    for (int n = 0; n < threads; n++) {
        workers[n].run = run, workers[n].pairs = pairs, workers[n].start = &start;
        if (pthread_create(&handles[n], NULL, work, &workers[n])) abort();
    }
    for (int n = 0; n < threads; n++) {
        pthread_join(handles[n], NULL);
        if (workers[n].ns > most) most = workers[n].ns;
    }
    pthread_barrier_destroy(&start);
    return most;
}

static int by_value(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

int main(int count, char **arguments) {
    lameduck_options options;
    if (lameduck_options_init(&options, sizeof options)) abort();
    if (lameduck_start(&options, &server)) abort();
    static struct worker workers[MOST_THREADS];
    for (int n = 0; n < MOST_THREADS; n++) {
        if (lameduck_connection_open(server, -1, LAMEDUCK_PROTOCOL_HTTP1, NULL, &workers[n].connection)) abort();
        if (lameduck_connection_word(server, workers[n].connection, &workers[n].word)) abort();
    }
    if (count == 3) {
        for (int way = 0; way < WAY_COUNT; way++)
            if (strcmp(arguments[1], WAYS[way].name) == 0) WAYS[way].run(&workers[0], atol(arguments[2]));
    } else {
        static const int THREADS[] = { 1, 2, 4 };
        /* Round by round, so that a machine that slows down slows all alike. */
        double ns[WAY_COUNT][3][ROUNDS];
        for (int round = 0; round < ROUNDS; round++)
            for (int way = 0; way < WAY_COUNT; way++)
                for (int place = 0; place < 3; place++)
                    ns[way][place][round] = round_of(workers, THREADS[place], WAYS[way].run, 1000000);
        for (int way = 0; way < WAY_COUNT; way++) {
            printf("%s", WAYS[way].name);
            for (int place = 0; place < 3; place++) {
                qsort(ns[way][place], ROUNDS, sizeof(double), by_value);
                printf(" %.1f", ns[way][place][ROUNDS / 2]);
            }
            printf(" %s\n", WAYS[way].what);
        }
    }
    return lameduck_free(server) != LAMEDUCK_OK;
}
