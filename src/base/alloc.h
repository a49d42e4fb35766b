/* SPDX-License-Identifier: MIT
 *
 * Allocation. All of burble's memory comes through these, so that one place can count it, or make
 * each allocation fail in turn. They promise what the C library's own functions promise.
 */
#ifndef BURBLE_BASE_ALLOC_H
#define BURBLE_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* `size` bytes, uninitialised; NULL where there is no memory. */
static inline void *burble__malloc(size_t size)
{
    return malloc(size);
}

/* `n` times `size` bytes of zeros; NULL where there is no memory or the product overflows. */
static inline void *burble__calloc(size_t n, size_t size)
{
    return calloc(n, size);
}

/* Changes the size of `p` (which may be NULL); on failure NULL, and `p` is as it was. */
static inline void *burble__realloc(void *p, size_t size)
{
    return realloc(p, size);
}

/* Frees what any of the above returned; NULL is fine. */
static inline void burble__free(void *p)
{
    free(p);
}

#endif
