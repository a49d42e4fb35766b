/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_HUB_H
#define BURBLE_PYTHON_HUB_H

#include "core.h"

struct StreamerObject;

typedef struct {
    PyObject_HEAD
    struct core *core;
    burble_hub *hub;      /* NULL once closed */
    const PyObject *loop; /* which loop it serves: compared, never used; the loop closes the hub
                             when it goes */
    struct StreamerObject *first; /* of those that are parked here */
    bool looking;                 /* whether the loop is to call _look */
    bool holding;                 /* whether the loop is to call _poll, and nobody signals */
} HubObject;

/* The open hub of the running loop (a new reference). Where there is no running asyncio loop,
 * RuntimeError. `last`, a hub or NULL, is tried first. */
HubObject *hub_of_running_loop(struct core *core, HubObject *last, PyObject **loop);

/* Notes that a streamer is parked at its hub, whose loop is `loop`, so that a generation which has
 * died without a word is found (see producer.h). 0, or -1 with an exception. */
int hub_enlist(struct StreamerObject *streamer, PyObject *loop);

/* It is parked no longer. Fine for one that is not. */
void hub_delist(struct StreamerObject *streamer);

#endif
