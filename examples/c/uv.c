/* A server on libuv that lameduck stops. */
#include "http.h"
#include <lameduck.h>
#include <uv.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINGER_MS = 1000 };

struct connection {
    uv_tcp_t socket;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    int open;         /* of socket and timer, those that are not closed yet */
    uint64_t handle;  /* lameduck's name for it */
    uint64_t request; /* lameduck's name for the request in flight */
    bool counted;     /* a request is in flight, as lameduck sees it */
    bool answering;   /* the response waits: for the work, or for the socket */
    bool close_after; /* the response says Connection: close */
    bool lingering;   /* half-closed; reads until the client closes */
    struct http http;
    struct answer answer;
    char *out;
};

static uv_loop_t *loop;
static uv_tcp_t listening;
static uv_poll_t told;
static lameduck_server *duck;
static int exit_code;

static void advance(struct connection *connection);

/* ---- one connection ---- */

static void on_closed(uv_handle_t *handle) {
    struct connection *connection = handle->data;
    if (--connection->open > 0) return;
    http_free(&connection->http);
    free(connection->out);
    free(connection);
}

static void drop(struct connection *connection) {
    if (uv_is_closing((uv_handle_t *)&connection->socket)) return;
    lameduck_connection_close(duck, connection->handle); /* before uv_close(), which frees the descriptor */
    uv_close((uv_handle_t *)&connection->socket, on_closed);
    uv_close((uv_handle_t *)&connection->timer, on_closed);
}

static void on_shut(uv_shutdown_t *request, int status) {
    (void)request, (void)status;
}

static void on_lingered(uv_timer_t *timer) {
    drop(timer->data);
}

/* A close that resets nothing: half-close, read until the client has closed too, for a bounded time. */
static void linger(struct connection *connection) {
    if (connection->lingering || uv_is_closing((uv_handle_t *)&connection->socket)) return;
    connection->lingering = true;
    if (uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->socket, on_shut) != 0) drop(connection);
    else uv_timer_start(&connection->timer, on_lingered, LINGER_MS, 0);
}

/* The last byte of the response has left for the kernel: not earlier is the connection idle. */
static void on_written(uv_write_t *write, int status) {
    struct connection *connection = write->data;
    free(connection->out);
    connection->out = NULL;
    if (status != 0) {
        drop(connection);
        return;
    }
    if (connection->counted) lameduck_request_end(duck, connection->handle, connection->request, LAMEDUCK_OUTCOME_COMPLETED);
    connection->counted = connection->answering = false;
    http_next(&connection->http);
    if (connection->close_after) linger(connection);
    else advance(connection);
}

static void respond(struct connection *connection) {
    bool close = !connection->http.keep_alive;
    /* Written only when lameduck has something to say about it. */
    if (connection->counted) lameduck_response_head(duck, connection->handle, connection->request, close, &close);
    connection->close_after = close;
    size_t length;
    connection->out = http_response(&connection->answer, close, &length);
    connection->write.data = connection;
    uv_buf_t buffer = uv_buf_init(connection->out, (unsigned)length);
    if (uv_write(&connection->write, (uv_stream_t *)&connection->socket, &buffer, 1, on_written) != 0) drop(connection);
}

static void reject(struct connection *connection, int status) {
    connection->http.keep_alive = false;
    connection->answering = true;
    connection->answer = (struct answer){ .status = status };
    respond(connection);
}

static void on_worked(uv_timer_t *timer) {
    respond(timer->data);
}

/* Goes on with a connection as far as it can. */
static void advance(struct connection *connection) {
    if (connection->answering || connection->lingering) return;
    enum http_state state = http_parse(&connection->http);
    if (state < HTTP_IS_HEAD) return;
    if (state == HTTP_IS_BAD) {
        reject(connection, 400);
        return;
    }
    if (!connection->counted) {
        lameduck_status status = lameduck_request_begin(duck, connection->handle, &connection->request);
        if (status == LAMEDUCK_REFUSE_REQUEST) {
            reject(connection, 503);
            return;
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
    if (connection->answer.delay_ms > 0) uv_timer_start(&connection->timer, on_worked, connection->answer.delay_ms, 0);
    else respond(connection);
}

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
    static char room[65536]; /* read at once */
    (void)handle, (void)wanted;
    *buffer = uv_buf_init(room, sizeof room);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer) {
    struct connection *connection = stream->data;
    if (length == 0 || (length > 0 && connection->lingering)) return;
    if (length > 0 && http_arrived(&connection->http, buffer->base, (size_t)length)) advance(connection);
    else drop(connection); /* gone: a request in flight gets that verdict */
}

static void on_connection(uv_stream_t *server, int status) {
    if (status != 0) return;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) abort();
    uv_tcp_init(loop, &connection->socket);
    uv_timer_init(loop, &connection->timer);
    connection->socket.data = connection->timer.data = connection;
    connection->open = 2;
    http_init(&connection->http);
    uv_os_fd_t descriptor = -1;
    if (uv_accept(server, (uv_stream_t *)&connection->socket) == 0) uv_fileno((uv_handle_t *)&connection->socket, &descriptor);
    if (descriptor < 0 || lameduck_connection_open(duck, descriptor, LAMEDUCK_PROTOCOL_HTTP1, connection, &connection->handle) != LAMEDUCK_OK) {
        drop(connection);
        return;
    }
    uv_tcp_nodelay(&connection->socket, 1);
    uv_read_start((uv_stream_t *)&connection->socket, on_room, on_read);
}

/* ---- what lameduck says, on the loop, in lameduck_dispatch ---- */

static void on_told(uv_poll_t *poll, int status, int events) {
    (void)poll, (void)status, (void)events;
    lameduck_dispatch(duck);
}

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
    uv_buf_t buffer = uv_buf_init((char *)late, sizeof late - 1);
    if (unanswered > 0 && connection->out == NULL) uv_try_write((uv_stream_t *)&connection->socket, &buffer, 1);
    linger(connection);
}

static void on_close_listener(void *data, uint64_t listener, int descriptor) {
    (void)data, (void)descriptor;
    uv_close((uv_handle_t *)&listening, NULL);
    lameduck_listener_closed(duck, listener);
}

static void on_done(void *data, int code) {
    (void)data;
    exit_code = code;
    uv_stop(loop);
}

static void must(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, lameduck_last_error());
    exit(1);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* a write to a client that has gone is an error, not the end */
    loop = uv_default_loop();
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", app_port(), &address);
    uv_tcp_init(loop, &listening);
    must(uv_tcp_bind(&listening, (struct sockaddr *)&address, 0) == 0, "cannot bind");
    must(uv_listen((uv_stream_t *)&listening, 511, on_connection) == 0, "cannot listen");

    lameduck_options options;
    lameduck_options_init(&options, sizeof options);
    options.drive = LAMEDUCK_DRIVE_LOOP;
    options.callbacks.close_idle = on_close_idle;
    options.callbacks.force_connection = on_force;
    options.callbacks.close_listener = on_close_listener;
    options.callbacks.done = on_done;
    int descriptor;
    uv_os_fd_t socket;
    uint64_t listener;
    must(lameduck_start(&options, &duck) == LAMEDUCK_OK, "lameduck");
    must(lameduck_descriptor(duck, &descriptor) == LAMEDUCK_OK, "lameduck");
    must(uv_fileno((uv_handle_t *)&listening, &socket) == 0, "cannot listen");
    must(lameduck_listener_add(duck, socket, &listener) == LAMEDUCK_OK, "lameduck");
    uv_poll_init(loop, &told, descriptor);
    uv_poll_start(&told, UV_READABLE, on_told);

    uv_run(loop, UV_RUN_DEFAULT);
    uv_poll_stop(&told);
    lameduck_free(duck);
    return exit_code;
}
