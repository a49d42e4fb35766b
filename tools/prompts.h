/* SPDX-License-Identifier: MIT
 *
 * Where `burble run` has its prompts from: the command line, standard input, a file.
 */
#ifndef BURBLE_TOOLS_PROMPTS_H
#define BURBLE_TOOLS_PROMPTS_H

#include <stddef.h>

#include "bytes.h"

struct prompt {
    const char *text; /* `len` bytes of UTF-8; not ended by NUL */
    size_t len;
    size_t line; /* of the file, from 1 */
};

struct prompts {
    struct bytes input; /* what was read */
    struct prompt *list;
    size_t n, capacity;
};

/* Reads a file, or standard input where `path` is "-", to its end. A signal that `signals`
 * (signals_open) can be read for breaks it off, and is put into *signal. Returns EXIT_DONE or, after a
 * message, EXIT_ERROR. */
int prompts_read(struct prompts *prompts, const char *path, int signals, int *signal);

/* Makes one prompt of all that was read, without a newline at its end. Results as above. */
int prompts_whole(struct prompts *prompts);

/* Makes a prompt of each line; a line without anything but white space is none. `name` is what messages
 * call the file. */
int prompts_lines(struct prompts *prompts, const char *name);

/* Makes one prompt of an argument, which must live as long. */
int prompts_argument(struct prompts *prompts, const char *argument);

void prompts_free(struct prompts *prompts);

#endif
