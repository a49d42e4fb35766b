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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error_message.h"
#include "base/reserved.h"
#include "engine/llama_log.h"
#include "engine/llama_memory.h"

#define DEFAULT_CONTEXT 4096
#define MAX_THREADS 512
#define MAX_BATCH (1u << 16)
#define MAX_QUEUE (1u << 24)

/* The most bytes of scores for which flash attention is left off. */
#define MOST_SCORES (256.0 * 1024 * 1024)

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

/* ---- options --------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum ggml_type type;
} caches[] = {
    [BURBLE_LLAMA_CACHE_F16] = {"f16", GGML_TYPE_F16},
    [BURBLE_LLAMA_CACHE_F32] = {"f32", GGML_TYPE_F32},
    [BURBLE_LLAMA_CACHE_BF16] = {"bf16", GGML_TYPE_BF16},
    [BURBLE_LLAMA_CACHE_Q8_0] = {"q8_0", GGML_TYPE_Q8_0},
    [BURBLE_LLAMA_CACHE_Q5_1] = {"q5_1", GGML_TYPE_Q5_1},
    [BURBLE_LLAMA_CACHE_Q5_0] = {"q5_0", GGML_TYPE_Q5_0},
    [BURBLE_LLAMA_CACHE_Q4_1] = {"q4_1", GGML_TYPE_Q4_1},
    [BURBLE_LLAMA_CACHE_Q4_0] = {"q4_0", GGML_TYPE_Q4_0},
};
enum { CACHES = sizeof caches / sizeof caches[0] };

const char *burble_llama_cache_name(burble_llama_cache type)
{
    return (unsigned)type < CACHES ? caches[type].name : NULL;
}

static bool is_quantized(burble_llama_cache type)
{
    return ggml_is_quantized(caches[type].type);
}

/* Fills in the options that depend on the model and the machine. */
static void fill_in(burble_llama_engine_options *options, uint32_t trained)
{
    if (options->context == 0)
        options->context = trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT;
    if (options->threads == 0)
        options->threads = processors();
    if (options->prompt_threads == 0)
        options->prompt_threads = options->threads;
}

int burble__context_options(burble_llama_engine_options *options, uint32_t trained,
                            burble_error *error)
{
    if (!BURBLE__UNUSED(options))
        return burble__error_set(error, BURBLE_EINVAL, "options: " BURBLE__RESERVED);
    fill_in(options, trained);
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
        {"prompt_threads", options->prompt_threads, 1, MAX_THREADS},
        {"flash", (uint32_t)options->flash, 0, BURBLE_LLAMA_FLASH_OFF},
        {"cache_k", (uint32_t)options->cache_k, 0, CACHES - 1},
        {"cache_v", (uint32_t)options->cache_v, 0, CACHES - 1},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (bounds[i].found < bounds[i].least || bounds[i].found > bounds[i].most) {
            return burble__error_set(
                error, BURBLE_EINVAL, "%s: expected %" PRIu32 " to %" PRIu32 "%s, found %" PRIu32,
                bounds[i].name, bounds[i].least, bounds[i].most,
                i == 1 ? ", what the model was trained with" : "", bounds[i].found);
        }
    }
    if (is_quantized(options->cache_v) && options->flash == BURBLE_LLAMA_FLASH_OFF) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "cache_v: expected f16, f32 or bf16, as flash attention is off, "
                                 "found %s",
                                 caches[options->cache_v].name);
    }
    return BURBLE_OK;
}

/* How many numbers each of a model's heads has in K or V (`what`: "key" or "value"). */
static int32_t head_length(const struct llama_model *model, const char *what)
{
    char architecture[64];
    if (llama_model_meta_val_str(model, "general.architecture", architecture, sizeof architecture)
        > 0) {
        char key[128];
        char value[32];
        snprintf(key, sizeof key, "%s.attention.%s_length", architecture, what);
        if (llama_model_meta_val_str(model, key, value, sizeof value) > 0)
            return (int32_t)strtol(value, NULL, 10);
    }
    const int32_t heads = llama_model_n_head(model);
    return heads > 0 ? llama_model_n_embd(model) / heads : 0;
}

/* llama.cpp ends the process if a head's numbers are no whole blocks. */
static int check_cache(const struct llama_model *model, const char *name, const char *what,
                       burble_llama_cache type, burble_error *error)
{
    const int32_t length = head_length(model, what);
    const int64_t block = ggml_blck_size(caches[type].type);
    if (length % block == 0)
        return BURBLE_OK;
    return burble__error_set(error, BURBLE_EUNSUPPORTED,
                             "%s: expected f16, f32 or bf16, as the model's heads have %" PRId32
                             " numbers, no multiple of %" PRId64 ", found %s",
                             name, length, block, caches[type].name);
}

int burble__context_check(const struct llama_model *model,
                          const burble_llama_engine_options *options, burble_error *error)
{
    const int result = check_cache(model, "cache_k", "key", options->cache_k, error);
    return result == BURBLE_OK ? check_cache(model, "cache_v", "value", options->cache_v, error)
                               : result;
}

static uint64_t row_size(const struct llama_model *model, const char *what, burble_llama_cache type)
{
    const enum ggml_type number = caches[type].type;
    const int32_t length = head_length(model, what) * llama_model_n_head_kv(model);
    return length <= 0
               ? 0
               : (uint64_t)length * ggml_type_size(number) / (uint64_t)ggml_blck_size(number);
}

uint64_t burble__context_rough_size(const struct llama_model *model,
                                    const burble_llama_engine_options *options)
{
    const uint64_t rows =
        (uint64_t)options->context * options->slots * (uint64_t)llama_model_n_layer(model);
    return rows
           * (row_size(model, "key", options->cache_k)
              + row_size(model, "value", options->cache_v));
}

/* ---- threads --------------------------------------------------------------------------------------- */

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

int burble__context_start(struct burble__context *context, uint32_t threads,
                          uint32_t prompt_threads, burble_error *error)
{
    context->threads = threads;
    context->prompt_threads = prompt_threads;
    return make_pool(context, threads > prompt_threads ? threads : prompt_threads, error);
}

/* ---- the context ----------------------------------------------------------------------------------- */

/* On a processor, llama.cpp's flash attention multiplies the numbers of a head 32 at a time, and those that are left
 * over one by one; and it looks at the cells in use only, while the other way computes all cells up to the next multiple
 * of 256. So its time grows with the position, and the other's hardly. With heads of 48, a token took 150 µs and 2.4 µs
 * for each position before it, against 380 µs up to 256 and 560 beyond, with 1 slot as with 256: it is faster below
 * position 95, and for a whole text of up to SHORT tokens. Without it, the scores of each token against
 * each other one need memory. */
static enum llama_flash_attn_type flash_of(const struct llama_model *model,
                                           const burble_llama_engine_options *options)
{
    enum { AT_A_TIME = 32, SHORT = 192 };
    const double scores = (double)burble__context_batch(options) * options->context
                          * llama_model_n_head(model) * sizeof(float);
    if (options->flash == BURBLE_LLAMA_FLASH_ON)
        return LLAMA_FLASH_ATTN_TYPE_ENABLED;
    if (options->flash == BURBLE_LLAMA_FLASH_OFF)
        return LLAMA_FLASH_ATTN_TYPE_DISABLED;
    return llama_supports_gpu_offload() || is_quantized(options->cache_v) || scores > MOST_SCORES
                   || options->context <= SHORT || head_length(model, "key") % AT_A_TIME == 0
               ? LLAMA_FLASH_ATTN_TYPE_AUTO
               : LLAMA_FLASH_ATTN_TYPE_DISABLED;
}

static struct llama_context_params params_of(const struct llama_model *model,
                                             const burble_llama_engine_options *options)
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
    params.flash_attn_type = flash_of(model, options);
    params.type_k = caches[options->cache_k].type;
    params.type_v = caches[options->cache_v].type;
    params.kv_unified = options->unified; /* otherwise each slot has room for its whole context */
    params.no_perf = true;
    return params;
}

/* llama.cpp has not made a context: it does not tell its reasons apart, but names what it cannot allocate. */
static int explain(const burble_llama_engine_options *options, burble_error *error)
{
    const char *said = burble__llama_said();
    if (strstr(said, "cache type") != NULL || strstr(said, "flash") != NULL) {
        return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                 "llama.cpp cannot compute the model with these options: %s", said);
    }
    return burble__error_set(error, BURBLE_ENOMEM,
                             "no memory for %" PRIu32 " slots of %" PRIu32 " tokens: %s",
                             options->slots, options->context, said);
}

int burble__context_init(struct llama_model *model, const burble_llama_engine_options *options,
                         bool (*give_up)(void *arg), void *arg, struct llama_context **out,
                         burble_error *error)
{
    struct llama_context_params params = params_of(model, options);
    params.abort_callback = give_up;
    params.abort_callback_data = arg;
    *out = NULL;
    burble__llama_listen();
    if ((uint64_t)options->context * options->slots <= INT32_MAX)
        *out = llama_init_from_model(model, params);
    if (*out == NULL || llama_n_ctx_seq(*out) < options->context)
        return explain(options, error);
    return BURBLE_OK;
}

int burble__context_create(struct burble__context *context, const burble_llama_model *model,
                           const burble_llama_engine_options *options, bool (*give_up)(void *arg),
                           void *arg, burble_error *error)
{
    int result = burble__context_check(model->llama, options, error);
    if (result == BURBLE_OK)
        result = burble__memory_check_engine(model, options, error);
    if (result == BURBLE_OK)
        result = burble__context_init(model->llama, options, give_up, arg, &context->llama, error);
    if (result == BURBLE_OK)
        result = burble__context_start(context, options->threads, options->prompt_threads, error);
    return result;
}

void burble__context_step(struct burble__context *context, bool prompts)
{
    const int32_t threads = (int32_t)(prompts ? context->prompt_threads : context->threads);
    llama_set_n_threads(context->llama, threads, threads);
}

void burble__context_free(struct burble__context *context)
{
    llama_free(context->llama);
    if (context->pool != NULL)
        context->free_pool(context->pool);
}
