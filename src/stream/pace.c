/* SPDX-License-Identifier: MIT */
#include "stream/pace.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "stream/stream.h"

int burble_reader_interval(burble_reader *reader, uint64_t nanoseconds)
{
    burble__reader_here(reader);
    if (nanoseconds == 0) {
        burble__pace_detach(reader);
        burble__free(reader->pace);
        reader->pace = NULL;
        return BURBLE_OK;
    }
    if (reader->pace == NULL)
        reader->pace = burble__calloc(1, sizeof *reader->pace);
    if (reader->pace == NULL)
        return BURBLE_ENOMEM;
    reader->pace->interval = nanoseconds;
    return BURBLE_OK;
}

uint64_t burble_reader_due(const burble_reader *reader)
{
    const struct burble__pace *pace = reader->pace;
    return pace == NULL || pace->delivering ? 0 : pace->due;
}

bool burble__pace_is_early(const burble_reader *reader)
{
    const uint64_t due = burble_reader_due(reader);
    return due != 0 && burble__now() < due;
}

bool burble__pace_rests(const burble_reader *reader)
{
    /* Relaxed: F1 and F2 order this load, and no other data is read because of it. */
    return burble__pace_is_early(reader) && !burble__stream_closed(reader->stream)
           && !burble__load_relaxed(&reader->stream->writer_waits);
}

void burble__pace_note(struct burble__pace *pace, int rc)
{
    if (rc == BURBLE_OK && !pace->delivering) {
        pace->delivering = true;
        pace->due = burble__now() + pace->interval;
    } else if (rc == BURBLE_AGAIN && pace->delivering) {
        pace->delivering = false;
    } else if (rc == BURBLE_AGAIN && pace->due != 0 && burble__now() >= pace->due) {
        pace->due = 0; /* there was no text: what comes now is due at once */
    }
}

int burble__pace_arm(burble_reader *reader)
{
    struct burble__pace *pace = reader->pace;
    const struct burble__waiter *like = reader->waiter;
    if (pace->waiter == NULL)
        pace->waiter =
            like->hub == NULL
                ? burble__waiter_create_beside(reader->waiter)
                : burble__waiter_create(like->hub, reader, like->to.call.ready, like->to.call.arg);
    if (pace->waiter == NULL)
        return BURBLE_ENOMEM;
    burble__waiter_arm(pace->waiter, &reader->stream->resting);
    return BURBLE_OK;
}

void burble__pace_detach(burble_reader *reader)
{
    struct burble__pace *pace = reader->pace;
    if (pace == NULL || pace->waiter == NULL)
        return;
    struct burble__waiter *waiter = pace->waiter;
    pace->waiter = NULL;
    burble__waiter_retire(waiter, &reader->stream->resting);
}
