/* SPDX-License-Identifier: MIT
 *
 * One generation of a streamer, which may be used for several, one after the other.
 *
 * transformers' streamers may be used again: after end(), the next put() begins a new generation, and a
 * consumer that has read to an end may iterate again for the next one. Each generation has a separate stream.
 * The writing side and the reading side are each in one generation, and go on independently; the side that
 * first reaches the end of a generation makes the next one.
 *
 * A generation lives while a side is in it or in an earlier one. Everything is under the GIL. Dropping its
 * references may run Python code, which may move a side to another generation: so code that uses a generation
 * across such a call takes a reference to it.
 */
#ifndef BURBLE_PYTHON_GENERATION_H
#define BURBLE_PYTHON_GENERATION_H

#include "common/core.h"
#include "detokenize/pipeline.h"
#include "waiting/hub.h"
#include "waiting/liveness.h"

struct generation {
    burble_stream *stream;
    burble_reader *reader;
    HubObject *hub;  /* a reference: the hub that the reader is attached to; or NULL */
    PyObject *error; /* what generate raised, where it did */
    /* The pipeline of a producer that died, with the text that it still holds, until the reading side takes it;
     * or NULL. */
    struct pipeline *abandoned;
    struct producer producer;
    PyObject *match; /* of a stop string that ended it, as detokenizer_match has it; or NULL */
    bool written;    /* the writing side is done with it */
    int refs;
    struct generation *next; /* a reference */
};

/* A generation with one reference; NULL with an exception. */
struct generation *generation_create(struct core *core);

struct generation *generation_ref(struct generation *generation);
void generation_unref(struct generation *generation);

/* Moves *side, a reference to a generation, on to the next one. 0, or -1 with an exception. */
int generation_advance(struct core *core, struct generation **side);

/* Visits what a chain of generations refers to. */
int generation_traverse(struct generation *generation, visitproc visit, void *arg);

#endif
