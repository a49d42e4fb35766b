/* SPDX-License-Identifier: MIT
 *
 * What lets calls of the system fail: the linker puts these functions in place of those that allocate,
 * open, read, write, lock and start threads (-Wl,--wrap, see meson.build). They do what they are called
 * for, count what is taken and given back, and fail when it is their turn.
 */
#ifndef BURBLE_TESTS_FAIL_H
#define BURBLE_TESTS_FAIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* X(mode, name): how calls fail. */
#define FAIL_MODES(X)                                                                              \
    X(FAIL_NEVER, "never") /* count only */                                                        \
    X(FAIL_ONCE, "once")   /* the n-th call alone */                                               \
    X(FAIL_ON, "for good") /* the n-th and each after it, whatever it is for */                    \
    X(FAIL_EINTR, "EINTR") /* the n-th of read, write and poll is interrupted */                   \
    X(FAIL_SHORT, "short") /* the n-th of read and write gets one byte done */

enum fail_mode {
#define FAIL_MODE_ENUM(mode, name) mode,
    FAIL_MODES(FAIL_MODE_ENUM)
#undef FAIL_MODE_ENUM
};

/* X(resource): what is counted as taken and not yet given back. */
#define FAIL_RESOURCES(X)                                                                          \
    X(blocks)                                                                                      \
    X(descriptors)                                                                                 \
    X(threads)                                                                                     \
    X(mutexes)                                                                                     \
    X(conditions)

enum fail_resource {
#define FAIL_RESOURCE_ENUM(resource) FAIL_##resource,
    FAIL_RESOURCES(FAIL_RESOURCE_ENUM) FAIL_N_RESOURCES
#undef FAIL_RESOURCE_ENUM
};

/* What came of it. */
struct fail_report {
    _Atomic(unsigned) calls;    /* that could have failed */
    _Atomic(unsigned) failed;   /* of them */
    const char *_Atomic called; /* the function whose turn came first */
    _Atomic(int) live[FAIL_N_RESOURCES];
};

/* Where the report goes, before anything else. */
void fail_report_to(struct fail_report *report);

/* From now on, until fail_disarm, calls fail. */
void fail_arm(enum fail_mode mode, unsigned nth);
void fail_disarm(void);

/* What has failed in this thread since fail_forget. */
struct fail_errors {
    int first;      /* the errno of the first; 0: none has failed */
    bool no_memory; /* one had too little of it */
};
struct fail_errors fail_errors(void);
void fail_forget(void);

/* What a test itself gives or takes. */
void fail_count(enum fail_resource resource, int n);

/* Not counted, and never failing: for what the tests need themselves. */
int fail_thread_create(pthread_t *thread, void *(*run)(void *), void *arg);
int fail_thread_join(pthread_t thread);

/* Counted, and never failing. */
void *fail_never_malloc(size_t size);

#endif
