/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/retry.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* After how many ms a retry is run, and how often that is doubled at most. Retries are run together, at multiples of it. */
#define AGAIN 5u
#define DOUBLED 3u

#define NEVER UINT64_MAX

int burble__retries_init(struct burble__retries *retries, uv_loop_t *loop)
{
    retries->first = NULL;
    retries->due = NEVER;
    retries->timer.data = retries;
    return uv_timer_init(loop, &retries->timer);
}

void burble__retries_close(struct burble__retries *retries)
{
    assert(retries->first == NULL);
    uv_close((uv_handle_t *)&retries->timer, NULL);
}

static void put(struct burble__retry **first, struct burble__retry *retry)
{
    retry->next = *first;
    retry->at = first;
    if (retry->next != NULL)
        retry->next->at = &retry->next;
    *first = retry;
}

static void on_timer(uv_timer_t *timer);

/* Runs the timer at that time, or before. */
static void wake(struct burble__retries *retries, uint64_t due)
{
    if (due >= retries->due)
        return;
    retries->due = due;
    uv_timer_start(&retries->timer, on_timer, due - uv_now(retries->timer.loop), 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct burble__retries *retries = timer->data;
    const uint64_t now = uv_now(timer->loop);
    struct burble__retry *due = NULL;
    struct burble__retry *next;
    retries->due = NEVER;
    for (struct burble__retry *retry = retries->first; retry != NULL; retry = next) {
        next = retry->next;
        if (retry->due > now) {
            wake(retries, retry->due);
        } else { /* a `run` below may add its retry again, for a later time */
            burble__retry_never(retry);
            put(&due, retry);
        }
    }
    while (due != NULL) {
        struct burble__retry *retry = due;
        burble__retry_never(retry);
        retry->run(retry);
    }
}

static void put_due(struct burble__retries *retries, struct burble__retry *retry, uint64_t due)
{
    if (retry->at != NULL)
        return;
    retry->due = due;
    put(&retries->first, retry);
    wake(retries, due);
}

void burble__retry_later(struct burble__retries *retries, struct burble__retry *retry)
{
    const uint64_t now = uv_now(retries->timer.loop);
    put_due(retries, retry, (now + (AGAIN << retry->doubled)) / AGAIN * AGAIN);
    if (retry->doubled < DOUBLED)
        retry->doubled++;
}

/* (Not after 0 ms: older versions of libuv call timers of 0 ms again before they look at sockets.) */
void burble__retry_soon(struct burble__retries *retries, struct burble__retry *retry)
{
    put_due(retries, retry, uv_now(retries->timer.loop) + 1);
}

void burble__retry_never(struct burble__retry *retry)
{
    if (retry->at == NULL)
        return;
    *retry->at = retry->next;
    if (retry->next != NULL)
        retry->next->at = retry->at;
    retry->at = NULL;
}
