/* SPDX-License-Identifier: MIT
 *
 * Retries on an event loop: of appends to a stream that has no room, because its reader is behind. The loop must not wait, and
 * a reader that goes on wakes only a writer that waits.
 *
 * Everything is called in the loop's thread.
 */
#ifndef BURBLE_SERVE_RETRY_H
#define BURBLE_SERVE_RETRY_H

#include <uv.h>

/* Embedded in what is tried again. */
struct burble__retry {
    struct burble__retry *next, **at; /* in a list of retries; `at` NULL: in none */
    void (*run)(struct burble__retry *retry);
};

/* Embedded in what has the loop. */
struct burble__retries {
    uv_timer_t timer;
    struct burble__retry *first;
};

/* As uv_timer_init. */
int burble__retries_init(struct burble__retries *retries, uv_loop_t *loop);

/* Closes the timer. No retry may be left. */
void burble__retries_close(struct burble__retries *retries);

/* Calls `run` once, after some milliseconds. */
void burble__retry_later(struct burble__retries *retries, struct burble__retry *retry);

/* Cancels the retry, if it is there. */
void burble__retry_never(struct burble__retry *retry);

#endif
