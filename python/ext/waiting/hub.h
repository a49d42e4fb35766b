/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_HUB_H
#define BURBLE_PYTHON_HUB_H

#include "common/core.h"

struct consumer;

typedef struct {
    PyObject_HEAD
    struct core *core;
    burble_hub *hub; /* NULL once closed */
    /* Which loop it serves, without a reference: the loop closes the hub when it goes. So it is only
     * compared, unless that loop is known to run. */
    PyObject *loop;
    PyObject *note; /* while it resumes tasks: what says that it is still their loop; or NULL */
    size_t waiting; /* consumers that are parked here */
    struct consumer *first; /* of those, who want to be looked after */
    bool trio;              /* the loop is a run of trio */
    bool own_clock;         /* the loop does not go by the system's clock */
    bool dispatching;       /* resumes tasks now: whoever closes it leaves the descriptor to that */
    bool looking;           /* whether the loop is to call _look */
    bool holding;           /* whether the loop is to call _poll, and nobody signals */
    uint64_t held_for;      /* how long the present or last hold is, in nanoseconds */
    uint64_t drained_at;    /* when the loop looked last */
    uint64_t more;          /* reads that found something without waiting, so far */
} HubObject;

/* The asyncio loop that runs here, or, in a run of trio, that run's burble._trio.Run: a new reference;
 * None where there is neither. NULL with an exception. */
PyObject *hub_running_loop(struct core *core, bool *trio);

/* The open hub of the running loop (a new reference), and that loop. Where none runs, RuntimeError.
 * `last`, a hub or NULL, is tried first. */
HubObject *hub_of_running_loop(struct core *core, HubObject *last, PyObject **loop);

/* How far the clock of a loop, which runs here, is ahead of the system's, in nanoseconds (see
 * consumer_ahead). 0, or -1 with an exception. */
int hub_lead(PyObject *loop, int64_t *lead);

/* The writer waits for somebody who is parked here: the loop is not to sleep out its hold. Any thread
 * that has the GIL. */
void hub_hurry(HubObject *self);

/* Notes that a consumer is parked at its hub. */
void hub_enlist(struct consumer *consumer);

/* Has the hub's loop, which is `loop`, look after the consumers that want it: so a generation which has
 * died without a word is found (see producer.h). 0, or -1 with an exception. */
int hub_look_later(HubObject *self, PyObject *loop);

/* It is parked no longer. Fine for one that is not. */
void hub_delist(struct consumer *consumer);

/* Whether text that comes for a parked consumer now wakes its loop, and for it alone. Where others are
 * parked there, too, it may be the first text of a step that moves them all. */
bool hub_wakes_for(const struct consumer *consumer);

#endif
