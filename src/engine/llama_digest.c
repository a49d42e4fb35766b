/* SPDX-License-Identifier: MIT */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include "engine/llama_digest.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "engine/llama_model.h"

/* The beginning of the file, which has the metadata and the vocabulary; and the samples behind it. */
#define BEGINNING ((off_t)8 << 20)
#define SAMPLES 256
#define SAMPLE ((size_t)4096)

/* Two times FNV-1a, with different beginnings. */
struct hash {
    uint64_t a, b;
};

static void add(struct hash *hash, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        hash->a = (hash->a ^ bytes[i]) * UINT64_C(0x100000001b3);
        hash->b = (hash->b ^ bytes[i] ^ 0x5a) * UINT64_C(0x100000001b3);
        hash->b ^= hash->b >> 29;
    }
}

static void add_number(struct hash *hash, uint64_t number)
{
    unsigned char bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(number >> (8 * i));
    add(hash, bytes, sizeof bytes);
}

static bool add_part(struct hash *hash, int file, off_t at, unsigned char *buffer)
{
    const ssize_t n = pread(file, buffer, SAMPLE, at);
    if (n < 0)
        return false;
    add(hash, buffer, (size_t)n);
    return true;
}

static bool add_file(struct hash *hash, int file)
{
    unsigned char *buffer = burble__malloc(SAMPLE);
    const off_t size = lseek(file, 0, SEEK_END);
    bool well = buffer != NULL && size >= 0;
    add_number(hash, (uint64_t)size);
    for (off_t at = 0; well && at < size && at < BEGINNING; at += (off_t)SAMPLE)
        well = add_part(hash, file, at, buffer);
    const off_t step = size > BEGINNING ? (size - BEGINNING) / SAMPLES + 1 : 0;
    for (off_t at = BEGINNING; well && step > 0 && at < size; at += step)
        well = add_part(hash, file, at, buffer);
    burble__free(buffer);
    return well;
}

bool burble__llama_digest(const burble_llama_model *model,
                          const burble_llama_engine_options *options, char *out)
{
    struct hash hash = {UINT64_C(0xcbf29ce484222325), UINT64_C(0x9ae16a3b2f90404f)};
    const int file = open(model->path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    const bool well = add_file(&hash, file);
    close(file);
    /* A model of several files, and what else text depends on. */
    add_number(&hash, llama_model_size(model->llama));
    add_number(&hash, llama_model_n_params(model->llama));
    add_number(&hash, options->context);
    add_number(&hash, (uint64_t)options->cache_k);
    add_number(&hash, (uint64_t)options->cache_v);
    snprintf(out, BURBLE__DIGEST_LEN + 1, "%016" PRIx64 "%016" PRIx64, hash.a, hash.b);
    return well;
}
