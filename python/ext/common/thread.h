/* SPDX-License-Identifier: MIT
 *
 * A thread of Python's: which it is, and whether it has exited.
 *
 * The stream itself learns of a thread's exit from the system, which comes to it a moment after
 * Python takes the thread for finished: another generation may begin in that moment.
 */
#ifndef BURBLE_PYTHON_THREAD_H
#define BURBLE_PYTHON_THREAD_H

#include "common/core.h"

struct thread {
    uint64_t number;     /* of ours, which no other thread ever gets; 0: none yet */
    PyObject *object;    /* the threading.Thread; or NULL */
    unsigned long ident; /* Python's number of it, which may be given again */
};

/* The calling thread's number. */
uint64_t thread_my_number(void);

/* Whether it is the calling thread. */
bool thread_is_me(const struct thread *thread);

/* Makes it the calling thread. 0, or -1 with an exception. */
int thread_set(struct core *core, struct thread *thread);

/* Whether it was a thread that Python started, another one than this, and has exited. */
bool thread_has_exited(const struct thread *thread);

void thread_clear(struct thread *thread);

#endif
