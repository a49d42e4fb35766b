/* SPDX-License-Identifier: MIT
 *
 * An answer: the stream of its frames, and what the server knows of it. Whoever uses it has a reference.
 */
#ifndef BURBLE_SERVE_ANSWER_H
#define BURBLE_SERVE_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include <burble/serve.h>
#include <burble/stream.h>

#include "base/atomic.h"
#include "serve/event.h"
#include "serve/models.h"
#include "serve/position.h"

/* The longest begin frame: the longest names, and six numbers. */
#define BURBLE__BEGIN_MAX (2 * BURBLE_FRAME_MAX_NAME + 80)

/* The longest Idempotency-Key, in bytes. */
#define BURBLE__IDEMPOTENCY_MAX 255

/* The hexadecimal digits of a capability: 128 random bits. */
#define BURBLE__TOKEN_LEN 32

/* The streams of plain text that an answer is made of (recorder.h): one for each choice. */
struct burble__sources {
    size_t n;
    burble_stream *streams[];
};

struct burble__answer {
    _Atomic(uint32_t) references;
    struct burble__sources *_Atomic sources; /* NULL: none; set once */
    /* Constant once it is created. */
    burble_stream *stream;
    struct burble__envelope *envelope;
    struct burble__model *model;
    uint64_t key;            /* the identity of the API key that asked for it */
    uint64_t began;          /* by burble_now */
    uint64_t body_hash;      /* of the request's body */
    const char *idempotency; /* NULL: none */
    /* The registry's, under its lock. */
    struct {
        struct burble__answer *next[3];       /* in the buckets of its tables */
        struct burble__answer *newer, *older; /* of those that run, or of those that have ended */
        uint32_t clients;
        enum { BURBLE__UNLISTED, BURBLE__RUNNING, BURBLE__ENDED } list; /* it has a reference */
        /* RUNNING: when the last client left, or it was created; ENDED: when it was. */
        uint64_t since;
        union {
            uint64_t bytes;   /* ENDED: of its log */
            uint64_t checked; /* RUNNING: when its log was last measured */
        };
    } of_registry;
    /* It measures the log of an answer that was without a client; only the tick reads it. */
    burble_reader *meter;
    uint64_t meter_bytes; /* what it has read */
    bool resumable;
    bool found;            /* by a finder: another server has taken its request */
    _Atomic(bool) moved;   /* it goes on at other servers: this one's clients are to ask those */
    _Atomic(bool) counted; /* a client that has read it to its end has counted it: metrics.h */
    char name[sizeof "chatcmpl-" + BURBLE__STREAM_ID_LEN]; /* `id` in replies */
    char texts[]; /* the token, which is empty unless it is resumable, and the idempotency key */
};

struct burble__answer_options {
    burble_serve_route route;
    uint64_t flags;              /* of the begin frame: burble__request_flags */
    struct burble__model *model; /* a reference is taken */
    uint64_t key;
    uint64_t body_hash;
    bool resumable;
    const char *idempotency; /* NULL: none; not terminated by NUL */
    size_t idempotency_len;  /* at most BURBLE__IDEMPOTENCY_MAX */
    uint64_t now;            /* by burble_now */
    uint64_t created;        /* seconds since 1970 */
};

/* Creates an answer with its stream, which has its begin frame; a stream that is resumable, or that has an idempotency key,
 * keeps all frames. BURBLE_OK, with one reference; BURBLE_ENOMEM; BURBLE_ESYSTEM: no random numbers. */
int burble__answer_create(const struct burble__answer_options *options,
                          struct burble__answer **out);

/* The begin frame of an answer with these options: writes it to `bytes`, which have room for BURBLE__BEGIN_MAX, and returns its
 * length. *begin refers to the answer. */
size_t burble__answer_begin(const struct burble__answer *answer,
                            const struct burble__answer_options *options, burble_frame *begin,
                            char *bytes);

/* An answer that a finder has found, of the finder's functions. Takes over the reference to the stream, also if it fails.
 * BURBLE_OK, BURBLE_ENOMEM, or BURBLE_EFORMAT: its first frame is not that of the answer `id`. */
int burble__answer_create_found(const burble_serve_finder *finder, const burble_serve_found *found,
                                const char *id, uint64_t now, struct burble__answer **out);

struct burble__answer *burble__answer_ref(struct burble__answer *answer);

/* Drops a reference and sets *handle to NULL. NULL and a pointer to NULL are allowed. */
void burble__answer_drop(struct burble__answer **handle);

/* Cancels its stream and tells the backend, once; must be called in a thread of an event loop. Returns false if the stream
 * was not open any more. */
bool burble__answer_cancel(struct burble__answer *answer);

/* Fails its stream, and tells the backend as of a cancelled one; must be called in a thread of an event loop. Returns false
 * if the stream was not open any more. */
bool burble__answer_fail(struct burble__answer *answer, int code, const char *message);

/* The name of its stream: BURBLE__STREAM_ID_LEN digits, and NUL. */
const char *burble__answer_stream(const struct burble__answer *answer);

/* Reads and cancels it, in place of a key: BURBLE__TOKEN_LEN digits, and NUL; "" unless it is resumable. */
static inline const char *burble__answer_token(const struct burble__answer *answer)
{
    return answer->texts;
}

/* Whether its log can be read from the beginning, so that it lives on without a client. */
static inline bool burble__answer_is_kept(const struct burble__answer *answer)
{
    return answer->resumable || answer->idempotency != NULL;
}

/* Whether other servers show it, too, so that it is kept here only while it has a client. */
static inline bool burble__answer_is_shared(const struct burble__answer *answer)
{
    return answer->model->backend.left != NULL;
}

/* Whether it goes on without a client here. */
static inline bool burble__answer_goes_on(const struct burble__answer *answer)
{
    return answer->found || burble__answer_is_kept(answer);
}

/* Its last client has left, and it goes on elsewhere: tells the backend. Any thread. */
void burble__answer_leave(struct burble__answer *answer);

/* Gives the answer its sources, whose references it takes; they are cancelled with it, or now, if it is not open any more.
 * BURBLE_OK; BURBLE_EINVAL: it has some already; BURBLE_ENOMEM. Any thread. */
int burble__answer_set_sources(struct burble__answer *answer, burble_stream *const *streams,
                               size_t n);

/* Cancels its sources, if there are any. Any thread. */
void burble__answer_cancel_sources(struct burble__answer *answer);

/* The hash of a body, for body_hash. */
uint64_t burble__body_hash(const char *body, size_t len);

#endif
