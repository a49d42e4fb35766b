/* SPDX-License-Identifier: MIT
 *
 * How much memory a model and an engine take. llama.cpp itself is asked: it can load a model without its
 * weights and make a context without its memory (`no_alloc`), and then says in its log what each part would
 * have taken. So it holds for all kinds of models: with sliding windows, recurrent layers, compressed caches.
 */
#define _POSIX_C_SOURCE 200809L

#include "engine/llama_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error_message.h"
#include "base/reserved.h"
#include "engine/llama_context.h"
#include "engine/llama_log.h"

#define PATH_MOST 1024

/* ---- what there is --------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The number after `name` in a file, or its first one where `name` is "". UINT64_MAX if there is none. */
static uint64_t number_in(const char *path, const char *name)
{
    char line[256];
    uint64_t number = UINT64_MAX;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return UINT64_MAX;
    while (number == UINT64_MAX && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) != 0)
            continue;
        const char *value = line + strlen(name);
        char *end;
        number = strtoull(value, &end, 10);
        if (end == value)
            number = UINT64_MAX;
    }
    fclose(file);
    return number;
}

/* What one control group leaves: its limit, less what it has in use and the kernel cannot drop. */
static uint64_t left_in_group(const char *group, bool second)
{
    char path[PATH_MOST + 64];
    snprintf(path, sizeof path, "%s/%s", group, second ? "memory.max" : "memory.limit_in_bytes");
    const uint64_t limit = number_in(path, "");
    snprintf(path, sizeof path, "%s/%s", group,
             second ? "memory.current" : "memory.usage_in_bytes");
    uint64_t used = number_in(path, "");
    if (limit == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.stat", group);
    const uint64_t files = number_in(path, second ? "inactive_file " : "total_inactive_file ");
    used -= files == UINT64_MAX ? 0 : least(files, used);
    return limit > used ? limit - used : 0;
}

/* The least that this process's group and those above it leave. `line` is one of /proc/self/cgroup. */
static uint64_t left_in_groups(const char *line)
{
    char group[PATH_MOST];
    const bool second = strncmp(line, "0::", 3) == 0;
    const char *memory = strstr(line, ":memory:");
    if (!second && memory == NULL)
        return UINT64_MAX;
    const char *root = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char *at = second ? line + 3 : memory + 8;
    snprintf(group, sizeof group, "%s%.*s", root, (int)strcspn(at, "\n"), at);
    uint64_t left = left_in_group(group, second);
    for (char *end; (end = strrchr(group, '/')) != NULL && end >= group + strlen(root);) {
        *end = '\0';
        left = least(left, left_in_group(group, second));
    }
    return left;
}

static uint64_t left_by_groups(void)
{
    char line[PATH_MOST];
    uint64_t left = UINT64_MAX;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        left = least(left, left_in_groups(line));
    if (file != NULL)
        fclose(file);
    return left;
}

static uint64_t left_by_limit(void)
{
    struct rlimit limit;
    const uint64_t pages = number_in("/proc/self/statm", "");
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || pages == UINT64_MAX)
        return UINT64_MAX;
    const uint64_t used = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

uint64_t burble__memory_available(void)
{
    const uint64_t kilobytes = number_in("/proc/meminfo", "MemAvailable:");
    const uint64_t machine = kilobytes == UINT64_MAX ? UINT64_MAX : kilobytes * 1024;
    return least(machine, least(left_by_groups(), left_by_limit()));
}

/* ---- what is needed -------------------------------------------------------------------------------- */

/* The model without its weights. */
static struct llama_model *simulate(const char *path, int32_t gpu_layers)
{
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = gpu_layers;
    params.no_alloc = true;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    burble__llama_begin();
    burble__llama_listen();
    return llama_model_load_from_file(path, params);
}

static uint64_t mega(double mebibytes)
{
    return (uint64_t)(mebibytes * 1024 * 1024);
}

/* What a context for `options`, which are filled in, would take. */
static int measure(struct llama_model *model, const burble_llama_engine_options *options,
                   burble_llama_memory *memory, burble_error *error)
{
    struct burble__llama_sizes sizes = {.cache = 0};
    struct llama_context *context;
    int result = burble__context_check(model, options, error);
    if (result != BURBLE_OK)
        return result;
    burble__llama_measure(&sizes);
    result = burble__context_init(model, options, NULL, NULL, &context, error);
    burble__llama_measure(NULL);
    llama_free(context);
    if (result == BURBLE_OK && (sizes.cache == 0 || sizes.compute == 0)) {
        return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                 "llama.cpp does not say how much memory it needs");
    }
    memory->cache = mega(sizes.cache);
    memory->compute = mega(sizes.compute);
    return result;
}

int burble_llama_memory_needed(const char *path, const burble_llama_model_options *model_options,
                               const burble_llama_engine_options *engine_options,
                               burble_llama_memory *memory, burble_error *error)
{
    burble_llama_engine_options options;
    *memory = (burble_llama_memory){.weights = 0};
    burble_llama_engine_options_init(&options);
    if (engine_options != NULL)
        options = *engine_options;
    if (model_options != NULL && !BURBLE__UNUSED(model_options))
        return burble__error_set(error, BURBLE_EINVAL, "options: " BURBLE__RESERVED);
    int result = burble__llama_look_at(path, error);
    if (result != BURBLE_OK)
        return result;
    struct llama_model *model =
        simulate(path, model_options == NULL ? -1 : model_options->gpu_layers);
    if (model == NULL)
        return burble__error_set(error, BURBLE_EFORMAT, "%s: %s", path, burble__llama_said());
    const int32_t trained = llama_model_n_ctx_train(model);
    result = burble__context_options(&options, trained > 0 ? (uint32_t)trained : 0, error);
    if (result == BURBLE_OK)
        result = measure(model, &options, memory, error);
    memory->weights = llama_model_size(model);
    memory->available = burble__memory_available();
    llama_model_free(model);
    if (result != BURBLE_OK)
        *memory = (burble_llama_memory){.weights = 0};
    return result;
}

/* ---- whether it fits ------------------------------------------------------------------------------- */

static double gibi(uint64_t bytes)
{
    return (double)bytes / (1024.0 * 1024 * 1024);
}

/* A GPU has memory of its own, which is not looked at. */
static bool is_elsewhere(void)
{
    return llama_supports_gpu_offload();
}

int burble__memory_check_file(const char *path, const burble_llama_model_options *options,
                              burble_error *error)
{
    struct stat file;
    const uint64_t available = burble__memory_available();
    if (options->overcommit || is_elsewhere() || stat(path, &file) != 0
        || (uint64_t)file.st_size <= available)
        return BURBLE_OK;
    return burble__error_set(error, BURBLE_ENOMEM,
                             "%s: no memory for the weights: expected %.1f GiB available, found "
                             "%.1f GiB",
                             path, gibi((uint64_t)file.st_size), gibi(available));
}

int burble__memory_check_engine(const burble_llama_model *model,
                                const burble_llama_engine_options *options, burble_error *error)
{
    burble_llama_memory memory = {.cache = 0};
    const uint64_t available = burble__memory_available();
    /* Most engines are small, and llama.cpp need not be asked, which loads the vocabulary again. */
    if (options->overcommit || is_elsewhere()
        || burble__context_rough_size(model->llama, options) < available / 4)
        return BURBLE_OK;
    struct llama_model *simulated = simulate(model->path, 0);
    const int result =
        simulated == NULL ? BURBLE_EFORMAT : measure(simulated, options, &memory, NULL);
    llama_model_free(simulated);
    if (result != BURBLE_OK || memory.cache + memory.compute <= available)
        return BURBLE_OK; /* fits, or nobody knows: the file may be gone */
    return burble__error_set(error, BURBLE_ENOMEM,
                             "no memory for %" PRIu32 " slots of %" PRIu32
                             " tokens: expected %.1f GiB available, found %.1f GiB",
                             options->slots, options->context, gibi(memory.cache + memory.compute),
                             gibi(available));
}
