/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_HUB_H
#define BURBLE_PYTHON_HUB_H

#include "core.h"

typedef struct {
    PyObject_HEAD
    burble_hub *hub;      /* NULL once closed */
    const PyObject *loop; /* which loop it serves: compared, never used; the loop closes the hub
                             when it goes */
} HubObject;

/* The open hub of the running loop (a new reference). Where there is no running asyncio loop,
 * RuntimeError. `last`, a hub or NULL, is tried first. */
HubObject *hub_of_running_loop(struct core *core, HubObject *last, PyObject **loop);

#endif
