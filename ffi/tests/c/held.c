/* A server that knows nothing of lameduck, and the window around it: its own handler runs when the window is over, no connection is lost
 * meanwhile, and its exit status is its own. */
#define _GNU_SOURCE
#include "check.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static volatile sig_atomic_t told_to_stop;
static atomic_int hooks, done_code = -1, ready = -1;

static void stop(int signal) {
    (void)signal;
    told_to_stop = 1;
}

static int hook(void *user_data, uint64_t which) {
    CHECK(user_data == &hooks && which != 0);
    atomic_fetch_add(&hooks, 1);
    return 0;
}

static int failing_hook(void *user_data, uint64_t which) {
    (void)user_data, (void)which;
    return 5;
}

static void on_done(void *user_data, int code) {
    (void)user_data;
    atomic_store(&done_code, code);
}

static void on_ready(void *user_data, bool now) {
    (void)user_data;
    atomic_store(&ready, now);
}

static void on_log(void *user_data, lameduck_level level, const char *line) {
    (void)user_data, (void)level, (void)line;
}

/* Answers each connection by one byte, until its handler has run: `c` if the peer is to go elsewhere. */
static int serve(int listening, lameduck_hold *hold) {
    while (!told_to_stop) {
        struct pollfd question = { .fd = listening, .events = POLLIN };
        if (poll(&question, 1, 1000) != 1) continue;
        int connection = accept(listening, NULL, NULL);
        if (connection < 0) continue;
        bool announce;
        OK(lameduck_hold_accepted(hold));
        OK(lameduck_hold_announcing(hold, (uint64_t)connection, &announce));
        CHECK(write(connection, announce ? "c" : "k", 1) == 1);
        close(connection);
    }
    close(listening);
    return 7;
}

static int child(int listening, const char *report_file) {
    lameduck_policy policy;
    lameduck_options options;
    lameduck_hold *hold;
    signal(SIGTERM, stop);
    OK(lameduck_policy_init(&policy, sizeof policy));
    policy.grace_ns = 5000 * MS;
    policy.window_ns = 600 * MS;
    policy.settle_ns = 20 * MS;
    OK(lameduck_options_init(&options, sizeof options));
    options.policy = &policy;
    options.report_file = report_file;
    options.callbacks.done = on_done;
    options.callbacks.readiness = on_ready;
    options.callbacks.log = on_log;
    OK(lameduck_hold_start(&options, LAMEDUCK_FENCING_ALWAYS, &hold));
    OK(lameduck_hold_hook_add(hold, LAMEDUCK_STAGE_CLOSE, "database", 0, LAMEDUCK_UNSET, hook, &hooks));
    OK(lameduck_hold_hook_add(hold, LAMEDUCK_STAGE_FLUSH, "log", 0, LAMEDUCK_UNSET, failing_hook, NULL));
    int status = serve(listening, hold);
    bool handed_over;
    OK(lameduck_hold_handed_over(hold, &handed_over));
    CHECK(handed_over && atomic_load(&hooks) == 0 && atomic_load(&ready) == 0);
    OK(lameduck_hold_server_stopped(hold));
    lameduck_phase phase;
    do OK(lameduck_hold_phase(hold, &phase));
    while (phase != LAMEDUCK_PHASE_DONE || atomic_load(&done_code) < 0);
    CHECK(atomic_load(&hooks) == 1 && atomic_load(&done_code) == 1);
    char text[65536];
    size_t length;
    OK(lameduck_hold_report(hold, text, sizeof text, &length));
    CHECK(strstr(text, "\"handed over\"") && strstr(text, "\"error\":\"it returned 5\""));
    IS(LAMEDUCK_DONE, lameduck_hold_shutdown(hold, LAMEDUCK_CAUSE_TERMINATE));
    OK(lameduck_hold_free(hold));
    IS(LAMEDUCK_INVALID_HANDLE, lameduck_hold_free(hold));
    return status;
}

/* One connection: what it was answered, 0 when it failed. */
static char ask(const struct sockaddr_in *address) {
    char answer = 0;
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (const struct sockaddr *)address, sizeof *address) == 0 && read(connection, &answer, 1) != 1) answer = 0;
    close(connection);
    return answer;
}

int main(void) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listening, (struct sockaddr *)&address, sizeof address) == 0 && listen(listening, 64) == 0);
    CHECK(getsockname(listening, (struct sockaddr *)&address, &size) == 0);
    char report_file[] = "/tmp/lameduck-held-XXXXXX";
    close(mkstemp(report_file));
    pid_t server = fork();
    if (server == 0) exit(child(listening, report_file));
    close(listening);
    CHECK(ask(&address) == 'k');
    uint64_t asked_at = check_now_ns();
    CHECK(kill(server, SIGTERM) == 0);
    /* In the window it serves, and in its second half it tells everybody to go elsewhere. */
    while (check_now_ns() - asked_at < 500 * MS) {
        char answer = ask(&address);
        CHECK(answer == 'k' || answer == 'c');
        if (check_now_ns() - asked_at > 350 * MS) CHECK(answer == 'c');
        usleep(2000);
    }
    int status;
    CHECK(waitpid(server, &status, 0) == server && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 7);
    CHECK(check_now_ns() - asked_at >= 600 * MS);
    char text[65536] = "";
    FILE *report = fopen(report_file, "r");
    CHECK(report && fread(text, 1, sizeof text - 1, report) > 0);
    CHECK(strstr(text, "\"cause_detail\":\"SIGTERM\"") && strstr(text, "\"phase\":\"done\""));
    fclose(report);
    unlink(report_file);
    puts("held: ok");
    return 0;
}
