/* One HTTP/1.1 connection without input or output: bytes in, one request after the other out. Around http_parser. */
#ifndef HTTP_H
#define HTTP_H

#include "app.h"
#include <http_parser.h>

enum http_state {
    HTTP_IS_NOTHING,  /* no byte of a request has arrived */
    HTTP_IS_PARTIAL,  /* some of its head have */
    HTTP_IS_HEAD,     /* its head was parsed */
    HTTP_IS_COMPLETE, /* its body is there, too */
    HTTP_IS_BAD,      /* this is no HTTP */
};

struct http {
    http_parser parser;
    enum http_state state;
    char *bytes; /* arrived and not parsed: of requests behind this one */
    size_t length;
    /* Of the request, once it is complete: */
    char path[256];
    char *body;
    size_t body_length;
    bool keep_alive;
};

void http_init(struct http *http);
void http_free(struct http *http);

/* Takes bytes. False: it is more than anybody may send at once. */
bool http_arrived(struct http *http, const char *bytes, size_t length);

/* Parses what has arrived, to the end of one request at most. */
enum http_state http_parse(struct http *http);

/* The request is answered; on to the next. */
void http_next(struct http *http);

/* Whether bytes of a next request are there. */
bool http_pending(const struct http *http);

/* A response as bytes to send, for free(). */
char *http_response(const struct answer *answer, bool close, size_t *length);

#endif
