/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "fail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fail_report *report;
static _Atomic(bool) armed;
static enum fail_mode mode;
static unsigned nth;
static _Thread_local struct fail_errors errors;

void fail_report_to(struct fail_report *to)
{
    report = to;
}

void fail_arm(enum fail_mode how, unsigned which)
{
    mode = how;
    nth = which;
    atomic_store(&armed, true);
}

void fail_disarm(void)
{
    atomic_store(&armed, false);
}

struct fail_errors fail_errors(void)
{
    return errors;
}

void fail_forget(void)
{
    errors = (struct fail_errors){.first = 0};
}

void fail_count(enum fail_resource resource, int n)
{
    atomic_fetch_add(&report->live[resource], n);
}

/* Of these, which fail for want of a key or a clock, the headers say BURBLE_ENOMEM. */
static bool has_no_error_of_its_own(const char *function)
{
    return strcmp(function, "pthread_key_create") == 0
           || strcmp(function, "pthread_condattr_setclock") == 0;
}

static void note(const char *function, int error)
{
    const char *nothing = NULL;
    atomic_compare_exchange_strong(&report->called, &nothing, function);
    if (errors.first == 0)
        errors.first = error;
    errors.no_memory |= error == ENOMEM || has_no_error_of_its_own(function);
    atomic_fetch_add(&report->failed, 1);
    errno = error;
}

/* Whether this call has to fail. */
static bool fails(const char *function, int error)
{
    if (!atomic_load(&armed) || (mode != FAIL_ONCE && mode != FAIL_ON && mode != FAIL_NEVER))
        return false;
    const unsigned n = atomic_fetch_add(&report->calls, 1) + 1;
    if (mode == FAIL_NEVER || n < nth || (mode == FAIL_ONCE && n > nth))
        return false;
    note(function, error);
    return true;
}

/* Whether this call, which may come back early, has to. */
static bool comes_back(const char *function, enum fail_mode how)
{
    if (!atomic_load(&armed) || mode != how)
        return false;
    if (atomic_fetch_add(&report->calls, 1) + 1 != nth)
        return false;
    note(function, EINTR);
    return true;
}

/* ---- memory ---------------------------------------------------------------------------------- */

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

static void *taken(void *p)
{
    fail_count(FAIL_blocks, p != NULL);
    return p;
}

void *__wrap_malloc(size_t size)
{
    return fails("malloc", ENOMEM) ? NULL : taken(__real_malloc(size));
}

void *fail_never_malloc(size_t size)
{
    return taken(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails("calloc", ENOMEM) ? NULL : taken(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    if (fails("realloc", ENOMEM))
        return NULL;
    return p == NULL ? taken(__real_malloc(size)) : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails("aligned_alloc", ENOMEM) ? NULL : taken(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *p)
{
    fail_count(FAIL_blocks, -(p != NULL));
    __real_free(p);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

int __real_eventfd(unsigned value, int flags);
int __real_pipe(int *fds);
int __real_open64(const char *path, int flags, ...);
int __real_fcntl64(int fd, int command, ...);
int __real_fstat64(int fd, struct stat *status);
int __real_close(int fd);
ssize_t __real_read(int fd, void *bytes, size_t n);
ssize_t __real_write(int fd, const void *bytes, size_t n);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout);

int __wrap_eventfd(unsigned value, int flags);
int __wrap_pipe(int *fds);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fstat64(int fd, struct stat *status);
int __wrap_close(int fd);
ssize_t __wrap_read(int fd, void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);

static int opened(int result, int n)
{
    if (result >= 0)
        fail_count(FAIL_descriptors, n);
    return result;
}

/* The eventfd that was made last. */
static _Atomic(int) wakes = -1;

int __wrap_eventfd(unsigned value, int flags)
{
    if (fails("eventfd", EMFILE))
        return -1;
    wakes = opened(__real_eventfd(value, flags), 1);
    return wakes;
}

int __wrap_pipe(int *fds)
{
    return fails("pipe", EMFILE) ? -1 : opened(__real_pipe(fds), 2);
}

/* None of ours creates a file. */
int __wrap_open64(const char *path, int flags, ...)
{
    return fails("open", EMFILE) ? -1 : opened(__real_open64(path, flags), 1);
}

/* All of ours give an int or nothing. */
int __wrap_fcntl64(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    const int arg = command == F_SETFL || command == F_SETFD ? va_arg(args, int) : 0;
    va_end(args);
    return fails("fcntl", EINVAL) ? -1 : __real_fcntl64(fd, command, arg);
}

int __wrap_fstat64(int fd, struct stat *status)
{
    return fails("fstat", EIO) ? -1 : __real_fstat64(fd, status);
}

/* It is closed in any case, as in the kernel. */
int __wrap_close(int fd)
{
    const int result = __real_close(fd);
    if (result == 0)
        fail_count(FAIL_descriptors, -1);
    return fails("close", EIO) ? -1 : result;
}

ssize_t __wrap_read(int fd, void *bytes, size_t n)
{
    if (fails("read", EIO) || comes_back("read", FAIL_EINTR))
        return -1;
    return __real_read(fd, bytes, n > 8 && comes_back("read", FAIL_SHORT) ? 1 : n);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t n)
{
#ifdef TORTURE_LLAMA
    /* The command sleeps until its hub's descriptor says that there is something. */
    if (fd == wakes)
        return __real_write(fd, bytes, n);
#endif
    if (fails("write", EIO) || comes_back("write", FAIL_EINTR))
        return -1;
    /* (An eventfd takes 8 bytes or none.) */
    return __real_write(fd, bytes, n > 8 && comes_back("write", FAIL_SHORT) ? 1 : n);
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    if (fails("poll", ENOMEM) || comes_back("poll", FAIL_EINTR))
        return -1;
    return __real_poll(fds, n, timeout);
}

/* ---- threads --------------------------------------------------------------------------------- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __real_pthread_join(pthread_t thread, void **result);
int __real_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int __real_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __real_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);
int __real_pthread_cond_destroy(pthread_cond_t *cond);
int __real_pthread_condattr_init(pthread_condattr_t *attr);
int __real_pthread_condattr_setclock(pthread_condattr_t *attr, clockid_t clock);
int __real_pthread_key_create(pthread_key_t *key, void (*destroy)(void *));
int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);
int __wrap_pthread_cond_destroy(pthread_cond_t *cond);
int __wrap_pthread_condattr_init(pthread_condattr_t *attr);
int __wrap_pthread_condattr_setclock(pthread_condattr_t *attr, clockid_t clock);
int __wrap_pthread_key_create(pthread_key_t *key, void (*destroy)(void *));
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    if (fails("pthread_create", EAGAIN))
        return EAGAIN;
    const int result = __real_pthread_create(thread, attr, run, arg);
    fail_count(FAIL_threads, result == 0);
    return result;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    fail_count(FAIL_threads, -1);
    return __real_pthread_join(thread, result);
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
    if (fails("pthread_mutex_init", ENOMEM))
        return ENOMEM;
    fail_count(FAIL_mutexes, 1);
    return __real_pthread_mutex_init(mutex, attr);
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    fail_count(FAIL_mutexes, -1);
    return __real_pthread_mutex_destroy(mutex);
}

/* Somebody else has it. */
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    return fails("pthread_mutex_trylock", EBUSY) ? EBUSY : __real_pthread_mutex_trylock(mutex);
}

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
    if (fails("pthread_cond_init", ENOMEM))
        return ENOMEM;
    fail_count(FAIL_conditions, 1);
    return __real_pthread_cond_init(cond, attr);
}

int __wrap_pthread_cond_destroy(pthread_cond_t *cond)
{
    fail_count(FAIL_conditions, -1);
    return __real_pthread_cond_destroy(cond);
}

int __wrap_pthread_condattr_init(pthread_condattr_t *attr)
{
    return fails("pthread_condattr_init", ENOMEM) ? ENOMEM : __real_pthread_condattr_init(attr);
}

int __wrap_pthread_condattr_setclock(pthread_condattr_t *attr, clockid_t clock)
{
    return fails("pthread_condattr_setclock", EINVAL)
               ? EINVAL
               : __real_pthread_condattr_setclock(attr, clock);
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*destroy)(void *))
{
    return fails("pthread_key_create", EAGAIN) ? EAGAIN : __real_pthread_key_create(key, destroy);
}

int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return fails("pthread_atfork", ENOMEM) ? ENOMEM : __real_pthread_atfork(prepare, parent, child);
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return fails("pthread_setspecific", ENOMEM) ? ENOMEM : __real_pthread_setspecific(key, value);
}

int fail_thread_create(pthread_t *thread, void *(*run)(void *), void *arg)
{
    return __real_pthread_create(thread, NULL, run, arg);
}

int fail_thread_join(pthread_t thread)
{
    return __real_pthread_join(thread, NULL);
}
