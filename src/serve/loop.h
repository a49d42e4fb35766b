/* SPDX-License-Identifier: MIT
 *
 * A loop: a thread with an event loop of libuv, a hub for its readers, and its connections. All loops accept from
 * descriptors of the same listening socket. Other threads reach a loop by posts, and wake it when the
 * server's state has changed.
 *
 * Its memory is shared by its connections: the buffer that sockets are read into, and the one in which events are
 * written before they are sent.
 */
#ifndef BURBLE_SERVE_LOOP_H
#define BURBLE_SERVE_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include <burble/hub.h>
#include <burble/serve.h>

#include "base/buffer.h"
#include "serve/recorder.h"
#include "serve/wheel.h"

/* The threads' name. */
#define BURBLE__LOOP_NAME "burble-loop"

/* Bytes that are read from a socket at once. */
#define BURBLE__INPUT 65536u

struct burble__connection;
struct burble__loop;

/* Something to be done in the loop's thread. */
struct burble__post {
    struct burble__post *next;
    void (*run)(struct burble__loop *loop, struct burble__post *post);
};

struct burble__loop {
    burble_server *server;
    unsigned index;
    pthread_t thread;
    bool started; /* the thread */
    bool created; /* `uv` */
    bool stopping;
    bool accepting;
    int listen_fd; /* a duplicate; -1: closed */
    int spare_fd;  /* closed to accept and close a client where there are no descriptors left */

    uv_loop_t uv;
    uv_poll_t hub_poll, listen_poll;
    uv_timer_t timer; /* turns the wheel */
    uv_async_t wake;
    burble_hub *hub;
    struct burble__wheel wheel;
    uint64_t turn_at;                 /* ms: when `timer` turns the wheel; UINT64_MAX: never */
    struct burble__timer watch_timer; /* the first loop: ticks the registry, and watches a drain */

    pthread_mutex_t lock;
    struct burble__post *posts, **last_post; /* under the lock */
    bool closed;                             /* under the lock: it takes no posts any more */

    unsigned works; /* that have not come back */
    struct burble__connection *connections;
    struct burble__retries retries;
    struct burble__recorders recorders;
    char *input;
    struct burble__buffer output; /* empty between two events of the loop */
    uint64_t random;              /* for request ids */
    uint64_t date_at;             /* s since 1970 */
    char date[32];                /* that, as HTTP has it */
};

/* Makes the loop's handles and memory; starts nothing. Results as burble_server_start. */
int burble__loop_create(struct burble__loop *loop, burble_server *server, unsigned index,
                        int listen_fd, burble_error *error);

/* Starts its thread. */
int burble__loop_start(struct burble__loop *loop, burble_error *error);

/* Frees it. Its thread has been joined or never started. */
void burble__loop_destroy(struct burble__loop *loop);

/* Has it look at the server's state. Any thread. */
void burble__loop_wake(struct burble__loop *loop);

/* Has it run a post. Any thread. False: it has closed, and will not. */
bool burble__loop_post(struct burble__loop *loop, struct burble__post *post);

/* A work of one of its exchanges begins or has ended: it goes on until all have. In its thread. */
void burble__loop_work_begins(struct burble__loop *loop);
void burble__loop_work_ended(struct burble__loop *loop);

/* Now, in ms of the loop's clock: when the present event came. */
static inline uint64_t burble__loop_now(const struct burble__loop *loop)
{
    return uv_now(&loop->uv);
}

/* Sets a timer of the loop's wheel. */
void burble__loop_set(struct burble__loop *loop, struct burble__timer *timer, uint64_t due);
void burble__loop_clear(struct burble__loop *loop, struct burble__timer *timer);

/* The date, for the header. */
const char *burble__loop_date(struct burble__loop *loop);

/* 64 random bits that are not secret. */
uint64_t burble__loop_random(struct burble__loop *loop);

#endif
