/* A server that stops as it should, or with one mistake: ./server [MISTAKE]. Without one it is the
 * fixed twin of them all. Its window is 600 ms: after that the listener closes, and what is in
 * flight finishes. A thread per connection. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW_MS = 600, CONNECTIONS = 1024, HEAD = 8192, LARGE = 8 << 20, BODY = 1 << 20 };
enum { FREE, IDLE, BUSY, READS_LARGE, STREAMS };

static const char *mistake = "none";
static atomic_int leaving, pool_closed, accepting = 1, streams_end;
static struct { atomic_int state; int fd; } connections[CONNECTIONS];

static int has(const char *name) { return strcmp(mistake, name) == 0; }

static void sleep_ms(long ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

static int send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

/* Answers; -1 when the connection must not be used again. */
static int answer(int fd, const char *status, const char *body, size_t length)
{
    char head[256];
    int close_it = leaving && !has("no-connection-close");
    int size = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, length,
                        close_it ? "Connection: close\r\n" : "");
    if (send_all(fd, head, (size_t)size) || send_all(fd, body, length)) return -1;
    return close_it ? -1 : 0;
}

static int events(int at)
{
    int fd = connections[at].fd;
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nd\r\ndata: hello\n\n\r\n";
    connections[at].state = STREAMS;
    if (send_all(fd, head, sizeof head - 1)) return -1;
    while (!streams_end) sleep_ms(5);
    if (!has("event-stream-cut")) send_all(fd, "0\r\n\r\n", 5);
    return -1;
}

/* One request whose head and body are there. */
static int route(int at, const char *path, const char *body, size_t length)
{
    int fd = connections[at].fd;
    if (!strcmp(path, "/readyz"))
        return answer(fd, leaving && !has("readiness-stays-green") ? "503 Leaving" : "200 OK", "", 0);
    if (!strcmp(path, "/echo")) return answer(fd, "200 OK", body, length);
    if (!strcmp(path, "/slow")) {
        sleep_ms(has("exit-code-lies-after-a-loss") ? 5000 : 200);
        return answer(fd, "200 OK", "slow", 4);
    }
    if (!strcmp(path, "/large")) {
        static char large[LARGE];
        connections[at].state = READS_LARGE;
        return answer(fd, "200 OK", large, LARGE);
    }
    if (!strcmp(path, "/events")) return events(at);
    if (strcmp(path, "/")) return answer(fd, "404 Not Found", "", 0);
    if (pool_closed) return answer(fd, "500 The pool is closed", "", 0);
    if (leaving && has("refuses-requests")) return answer(fd, "503 Leaving", "", 0);
    return answer(fd, "200 OK", "fine", 4);
}

/* Reads requests, which are never pipelined here, and answers them. */
static void *serve(void *argument)
{
    int at = (int)(size_t)argument, fd = connections[at].fd;
    char *buffer = malloc(HEAD + BODY);
    for (;;) {
        size_t have = 0, length = 0;
        char *end = NULL, path[256] = "";
        connections[at].state = IDLE;
        while (!end) {
            ssize_t got = recv(fd, buffer + have, HEAD - 1 - have, 0);
            if (got <= 0) goto out;
            connections[at].state = BUSY;
            have += (size_t)got;
            buffer[have] = 0;
            end = strstr(buffer, "\r\n\r\n");
        }
        char *field = strstr(buffer, "Content-Length: ");
        if (field && field < end) length = strtoul(field + 16, NULL, 10);
        size_t wanted = (size_t)(end + 4 - buffer) + length;
        if (wanted > HEAD + BODY) goto out;
        while (have < wanted) {
            ssize_t got = recv(fd, buffer + have, wanted - have, 0);
            if (got <= 0) goto out;
            have += (size_t)got;
        }
        sscanf(buffer, "%*15s %255s", path);
        if (route(at, path, end + 4, length)) break;
    }
out:
    close(fd);
    free(buffer);
    connections[at].state = FREE;
    return NULL;
}

static void *accept_them(void *argument)
{
    int listener = (int)(size_t)argument;
    while (accepting) {
        struct pollfd ready = { listener, POLLIN, 0 };
        if (poll(&ready, 1, 5) <= 0 || !accepting) continue;
        int fd = accept(listener, NULL, NULL), at = 0, one = 1;
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        while (at < CONNECTIONS && connections[at].state != FREE) at++;
        if (at == CONNECTIONS) { close(fd); continue; }
        connections[at].fd = fd;
        connections[at].state = IDLE;
        pthread_t thread;
        pthread_create(&thread, NULL, serve, (void *)(size_t)at);
        pthread_detach(thread);
    }
    return NULL;
}

static int any(int state)
{
    for (int at = 0; at < CONNECTIONS; at++)
        if (connections[at].state == state) return 1;
    return 0;
}

static void cut(int state)
{
    for (int at = 0; at < CONNECTIONS; at++)
        if (connections[at].state == state) shutdown(connections[at].fd, SHUT_RDWR);
}

static void stop(int listener, pthread_t acceptor)
{
    leaving = 1;
    if (has("exits-at-once")) _exit(0);
    if (has("listener-closes-early") || has("accept-queue-reset")) {
        accepting = 0;
        pthread_join(acceptor, NULL);
        if (has("listener-closes-early")) close(listener);
    }
    if (has("idle-keep-alive-reset")) cut(IDLE);
    sleep_ms(WINDOW_MS / 4);
    if (has("pool-closed-early")) pool_closed = 1;
    sleep_ms(WINDOW_MS * 3 / 4);
    if (accepting) {
        accepting = 0;
        pthread_join(acceptor, NULL);
        close(listener);
    }
    streams_end = 1;
    if (has("response-cut")) cut(READS_LARGE);
    for (int waited = 0; any(BUSY) || any(READS_LARGE) || any(STREAMS); waited += 10) {
        if (has("exit-code-lies-after-a-loss") && waited > 1200) break;
        sleep_ms(10);
    }
    if (has("exits-late")) sleep_ms(3000);
    if (has("never-exits")) pause();
    _exit(has("exit-code-lies") ? 1 : 0);
}

int main(int count, char **arguments)
{
    if (count > 1) mistake = arguments[1];
    sigset_t terminate;
    sigemptyset(&terminate);
    sigaddset(&terminate, SIGTERM);
    if (!has("no-handler")) pthread_sigmask(SIG_BLOCK, &terminate, NULL);

    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(getenv("PORT"))),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror("cannot listen");
        return 1;
    }
    pthread_t acceptor;
    pthread_create(&acceptor, NULL, accept_them, (void *)(size_t)listener);
    if (has("no-handler")) pause();
    int signal;
    sigwait(&terminate, &signal);
    stop(listener, acceptor);
}
