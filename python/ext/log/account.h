/* SPDX-License-Identifier: MIT
 *
 * What a thread that writes a log's stream without Python, such as an engine's, tells of it: how fast
 * tokens come, how long it waits for readers, which stop string it met. It has a lock of its own, so
 * that neither side needs the GIL.
 */
#ifndef BURBLE_PYTHON_ACCOUNT_H
#define BURBLE_PYTHON_ACCOUNT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/stream.h>

#include "log/stats.h"

struct account {
    /* The log's alone: the stop strings that are looked for, a tuple, and what keeps the thread. */
    PyObject *stop_strings;
    PyObject *keeper;

    _Atomic(uint32_t) owners; /* the log, and whoever writes */
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
    uint64_t total_at;     /* when the stream is to fail; 0: never. For whoever writes: */
    burble_stream *stream; /* this one, which that has a reference to */
};

/* What it says at one moment. */
struct account_state {
    bool begun; /* a token has come */
    bool full;
    bool stopped;
    size_t stop;
    uint64_t stop_begin;
    uint64_t active_at;
    uint64_t blocked;
};

/* For two owners; NULL: no memory. */
struct account *account_create(void);

/* One owner less; NULL is fine. Any thread. */
void account_unref(struct account **handle);

/* Takes the lock; but not in a forked child, where the thread that writes is not, and may have had it: there
 * the numbers stay as they are, each of its own moment. */
void account_lock(struct account *account);
void account_unlock(struct account *account);

struct account_state account_look(struct account *account);

#endif
