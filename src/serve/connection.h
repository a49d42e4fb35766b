/* SPDX-License-Identifier: MIT
 *
 * A connection: a client's socket, and the HTTP on it.
 *
 * Requests are answered one at a time, in their order. The socket is read all the time, also during an answer, so that
 * a client's leaving is seen at once. What a client sends during an answer is kept, at most `max_ignored` bytes, and
 * read as the next request when the answer is over; above that, the connection is cut. A client that closes its side
 * has left, even if it would still read.
 *
 *     IDLE    between requests: no byte of the next one has come
 *     HEAD    a request's line and headers
 *     BODY    a request's body
 *     ANSWER  the request is complete, or its answer is under way
 *     LINGER  the last answer is written: what still comes is dropped, so that the client can read it, for a short time
 *     CLOSED  uv_close was called
 *
 * HTTP is read by llhttp without any leniency. What it accepts and RFC 9112 refuses or leaves to the server is refused
 * here: no Host in HTTP/1.1, or two; Transfer-Encoding in HTTP/1.0; other versions than 1.0 and 1.1. After an error in
 * HTTP the connection is closed, since nobody knows where the next request begins.
 *
 * Everything runs in the thread of the connection's loop.
 */
#ifndef BURBLE_SERVE_CONNECTION_H
#define BURBLE_SERVE_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/buffer.h"
#include "serve/wheel.h"

struct burble__exchange;
struct burble__loop;

enum burble__phase {
    BURBLE__IDLE,
    BURBLE__HEAD,
    BURBLE__BODY,
    BURBLE__ANSWER,
    BURBLE__LINGER,
    BURBLE__CLOSED,
};

/* Bytes of the next requests. */
struct burble__kept {
    struct burble__buffer bytes;
    size_t from; /* so many are read */
};

/* Bytes that wait for the socket, since when, and how the client takes them. */
struct burble__waiting {
    size_t queued;     /* when it was last looked at */
    uint64_t since;    /* ms */
    uint64_t progress; /* ms: when the client last took some */
    uint64_t taken;    /* bytes, since then */
};

struct burble__connection {
    uv_tcp_t tcp; /* first */
    struct burble__loop *loop;
    struct burble__connection *next, **at; /* of the loop's connections */
    struct burble__timer timer;
    struct burble__exchange *exchange; /* the present request; NULL: IDLE, LINGER, CLOSED */
    struct burble__kept *kept;         /* what came during an answer; NULL: nothing */
    struct burble__waiting *waiting;   /* bytes for the socket; NULL: none */
    union {
        uint32_t head_bytes;  /* of the present request; a last ANSWER: bytes that were dropped */
        uint32_t heard_after; /* LINGER: ms until the client last sent something */
    };
    uint64_t since;            /* ms: when the phase began */
    uint64_t key;              /* that counts this connection; 0: none */
    unsigned char address[16]; /* the client's, as IPv6 */
    uint8_t phase;
    bool served;  /* it had a request before */
    bool last;    /* it is closed after the present answer */
    bool pumping; /* requests are being read: connection_next does nothing */
};

/* Takes over a socket that was accepted, and reads it. Closes it if there is no memory. */
void burble__connection_create(struct burble__loop *loop, int socket,
                               const unsigned char address[16]);

/* Sends bytes: what the socket does not take now is copied, and waits. If there is no memory for that, the connection
 * is closed, and false returned: the connection must not be used any more. */
bool burble__connection_write(struct burble__connection *connection, const uv_buf_t *bufs,
                              unsigned n);

/* The same for memory from burble__malloc, which is freed, whatever happens. */
bool burble__connection_give(struct burble__connection *connection, const uv_buf_t *head,
                             char *bytes, size_t len);

/* Bytes that wait for the socket. */
size_t burble__connection_queued(const struct burble__connection *connection);

/* A response to the present request begins. `last`: the connection is closed behind it; so it is if the request is not
 * whole yet. */
void burble__connection_answers(struct burble__connection *connection, bool last);

/* The answer to the present request is over, and the exchange gone: goes on with the next request, or closes. */
void burble__connection_next(struct burble__connection *connection);

/* Sets the timer again: something has changed that it depends on. */
void burble__connection_watch(struct burble__connection *connection);

/* Closes at once. Its exchange is told that the client has left. */
void burble__connection_close(struct burble__connection *connection);

/* A client's address as text; `text` has room for INET6_ADDRSTRLEN. */
void burble__address_write(const unsigned char address[16], char *text, size_t room);

#endif
