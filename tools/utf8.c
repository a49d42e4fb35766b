/* SPDX-License-Identifier: MIT */
#include "utf8.h"

/* How long the character is that begins there, or 0: Table 3-7 of the Unicode Standard. */
static size_t character(const unsigned char *at, size_t len)
{
    const unsigned char first = at[0];
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t n;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf) {
        n = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        n = 3;
        low = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        n = 4;
        low = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (n > len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    return n;
}

size_t utf8_prefix(const char *text, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t done = 0;
    while (done < len) {
        const size_t n = character(bytes + done, len - done);
        if (n == 0)
            break;
        done += n;
    }
    return done;
}
