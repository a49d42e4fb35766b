/* SPDX-License-Identifier: MIT
 *
 * The work that serve_floor.c and serve_numbers.c both do: a thread makes a piece of text for each client, at the same
 * rate for all, in steps of a millisecond, among which the clients are spread. The text of a client is its pieces'
 * numbers and words, so that a receiver sees whether it is whole.
 */
#ifndef BURBLE_BENCH_SERVE_PACE_H
#define BURBLE_BENCH_SERVE_PACE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* The longest piece, in bytes. */
enum { PIECE = 24, STEP_NS = 1000000 };

/* Writes piece `n` of a text; returns its length. */
static inline size_t pace_piece(uint64_t n, char *piece)
{
    static const char *const words[] = {" the", " stream", "ing", " of",
                                        " a",   " model",  "'s",  " text"};
    size_t len = 0;
    for (const char *word = words[n % 8]; word[len] != '\0'; len++)
        piece[len] = word[len];
    if (n % 8 == 0) { /* its number, now and then */
        char digits[20];
        size_t n_digits = 0;
        for (uint64_t rest = n; rest > 0 || n_digits == 0; rest /= 10)
            digits[n_digits++] = (char)('0' + rest % 10);
        piece[len++] = ' ';
        while (n_digits > 0)
            piece[len++] = digits[--n_digits];
    }
    return len;
}

/* The steps of a thread. */
struct pace {
    struct timespec next;
    uint64_t step;
    unsigned period; /* steps between two pieces of a client */
};

static inline void pace_begin(struct pace *pace, double rate)
{
    pace->period = rate > 0 && rate < 1000 ? (unsigned)(1000 / rate + 0.5) : 1;
    pace->step = 0;
    clock_gettime(CLOCK_MONOTONIC, &pace->next);
}

/* Waits for the next step. A thread that is late makes up for it. */
static inline void pace_wait(struct pace *pace)
{
    pace->step++;
    pace->next.tv_nsec += STEP_NS;
    if (pace->next.tv_nsec >= 1000000000) {
        pace->next.tv_nsec -= 1000000000;
        pace->next.tv_sec++;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &pace->next, NULL) == EINTR)
        ;
}

/* The first client whose piece is due; the others are `period` after each other. */
static inline unsigned pace_first(const struct pace *pace)
{
    return (unsigned)(pace->step % pace->period);
}

#endif
