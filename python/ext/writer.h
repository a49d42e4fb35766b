/* SPDX-License-Identifier: MIT
 *
 * Which thread writes, and whether it has exited.
 *
 * The stream itself learns of a thread's exit from the system, which comes to it a moment after
 * Python takes the thread for finished: another generation may begin in that moment.
 */
#ifndef BURBLE_PYTHON_WRITER_H
#define BURBLE_PYTHON_WRITER_H

#include "core.h"

struct writer {
    uint64_t number;     /* of ours, which no other thread ever gets; 0: none yet */
    PyObject *thread;    /* the threading.Thread; or NULL */
    unsigned long ident; /* Python's number of it, which may be given again */
};

/* The calling thread's number. */
uint64_t writer_my_number(void);

/* Whether it is the calling thread. */
bool writer_is_me(const struct writer *writer);

/* Makes it the calling thread. 0, or -1 with an exception. */
int writer_set(struct core *core, struct writer *writer);

/* Whether it was a thread that Python started, another one than this, and has exited. */
bool writer_has_exited(const struct writer *writer);

void writer_clear(struct writer *writer);

#endif
