/* SPDX-License-Identifier: MIT
 *
 * Whether a generation still runs, where its thread outlives it.
 *
 * A thread that exits fails its streams by itself. A thread of a pool lives on when generate raises,
 * and neither put() nor end() is called any more: nothing that the streamer sees tells this from a
 * slow model. But transformers' generate calls end() before it returns, always. So while a round is
 * being written from within a call of it, that call's frame is remembered; and when a consumer has
 * waited for a while, and the frame is no longer on its thread's stack, the round has died.
 *
 * Functions other than transformers' may come back to a streamer in another call, so nothing is
 * concluded from theirs.
 */
#ifndef BURBLE_PYTHON_PRODUCER_H
#define BURBLE_PYTHON_PRODUCER_H

#include "streamers/round.h"

/* How long a consumer waits before it looks, in nanoseconds, and how often it looks again. */
#define PRODUCER_LOOK_NS 500000000u

/* Called in the thread that writes, each time: remembers it, and the call of generate that it is in, if
 * it is in one. A thread that has exited since then, with
 * the round open, has died: then the round fails first (the system may not have come to it yet).
 * 0, or -1 with an exception. */
int producer_note(struct core *core, struct round *round);

/* Fails the round if the thread that wrote it last has exited. Never fails itself. */
void producer_check_thread(struct round *round);

/* Fails the round if its generate has come to an end without ending it. `frames` is NULL or what
 * sys._current_frames() has given a moment ago, and is set so that several rounds can share it.
 * 0, or -1 with an exception. All of these may run Python code: the caller has a reference to the
 * round. */
int producer_look(struct round *round, PyObject **frames);

#endif
