/* SPDX-License-Identifier: MIT */
/** @file
 *
 * The clock of all deadlines.
 */
#ifndef BURBLE_CLOCK_H
#define BURBLE_CLOCK_H

#include <stdint.h>

#include <burble/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The present time of CLOCK_MONOTONIC, in nanoseconds: burble_now() + 2000000000 is a deadline in two
 * seconds. Any thread may call it. */
BURBLE_API uint64_t burble_now(void);

#ifdef __cplusplus
}
#endif

#endif
