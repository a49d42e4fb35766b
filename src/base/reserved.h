/* SPDX-License-Identifier: MIT
 *
 * The reserved room of public structs: burble.h has the rule.
 */
#ifndef BURBLE_BASE_RESERVED_H
#define BURBLE_BASE_RESERVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For messages, behind the name of the struct. */
#define BURBLE__RESERVED "expected 0 in `reserved`, found a member of a later version"

/* Whether the reserved room of *given is 0. */
#define BURBLE__UNUSED(given)                                                                      \
    burble__all_zero((given)->reserved, sizeof(given)->reserved / sizeof(given)->reserved[0])

static inline bool burble__all_zero(const uint64_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (words[i] != 0)
            return false;
    return true;
}

#endif
