/* SPDX-License-Identifier: MIT
 *
 * Histograms of durations: each bucket is 1/64 wider than the one before it, so that any number of durations takes
 * the same memory, and a quantile is exact to 1.6 %.
 */
#ifndef BURBLE_BENCH_HISTOGRAM_H
#define BURBLE_BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum { HISTOGRAM_FINE = 6, HISTOGRAM_SIZE = (64 - HISTOGRAM_FINE + 1) << HISTOGRAM_FINE };

struct histogram {
    uint64_t n, most;
    uint64_t buckets[HISTOGRAM_SIZE];
};

static inline unsigned histogram_bucket(uint64_t ns)
{
    if (ns < 1u << HISTOGRAM_FINE)
        return (unsigned)ns;
    const unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_FINE;
    return ((shift + 1) << HISTOGRAM_FINE) + (unsigned)(ns >> shift) - (1u << HISTOGRAM_FINE);
}

/* The lowest duration of a bucket. */
static inline uint64_t histogram_lowest(unsigned bucket)
{
    const unsigned group = bucket >> HISTOGRAM_FINE;
    const uint64_t fine = bucket & ((1u << HISTOGRAM_FINE) - 1);
    return group == 0 ? fine : (fine + (1u << HISTOGRAM_FINE)) << (group - 1);
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->n++;
    histogram->buckets[histogram_bucket(ns)]++;
    if (ns > histogram->most)
        histogram->most = ns;
}

/* The duration that `percent` of all do not exceed; 0 if there are none. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, double percent)
{
    const double enough = percent / 100 * (double)histogram->n;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= enough)
            return histogram_lowest(i);
    }
    return histogram->most;
}

/* Writes the quantiles as a JSON object, in milliseconds. */
static inline void histogram_print(const struct histogram *histogram, FILE *out)
{
    fprintf(out, "{\"n\":%llu", (unsigned long long)histogram->n);
    static const double percents[] = {50, 90, 99, 99.9};
    for (unsigned i = 0; i < sizeof percents / sizeof *percents; i++)
        fprintf(out, ",\"p%g\":%.4f", percents[i],
                1e-6 * (double)histogram_quantile(histogram, percents[i]));
    fprintf(out, ",\"max\":%.4f}", 1e-6 * (double)histogram->most);
}

#endif
