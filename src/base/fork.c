/* SPDX-License-Identifier: MIT */
#include "base/fork.h"

#include <pthread.h>

#include <burble/error.h>

_Atomic(uint64_t) burble__fork_count;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(bool) watching;

static _Atomic(uint64_t) numbers; /* given so far */
static _Thread_local uint64_t number;
static uint64_t forked_by; /* the number of the thread that has forked; 0: it had none */

/* Registered twice, where two threads make the first objects at once, it counts by two, which does not
 * matter: counts are only compared. */
static void in_child(void)
{
    burble__add_relaxed(&burble__fork_count, 1);
    forked_by = number;
    pthread_mutex_init(&lock, NULL); /* a thread that is not here may have had it */
}

int burble__fork_watch(void)
{
    /* No lock, nor pthread_once: a fork by another thread meanwhile would leave it held, with nobody to make
     * it anew. Acquire and release: whoever finds it watched makes its object after that. */
    if (burble__load_acquire(&watching))
        return BURBLE_OK;
    if (pthread_atfork(NULL, NULL, in_child) != 0)
        return BURBLE_ENOMEM;
    burble__store_release(&watching, true);
    return BURBLE_OK;
}

void burble__fork_lock(void)
{
    pthread_mutex_lock(&lock);
}

void burble__fork_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

uint64_t burble__thread_number(void)
{
    return number;
}

uint64_t burble__thread_give_number(void)
{
    if (number == 0)
        number = burble__add_relaxed(&numbers, 1) + 1;
    return number;
}

bool burble__thread_has_forked(uint64_t other)
{
    return other == forked_by;
}
