/* A forked child: it has the objects of its parent and none of its threads. Not built with AddressSanitizer, whose allocator can be
 * locked by a thread of the parent's at the fork and is then locked in the child for good. */
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child: a server of its own goes through its whole life. */
static void serves_itself(void) {
    uint64_t connection;
    int code = 4711;
    lameduck_server *own = serving();
    OK(lameduck_connection_open(own, -1, LAMEDUCK_PROTOCOL_HTTP1, NULL, &connection));
    OK(lameduck_shutdown(own, LAMEDUCK_CAUSE_INTERRUPT, NULL));
    OK(lameduck_connection_close(own, connection));
    OK(lameduck_wait(own, UINT64_C(20000000000), &code));
    CHECK(code == 0);
    OK(lameduck_free(own));
}

static void ends_well(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A child has the objects of its parent, and none of its threads. */
static void a_forked_child(void) {
    lameduck_server *server = serving();
    lameduck_machine *machine;
    lameduck_policy policy = unset();
    OK(lameduck_machine_new(&policy, &machine));
    uint64_t connection, request;
    OK(lameduck_connection_open(server, -1, LAMEDUCK_PROTOCOL_HTTP1, NULL, &connection));
    pid_t child = fork();
    if (child == 0) {
        int code;
        IS(LAMEDUCK_FORKED, lameduck_shutdown(server, LAMEDUCK_CAUSE_TERMINATE, NULL));
        SAYS("the server belongs to the parent process: make one in this process");
        IS(LAMEDUCK_FORKED, lameduck_wait(server, LAMEDUCK_UNLIMITED, &code));
        IS(LAMEDUCK_FORKED, lameduck_connection_close(server, connection));
        IS(LAMEDUCK_FORKED, lameduck_free(server));
        IS(LAMEDUCK_FORKED, lameduck_tick(machine, 0));
        IS(LAMEDUCK_FORKED, lameduck_machine_free(machine));
        OK(lameduck_request_begin(server, connection, &request)); /* in the child's copy */
        serves_itself();
        _exit(0);
    }
    ends_well(child);
    lameduck_metrics metrics;
    OK(lameduck_server_metrics(server, &metrics));
    CHECK(metrics.connections == 1 && metrics.in_flight == 0);
    OK(lameduck_machine_free(machine));
    OK(lameduck_free(server));
}

/* A thread of the parent's is in the middle of a log line, which must not keep the child from its own. */
static void a_fork_in_a_log_line(void) {
    lameduck_server *server = serving();
    int full[2], kept = dup(STDERR_FILENO);
    CHECK(kept >= 0 && pipe(full) == 0 && fcntl(full[1], F_SETFL, O_NONBLOCK) == 0);
    char some[4096] = "";
    while (write(full[1], some, sizeof some) > 0) {}
    CHECK(fcntl(full[1], F_SETFL, 0) == 0);
    CHECK(dup2(full[1], STDERR_FILENO) == STDERR_FILENO);
    OK(lameduck_shutdown(server, LAMEDUCK_CAUSE_TERMINATE, NULL));
    usleep(50000); /* for its first line to be stuck: too short a time would show less, and not fail */
    pid_t child = fork();
    if (child == 0) {
        CHECK(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
        alarm(10);
        serves_itself();
        _exit(0);
    }
    ends_well(child);
    CHECK(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
    close(kept), close(full[0]), close(full[1]);
    OK(lameduck_free(server));
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    a_forked_child();
    a_fork_in_a_log_line();
    puts("forked: ok");
    return 0;
}
