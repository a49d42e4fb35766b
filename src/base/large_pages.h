/* SPDX-License-Identifier: MIT
 *
 * Large pages for memory of megabytes that is filled once and freed soon: without them, more time goes into the
 * page faults of its first use than into filling it.
 */
#ifndef BURBLE_BASE_LARGE_PAGES_H
#define BURBLE_BASE_LARGE_PAGES_H

#include <stddef.h>

/* Asks the system for large pages, where it has some; memory is not looked at, nor need it be aligned. errno stays. */
void burble__prefer_large_pages(void *memory, size_t size);

#endif
