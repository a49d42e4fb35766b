/* SPDX-License-Identifier: MIT
 *
 * Atomic operations with their memory order in their names. Nothing in burble uses <stdatomic.h>
 * directly, so that each ordering can be found, read and argued about. `make model` checks them: each
 * that is needed is weakened there, and the check must notice (docs/testing.md).
 */
#ifndef BURBLE_BASE_ATOMIC_H
#define BURBLE_BASE_ATOMIC_H

#include <stdatomic.h>

#define burble__init(p, v) atomic_init((p), (v)) /* before anybody else knows of it */

#define burble__load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define burble__load_acquire(p) atomic_load_explicit((p), memory_order_acquire)

#define burble__store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define burble__store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)

#define burble__exchange_acq_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)

/* Compare and swap: on failure *expected is what was found. The weak one may fail for no reason, for
 * use in a loop. */
#define burble__cas_acq_rel(p, expected, v)                                                        \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acq_rel,            \
                                            memory_order_acquire)
#define burble__cas_weak_acq_rel(p, expected, v)                                                   \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_acq_rel,              \
                                          memory_order_acquire)

#define burble__add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define burble__sub_acq_rel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)

#define burble__fence_seq_cst() atomic_thread_fence(memory_order_seq_cst)

#endif
