/* SPDX-License-Identifier: MIT
 *
 * A host has backends that are functions of Python, and calls them in threads of its own. It is a server (server.h) or a relay
 * (relay.h); this is the part that both share.
 *
 * A request takes the GIL once, in a worker thread of the host, where a function of Python takes it
 * (burble._handlers). The threads of the event loops never take it.
 */
#ifndef BURBLE_PYTHON_HOST_H
#define BURBLE_PYTHON_HOST_H

#include "common/core.h"

#include <pthread.h>

#include <burble/serve.h>

struct pending;
struct host;

/* The functions of a kind's library. All are called without the GIL; all but `destroy` while the host is open. */
struct host_kind {
    const char *name; /* in messages */
    int (*start)(struct host *host, burble_error *error);
    int (*add_model)(struct host *host, const burble_serve_model *model, burble_error *error);
    int (*read_text)(struct host *host, burble_stream *stream, const burble_serve_source *sources,
                     size_t n);
    void (*drain)(struct host *host, uint64_t grace);
    int (*wait)(struct host *host, uint64_t deadline);
    void (*stop)(struct host *host); /* ends all waits in the others; NULL: they do not wait long */
    void (*destroy)(struct host *host); /* also in a forked child */
};

/* The beginning of each object that is a host. */
typedef struct host {
    PyObject_HEAD
    const struct host_kind *kind;
    struct core *core; /* NULL: host_init was not called */
    PyObject *weak;
    PyInterpreterState *interpreter;
    /* Taken, without the GIL, for reading by each call that uses the host, and for writing by close(): so
     * close() waits until all other calls are done, and later calls find the host closed. */
    pthread_rwlock_t lock;
    _Atomic(bool) closing; /* set before closing waits, and never taken back */
    bool open;             /* what the kind's functions use is there; written under the lock */
    uint64_t forks;        /* of the process that created it, and has its threads */
    struct backend *backends;
    uint64_t max_answers; /* that run or wait at once: further requests are refused */

    /* The list of the answers that Python holds: see answer.h. */
    pthread_mutex_t pending_lock;
    struct pending *pending;
} HostObject;

/* Initializes a new object, which is all zero. The caller sets `open`. */
void host_init(HostObject *self, const struct host_kind *kind, struct core *core);

/* Keeps the host from being closed until host_leave. False, and holds nothing, if it is closed, or about to be.
 * Called without the GIL. */
bool host_enter(HostObject *self);
void host_leave(HostObject *self);

/* Whether this process has its threads. */
bool host_is_here(const HostObject *self);

/* Raises that it is closed. Returns NULL. */
PyObject *host_raise_closed(const HostObject *self);

/* Raises the exception for a result of the library, with errno as the function left it; 0: BURBLE_ESYSTEM was about a
 * connection, not about errno. Returns NULL. */
PyObject *host_raise_result(const HostObject *self, int rc, int number, const burble_error *error);

/* Slots and methods of a host's type. */
void host_finalize(HostObject *self);
int host_traverse(HostObject *self, visitproc visit, void *arg);
int host_clear(HostObject *self);
/* Frees what host_init has made. False: the object lives on, and nothing else may be done. */
bool host_dealloc(HostObject *self);
PyObject *host_start(HostObject *self, PyObject *unused);
PyObject *host_drain(HostObject *self, PyObject *args);
PyObject *host_wait(HostObject *self, PyObject *seconds);
PyObject *host_close(HostObject *self, PyObject *unused);
PyObject *host_get_closed(HostObject *self, void *unused);

#define HOST_ADD_HANDLER                                                                           \
    "add_handler($self, name, take, parameters, chat, context, /)\n--\n\n"                         \
    "Add a model. take(answer, facts) is called for each request in a thread of the host; it "     \
    "returns\nNone, or a status and a message for a request that it does not take."
#define HOST_ADD_ENGINE                                                                            \
    "add_engine($self, name, engine, /)\n--\n\nAdd a model that an engine computes."
#define HOST_START "start($self, /)\n--\n\nStart the threads. Returns once requests may come."
#define HOST_DRAIN                                                                                 \
    "drain($self, grace, /)\n--\n\nStop after so many nanoseconds, or when no answer runs."
#define HOST_WAIT "wait($self, seconds, /)\n--\n\nWait until it has stopped. Whether it has."
#define HOST_CLOSE "close($self, /)\n--\n\nStop at once, and wait for the threads. Idempotent."

#endif
