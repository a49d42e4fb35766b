/* SPDX-License-Identifier: MIT
 *
 * The options of an engine that llama.cpp has to know, and what is made by them: a context of llama.cpp, and
 * threads that compute in it. llama.cpp aborts the process where it cannot have something, so this is tried
 * or refused here before.
 */
#define _GNU_SOURCE /* sched_getaffinity */
#define _POSIX_C_SOURCE 200809L

#include "engine/llama_context.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/error_message.h"
#include "base/reserved.h"
#include "engine/llama_log.h"

#define DEFAULT_CONTEXT 4096
#define MAX_THREADS 512
#define MAX_BATCH (1u << 16)
#define MAX_QUEUE (1u << 24)

/* The number of processors that this thread, and the threads that it starts, may use. In a container,
 * these may be few of many. */
static uint32_t processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
#endif
    return n < 1 ? 1 : n < MAX_THREADS ? (uint32_t)n : MAX_THREADS;
}

int burble__context_options(burble_llama_engine_options *options, uint32_t trained,
                            burble_error *error)
{
    if (!BURBLE__UNUSED(options))
        return burble__error_set(error, BURBLE_EINVAL, "options: " BURBLE__RESERVED);
    if (options->context == 0)
        options->context = trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT;
    if (options->threads == 0)
        options->threads = processors();
    const struct {
        const char *name;
        uint32_t found, least, most;
    } bounds[] = {
        {"slots", options->slots, 1, BURBLE_LLAMA_MAX_SLOTS},
        {"context", options->context, 2, trained},
        {"queue", options->queue, 0, MAX_QUEUE},
        {"batch", options->batch, 1, MAX_BATCH},
        {"prompt_ms", options->prompt_ms, 1, 60000},
        {"threads", options->threads, 1, MAX_THREADS},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (bounds[i].found < bounds[i].least || bounds[i].found > bounds[i].most) {
            return burble__error_set(
                error, BURBLE_EINVAL, "%s: expected %" PRIu32 " to %" PRIu32 "%s, found %" PRIu32,
                bounds[i].name, bounds[i].least, bounds[i].most,
                i == 1 ? ", what the model was trained with" : "", bounds[i].found);
        }
    }
    return BURBLE_OK;
}

static void *pass(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* Tries to create as many threads at once as the engine needs in addition to its own, in the way of
 * llama.cpp: if llama.cpp cannot create one of its threads, it aborts the process. (The system may run out of
 * threads between this test and llama.cpp's call; but a request for too many threads is reported.) Returns
 * 0, or the errno of the failure. */
static int try_threads(uint32_t n)
{
    pthread_t threads[MAX_THREADS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int reason = 0;
    uint32_t made = 0;
    pthread_mutex_lock(&gate); /* none is over before all are made */
    while (made < n && reason == 0) {
        reason = pthread_create(&threads[made], NULL, pass, &gate);
        made += reason == 0;
    }
    pthread_mutex_unlock(&gate);
    while (made > 0)
        pthread_join(threads[--made], NULL);
    return reason;
}

/* Creates threads that live as long as the engine; without them, llama.cpp starts new threads in each step.
 * The functions are looked up by name in the CPU backend, which may be a plug-in. BURBLE_OK, even if the
 * backend has no such functions, or BURBLE_ESYSTEM. */
static int make_pool(struct burble__context *context, uint32_t threads, burble_error *error)
{
    const int reason = try_threads(threads - 1);
    if (reason != 0) {
        errno = reason;
        return burble__error_set(error, BURBLE_ESYSTEM,
                                 "cannot start %" PRIu32 " threads for the engine: %s", threads,
                                 strerror(reason));
    }
    union {
        void *found;
        struct ggml_threadpool *(*create)(struct ggml_threadpool_params *);
    } create;
    union {
        void *found;
        void (*free)(struct ggml_threadpool *);
    } destroy;
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (device == NULL)
        return BURBLE_OK;
    ggml_backend_reg_t backend = ggml_backend_dev_backend_reg(device);
    create.found = ggml_backend_reg_get_proc_address(backend, "ggml_threadpool_new");
    destroy.found = ggml_backend_reg_get_proc_address(backend, "ggml_threadpool_free");
    if (create.found == NULL || destroy.found == NULL)
        return BURBLE_OK;
    struct ggml_threadpool_params params = ggml_threadpool_params_default((int)threads);
    context->pool = create.create(&params);
    context->free_pool = destroy.free;
    if (context->pool != NULL)
        llama_attach_threadpool(context->llama, context->pool, context->pool);
    return BURBLE_OK;
}

int burble__context_create(struct burble__context *context, const burble_llama_model *model,
                           const burble_llama_engine_options *options, bool (*give_up)(void *arg),
                           void *arg, burble_error *error)
{
    const uint32_t batch = burble__context_batch(options);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = options->context * options->slots;
    params.n_batch = batch;
    params.n_ubatch = batch;
    params.n_seq_max = options->slots;
    params.n_outputs_max = options->slots;
    params.n_threads = (int32_t)options->threads;
    params.n_threads_batch = (int32_t)options->threads;
    params.abort_callback = give_up;
    params.abort_callback_data = arg;
    params.kv_unified = false; /* each slot has room for its whole context */
    params.no_perf = true;
    if (options->cache_f32) {
        params.type_k = GGML_TYPE_F32;
        params.type_v = GGML_TYPE_F32;
    }
    burble__llama_listen();
    if ((uint64_t)options->context * options->slots <= INT32_MAX)
        context->llama = llama_init_from_model(model->llama, params);
    if (context->llama == NULL || llama_n_ctx_seq(context->llama) < options->context) {
        return burble__error_set(error, BURBLE_ENOMEM,
                                 "no memory for %" PRIu32 " slots of %" PRIu32 " tokens: %s",
                                 options->slots, options->context, burble__llama_said());
    }
    return make_pool(context, options->threads, error);
}

void burble__context_free(struct burble__context *context)
{
    llama_free(context->llama);
    if (context->pool != NULL)
        context->free_pool(context->pool);
}
