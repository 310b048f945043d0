/* A server on epoll, one thread, that lameduck stops. */
#define _GNU_SOURCE
#include "http.h"
#include <lameduck.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINGER_MS = 1000 };

struct connection {
    int descriptor;
    uint64_t handle;  /* lameduck's name for it */
    uint64_t request; /* lameduck's name for the request in flight */
    bool counted;     /* a request is in flight, as lameduck sees it */
    bool answering;   /* the response waits: for the work, or for the socket */
    bool blocked;     /* the socket took no more */
    bool close_after; /* the response says Connection: close */
    bool lingering;   /* half-closed; reads until the client closes */
    struct http http;
    struct answer answer;
    char *out;
    size_t out_length, out_sent;
    uint64_t due_ms; /* its place among the timers; 0: none */
    struct connection *earlier, *later;
};

static lameduck_server *duck;
static int poller, listening, exit_code;
static bool running = true;
static struct connection timers = { .earlier = &timers, .later = &timers }; /* a ring, the next one first */

/* ---- timers ---- */

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void stop_timer(struct connection *connection) {
    if (connection->due_ms == 0) return;
    connection->earlier->later = connection->later;
    connection->later->earlier = connection->earlier;
    connection->due_ms = 0;
}

static void start_timer(struct connection *connection, uint64_t delay_ms) {
    stop_timer(connection);
    connection->due_ms = now_ms() + delay_ms;
    struct connection *before = timers.earlier;
    while (before != &timers && before->due_ms > connection->due_ms) before = before->earlier;
    connection->earlier = before;
    connection->later = before->later;
    before->later->earlier = connection;
    before->later = connection;
}

/* ---- one connection ---- */

static void watch(struct connection *connection, uint32_t events) {
    struct epoll_event event = { .events = events, .data.ptr = connection };
    epoll_ctl(poller, EPOLL_CTL_MOD, connection->descriptor, &event);
}

static void drop(struct connection *connection) {
    lameduck_connection_close(duck, connection->handle); /* before close(), which frees the number */
    close(connection->descriptor);
    stop_timer(connection);
    http_free(&connection->http);
    free(connection->out);
    free(connection);
}

/* A close that resets nothing: half-close, read until the client has closed too, for a bounded time. */
static void linger(struct connection *connection) {
    if (connection->lingering) return;
    connection->lingering = true;
    shutdown(connection->descriptor, SHUT_WR);
    watch(connection, EPOLLIN);
    start_timer(connection, LINGER_MS);
}

static void respond(struct connection *connection) {
    bool close = !connection->http.keep_alive;
    /* Written only when lameduck has something to say about it. */
    if (connection->counted) lameduck_response_head(duck, connection->handle, connection->request, close, &close);
    connection->close_after = close;
    connection->out = http_response(&connection->answer, close, &connection->out_length);
    connection->out_sent = 0;
}

/* Sends what is to be sent. False: the socket takes no more now, or the connection is gone. */
static bool flush(struct connection *connection) {
    while (connection->out_sent < connection->out_length) {
        ssize_t sent = send(connection->descriptor, connection->out + connection->out_sent, connection->out_length - connection->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) {
            connection->blocked = true;
            watch(connection, EPOLLIN | EPOLLOUT);
            return false;
        }
        if (sent < 0) {
            drop(connection);
            return false;
        }
        connection->out_sent += (size_t)sent;
    }
    /* Not earlier: a connection is idle when the last byte has left. */
    if (connection->counted) lameduck_request_end(duck, connection->handle, connection->request, LAMEDUCK_OUTCOME_COMPLETED);
    connection->counted = connection->answering = false;
    free(connection->out);
    connection->out = NULL;
    http_next(&connection->http);
    if (connection->blocked) watch(connection, EPOLLIN);
    connection->blocked = false;
    return true;
}

/* A last response, of which lameduck need not know. */
static void reject(struct connection *connection, int status) {
    connection->http.keep_alive = false;
    connection->answer = (struct answer){ .status = status };
    respond(connection);
}

/* Goes on with a connection as far as it can. */
static void advance(struct connection *connection) {
    for (;;) {
        if (connection->lingering) return;
        if (connection->out != NULL) {
            if (!flush(connection)) return;
            if (connection->close_after) {
                linger(connection);
                return;
            }
        }
        if (connection->answering) return; /* the work is not done */
        enum http_state state = http_parse(&connection->http);
        if (state < HTTP_IS_HEAD) return;
        if (state == HTTP_IS_BAD) {
            reject(connection, 400);
            continue;
        }
        if (!connection->counted) {
            lameduck_status status = lameduck_request_begin(duck, connection->handle, &connection->request);
            if (status == LAMEDUCK_REFUSE_REQUEST) {
                reject(connection, 503);
                continue;
            }
            if (status != LAMEDUCK_OK) { /* it came behind the response that announced the close */
                linger(connection);
                return;
            }
            connection->counted = true;
        }
        if (state != HTTP_IS_COMPLETE) return;
        bool ready = false;
        lameduck_ready(duck, &ready);
        app_answer(&connection->answer, connection->http.path, connection->http.body, connection->http.body_length, ready);
        connection->answering = true;
        if (connection->answer.delay_ms > 0) {
            start_timer(connection, connection->answer.delay_ms);
            return;
        }
        respond(connection);
    }
}

static void readable(struct connection *connection) {
    char bytes[16384];
    ssize_t length = recv(connection->descriptor, bytes, sizeof bytes, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length > 0 && connection->lingering) return;
    if (length > 0 && http_arrived(&connection->http, bytes, (size_t)length)) advance(connection);
    else drop(connection); /* gone: a request in flight gets that verdict */
}

static void due(struct connection *connection) {
    stop_timer(connection);
    if (connection->lingering) {
        drop(connection);
        return;
    }
    respond(connection); /* the work is done */
    advance(connection);
}

static void accept_all(void) {
    for (;;) {
        int descriptor = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) return;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL || lameduck_connection_open(duck, descriptor, LAMEDUCK_PROTOCOL_HTTP1, connection, &connection->handle) != LAMEDUCK_OK) {
            free(connection);
            close(descriptor);
            continue;
        }
        connection->descriptor = descriptor;
        http_init(&connection->http);
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
        epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event);
    }
}

/* ---- what lameduck says, on this thread, in lameduck_dispatch ---- */

static void on_close_idle(void *data, uint64_t handle, void *context) {
    (void)data;
    struct connection *connection = context;
    /* Bytes of a next request are in our buffer: it is not idle. Unless it takes too long to complete them. */
    if (http_pending(&connection->http) && lameduck_connection_busy(duck, handle) == LAMEDUCK_OK) return;
    linger(connection);
}

static void on_force(void *data, uint64_t handle, uint32_t unanswered, void *context) {
    (void)data, (void)handle;
    struct connection *connection = context;
    static const char late[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    if (unanswered > 0 && connection->out == NULL) send(connection->descriptor, late, sizeof late - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    linger(connection);
}

static void on_close_listener(void *data, uint64_t listener, int descriptor) {
    (void)data;
    close(descriptor);
    lameduck_listener_closed(duck, listener);
}

static void on_done(void *data, int code) {
    (void)data;
    exit_code = code;
    running = false;
}

/* ---- hooks ---- */

static int close_database(void *data, uint64_t hook) {
    (void)data, (void)hook;
    fputs("the database is closed\n", stderr); /* where yours is; not before the last request has its answer */
    return 0;
}

static void must(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : lameduck_last_error());
    exit(1);
}

static int listen_at(unsigned short port) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    must(bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(descriptor, 511) == 0, "listen");
    return descriptor;
}

int main(void) {
    listening = listen_at(app_port());
    poller = epoll_create1(EPOLL_CLOEXEC);

    lameduck_options options;
    lameduck_options_init(&options, sizeof options);
    options.drive = LAMEDUCK_DRIVE_LOOP;
    options.callbacks.close_idle = on_close_idle;
    options.callbacks.force_connection = on_force;
    options.callbacks.close_listener = on_close_listener;
    options.callbacks.done = on_done;
    int told;
    uint64_t listener;
    errno = 0;
    must(lameduck_start(&options, &duck) == LAMEDUCK_OK, "lameduck");
    must(lameduck_descriptor(duck, &told) == LAMEDUCK_OK, "lameduck");
    must(lameduck_listener_add(duck, listening, &listener) == LAMEDUCK_OK, "lameduck");
    must(lameduck_hook_add(duck, LAMEDUCK_STAGE_CLOSE, "database", 0, LAMEDUCK_UNSET, close_database, NULL, NULL) == LAMEDUCK_OK, "lameduck");

    /* Each has an address of its own for epoll. */
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &listening };
    epoll_ctl(poller, EPOLL_CTL_ADD, listening, &event);
    event.data.ptr = &duck;
    epoll_ctl(poller, EPOLL_CTL_ADD, told, &event);

    while (running) {
        struct connection *first = timers.later;
        uint64_t now = now_ms();
        int wait = first == &timers ? -1 : first->due_ms > now ? (int)(first->due_ms - now) : 0;
        struct epoll_event events[256];
        int count = epoll_wait(poller, events, 256, wait);
        bool dispatch = false;
        for (int n = 0; n < count; n++) {
            void *which = events[n].data.ptr;
            struct connection *connection = which;
            if (which == &listening) accept_all();
            else if (which == &duck) dispatch = true;
            else if (events[n].events & EPOLLOUT) advance(connection);
            else readable(connection);
        }
        while (timers.later != &timers && timers.later->due_ms <= now_ms()) due(timers.later);
        /* Last: it may free connections that this round is about. */
        if (dispatch) lameduck_dispatch(duck);
    }
    lameduck_free(duck);
    return exit_code;
}
