/* SPDX-License-Identifier: MIT
 *
 * _core.Reader: a position in a log, and waiting there.
 */
#ifndef BURBLE_PYTHON_READER_H
#define BURBLE_PYTHON_READER_H

#include "base/buffer.h"
#include "log/log.h"
#include "waiting/consumer.h"

typedef struct ReaderObject {
    PyObject_HEAD
    /* What each reading uses comes first. */
    LogObject *log;
    burble_reader *reader;      /* NULL once closed, and not waited at any more */
    struct consumer *read_by;   /* its own consumer, or that of a Merged */
    struct ReaderObject *after; /* the log's other readers */
    HubObject *attached;        /* a reference: the hub that it is attached to; or NULL */
    uint64_t last;              /* of the record handed out last, plus one; 0: none yet */
    uint64_t until;             /* when waiting raises Timeout; 0: never */
    bool coalesce;
    bool closed;
    /* Read, but not handed out, because there was no memory: it comes next. */
    PyObject *kept;                  /* as a value already; or NULL */
    struct burble__buffer *gathered; /* or the text of several; or NULL */
    burble_record unread;            /* or where its `text` is not NULL */
    struct consumer consumer;

    struct ReaderObject *before; /* as `after` */
    uint64_t position;           /* once `reader` is NULL */
    uint64_t timeout;            /* the nanoseconds that led to `until`, for the message */
    PyObject *weak;              /* references to it */
} ReaderObject;

/* A reader at `start` as Log.reader has it, without a limit: a new reference. NULL with an exception. */
ReaderObject *reader_create(LogObject *log, long long start);

/* log.reader(start=0, /, max_lag=0, on_lag="block"). */
PyObject *reader_create_method(LogObject *log, PyObject *args, PyObject *kwargs);
extern const char reader_create_doc[];

/* Whether it is read by itself, not by a Merged; else RuntimeError. */
bool reader_is_own(ReaderObject *self);

/* Whether the reader rests: text does not wake it, because of its interval. */
bool reader_rests(const ReaderObject *self);

/* Reads without waiting. */
enum reading reader_read(ReaderObject *self, PyObject **value);

/* Whether it has read a value that it could not hand out, because there was no memory: reading gives that next. */
bool reader_holds_value(const ReaderObject *self);

/* Reads a reader that is not closed, without waiting. BURBLE_OK with a value, or with NULL and an exception;
 * otherwise burble's result. */
int reader_next_value(ReaderObject *self, PyObject **value);

/* What such a result means, with an exception if it is an error. */
enum reading reader_no_value(ReaderObject *self, int rc);

/* The reader of the library, which is the caller's: this one is closed. NULL with RuntimeError if it was read. */
burble_reader *reader_give_away(ReaderObject *self);

/* Nobody waits at it any more, and nobody will. The last one that goes cancels the log. */
void reader_let_go(ReaderObject *self);

extern const struct consumer_kind reader_consumer;

/* When a wait at it ends without text: at a deadline of the log, or because its text is due. 0: never. */
uint64_t reader_deadline(const ReaderObject *self, const struct consumer *consumer);

/* Parks at a hub, whose dispatch is to call `ready`. One of burble's results. */
int reader_park(ReaderObject *self, HubObject *hub, burble_ready_fn *ready, void *arg);

/* Blocks until there may be something, as burble_reader_wait does. */
int reader_wait(ReaderObject *self, uint64_t until);

/* Attaches it to no hub any more. */
void reader_detach(ReaderObject *self);

#endif
