/* A server on libevent's evhttp that lameduck stops. */
#include "app.h"
#include <lameduck.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

struct client {
    struct bufferevent *events;
    uint64_t handle; /* lameduck's name for the connection */
    uint64_t request;
    bool counted; /* a request is in flight, as lameduck sees it */
    bool arrived; /* bytes of a request have come that is not complete yet */
};

static struct event_base *base;
static struct evhttp *http;
static struct evhttp_bound_socket *bound;
static lameduck_server *duck;
static struct client **clients; /* by descriptor: evhttp keeps no pointer of ours */
static int exit_code;

/* ---- connections ---- */

static void on_bytes(struct evbuffer *buffer, const struct evbuffer_cb_info *change, void *context) {
    (void)buffer;
    struct client *client = context;
    if (change->n_added > 0 && !client->counted) client->arrived = true;
}

static void on_closed(struct evhttp_connection *connection, void *context) {
    (void)connection;
    struct client *client = context;
    int descriptor = bufferevent_getfd(client->events);
    lameduck_connection_close(duck, client->handle); /* its requests in flight get their verdict: client gone */
    evbuffer_remove_cb(bufferevent_get_input(client->events), on_bytes, client);
    if (clients[descriptor] == client) clients[descriptor] = NULL;
    free(client);
}

/* evhttp has taken the connection that on_accept made the buffers for. */
static void on_accepted(evutil_socket_t none, short what, void *context) {
    (void)none, (void)what;
    struct bufferevent *events = context;
    void *connection = NULL; /* struct evhttp_connection: libevent 2.1 shows it no other way before the first request */
    bufferevent_getcb(events, NULL, NULL, NULL, &connection);
    int descriptor = bufferevent_getfd(events);
    struct client *client = calloc(1, sizeof *client);
    if (connection != NULL && client != NULL &&
        lameduck_connection_open(duck, descriptor, LAMEDUCK_PROTOCOL_HTTP1, client, &client->handle) == LAMEDUCK_OK) {
        client->events = events;
        clients[descriptor] = client;
        evbuffer_add_cb(bufferevent_get_input(events), on_bytes, client);
        evhttp_connection_set_closecb(connection, on_closed, client);
    } else {
        free(client);
        if (connection != NULL) evhttp_connection_free(connection);
    }
    bufferevent_decref(events);
}

static struct bufferevent *on_accept(struct event_base *at, void *context) {
    (void)context;
    struct bufferevent *events = bufferevent_socket_new(at, -1, BEV_OPT_CLOSE_ON_FREE);
    struct timeval now = { 0, 0 };
    bufferevent_incref(events);
    event_base_once(at, -1, EV_TIMEOUT, on_accepted, events, &now);
    return events;
}

/* ---- requests ---- */

static struct client *client_of(struct evhttp_request *request) {
    struct evhttp_connection *connection = evhttp_request_get_connection(request);
    return connection ? clients[bufferevent_getfd(evhttp_connection_get_bufferevent(connection))] : NULL;
}

/* The last byte of the response has left. */
static void on_sent(struct evhttp_request *request, void *context) {
    (void)request;
    struct client *client = context;
    if (client->counted) lameduck_request_end(duck, client->handle, client->request, LAMEDUCK_OUTCOME_COMPLETED);
    client->counted = false;
}

static void respond(struct evhttp_request *request) {
    struct client *client = client_of(request);
    struct evbuffer *input = evhttp_request_get_input_buffer(request), *output = evhttp_request_get_output_buffer(request);
    struct answer answer;
    bool close = false, ready = false;
    lameduck_ready(duck, &ready);
    size_t length = evbuffer_get_length(input);
    app_answer(&answer, evhttp_request_get_uri(request), (char *)evbuffer_pullup(input, -1), length, ready);
    evbuffer_add(output, answer.body, answer.length);
    if (client != NULL) { /* otherwise it has gone meanwhile, and evhttp sends nothing */
        lameduck_response_head(duck, client->handle, client->request, false, &close);
        evhttp_request_set_on_complete_cb(request, on_sent, client);
    }
    if (close) evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
    evhttp_send_reply(request, answer.status, app_reason(answer.status), NULL);
}

static void on_worked(evutil_socket_t none, short what, void *context) {
    (void)none, (void)what;
    respond(context);
}

static void on_request(struct evhttp_request *request, void *context) {
    (void)context;
    struct client *client = client_of(request);
    client->arrived = false;
    lameduck_status status = lameduck_request_begin(duck, client->handle, &client->request);
    client->counted = status == LAMEDUCK_OK;
    if (status != LAMEDUCK_OK) { /* the policy refuses it, or it came behind the response that announced the close */
        evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
        evhttp_send_error(request, 503, NULL);
        return;
    }
    struct answer work;
    app_answer(&work, evhttp_request_get_uri(request), NULL, 0, true);
    struct timeval delay = { 0, (suseconds_t)work.delay_ms * 1000 };
    if (work.delay_ms > 0) event_base_once(base, -1, EV_TIMEOUT, on_worked, request, &delay);
    else respond(request);
}

/* ---- what lameduck says, on this thread ---- */

static void on_told(evutil_socket_t descriptor, short what, void *context) {
    (void)descriptor, (void)what, (void)context;
    lameduck_dispatch(duck);
}

static void on_close_idle(void *data, uint64_t handle, void *context) {
    (void)data;
    struct client *client = context;
    /* evhttp shows a request when it is complete; until then its bytes keep the connection, for some seconds. */
    if (client->arrived && lameduck_connection_busy(duck, handle) == LAMEDUCK_OK) return;
    /* The client closes its side, evhttp sees that and closes. */
    shutdown(bufferevent_getfd(client->events), SHUT_WR);
}

static void on_close_listener(void *data, uint64_t listener, int descriptor) {
    (void)data, (void)descriptor;
    evhttp_del_accept_socket(http, bound); /* closes it */
    lameduck_listener_closed(duck, listener);
}

static void on_done(void *data, int code) {
    (void)data;
    exit_code = code;
    event_base_loopbreak(base);
}

static void must(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, lameduck_last_error());
    exit(1);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* a write to a client that has gone is an error, not the end */
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    clients = calloc(limit.rlim_cur, sizeof *clients);
    base = event_base_new();
    http = evhttp_new(base);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
    evhttp_set_gencb(http, on_request, NULL);
    evhttp_set_bevcb(http, on_accept, NULL);
    bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", app_port());
    must(clients != NULL && bound != NULL, "cannot listen");

    lameduck_options options;
    lameduck_options_init(&options, sizeof options);
    options.drive = LAMEDUCK_DRIVE_LOOP;
    options.callbacks.close_idle = on_close_idle;
    options.callbacks.close_listener = on_close_listener;
    options.callbacks.done = on_done;
    int descriptor;
    uint64_t listener;
    must(lameduck_start(&options, &duck) == LAMEDUCK_OK, "lameduck");
    must(lameduck_descriptor(duck, &descriptor) == LAMEDUCK_OK, "lameduck");
    must(lameduck_listener_add(duck, evhttp_bound_socket_get_fd(bound), &listener) == LAMEDUCK_OK, "lameduck");
    struct event *told = event_new(base, descriptor, EV_READ | EV_PERSIST, on_told, NULL);
    event_add(told, NULL);

    event_base_dispatch(base);
    event_free(told);
    lameduck_free(duck);
    return exit_code;
}
