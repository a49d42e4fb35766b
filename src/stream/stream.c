/* SPDX-License-Identifier: MIT
 *
 * A stream's life and its writer.
 *
 * The writer takes no lock that a reader can hold for longer than a few instructions, and waits only for
 * readers whose limit says so (lag.h). Readers find what it publishes by acquiring `committed`, `next` and
 * `state`.
 */
#define _POSIX_C_SOURCE 200809L

#include "stream/stream.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/reserved.h"

/* Blocks start small, so that a thousand idle streams take little, and double up to a few KiB, so
 * that a long text takes few blocks. Sizes include the block's own head. */
#define FIRST_BLOCK 152
#define LARGEST_BLOCK 4096

void burble_stream_options_init(burble_stream_options *options)
{
    *options = (burble_stream_options){.keep = 0};
}

int burble_stream_create(const burble_stream_options *options, burble_stream **out)
{
    burble_stream_options defaults;

    *out = NULL;
    if (options == NULL) {
        burble_stream_options_init(&defaults);
        options = &defaults;
    }
    if (!BURBLE__UNUSED(options))
        return BURBLE_EINVAL;
    if (options->lag_unit != BURBLE_LAG_BYTES && options->lag_unit != BURBLE_LAG_CHARACTERS
        && options->lag_unit != BURBLE_LAG_TOKENS)
        return BURBLE_EINVAL;
    if (burble__fork_watch() != BURBLE_OK)
        return BURBLE_ENOMEM;
    burble_stream *stream = burble__calloc(1, sizeof *stream);
    if (stream == NULL)
        return BURBLE_ENOMEM;
    stream->head = burble__block_create(FIRST_BLOCK - sizeof(struct burble__block), 0, 0);
    if (stream->head == NULL)
        goto fail_memory;
    if (pthread_mutex_init(&stream->head_lock, NULL) != 0)
        goto fail_block;
    stream->tail = stream->head;
    stream->keep = options->keep;
    stream->cancel_when_unread = options->cancel_when_unread;
    stream->producer_may_exit = options->producer_may_exit;
    stream->lag_unit = options->lag_unit;
    stream->release = (struct burble__release){options->release, options->release_arg};
    burble__init(&stream->forks, burble__forks());
    burble__init(&stream->next_seq, 0);
    burble__init(&stream->admit_to, UINT64_MAX);
    burble__init(&stream->producer.thread, 0);
    burble__init(&stream->producer.ticket, 0);
    burble__init(&stream->parked, NULL);
    burble__init(&stream->resting, NULL);
    burble__init(&stream->state, BURBLE_OPEN);
    burble__init(&stream->readers, 0);
    burble__init(&stream->writer_waits, false);
    burble__init(&stream->lag, NULL);
    burble__init(&stream->refs, 1);
    burble__init(&stream->weak, 1);
    *out = stream;
    return BURBLE_OK;

fail_block:
    burble__block_unref(stream->head, &stream->release);
fail_memory:
    burble__free(stream);
    return BURBLE_ENOMEM;
}

burble_stream *burble_stream_ref(burble_stream *stream)
{
    burble__add_relaxed(&stream->refs, 1); /* the caller has one already */
    return stream;
}

bool burble__stream_try_ref(burble_stream *stream)
{
    uint32_t refs = burble__load_relaxed(&stream->refs);
    while (refs != 0)
        if (burble__cas_weak_acq_rel(&stream->refs, &refs, refs + 1))
            return true;
    return false;
}

void burble__stream_unref_weak(burble_stream *stream)
{
    if (burble__sub_acq_rel(&stream->weak, 1) == 1)
        burble__free(stream);
}

void burble_stream_unref(burble_stream **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_stream *stream = *handle;
    *handle = NULL;
    if (burble__sub_acq_rel(&stream->refs, 1) != 1)
        return;
    burble__stream_here(stream);
    /* Every reader has a reference, and takes its waiter off the stack when it goes. */
    assert(burble__load_relaxed(&stream->parked) == NULL);
    assert(burble__load_relaxed(&stream->resting) == NULL);
    burble__producer_release(stream);
    burble__block_unref(stream->head, &stream->release);
    burble__lag_free(burble__load_relaxed(&stream->lag));
    pthread_mutex_destroy(&stream->head_lock);
    burble__free(stream->message);
    burble__stream_unref_weak(stream);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The result for a writer that appends after the end. */
static int too_late(uint32_t state)
{
    return state == BURBLE_CANCELLED ? BURBLE_ECANCELED : BURBLE_ECLOSED;
}

int burble__stream_writable(const burble_stream *stream)
{
    /* Relaxed: cancelling is a request, seen at one of the next appends; nothing is read on the
     * strength of it. */
    const uint32_t state = burble__load_relaxed(&stream->state);
    return state == BURBLE_OPEN ? BURBLE_OK : too_late(state);
}

/* Frees the oldest blocks as far as retention allows. A reader that is being created may hold the lock;
 * then this is left to the next call. */
static void trim(burble_stream *stream)
{
    if (pthread_mutex_trylock(&stream->head_lock) != 0)
        return;
    struct burble__block *const old = stream->head;
    struct burble__block *head = old;
    /* A generator may write before its caller has created the first reader. */
    const bool awaited = stream->keep == 0 && !stream->had_reader;
    while (!awaited && head != stream->tail && stream->retained - head->text >= stream->keep) {
        stream->retained -= head->text;
        head = burble__load_relaxed(&head->next); /* ours to read plainly: we wrote it */
    }
    if (head != old) {
        burble__block_ref(head); /* before those go which keep it */
        stream->head = head;
    }
    pthread_mutex_unlock(&stream->head_lock);
    if (head != old)
        burble__block_unref(old, &stream->release);
}

/* Goes on to a new block with room for `size` bytes. */
static int grow(burble_stream *stream, size_t size)
{
    struct burble__block *old = stream->tail;
    size_t total = 2 * (sizeof *old + (size_t)old->capacity);
    if (total > LARGEST_BLOCK)
        total = LARGEST_BLOCK;
    const size_t usual = total - sizeof *old;
    struct burble__block *block = burble__block_create(
        size > usual ? size : usual, burble__load_relaxed(&stream->next_seq), stream->written);
    if (block == NULL)
        return BURBLE_ENOMEM;
    /* Release: a reader that sees the block sees it initialised. It pairs with the acquire of `next`
     * in burble_reader_next. The block's one reference is the old block's. */
    burble__store_release(&old->next, block);
    stream->tail = block;
    stream->used = 0;
    trim(stream);
    return BURBLE_OK;
}

int burble_stream_append_until(burble_stream *stream, const char *text, size_t len, uint32_t tokens,
                               uint64_t deadline)
{
    if (len > BURBLE_RECORD_MAX || (text == NULL && len != 0))
        return BURBLE_EINVAL;
    burble__stream_here(stream);
    const int writable = burble__stream_writable(stream);
    if (writable != BURBLE_OK)
        return writable;
    /* Once: in a shared library, reading a thread's variable calls a function. */
    const uint64_t me = burble__thread_number();
    if (me == 0 || burble__load_relaxed(&stream->producer.thread) != me) {
        const int rc = burble__producer_adopt(stream);
        if (rc != BURBLE_OK)
            return rc;
    }
    if (len == 0)
        return BURBLE_OK;

    const uint64_t weight = burble__weigh(stream->lag_unit, text, len, tokens);
    /* Acquire: where a limit has said so, we find what it made (lag.c). */
    if (stream->written + weight > burble__load_acquire(&stream->admit_to)) {
        const int rc = burble__lag_admit(stream, weight, deadline);
        if (rc != BURBLE_OK)
            return rc;
    }
    const size_t size = burble__record_size(len, tokens);
    if (size > stream->tail->capacity - stream->used) {
        const int rc = grow(stream, size);
        if (rc != BURBLE_OK)
            return rc;
    }
    struct burble__block *tail = stream->tail;
    burble__record_write(tail->data + stream->used, text, len, tokens);
    stream->used += (uint32_t)size;
    stream->written += weight;
    stream->retained += len;
    tail->text += (uint32_t)len;
    /* Release: a reader that sees the new length sees the record. It pairs with the acquire of
     * `committed` in burble_reader_next; without it, a reader could copy bytes not yet written. */
    burble__store_release(&tail->committed, stream->used);
    /* Release: a reader that is made at the position that it says finds the records before it. It
     * pairs with the acquire in burble_stream_position. */
    burble__store_release(&stream->next_seq, burble__load_relaxed(&stream->next_seq) + 1);
    burble__waiter_wake(&stream->parked);
    return BURBLE_OK;
}

int burble_stream_append(burble_stream *stream, const char *text, size_t len, uint32_t tokens)
{
    return burble_stream_append_until(stream, text, len, tokens, 0);
}

int burble_stream_wait_for_room(burble_stream *stream, uint64_t weight, uint64_t deadline)
{
    burble__stream_here(stream);
    const int writable = burble__stream_writable(stream);
    return writable == BURBLE_OK ? burble__lag_wait(stream, weight, deadline) : writable;
}

/* ---- ending ---------------------------------------------------------------------------------- */

/* Wins the right to end the stream, or says who has. */
static int claim(burble_stream *stream)
{
    burble__stream_here(stream);
    uint32_t state = BURBLE_OPEN;
    if (burble__cas_acq_rel(&stream->state, &state, BURBLE__CLOSING))
        return BURBLE_OK;
    return too_late(state);
}

/* The thread that has ended the stream wakes the others. */
static void announce(burble_stream *stream)
{
    burble__waiter_wake(&stream->parked);
    burble__waiter_wake(&stream->resting);
    burble__lag_closed(stream);
    burble__producer_release(stream);
}

static void close_as(burble_stream *stream, burble_state state)
{
    /* Release: a reader that sees the terminal state sees why, and, as the writer has released its
     * last record before, sees that record when it looks once more. It pairs with the acquire in
     * burble__stream_closed; without it a reader could report an end before the last text. */
    burble__store_release(&stream->state, (uint32_t)state);
    announce(stream);
}

int burble_stream_end(burble_stream *stream, burble_reason reason)
{
    const int rc = claim(stream);
    if (rc != BURBLE_OK)
        return rc;
    stream->reason = reason;
    close_as(stream, BURBLE_ENDED);
    return BURBLE_OK;
}

/* A copy, cut at the beginning of a character where it is too long. NULL where memory is short: a
 * failure without its words is still a failure. */
static char *copy_message(const char *message)
{
    size_t len = strnlen(message, BURBLE_MESSAGE_MAX + 1);
    if (len > BURBLE_MESSAGE_MAX) {
        len = BURBLE_MESSAGE_MAX;
        while (len > 0 && ((unsigned char)message[len] & 0xC0u) == 0x80u)
            len--;
    }
    char *copy = burble__malloc(len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, message, len);
    copy[len] = '\0';
    return copy;
}

int burble_stream_fail(burble_stream *stream, int code, const char *message)
{
    if (code >= 0)
        return BURBLE_EINVAL;
    const int rc = claim(stream);
    if (rc != BURBLE_OK)
        return rc;
    stream->code = code;
    stream->message = message == NULL ? NULL : copy_message(message);
    close_as(stream, BURBLE_FAILED);
    return BURBLE_OK;
}

bool burble_stream_cancel(burble_stream *stream)
{
    burble__stream_here(stream);
    /* In one step: there is nothing to write down, and a writer that comes between must not take it
     * for another kind of end. */
    uint32_t state = BURBLE_OPEN;
    if (!burble__cas_acq_rel(&stream->state, &state, (uint32_t)BURBLE_CANCELLED))
        return false;
    announce(stream);
    return true;
}

bool burble__stream_closed(const burble_stream *stream)
{
    const uint32_t state = burble__load_acquire(&stream->state);
    return state != BURBLE_OPEN && state != BURBLE__CLOSING;
}

/* ---- in a forked child ----------------------------------------------------------------------- */

/* No other thread uses the stream meanwhile: nothing that is written here is published before `forks`. */
static void renew(burble_stream *stream)
{
    static const char why[] =
        "the thread that writes this stream stayed in the process that forked this one";
    pthread_mutex_init(&stream->head_lock, NULL);
    burble__store_relaxed(&stream->parked, NULL);
    burble__store_relaxed(&stream->resting, NULL);
    burble__store_relaxed(&stream->lag, NULL);
    burble__store_relaxed(&stream->writer_waits, false);
    burble__store_relaxed(&stream->admit_to, UINT64_MAX);
    if (burble__stream_closed(stream))
        return;
    /* A thread that was about to end it is not here, or it would have done so. */
    uint32_t state = BURBLE_OPEN;
    if (!burble__producer_is_here(stream)) {
        stream->code = BURBLE_EDIED;
        stream->message = copy_message(why);
        state = BURBLE_FAILED;
    }
    burble__store_relaxed(&stream->state, state);
}

void burble__stream_renew(burble_stream *stream)
{
    burble__fork_lock();
    if (!burble__is_here(&stream->forks)) {
        renew(stream);
        /* Release: pairs with the acquire in burble__is_here. */
        burble__store_release(&stream->forks, burble__forks());
    }
    burble__fork_unlock();
}

/* ---- how it stands --------------------------------------------------------------------------- */

/* The stream itself is never const: only what its status says does not change. */
static void arrive(const burble_stream *stream)
{
    burble__stream_here((burble_stream *)stream);
}

void burble_stream_hand_over(burble_stream *stream)
{
    burble__stream_here(stream);
    burble__producer_hand_over(stream);
}

void burble_stream_status(const burble_stream *stream, burble_status *status)
{
    arrive(stream);
    *status = (burble_status){.state = BURBLE_OPEN, .message = ""};
    if (!burble__stream_closed(stream))
        return;
    status->state = (burble_state)burble__load_relaxed(&stream->state);
    status->reason = stream->reason;
    status->code = stream->code;
    if (stream->message != NULL)
        status->message = stream->message;
}

uint64_t burble_stream_position(const burble_stream *stream)
{
    return burble__load_acquire(&stream->next_seq); /* pairs with the release in append */
}

uint64_t burble_stream_oldest(const burble_stream *asked)
{
    burble_stream *stream = (burble_stream *)asked; /* for its lock */
    burble__stream_here(stream);
    pthread_mutex_lock(&stream->head_lock);
    const uint64_t oldest = stream->head->first_seq;
    pthread_mutex_unlock(&stream->head_lock);
    return oldest;
}
