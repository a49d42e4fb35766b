/* SPDX-License-Identifier: MIT
 *
 * The file with the API keys of `burble serve`.
 */
#ifndef BURBLE_TOOLS_SERVE_KEYS_H
#define BURBLE_TOOLS_SERVE_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include <burble/error.h>

struct serve_keys {
    char *text; /* the file's, which the keys point into */
    const char **list;
    size_t n;
};

/* Reads a file: a key a line, without white space; empty lines, and lines that begin with #, are none. BURBLE_OK, or
 * another result, with a message that names the file and the line, but no key. A file without a key is an error: a
 * server without keys asks for none. `*open_to_all` says whether every user of the machine may read the file. */
int serve_keys_read(const char *path, struct serve_keys *keys, bool *open_to_all,
                    burble_error *error);

void serve_keys_free(struct serve_keys *keys);

#endif
