/* SPDX-License-Identifier: MIT
 *
 * All tests of the relay wait by this.
 */
#ifndef BURBLE_TESTS_RELAY_SUPPORT_H
#define BURBLE_TESTS_RELAY_SUPPORT_H

#include "../unit/support.h"

#include <stdint.h>
#include <time.h>

#include <burble/clock.h>

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)

/* The bound of a wait for something that happens. It measures nothing, so a slow machine passes, too. */
#define PATIENCE (60 * SECOND)

/* Waits until the condition holds. */
#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        const struct timespec moment_ = {.tv_nsec = 1000000};                                      \
        const uint64_t deadline_ = burble_now() + PATIENCE;                                        \
        while (!(condition)) {                                                                     \
            if (burble_now() > deadline_)                                                          \
                fail_at(HERE, "waited 60 s for " #condition);                                      \
            nanosleep(&moment_, NULL);                                                             \
        }                                                                                          \
    } while (0)

#endif
