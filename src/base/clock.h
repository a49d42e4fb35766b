/* SPDX-License-Identifier: MIT
 *
 * The one clock that burble knows: CLOCK_MONOTONIC, in nanoseconds.
 */
#ifndef BURBLE_BASE_CLOCK_H
#define BURBLE_BASE_CLOCK_H

#include <stdint.h>

uint64_t burble__now(void);

#endif
