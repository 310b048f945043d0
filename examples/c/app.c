#include "app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char large[8 << 20];

void app_answer(struct answer *answer, const char *path, const char *body, size_t length, bool ready) {
    answer->status = 200;
    answer->delay_ms = strncmp(path, "/slow", 5) == 0 ? 300 : 0;
    if (strcmp(path, "/echo") == 0) {
        answer->delay_ms = 20;
        answer->body = body;
        answer->length = length;
        return;
    }
    if (strcmp(path, "/large") == 0) {
        answer->body = large;
        answer->length = sizeof large;
        return;
    }
    if (strcmp(path, "/readyz") == 0) {
        answer->status = ready ? 200 : 503;
        path = ready ? "/ready" : "/not/ready";
    }
    snprintf(answer->text, sizeof answer->text, "%s", *path == '/' ? path + 1 : path);
    for (char *at = answer->text; (at = strchr(at, '/')) != NULL;) *at = ' ';
    answer->body = answer->text;
    answer->length = strlen(answer->text);
}

const char *app_reason(int status) {
    return status == 200 ? "OK" : status == 400 ? "Bad Request" : "Service Unavailable";
}

unsigned short app_port(void) {
    const char *port = getenv("PORT");
    return (unsigned short)(port ? atoi(port) : 3000);
}
