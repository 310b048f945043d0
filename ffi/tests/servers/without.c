/* A liblameduck.so.0 that does nothing: the examples with it are the same servers without lameduck. SIGTERM ends them at once. */
#include <lameduck.h>

#include <sys/eventfd.h>
#include <unistd.h>

lameduck_status lameduck_options_init(lameduck_options *options, size_t size) {
    *options = (lameduck_options){ .size = size };
    return LAMEDUCK_OK;
}

lameduck_status lameduck_policy_init(lameduck_policy *policy, size_t size) {
    *policy = (lameduck_policy){ .size = size };
    return LAMEDUCK_OK;
}

lameduck_status lameduck_start(const lameduck_options *options, lameduck_server **server) {
    (void)options;
    *server = (lameduck_server *)1;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_descriptor(const lameduck_server *server, int *descriptor) {
    (void)server;
    *descriptor = eventfd(0, EFD_CLOEXEC);
    return LAMEDUCK_OK;
}

lameduck_status lameduck_wait(const lameduck_server *server, uint64_t timeout_ns, int *code) {
    (void)server, (void)timeout_ns, (void)code;
    for (;;) pause();
}

lameduck_status lameduck_ready(const lameduck_server *server, bool *ready) {
    (void)server;
    *ready = true;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_listener_add(lameduck_server *server, int descriptor, uint64_t *listener) {
    (void)server, (void)descriptor;
    *listener = 1;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_connection_open(lameduck_server *server, int descriptor, lameduck_protocol protocol, void *context, uint64_t *connection) {
    (void)server, (void)descriptor, (void)protocol, (void)context;
    *connection = 1;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_request_begin(lameduck_server *server, uint64_t connection, uint64_t *request) {
    (void)server, (void)connection;
    *request = LAMEDUCK_REQUEST_COUNTED;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_response_head(lameduck_server *server, uint64_t connection, uint64_t request, bool closes, bool *announce) {
    (void)server, (void)connection, (void)request;
    *announce = closes;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_connection_word(lameduck_server *server, uint64_t connection, uint64_t **word) {
    (void)server, (void)connection, (void)word;
    return LAMEDUCK_INVALID_HANDLE; /* then it is counted by a call */
}

lameduck_status lameduck_request_end(lameduck_server *server, uint64_t connection, uint64_t request, lameduck_outcome outcome) {
    (void)server, (void)connection, (void)request, (void)outcome;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_connection_close(lameduck_server *server, uint64_t connection) {
    (void)server, (void)connection;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_connection_busy(lameduck_server *server, uint64_t connection) {
    (void)server, (void)connection;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_hook_add(lameduck_server *server, lameduck_stage stage, const char *name, int32_t order, uint64_t timeout_ns,
                                  lameduck_hook run, void *user_data, uint64_t *hook) {
    (void)server, (void)stage, (void)name, (void)order, (void)timeout_ns, (void)run, (void)user_data, (void)hook;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_listener_closed(lameduck_server *server, uint64_t listener) {
    (void)server, (void)listener;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_dispatch(lameduck_server *server) {
    (void)server;
    return LAMEDUCK_OK;
}

lameduck_status lameduck_free(lameduck_server *server) {
    (void)server;
    return LAMEDUCK_OK;
}

const char *lameduck_last_error(void) {
    return "";
}

const char *lameduck_strerror(int32_t status) {
    (void)status;
    return "";
}

lameduck_status lameduck_hook_finished(lameduck_server *server, uint64_t hook, const char *error) {
    (void)server, (void)hook, (void)error;
    return LAMEDUCK_OK;
}
