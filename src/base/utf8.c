/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

#include <assert.h>
#include <string.h>

enum shape {
    COMPLETE,   /* a character */
    INCOMPLETE, /* the beginning of one, up to the end of the bytes */
    BROKEN      /* neither, whatever follows */
};

/* The kind of the character at the beginning of the bytes, and in *len its bytes: if BROKEN, the maximal part
 * of a character (or one byte that can begin none). `n` is not 0. */
static enum shape look(const unsigned char *bytes, size_t n, size_t *len)
{
    const unsigned char lead = bytes[0];
    *len = 1;
    if (lead < 0x80)
        return COMPLETE;
    if (lead < 0xC2 || lead > 0xF4)
        return BROKEN;
    /* The second byte's range depends on the first: it keeps out overlong forms (E0, F0),
     * surrogates (ED) and what lies beyond U+10FFFF (F4). */
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    const size_t whole = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    for (size_t i = 1; i < whole; i++) {
        *len = i;
        if (i == n)
            return INCOMPLETE;
        if (bytes[i] < low || bytes[i] > high)
            return BROKEN;
        low = 0x80;
        high = 0xBF;
    }
    *len = whole;
    return COMPLETE;
}

/* How many bytes there are before the first that is not ASCII; eight at a time. */
static size_t ascii_run(const unsigned char *bytes, size_t n)
{
    size_t i = 0;
    for (; n - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t eight;
        memcpy(&eight, bytes + i, sizeof eight);
        if ((eight & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    while (i < n && bytes[i] < 0x80)
        i++;
    return i;
}

/* Writes what a broken character of `len` bytes becomes. */
static size_t replace(enum burble__utf8_rule rule, size_t len, char *out)
{
    const size_t times = rule == BURBLE__UTF8_PER_BYTE ? len : 1;
    for (size_t i = 0; i < times; i++)
        memcpy(out + 3 * i, "\xEF\xBF\xBD", 3);
    return 3 * times;
}

/* Goes on with the character that is held, until it is decided or the bytes are used up. Returns
 * how many of them it took. */
static size_t resume(struct burble__utf8 *utf8, const unsigned char *in, size_t n, char *out,
                     size_t *written)
{
    unsigned char begun[BURBLE__UTF8_HELD_MAX + 1];
    memcpy(begun, utf8->bytes, BURBLE__UTF8_HELD_MAX);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        begun[utf8->held] = in[i];
        switch (look(begun, utf8->held + 1u, &len)) {
        case COMPLETE:
            memcpy(out, begun, len);
            *written = len;
            utf8->held = 0;
            return i + 1;
        case INCOMPLETE:
            utf8->bytes[utf8->held++] = in[i];
            break;
        case BROKEN:
            /* The held bytes were the beginning of a character, which this byte breaks; the byte may
             * begin a character itself. */
            *written = burble__utf8_flush(utf8, out);
            return i;
        }
    }
    *written = 0;
    return n;
}

void burble__utf8_init(struct burble__utf8 *utf8, enum burble__utf8_rule rule)
{
    memset(utf8, 0, sizeof *utf8);
    utf8->rule = (uint8_t)rule;
}

size_t burble__utf8_feed(struct burble__utf8 *utf8, const char *in, size_t n, char *out)
{
    const unsigned char *bytes = (const unsigned char *)in;
    size_t at = 0;
    size_t written = 0;
    if (utf8->held > 0)
        at = resume(utf8, bytes, n, out, &written);
    while (at < n) {
        size_t len = ascii_run(bytes + at, n - at);
        if (len > 0) {
            memcpy(out + written, bytes + at, len);
            written += len;
            at += len;
            continue;
        }
        switch (look(bytes + at, n - at, &len)) {
        case COMPLETE:
            memcpy(out + written, bytes + at, len);
            written += len;
            break;
        case INCOMPLETE:
            memcpy(utf8->bytes, bytes + at, len);
            utf8->held = (uint8_t)len;
            break;
        case BROKEN:
            written += replace((enum burble__utf8_rule)utf8->rule, len, out + written);
            break;
        }
        at += len;
    }
    return written;
}

size_t burble__utf8_flush(struct burble__utf8 *utf8, char *out)
{
    const size_t held = utf8->held;
    utf8->held = 0;
    return held == 0 ? 0 : replace((enum burble__utf8_rule)utf8->rule, held, out);
}

bool burble__utf8_valid(const char *bytes, size_t n)
{
    const unsigned char *all = (const unsigned char *)bytes;
    size_t at = 0;
    while (at < n) {
        size_t len = ascii_run(all + at, n - at);
        if (len == 0 && look(all + at, n - at, &len) != COMPLETE)
            return false;
        at += len;
    }
    return true;
}

size_t burble__utf8_mend(char *bytes, size_t n)
{
    size_t at = 0;
    size_t written = 0;
    while (at < n) {
        size_t len;
        const enum shape shape = look((const unsigned char *)bytes + at, n - at, &len);
        if (shape == COMPLETE) {
            memmove(bytes + written, bytes + at, len);
            written += len;
        } else if (shape == BROKEN) {
            bytes[written++] = '?';
        }
        at += len;
    }
    return written;
}

uint32_t burble__utf8_last(const char *bytes, size_t n)
{
    assert(n > 0);
    size_t at = n - 1;
    while (at > 0 && ((unsigned char)bytes[at] & 0xC0) == 0x80)
        at--;
    /* The first byte of a character of 2, 3 or 4 bytes keeps 5, 4 or 3 bits of it, each further
     * byte 6. */
    const uint32_t lead = (unsigned char)bytes[at];
    uint32_t last = lead < 0x80   ? lead
                    : lead < 0xE0 ? lead & 0x1F
                    : lead < 0xF0 ? lead & 0xF
                                  : lead & 7;
    while (++at < n)
        last = last << 6 | ((unsigned char)bytes[at] & 0x3Fu);
    return last;
}
