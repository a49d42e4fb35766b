/* SPDX-License-Identifier: MIT
 *
 * How fast tokens come: their number, when the first and the last came, and how the times between
 * them are distributed.
 *
 * The times lie in buckets whose width grows with them, so that a percentile is off by at most 3 %
 * (by STATS_FLOOR for times below that), however many tokens there were, in bounded memory: 72 bytes for each octave from the
 * shortest time to the longest one, which are taken with the second token and later; 2,160 bytes at most.
 */
#ifndef BURBLE_PYTHON_STATS_H
#define BURBLE_PYTHON_STATS_H

#include <stdbool.h>
#include <stdint.h>

/* Buckets begin here, at about a microsecond; in nanoseconds. Above the last of the octaves, at about
 * 18 minutes, all is one. */
#define STATS_FLOOR_BITS 10
#define STATS_FLOOR (1u << STATS_FLOOR_BITS)
#define STATS_OCTAVES 30

/* In an octave. The middle of a bucket is within 1 / (2 x 18 + 1) = 2.7 % of all that is in it. */
#define STATS_BUCKETS 18

struct stats {
    uint64_t began;        /* the clock that all counts from: burble_now() */
    uint64_t tokens;       /* so many have come, */
    uint64_t chunks;       /* in so many pieces of text */
    uint64_t first, last;  /* when; 0: none has come */
    uint32_t first_tokens; /* how many came first, together: nothing says how fast */
    uint8_t octave;        /* the first one that has buckets, */
    uint8_t octaves;       /* and how many have: 0: none yet, or there was no memory for them */
    uint32_t *between;     /* the buckets of these */
};

void stats_init(struct stats *stats);
void stats_clear(struct stats *stats);

/* So many tokens came at `now` (burble_now()), of which `idle` nanoseconds since the last ones were
 * not the producer's. Tokens that come together share the time since the last one evenly. */
void stats_add(struct stats *stats, uint32_t tokens, uint64_t now, uint64_t idle);

/* The least of the times between tokens that a share `of` (0 to 1) of them does not exceed, in
 * seconds; below 0: there are none. */
double stats_percentile(const struct stats *stats, double of);

#endif
