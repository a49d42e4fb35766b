/* SPDX-License-Identifier: MIT
 *
 * The answers that a front shows, by name and by stream. Several may have one name: a client has left one, and another
 * one has come, before the first one was closed. Entries are the caller's; one thread at a time.
 */
#ifndef BURBLE_RELAY_DIRECTORY_H
#define BURBLE_RELAY_DIRECTORY_H

#include <stddef.h>

#include "relay/subscription.h"

struct burble__entry {
    struct burble__subscription of; /* its id and stream do not change while it is in a directory */
    struct burble__entry *same_id, *same_stream; /* the next ones in the buckets */
    struct burble__entry *older, *newer;
};

struct burble__directory {
    struct burble__entry **by_id, **by_stream;
    size_t n_buckets; /* a power of two */
    size_t n;
    struct burble__entry *oldest, *newest;
};

/* BURBLE_OK or BURBLE_ENOMEM. */
int burble__directory_init(struct burble__directory *directory);

/* It must be empty. */
void burble__directory_finish(struct burble__directory *directory);

void burble__directory_add(struct burble__directory *directory, struct burble__entry *entry);
void burble__directory_remove(struct burble__directory *directory, struct burble__entry *entry);

/* The first entry of this name, of BURBLE__STREAM_ID_LEN bytes; and the next one of the same. NULL: none. */
struct burble__entry *burble__directory_find(const struct burble__directory *directory,
                                             const char *id);
struct burble__entry *burble__directory_next(const struct burble__entry *entry);

struct burble__entry *burble__directory_of_stream(const struct burble__directory *directory,
                                                  const burble_stream *stream);

#endif
