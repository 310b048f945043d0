/* What the servers of this folder answer, whatever they are built on. */
#ifndef APP_H
#define APP_H

#include <stdbool.h>
#include <stddef.h>

struct answer {
    int status;
    unsigned delay_ms; /* how long the work takes */
    const char *body;  /* `text`, what was sent, or 8 MiB */
    size_t length;
    char text[256];
};

/* GET /readyz: 200 or 503. GET /slow…: after 300 ms. GET /large: 8 MiB. POST /echo: the body, after 20 ms. Anything else, such as /item/7: its path as text. */
void app_answer(struct answer *answer, const char *path, const char *body, size_t length, bool ready);

/* The words of a status. */
const char *app_reason(int status);

/* PORT, or 3000. */
unsigned short app_port(void);

#endif
