/* SPDX-License-Identifier: MIT
 *
 * A consumer: the part of a streamer, a reader or a merged reader that waits for what comes next. One
 * thread at a time blocks there (`for`), or one task is suspended (`async for`, see anext.c).
 *
 * What it waits for is its kind's business; how it waits is the same for all. All under the GIL.
 *
 * Reading may run Python code: a tokenizer's, a finalizer's, a signal handler's. Such code, and other
 * threads meanwhile, may call anything of the consumer's owner: `reading` refuses those that would read.
 */
#ifndef BURBLE_PYTHON_CONSUMER_H
#define BURBLE_PYTHON_CONSUMER_H

#include "common/core.h"
#include "waiting/liveness.h"
#include "waiting/loop_clock.h"
#include "waiting/loop_hub.h"

/* The outcome of reading without waiting. */
enum reading {
    READ_VALUE,
    READ_NOTHING, /* nothing there yet */
    READ_END,
    READ_ERROR /* with an exception */
};

/* The functions of a kind of consumer; `self` is the consumer's owner. */
struct consumer_kind {
    /* Reads without waiting: *value is a new reference where there is one. */
    enum reading (*read)(PyObject *self, PyObject **value);

    /* Parks at a hub, which is to call consumer_ready. One of burble's results: BURBLE_AGAIN parked,
     * BURBLE_OK something has come meanwhile, or an error. */
    int (*park)(PyObject *self, HubObject *hub);

    /* Blocks without the GIL until there may be something, as burble_reader_wait does. */
    int (*wait)(PyObject *self, uint64_t until);

    /* When a wait that began at `began` is over, in nanoseconds of CLOCK_MONOTONIC; 0: never. It may
     * move while the wait lasts. For tasks, `began` is set only if `check_alive` is non-NULL. */
    uint64_t (*deadline)(PyObject *self, uint64_t began);

    /* That time has come: READ_NOTHING to read once more. */
    enum reading (*timed_out)(PyObject *self, bool in_thread);

    /* Checks whether the producer has died without a word, as producer_check_alive does; NULL: needs no
     * check. */
    int (*check_alive)(PyObject *self, PyObject **frames);

    /* Forgets the parent's hubs, in a forked child; NULL: knows none. */
    void (*renew)(PyObject *self);

    /* Reading is over, for the moment, with or without an exception; NULL: does nothing. */
    void (*after)(PyObject *self);
};

struct consumer {
    /* What each wait of a task uses comes first. */
    struct core *core;
    PyObject *owner; /* the object that it is a part of: not a reference */
    const struct consumer_kind *kind;
    uint64_t forks;          /* of the process where it was used last: base/fork.h */
    HubObject *hub;          /* of the loop where it waited last; or NULL */
    PyObject *future;        /* what its task waits for; or NULL */
    PyObject *spare;         /* a future to use again; or NULL */
    PyObject *spare_anext;   /* the same for the awaitables of __anext__ */
    unsigned int streak;     /* values handed out without giving way to the loop */
    bool listed;             /* whether its hub counts it among those that are parked there */
    bool reading;            /* a call is reading or waiting */
    bool blocked;            /* a thread waits, without the GIL */
    bool parking;            /* a task is about to wait, and other threads may run */
    bool timed_out;          /* the present wait of a task has */
    struct watched *watched; /* where the kind has check_alive; else NULL */
    struct loop_clock clock; /* of the loop where a task waits */

    uint64_t streak_began;      /* when the present streak did */
    PyObject *timer;            /* a handle of the loop's, where one runs; or NULL */
    const PyObject *timer_loop; /* that loop: compared, never used */
    uint64_t timer_at;          /* when it fires */
};

/* `watched`, which lives as long, where the kind has check_alive; else NULL. */
void consumer_init(struct consumer *self, PyObject *owner, const struct consumer_kind *kind,
                   struct watched *watched, struct core *core);

/* Called before anything else: in a forked child, forgets the waits of the parent's threads and tasks,
 * which do not exist in the child. */
void consumer_here(struct consumer *self);

/* Visits and clears what it refers to. */
int consumer_traverse(struct consumer *self, visitproc visit, void *arg);
void consumer_clear(struct consumer *self);

/* Whether new text now wakes a thread that needs the GIL at once: a thread that blocks here, or the thread of a
 * loop whose only task waits here. */
bool consumer_wakes(const struct consumer *self);

/* False only if consumer_wakes is false for all consumers. It looks at counts alone: where there are many consumers, they are
 * out of the cache. */
bool consumers_may_wake(const struct core *core);

/* Forgets a wait in a loop that was closed, because that loop will never resume it. 0, or -1 with an
 * exception. */
int consumer_forget_closed_loop(struct consumer *self);

/* Returns true if no thread or task waits here; otherwise raises RuntimeError and returns false. A task that
 * waited in a closed loop does not count, because it will never be resumed. */
bool consumer_is_free(struct consumer *self);

/* Reserves reading for the caller until consumer_end_reading. Returns true, or false with RuntimeError if
 * another call is reading. */
bool consumer_begin_reading(struct consumer *self);
void consumer_end_reading(struct consumer *self);

/* __next__: blocks until there is a value. NULL without an exception at the end. */
PyObject *consumer_next(struct consumer *self);

/* __anext__: an awaitable for the next value. */
PyObject *consumer_anext(struct consumer *self);

/* Suspends, after the caller has begun reading and found nothing. 1 if something has come in the meantime; 0 if
 * it is parked, with a new reference in *future; -1 with an exception. */
int consumer_park(struct consumer *self, PyObject **future);

/* For `park` to give to burble_reader_attach, with the consumer as its argument. */
void consumer_ready(burble_reader *reader, void *consumer);

/* No timer is needed any more. */
void consumer_stop_timer(struct consumer *self);

/* The method _on_timer of an owner that tasks can wait for, which has to have weak references. */
PyObject *consumer_on_timer(struct consumer *self);

#endif
