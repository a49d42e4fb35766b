/* SPDX-License-Identifier: MIT
 *
 * Bytes that arrive a few at a time, as UTF-8 text.
 *
 * Each character comes out with the byte that completes it, and what can no longer become one is
 * replaced by U+FFFD with the byte that shows it. Only the beginning of a character, at most 3
 * bytes, is ever held back.
 *
 * What is well-formed, and where a broken character ends, is Unicode 15.0, section 3.9: table 3-7
 * and "U+FFFD Substitution of Maximal Subparts". Rust's String::from_utf8_lossy and Python's
 * bytes.decode("utf-8", "replace") follow the same rule.
 */
#ifndef BURBLE_BASE_UTF8_H
#define BURBLE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest beginning of a character that is not the whole of it, in bytes. */
#define BURBLE__UTF8_HELD_MAX 3

/* How many bytes of text one byte can become: one that is no UTF-8 becomes U+FFFD. */
#define BURBLE__UTF8_GROWTH 3

/* The replacement of a broken character of several bytes. */
enum burble__utf8_rule {
    BURBLE__UTF8_PER_PART, /* one U+FFFD for the maximal part of a character */
    BURBLE__UTF8_PER_BYTE  /* one U+FFFD for each of its bytes */
};

struct burble__utf8 {
    uint8_t rule; /* burble__utf8_rule */
    uint8_t held; /* how many of `bytes` are waiting for the rest of their character */
    unsigned char bytes[BURBLE__UTF8_HELD_MAX];
};

/* At the beginning of a text. */
void burble__utf8_init(struct burble__utf8 *utf8, enum burble__utf8_rule rule);

/* Takes `n` bytes and writes the text that is now certain to `out`, which has room for
 * BURBLE__UTF8_GROWTH * (utf8->held + n) bytes and does not overlap `in`. Returns its length. */
size_t burble__utf8_feed(struct burble__utf8 *utf8, const char *in, size_t n, char *out);

/* Gives up on what is held: writes its U+FFFD to `out`, which has room for BURBLE__UTF8_GROWTH *
 * utf8->held bytes, and holds nothing any more. Returns the length written. */
size_t burble__utf8_flush(struct burble__utf8 *utf8, char *out);

/* Whether these bytes are UTF-8 from beginning to end, nothing incomplete. */
bool burble__utf8_valid(const char *bytes, size_t n);

/* Makes `n` bytes valid in their own place: what is not UTF-8 becomes '?', one for each maximal part of
 * a character, but that what ends in the middle of one is left out. Returns how many there are then. */
size_t burble__utf8_mend(char *bytes, size_t n);

/* How many characters `n` bytes of valid UTF-8 are: as many as begin there, if they are a part of more. */
static inline uint64_t burble__utf8_count(const char *bytes, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)bytes[i] & 0xC0u) != 0x80u;
    return count;
}

/* The last character of `n` bytes of valid UTF-8; `n` is not 0. */
uint32_t burble__utf8_last(const char *bytes, size_t n);

#endif
