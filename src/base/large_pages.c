/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE

#include "base/large_pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Less would not have a whole large page in it. */
#define LEAST ((size_t)4 << 20)

void burble__prefer_large_pages(void *memory, size_t size)
{
#ifdef MADV_HUGEPAGE
    const long page = sysconf(_SC_PAGESIZE);
    if (size < LEAST || page <= 0)
        return;
    const int saved = errno;
    /* From the beginning of its first page on, where malloc has a header: otherwise the mapping would be split, and
     * realloc would have to copy it. */
    const size_t before = (uintptr_t)memory % (uintptr_t)page;
    madvise((char *)memory - before, before + size, MADV_HUGEPAGE); /* a wish, which may fail */
    errno = saved;
#else
    (void)memory, (void)size;
#endif
}
