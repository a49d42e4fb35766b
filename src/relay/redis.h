/* SPDX-License-Identifier: MIT
 *
 * Two connections to one Redis, on a loop of libuv: one for calls, and one that is subscribed to channels. They live and end
 * together: they are ready once Redis has answered for both, and if one is lost, so is the other one, and both connect
 * again, at most BURBLE__MOST_BACKOFF later. Calls are answered in the order in which they were sent, except that one
 * whose script Redis does not have is sent once more, with the script's text.
 *
 * All functions are called in the loop's thread.
 */
#ifndef BURBLE_RELAY_REDIS_H
#define BURBLE_RELAY_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hiredis.h>
#include <uv.h>

#include <burble/error.h>

#include "relay/call.h"
#include "relay/url.h"

/* The longest time in ms, between two attempts to connect. */
#define BURBLE__MOST_BACKOFF 500u

/* After so many ms without the answer to a call, or to an attempt to connect, the connections are given up. */
#define BURBLE__PATIENCE 5000u

/* A reply that takes so many ms says that Redis stood still. */
#define BURBLE__STALL 500u

struct burble__redis;
struct redisAsyncContext;

/* A channel that is subscribed to. */
struct burble__channel {
    struct burble__channel *next;
    char *name; /* with the prefix; behind the struct */
    void (*take)(const char *bytes, size_t len, void *arg);
    void *arg;
};

struct burble__redis_events {
    /* Both connections are there, and nothing was sent on them. `restarted`: it is another process of Redis than last time. */
    void (*connected)(bool restarted, void *arg);
    /* They were lost, or an attempt has failed: BURBLE_ESYSTEM, or BURBLE_EUNSUPPORTED, and why. All calls have been
     * answered with NULL. Another attempt follows. */
    void (*lost)(const burble_error *why, void *arg);
    void *arg;
};

struct burble__redis {
    uv_loop_t *loop;
    const struct burble__url *url;
    const char *prefix; /* with its braces and colon, such as "{burble}:" */
    struct burble__redis_events events;
    struct burble__channel *channels;

    /* The two, each NULL where there is none. */
    struct redisAsyncContext *calls, *subscribed;
    bool open;      /* between `init` and `close` */
    bool connected; /* both are ready */
    bool calls_ready;
    unsigned subscriptions, wanted; /* confirmed, of so many */
    bool dropping;
    unsigned backoff;    /* ms, for the next attempt */
    uint64_t since;      /* ns: when the present attempt began */
    burble_error reason; /* of the loss */
    char run_id[48];     /* of the process of Redis; "": none yet */
    bool restarted;
    uv_timer_t timer; /* for the next attempt, and for the patience */

    struct burble__call *first, *last; /* calls in flight */
    struct burble__buffer whole;       /* of a call that is sent with its script's text */
    uint64_t lag;                      /* ns, of the last call */
    uint64_t stalled_at;               /* ns: the last reply that took BURBLE__STALL; 0: none did */
    uint64_t n_calls, n_connected;
};

/* Prepares the timer; connects to nothing. `url` and `prefix` must outlive it. 0, or an error of libuv's. */
int burble__redis_init(struct burble__redis *redis, uv_loop_t *loop, const struct burble__url *url,
                       const char *prefix, const struct burble__redis_events *events);

/* Before burble__redis_connect: the channel of this name, before which the prefix and "c:" are put. `take` is called with each
 * message. BURBLE_OK or BURBLE_ENOMEM. */
int burble__redis_subscribe(struct burble__redis *redis, const char *name,
                            void (*take)(const char *bytes, size_t len, void *arg), void *arg);

/* Begins to connect, and does so again after each loss. */
void burble__redis_connect(struct burble__redis *redis);

/* Sends a call, which stays its owner's. False: there is no connection, or no memory; `done` is not called then. */
bool burble__redis_send(struct burble__redis *redis, struct burble__call *call);

/* Gives the connections up, as if they were lost, for this reason; connects again. */
void burble__redis_drop(struct burble__redis *redis, const char *why);

/* Ends the connections and closes the timer. All calls in flight are answered with NULL; no event is reported. The loop
 * must run once more before `finish`. */
void burble__redis_close(struct burble__redis *redis);

/* Frees the rest. */
void burble__redis_finish(struct burble__redis *redis);

/* In a forked child: closes the copies of the descriptors. */
void burble__redis_forget(struct burble__redis *redis);

/* ---- replies ------------------------------------------------------------------------------------------- */

/* Whether it is this string. */
bool burble__reply_is(const redisReply *reply, const char *text);

/* The element `i` of an array, or NULL. */
const redisReply *burble__reply_at(const redisReply *reply, size_t i);

#endif
