/* SPDX-License-Identifier: MIT
 *
 * Numbers of 32 bits as four bytes, the lowest first.
 */
#ifndef BURBLE_BASE_LITTLE_ENDIAN_H
#define BURBLE_BASE_LITTLE_ENDIAN_H

#include <stdint.h>

static inline uint32_t burble__get_le32(const void *bytes)
{
    const unsigned char *from = bytes;
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16
           | (uint32_t)from[3] << 24;
}

static inline void burble__put_le32(uint32_t value, char out[4])
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (char)(unsigned char)(value >> (8 * i));
}

#endif
