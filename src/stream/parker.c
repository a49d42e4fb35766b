/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "stream/parker.h"

#include <errno.h>
#include <time.h>

int burble__parker_init(struct burble__parker *parker)
{
    pthread_condattr_t monotonic;
    parker->signalled = false;
    if (pthread_condattr_init(&monotonic) != 0)
        return -1;
    /* Deadlines must not move when somebody sets the time of day. */
    if (pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) != 0)
        goto fail_condattr;
    if (pthread_mutex_init(&parker->lock, NULL) != 0)
        goto fail_condattr;
    if (pthread_cond_init(&parker->changed, &monotonic) != 0)
        goto fail_mutex;
    pthread_condattr_destroy(&monotonic);
    return 0;

fail_mutex:
    pthread_mutex_destroy(&parker->lock);
fail_condattr:
    pthread_condattr_destroy(&monotonic);
    return -1;
}

void burble__parker_finish(struct burble__parker *parker)
{
    pthread_cond_destroy(&parker->changed);
    pthread_mutex_destroy(&parker->lock);
}

bool burble__parker_wait(struct burble__parker *parker, uint64_t deadline)
{
    const struct timespec until = {
        .tv_sec = (time_t)(deadline / 1000000000u),
        .tv_nsec = (long)(deadline % 1000000000u),
    };
    int rc = 0;
    pthread_mutex_lock(&parker->lock);
    while (!parker->signalled && rc != ETIMEDOUT)
        if (deadline == 0)
            rc = pthread_cond_wait(&parker->changed, &parker->lock);
        else
            rc = pthread_cond_timedwait(&parker->changed, &parker->lock, &until);
    const bool signalled = parker->signalled;
    parker->signalled = false;
    pthread_mutex_unlock(&parker->lock);
    return signalled;
}

void burble__parker_signal(struct burble__parker *parker)
{
    pthread_mutex_lock(&parker->lock);
    parker->signalled = true;
    /* Under the lock: afterwards the sleeper may be gone, and a reference of the caller's is all
     * that keeps the parker. */
    pthread_cond_signal(&parker->changed);
    pthread_mutex_unlock(&parker->lock);
}
