/* SPDX-License-Identifier: MIT
 *
 * A library to be preloaded into llama_load_engine, for llama_parts.py: what the engine's thread does outside of
 * llama_decode, in parts. It has the functions that the engine calls in libllama, libburble and libc, and at each entry
 * and exit adds the time since the last one to a part. Where the thread lost its processor between the two,
 * that is not counted. Each look at the clock takes some time itself, which is measured first and subtracted.
 */
#define _GNU_SOURCE

#include "llama_parts.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <burble/burble.h>
#include <burble/frame.h>
#include <llama.h>

/* No part of a step takes so long (nanoseconds), but llama_decode. */
#define LONGEST 50000u

static struct parts nowhere;
static struct parts *parts = &nowhere;
static uint64_t cost; /* of a look at the clock */

/* These are the engine's thread's own. */
static _Thread_local bool is_engine;
static _Thread_local enum part part;
static _Thread_local uint64_t since;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The real function behind one that this library has. (Its address as data: C has no other way.) */
#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (real == NULL)                                                                              \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    enum { LOOKS = 10000 };
    const char *path = getenv(PARTS_VARIABLE);
    const int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *parts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        parts = mapped;
    const uint64_t from = now();
    for (int i = 0; i < LOOKS; i++)
        now();
    cost = (now() - from) / LOOKS;
}

/* From here on, the thread's time is that of `next`. */
static void enter(enum part next)
{
    if (!is_engine)
        return;
    const uint64_t at = now();
    const uint64_t ns = at - since;
    if (ns < LONGEST || part == PART_DECODE)
        atomic_fetch_add_explicit(&parts->ns[part], ns > cost ? ns - cost : 0,
                                  memory_order_relaxed);
    part = next;
    since = at;
}

/* ---- llama.cpp ---------------------------------------------------------------------------------------- */

int32_t llama_decode(struct llama_context *ctx, struct llama_batch batch)
{
    REAL(llama_decode);
    is_engine = true;
    enter(PART_DECODE);
    const int32_t result = real(ctx, batch);
    enter(PART_STEP);
    atomic_fetch_add_explicit(&parts->steps, 1, memory_order_relaxed);
    return result;
}

/* The token is chosen once the logits are there. */
float *llama_get_logits_ith(struct llama_context *ctx, int32_t i)
{
    REAL(llama_get_logits_ith);
    enter(PART_CHOICE);
    float *logits = real(ctx, i);
    return logits;
}

int32_t llama_token_to_piece(const struct llama_vocab *vocab, llama_token token, char *buf,
                             int32_t length, int32_t lstrip, bool special)
{
    REAL(llama_token_to_piece);
    enter(PART_FRAME);
    const int32_t result = real(vocab, token, buf, length, lstrip, special);
    enter(PART_STEP);
    return result;
}

/* ---- libburble ------------------------------------------------------------------------------------------ */

int burble_detok_push(burble_detok *detok, const int32_t *ids, size_t n, burble_text *text)
{
    REAL(burble_detok_push);
    enter(PART_TEXT);
    const int result = real(detok, ids, n, text);
    enter(PART_STEP);
    return result;
}

int burble_chunker_push(burble_chunker *chunker, const char *text, size_t len, uint32_t tokens,
                        bool more, burble_text *chunk, uint32_t *stands_for)
{
    REAL(burble_chunker_push);
    enter(PART_TEXT);
    const int result = real(chunker, text, len, tokens, more, chunk, stands_for);
    enter(PART_STEP);
    return result;
}

int burble_stream_append_until(burble_stream *stream, const char *text, size_t len, uint32_t tokens,
                               uint64_t deadline)
{
    REAL(burble_stream_append_until);
    enter(PART_STREAM);
    const int result = real(stream, text, len, tokens, deadline);
    enter(PART_STEP);
    return result;
}

size_t burble_frame_write(const burble_frame *frame, char *bytes, size_t capacity)
{
    REAL(burble_frame_write);
    enter(PART_FRAME);
    const size_t result = real(frame, bytes, capacity);
    enter(PART_STEP);
    return result;
}

size_t burble_frame_write_ids(const int32_t *ids, size_t n, char *bytes, size_t capacity)
{
    REAL(burble_frame_write_ids);
    enter(PART_FRAME);
    const size_t result = real(ids, n, bytes, capacity);
    enter(PART_STEP);
    return result;
}

/* ---- libc ----------------------------------------------------------------------------------------------- */

/* A hub's signal, in the middle of an append. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's are reserved names */
ssize_t write(int fd, const void *bytes, size_t n)
{
    REAL(write);
    const enum part before = part;
    enter(PART_WAKE);
    const ssize_t result = real(fd, bytes, n);
    enter(before);
    return result;
}
