/* A server as many are: HTTP/1.1 with keep-alive on one thread, and a SIGTERM handler of its own that makes it close its
 * listener and its idle connections and return. It knows nothing of lameduck; `announcing` stands for the line of
 * middleware that an embedder adds. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 256
#define HEAD 2048

static volatile sig_atomic_t stopping;
static int wakeup[2];

static void on_terminate(int signal)
{
    (void)signal;
    int saved = errno;
    stopping++;
    if (write(wakeup[1], "", 1) < 0) { /* full: it wakes anyway */ }
    errno = saved;
}

struct connection { int fd; size_t length; char head[HEAD]; };
static struct connection connections[CONNECTIONS];

static void drop(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    c->length = 0;
}

/* Answers every whole request in the buffer. */
static void serve_one(struct connection *c, int (*announcing)(void))
{
    ssize_t got = read(c->fd, c->head + c->length, HEAD - 1 - c->length);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) drop(c);
        return;
    }
    c->length += (size_t)got;
    c->head[c->length] = 0;
    char *end;
    while ((end = strstr(c->head, "\r\n\r\n"))) {
        int closing = announcing && announcing();
        const char *answer = closing
            ? "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
            : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        if (write(c->fd, answer, strlen(answer)) < 0 || closing) { drop(c); return; }
        size_t used = (size_t)(end + 4 - c->head);
        memmove(c->head, c->head + used, c->length - used + 1);
        c->length -= used;
    }
}

/* Serves until its handler was called, then returns how often it was. `handle` 0: installs no handler. */
int serve(int listener, int handle, void (*started)(void), int (*announcing)(void))
{
    if (pipe2(wakeup, O_NONBLOCK | O_CLOEXEC) != 0) return -1;
    for (int i = 0; i < CONNECTIONS; i++) connections[i].fd = -1;
    if (handle) {
        struct sigaction action = { .sa_handler = on_terminate };
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
    }
    if (started) started();
    while (!stopping) {
        struct pollfd polls[CONNECTIONS + 2] = { { wakeup[0], POLLIN, 0 }, { listener, POLLIN, 0 } };
        struct connection *whose[CONNECTIONS + 2];
        int count = 2;
        for (int i = 0; i < CONNECTIONS; i++)
            if (connections[i].fd >= 0) {
                whose[count] = &connections[i];
                polls[count++] = (struct pollfd){ connections[i].fd, POLLIN, 0 };
            }
        if (poll(polls, (nfds_t)count, -1) < 0) continue;
        for (int i = 2; i < count; i++)
            if (polls[i].revents) serve_one(whose[i], announcing);
        if (polls[1].revents) {
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            for (int i = 0; fd >= 0 && i < CONNECTIONS; i++)
                if (connections[i].fd < 0) { connections[i].fd = fd; fd = -1; }
            if (fd >= 0) close(fd);
        }
    }
    close(listener);
    for (int i = 0; i < CONNECTIONS; i++)
        if (connections[i].fd >= 0) drop(&connections[i]);
    return stopping;
}
