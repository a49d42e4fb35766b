/* SPDX-License-Identifier: MIT
 *
 * An exchange: one request of a connection and its response. The connection makes it with the first byte of a request
 * and fills it in; routes.c answers it.
 *
 *     burble__exchange_reply        a whole response
 *     burble__exchange_problem      an error
 *     burble__exchange_begin_events the head of a stream of events, which delivery.c writes
 *     burble__exchange_end          the response is complete
 *
 * A response ends the exchange as soon as the socket has taken it: after each of these calls, the exchange may
 * be gone. If the client leaves first, `connection` is NULL, and the exchange lives only as long as a worker thread works
 * on it.
 *
 * Everything runs in the thread of the loop.
 */
#ifndef BURBLE_SERVE_EXCHANGE_H
#define BURBLE_SERVE_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

#include "base/buffer.h"
#include "base/error_message.h"
#include "serve/head.h"
#include "serve/problem.h"

/* The longest X-Request-Id that is taken over from a client. */
#define BURBLE__REQUEST_ID_MAX 64

struct burble__answer;
struct burble__connection;
struct burble__delivery;
struct burble__loop;
struct burble__route;
struct burble__work;

/* What is needed of a request until it is known what answers it. */
struct burble__incoming {
    llhttp_t parser;
    struct burble__head head;
    struct burble__buffer body;
    size_t charged;                  /* bytes of the body that the server counts */
    struct burble__problem *problem; /* found in the head: the answer once the body is over */
    bool wants_continue;             /* Expect: 100-continue, and that was not sent */
    bool refused; /* its problem is answered now, before the rest of the request */
};

struct burble__exchange {
    struct burble__connection *connection; /* NULL: the client has left */
    struct burble__loop *loop;
    const struct burble__route *route; /* NULL: none was found */
    struct burble__incoming *in;       /* NULL: it has an answer, which is on its way */
    struct burble__buffer *extra; /* header lines of the response, until it begins; NULL: none */
    uint64_t began;               /* ns */
    uint64_t body_seen;           /* bytes of the body so far; not all are kept if it is refused */
    uint64_t key;                 /* the API key's identity; 0: none */
    uint64_t sent;                /* bytes of the response */
    struct burble__delivery *delivery;
    struct burble__work *work; /* what a worker thread does for it */
    /* The id of a stream or the name of a model in the path; or all of an unknown path. */
    char *item;
    char *request_id;   /* the client's; NULL: it has a number */
    uint64_t number;    /* its request id, as hexadecimal digits; 0: it has none yet */
    const char *result; /* for the log; NULL: by the status */
    uint16_t status;    /* of the response; 0: not begun */
    uint8_t method;     /* an llhttp_method */
    bool old;           /* HTTP/1.0 */
    bool keep_alive;    /* the client allows another request */
    bool only_head;     /* HEAD */
    bool headers_over;  /* what follows as headers are trailers */
    bool chunked;       /* the response */
    bool counted;       /* in the metrics */
    bool sought;        /* its stream was looked for elsewhere */
    bool noted;         /* its end, in the log and in the metrics */
    bool whole;         /* the response was written; it is over once the socket has taken it */
};

/* Makes the exchange of the connection's next request. NULL: no memory. */
struct burble__exchange *burble__exchange_create(struct burble__connection *connection);

/* Frees it; logs it, unless the client has left before. Its connection refers to it no more. */
void burble__exchange_destroy(struct burble__exchange *exchange);

/* The request id; `text` has room for it. */
const char *burble__exchange_request_id(const struct burble__exchange *exchange,
                                        char text[BURBLE__REQUEST_ID_MAX + 1]);

/* The problem of the request, to be filled in. NULL: no memory; it has one that says so. */
struct burble__problem *burble__exchange_new_problem(struct burble__exchange *exchange);

/* A piece of the body. 0, or the status to refuse it with. */
unsigned burble__exchange_take_body(struct burble__exchange *exchange, const char *bytes, size_t n);

/* Frees `in`. */
void burble__exchange_forget_request(struct burble__exchange *exchange);

/* Adds a header line to the response: "Name: value\r\n", as printf does. Without memory, it is left out. */
void burble__exchange_header(struct burble__exchange *exchange, const char *format, ...)
    BURBLE__PRINTF(2, 3);

/* The header lines so far, to be appended to. NULL: no memory. */
struct burble__buffer *burble__exchange_extra(struct burble__exchange *exchange);

/* A whole response. What the socket does not take of `bytes` is copied. */
void burble__exchange_reply(struct burble__exchange *exchange, unsigned status, const char *type,
                            const char *bytes, size_t len);

/* The same; takes the buffer's memory. */
void burble__exchange_reply_buffer(struct burble__exchange *exchange, unsigned status,
                                   const char *type, struct burble__buffer *body);

/* An error in OpenAI's form. */
void burble__exchange_problem(struct burble__exchange *exchange,
                              const struct burble__problem *problem);

/* The same, made as by burble__problem_set. */
void burble__exchange_refuse(struct burble__exchange *exchange, unsigned status, const char *code,
                             const char *param, const char *format, ...) BURBLE__PRINTF(5, 6);

/* Writes the head of a response of events to `out`. False: no memory. */
bool burble__exchange_begin_events(struct burble__exchange *exchange, struct burble__buffer *out);

/* Counts the request, once: before the last bytes of its response are written, so that whoever has read them finds it in
 * the metrics. */
void burble__exchange_count(struct burble__exchange *exchange);

/* The response was handed to the connection, in whole: it is over once the socket has taken it. */
void burble__exchange_end(struct burble__exchange *exchange);

/* The response cannot be completed: closes the connection, so that the client does not take it for whole. */
void burble__exchange_break(struct burble__exchange *exchange, const char *result);

/* ---- for the connection ------------------------------------------------------------------------------- */

/* The socket has taken everything. */
void burble__exchange_on_drained(struct burble__exchange *exchange);

/* The client has left: the exchange is destroyed now, or when its work is done. */
void burble__exchange_on_left(struct burble__exchange *exchange);

/* When the exchange has to be looked at next, in ms; UINT64_MAX: never. And that look. It may destroy it. */
uint64_t burble__exchange_due(const struct burble__exchange *exchange);
void burble__exchange_on_due(struct burble__exchange *exchange, uint64_t now);

#endif
