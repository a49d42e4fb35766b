/* SPDX-License-Identifier: MIT
 *
 * Shared by the stress tests: checks in threads and forked children, which cannot end a test. One
 * that does not hold is counted, and the first of them say what was expected, and where.
 */
#ifndef BURBLE_TESTS_STRESS_SUPPORT_H
#define BURBLE_TESTS_STRESS_SUPPORT_H

#include "support.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#define count_wrong(wrong, right) count_wrong_at(HERE, wrong, #right, right)

/* With write(), since the lock of `stderr` may be held by a thread that a forked child lacks. */
static inline void count_wrong_at(struct place at, atomic_uint *wrong, const char *what, bool right)
{
    enum { SHOWN = 10 };
    char line[512];
    if (right || atomic_fetch_add(wrong, 1) >= SHOWN)
        return;
    const int n = snprintf(line, sizeof line, "%s:%d: expected %s\n", at.file, at.line, what);
    const size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* it is counted */
}

#endif
