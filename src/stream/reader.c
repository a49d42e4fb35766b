/* SPDX-License-Identifier: MIT
 *
 * Readers: a position in a log, and waiting there.
 */
#include "stream/reader.h"

#include "base/alloc.h"
#include "stream/hub.h"
#include "stream/pace.h"
#include "stream/producer.h"
#include "stream/stream.h"

/* ---- finding a position ---------------------------------------------------------------------- */

/* From the beginning of the oldest block forward to `from`, or to the end of what there is. */
static void walk_to(burble_reader *reader, uint64_t from)
{
    reader->readable = 0;
    for (;;) {
        struct burble__block *next = burble__load_acquire(&reader->block->next);
        if (next == NULL || next->first_seq > from)
            break;
        struct burble__block *left = reader->block;
        burble__block_ref(next); /* before our block goes, which keeps it */
        reader->block = next;
        burble__block_unref(left, &reader->stream->release);
    }
    reader->seq = reader->block->first_seq;
    const uint32_t committed = burble__load_acquire(&reader->block->committed);
    while (reader->seq < from && reader->offset < committed) {
        const burble_record record =
            burble__record_at(reader->block, reader->offset, reader->seq++);
        reader->offset += (uint32_t)burble__record_size(record.len, record.tokens);
    }
}

static burble_reader *allocate(void)
{
    burble_reader *reader = burble__calloc(1, sizeof *reader);
    if (reader == NULL)
        return NULL;
    burble__init(&reader->forks, burble__forks());
    burble__init(&reader->interrupted, false);
    return reader;
}

/* It has its place: from now on it counts. */
static burble_reader *begin(burble_reader *reader)
{
    burble_stream_ref(reader->stream);
    burble__add_relaxed(&reader->stream->readers, 1);
    return reader;
}

int burble_reader_create(burble_stream *stream, uint64_t from, burble_reader **out,
                         uint64_t *oldest)
{
    int rc;
    uint64_t bound;

    *out = NULL;
    burble__stream_here(stream);
    burble_reader *reader = allocate();
    if (reader == NULL)
        return BURBLE_ENOMEM;
    reader->stream = stream; /* a reference once nothing can fail */
    /* The lock keeps the writer from letting go of this block before we have our reference. */
    pthread_mutex_lock(&stream->head_lock);
    reader->block = stream->head;
    burble__block_ref(reader->block);
    stream->had_reader = true;
    pthread_mutex_unlock(&stream->head_lock);

    const uint64_t first = reader->block->first_seq;
    if (from == BURBLE_FROM_OLDEST)
        from = first;
    if (from < first) {
        rc = BURBLE_EGONE;
        bound = first;
        goto fail;
    }
    walk_to(reader, from);
    if (reader->seq != from && from != BURBLE_FROM_TAIL) {
        rc = BURBLE_EINVAL;
        bound = reader->seq;
        goto fail;
    }
    *out = begin(reader);
    return BURBLE_OK;

fail:
    if (oldest != NULL)
        *oldest = bound;
    burble__block_unref(reader->block, &stream->release);
    burble__free(reader);
    return rc;
}

int burble_reader_create_from(burble_reader *other, uint64_t from, burble_reader **out)
{
    *out = NULL;
    burble__reader_here(other);
    if (other->block == NULL || from < other->seq)
        return BURBLE_EGONE;
    burble_reader *reader = allocate();
    if (reader == NULL)
        return BURBLE_ENOMEM;
    reader->stream = other->stream;
    /* Held, so that the writer does not drop the other one, and its block, before we have our reference. */
    if (!burble__limit_hold_place(other->limit)) {
        burble__free(reader);
        return BURBLE_EGONE;
    }
    reader->block = other->block;
    burble__block_ref(reader->block);
    burble__limit_let_go(other->limit);
    walk_to(reader, from);
    if (reader->seq != from) {
        burble__block_unref(reader->block, &reader->stream->release);
        burble__free(reader);
        return BURBLE_EINVAL;
    }
    *out = begin(reader);
    return BURBLE_OK;
}

static void detach(burble_reader *reader)
{
    struct burble__waiter *waiter = reader->waiter;
    burble__pace_detach(reader);
    reader->waiter = NULL;
    if (waiter != NULL)
        burble__waiter_retire(waiter, &reader->stream->parked);
}

void burble_reader_destroy(burble_reader **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_reader *reader = *handle;
    *handle = NULL;
    burble_stream *stream = reader->stream;
    burble__reader_here(reader);
    detach(reader);
    /* Before its limit goes, so that a writer which waits for the last reader does not go on. */
    if (burble__sub_acq_rel(&stream->readers, 1) == 1 && stream->cancel_when_unread)
        burble_stream_cancel(stream);
    if (!burble__limit_remove(reader))
        burble__block_unref(reader->block, &stream->release);
    else if (reader->block != NULL)
        burble__block_unpin(reader->block, &stream->release);
    burble__free(reader->pace);
    burble__free(reader);
    burble_stream_unref(&stream);
}

/* ---- in a forked child ----------------------------------------------------------------------- */

/* The reader's waiter and limit belong to the state from before the fork: they are neither used nor freed.
 * Another thread may have been moving the reader at the fork. */
void burble__reader_renew(burble_reader *reader)
{
    burble__stream_here(reader->stream);
    if (reader->waiter != NULL) /* where the thread forked amid dispatching, its hub still has it */
        burble__store_release(&reader->waiter->retired, true);
    reader->waiter = NULL;
    if (reader->pace != NULL && reader->pace->waiter != NULL) {
        burble__store_release(&reader->pace->waiter->retired, true);
        reader->pace->waiter = NULL;
    }
    if (reader->limit != NULL && reader->limit->dropped) {
        reader->block = NULL; /* the pin is not dropped: the writer may not have set it yet */
        reader->end = BURBLE_ELAGGED;
    }
    reader->limit = NULL;
    if (reader->block != NULL) {
        /* The block is the one before the move or the one after it, and the reader has a reference to it. */
        reader->offset = 0;
        walk_to(reader, reader->seq);
    }
    burble__store_relaxed(&reader->forks, burble__forks());
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Whether there is a record to hand out. Moves on to the block that has it; the one that it leaves,
 * if it leaves one, is put into *left, for its reference to be given back when no lock is held. */
static bool has_record(burble_reader *reader, struct burble__block **left)
{
    /* No look at `committed` until these are read: the writer writes that cache line at each append, and each
     * look would take it from the writer. */
    if (reader->offset < reader->readable)
        return true;
    /* Acquire: pairs with the release in burble_stream_append_until. */
    reader->readable = burble__load_acquire(&reader->block->committed);
    if (reader->offset < reader->readable)
        return true;
    /* Acquire: pairs with the release in grow(). */
    struct burble__block *next = burble__load_acquire(&reader->block->next);
    if (next == NULL)
        return false;
    /* Once more: the writer may have committed to this block between our two loads and only then
     * have gone on to the next one. Without this look that record would be skipped. */
    reader->readable = burble__load_acquire(&reader->block->committed);
    if (reader->offset < reader->readable)
        return true;
    burble__block_ref(next); /* before our block goes, which keeps it */
    *left = reader->block;
    reader->block = next;
    reader->offset = 0;
    /* The writer leaves no block empty: where this one still is, there is none after it. */
    reader->readable = burble__load_acquire(&next->committed);
    return reader->readable > 0;
}

static void leave(burble_reader *reader, struct burble__block *left)
{
    if (left != NULL)
        burble__block_unref(left, &reader->stream->release);
}

/* Whether burble_reader_next has a record or an end to report, or the reader must not wait any more. */
static bool has_news(burble_reader *reader)
{
    struct burble__block *left = NULL;
    if (reader->end != BURBLE_OK || burble__load_relaxed(&reader->interrupted)
        || !burble__limit_hold_place(reader->limit))
        return true;
    const bool found = !burble__pace_rests(reader) && has_record(reader, &left);
    burble__limit_let_go(reader->limit);
    leave(reader, left);
    return found || burble__stream_closed(reader->stream);
}

/* The result for a stream that has been read to its end. */
static int end_of(const burble_stream *stream)
{
    burble_status status;
    burble_stream_status(stream, &status);
    switch (status.state) {
    case BURBLE_ENDED:
        return BURBLE_END;
    case BURBLE_CANCELLED:
        return BURBLE_ECANCELED;
    default:
        return status.code;
    }
}

/* The reader has learned that the writer has dropped it. */
static int lose_place(burble_reader *reader)
{
    struct burble__block *block = reader->block;
    reader->block = NULL;
    reader->end = BURBLE_ELAGGED;
    burble__block_unpin(block, &reader->stream->release);
    return BURBLE_ELAGGED;
}

/* burble_reader_next, where the reader has its place. */
static int next_here(burble_reader *reader, burble_record *record, struct burble__block **left)
{
    if (!has_record(reader, left)) {
        if (!burble__stream_closed(reader->stream))
            return BURBLE_AGAIN;
        /* Once more: the last record was published before the end, perhaps after our first look. */
        if (!has_record(reader, left)) {
            reader->end = (int16_t)end_of(reader->stream);
            return reader->end;
        }
    }
    *record = burble__record_at(reader->block, reader->offset, reader->seq++);
    reader->offset += (uint32_t)burble__record_size(record->len, record->tokens);
    if (reader->limit != NULL)
        burble__limit_consumed(reader, burble__weigh(reader->stream->lag_unit, record->text,
                                                     record->len, record->tokens));
    return BURBLE_OK;
}

int burble_reader_next(burble_reader *reader, burble_record *record)
{
    struct burble__block *left = NULL;
    burble__reader_here(reader);
    if (reader->end != BURBLE_OK)
        return reader->end;
    if (!burble__limit_hold_place(reader->limit))
        return lose_place(reader);
    const bool rests = burble__pace_rests(reader);
    const int rc = rests ? BURBLE_AGAIN : next_here(reader, record, &left);
    burble__limit_let_go(reader->limit);
    leave(reader, left);
    if (reader->pace != NULL && !rests)
        burble__pace_note(reader->pace, rc);
    return rc;
}

uint64_t burble_reader_position(const burble_reader *reader)
{
    return reader->seq;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Arms the waiter that text wakes, or, if the reader rests, the one that only the end of the rest wakes. BURBLE_OK or
 * BURBLE_ENOMEM. */
static int arm(burble_reader *reader, bool rests)
{
    if (rests)
        return burble__pace_arm(reader);
    burble__waiter_arm(reader->waiter, &reader->stream->parked);
    return BURBLE_OK;
}

/* After a wake-up: a waiter that was fired may be armed again. Acquire: the thread that fired it was done with `next` before.
 * (It may still signal the parker: then the next wait returns early, and looks again.) NULL is allowed. */
static void disarm_fired(struct burble__waiter *waiter)
{
    if (waiter != NULL && burble__load_acquire(&waiter->state) == BURBLE__FIRED)
        burble__store_relaxed(&waiter->state, BURBLE__IDLE);
}

int burble_reader_wait(burble_reader *reader, uint64_t deadline)
{
    burble__reader_here(reader);
    /* Even if there is nothing to wait for: after the wait, the reader may be moved to another thread. */
    if (reader->waiter != NULL && reader->waiter->hub != NULL)
        detach(reader);
    if (reader->waiter == NULL) {
        if (has_news(reader))
            return BURBLE_OK;
        reader->waiter = burble__waiter_create_blocking();
        if (reader->waiter == NULL)
            return BURBLE_ENOMEM;
    }
    struct burble__waiter *waiter = reader->waiter;
    while (!has_news(reader)) {
        const uint64_t due = burble__pace_is_early(reader) ? burble_reader_due(reader) : 0;
        const bool until_due = due != 0 && (deadline == 0 || due < deadline);
        const int rc = arm(reader, due != 0);
        if (rc != BURBLE_OK)
            return rc;
        if (has_news(reader))
            return BURBLE_OK; /* still ARMED: the next wait may return early, and looks again */
        if (burble__parker_wait(waiter->to.parker, until_due ? due : deadline)) {
            disarm_fired(waiter);
            if (reader->pace != NULL)
                disarm_fired(reader->pace->waiter);
        } else if (!until_due) {
            return has_news(reader) ? BURBLE_OK : BURBLE_ETIMEDOUT;
        }
    }
    return BURBLE_OK;
}

int burble_reader_attach(burble_reader *reader, burble_hub *hub, burble_ready_fn *ready, void *arg)
{
    burble__reader_here(reader);
    detach(reader);
    if (hub == NULL)
        return BURBLE_OK;
    reader->waiter = burble__waiter_create(hub, reader, ready, arg);
    return reader->waiter == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

int burble_reader_park(burble_reader *reader)
{
    burble__reader_here(reader);
    struct burble__waiter *waiter = reader->waiter;
    if (waiter == NULL || waiter->hub == NULL || burble__hub_closed(waiter->hub))
        return BURBLE_EDETACHED;
    const int rc = arm(reader, burble__pace_is_early(reader));
    if (rc != BURBLE_OK)
        return rc;
    return has_news(reader) ? BURBLE_OK : BURBLE_AGAIN;
}

void burble_reader_interrupt(burble_reader *reader)
{
    burble__stream_here(reader->stream); /* the reader itself is its thread's */
    burble__store_relaxed(&reader->interrupted, true);
    /* Its fence pairs with the one in burble__waiter_arm: either we see the reader on the stack, or it
     * sees that it was interrupted when it looks once more. The others there wake for nothing. */
    burble__waiter_wake(&reader->stream->parked);
    burble__waiter_wake(&reader->stream->resting);
}

int burble_reader_next_or_park(burble_reader *reader, burble_record *record)
{
    int result;
    /* Parking finds a record or the end, unless the reader was interrupted, or rests again because the writer no longer
     * waits for room. */
    do {
        result = burble_reader_next(reader, record);
        if (result != BURBLE_AGAIN)
            return result;
        result = burble_reader_park(reader);
        if (result != BURBLE_OK)
            return result;
    } while (!burble__load_relaxed(&reader->interrupted));
    result = burble_reader_next(reader, record);
    return result == BURBLE_AGAIN ? BURBLE_EDETACHED : result;
}
