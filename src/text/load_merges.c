/* SPDX-License-Identifier: MIT
 *
 * Source of the grammar: RFC 8259.
 *
 * Before the merges, only strings and brackets are checked. If this leads to a wrong place, the text is not
 * JSON, and its parser fails before that place. The merges themselves are read strictly; anything unusual in
 * them means that they are not found.
 */
#include "text/load_merges.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

/* Of the text that is left. */
struct cursor {
    const char *at, *end;
};

/* Whether a byte of a string has a meaning of its own, or none. */
static bool is_plain(char byte)
{
    return (unsigned char)byte >= 0x20 && byte != '"' && byte != '\\';
}

/* The next character after any space, which is skipped; NUL at the end. */
static char next(struct cursor *cursor)
{
    while (cursor->at < cursor->end
           && (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\r'
               || *cursor->at == '\t')) {
        cursor->at++;
    }
    return cursor->at < cursor->end ? *cursor->at : '\0';
}

/* Passes this character, which is not NUL, if it is next. */
static bool take(struct cursor *cursor, char character)
{
    if (next(cursor) != character)
        return false;
    cursor->at++;
    return true;
}

/* Passes what follows a backslash. Halves of surrogate pairs are not taken, alone or together. */
static bool take_escape(struct cursor *cursor)
{
    if (cursor->at == cursor->end || memchr("\"\\/bfnrtu", *cursor->at, 9) == NULL)
        return false;
    if (*cursor->at++ != 'u')
        return true;
    unsigned value = 0;
    for (unsigned i = 0; i < 4; i++, cursor->at++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit =
            cursor->at < cursor->end ? memchr(digits, *cursor->at, sizeof digits - 1) : NULL;
        if (digit == NULL)
            return false;
        const unsigned place = (unsigned)(digit - digits);
        value = value << 4 | (place < 16 ? place : place - 6);
    }
    return value < 0xD800 || value > 0xDFFF;
}

static bool take_string(struct cursor *cursor)
{
    if (!take(cursor, '"'))
        return false;
    for (;;) {
        while (cursor->at < cursor->end && is_plain(*cursor->at))
            cursor->at++;
        if (cursor->at == cursor->end)
            return false;
        const char byte = *cursor->at++;
        if (byte == '"')
            return true;
        if (byte != '\\' || !take_escape(cursor))
            return false;
    }
}

/* Passes a number or a word, to where the next thing begins. */
static void skip_bare(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (unsigned char)*cursor->at > ' '
           && memchr("\"{}[],:", *cursor->at, 7) == NULL) {
        cursor->at++;
    }
}

/* Passes a value of any kind, if it is one. */
static bool skip_value(struct cursor *cursor)
{
    size_t depth = 0;
    do {
        const char *const before = cursor->at;
        switch (next(cursor)) {
        case '"':
            if (!take_string(cursor))
                return false;
            break;
        case '{':
        case '[':
            depth++;
            cursor->at++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return false;
            depth--;
            cursor->at++;
            break;
        case ',':
        case ':':
            cursor->at++;
            break;
        default:
            skip_bare(cursor);
        }
        if (cursor->at == before)
            return false; /* the end, or a control character */
    } while (depth > 0);
    return true;
}

/* Moves to the value of a member of the object that is next; false where it has none. */
static bool enter(struct cursor *cursor, const char *key)
{
    const size_t len = strlen(key);
    if (!take(cursor, '{'))
        return false;
    do {
        next(cursor);
        const char *const name = cursor->at;
        if (!take_string(cursor))
            return false;
        /* With its quotation marks. */
        const bool found =
            (size_t)(cursor->at - name) == len + 2 && memcmp(name + 1, key, len) == 0;
        if (!take(cursor, ':'))
            return false;
        if (found)
            return true;
    } while (skip_value(cursor) && take(cursor, ','));
    return false;
}

/* Passes strings with commas between them. */
static bool take_strings(struct cursor *cursor)
{
    do {
        if (!take_string(cursor))
            return false;
    } while (take(cursor, ','));
    return true;
}

/* Passes one merge: "a b", or ["a", "b"] as newer files have it. */
static bool take_merge(struct cursor *cursor)
{
    return take(cursor, '[') ? take_strings(cursor) && take(cursor, ']') : take_string(cursor);
}

struct burble__range burble__find_merges(const char *bytes, size_t size)
{
    static const struct burble__range nothing = {0, 0};
    struct cursor cursor = {bytes, bytes + size};
    if (!enter(&cursor, "model") || !enter(&cursor, "merges") || !take(&cursor, '['))
        return nothing;
    const char *const begin = cursor.at;
    do {
        if (!take_merge(&cursor))
            return nothing;
    } while (take(&cursor, ','));
    const size_t len = (size_t)(cursor.at - begin);
    if (next(&cursor) != ']' || !burble__utf8_valid(begin, len))
        return nothing;
    return (struct burble__range){(size_t)(begin - bytes), (size_t)(begin - bytes) + len};
}
