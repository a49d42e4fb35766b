/* SPDX-License-Identifier: MIT */
#include "quantity.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct unit {
    const char *name;
    uint64_t value;
};

/* The larger ones last. */
static const struct unit sizes[] = {
    {"", 1},
    {"K", (uint64_t)1 << 10},
    {"M", (uint64_t)1 << 20},
    {"G", (uint64_t)1 << 30},
};
static const struct unit times[] = {
    {"ms", UINT64_C(1000000)},
    {"s", UINT64_C(1000000000)},
    {"m", UINT64_C(60000000000)},
    {"h", UINT64_C(3600000000000)},
};

bool read_size(const char *text, uint64_t *bytes)
{
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0)
        return false;
    const size_t len = strlen(end);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const bool is_short = strcasecmp(end, sizes[i].name) == 0;
        const bool is_long = i > 0 && len == 3 && strncasecmp(end, sizes[i].name, 1) == 0
                             && strcasecmp(end + 1, "iB") == 0;
        if (is_short || is_long) {
            *bytes = number * sizes[i].value;
            return number <= UINT64_MAX / sizes[i].value;
        }
    }
    return false;
}

bool read_time(const char *text, uint64_t *nanoseconds)
{
    /* (strtod would take "inf", "0x1" and spaces, too.) */
    const size_t digits = strspn(text, "0123456789.");
    char *end;
    if (digits == 0 || text[0] == '.')
        return false;
    const double number = strtod(text, &end);
    if (end != text + digits)
        return false;
    const char *const name = *end == '\0' ? "s" : end;
    for (size_t i = 0; i < COUNT(times); i++) {
        if (strcmp(name, times[i].name) == 0) {
            const double value = number * (double)times[i].value;
            *nanoseconds = (uint64_t)value;
            return value < 1e18;
        }
    }
    return false;
}

static const char *text_of(uint64_t value, const struct unit *units, size_t n, char *text)
{
    size_t i = n - 1;
    while (i > 0 && (value < units[i].value || value % units[i].value != 0))
        i--;
    snprintf(text, QUANTITY_TEXT, "%" PRIu64 "%s", value / units[i].value, units[i].name);
    return text;
}

const char *size_text(uint64_t bytes, char text[QUANTITY_TEXT])
{
    return text_of(bytes, sizes, COUNT(sizes), text);
}

const char *time_text(uint64_t nanoseconds, char text[QUANTITY_TEXT])
{
    text_of(nanoseconds, times, COUNT(times), text);
    if (nanoseconds == 0)
        text[1] = '\0'; /* without a unit */
    return text;
}
