/* SPDX-License-Identifier: MIT
 *
 * In place of src/base/alloc.h, for a program that compiles the library's sources itself and defines
 * these functions: it counts what is allocated, or lets it fail.
 */
#ifndef BURBLE_BASE_ALLOC_H
#define BURBLE_BASE_ALLOC_H

#include <stddef.h>

void *burble__malloc(size_t size);
void *burble__calloc(size_t n, size_t size);
void *burble__realloc(void *p, size_t size);
void *burble__aligned_alloc(size_t alignment, size_t size);
void burble__free(void *p);

#endif
