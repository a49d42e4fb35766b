/* SPDX-License-Identifier: MIT
 *
 * The deadlines of a log: for its first token, for each further token, and for its end. Waiting consumers check
 * them, and the writer checks the last one; there is no separate thread.
 */
#ifndef BURBLE_PYTHON_DEADLINES_H
#define BURBLE_PYTHON_DEADLINES_H

#include "common/core.h"
#include "log/writer_stats.h"
#include "waiting/loop_clock.h"

/* Times in nanoseconds of CLOCK_MONOTONIC; 0: none. */
struct deadlines {
    uint64_t began;          /* what they count from */
    uint64_t first_at;       /* for the first token */
    uint64_t token_for;      /* how long from one token to the next */
    uint64_t total_at;       /* for the end */
    struct clock_mark clock; /* of the loop in which they were set */
};

/* Sets them from (first, token, total), in seconds from now on or None. 0, or -1 with an exception. */
int deadlines_set(struct deadlines *deadlines, struct core *core, PyObject *args);

/* Whether the state of the writing matters to them. */
bool deadlines_need_state(const struct deadlines *deadlines);

/* When a consumer, which waits by this clock and finds nothing, should look whether one has passed. 0: never. */
uint64_t deadlines_due(const struct deadlines *deadlines, const struct writing_state *state,
                       const struct loop_clock *clock);

/* A timeout that has passed. */
struct passed_deadline {
    PyObject *type;      /* its exception: borrowed; NULL: none has passed */
    const char *message; /* with %S for the seconds */
    uint64_t length;     /* in nanoseconds */
};

/* Which one has passed by now: by this clock, or, NULL, the system's. */
struct passed_deadline deadlines_passed(const struct deadlines *deadlines, const struct core *core,
                                        const struct writing_state *state,
                                        const struct loop_clock *clock);

/* The deadline for the end, which has passed. */
struct passed_deadline deadlines_total(const struct deadlines *deadlines, const struct core *core);

/* The exception that says so: a new reference, NULL with an exception. */
PyObject *deadline_error(const struct passed_deadline *passed);

#endif
