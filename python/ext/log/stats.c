/* SPDX-License-Identifier: MIT */
#include "log/stats.h"

#include <stddef.h>
#include <string.h>

#include <burble/clock.h>

#include "base/alloc.h"
#include "base/atomic.h"

#define BUCKETS ((size_t)STATS_OCTAVES * STATS_BUCKETS)

/* The bucket of a time. */
static size_t bucket_of(uint64_t time)
{
    if (time < STATS_FLOOR)
        return 0;
    size_t octave = 0;
    for (size_t more = 16; more > 0; more /= 2)
        if (time >> (STATS_FLOOR_BITS + octave + more) != 0)
            octave += more;
    if (octave >= STATS_OCTAVES)
        return BUCKETS - 1;
    const uint64_t begin = (uint64_t)STATS_FLOOR << octave;
    return octave * STATS_BUCKETS
           + (size_t)((time - begin) * STATS_BUCKETS >> (STATS_FLOOR_BITS + octave));
}

/* The value that stands for a bucket: its relative error is the same at both ends of the bucket. */
static double middle_of(size_t bucket)
{
    const double unit = (double)((uint64_t)STATS_FLOOR << bucket / STATS_BUCKETS) / STATS_BUCKETS;
    const double begin = unit * (double)(STATS_BUCKETS + bucket % STATS_BUCKETS);
    const double end = begin + unit;
    return 2 * begin * end / (begin + end);
}

/* Makes sure that an octave has buckets; false if there is no memory for them. */
static bool cover(struct stats *stats, size_t octave)
{
    const size_t first = stats->octave, n = stats->octaves;
    if (octave >= first && octave < first + n)
        return true;
    const size_t begin = n == 0 || octave < first ? octave : first;
    const size_t end = n > 0 && octave < first ? first + n : octave + 1;
    uint32_t *between = burble__calloc((end - begin) * STATS_BUCKETS, sizeof *between);
    if (between == NULL)
        return false;
    if (n > 0)
        memcpy(between + (first - begin) * STATS_BUCKETS, stats->between,
               n * STATS_BUCKETS * sizeof *between);
    uint32_t *old = stats->between;
    /* In this order: a forked child may have any of these moments (writer_stats.h), and reads no memory that is not there. */
    stats->between = between;
    burble__fence_seq_cst(); /* else the compiler or the processor may change the order */
    stats->octave = (uint8_t)begin;
    stats->octaves = (uint8_t)(end - begin);
    burble__free(old);
    return true;
}

static void count(struct stats *stats, uint64_t time, uint32_t tokens)
{
    const size_t at = bucket_of(time);
    if (!cover(stats, at / STATS_BUCKETS))
        return; /* text matters more than how fast it came */
    uint32_t *bucket = &stats->between[at - (size_t)stats->octave * STATS_BUCKETS];
    *bucket = tokens > UINT32_MAX - *bucket ? UINT32_MAX : *bucket + tokens;
}

void stats_init(struct stats *stats)
{
    *stats = (struct stats){.began = burble_now()};
}

void stats_clear(struct stats *stats)
{
    burble__free(stats->between);
    stats->between = NULL;
    stats->octaves = 0;
}

void stats_add(struct stats *stats, uint32_t tokens, uint64_t now, uint64_t idle)
{
    if (tokens == 0)
        return;
    if (stats->tokens == 0) {
        stats->first = now;
        stats->first_tokens = tokens;
    } else {
        const uint64_t since = now - stats->last;
        count(stats, (idle < since ? since - idle : 0) / tokens, tokens);
    }
    stats->tokens += tokens;
    stats->last = now;
}

double stats_percentile(const struct stats *stats, double of)
{
    uint64_t all = 0, so_far = 0;
    const size_t n = (size_t)stats->octaves * STATS_BUCKETS;
    for (size_t i = 0; i < n; i++)
        all += stats->between[i];
    if (all == 0)
        return -1;
    /* At least one: the share of a few may be less than one of them. */
    const double rank = of * (double)all;
    for (size_t i = 0; i < n; i++) {
        so_far += stats->between[i];
        if (so_far > 0 && (double)so_far >= rank)
            return middle_of(i + (size_t)stats->octave * STATS_BUCKETS) * 1e-9;
    }
    return -1;
}
