/* SPDX-License-Identifier: MIT
 *
 * A relay: a thread with a loop of libuv, its connections to Redis, and its roles: worker (session.h), front (front.h).
 *
 * Threads: everything of a role runs in the relay's thread, except what burble_relay_… functions do before they post.
 * No lock is held while a role runs.
 */
#ifndef BURBLE_RELAY_RELAY_H
#define BURBLE_RELAY_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include <burble/hub.h>
#include <burble/relay.h>

#include "base/atomic.h"
#include "base/error_message.h"
#include "relay/redis.h"
#include "serve/position.h"
#include "serve/recorder.h"

/* What a relay does beside being connected. Embedded in a role's own struct; all functions but `destroy` run in the relay's
 * thread. */
struct burble__role {
    struct burble__role *next;
    /* The connections are there (again). `restarted`: to another process of Redis than before. */
    void (*connected)(struct burble__role *role, bool restarted);
    /* They were lost: all calls have been answered with NULL. Also called for each attempt that fails. */
    void (*lost)(struct burble__role *role);
    /* The relay ends: closes its handles of libuv. The connections are closed after it. */
    void (*stop)(struct burble__role *role);
    /* After the thread has ended, or instead of it: frees the role. In a forked child: `forked`, and what the parent's thread
     * has stays as it is. */
    void (*destroy)(struct burble__role *role, bool forked);
};

/* Something to be done in the relay's thread. */
struct burble__relay_post {
    struct burble__relay_post *next;
    void (*run)(burble_relay *relay, struct burble__relay_post *post);
};

/* Counts for burble_relay_stats_now: written by the relay's thread alone. */
#define BURBLE__RELAY_COUNTS(X)                                                                    \
    X(connected)                                                                                   \
    X(lag_ns)                                                                                      \
    X(pending)                                                                                     \
    X(computing)                                                                                   \
    X(showing)                                                                                     \
    X(commands)                                                                                    \
    X(frames_sent)                                                                                 \
    X(frames_received)                                                                             \
    X(gaps)                                                                                        \
    X(reaped)                                                                                      \
    X(fenced)                                                                                      \
    X(rejoined)                                                                                    \
    X(diverged)                                                                                    \
    X(resumed)                                                                                     \
    X(reconnects)

struct burble__relay_counts {
#define BURBLE__RELAY_COUNT(name) _Atomic(uint64_t)(name);
    BURBLE__RELAY_COUNTS(BURBLE__RELAY_COUNT)
#undef BURBLE__RELAY_COUNT
};

struct burble__session;

struct burble_relay {
    burble_relay_options options; /* the strings are the relay's */
    struct burble__url url;
    char prefix[72];                /* "{burble}:" */
    struct burble__stream_id front; /* its name as a front: random */
    struct burble__front *shown;    /* what it does as a front: front.h */
    uint64_t forks;

    uv_loop_t uv;
    uv_async_t wake;
    uv_poll_t hub_poll;
    uv_timer_t reap_timer;
    burble_hub *hub;
    struct burble__retries retries;
    struct burble__recorders recorders; /* of answers that this process computes */
    struct burble__player *players;     /* of answers that this process reads as text */
    struct burble__redis redis;
    struct burble__role *roles;
    struct burble__session *worker;   /* one of them, or NULL */
    struct burble__stream_id session; /* the worker's, in Redis; "": none */
    struct burble__call reap;
    struct burble__relay_counts counts;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* signalled whenever one of these has changed, under the lock: */
    enum burble__relay_state {
        BURBLE__RELAY_CREATED,
        BURBLE__RELAY_STARTING,
        BURBLE__RELAY_RUNNING,
        BURBLE__RELAY_STOPPED, /* the thread takes no posts any more */
    } state;
    burble_error start_error;
    bool drained; /* a worker: nothing is computed any more, and Redis knows it */
    bool draining;
    bool stopping; /* burble_relay_stop was called */
    struct burble__relay_post *posts, **last_post;
};

/* Has the relay's thread run a post. Any thread. False: the relay does not run (any more), and will not. */
bool burble__relay_post(burble_relay *relay, struct burble__relay_post *post);

/* Adds a role, before burble_relay_start. */
void burble__relay_add_role(burble_relay *relay, struct burble__role *role);

/* For burble_relay_wait: nothing is computed any more, and Redis knows it. Any thread. */
void burble__relay_set_drained(burble_relay *relay);

/* A line for a person. In the relay's thread. */
void burble__relay_log(const burble_relay *relay, const char *format, ...) BURBLE__PRINTF(2, 3);

/* Add to, or set, a count. In the relay's thread. */
#define BURBLE__RELAY_ADD(relay, name, n)                                                          \
    burble__store_relaxed(&(relay)->counts.name,                                                   \
                          burble__load_relaxed(&(relay)->counts.name) + (uint64_t)(n))
#define BURBLE__RELAY_SET(relay, name, n)                                                          \
    burble__store_relaxed(&(relay)->counts.name, (uint64_t)(n))

#endif
