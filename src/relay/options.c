/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/options.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/reserved.h"
#include "base/utf8.h"

#define MIB(n) ((n) * ((uint64_t)1 << 20))
#define MS(n) ((n) * UINT64_C(1000000))
#define SECONDS(n) ((n) * UINT64_C(1000000000))
#define MAX_PREFIX 64
#define MAX_NAME 128
#define MAX_TIME SECONDS(UINT64_C(86400) * 365)

void burble_relay_options_init(burble_relay_options *options)
{
    *options = (burble_relay_options){
        .url = "redis://127.0.0.1:6379",
        .prefix = "burble",
        .queue = 1024,
        .max_pending = MIB(1),
        .retain = MIB(64),
        .attempts = 5,
        .idle_attempts = 2,
        .lease = SECONDS(2),
        .stall = SECONDS(60),
        .ttl = SECONDS(600),
        .linger = SECONDS(600),
        .away = SECONDS(60),
    };
}

static int expect(burble_error *error, const char *name, const char *range, uint64_t found)
{
    return burble__error_set(error, BURBLE_EINVAL, "%s: expected %s, found %llu", name, range,
                             (unsigned long long)found);
}

static bool is_prefix(const char *prefix)
{
    size_t len = 0;
    while (len <= MAX_PREFIX && prefix[len] > ' ' && prefix[len] <= '~' && prefix[len] != '{'
           && prefix[len] != '}')
        len++;
    return len >= 1 && len <= MAX_PREFIX && prefix[len] == '\0';
}

int burble__relay_check_options(const burble_relay_options *options, burble_error *error)
{
    const struct {
        const char *name;
        uint64_t time, least;
        const char *range;
    } times[] = {
        {"stall", options->stall, MS(1), "1 ms to a year"},
        {"ttl", options->ttl, MS(1), "1 ms to a year"},
        {"linger", options->linger, MS(1), "1 ms to a year"},
        {"away", options->away, MS(1), "1 ms to a year"},
    };
    if (!BURBLE__UNUSED(options))
        return burble__error_set(error, BURBLE_EINVAL, "burble_relay_options: " BURBLE__RESERVED);
    if (options->url == NULL)
        return burble__error_set(error, BURBLE_EINVAL, "url: expected one, found NULL");
    if (options->prefix == NULL || !is_prefix(options->prefix))
        return burble__error_set(error, BURBLE_EINVAL,
                                 "prefix: expected 1 to %d visible ASCII characters but braces",
                                 MAX_PREFIX);
    if (options->name != NULL
        && (strnlen(options->name, MAX_NAME + 1) > MAX_NAME
            || !burble__utf8_valid(options->name, strlen(options->name))))
        return burble__error_set(error, BURBLE_EINVAL, "name: expected at most %d bytes of UTF-8",
                                 MAX_NAME);
    if (options->queue < 1)
        return expect(error, "queue", "1 or more", options->queue);
    if (options->max_pending < 1024 || options->max_pending > MIB(1024))
        return expect(error, "max_pending", "1024 to 1073741824", options->max_pending);
    if (options->attempts < 1 || options->attempts > 1000)
        return expect(error, "attempts", "1 to 1000", options->attempts);
    if (options->idle_attempts < 1 || options->idle_attempts > 1000)
        return expect(error, "idle_attempts", "1 to 1000", options->idle_attempts);
    if (options->lease < MS(200) || options->lease > SECONDS(60))
        return expect(error, "lease", "200 ms to 60 s, in ns", options->lease);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (times[i].time < times[i].least || times[i].time > MAX_TIME)
            return expect(error, times[i].name, times[i].range, times[i].time);
    return BURBLE_OK;
}

static const char *copy(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *out = burble__malloc(size);
    return out == NULL ? NULL : memcpy(out, text, size);
}

int burble__relay_copy_options(burble_relay_options *to, const burble_relay_options *from)
{
    char host[64] = "", name[96];
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "%s:%ld", host, (long)getpid());
    *to = *from;
    to->url = copy(from->url);
    to->prefix = copy(from->prefix);
    to->name = copy(from->name != NULL ? from->name : name);
    return to->url == NULL || to->prefix == NULL || to->name == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

void burble__relay_free_options(burble_relay_options *options)
{
    burble__free((char *)options->url);
    burble__free((char *)options->prefix);
    burble__free((char *)options->name);
}
