/* SPDX-License-Identifier: MIT
 *
 * The front of a relay: the answers that are shown here. Each has a subscription (subscription.h), which fills a stream.
 *
 *     front.c         messages, replies to attach, looks once a second, and what happens when Redis goes and comes
 *     front_ask.c     submit, find and attach, which other threads wait for; cancel
 *     front_models.c  the models that workers have, which become models of the server; the memory of Redis
 *
 * Everything runs in the relay's thread, except what says otherwise. Of Redis's time, it takes one script for each answer
 * that begins, one for each piece of an answer that is fetched, and once a second one for each 500 answers.
 */
#ifndef BURBLE_RELAY_FRONT_H
#define BURBLE_RELAY_FRONT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include <burble/relay.h>

#include "base/atomic.h"
#include "relay/call.h"
#include "relay/directory.h"
#include "relay/relay.h"

/* The most frames of one reply to attach; the most of these calls in flight; the most answers of a look, which keeps Redis from
 * the steps of workers for about 10 us each. */
#define BURBLE__FETCH_FRAMES 512u
#define BURBLE__FETCHES 64u
#define BURBLE__LOOK_IDS 64u

/* The most bytes of requests whose answers have no text yet: they are kept to be submitted again. */
#define BURBLE__KEPT_MAX ((uint64_t)256 << 20)

/* The most models of a front. */
#define BURBLE__FRONT_MODELS 1024u

/* A thread that waits for what becomes of an answer. It has one reference, the answer another one. */
struct burble__waiter {
    uint32_t references; /* under the front's lock, as the rest */
    bool done;
    int result;
    burble_error error;
    char key[64]; /* of the answer that was found */
};

/* A request, as it is submitted. */
struct burble__kept_request {
    struct burble__call call; /* submit */
    uint64_t charged;
};

struct burble__front_model {
    struct burble__front_model *next;
    struct burble__front *front;
    _Atomic(uint64_t) waiting; /* answers that wait for a worker; read by any thread */
    _Atomic(bool) usable;      /* it has a worker, as the last list says; read by any thread */
    uint64_t absent_since;     /* ns: it has no worker; 0: it has */
    bool offered;              /* the server has it */
    bool seen;                 /* in the last list */
    bool unread;               /* its description is not understood */
    burble_serve_model told;   /* what the server was told: parameters, context, chat */
    char name[BURBLE_FRAME_MAX_NAME + 1];
};

/* An answer that is shown. */
struct burble__shown {
    struct burble__entry entry; /* first */
    struct burble__front *front;
    struct burble__call call;          /* attach */
    struct burble__kept_request *kept; /* NULL: it has text, or was submitted elsewhere */
    struct burble__waiter *waiter;
    struct burble__front_model *model;                 /* NULL: not known */
    struct burble__shown *fetch_before, *fetch_behind; /* in the queue of fetches */
    uint64_t retry_at;     /* ns: when it is fetched again, if `retry` */
    uint64_t fetched_from; /* the first frame that the last attach has asked for */
    /* ns: when its request was first refused in the background; 0: it was not. */
    uint64_t submitted_at;
    bool submitted; /* Redis has its request */
    /* ns: when its last reader here left, while its request is still kept; 0: it has a reader. */
    uint64_t left_at;
    bool sought;    /* its waiter wants to know at once if there is none */
    bool of_server; /* its reader cancels the answer when it cancels the stream */
    bool queued;    /* it is in the queue of fetches */
    bool retry;     /* to be fetched after a while */
    bool gap;       /* what is fetched are frames whose messages were lost */
    bool cut;       /* its reader has cut the stream, as the last tick has found */
    bool gone;      /* to be freed once its calls are answered */
};

struct burble__front {
    struct burble__role role; /* first */
    burble_relay *relay;
    struct burble__directory directory;
    struct burble__shown *fetch_first, *fetch_last;
    unsigned fetches;   /* in flight */
    uint64_t n_retries; /* answers to be fetched after a while */
    uint64_t lost_at;   /* ns: Redis is away; 0: it is there */
    uint64_t back_at;   /* ns: when Redis was there again after a loss, or restarted; 0: never */
    uv_timer_t timer;
    uint64_t ticked_at;
    bool fast; /* the timer's period */
    bool stopping;

    struct burble__call look, list, memory;
    struct burble__entry *cursor; /* the next answer to be looked at */
    size_t n_looked;
    struct burble__stream_id looked[BURBLE__LOOK_IDS];
    struct burble__cancel *cancels; /* that wait for Redis */
    size_t n_cancels;
    struct burble__front_model *models;
    size_t n_models;
    bool was_listed; /* the models, once: the log says if there was none */

    _Atomic(bool) there;           /* Redis */
    _Atomic(bool) crowded;         /* Redis has little memory left */
    _Atomic(const char *) missing; /* what to do, if no model has a worker; NULL: nothing */
    _Atomic(uint64_t) kept;        /* bytes of requests */

    pthread_mutex_t lock;
    pthread_cond_t changed;      /* a waiter is done */
    pthread_mutex_t server_lock; /* while the server's functions are called */
    burble_server *server; /* NULL: none (any more); the relay's thread uses it under server_lock */
};

/* Makes the relay's front: in burble_relay_create. BURBLE_OK, BURBLE_ENOMEM or BURBLE_ESYSTEM. */
int burble__front_create(burble_relay *relay);

/* How long an answer whose frames Redis has lost is waited for, in ns: its worker notices it and writes them again. */
uint64_t burble__front_patience(const burble_relay *relay);

/* ---- front.c: for the other parts ----------------------------------------------------------------------- */

/* Shows an answer. */
void burble__front_show(struct burble__front *front, struct burble__shown *shown);

/* Fetches its frames, or submits it, as soon as there is a call left. */
void burble__front_fetch(struct burble__shown *shown);
void burble__front_retry(struct burble__shown *shown, bool soon);

/* Shows it no longer: frees it, once its calls are answered. */
void burble__front_drop(struct burble__shown *shown);

/* Its reader has left. It is dropped, but not while its request is kept: if Redis loses it, no other process has it. */
void burble__front_leave(struct burble__shown *shown);

/* After the reply to a call: frees it, if it was dropped. Returns whether it was. */
bool burble__front_is_gone(struct burble__shown *shown);

/* Sends as many of the calls that wait as may be in flight. */
void burble__front_pump(struct burble__front *front);

/* Goes on with it as its subscription says. It may be gone afterwards. */
void burble__front_handle(struct burble__shown *shown, enum burble__next next);

/* ---- front_ask.c ---------------------------------------------------------------------------------------- */

/* Its waiter is told; it has none afterwards. `result` BURBLE_OK or an error with this message. False: nobody waits any
 * more. */
bool burble__front_tell(struct burble__shown *shown, int result, const char *message);

/* The reply to the submission of a kept request. It may be gone afterwards. */
void burble__front_submitted(struct burble__shown *shown, const struct redisReply *reply);

/* Forgets the kept request: the answer has text. */
void burble__front_forget_kept(struct burble__shown *shown);

/* This front shows the answer of this name no longer: its frames need not be sent here. */
void burble__front_detach(struct burble__front *front, const struct burble__stream_id *id);

/* Cancels the answer of this name in Redis, now or when Redis is there. False: no memory, or too many are to be cancelled. */
bool burble__front_cancel(struct burble__front *front, const struct burble__stream_id *id);
void burble__front_send_cancels(struct burble__front *front);
void burble__front_free_cancels(struct burble__front *front);

/* The functions of a server's model, and of its finder; `arg` is a burble__front_model, or the front. Any thread. */
int burble__front_submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                         burble_error *error);
int burble__front_find(void *arg, const char *name, burble_serve_found *found, burble_error *error);
void burble__front_on_cancelled(struct burble__front *front, burble_stream *stream);
void burble__front_on_left(struct burble__front *front, burble_stream *stream);

/* ---- front_models.c ------------------------------------------------------------------------------------- */

void burble__front_init_models(struct burble__front *front);
void burble__front_free_models(struct burble__front *front);

/* Once a second, while Redis is there. */
void burble__front_ask_models(struct burble__front *front);

/* NULL: none of this name. */
struct burble__front_model *burble__front_find_model(const struct burble__front *front,
                                                     const char *name, size_t len);

#endif
