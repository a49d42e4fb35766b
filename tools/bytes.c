/* SPDX-License-Identifier: MIT */
#include "bytes.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool bytes_reserve(struct bytes *bytes, size_t n)
{
    if (bytes->failed || n <= bytes->capacity - bytes->len)
        return !bytes->failed;
    size_t capacity = bytes->capacity < 256 ? 256 : bytes->capacity;
    while (capacity - bytes->len < n && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    char *larger = capacity - bytes->len < n ? NULL : realloc(bytes->data, capacity);
    if (larger == NULL) {
        bytes->failed = true;
        return false;
    }
    bytes->data = larger;
    bytes->capacity = capacity;
    return true;
}

void bytes_put(struct bytes *bytes, const char *data, size_t n)
{
    if (n > 0 && bytes_reserve(bytes, n)) {
        memcpy(bytes->data + bytes->len, data, n);
        bytes->len += n;
    }
}

void bytes_print(struct bytes *bytes, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    if (n > 0 && bytes_reserve(bytes, (size_t)n + 1)) { /* vsnprintf ends it in NUL */
        vsnprintf(bytes->data + bytes->len, (size_t)n + 1, format, again);
        bytes->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

static void put_escape(struct bytes *bytes, unsigned char c)
{
    static const char plain[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *found = c == '\0' ? NULL : strchr(plain, c);
    if (found != NULL)
        bytes_print(bytes, "\\%c", letters[found - plain]);
    else
        bytes_print(bytes, "\\u%04x", c);
}

void bytes_put_json(struct bytes *bytes, const char *text, size_t len)
{
    size_t done = 0;
    bytes_put(bytes, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == '"' || c == '\\') {
            bytes_put(bytes, text + done, i - done);
            put_escape(bytes, c);
            done = i + 1;
        }
    }
    bytes_put(bytes, text + done, len - done);
    bytes_put(bytes, "\"", 1);
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}
