/* SPDX-License-Identifier: MIT
 *
 * The head of a request: its target and its headers, as they come in pieces from the parser. All strings are in one
 * buffer, each with a NUL behind it; names are in lower case. The parser lets no NUL through.
 */
#ifndef BURBLE_SERVE_HEAD_H
#define BURBLE_SERVE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/detok.h>

#include "base/buffer.h"

/* The most headers of a request. */
#define BURBLE__MAX_HEADERS 256

struct burble__head {
    struct burble__buffer text; /* the target, then a name and a value for each header */
    size_t target_len;
    size_t name; /* where the name of the header that is being read begins */
    unsigned n;  /* headers that are complete */
};

/* Nothing is allocated. `max`: bytes of all strings. */
void burble__head_init(struct burble__head *head, size_t max);

void burble__head_finish(struct burble__head *head);

/* A piece of the string that is being read. BURBLE_OK or BURBLE_ENOMEM: no memory, or above the maximum. */
int burble__head_add(struct burble__head *head, const char *bytes, size_t n);

/* The end of the target, of a header's name, and of its value. BURBLE_OK or BURBLE_ENOMEM. */
int burble__head_end_target(struct burble__head *head);
int burble__head_end_name(struct burble__head *head);
int burble__head_end_value(struct burble__head *head);

/* The target: never NULL, once it has ended. */
const char *burble__head_target(const struct burble__head *head);

/* One header after the other: *at is 0 before the first one. Returns false behind the last one. */
bool burble__head_next(const struct burble__head *head, size_t *at, burble_text *name,
                       burble_text *value);

/* The first value of a header, whose name is given in lower case; NULL: it is not there. *count (may be NULL) is
 * how often the header is there. */
const char *burble__head_find(const struct burble__head *head, const char *name, unsigned *count);

#endif
