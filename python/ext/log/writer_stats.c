/* SPDX-License-Identifier: MIT */
#include "log/writer_stats.h"

#include <burble/binding.h>

#include "base/alloc.h"
#include "base/atomic.h"

struct writer_stats *writer_stats_create(void)
{
    struct writer_stats *writer_stats = burble__calloc(1, sizeof *writer_stats);
    if (writer_stats == NULL)
        return NULL;
    writer_stats->forks = burble_forks();
    pthread_mutex_init(&writer_stats->lock, NULL);
    burble__init(&writer_stats->owners, 2);
    stats_init(&writer_stats->stats);
    return writer_stats;
}

struct writer_stats *writer_stats_ref(struct writer_stats *writer_stats)
{
    burble__add_relaxed(&writer_stats->owners, 1);
    return writer_stats;
}

void writer_stats_unref(struct writer_stats **handle)
{
    struct writer_stats *writer_stats = *handle;
    *handle = NULL;
    /* Acquire and release: all accesses of the other owner come before it is freed. */
    if (writer_stats == NULL || burble__sub_acq_rel(&writer_stats->owners, 1) != 1)
        return;
    /* After a fork, a thread that this process does not have may hold the lock. */
    if (writer_stats->forks == burble_forks())
        pthread_mutex_destroy(&writer_stats->lock);
    stats_clear(&writer_stats->stats);
    burble__free(writer_stats);
}

void writer_stats_lock(struct writer_stats *writer_stats)
{
    if (writer_stats->forks == burble_forks())
        pthread_mutex_lock(&writer_stats->lock);
}

void writer_stats_unlock(struct writer_stats *writer_stats)
{
    if (writer_stats->forks == burble_forks())
        pthread_mutex_unlock(&writer_stats->lock);
}

struct writing_state writer_stats_read(struct writer_stats *writer_stats)
{
    writer_stats_lock(writer_stats);
    const struct writing_state state = {
        .begun = writer_stats->stats.tokens > 0,
        .full = writer_stats->full,
        .stopped = writer_stats->stopped,
        .stop = writer_stats->stop,
        .stop_begin = writer_stats->stop_begin,
        .active_at = writer_stats->active_at,
        .blocked = writer_stats->blocked,
    };
    writer_stats_unlock(writer_stats);
    return state;
}
