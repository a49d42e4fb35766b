/* SPDX-License-Identifier: MIT
 *
 * The error messages of the loaders.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error_message.h"
#include "base/utf8.h"
#include "text/load.h"

/* How much of a file's name stands in a message, in bytes: its end, so that there is room for what
 * was wrong. */
#define NAME_MAX_SHOWN 80

/* The end of a name that is too long, from the beginning of a character on. */
static const char *end_of(const char *name)
{
    const char *from = name + strlen(name) - NAME_MAX_SHOWN;
    while (((unsigned char)*from & 0xC0) == 0x80)
        from++;
    return from;
}

int burble__load_fail(const struct burble__source *source, int code, const char *format, ...)
{
    burble_error *error = source->error;
    if (error == NULL)
        return code;
    *error = (burble_error){.code = code};
    char *const message = error->message;
    const size_t room = sizeof error->message;
    const char *name = source->name == NULL ? "(bytes in memory)" : source->name;
    const bool long_name = strlen(name) > NAME_MAX_SHOWN;
    const int n =
        snprintf(message, room, "%s%s: ", long_name ? "…" : "", long_name ? end_of(name) : name);
    if (n > 0 && (size_t)n < room) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message + n, room - (size_t)n, format, arguments);
        va_end(arguments);
    }
    burble__error_mend(error);
    return code;
}

/* How many bytes the printable character at the beginning has; 0 where there is none. */
static size_t printable(const char *bytes, size_t len)
{
    const unsigned char lead = (unsigned char)bytes[0];
    if (lead < 0x80)
        return lead >= 0x20 && lead != 0x7F && lead != '"' && lead != '\\' ? 1 : 0;
    const size_t whole = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return whole <= len && burble__utf8_valid(bytes, whole) && lead != 0xC2 ? whole : 0;
}

struct burble__quoted burble__quote(const char *bytes, size_t len)
{
    struct burble__quoted quoted;
    char *const text = quoted.text;
    const size_t reserve = sizeof "…\""; /* what comes after the last character */
    size_t n = 0;
    text[n++] = '"';
    size_t at = 0;
    while (at < len && n + 4 + reserve <= sizeof quoted.text) {
        const size_t whole = printable(bytes + at, len - at);
        if (whole > 0) {
            memcpy(text + n, bytes + at, whole);
            n += whole;
            at += whole;
        } else if (bytes[at] == '\\' || bytes[at] == '"') {
            text[n++] = '\\';
            text[n++] = bytes[at++];
        } else {
            n += (size_t)snprintf(text + n, 5, "\\x%02X", (unsigned char)bytes[at++]);
        }
    }
    snprintf(text + n, sizeof quoted.text - n, "%s", at < len ? "…\"" : "\"");
    return quoted; /* cppcheck-suppress uninitvar ; written through `text` */
}
