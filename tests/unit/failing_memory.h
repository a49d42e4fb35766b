/* SPDX-License-Identifier: MIT
 *
 * Allocations that a test makes fail, and counts. The linker puts the functions below between the libraries and the
 * allocator (`wrap_memory` in tests/meson.build). The test that includes this defines fails(): whether the allocation
 * that is asked for fails, with errno set.
 */
#ifndef BURBLE_TESTS_FAILING_MEMORY_H
#define BURBLE_TESTS_FAILING_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static bool fails(void);

static _Atomic(long) blocks; /* that are not freed */

static void *counted(void *p)
{
    blocks += p != NULL;
    return p;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    if (fails())
        return NULL;
    return p == NULL ? counted(__real_malloc(size)) : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *p)
{
    blocks -= p != NULL;
    __real_free(p);
}

#endif
