/* SPDX-License-Identifier: MIT
 *
 * A library to be preloaded: it adds up the processor time that a program spends in llama_decode and
 * llama_process. So burble's engine and llama-server, neither of which knows of it, are measured by the same clock. With one
 * thread for computing, the rest of a process's processor time is what it does beside.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <llama.h>

#include "llama_decode_time.h"

/* llama.cpp has two functions that compute a batch; one may call the other. */
static int32_t (*decode)(struct llama_context *, struct llama_batch);
static int32_t (*process)(struct llama_context *, enum llama_process_type,
                          struct llama_batch_ext *);
static _Thread_local int depth;
static struct decode_time nowhere;
static struct decode_time *noted = &nowhere;

__attribute__((constructor)) static void begin(void)
{
    *(void **)&decode = dlsym(RTLD_NEXT, "llama_decode");
    *(void **)&process = dlsym(RTLD_NEXT, "llama_process");
    const char *path = getenv(DECODE_TIME_VARIABLE);
    const int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *noted, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        noted = mapped;
}

static uint64_t thread_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t enter(void)
{
    return depth++ == 0 ? thread_time() : 0;
}

static void leave(uint64_t entered)
{
    if (--depth > 0)
        return;
    atomic_fetch_add_explicit(&noted->ns, thread_time() - entered, memory_order_relaxed);
    atomic_fetch_add_explicit(&noted->calls, 1, memory_order_relaxed);
}

int32_t llama_decode(struct llama_context *ctx, struct llama_batch batch)
{
    const uint64_t entered = enter();
    const int32_t result = decode(ctx, batch);
    leave(entered);
    return result;
}

int32_t llama_process(struct llama_context *ctx, enum llama_process_type type,
                      struct llama_batch_ext *batch)
{
    const uint64_t entered = enter();
    const int32_t result = process(ctx, type, batch);
    leave(entered);
    return result;
}
