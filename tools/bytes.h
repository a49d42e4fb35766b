/* SPDX-License-Identifier: MIT
 *
 * Bytes that grow. What does not fit into memory is noted in `failed`, to be looked at once, at the
 * end: nothing is added after that.
 */
#ifndef BURBLE_TOOLS_BYTES_H
#define BURBLE_TOOLS_BYTES_H

#include <stdbool.h>
#include <stddef.h>

#include "command.h"

struct bytes {
    char *data; /* NULL while there is none */
    size_t len, capacity;
    bool failed;
};

/* Makes room for `n` more, at data + len. Returns whether there is. */
bool bytes_reserve(struct bytes *bytes, size_t n);

void bytes_put(struct bytes *bytes, const char *data, size_t n);
void bytes_print(struct bytes *bytes, const char *format, ...) PRINTF_LIKE(2, 3);

/* Text, which is UTF-8, as a string of JSON, with its quotes. */
void bytes_put_json(struct bytes *bytes, const char *text, size_t len);

void bytes_free(struct bytes *bytes);

#endif
