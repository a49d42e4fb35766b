/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/exchange.h"

#include <assert.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <burble/clock.h>

#include "base/alloc.h"
#include "serve/connection.h"
#include "serve/delivery.h"
#include "serve/loop.h"
#include "serve/routes.h"
#include "serve/server.h"
#include "serve/work.h"

/* The most bytes of a response's head. */
#define MAX_HEAD 16384u

/* Never changed. */
static struct burble__problem no_memory = {
    .status = 503,
    .retry_after = 1,
    .type = "server_error",
    .message = "out of memory",
};

/* ---- from the first byte of a request to its log line ------------------------------------------------- */

struct burble__exchange *burble__exchange_create(struct burble__connection *connection)
{
    const burble_server_options *options = &connection->loop->server->options;
    struct burble__exchange *exchange = burble__calloc(1, sizeof *exchange);
    struct burble__incoming *in = burble__calloc(1, sizeof *in);
    if (exchange == NULL || in == NULL) {
        burble__free(exchange);
        burble__free(in);
        return NULL;
    }
    exchange->in = in;
    exchange->connection = connection;
    exchange->loop = connection->loop;
    exchange->began = burble_now();
    burble__head_init(&in->head, options->max_header + 2 * BURBLE__MAX_HEADERS);
    burble__buffer_init(&in->body, (size_t)options->max_body);
    return exchange;
}

void burble__exchange_forget_request(struct burble__exchange *exchange)
{
    struct burble__incoming *in = exchange->in;
    if (in == NULL)
        return;
    exchange->in = NULL;
    if (in->problem != &no_memory)
        burble__free(in->problem);
    burble__head_finish(&in->head);
    burble__buffer_finish(&in->body);
    burble__server_uncharge(exchange->loop->server, in->charged);
    burble__free(in);
}

struct burble__buffer *burble__exchange_extra(struct burble__exchange *exchange)
{
    if (exchange->extra == NULL) {
        exchange->extra = burble__malloc(sizeof *exchange->extra);
        if (exchange->extra != NULL)
            burble__buffer_init(exchange->extra, MAX_HEAD);
    }
    return exchange->extra;
}

static void forget_extra(struct burble__exchange *exchange)
{
    if (exchange->extra != NULL)
        burble__buffer_finish(exchange->extra);
    burble__free(exchange->extra);
    exchange->extra = NULL;
}

const char *burble__exchange_request_id(const struct burble__exchange *exchange,
                                        char text[BURBLE__REQUEST_ID_MAX + 1])
{
    if (exchange->request_id != NULL)
        return exchange->request_id;
    if (exchange->number == 0)
        return "";
    snprintf(text, BURBLE__REQUEST_ID_MAX + 1, "%016" PRIx64, exchange->number);
    return text;
}

static void log_it(const struct burble__exchange *exchange)
{
    const burble_server_options *options = &exchange->loop->server->options;
    if (options->log == NULL)
        return;
    char address[INET6_ADDRSTRLEN], id[BURBLE__REQUEST_ID_MAX + 1];
    burble__address_write(exchange->connection->address, address, sizeof address);
    burble_serve_log line = {
        .request_id = burble__exchange_request_id(exchange, id),
        .client = address,
        .method = llhttp_method_name((llhttp_method_t)exchange->method),
        .path = burble__route_path(exchange),
        .model = "",
        .id = "",
        .status = exchange->status,
        .result = exchange->result != NULL ? exchange->result
                  : exchange->status < 400 ? "ok"
                                           : "error",
        .total_ns = burble_now() - exchange->began,
        .sent = exchange->sent,
    };
    if (exchange->delivery != NULL)
        burble__delivery_note(exchange->delivery, &line);
    options->log(&line, options->log_arg);
}

/* The request is over: logs and counts it, once. Its connection is still there. */
static void note_end(struct burble__exchange *exchange)
{
    if (!exchange->headers_over || exchange->noted)
        return;
    exchange->noted = true;
    burble__exchange_count(exchange);
    burble__server_count_end(exchange->loop->server, exchange);
    log_it(exchange);
}

void burble__exchange_destroy(struct burble__exchange *exchange)
{
    note_end(exchange);
    burble__delivery_destroy(&exchange->delivery);
    burble__exchange_forget_request(exchange);
    forget_extra(exchange);
    burble__free(exchange->item);
    burble__free(exchange->request_id);
    burble__free(exchange);
}

struct burble__problem *burble__exchange_new_problem(struct burble__exchange *exchange)
{
    struct burble__problem *problem = burble__calloc(1, sizeof *problem);
    exchange->in->problem = problem == NULL ? &no_memory : problem;
    return problem;
}

unsigned burble__exchange_take_body(struct burble__exchange *exchange, const char *bytes, size_t n)
{
    struct burble__buffer *body = &exchange->in->body;
    exchange->body_seen += n;
    if (exchange->in->problem != NULL)
        return 0;
    if (n > body->max - body->len)
        return 413;
    const size_t before = body->capacity;
    if (burble__buffer_append(body, bytes, n) != BURBLE_OK)
        return 503;
    exchange->in->charged += body->capacity - before;
    return burble__server_charge(exchange->loop->server, body->capacity - before) ? 0 : 503;
}

/* ---- the head of a response --------------------------------------------------------------------------- */

void burble__exchange_header(struct burble__exchange *exchange, const char *format, ...)
{
    va_list arguments;
    char line[1024];
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    struct burble__buffer *extra = burble__exchange_extra(exchange);
    if (extra != NULL && n > 0 && (size_t)n < sizeof line)
        (void)burble__buffer_append(extra, line, (size_t)n);
}

static bool put(struct burble__buffer *out, const char *format, ...) BURBLE__PRINTF(2, 3);

static bool put(struct burble__buffer *out, const char *format, ...)
{
    va_list arguments;
    char line[256];
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    assert(n > 0 && (size_t)n < sizeof line);
    return burble__buffer_append(out, line, (size_t)n) == BURBLE_OK;
}

/* What all responses begin with, and these headers of this one. */
static bool begin_head(struct burble__exchange *exchange, unsigned status,
                       struct burble__buffer *out)
{
    char id[BURBLE__REQUEST_ID_MAX + 1];
    exchange->status = (uint16_t)status;
    if (exchange->request_id == NULL && exchange->number == 0)
        burble__route_name_request(exchange);
    if (!put(out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, burble__status_phrase(status),
             burble__loop_date(exchange->loop))
        || !put(out, "X-Request-Id: %s\r\n", burble__exchange_request_id(exchange, id)))
        return false;
    const bool added =
        exchange->extra == NULL
        || burble__buffer_append(out, exchange->extra->bytes, exchange->extra->len) == BURBLE_OK;
    forget_extra(exchange);
    return added;
}

static bool end_head(struct burble__exchange *exchange, struct burble__buffer *out)
{
    const bool keep = exchange->keep_alive && !exchange->connection->last;
    if (!keep && !put(out, "Connection: close\r\n"))
        return false;
    if (keep && exchange->old && !put(out, "Connection: keep-alive\r\n"))
        return false;
    return burble__buffer_append(out, "\r\n", 2) == BURBLE_OK;
}

bool burble__exchange_begin_events(struct burble__exchange *exchange, struct burble__buffer *out)
{
    exchange->chunked = !exchange->old;
    exchange->keep_alive &= exchange->chunked;
    burble__connection_answers(exchange->connection, !exchange->keep_alive);
    return begin_head(exchange, 200, out)
           && put(out, "Content-Type: text/event-stream; charset=utf-8\r\n"
                       "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n")
           && (!exchange->chunked || put(out, "Transfer-Encoding: chunked\r\n"))
           && end_head(exchange, out);
}

/* ---- whole responses ---------------------------------------------------------------------------------- */

void burble__exchange_count(struct burble__exchange *exchange)
{
    if (!exchange->counted)
        burble__server_count_request(exchange);
    exchange->counted = true;
}

static void finish(struct burble__exchange *exchange)
{
    struct burble__connection *connection = exchange->connection;
    connection->exchange = NULL;
    burble__exchange_destroy(exchange);
    burble__connection_next(connection);
}

void burble__exchange_end(struct burble__exchange *exchange)
{
    exchange->whole = true;
    if (burble__connection_queued(exchange->connection) == 0)
        finish(exchange);
}

void burble__exchange_break(struct burble__exchange *exchange, const char *result)
{
    exchange->result = result;
    exchange->keep_alive = false;
    exchange->connection->last = true;
    burble__exchange_end(exchange);
}

void burble__exchange_on_drained(struct burble__exchange *exchange)
{
    if (exchange->whole)
        finish(exchange);
    else if (exchange->delivery != NULL)
        burble__delivery_on_drained(exchange->delivery);
}

static bool has_no_body(unsigned status)
{
    return status == 204 || status == 304;
}

/* Writes the head into the loop's buffer. False: no memory, and the connection was closed. */
static bool write_head(struct burble__exchange *exchange, unsigned status, const char *type,
                       size_t len, struct burble__buffer *out)
{
    burble__server_look_at_drain(exchange);
    burble__connection_answers(exchange->connection, !exchange->keep_alive);
    out->len = 0;
    if (begin_head(exchange, status, out)
        && (type == NULL || put(out, "Content-Type: %s\r\n", type))
        && (has_no_body(status) || put(out, "Content-Length: %zu\r\n", len))
        && end_head(exchange, out))
        return true;
    burble__connection_close(exchange->connection);
    return false;
}

void burble__exchange_reply(struct burble__exchange *exchange, unsigned status, const char *type,
                            const char *bytes, size_t len)
{
    struct burble__buffer *out = &exchange->loop->output;
    if (!write_head(exchange, status, type, len, out))
        return;
    if (exchange->only_head || has_no_body(status))
        len = 0;
    const uv_buf_t bufs[2] = {uv_buf_init(out->bytes, (unsigned)out->len),
                              uv_buf_init((char *)bytes, (unsigned)len)};
    exchange->sent += out->len + len;
    burble__exchange_count(exchange);
    if (burble__connection_write(exchange->connection, bufs, len > 0 ? 2 : 1))
        burble__exchange_end(exchange);
}

void burble__exchange_reply_buffer(struct burble__exchange *exchange, unsigned status,
                                   const char *type, struct burble__buffer *body)
{
    struct burble__buffer *out = &exchange->loop->output;
    char *bytes = body->bytes;
    const size_t len = body->len;
    burble__buffer_init(body, body->max);
    if (!write_head(exchange, status, type, len, out)) {
        burble__free(bytes);
        return;
    }
    const uv_buf_t head = uv_buf_init(out->bytes, (unsigned)out->len);
    exchange->sent += out->len + len;
    burble__exchange_count(exchange);
    if (burble__connection_give(exchange->connection, &head, bytes, exchange->only_head ? 0 : len))
        burble__exchange_end(exchange);
}

void burble__exchange_problem(struct burble__exchange *exchange,
                              const struct burble__problem *problem)
{
    struct burble__buffer body;
    burble__buffer_init(&body, MAX_HEAD);
    if (burble__problem_write(problem, &body) != BURBLE_OK) {
        burble__buffer_finish(&body);
        burble__connection_close(exchange->connection);
        return;
    }
    if (problem->retry_after > 0)
        burble__exchange_header(exchange, "Retry-After: %u\r\n", problem->retry_after);
    burble__exchange_reply_buffer(exchange, problem->status, "application/json", &body);
}

void burble__exchange_refuse(struct burble__exchange *exchange, unsigned status, const char *code,
                             const char *param, const char *format, ...)
{
    struct burble__problem problem;
    char message[sizeof problem.message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    burble__problem_set(&problem, status, code, param, "%s", message);
    burble__exchange_problem(exchange, &problem);
}

/* ---- the connection's side ---------------------------------------------------------------------------- */

void burble__exchange_on_left(struct burble__exchange *exchange)
{
    if (exchange->result == NULL)
        exchange->result = "disconnected";
    note_end(exchange);
    exchange->connection = NULL;
    if (exchange->work == NULL)
        burble__exchange_destroy(exchange);
    else
        burble__work_abandon(exchange->work);
}

uint64_t burble__exchange_due(const struct burble__exchange *exchange)
{
    if (exchange->delivery == NULL || exchange->whole)
        return UINT64_MAX;
    return burble__delivery_due(exchange->delivery);
}

void burble__exchange_on_due(struct burble__exchange *exchange, uint64_t now)
{
    if (exchange->delivery != NULL && !exchange->whole)
        burble__delivery_on_due(exchange->delivery, now);
}
