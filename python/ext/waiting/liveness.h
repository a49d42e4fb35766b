/* SPDX-License-Identifier: MIT
 *
 * Finds a generation that has died without a word, where its thread outlives it.
 *
 * A thread that exits fails its streams by itself. A thread of a pool lives on when generate raises,
 * and neither put() nor end() is called any more: nothing that the streamer sees tells this from a
 * slow model. But transformers' generate calls end() before it returns, always. So while a stream is
 * written from within a call of it, that call's frame is remembered; and when a consumer has
 * waited for a while, and the frame is no longer on its thread's stack, the generation has died.
 *
 * Functions other than transformers' may come back to a streamer in another call, so nothing is
 * concluded from theirs.
 *
 * A thread that waits checks its producer by itself. The tasks that wait at a hub are in the hub's list, which
 * one timer of its loop checks.
 */
#ifndef BURBLE_PYTHON_LIVENESS_H
#define BURBLE_PYTHON_LIVENESS_H

#include "common/thread.h"

/* How long a consumer waits before its producer is checked, in nanoseconds, and how often again. */
#define LIVENESS_INTERVAL_NS 500000000u

/* ---- producers ---- */

/* The producer of a stream. The functions below may run Python code: their callers hold references to the
 * producer and the stream meanwhile. */
struct producer {
    struct thread thread; /* that wrote it last */
    PyObject *frame;      /* the call of generate that writes it, where there is one; or NULL */
};

/* Called in the thread that writes, each time: remembers it, and the call of generate that it is in, if
 * it is in one. A thread that has exited since then, with the stream open, has died: then the stream
 * fails first (the system may not have come to it yet). 0, or -1 with an exception. */
int producer_note(struct producer *producer, struct core *core, burble_stream *stream);

/* Fails the stream if the thread that wrote it last has exited. Never fails itself. */
void producer_check_thread(struct producer *producer, burble_stream *stream);

/* Fails the stream if its generate has come to an end without ending it. `frames` is NULL or what
 * sys._current_frames() has given a moment ago, and is set so that several checks can share it.
 * 0, or -1 with an exception. */
int producer_check_alive(struct producer *producer, burble_stream *stream, PyObject **frames);

int producer_traverse(struct producer *producer, visitproc visit, void *arg);
void producer_clear(struct producer *producer);

/* ---- the tasks that wait at one hub ---- */

struct watched {
    PyObject *owner; /* not a reference */
    /* Calls producer_check_alive. */
    int (*check_alive)(PyObject *owner, PyObject **frames);
    uint64_t since;          /* when the present wait began, by burble_now() */
    struct watch_list *list; /* that it is in; or NULL */
    struct watched *before, *after;
};

struct watch_list {
    struct watched *first;
    size_t n;
    bool scheduled; /* a timer will check it */
};

void watch_add(struct watch_list *list, struct watched *watched);

/* Fine for one that is in no list. */
void watch_remove(struct watched *watched);

/* Checks each that has waited long enough. 0, or -1 with an exception. */
int watch_check(struct watch_list *list);

#endif
