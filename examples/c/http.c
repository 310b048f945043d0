#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t MOST = 1 << 20;

static void append(char **to, size_t *length, const char *bytes, size_t more) {
    char *grown = realloc(*to, *length + more + 1);
    if (grown == NULL) abort();
    memcpy(grown + *length, bytes, more);
    *to = grown;
    *length += more;
    grown[*length] = '\0';
}

static int on_begin(http_parser *parser) {
    ((struct http *)parser->data)->state = HTTP_IS_PARTIAL;
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t length) {
    struct http *http = parser->data;
    size_t known = strlen(http->path);
    if (known + length >= sizeof http->path) return 1;
    memcpy(http->path + known, at, length);
    http->path[known + length] = '\0';
    return 0;
}

static int on_head(http_parser *parser) {
    struct http *http = parser->data;
    http->state = HTTP_IS_HEAD;
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t length) {
    struct http *http = parser->data;
    if (http->body_length + length > MOST) return 1;
    append(&http->body, &http->body_length, at, length);
    return 0;
}

static int on_complete(http_parser *parser) {
    struct http *http = parser->data;
    http->state = HTTP_IS_COMPLETE;
    http->keep_alive = http_should_keep_alive(parser) && !parser->upgrade;
    /* The next request waits until this one is answered. */
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void http_init(struct http *http) {
    memset(http, 0, sizeof *http);
    http_parser_init(&http->parser, HTTP_REQUEST);
    http->parser.data = http;
}

void http_free(struct http *http) {
    free(http->bytes);
    free(http->body);
}

bool http_arrived(struct http *http, const char *bytes, size_t length) {
    if (http->length + length > MOST) return false;
    append(&http->bytes, &http->length, bytes, length);
    return true;
}

enum http_state http_parse(struct http *http) {
    if (http->state == HTTP_IS_COMPLETE || http->state == HTTP_IS_BAD || http->length == 0) return http->state;
    size_t parsed = http_parser_execute(&http->parser, &settings, http->bytes, http->length);
    enum http_errno error = HTTP_PARSER_ERRNO(&http->parser);
    if (error != HPE_OK && error != HPE_PAUSED) return http->state = HTTP_IS_BAD;
    memmove(http->bytes, http->bytes + parsed, http->length -= parsed);
    return http->state;
}

void http_next(struct http *http) {
    free(http->body);
    http->body = NULL;
    http->body_length = 0;
    http->path[0] = '\0';
    if (http->state == HTTP_IS_BAD) return; /* for good */
    http->state = HTTP_IS_NOTHING;
    if (HTTP_PARSER_ERRNO(&http->parser) == HPE_PAUSED) http_parser_pause(&http->parser, 0);
}

bool http_pending(const struct http *http) {
    return http->length > 0 || http->state != HTTP_IS_NOTHING;
}

char *http_response(const struct answer *answer, bool close, size_t *length) {
    char head[160];
    int size = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n%s\r\n",
                        answer->status, app_reason(answer->status), answer->length, close ? "Connection: close\r\n" : "");
    char *response = NULL;
    *length = 0;
    append(&response, length, head, (size_t)size);
    if (answer->length > 0) append(&response, length, answer->body, answer->length);
    return response;
}
