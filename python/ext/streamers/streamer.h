/* SPDX-License-Identifier: MIT
 *
 * The base of the streamers: what they hold, and reading them.
 */
#ifndef BURBLE_PYTHON_STREAMER_H
#define BURBLE_PYTHON_STREAMER_H

#include "common/core.h"
#include "detokenize/pipeline.h"
#include "streamers/generation.h"
#include "waiting/consumer.h"

typedef struct StreamerObject StreamerObject;

/* How the generation ended that was read last. */
enum finish {
    FINISH_NONE, /* not yet, or not by itself */
    FINISH_STOP, /* with a stop string */
    FINISH_END   /* by end() */
};

struct StreamerObject {
    PyObject_HEAD
    struct core *core;

    /* The writing side: the thread that generates. */
    struct pipeline pipeline;
    struct generation *writing; /* NULL in a streamer that has no consumer (TextStreamer) */
    bool cancelled;             /* for good */
    struct under_way busy;      /* a method that uses the pipeline: one at a time */
    uint64_t busy_in;           /* the thread that is, as thread_my_number has it */
    bool used;                  /* put() or end() was called since _begin() */
    uint64_t active_at;         /* when the last token came; noted only where there is a timeout */
    /* A stop string has ended the text; what generate still puts is ignored until it calls end(). */
    bool stopped;
    char raise_stopped;       /* put() raises Stopped once the generation is stopped */
    struct thread stopped_by; /* while stopped: the thread that was */
    PyObject *met;            /* with which on_finalized_text ends the log: borrowed; or NULL */

    /* The reading side: one consumer. */
    struct generation *reading;
    uint64_t timeout;        /* nanoseconds; 0: none */
    PyObject *timeout_given; /* the same as it was given, or NULL */
    char stop_on_timeout;
    enum finish finish;
    PyObject *match;        /* with FINISH_STOP: as detokenizer_match has it; else NULL */
    struct watched watched; /* watched.since: when the present wait of a task began */
    struct consumer consumer;
};

/* Whether __init__ has given it something to read; else RuntimeError. */
bool streamer_is_ready(StreamerObject *self);

/* Notes how the generation ended that was read last (in a streamer without a consumer: written), and
 * with which stop string, if one was the reason. */
void streamer_set_finish(StreamerObject *self, enum finish finish, PyObject *match);

/* on_finalized_text(text, stream_end=False) of the types with a consumer: appends to the log. */
PyObject *streamer_on_finalized_text(StreamerObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names);

#define STREAMER_ON_FINALIZED_TEXT                                                                 \
    {"on_finalized_text", (PyCFunction)(void (*)(void))streamer_on_finalized_text,                 \
     METH_FASTCALL | METH_KEYWORDS,                                                                \
     "on_finalized_text($self, text, stream_end=False)\n--\n\n"                                    \
     "Called with each chunk of text as it becomes final; hands it to the consumer, with the\n"    \
     "end where stream_end is true. To be overridden."}

#endif
