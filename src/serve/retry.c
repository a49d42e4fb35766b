/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/retry.h"

#include <assert.h>
#include <stddef.h>

/* After how many ms a retry is run. */
#define AGAIN 5u

int burble__retries_init(struct burble__retries *retries, uv_loop_t *loop)
{
    retries->first = NULL;
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

static void on_timer(uv_timer_t *timer)
{
    struct burble__retries *retries = timer->data;
    struct burble__retry *due = NULL;
    while (retries->first != NULL) { /* a `run` below may add its retry again, for the next time */
        struct burble__retry *retry = retries->first;
        burble__retry_never(retry);
        put(&due, retry);
    }
    while (due != NULL) {
        struct burble__retry *retry = due;
        burble__retry_never(retry);
        retry->run(retry);
    }
}

void burble__retry_later(struct burble__retries *retries, struct burble__retry *retry)
{
    if (retry->at != NULL)
        return;
    put(&retries->first, retry);
    if (!uv_is_active((uv_handle_t *)&retries->timer))
        uv_timer_start(&retries->timer, on_timer, AGAIN, 0);
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
