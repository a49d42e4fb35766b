/* SPDX-License-Identifier: MIT
 *
 * What the unit tests share: cmocka with the headers that it needs first, and a random generator of
 * our own, so that a seed means the same everywhere.
 */
#ifndef BURBLE_TESTS_SUPPORT_H
#define BURBLE_TESTS_SUPPORT_H

/* clang-format off */
#include <setjmp.h> /* cmocka.h wants these before it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* The seed of a test: fixed, or what BURBLE_TEST_SEED says. Printed, so that a failure can be had
 * again. */
static inline uint64_t test_seed(uint64_t fixed)
{
    const char *given = getenv("BURBLE_TEST_SEED");
    const uint64_t seed = given == NULL ? fixed : strtoull(given, NULL, 0);
    printf("seed: BURBLE_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
