/* SPDX-License-Identifier: MIT
 *
 * One answer that a worker computes, or has computed: its local log, how much of it Redis has, and how it ended.
 *
 * The log is the stream that the backend writes: the begin frame, the frames of workers before, and those that are written
 * here. All of it is kept, so that a Redis that has lost frames can get them again. The reader stands at the first
 * frame that was not sent. Not reading on is what holds the writer: the reader has a limit.
 *
 *     0 … confirmed … sent … end of the stream
 *
 * Everything is called in the relay's thread.
 */
#ifndef BURBLE_RELAY_PUBLICATION_H
#define BURBLE_RELAY_PUBLICATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/relay.h>
#include <burble/stream.h>

#include "base/buffer.h"
#include "relay/call.h"
#include "serve/models.h"
#include "serve/position.h"

/* The longest log of an answer, in bytes: a longer one fails. */
#define BURBLE__MAX_LOG ((uint64_t)16 << 20)

/* The most frames and bytes of one step; of a single longer frame, all. */
#define BURBLE__STEP_FRAMES 512u
#define BURBLE__STEP_BYTES ((size_t)256 << 10)

struct burble__worker_model;

/* What Redis has of an answer beside its frames: strings, which are handed back if it has lost them. */
#define BURBLE__ANSWER_TEXTS(X)                                                                    \
    X(REQUEST)                                                                                     \
    X(DIGEST)                                                                                      \
    X(KEY)                                                                                         \
    X(IDEMPOTENCY)                                                                                 \
    X(BODY)                                                                                        \
    X(LINGER)

enum burble__answer_text {
#define BURBLE__ANSWER_TEXT(name) BURBLE__ANSWER_##name,
    BURBLE__ANSWER_TEXTS(BURBLE__ANSWER_TEXT)
#undef BURBLE__ANSWER_TEXT
        BURBLE__N_ANSWER_TEXTS
};

struct burble__publication {
    struct burble__publication *next_of_table;
    /* The list of the session that it is in; one at a time. */
    struct burble__publication *next, *previous;
    struct burble__publications *list;
    /* Of those with something to send. */
    struct burble__publication *next_dirty;
    bool dirty;

    struct burble__stream_id id;
    struct burble__worker_model *model;
    burble_text texts[BURBLE__N_ANSWER_TEXTS]; /* behind the struct */

    burble_stream *stream;
    burble_reader *reader;
    burble_hub *hub;
    burble_ready_fn *ready;
    uint64_t limit; /* bytes, of the reader */
    size_t share;   /* bytes, of one step */
    /* 4 bytes for each frame that was read, little-endian: of all frames up to it. */
    struct burble__buffer hashes;
    uint64_t bytes;           /* of these frames */
    uint64_t confirmed, sent; /* frames */
    uint64_t found;           /* frames that it had when this worker got it */
    uint64_t progress;        /* burble__now: of its last frame, or when it was taken */

    bool has_slot;   /* counts as one of its model's */
    bool submitting; /* the backend is being asked, in another thread */
    bool taken;      /* by the backend */
    bool bound;      /* to this worker: it has several choices, which write in any order */
    bool bound_sent; /* in the step that is in flight, or confirmed */
    bool cut;        /* cancelled or failed here, rather than by the backend */
    bool unwanted;   /* dropped while it was submitting: it is freed after that */
    bool over;       /* all is read, and this is how it ended: */
    burble_status end;
    bool end_sent;  /* in the step that is in flight, or confirmed */
    bool finished;  /* Redis has its end */
    bool handing;   /* to be given to another worker */
    bool handed;    /* in the step that is in flight */
    bool given_up;  /* it has stalled: it only waits for a sign of its writer */
    uint64_t until; /* burble__now: how long it is kept once it is finished */
};

/* A list, in the order of adding. */
struct burble__publications {
    struct burble__publication *first, *last;
    size_t n;
};

void burble__publications_add(struct burble__publications *list, struct burble__publication *one);

/* Takes it out of the list that it is in; fine if it is in none. */
void burble__publication_leave(struct burble__publication *one);

/* Makes one of an answer with `n` frames, whose bytes follow 4 bytes of hash each; the first one is the begin frame. Its stream has
 * them, and its reader, which is attached to nothing, begins after them. BURBLE_OK; BURBLE_ENOMEM; or BURBLE_EFORMAT: there is no begin
 * frame, or a hash is wrong. */
int burble__publication_create(const char *id, const burble_text texts[BURBLE__N_ANSWER_TEXTS],
                               const burble_text *frames, size_t n, uint64_t max_pending,
                               burble_hub *hub, burble_ready_fn *ready,
                               struct burble__publication **out);

/* Frees it and its references. NULL is fine. */
void burble__publication_destroy(struct burble__publication *one);

/* Cancels what is computed, if `code` is 0, or fails it, and tells the backend. Nothing happens if it is over. */
void burble__publication_cut(struct burble__publication *one, int code, const char *message);

/* A step while it is made. */
struct burble__step {
    struct burble__call *call;
    struct burble__buffer records; /* the frames, which are its last argument */
    size_t frames, bytes;          /* so many may still be added */
};

/* Adds frames that were not sent to a step; sets `over` at the end. Returns whether there may be more. */
bool burble__publication_put(struct burble__publication *one, struct burble__step *step);

/* Has the frames from `k` on sent (again). BURBLE_OK, or BURBLE_ENOMEM: nothing has changed. */
int burble__publication_rewind(struct burble__publication *one, uint64_t k);

/* Whether the first `n` frames, with this hash (4 bytes), are its own. */
bool burble__publication_has(const struct burble__publication *one, uint64_t n, const char *hash);

#endif
