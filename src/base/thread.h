/* SPDX-License-Identifier: MIT
 *
 * Threads of the libraries, and conditions with deadlines.
 */
#ifndef BURBLE_BASE_THREAD_H
#define BURBLE_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts a thread in which all signals are blocked: the program's signals are for its own threads, and a closed
 * connection is an error there, not a SIGPIPE. 0, or an errno. */
int burble__thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

/* Makes a condition whose deadlines are times of CLOCK_MONOTONIC: they do not move when somebody sets the time of day.
 * False: not made. */
bool burble__condition_init(pthread_cond_t *condition);

/* Waits once, with the lock held: until the condition is signalled, until `deadline` (0: none), or for no reason. 0, or
 * ETIMEDOUT. */
int burble__condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline);

#endif
