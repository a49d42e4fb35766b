/* SPDX-License-Identifier: MIT
 *
 * What the files of the extension share: the module's state and its types.
 */
#ifndef BURBLE_PYTHON_CORE_H
#define BURBLE_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include <burble/binding.h>
#include <burble/chunk.h>
#include <burble/clock.h>
#include <burble/detok.h>
#include <burble/stop.h>
#include <burble/stream.h>

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *Py_NewRef(PyObject *object)
{
    Py_INCREF(object);
    return object;
}
static inline PyObject *Py_XNewRef(PyObject *object)
{
    Py_XINCREF(object);
    return object;
}
#endif

/* Lives as long as the module; every heap type keeps the module. */
struct core {
    PyTypeObject *vocabulary_type;
    PyTypeObject *detokenizer_type;
    PyTypeObject *hub_type;
    PyTypeObject *future_type;
    PyTypeObject *anext_type;
    PyTypeObject *streamer_type;
    PyTypeObject *iterator_type;
    PyTypeObject *async_iterator_type;
    PyTypeObject *log_type;
    PyTypeObject *reader_type;
    PyTypeObject *merged_type;
    PyTypeObject *writer_type;
    PyTypeObject *llama_type;    /* NULL in a build without llama.cpp */
    PyTypeObject *embedder_type; /* the same */
    PyTypeObject *server_type;   /* NULL in a build without the libraries of libburble-serve */
    PyTypeObject *answer_type;   /* the same */
    PyTypeObject *relay_type;    /* NULL in a build without hiredis */

    PyObject *error;         /* burble.Error */
    PyObject *producer_died; /* burble.ProducerDied */
    PyObject *cancelled;     /* burble.Cancelled */
    PyObject *stopped;       /* burble.Stopped */
    PyObject *lagged;        /* burble.Lagged */
    PyObject *gone;          /* burble.Gone */
    PyObject *timeout;       /* burble.Timeout, and what it can be: */
    PyObject *first_token_timeout;
    PyObject *token_timeout;
    PyObject *total_timeout;

    /* Imported at the first use. */
    PyObject *get_running_loop; /* asyncio._get_running_loop */
    PyObject *urandom;          /* os.urandom */
    PyObject *hub_of;           /* burble._loops.hub_of */
    PyObject *on_timer;         /* burble._loops.on_timer */
    PyObject *call_later;       /* burble._loops.call_later */
    PyObject *task_type;        /* burble._loops.CTask: asyncio's tasks in C; or None */
    PyObject *finished;         /* burble._loops.finished: a future that is */
    PyObject *trio_run;         /* burble._trio.current_run */
    PyObject *trio_wait;        /* burble._trio.wait */
    PyObject *trio_checkpoint;  /* burble._trio.checkpoint */
    PyObject *main_thread;      /* threading.main_thread */
    PyObject *asyncio_module;   /* asyncio */
    PyObject *current_thread;   /* threading.current_thread */
    PyObject *cancelled_error;  /* asyncio.CancelledError */
    PyObject *queue_empty;      /* queue.Empty */

    bool indirect; /* wake tasks through their loop: loops are nested (nest_asyncio) */

    /* Whom an append may have to let the GIL go for (consumers_may_wake); in a forked child, there may be fewer. */
    size_t blocked_consumers;     /* threads that block */
    size_t lonely_hubs;           /* hubs where one consumer is parked */
    const struct hub *lonely_hub; /* the only one of these: borrowed; NULL: unknown */

    PyObject *str_on_finalized_text;
    PyObject *str_stream_end;
    PyObject *str_tolist;
    PyObject *str_push;
    PyObject *str_finish;
    PyObject *str_reset;
    PyObject *str_holds;
    PyObject *str_copy;
    PyObject *str_call_soon;
    PyObject *str_call_later;
    PyObject *str_context;
    PyObject *str_stop;
    PyObject *str_eos;
    PyObject *str_trio;
    PyObject *str_running_loop;
};

/* The state of the module that `type`, or the type that it was derived from, belongs to. */
struct core *core_of(PyTypeObject *type);

/* Imports attribute `name` of `module` into *slot, once. 0, or -1 with an exception. */
int core_import(PyObject **slot, const char *module, const char *name);

/* Notes that a method is under way in a thread that may release the GIL meanwhile. A forked child, which
 * does not have that thread, finds that it is not. */
struct under_way {
    uint64_t in; /* 1 + the number of the process (burble_forks) whose thread it is; 0: none */
};

static inline bool is_under_way(const struct under_way *method)
{
    return method->in == 1 + burble_forks();
}

static inline void set_under_way(struct under_way *method, bool is)
{
    method->in = is ? 1 + burble_forks() : 0;
}

/* Raises the Python exception for one of burble's results; returns NULL. */
PyObject *core_raise(struct core *core, int result);

/* The same for a stream that has failed with one of these. */
PyObject *core_raise_failure(struct core *core, const burble_stream *stream);

/* `value`, a number of seconds or None, in nanoseconds: 0 for None, 1 for 0, which means at once.
 * `name` is what a message calls it. 0, or -1 with an exception. */
int core_nanoseconds(PyObject *value, const char *name, uint64_t *nanoseconds);

/* A thread that handles signals looks up this often while it waits: a condition variable does not
 * wake for Ctrl-C. */
#define SIGNAL_CHECK_NS 50000000u

/* Whether this thread handles signals: 1, 0, or -1 with an exception. Looked up each time, since in a
 * child process another thread may be the main one. */
int core_handles_signals(struct core *core);

extern PyType_Spec vocabulary_spec;
extern PyType_Spec detokenizer_spec;
extern PyType_Spec hub_spec;
extern PyType_Spec future_spec;
extern PyType_Spec anext_spec;
extern PyType_Spec streamer_spec;
extern PyType_Spec iterator_spec;
extern PyType_Spec async_iterator_spec;
extern PyType_Spec log_spec;
extern PyType_Spec reader_spec;
extern PyType_Spec merged_spec;
extern PyType_Spec writer_spec;

#endif
