/* SPDX-License-Identifier: MIT
 *
 * Failures for Python: loaded into the interpreter before anything else (LD_PRELOAD), it lets two kinds
 * of calls fail, in the thread that has asked for it: the extension's own, of the C library, and the
 * interpreter's allocations, wherever they come from. It counts the extension's blocks.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- what fails -------------------------------------------------------------------------------- */

static _Thread_local bool armed;
static _Thread_local unsigned calls, first, n_failures, failed;

static uintptr_t extension_begin, extension_end;
/* The extension's blocks: whoever frees them. (What it frees last in a function may look as if its
 * caller did.) A table with a lock; a power of two, more than there ever are. */
enum { ROOM = 1 << 16, GONE = 1 };
static uintptr_t blocks[ROOM];
static atomic_flag blocks_lock = ATOMIC_FLAG_INIT;
static long live;

void fail_arm(unsigned nth, unsigned n);
unsigned fail_disarm(void);
long fail_live(void);
int fail_find_extension(void);
int fail_hook_python(void);

/* The calls from the nth on, n of them, fail in this thread. */
void fail_arm(unsigned nth, unsigned n)
{
    calls = failed = 0;
    first = nth;
    n_failures = n;
    armed = true;
}

/* Returns how many have failed. */
unsigned fail_disarm(void)
{
    armed = false;
    return failed;
}

long fail_live(void)
{
    return live;
}

__attribute__((weak)) void *PyCell_New(void *value);

/* Whether it is a cell for a variable of a function that begins: where there is none, CPython 3.11 keeps
 * the function's arguments for ever. */
static bool is_for_cell(void)
{
    enum { NEAR = 8, CODE = 64 /* bytes of code */ };
    void *callers[NEAR];
    const uintptr_t begin = (uintptr_t)PyCell_New;
    const int n = backtrace(callers, NEAR);
    bool found = false;
    for (int i = 0; i < n; i++)
        found |= (uintptr_t)callers[i] > begin && (uintptr_t)callers[i] < begin + CODE;
    return found && begin != 0;
}

static bool fails(void)
{
    if (!armed || ++calls < first || is_for_cell())
        return false;
    if (++failed >= n_failures)
        armed = false; /* so that whoever asked can also stop it */
    errno = ENOMEM;
    return true;
}

/* ---- the extension's calls --------------------------------------------------------------------- */

static int find(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    if (strstr(info->dlpi_name, "/burble/_core.") == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0) {
            extension_begin = info->dlpi_addr + segment->p_vaddr;
            extension_end = extension_begin + segment->p_memsz;
        }
    }
    return 1;
}

/* Once it has been imported. 0 where it is not there. */
int fail_find_extension(void)
{
    return dl_iterate_phdr(find, NULL);
}

#define FROM_EXTENSION()                                                                           \
    ((uintptr_t)__builtin_return_address(0) >= extension_begin                                     \
     && (uintptr_t)__builtin_return_address(0) < extension_end)

/* Where it is, or where the chain of those with its number ends. */
static size_t place_of(uintptr_t block)
{
    size_t i = block / 16 % ROOM;
    while (blocks[i] != 0 && blocks[i] != block)
        i = (i + 1) % ROOM;
    return i;
}

static void lock(void)
{
    while (atomic_flag_test_and_set(&blocks_lock)) {
    }
}

static void unlock(void)
{
    atomic_flag_clear(&blocks_lock);
}

static void gone(void *p)
{
    lock();
    const size_t i = place_of((uintptr_t)p);
    if (blocks[i] != 0) {
        blocks[i] = GONE;
        live--;
    }
    unlock();
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static void *taken(void *p)
{
    if (p == NULL)
        return NULL;
    lock();
    size_t i = (uintptr_t)p / 16 % ROOM;
    while (blocks[i] > GONE)
        i = (i + 1) % ROOM;
    blocks[i] = (uintptr_t)p;
    live++;
    unlock();
    return p;
}

void *malloc(size_t size)
{
    if (!FROM_EXTENSION())
        return __libc_malloc(size);
    return fails() ? NULL : taken(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    if (!FROM_EXTENSION())
        return __libc_calloc(n, size);
    return fails() ? NULL : taken(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    if (!FROM_EXTENSION())
        return __libc_realloc(p, size);
    if (fails())
        return NULL;
    if (p != NULL)
        gone(p);
    return taken(__libc_realloc(p, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (!FROM_EXTENSION())
        return __libc_memalign(alignment, size);
    return fails() ? NULL : taken(__libc_memalign(alignment, size));
}

void free(void *p)
{
    if (p != NULL)
        gone(p);
    __libc_free(p);
}

int eventfd(unsigned value, int flags)
{
    if (FROM_EXTENSION() && fails()) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_eventfd2, value, flags);
}

/* None of the extension's creates a file. */
int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(args, unsigned) : 0;
    va_end(args);

    if (FROM_EXTENSION() && fails()) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t read(int fd, void *bytes, size_t n)
{
    if (FROM_EXTENSION() && fails()) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_read, fd, bytes, n);
}

/* ---- the interpreter's allocations: its own allocators' types, which need no header of it -------- */

struct allocator {
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t n, size_t size);
    void *(*realloc)(void *ctx, void *p, size_t size);
    void (*free)(void *ctx, void *p);
};
enum { RAW, MEM, OBJ };

__attribute__((weak)) void PyMem_GetAllocator(int domain, struct allocator *allocator);
__attribute__((weak)) void PyMem_SetAllocator(int domain, struct allocator *allocator);

static struct allocator real[3];

static void *py_malloc(void *ctx, size_t size)
{
    const struct allocator *allocator = ctx;
    return fails() ? NULL : allocator->malloc(allocator->ctx, size);
}

static void *py_calloc(void *ctx, size_t n, size_t size)
{
    const struct allocator *allocator = ctx;
    return fails() ? NULL : allocator->calloc(allocator->ctx, n, size);
}

static void *py_realloc(void *ctx, void *p, size_t size)
{
    const struct allocator *allocator = ctx;
    return fails() ? NULL : allocator->realloc(allocator->ctx, p, size);
}

static void py_free(void *ctx, void *p)
{
    const struct allocator *allocator = ctx;
    allocator->free(allocator->ctx, p);
}

/* Not those that need no GIL, which are the interpreter's own. */
int fail_hook_python(void)
{
    if (PyMem_GetAllocator == NULL || PyMem_SetAllocator == NULL)
        return 0;
    is_for_cell(); /* what it needs itself is there then */
    for (int domain = MEM; domain <= OBJ; domain++) {
        struct allocator ours = {&real[domain], py_malloc, py_calloc, py_realloc, py_free};
        PyMem_GetAllocator(domain, &real[domain]);
        PyMem_SetAllocator(domain, &ours);
    }
    return 1;
}
