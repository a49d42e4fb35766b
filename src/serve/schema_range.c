/* SPDX-License-Identifier: MIT */
#include "serve/schema_range.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MAX_DIGITS 16

static const char zeros[] = "0000000000000000", nines[] = "9999999999999999";

/* A digit from one to another. */
static void put_digit(char from, char to, struct burble__output *out)
{
    const char set[] = {'[', from, '-', to, ']', '\0'};
    burble__put_raw(out, set);
}

static void put_any_digits(size_t n, struct burble__output *out)
{
    char text[16];
    snprintf(text, sizeof text, n == 0 ? "" : "[0-9]{%zu}", n);
    burble__put_raw(out, text);
}

/* The numbers of `n` digits from one to another: those with the first digit of `low`, those with the first digit of `high`,
 * and those with a digit between these. It calls itself once for each digit and bound. NOLINTNEXTLINE(misc-no-recursion) */
static void put_digits(const char *low, const char *high, size_t n, struct burble__output *out)
{
    if (n == 0)
        return;
    if (*low == *high) {
        put_digit(*low, *low, out);
        put_digits(low + 1, high + 1, n - 1, out);
        return;
    }
    const bool from_first = memcmp(low + 1, zeros, n - 1) == 0;
    const bool to_last = memcmp(high + 1, nines, n - 1) == 0;
    const char first = from_first ? *low : (char)(*low + 1);
    const char last = to_last ? *high : (char)(*high - 1);
    const char *next = "(";
    if (!from_first) {
        burble__put_raw(out, next);
        put_digit(*low, *low, out);
        put_digits(low + 1, nines, n - 1, out);
        next = " | ";
    }
    if (first <= last) {
        burble__put_raw(out, next);
        put_digit(first, last, out);
        put_any_digits(n - 1, out);
        next = " | ";
    }
    if (!to_last) {
        burble__put_raw(out, next);
        put_digit(*high, *high, out);
        put_digits(zeros, high + 1, n - 1, out);
    }
    burble__put_raw(out, ")");
}

/* Those from one to another, neither of them negative: for each number of digits. */
static void put_positive(int64_t low, int64_t high, struct burble__output *out)
{
    char from[MAX_DIGITS + 8], to[MAX_DIGITS + 8];
    const size_t least = (size_t)snprintf(from, sizeof from, "%" PRId64, low);
    const size_t most = (size_t)snprintf(to, sizeof to, "%" PRId64, high);
    for (size_t n = least; n <= most; n++) {
        if (n > least) {
            memcpy(from, zeros, n);
            from[0] = '1';
            burble__put_raw(out, " | ");
        }
        put_digits(from, n < most ? nines : to, n, out);
    }
}

void burble__range_write(int64_t low, int64_t high, struct burble__output *out)
{
    burble__put_raw(out, "(");
    if (low < 0) {
        burble__put_raw(out, "\"-\" (");
        put_positive(high < 0 ? -high : 1, -low, out);
        burble__put_raw(out, high < 0 ? ")" : ") | ");
    }
    if (high >= 0)
        put_positive(low > 0 ? low : 0, high, out);
    burble__put_raw(out, ")");
}
