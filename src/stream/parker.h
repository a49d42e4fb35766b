/* SPDX-License-Identifier: MIT
 *
 * A parker puts one thread to sleep until another one signals it. A signal that comes first is kept.
 */
#ifndef BURBLE_STREAM_PARKER_H
#define BURBLE_STREAM_PARKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct burble__parker {
    pthread_mutex_t lock; /* held for a few instructions at a time, never while waiting */
    pthread_cond_t changed;
    bool signalled;
};

/* 0, or -1 if the system has no resources left for it. */
int burble__parker_init(struct burble__parker *parker);

void burble__parker_finish(struct burble__parker *parker);

/* Sleeps until a signal, which it consumes, or until `deadline` (CLOCK_MONOTONIC, nanoseconds; 0:
 * none). Whether there was a signal. */
bool burble__parker_wait(struct burble__parker *parker, uint64_t deadline);

void burble__parker_signal(struct burble__parker *parker);

#endif
