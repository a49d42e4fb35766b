/* SPDX-License-Identifier: MIT
 *
 * The requests that wait for a slot: those of a higher priority first, those of one priority in the order in
 * which they came. Under the engine's lock.
 */
#ifndef BURBLE_ENGINE_LLAMA_QUEUE_H
#define BURBLE_ENGINE_LLAMA_QUEUE_H

#include "engine/llama_request.h"

struct burble__queue {
    struct burble__request *first, *last;
    /* By burble__queue_sweep, last; NULL: it begins at the first. */
    struct burble__request *looked_at;
    uint32_t n;
};

/* Puts a request behind those of its priority whose turn is before its own. */
void burble__queue_push(struct burble__queue *queue, struct burble__request *request);

void burble__queue_remove(struct burble__queue *queue, struct burble__request *request);

/* Looks at up to `most` requests, beginning where the last call has ended, and moves those that are over or
 * late at `now` to *over, a list by `next`: to be freed without the lock, because the release functions
 * of their streams may do anything. */
void burble__queue_sweep(struct burble__queue *queue, uint32_t most, uint64_t now,
                         struct burble__request **over);

/* Takes the first request that is neither over nor late, and moves those before it to *over. NULL: there is
 * none. */
struct burble__request *burble__queue_take(struct burble__queue *queue, uint64_t now,
                                           struct burble__request **over);

#endif
