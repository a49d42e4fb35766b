/* SPDX-License-Identifier: MIT */
#include "serve/json.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include <burble/error.h>

#include "base/utf8.h"

/* ---- text ------------------------------------------------------------------------------------------- */

/* Text of up to this length is written without a look at how much room it needs. */
#define SHORT_TEXT 512

/* Whether one of 8 bytes has to be escaped or looked at: it is below 0x20, '"', '\\', or above 0x7e. */
static bool is_special(uint64_t word)
{
    const uint64_t ones = UINT64_MAX / 255, high = ones * 0x80;
    const uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
    /* (A byte above 0x7f is found by itself; below it, no byte borrows from its neighbour wrongly without one
     * that is found.) */
    return ((word - ones * 0x20) | (quote - ones) | (slash - ones) | word) & high;
}

static bool continues(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

/* How long the valid character at the beginning of `n` bytes is, whose first one is not ASCII; 0: there is none.
 * (Unicode 15.0, table 3-7.) */
static size_t character(const char *text, size_t n)
{
    const unsigned char first = (unsigned char)text[0];
    if (n < 2 || first < 0xc2 || first > 0xf4 || !continues(text[1]))
        return 0;
    const unsigned char second = (unsigned char)text[1];
    if (first < 0xe0)
        return 2;
    if (n < 3 || !continues(text[2]))
        return 0;
    if (first < 0xf0)
        return (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ? 0 : 3;
    if (n < 4 || !continues(text[3]))
        return 0;
    return (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f) ? 0 : 4;
}

/* How many of `n` bytes, the first of which begin no valid character, make one U+FFFD. */
static size_t broken(const char *text, size_t n)
{
    struct burble__utf8 utf8;
    char out[BURBLE__UTF8_GROWTH * (BURBLE__UTF8_HELD_MAX + 1)];
    burble__utf8_init(&utf8, BURBLE__UTF8_PER_PART);
    for (size_t i = 0; i < n; i++)
        /* Nothing comes out while the character may still go on; U+FFFD comes out with the byte that ends it, which,
         * unless it is the first, is not a part of it. */
        if (burble__utf8_feed(&utf8, text + i, 1, out) > 0)
            return i == 0 ? 1 : i;
    return n;
}

static char *write_control(char *out, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[] = "btn\0fr"; /* of 8 to 13 */
    *out++ = '\\';
    if (byte >= 8 && byte <= 13 && names[byte - 8] != '\0') {
        *out++ = names[byte - 8];
        return out;
    }
    memcpy(out, "u00", 3);
    out[3] = hex[byte >> 4];
    out[4] = hex[byte & 15];
    return out + 5;
}

char *burble__json_write_text(char *out, const char *text, size_t len)
{
    const char *const end = text + len;
    while (text < end) {
        while (end - text >= 8) {
            uint64_t word;
            memcpy(&word, text, 8);
            if (is_special(word))
                break;
            memcpy(out, text, 8);
            text += 8;
            out += 8;
        }
        if (text == end)
            break;
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') {
            *out++ = '\\';
            *out++ = *text++;
        } else if (byte < 0x20) {
            out = write_control(out, byte);
            text++;
        } else if (byte < 0x80) {
            *out++ = *text++;
        } else {
            const size_t n = character(text, (size_t)(end - text));
            memcpy(out, n > 0 ? text : "\xef\xbf\xbd", n > 0 ? n : 3);
            out += n > 0 ? n : 3;
            text += n > 0 ? n : broken(text, (size_t)(end - text));
        }
    }
    return out;
}

int burble__json_put_text(struct burble__buffer *out, const char *text, size_t len)
{
    /* A long text in pieces, so that room is asked for that is needed. A piece ends with a whole character, or, in
     * what is no UTF-8, anywhere. */
    do {
        size_t n = len;
        if (n > SHORT_TEXT) {
            n = SHORT_TEXT;
            while (n > SHORT_TEXT - 4 && ((unsigned char)text[n] & 0xc0) == 0x80)
                n--;
        }
        const int result = burble__buffer_reserve(out, BURBLE__JSON_GROWTH * n);
        if (result != BURBLE_OK)
            return result;
        if (n > 0) {
            char *at = out->bytes + out->len;
            out->len += (size_t)(burble__json_write_text(at, text, n) - at);
            text += n;
            len -= n;
        }
    } while (len > 0);
    return BURBLE_OK;
}

int burble__json_put_string(struct burble__buffer *out, const char *text, size_t len)
{
    int result = burble__buffer_append(out, "\"", 1);
    if (result == BURBLE_OK)
        result = burble__json_put_text(out, text, len);
    if (result == BURBLE_OK)
        result = burble__buffer_append(out, "\"", 1);
    return result;
}

int burble__json_put_name(struct burble__buffer *out, const char *text)
{
    return text == NULL ? burble__json_put_raw(out, "null")
                        : burble__json_put_string(out, text, strlen(text));
}

int burble__json_put_raw(struct burble__buffer *out, const char *bytes)
{
    return burble__buffer_append(out, bytes, strlen(bytes));
}

/* ---- numbers ---------------------------------------------------------------------------------------- */

char *burble__json_write_integer(char *out, uint64_t number)
{
    char digits[BURBLE__JSON_NUMBER_MAX];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    memcpy(out, digits + at, sizeof digits - at);
    return out + (sizeof digits - at);
}

int burble__json_put_integer(struct burble__buffer *out, uint64_t number)
{
    const int result = burble__buffer_reserve(out, BURBLE__JSON_NUMBER_MAX);
    if (result == BURBLE_OK) {
        char *at = out->bytes + out->len;
        out->len += (size_t)(burble__json_write_integer(at, number) - at);
    }
    return result;
}

int burble__json_put_decimal(struct burble__buffer *out, double number, unsigned decimals)
{
    const int result = burble__buffer_reserve(out, BURBLE__JSON_NUMBER_MAX);
    if (result != BURBLE_OK)
        return result;
    const double positive = number < 0 ? -number : number;
    const double size = isnan(number) ? 0 : positive < 1e9 ? positive : 1e9;
    uint64_t one = 1;
    for (unsigned i = 0; i < decimals; i++)
        one *= 10;
    const uint64_t scaled = (uint64_t)(size * (double)one + 0.5);
    char *at = out->bytes + out->len;
    if (number < 0 && scaled > 0)
        *at++ = '-';
    at = burble__json_write_integer(at, scaled / one);
    uint64_t rest = scaled % one;
    if (rest > 0) {
        *at++ = '.';
        while (rest > 0) {
            one /= 10;
            /* cppcheck-suppress zerodivcond ; the rest is 0 before `one` is */
            *at++ = (char)('0' + rest / one);
            rest %= one;
        }
    }
    out->len = (size_t)(at - out->bytes);
    return BURBLE_OK;
}

/* ---- several in a row --------------------------------------------------------------------------------- */

void burble__put_text(struct burble__output *out, const char *text, size_t len)
{
    if (out->result == BURBLE_OK)
        out->result = burble__json_put_text(out->buffer, text, len);
}

void burble__put_string(struct burble__output *out, const char *text, size_t len)
{
    if (out->result == BURBLE_OK)
        out->result = burble__json_put_string(out->buffer, text, len);
}

void burble__put_name(struct burble__output *out, const char *text)
{
    if (out->result == BURBLE_OK)
        out->result = burble__json_put_name(out->buffer, text);
}

void burble__put_raw(struct burble__output *out, const char *bytes)
{
    if (out->result == BURBLE_OK)
        out->result = burble__json_put_raw(out->buffer, bytes);
}

void burble__put_bytes(struct burble__output *out, const char *bytes, size_t n)
{
    if (out->result == BURBLE_OK)
        out->result = burble__buffer_append(out->buffer, bytes, n);
}

void burble__put_integer(struct burble__output *out, uint64_t number)
{
    if (out->result == BURBLE_OK)
        out->result = burble__json_put_integer(out->buffer, number);
}

void burble__put_decimal(struct burble__output *out, double number, unsigned decimals)
{
    if (out->result == BURBLE_OK)
        out->result = burble__json_put_decimal(out->buffer, number, decimals);
}
