/* SPDX-License-Identifier: MIT */
#include "base/base64.h"

#include <stdint.h>

/* The value of a byte outside the alphabet: above every value that four characters make. */
#define NONE ((uint32_t)1 << 24)

static uint32_t value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint32_t)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0') + 52;
    return c == '+' ? 62 : c == '/' ? 63 : NONE;
}

bool burble__base64_decode(const char *in, size_t n, char *out, size_t *len)
{
    *len = 0;
    if (n % 4 != 0)
        return false;
    for (size_t at = 0; at < n; at += 4) {
        const bool last = at + 4 == n;
        const size_t padding = !last || in[at + 3] != '=' ? 0 : in[at + 2] != '=' ? 1 : 2;
        uint32_t bits = 0;
        for (size_t i = 0; i < 4 - padding; i++) {
            const uint32_t value = value_of(in[at + i]);
            if (value == NONE)
                return false;
            bits |= value << (18 - 6 * i);
        }
        if ((bits & ((UINT32_C(1) << (8 * padding)) - 1)) != 0)
            return false; /* what the padding cuts off has to be 0 */
        for (size_t i = 0; i < 3 - padding; i++)
            out[(*len)++] = (char)(bits >> (16 - 8 * i) & 0xFF);
    }
    return true;
}
