/* SPDX-License-Identifier: MIT
 *
 * One generation of a streamer, which may be used for several, one after the other.
 *
 * transformers' streamers may be used again: after end(), the next put() begins a new generation, and a
 * consumer that has read to an end may iterate again for the next one. Each generation is a log with one reader,
 * which the streamer's consumer reads. The writing side and the reading side are each in one generation, and go
 * on independently; the side that first reaches the end of a generation makes the next one.
 *
 * A generation lives while a side is in it or in an earlier one. Everything is under the GIL. Dropping its
 * references may run Python code, which may move a side to another generation: so code that uses a generation
 * across such a call takes a reference to it.
 *
 * The log and its reader belong to the generation alone. The collector does not track them, so Python code cannot
 * find them there (the reader refers to the streamer without a reference); the streamer visits what they refer to.
 */
#ifndef BURBLE_PYTHON_GENERATION_H
#define BURBLE_PYTHON_GENERATION_H

#include "common/core.h"
#include "detokenize/pipeline.h"
#include "log/reader.h"
#include "waiting/liveness.h"

struct generation {
    LogObject *log;       /* a reference */
    ReaderObject *reader; /* a reference */
    /* The pipeline of a producer that died, with the text that it still holds, until the reading side takes it;
     * or NULL. */
    struct pipeline *abandoned;
    struct producer producer;
    bool written; /* the writing side is done with it */
    int refs;
    struct generation *next; /* a reference */
};

/* A generation with one reference, which this consumer reads; NULL with an exception. Making one may run Python
 * code. */
struct generation *generation_create(struct core *core, struct consumer *consumer);

struct generation *generation_ref(struct generation *generation);
void generation_unref(struct generation *generation);

/* Moves *side, a reference to a generation, on to the next one, unless Python code that runs meanwhile has
 * moved it. 0, or -1 with an exception. */
int generation_advance(struct generation **side);

/* Visits what a chain of generations refers to. */
int generation_traverse(struct generation *generation, visitproc visit, void *arg);

#endif
