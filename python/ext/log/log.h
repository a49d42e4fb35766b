/* SPDX-License-Identifier: MIT
 *
 * _core.Log: a stream with Python's additions: the reason of its end, the exception of its failure
 * with its traceback, deadlines, and records that are objects.
 *
 * All functions here are called with the GIL, and return with it. An append releases it while it waits, and
 * while it wakes a thread that needs it.
 */
#ifndef BURBLE_PYTHON_LOG_H
#define BURBLE_PYTHON_LOG_H

#include "common/core.h"
#include "log/deadlines.h"
#include "log/writer_stats.h"

struct ReaderObject;
struct consumer;

typedef struct LogObject {
    PyObject_HEAD
    /* What each append and each wait uses comes first. */
    struct core *core;
    burble_stream *stream;
    struct ReaderObject *readers; /* the first of a list, not references: each takes itself out */
    struct under_way appending;   /* the stream's append, perhaps without the GIL */
    unsigned long generated_in;   /* the thread in which a job generates it; 0: no job does */
    uint64_t blocked;             /* nanoseconds that appends have waited for readers */
    bool begun;                   /* a token has come */
    bool objects;                 /* a record is a reference to an object (objects.h), not text */
    struct deadlines deadlines;
    /* When the last token came; only where deadlines.token_for is set, or it had to wait. */
    uint64_t active_at;

    uint64_t full_since; /* when the present append began to wait for readers; 0: none does */
    struct writer_stats *writer_stats; /* of a native writer; NULL: Python writes it */
    PyObject *weak;

    /* How it ended: written together with the end, while the GIL is held. */
    PyObject *reason; /* as given to end(); or NULL */
    PyObject *match;  /* the same */
    /* The exception of a failure, made when it is first asked for where it is burble's. */
    PyObject *error;
    PyObject *traceback; /* that it had when it came here; or NULL */

    PyObject *id; /* see log_id; NULL: nobody has asked for it */
} LogObject;

/* A log of a stream with these options; NULL: the defaults. A new reference; NULL with an exception. */
LogObject *log_create(struct core *core, const burble_stream_options *options);

/* Appends text. With `len` 0, only counts `tokens` tokens for the timeouts, and reports the state of the log.
 * Waits, without the GIL, while a reader is at its limit: `bytes` must stay valid meanwhile. One
 * thread at a time, else RuntimeError.
 *
 * 0, or -1 with an exception: Cancelled; Error, where the log has ended; the timeout, where one has
 * passed; whatever a signal handler has raised in the main thread. */
int log_append(LogObject *self, const char *bytes, size_t len, uint32_t tokens);

/* A thread that knows nothing of Python writes and ends its stream from now on. Takes one of the two
 * references to `writer_stats`, and new ones to `stop_strings` and `keeper`. */
void log_set_native_writer(LogObject *self, struct writer_stats *writer_stats,
                           PyObject *stop_strings, PyObject *keeper);

/* Ends it; `reason` (a str or None) and `match` (any object) may be NULL. Whether this was its end. */
bool log_end(LogObject *self, PyObject *reason, PyObject *match);

/* Fails it with an exception, as the exception stands. Whether this was its end. An exception that is set stays. */
bool log_fail(LogObject *self, PyObject *exception);

/* The same with the exception that is set, which stays. */
void log_fail_as_raised(LogObject *self);

/* An exception is set. If it says that there is no memory, text may have been lost, and the log fails with it, so
 * that no reader reads past the gap. (A tokenizer that raises leaves all as it was.) Returns -1. */
int log_lose_text(LogObject *self);

/* Whether an append now wakes a thread that needs the GIL at once (see consumer_wakes). */
bool log_wakes(const LogObject *self);

bool log_is_open(const LogObject *self);

/* The state of the writing, by Python or by a thread that knows nothing of it. */
struct writing_state log_writing_state(const LogObject *self);

/* When this consumer, which finds nothing, or, NULL, one that goes by the system's clock, should look whether the log
 * is overdue. 0: never. */
uint64_t log_due(const LogObject *self, const struct consumer *consumer);

/* Whether this thread may wait for the log; false with RuntimeError if the log is generated in it, so that it
 * would wait for itself. */
bool log_may_be_waited_for(const LogObject *self);

/* Fails the log if a deadline has passed: by the clock of this consumer, or, NULL, the system's. 0, or -1
 * with an exception. */
int log_expire(LogObject *self, const struct consumer *consumer);

/* The exception with which the log has failed: a new reference; NULL with an exception. */
PyObject *log_error(LogObject *self);

/* Raises it, with the traceback with which it came here: several readers do not pile theirs up. */
void log_raise(LogObject *self);

/* The log's id, unique everywhere: 128 random bits as text, made at the first call. A new reference, or NULL
 * with an exception. */
PyObject *log_id(LogObject *self);

/* The exception with which it failed, as a new reference; else None. NULL with an exception. */
PyObject *log_get_error(LogObject *self);

#endif
