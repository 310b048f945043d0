/* A server on libmicrohttpd, a thread a connection, that lameduck stops. */
#include "app.h"
#include <lameduck.h>

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct MHD_Daemon *server;
static lameduck_server *duck;

/* ---- connections ---- */

static void on_connection(void *data, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what) {
    (void)data;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        lameduck_connection_close(duck, (uint64_t)(uintptr_t)*context);
        return;
    }
    uint64_t handle = 0; /* stays 0 when lameduck wants no more of them: no request is taken on it then */
    int descriptor = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    lameduck_connection_open(duck, descriptor, LAMEDUCK_PROTOCOL_HTTP1, NULL, &handle);
    *context = (void *)(uintptr_t)handle;
}

static uint64_t handle_of(struct MHD_Connection *connection) {
    return (uint64_t)(uintptr_t)MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* ---- requests ---- */

struct request {
    uint64_t handle; /* lameduck's name for it */
    char *body;
    size_t length;
};

/* The last byte of the response has left, or the client. */
static void on_completed(void *data, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode how) {
    (void)data;
    struct request *request = *context;
    if (request == NULL) return;
    lameduck_request_end(duck, handle_of(connection), request->handle,
                         how == MHD_REQUEST_TERMINATED_COMPLETED_OK ? LAMEDUCK_OUTCOME_COMPLETED : LAMEDUCK_OUTCOME_CLIENT_GONE);
    free(request->body);
    free(request);
}

static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned status, const char *body, size_t length, bool close) {
    struct MHD_Response *response = MHD_create_response_from_buffer(length, (void *)body, MHD_RESPMEM_MUST_COPY);
    if (close) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Called with the head, with each piece of the body, and when that has ended. */
static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *path, const char *method, const char *version,
                                  const char *bytes, size_t *size, void **context) {
    (void)data, (void)method, (void)version;
    struct request *request = *context;
    if (request == NULL) {
        uint64_t handle;
        lameduck_status status = lameduck_request_begin(duck, handle_of(connection), &handle);
        if (status == LAMEDUCK_REFUSE_REQUEST) return send_response(connection, 503, "", 0, true);
        if (status != LAMEDUCK_OK) return MHD_NO; /* it came behind the response that announced the close */
        *context = request = calloc(1, sizeof *request);
        if (request == NULL) abort();
        request->handle = handle;
        return MHD_YES;
    }
    if (*size > 0) {
        if (request->length + *size > 1 << 20) return MHD_NO;
        request->body = realloc(request->body, request->length + *size);
        if (request->body == NULL) abort();
        memcpy(request->body + request->length, bytes, *size);
        request->length += *size;
        *size = 0;
        return MHD_YES;
    }
    struct answer answer;
    bool ready = false, close = false;
    lameduck_ready(duck, &ready);
    app_answer(&answer, path, request->body, request->length, ready);
    usleep(answer.delay_ms * 1000);
    lameduck_response_head(duck, handle_of(connection), request->handle, false, &close);
    return send_response(connection, (unsigned)answer.status, answer.body, answer.length, close);
}

/* ---- what lameduck says, on its thread; idle connections it half-closes itself ---- */

static void on_close_listener(void *data, uint64_t listener, int descriptor) {
    (void)data, (void)descriptor;
    close(MHD_quiesce_daemon(server));
    lameduck_listener_closed(duck, listener);
}

static void must(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: %s\n", what, lameduck_last_error());
    exit(1);
}

int main(void) {
    lameduck_options options;
    lameduck_options_init(&options, sizeof options);
    options.callbacks.close_listener = on_close_listener;
    /* Before the daemon, whose threads tell of their connections at once. */
    must(lameduck_start(&options, &duck) == LAMEDUCK_OK, "lameduck");

    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(app_port()) };
    server = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0, NULL, NULL,
                              on_request, NULL, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
                              MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_LISTEN_BACKLOG_SIZE, 511u, MHD_OPTION_CONNECTION_LIMIT,
                              4096u, MHD_OPTION_END);
    must(server != NULL, "cannot listen");
    uint64_t listener;
    must(lameduck_listener_add(duck, MHD_get_daemon_info(server, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd, &listener) == LAMEDUCK_OK, "lameduck");

    int code = 1;
    lameduck_wait(duck, LAMEDUCK_UNLIMITED, &code);
    MHD_stop_daemon(server);
    lameduck_free(duck);
    return code;
}
