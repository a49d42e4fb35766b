/* SPDX-License-Identifier: MIT
 *
 * Statistics of a native writer: a thread, such as an engine's, that writes a log's stream and knows nothing of
 * Python. It notes here how fast tokens come, how long it waits for readers, and which stop string it met. They
 * have a lock of their own, so that neither side needs the GIL.
 */
#ifndef BURBLE_PYTHON_WRITER_STATS_H
#define BURBLE_PYTHON_WRITER_STATS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/stats.h"

struct writer_stats {
    /* The log's alone: the stop strings that are looked for, a tuple, and what keeps the thread. */
    PyObject *stop_strings;
    PyObject *keeper;

    _Atomic(uint32_t) owners; /* the log, its writer, and a server that sends it */
    uint64_t forks;           /* of the process that made it: base/fork.h */
    pthread_mutex_t lock;     /* for all that follows */
    struct stats stats;
    uint64_t active_at; /* when a token came, or the wait for a reader ended, last */
    uint64_t blocked;   /* how long, in nanoseconds, it has waited for readers; */
    uint64_t counted;   /* of that, before the last token came; */
    bool full;          /* it does now */
    bool stopped;       /* a stop string was met: which, and where it begins, in characters */
    size_t stop;
    uint64_t stop_begin;
    uint32_t prompt_tokens; /* known once a token has come */
    uint32_t reused_tokens; /* of these, not computed for this text alone */
};

/* How the writing stands at one moment; also of a log that Python writes. */
struct writing_state {
    bool begun; /* a token has come */
    bool full;
    bool stopped;
    size_t stop;
    uint64_t stop_begin;
    uint64_t active_at;
    uint64_t blocked;
};

/* For two owners; NULL: no memory. */
struct writer_stats *writer_stats_create(void);

/* One owner more. */
struct writer_stats *writer_stats_ref(struct writer_stats *writer_stats);

/* One owner less; NULL is fine. Any thread. */
void writer_stats_unref(struct writer_stats **handle);

/* Takes the lock; but not in a forked child, where the thread that writes is not, and may have had it: there
 * the numbers stay as they are, each of its own moment. */
void writer_stats_lock(struct writer_stats *writer_stats);
void writer_stats_unlock(struct writer_stats *writer_stats);

struct writing_state writer_stats_read(struct writer_stats *writer_stats);

#endif
