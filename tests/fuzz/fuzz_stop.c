/* SPDX-License-Identifier: MIT
 *
 * The stop filter with any strings and any text, in any pieces, copied and reset now and then: what it
 * hands out and meets is what a naive search of the whole text says.
 *
 * Strings and text are of few characters, or they would never match.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include <burble/stop.h>

enum { STRINGS = 8, STRING_MAX = 64, TEXT_MAX = 4096 };

static const char *const characters[] = {"a", "b", "c", "\n", "é", "ê", "中", "😀"};

/* Appends `n` characters of the input; returns how many bytes there are then. */
static size_t put_characters(struct input *input, size_t n, char *out, size_t len)
{
    for (size_t i = 0; i < n; i++) {
        const char *character = characters[next_byte(input) % 8];
        memcpy(out + len, character, strlen(character));
        len += strlen(character);
    }
    return len;
}

/* The match that is complete first; of those the longest, and of equal ones the first. Returns where
 * it ends, or 0. */
static size_t search(const burble_text *strings, size_t n, const char *text, size_t len,
                     size_t *which)
{
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n; i++) {
            const size_t length = strings[i].len;
            if (length <= end && length > longest
                && memcmp(text + end - length, strings[i].bytes, length) == 0) {
                longest = length;
                *which = i;
            }
        }
        if (longest > 0)
            return end;
    }
    return 0;
}

/* Goes on with a copy. */
static burble_stop *exchange(burble_stop *stop)
{
    burble_stop *copy;
    CHECK(burble_stop_copy(stop, &copy) == BURBLE_OK);
    CHECK(burble_stop_has_pending(copy) == burble_stop_has_pending(stop));
    burble_stop_destroy(&stop);
    return copy;
}

static void run(struct input *input, burble_stop *stop, const burble_text *strings, size_t n,
                bool include)
{
    static char text[TEXT_MAX + 32], got[TEXT_MAX + 32];
    size_t len = 0, got_len = 0;
    int result = BURBLE_OK;
    burble_text out;
    burble_stop_match match = {0};
    while (input->left > 0 && len < TEXT_MAX - 64 && result == BURBLE_OK) {
        const uint8_t op = next_byte(input);
        if ((op & 0x30) == 0x30)
            stop = exchange(stop);
        const size_t begin = len;
        len = put_characters(input, op % 16, text, len);
        result = burble_stop_push(stop, text + begin, len - begin, &out, &match);
        CHECK(result == BURBLE_OK || result == BURBLE_END);
        CHECK(got_len + out.len <= sizeof got);
        memcpy(got + got_len, out.bytes, out.len);
        got_len += out.len;
    }
    size_t which = 0;
    const size_t end = search(strings, n, text, len, &which);
    CHECK((end > 0) == (result == BURBLE_END));
    burble_stop_finish(stop, &out);
    if (end > 0) {
        CHECK(out.len == 0);
        CHECK(match.which == which && match.end == end);
        CHECK(match.begin == end - strings[which].len);
        CHECK(got_len == (include ? match.end : match.begin));
    } else {
        memcpy(got + got_len, out.bytes, out.len);
        got_len += out.len;
        CHECK(got_len == len);
    }
    CHECK(memcmp(got, text, got_len) == 0);
    burble_stop_destroy(&stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    static char bytes[STRINGS][STRING_MAX];
    burble_text strings[STRINGS];
    const uint8_t head = next_byte(&input);
    const size_t n = head % STRINGS;
    for (size_t i = 0; i < n; i++) {
        const size_t characters_in_it = 1 + next_byte(&input) % 12;
        strings[i] = (burble_text){bytes[i], put_characters(&input, characters_in_it, bytes[i], 0)};
    }
    burble_stop *stop;
    if (burble_stop_create(strings, n, head >= 128, &stop, NULL) == BURBLE_OK)
        run(&input, stop, strings, n, head >= 128);
    return 0;
}
