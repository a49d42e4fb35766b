/* SPDX-License-Identifier: MIT
 *
 * Rounds: one generation of a streamer that is used for several, one after the other.
 *
 * transformers' streamers may be used again: after end() the next put() begins anew, and a consumer
 * that has read to an end may iterate again for what comes next. Each such generation is a stream of
 * its own here. The writing side and the reading side each stand in a round and go on by themselves;
 * whoever comes first to the end of a round makes the next one.
 *
 * A round lives while a side stands in it or an earlier one. All under the GIL. Letting go of what it
 * refers to may run Python code, which may move a side on: who uses a round across such a call has a
 * reference of its own.
 */
#ifndef BURBLE_PYTHON_ROUND_H
#define BURBLE_PYTHON_ROUND_H

#include "common/core.h"
#include "detokenize/pipeline.h"
#include "waiting/hub.h"
#include "waiting/liveness.h"

struct round {
    burble_stream *stream;
    burble_reader *reader;
    HubObject *hub;  /* a reference: the hub that the reader is attached to; or NULL */
    PyObject *error; /* what generate raised, where it did */
    /* Of a producer that died: its pipeline, with the text that it still holds, until the reading side
     * takes it; or NULL. */
    struct pipeline *left;
    struct producer producer;
    PyObject *match; /* of a stop string that ended it, as detokenizer_match has it; or NULL */
    bool written;    /* the writing side is done with it */
    int refs;
    struct round *next; /* a reference */
};

/* A round with one reference; NULL with an exception. */
struct round *round_create(struct core *core);

struct round *round_ref(struct round *round);
void round_unref(struct round *round);

/* Moves *side, a reference to a round, on to the next one. 0, or -1 with an exception. */
int round_advance(struct core *core, struct round **side);

/* Visits what a chain of rounds refers to. */
int round_traverse(struct round *round, visitproc visit, void *arg);

#endif
