/* SPDX-License-Identifier: MIT */
#include "serve/position.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <burble/error.h>

static const char hex_digits[] = "0123456789abcdef";

int burble__random_hex(char *out, size_t n)
{
    unsigned char bytes[64];
    for (size_t done = 0; done < n;) {
        const size_t part = n - done < sizeof bytes ? n - done : sizeof bytes;
        const ssize_t got = getrandom(bytes, part, 0);
        if (got < 0 && errno != EINTR)
            return BURBLE_ESYSTEM;
        for (ssize_t i = 0; i < got; i++) {
            *out++ = hex_digits[bytes[i] >> 4];
            *out++ = hex_digits[bytes[i] & 15];
        }
        done += got > 0 ? (size_t)got : 0;
    }
    *out = '\0';
    return BURBLE_OK;
}

int burble__stream_id_create(struct burble__stream_id *id)
{
    return burble__random_hex(id->hex, BURBLE__STREAM_ID_LEN / 2);
}

static int digit_of(char digit)
{
    const char *found = digit == '\0' ? NULL : strchr(hex_digits, digit);
    return found == NULL ? -1 : (int)(found - hex_digits);
}

bool burble__stream_id_parse(const char *text, size_t len, struct burble__stream_id *id)
{
    static const char *const prefixes[] = {"chatcmpl-", "cmpl-"};
    for (size_t i = 0; i < 2; i++) {
        const size_t n = strlen(prefixes[i]);
        if (len == n + BURBLE__STREAM_ID_LEN && memcmp(text, prefixes[i], n) == 0) {
            text += n;
            len -= n;
        }
    }
    if (len != BURBLE__STREAM_ID_LEN)
        return false;
    for (size_t i = 0; i < len; i++)
        if (digit_of(text[i]) < 0)
            return false;
    memcpy(id->hex, text, len);
    id->hex[len] = '\0';
    return true;
}

void burble__position_write(const struct burble__position *position, char *out)
{
    memcpy(out, position->stream.hex, BURBLE__STREAM_ID_LEN);
    out += BURBLE__STREAM_ID_LEN;
    *out++ = ':';
    uint64_t seq = position->seq;
    for (size_t i = BURBLE__POSITION_SEQ_LEN; i-- > 0; seq /= 10)
        out[i] = (char)('0' + seq % 10);
    out += BURBLE__POSITION_SEQ_LEN;
    *out++ = '_';
    for (unsigned i = 0; i < 8; i++)
        *out++ = hex_digits[position->hash >> (28 - 4 * i) & 15];
}

bool burble__position_parse(const char *text, size_t len, struct burble__position *position)
{
    *position = (struct burble__position){0};
    if (len != BURBLE__POSITION_LEN
        || !burble__stream_id_parse(text, BURBLE__STREAM_ID_LEN, &position->stream)) {
        return false;
    }
    text += BURBLE__STREAM_ID_LEN;
    if (*text++ != ':')
        return false;
    for (size_t i = 0; i < BURBLE__POSITION_SEQ_LEN; i++, text++) {
        if (*text < '0' || *text > '9')
            return false;
        position->seq = 10 * position->seq + (uint64_t)(*text - '0');
    }
    if (*text++ != '_')
        return false;
    for (size_t i = 0; i < 8; i++, text++) {
        const int digit = digit_of(*text);
        if (digit < 0)
            return false;
        position->hash = position->hash << 4 | (uint32_t)digit;
    }
    return true;
}
