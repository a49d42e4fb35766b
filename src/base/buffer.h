/* SPDX-License-Identifier: MIT
 *
 * A byte buffer that grows by doubling, up to a maximum that is set at its creation. A request beyond the
 * maximum fails as if memory were short, and changes nothing.
 */
#ifndef BURBLE_BASE_BUFFER_H
#define BURBLE_BASE_BUFFER_H

#include <stddef.h>

struct burble__buffer {
    char *bytes;     /* NULL until something was reserved */
    size_t len;      /* bytes in use; the owner may write behind them and move it */
    size_t capacity; /* bytes allocated */
    size_t max;      /* the capacity is never above it */
};

/* Makes it empty; nothing is allocated. */
void burble__buffer_init(struct burble__buffer *buffer, size_t max);

/* Frees its memory; it is then as after init. */
void burble__buffer_finish(struct burble__buffer *buffer);

/* The slow half of burble__buffer_reserve. */
int burble__buffer_grow(struct burble__buffer *buffer, size_t more);

/* Makes room for `more` bytes behind `len`. BURBLE_OK or BURBLE_ENOMEM. */
static inline int burble__buffer_reserve(struct burble__buffer *buffer, size_t more)
{
    return more <= buffer->capacity - buffer->len ? 0 : burble__buffer_grow(buffer, more);
}

/* Copies `n` bytes to its end; they are not its own. BURBLE_OK or BURBLE_ENOMEM. */
int burble__buffer_append(struct burble__buffer *buffer, const char *bytes, size_t n);

/* Takes the first `n` bytes away and moves the rest to the front. */
void burble__buffer_drop(struct burble__buffer *buffer, size_t n);

#endif
