/* SPDX-License-Identifier: MIT
 *
 * The clock of an event loop that does not go by the system's, such as trio's MockClock.
 *
 * Deadlines are times of the system's clock (burble_now). The lead of a loop's clock is its time minus the
 * system's, in nanoseconds; only its growth matters: the deadlines of the tasks in that loop come that much
 * earlier.
 */
#ifndef BURBLE_PYTHON_LOOP_CLOCK_H
#define BURBLE_PYTHON_LOOP_CLOCK_H

#include "common/core.h"

/* The clock of the loop where a consumer waits. */
struct loop_clock {
    const PyObject *loop; /* compared, never used; or NULL */
    int64_t lead;         /* at the last clock_read */
    int64_t lead_at_park; /* when the present wait began */
    bool own;             /* a task waits, in a loop that does not go by the system's clock */
};

/* The lead that a loop had at some moment. */
struct clock_mark {
    const PyObject *loop; /* compared, never used; NULL: no loop ran */
    int64_t lead;
};

/* Notes the lead of `loop`, which runs here, or is None. 0, or -1 with an exception. */
int clock_set_mark(struct clock_mark *mark, PyObject *loop);

/* Reads the clock of `loop`, which runs here, if it is one of its `own`. 0, or -1 with an exception. */
int clock_read(struct loop_clock *clock, PyObject *loop, bool own);

/* Returns the growth of the lead since `mark`, if that is of the same loop, else (also if it is NULL) since the
 * present wait began; 0 if the consumer does not wait in a loop with a clock of its own. */
int64_t clock_ahead(const struct loop_clock *clock, const struct clock_mark *mark);

/* The deadline, so much earlier; 0 is never. */
uint64_t clock_earlier_by(uint64_t deadline, int64_t ahead);

/* Asks `loop`, which runs here, to call `method` after some time of the system's clock; `own`: the loop has a
 * clock of its own. 0, or -1 with an exception. */
int clock_call_later(struct core *core, PyObject *loop, bool own, uint64_t nanoseconds,
                     PyObject *method);

#endif
