/* SPDX-License-Identifier: MIT
 *
 * Forks: what a forked child may do with the objects that it has from its parent.
 *
 * A child has a copy of the parent's memory at one moment, but of its threads only the one that forked. So
 * a lock may be held by a thread that does not exist, and data may be half changed. The rule of this library:
 *
 *   No lock older than a fork is taken after it.
 *
 * Each process counts the forks between the first process that used burble and itself; the handler of
 * pthread_atfork that counts is the only one, and takes no lock. Each object with a lock remembers the
 * number (`forks`) of the process that made it, or that *renewed* it last. Each public function compares
 * the two before anything else, and where they differ, the object comes from a parent:
 *
 *   stream   is renewed: its locks are made anew, and what the parent's threads had noted there (parked
 *            waiters, limited readers, a writer that waits, an end that was being written down) is
 *            forgotten. If the thread that writes it is not in this process, it fails with BURBLE_EDIED.
 *            The log itself needs no lock: records are published by one store each, and stay.
 *   reader   is renewed: its position is found again from its block and its sequence number, each of which
 *            changes by one store; it is attached to no hub and has no limit.
 *   hub      counts as destroyed: its descriptor belongs to the parent's event loop, too, so the child
 *            neither signals nor clears it.
 *   pool     is renewed: it has no threads and no jobs. The streams of those jobs have failed.
 *   engine   counts as closed: its thread stayed in the parent. Its memory is kept.
 *
 * Forgotten data is not freed: it may be half changed, or in use by a thread that does not exist.
 *
 * Why this is enough
 *
 *   - Fork takes a snapshot that respects the order of memory: where the child sees a store, it sees all
 *     that was ordered before it. So what holds at each moment for a reader in another thread holds for
 *     the child. In particular, counts of references are never too low: each goes up before the reference
 *     is stored, and down after it is gone. They may be too high; then memory is kept.
 *   - Plain data behind a lock is either forgotten, or single pointers that are whole at each moment.
 *   - Several threads of the child may come to an object at once. One renews it, under the one lock below,
 *     and publishes that by storing `forks`; the others wait for it. Only renewing takes that lock (and
 *     making a thread key), calls nobody but malloc meanwhile, and the handler makes it anew.
 *   - A thread that forks does so outside of burble's functions, or in one that a hub or a pool calls: then it
 *     is amid nothing. (Release functions may not, and a signal handler that interrupts burble may not.)
 *
 * The C library has to have its allocator usable in the child, as glibc, musl and macOS do. A process that
 * is made by the bare system call, without the handlers, is not known of.
 */
#ifndef BURBLE_BASE_FORK_H
#define BURBLE_BASE_FORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#if defined(__GNUC__)
#define BURBLE__HIDDEN __attribute__((visibility("hidden")))
#else
#define BURBLE__HIDDEN
#endif

/* Written by the handler alone, while the process has one thread: use burble__forks. */
extern BURBLE__HIDDEN _Atomic(uint64_t) burble__fork_count;

/* Makes sure that forks are counted. Called before each object with a lock is created; after the first
 * success it costs nothing. BURBLE_OK or BURBLE_ENOMEM. */
int burble__fork_watch(void);

/* How many forks there are between the first process that used burble and this one. */
static inline uint64_t burble__forks(void)
{
#ifdef BURBLE__NO_FORK /* the model of `make model` has one process */
    return 0;
#else
    return burble__load_relaxed(&burble__fork_count);
#endif
}

/* Whether an object was made or renewed in this process. Acquire: pairs with the release of the thread that
 * has renewed it, so that we find it renewed. */
static inline bool burble__is_here(const _Atomic(uint64_t) *forks)
{
#ifdef BURBLE__NO_FORK
    (void)forks;
    return true;
#else
    return burble__load_acquire(forks) == burble__forks();
#endif
}

/* The one lock of the process: see above. */
void burble__fork_lock(void);
void burble__fork_unlock(void);

/* The calling thread's number; 0: none yet. No two threads of a process and its ancestors have the same number;
 * siblings may repeat one. */
uint64_t burble__thread_number(void);

/* The calling thread's number; it gets one now if it has none. */
uint64_t burble__thread_give_number(void);

/* Whether the thread with this number, from before the fork that made this process, is the forking thread,
 * which exists in this process. */
bool burble__thread_has_forked(uint64_t number);

#endif
