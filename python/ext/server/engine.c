/* SPDX-License-Identifier: MIT */
#include "server/engine.h"

#include <burble/llama_serve.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/error_message.h"
#include "llama/llama.h"

/* The engine may be closed at any time: each call keeps it from that, or finds that it is closed. */
struct engine_backend {
    PyObject *engine; /* not a reference */
    burble_serve_model inner;
    _Atomic(bool) released;
};

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    struct engine_backend *backend = arg;
    if (!llama_enter(backend->engine))
        return burble__error_set(error, BURBLE_ECLOSED, "the engine is closed");
    const int rc = backend->inner.submit(backend->inner.arg, request, stream, error);
    llama_leave(backend->engine);
    return rc;
}

static int tokenize(void *arg, burble_text text, bool add_special, bool parse_special, int32_t *ids,
                    size_t capacity, size_t *n, burble_error *error)
{
    struct engine_backend *backend = arg;
    if (!llama_enter(backend->engine))
        return BURBLE_ECLOSED;
    const int rc = backend->inner.tokenize(backend->inner.arg, text, add_special, parse_special,
                                           ids, capacity, n, error);
    llama_leave(backend->engine);
    return rc;
}

static int piece(void *arg, int32_t id, char *text, size_t capacity, size_t *len)
{
    struct engine_backend *backend = arg;
    if (!llama_enter(backend->engine))
        return BURBLE_ECLOSED;
    const int rc = backend->inner.piece(backend->inner.arg, id, text, capacity, len);
    llama_leave(backend->engine);
    return rc;
}

static void place(void *arg, const burble_stream *stream, burble_serve_place *found)
{
    struct engine_backend *backend = arg;
    *found = (burble_serve_place){.waits = false};
    if (!llama_enter(backend->engine))
        return;
    backend->inner.place(backend->inner.arg, stream, found);
    llama_leave(backend->engine);
}

static void load(void *arg, burble_serve_load *found)
{
    struct engine_backend *backend = arg;
    *found = (burble_serve_load){.slots = 0};
    if (!llama_enter(backend->engine))
        return;
    backend->inner.load(backend->inner.arg, found);
    llama_leave(backend->engine);
}

static void release(void *arg)
{
    struct engine_backend *backend = arg;
    if (backend->inner.release != NULL)
        backend->inner.release(backend->inner.arg);
    backend->inner.release = NULL;
    burble__store_release(&backend->released, true);
}

_Atomic(bool) *engine_backend_released(struct engine_backend *backend)
{
    return &backend->released;
}

struct engine_backend *engine_backend_create(struct core *core, PyObject *engine, const char *name,
                                             burble_serve_model *model)
{
    burble_error error = {0};
    struct engine_backend *backend = burble__calloc(1, sizeof *backend);
    if (backend == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    backend->engine = engine;
    burble__init(&backend->released, false);
    if (!llama_enter(engine)) {
        burble__free(backend);
        PyErr_SetString(core->error, "the engine is closed");
        return NULL;
    }
    const int rc = burble_llama_serve_model(llama_engine_of(engine), llama_model_of(engine), name,
                                            &backend->inner, &error);
    llama_leave(engine);
    if (rc != BURBLE_OK) {
        burble__free(backend);
        llama_raise(core, rc, 0, error.message, NULL);
        return NULL;
    }
    *model = backend->inner;
    model->arg = backend;
    model->submit = submit;
    model->tokenize = backend->inner.tokenize == NULL ? NULL : tokenize;
    model->piece = backend->inner.piece == NULL ? NULL : piece;
    model->place = backend->inner.place == NULL ? NULL : place;
    model->load = backend->inner.load == NULL ? NULL : load;
    model->release = release;
    return backend;
}

void engine_backend_destroy(struct engine_backend **handle)
{
    struct engine_backend *backend = *handle;
    *handle = NULL;
    if (backend == NULL)
        return;
    release(backend); /* if no server has */
    burble__free(backend);
}
