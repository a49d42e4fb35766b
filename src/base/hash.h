/* SPDX-License-Identifier: MIT
 *
 * A hash of bytes, for tables of texts. It has no key: texts can be chosen to collide, so a table that is filled
 * with texts from outside counts its work, and has a bound on it.
 */
#ifndef BURBLE_BASE_HASH_H
#define BURBLE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t burble__hash(const char *bytes, size_t n)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001B3);
    return hash ^ hash >> 29;
}

#endif
