/* SPDX-License-Identifier: MIT
 *
 * Retries on an event loop: of appends to a stream that has no room, because its reader is behind. The loop must not wait, and
 * a reader that goes on wakes only a writer that waits. The first retry comes within 5 ms; while retries fail, the time
 * doubles up to 40 ms, so that many readers that stand still cost little.
 *
 * Everything is called in the loop's thread.
 */
#ifndef BURBLE_SERVE_RETRY_H
#define BURBLE_SERVE_RETRY_H

#include <stdint.h>

#include <uv.h>

/* Embedded in what is tried again. */
struct burble__retry {
    struct burble__retry *next, **at; /* in a list of retries; `at` NULL: in none */
    void (*run)(struct burble__retry *retry);
    uint64_t due;     /* ms, by uv_now */
    uint32_t doubled; /* how often its time was doubled; set to 0 after a success */
};

/* Embedded in what has the loop. */
struct burble__retries {
    uv_timer_t timer;
    struct burble__retry *first;
    uint64_t due; /* ms: when the timer runs; UINT64_MAX: never */
};

/* As uv_timer_init. */
int burble__retries_init(struct burble__retries *retries, uv_loop_t *loop);

/* Closes the timer. No retry may be left. */
void burble__retries_close(struct burble__retries *retries);

/* Calls `run` once, after some milliseconds: the more, the more calls there were since `doubled` was 0. */
void burble__retry_later(struct burble__retries *retries, struct burble__retry *retry);

/* Calls `run` once, after the loop has looked at its other work. */
void burble__retry_soon(struct burble__retries *retries, struct burble__retry *retry);

/* Cancels the retry, if it is there. */
void burble__retry_never(struct burble__retry *retry);

#endif
