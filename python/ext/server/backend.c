/* SPDX-License-Identifier: MIT */
#include "server/backend.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/error_message.h"
#include "server/answer.h"
#ifdef BURBLE_PYTHON_LLAMA
#include "server/engine.h"
#endif
#include "server/request.h"
#include "server/thread_state.h"

struct backend {
    struct backend *next;
    HostObject *owner; /* not a reference */
    PyObject *take;    /* a function of Python, or */
    PyObject *engine;  /* an engine's object, with */
    struct engine_backend
        *engine_backend;     /* cppcheck-suppress unusedStructMember ; with llama.cpp */
    _Atomic(bool) *released; /* the host calls it no more */
    _Atomic(bool) released_handler;
};

/* ---- requests: called in threads of the host, without the GIL --------------------------------- */

/* What the function has returned, a new reference or NULL: None, or a status and a message. */
static int result_of_take(PyObject *returned, burble_error *error)
{
    int status;
    const char *message;
    if (returned == Py_None)
        return BURBLE_OK;
    if (returned != NULL && PyArg_ParseTuple(returned, "is", &status, &message)) {
        error->code = answer_result_of_status(status);
        snprintf(error->message, sizeof error->message, "%s", message);
        return error->code;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        return BURBLE_ENOMEM;
    }
    PyErr_WriteUnraisable(NULL);
    return BURBLE_EFAILED;
}

static int submit_with_gil(struct backend *backend, const burble_serve_request *request,
                           burble_stream *stream, burble_error *error)
{
    HostObject *self = backend->owner;
    if (burble__load_relaxed(&self->closing)) /* and its object may be about to go */
        return BURBLE_ECLOSED;
    Py_INCREF(self);
    burble_stream_hand_over(stream);
    PyObject *take = Py_NewRef(backend->take);
    PyObject *answer = answer_create(self, stream, request->choices);
    PyObject *facts = answer == NULL ? NULL : request_facts(request);
    PyObject *returned =
        facts == NULL ? NULL : PyObject_CallFunctionObjArgs(take, answer, facts, NULL);
    const int rc = result_of_take(returned, error);
    Py_XDECREF(returned);
    Py_XDECREF(facts);
    if (answer != NULL && rc != BURBLE_OK)
        answer_forget(answer);
    Py_XDECREF(answer);
    Py_DECREF(take);
    backends_sweep(&self->backends);
    Py_DECREF(self);
    return rc;
}

/* The host whose worker this thread is, while it submits. */
static _Thread_local const HostObject *served;

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    struct backend *backend = arg;
    burble_server_stats stats = {.running = 0};
    if (request->server != NULL) /* a relay has no more than its slots */
        burble_server_stats_now(request->server, &stats);
    if (stats.running > backend->owner->max_answers)
        return burble__error_set(error, BURBLE_EFULL, "%" PRIu64 " answers run or wait already",
                                 stats.running - 1);
    PyThreadState *thread = thread_state_enter(backend->owner->interpreter);
    if (thread == NULL)
        return BURBLE_ENOMEM;
    served = backend->owner;
    const int rc = submit_with_gil(backend, request, stream, error);
    served = NULL;
    thread_state_leave(thread);
    return rc;
}

static void on_cancelled(void *arg, burble_stream *stream)
{
    struct backend *backend = arg;
    answer_cancelled(backend->owner, stream);
}

static void release(void *arg)
{
    struct backend *backend = arg;
    burble__store_release(backend->released, true);
}

bool backend_runs_here(const HostObject *host)
{
    return served == host && host_is_here(host);
}

/* ---- models ------------------------------------------------------------------------------------ */

/* The bits of a tuple of names, or of None: all. 0 or -1. */
static int parameters_of(PyObject *names, uint64_t *bits)
{
    if (names == Py_None) {
        *bits = BURBLE_SERVE_ANY | (BURBLE_SERVE_BIT(BURBLE_SERVE_N_PARAMETERS) - 1);
        return 0;
    }
    *bits = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        const int parameter = request_parameter_of(name);
        if (parameter < 0) {
            PyErr_Format(PyExc_ValueError, "parameters: %.100R is not a parameter of a request",
                         name);
            return -1;
        }
        *bits |= BURBLE_SERVE_BIT(parameter);
    }
    return 0;
}

/* Adds a model, whose backend becomes the host's. 0, or -1 with an exception. */
static int add(HostObject *self, const burble_serve_model *model, struct backend *backend)
{
    burble_error error = {0};
    int rc = BURBLE_ECLOSED;
    backends_sweep(&self->backends);
    backend->owner = self;
    backend->next = self->backends; /* first: requests may come before this returns */
    self->backends = backend;
    Py_BEGIN_ALLOW_THREADS
        if (host_enter(self)) {
            rc = self->kind->add_model(self, model, &error);
            host_leave(self);
        }
    Py_END_ALLOW_THREADS
    if (rc == BURBLE_OK)
        return 0;
    if (rc == BURBLE_ECLOSED)
        host_raise_closed(self);
    else
        host_raise_result(self, rc, 0, &error);
    burble__store_release(backend->released, true); /* the host never had it */
    return -1;
}

PyObject *backend_add_handler(HostObject *self, PyObject *args)
{
    PyObject *take, *names;
    int chat;
    unsigned int context;
    burble_serve_model model = {.submit = submit, .cancelled = on_cancelled, .release = release};
    if (!PyArg_ParseTuple(args, "sOOpI", &model.name, &take, &names, &chat, &context))
        return NULL;
    if (names != Py_None && !PyTuple_Check(names)) {
        PyErr_Format(PyExc_TypeError, "parameters: expected a tuple or None, found %.100s",
                     Py_TYPE(names)->tp_name);
        return NULL;
    }
    if (parameters_of(names, &model.parameters) < 0)
        return NULL;
    struct backend *backend = burble__calloc(1, sizeof *backend);
    if (backend == NULL)
        return PyErr_NoMemory();
    backend->take = Py_NewRef(take);
    burble__init(&backend->released_handler, false);
    backend->released = &backend->released_handler;
    model.arg = backend;
    model.chat = chat != 0;
    model.context = context;
    if (add(self, &model, backend) < 0)
        return NULL;
    Py_RETURN_NONE;
}

#ifdef BURBLE_PYTHON_LLAMA
PyObject *backend_add_engine(HostObject *self, PyObject *args)
{
    const char *name;
    PyObject *engine;
    burble_serve_model model;
    if (!PyArg_ParseTuple(args, "sO!", &name, self->core->llama_type, &engine))
        return NULL;
    struct backend *backend = burble__calloc(1, sizeof *backend);
    if (backend == NULL)
        return PyErr_NoMemory();
    backend->engine_backend = engine_backend_create(self->core, engine, name, &model);
    if (backend->engine_backend == NULL) {
        burble__free(backend);
        return NULL;
    }
    backend->engine = Py_NewRef(engine);
    backend->released = engine_backend_released(backend->engine_backend);
    if (add(self, &model, backend) < 0)
        return NULL;
    Py_RETURN_NONE;
}
#endif

/* ---- their end ----------------------------------------------------------------------------------- */

int backends_traverse(const struct backend *backend, visitproc visit, void *arg)
{
    for (; backend != NULL; backend = backend->next) {
        Py_VISIT(backend->take);
        Py_VISIT(backend->engine);
    }
    return 0;
}

/* A list of backends that nothing refers to any more. */
static void destroy_all(struct backend *backend)
{
    while (backend != NULL) {
        struct backend *next = backend->next;
        Py_CLEAR(backend->take);
#ifdef BURBLE_PYTHON_LLAMA
        engine_backend_destroy(&backend->engine_backend);
#endif
        Py_CLEAR(backend->engine);
        burble__free(backend);
        backend = next;
    }
}

void backends_sweep(struct backend **first)
{
    struct backend *released = NULL;
    for (struct backend **link = first; *link != NULL;) {
        struct backend *backend = *link;
        if (burble__load_acquire(backend->released)) {
            *link = backend->next;
            backend->next = released;
            released = backend;
        } else {
            link = &backend->next;
        }
    }
    destroy_all(released); /* which runs code of Python: the list is whole again */
}

void backends_clear(struct backend **first)
{
    struct backend *all = *first;
    *first = NULL;
    destroy_all(all);
}
