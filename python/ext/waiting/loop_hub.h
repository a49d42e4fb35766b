/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_LOOP_HUB_H
#define BURBLE_PYTHON_LOOP_HUB_H

#include "common/core.h"
#include "waiting/liveness.h"

struct consumer;

/* A part of a consumer that reads many readers, for hub_resume_last. */
struct resumed_last {
    struct consumer *consumer;
    const void *noted_at; /* the hub in whose list it is: compared, never used; NULL: in none */
    struct resumed_last *next; /* there */
};

typedef struct hub {
    PyObject_HEAD
    struct core *core;
    burble_hub *hub; /* NULL once closed */
    /* A list of those that hub_resume_last has noted, with references to their owners. */
    struct resumed_last *last;
    /* Which loop it serves, without a reference: the loop closes the hub when it goes. So it is only
     * compared, unless that loop is known to run. */
    PyObject *loop;
    PyObject *note; /* while it resumes tasks: what says that it is still their loop; or NULL */
    size_t waiting; /* consumers that are parked here */
    struct watch_list watched; /* of those, whose producers are to be checked */
    bool trio;                 /* the loop is a run of trio */
    bool own_clock;      /* the loop does not go by the system's clock: waiting/loop_clock.h */
    bool dispatching;    /* resumes tasks now: a close leaves the descriptor to it */
    bool holding;        /* whether the loop is to call _poll, and nobody signals */
    uint64_t held_for;   /* how long the present or last hold is, in nanoseconds */
    uint64_t drained_at; /* when the loop was here last */
    uint64_t more;       /* reads that found something without waiting, so far */
} HubObject;

/* The asyncio loop that runs here, or, in a run of trio, that run's burble._trio.Run: a new reference;
 * None where there is neither. NULL with an exception. */
PyObject *hub_running_loop(struct core *core, bool *trio);

/* The open hub of the running loop (a new reference), and that loop. Where none runs, RuntimeError.
 * `last`, a hub or NULL, is tried first. */
HubObject *hub_of_running_loop(struct core *core, HubObject *last, PyObject **loop);

/* Ends the loop's hold early, because a writer waits for a reader that is parked here. Any thread that has
 * the GIL. */
void hub_hurry(HubObject *self);

/* To be called by a reader that the hub calls as ready, for a consumer that reads many: its task is resumed after
 * all of them have been called, and so once for the step of an engine. One that is noted at another hub is resumed at
 * once: it has moved to this loop while the other one resumes tasks, or this is a child that one of those has forked. */
void hub_resume_last(HubObject *self, struct resumed_last *last);

/* Has the hub's loop, which is `loop`, check the producers that are watched (waiting/liveness.h). 0, or -1 with
 * an exception. */
int hub_schedule_check(HubObject *self, PyObject *loop);

/* One consumer more, or one less, is parked here. */
void hub_count_waiting(HubObject *self, bool more);

/* Whether text for a consumer that is parked here now wakes its loop for this consumer alone. If other consumers
 * are parked here, too, it may be the first text of a step that writes all their streams. */
bool hub_wakes_for_one(const HubObject *self);

#endif
