/* SPDX-License-Identifier: MIT */
#include "stream/lag.h"

#include "base/alloc.h"
#include "stream/block.h"
#include "stream/reader.h"
#include "stream/stream.h"

#define NEVER UINT64_MAX

/* ---- how full a reader is -------------------------------------------------------------------- */

static uint64_t consumed_by(const struct burble__limit *limit)
{
    /* Relaxed: a number, too small at worst. Nothing else is read on the strength of it. */
    return burble__load_relaxed(&limit->consumed);
}

static bool admits(const struct burble__limit *limit, uint64_t written, uint64_t weight)
{
    const uint64_t lag = written - consumed_by(limit);
    return lag == 0 || (weight <= limit->max && lag <= limit->max - weight);
}

/* The weight that a reader without room for the record must have consumed before the writer goes on: enough
 * for the record, and for a quarter of its limit. Above 0, as its lag is. */
static uint64_t goal_of(const struct burble__limit *limit, uint64_t written, uint64_t weight)
{
    const uint64_t quarter = limit->max / 4;
    const uint64_t room = weight > quarter ? weight : quarter;
    return room < limit->max ? written - (limit->max - room) : written;
}

/* The first reader of that kind which does not admit the record; NULL: all do. */
static struct burble__limit *find_full(const struct burble__lag *lag, burble_on_lag on_lag,
                                       uint64_t written, uint64_t weight)
{
    struct burble__limit *limit = lag->first;
    while (limit != NULL && (limit->on_lag != on_lag || admits(limit, written, weight)))
        limit = limit->next;
    return limit;
}

static uint64_t admitted_by_all(const struct burble__lag *lag)
{
    uint64_t least = UINT64_MAX;
    for (const struct burble__limit *limit = lag->first; limit != NULL; limit = limit->next) {
        const uint64_t consumed = consumed_by(limit);
        if (limit->max < least && consumed < least - limit->max)
            least = consumed + limit->max;
    }
    return least;
}

/* ---- the list, with the lock held ------------------------------------------------------------ */

static void link_in(struct burble__lag *lag, struct burble__limit *limit)
{
    limit->prev = NULL;
    limit->next = lag->first;
    if (lag->first != NULL)
        lag->first->prev = limit;
    lag->first = limit;
}

static void unlink_from(struct burble__lag *lag, struct burble__limit *limit)
{
    if (limit->prev != NULL)
        limit->prev->next = limit->next;
    else
        lag->first = limit->next;
    if (limit->next != NULL)
        limit->next->prev = limit->prev;
}

/* ---- the writer waits ------------------------------------------------------------------------ */

static void set_goal(struct burble__limit *limit, uint64_t goal)
{
    limit->goal = goal;
    /* Relaxed: see L1. */
    burble__store_relaxed(&limit->wake_at, goal == 0 ? NEVER : goal);
}

/* Sets a goal for each reader that is at its limit. Goals that were set before are set again, because a
 * reader that has signalled has cleared its `wake_at`. */
static void set_goals(struct burble__lag *lag, uint64_t written, uint64_t weight)
{
    for (struct burble__limit *limit = lag->first; limit != NULL; limit = limit->next)
        if (limit->goal != 0)
            set_goal(limit, limit->goal);
        else if (limit->on_lag == BURBLE_LAG_BLOCK && !admits(limit, written, weight))
            set_goal(limit, goal_of(limit, written, weight));
}

/* Whether each goal has been reached. Those that have are forgotten. */
static bool goals_reached(struct burble__lag *lag)
{
    bool all = true;
    for (struct burble__limit *limit = lag->first; limit != NULL; limit = limit->next) {
        if (limit->goal != 0 && consumed_by(limit) >= limit->goal)
            set_goal(limit, 0);
        all = all && limit->goal == 0;
    }
    return all;
}

/* With the lock held, which it lets go of while it sleeps. */
static int wait_for_room(burble_stream *stream, struct burble__lag *lag, uint64_t weight,
                         uint64_t deadline)
{
    int rc = BURBLE_OK;
    bool signalled = true;

    if (find_full(lag, BURBLE_LAG_BLOCK, stream->written, weight) == NULL)
        return BURBLE_OK;
    if (deadline == BURBLE_NO_WAIT)
        return BURBLE_EFULL;
    /* Release: pairs with the acquire in burble__lag_closed, which then finds `lag`. */
    burble__store_release(&stream->writer_waits, true);
    burble__waiter_wake(&stream->resting); /* readers that rest read at once now: pace.h */
    for (;;) {
        set_goals(lag, stream->written, weight);
        burble__fence_seq_cst(); /* L1, pairs with L2 and L3 */
        rc = burble__stream_writable(stream);
        if (rc != BURBLE_OK || goals_reached(lag))
            break;
        if (!signalled) {
            /* Too late for a quarter, but not for this record. */
            if (find_full(lag, BURBLE_LAG_BLOCK, stream->written, weight) != NULL)
                rc = BURBLE_ETIMEDOUT;
            break;
        }
        pthread_mutex_unlock(&lag->lock);
        signalled = burble__parker_wait(&lag->room, deadline);
        pthread_mutex_lock(&lag->lock);
    }
    burble__store_relaxed(&stream->writer_waits, false);
    for (struct burble__limit *limit = lag->first; limit != NULL; limit = limit->next)
        set_goal(limit, 0);
    return rc;
}

int burble__lag_wait(burble_stream *stream, uint64_t weight, uint64_t deadline)
{
    /* Acquire: pairs with the release in lag_of. */
    struct burble__lag *lag = burble__load_acquire(&stream->lag);
    if (lag == NULL)
        return BURBLE_OK;
    pthread_mutex_lock(&lag->lock);
    const int rc = wait_for_room(stream, lag, weight, deadline);
    pthread_mutex_unlock(&lag->lock);
    return rc;
}

void burble__lag_closed(burble_stream *stream)
{
    burble__fence_seq_cst(); /* L3, pairs with L1 */
    /* Acquire: pairs with the release in wait_for_room. */
    if (burble__load_acquire(&stream->writer_waits))
        burble__parker_signal(&burble__load_relaxed(&stream->lag)->room);
}

/* ---- the writer drops ------------------------------------------------------------------------ */

/* Takes the reader's position away; its reference to the returned block is then ours. NULL: the reader has
 * made room in the meantime. */
static struct burble__block *drop(struct burble__lag *lag, struct burble__limit *limit,
                                  uint64_t written, uint64_t weight)
{
    struct burble__block *block = NULL;
    pthread_mutex_lock(&limit->place);
    /* Once more, now that it stands still. */
    if (!admits(limit, written, weight)) {
        block = limit->reader->block;
        burble__block_pin(block); /* for the record that it was handed last */
        limit->dropped = true;
        unlink_from(lag, limit);
    }
    pthread_mutex_unlock(&limit->place);
    return block;
}

int burble__lag_admit(burble_stream *stream, uint64_t weight, uint64_t deadline)
{
    /* The thread that set `admit_to` had created it, and we have acquired that. */
    struct burble__lag *lag = burble__load_relaxed(&stream->lag);
    pthread_mutex_lock(&lag->lock);
    /* First waits, then drops: a record that is not appended in the end must not drop a reader. */
    const int rc = wait_for_room(stream, lag, weight, deadline);
    if (rc == BURBLE_OK) {
        struct burble__limit *full;
        while ((full = find_full(lag, BURBLE_LAG_DROP, stream->written, weight)) != NULL) {
            struct burble__block *block = drop(lag, full, stream->written, weight);
            if (block == NULL)
                continue;
            pthread_mutex_unlock(&lag->lock);
            burble__block_unref(block, &stream->release);
            pthread_mutex_lock(&lag->lock);
        }
        /* Relaxed: for us, who read it next. With the lock held, so that no change of a limit is
         * overwritten that came after we looked. */
        burble__store_relaxed(&stream->admit_to, admitted_by_all(lag));
    }
    pthread_mutex_unlock(&lag->lock);
    return rc;
}

/* ---- the reader's side ----------------------------------------------------------------------- */

static struct burble__lag *lag_create(void)
{
    struct burble__lag *lag = burble__calloc(1, sizeof *lag);
    if (lag == NULL)
        return NULL;
    if (pthread_mutex_init(&lag->lock, NULL) != 0)
        goto fail_memory;
    if (burble__parker_init(&lag->room) != 0)
        goto fail_mutex;
    return lag;

fail_mutex:
    pthread_mutex_destroy(&lag->lock);
fail_memory:
    burble__free(lag);
    return NULL;
}

void burble__lag_free(struct burble__lag *lag)
{
    if (lag == NULL)
        return;
    burble__parker_finish(&lag->room);
    pthread_mutex_destroy(&lag->lock);
    burble__free(lag);
}

/* The stream's; made by the first who asks. NULL where memory is short. */
static struct burble__lag *lag_of(burble_stream *stream)
{
    struct burble__lag *lag = burble__load_acquire(&stream->lag);
    if (lag != NULL)
        return lag;
    struct burble__lag *mine = lag_create();
    /* Release, so that others find it initialised; acquire, where another reader was first. */
    if (mine == NULL || burble__cas_acq_rel(&stream->lag, &lag, mine))
        return mine;
    burble__lag_free(mine);
    return lag;
}

/* The weight of the records before the reader's position. */
static uint64_t weight_before(const burble_reader *reader)
{
    uint64_t weight = reader->block->first_weight;
    for (uint32_t offset = 0; offset < reader->offset;) {
        const burble_record record = burble__record_at(reader->block, offset, 0);
        weight += burble__weigh(reader->stream->lag_unit, record.text, record.len, record.tokens);
        offset += (uint32_t)burble__record_size(record.len, record.tokens);
    }
    return weight;
}

static struct burble__limit *limit_create(burble_reader *reader)
{
    struct burble__limit *limit = burble__calloc(1, sizeof *limit);
    if (limit == NULL)
        return NULL;
    if (pthread_mutex_init(&limit->place, NULL) != 0) {
        burble__free(limit);
        return NULL;
    }
    limit->reader = reader;
    burble__init(&limit->consumed, weight_before(reader));
    burble__init(&limit->wake_at, NEVER);
    return limit;
}

/* A limit has changed; with the lock held. */
static void make_writer_look(burble_stream *stream, struct burble__lag *lag)
{
    /* Release: pairs with the acquire in burble_stream_append_until. */
    burble__store_release(&stream->admit_to, 0);
    /* Relaxed: the lock orders us and the writer. */
    if (burble__load_relaxed(&stream->writer_waits))
        burble__parker_signal(&lag->room);
}

/* Takes the reader off the list. Whether it was dropped, and so no longer there. */
static bool take_out(burble_reader *reader)
{
    struct burble__limit *limit = reader->limit;
    burble_stream *stream = reader->stream;
    struct burble__lag *lag = burble__load_relaxed(&stream->lag); /* we have acquired it before */
    pthread_mutex_lock(&lag->lock);
    const bool dropped = limit->dropped;
    if (!dropped) {
        unlink_from(lag, limit);
        make_writer_look(stream, lag);
    }
    pthread_mutex_unlock(&lag->lock);
    return dropped;
}

static void limit_free(burble_reader *reader)
{
    struct burble__limit *limit = reader->limit;
    reader->limit = NULL;
    pthread_mutex_destroy(&limit->place);
    burble__free(limit);
}

bool burble__limit_remove(burble_reader *reader)
{
    if (reader->limit == NULL)
        return false;
    const bool dropped = take_out(reader);
    limit_free(reader);
    return dropped;
}

static int lift(burble_reader *reader)
{
    if (reader->limit == NULL)
        return BURBLE_OK;
    if (take_out(reader))
        return BURBLE_ELAGGED;
    limit_free(reader);
    return BURBLE_OK;
}

int burble_reader_limit(burble_reader *reader, uint64_t max_lag, burble_on_lag on_lag)
{
    burble_stream *stream = reader->stream;

    burble__reader_here(reader);
    if (on_lag != BURBLE_LAG_BLOCK && on_lag != BURBLE_LAG_DROP)
        return BURBLE_EINVAL;
    if (max_lag == 0)
        return lift(reader);
    struct burble__lag *lag = lag_of(stream);
    if (lag == NULL)
        return BURBLE_ENOMEM;
    const bool is_new = reader->limit == NULL;
    if (is_new && (reader->limit = limit_create(reader)) == NULL)
        return BURBLE_ENOMEM;
    struct burble__limit *limit = reader->limit;
    pthread_mutex_lock(&lag->lock);
    const bool dropped = limit->dropped;
    if (!dropped) {
        limit->max = max_lag;
        limit->on_lag = on_lag;
        set_goal(limit, 0);
        if (is_new)
            link_in(lag, limit);
        make_writer_look(stream, lag);
    }
    pthread_mutex_unlock(&lag->lock);
    return dropped ? BURBLE_ELAGGED : BURBLE_OK;
}

void burble__limit_consumed(burble_reader *reader, uint64_t weight)
{
    struct burble__limit *limit = reader->limit;
    const uint64_t consumed = consumed_by(limit) + weight;
    burble__store_relaxed(&limit->consumed, consumed);
    if (limit->on_lag == BURBLE_LAG_DROP)
        return;              /* no writer waits for it */
    burble__fence_seq_cst(); /* L2, pairs with L1 */
    if (consumed >= burble__load_relaxed(&limit->wake_at)) {
        /* Only once: the waiting writer checks the goal again and, if necessary, sets it again. */
        burble__store_relaxed(&limit->wake_at, NEVER);
        burble__parker_signal(&burble__load_relaxed(&reader->stream->lag)->room);
    }
}
