/* SPDX-License-Identifier: MIT
 *
 * The streams without their fences, which the compiler still keeps to: what then goes wrong is the
 * processor's doing. `make litmus` has to notice.
 */
#ifndef BURBLE_TESTS_NO_FENCE_H
#define BURBLE_TESTS_NO_FENCE_H

#define _GNU_SOURCE /* as litmus.c, which comes after these headers */

#include "base/atomic.h"

#define NO_FENCE true

#undef burble__fence_seq_cst
#define burble__fence_seq_cst() atomic_signal_fence(memory_order_seq_cst)

#endif
