/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "relay/publication.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <burble/frame.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/little_endian.h"
#include "relay/session.h"

/* The most hashes: no frame is shorter than a byte. */
#define MAX_HASHES (4 * BURBLE__MAX_LOG)

/* ---- lists ---------------------------------------------------------------------------------------------- */

void burble__publications_add(struct burble__publications *list, struct burble__publication *one)
{
    burble__publication_leave(one);
    one->list = list;
    one->next = NULL;
    one->previous = list->last;
    if (list->last == NULL)
        list->first = one;
    else
        list->last->next = one;
    list->last = one;
    list->n++;
}

void burble__publication_leave(struct burble__publication *one)
{
    struct burble__publications *list = one->list;
    if (list == NULL)
        return;
    if (one->previous == NULL)
        list->first = one->next;
    else
        one->previous->next = one->next;
    if (one->next == NULL)
        list->last = one->previous;
    else
        one->next->previous = one->previous;
    list->n--;
    one->list = NULL;
    one->next = one->previous = NULL;
}

/* ---- hashes --------------------------------------------------------------------------------------------- */

static size_t n_hashed(const struct burble__publication *one)
{
    return one->hashes.len / 4;
}

static uint32_t last_hash(const struct burble__publication *one)
{
    return one->hashes.len == 0 ? BURBLE_FRAME_HASH
                                : burble__get_le32(one->hashes.bytes + one->hashes.len - 4);
}

/* Notes the hash of the next frame. BURBLE_OK or BURBLE_ENOMEM. */
static int note(struct burble__publication *one, const char *bytes, size_t len)
{
    char hash[4];
    burble__put_le32(burble_frame_hash(last_hash(one), bytes, len), hash);
    const int result = burble__buffer_append(&one->hashes, hash, sizeof hash);
    if (result == BURBLE_OK)
        one->bytes += len;
    return result;
}

bool burble__publication_has(const struct burble__publication *one, uint64_t n, const char *hash)
{
    return n > 0 && n <= n_hashed(one) && memcmp(one->hashes.bytes + 4 * (n - 1), hash, 4) == 0;
}

/* ---- its life --------------------------------------------------------------------------------------------- */

/* Each record of the stream is a frame, so positions are frame numbers. */
static int fill(struct burble__publication *one, const burble_text *frames, size_t n)
{
    burble_frame begin;
    if (n == 0 || frames[0].len < 5
        || burble_frame_read(frames[0].bytes + 4, frames[0].len - 4, &begin) != BURBLE_OK
        || begin.kind != BURBLE_FRAME_BEGIN)
        return BURBLE_EFORMAT;
    for (size_t i = 0; i < n; i++) {
        if (frames[i].len < 5)
            return BURBLE_EFORMAT;
        const char *bytes = frames[i].bytes + 4;
        const size_t len = frames[i].len - 4;
        int result = note(one, bytes, len);
        if (result == BURBLE_OK && !burble__publication_has(one, i + 1, frames[i].bytes))
            result = BURBLE_EFORMAT;
        if (result == BURBLE_OK)
            result = burble_stream_append(one->stream, bytes, len, 0);
        if (result != BURBLE_OK)
            return result;
    }
    one->confirmed = one->sent = one->found = n;
    return BURBLE_OK;
}

/* A reader from frame `k` on. */
static int make_reader(struct burble__publication *one, uint64_t k, burble_hub *hub,
                       burble_ready_fn *ready, uint64_t limit, burble_reader **out)
{
    int result = burble_reader_create(one->stream, k, out, NULL);
    if (result == BURBLE_OK)
        result = burble_reader_limit(*out, limit, BURBLE_LAG_BLOCK);
    if (result == BURBLE_OK)
        result = burble_reader_attach(*out, hub, ready, one);
    if (result != BURBLE_OK)
        burble_reader_destroy(out);
    return result;
}

int burble__publication_create(const char *id, const burble_text texts[BURBLE__N_ANSWER_TEXTS],
                               const burble_text *frames, size_t n, uint64_t max_pending,
                               burble_hub *hub, burble_ready_fn *ready,
                               struct burble__publication **out)
{
    burble_stream_options options;
    size_t room = 0;
    *out = NULL;
    for (unsigned i = 0; i < BURBLE__N_ANSWER_TEXTS; i++)
        room += texts[i].len;
    struct burble__publication *one = burble__calloc(1, sizeof *one + room);
    if (one == NULL)
        return BURBLE_ENOMEM;
    char *at = (char *)(one + 1);
    for (unsigned i = 0; i < BURBLE__N_ANSWER_TEXTS; i++) {
        one->texts[i] = (burble_text){at, texts[i].len};
        if (texts[i].len > 0)
            memcpy(at, texts[i].bytes, texts[i].len);
        at += texts[i].len;
    }
    memcpy(one->id.hex, id, BURBLE__STREAM_ID_LEN);
    burble__buffer_init(&one->hashes, MAX_HASHES);
    /* What is in flight is read, and Redis has not confirmed it either. */
    const uint64_t share =
        max_pending / 2 < BURBLE__STEP_BYTES ? max_pending / 2 : BURBLE__STEP_BYTES;
    one->limit = max_pending - share;
    one->share = (size_t)share;
    one->hub = hub;
    one->ready = ready;
    one->progress = burble__now();
    burble_stream_options_init(&options);
    options.keep = BURBLE_KEEP_ALL;
    int result = burble_stream_create(&options, &one->stream);
    if (result == BURBLE_OK)
        result = fill(one, frames, n);
    if (result == BURBLE_OK)
        result = make_reader(one, n, hub, ready, one->limit, &one->reader);
    if (result != BURBLE_OK) {
        burble__publication_destroy(one);
        return result;
    }
    burble_stream_hand_over(one->stream);
    *out = one;
    return BURBLE_OK;
}

void burble__publication_destroy(struct burble__publication *one)
{
    if (one == NULL)
        return;
    assert(one->list == NULL && !one->dirty && !one->submitting);
    burble_reader_destroy(&one->reader);
    burble_stream_unref(&one->stream);
    burble__buffer_finish(&one->hashes);
    burble__free(one);
}

void burble__publication_cut(struct burble__publication *one, int code, const char *message)
{
    const burble_serve_model *backend = &one->model->model->backend;
    const bool now = code == 0 ? burble_stream_cancel(one->stream)
                               : burble_stream_fail(one->stream, code, message) == BURBLE_OK;
    if (!now)
        return;
    one->cut = true;
    burble__recorders_cancel(&one->model->session->relay->recorders, one->stream);
    if (one->taken && backend->cancelled != NULL) /* else once it is taken */
        backend->cancelled(backend->arg, one->stream);
}

int burble__publication_rewind(struct burble__publication *one, uint64_t k)
{
    burble_reader *reader;
    if (k != one->sent) {
        const int result = make_reader(one, k, one->hub, one->ready, one->limit, &reader);
        if (result != BURBLE_OK)
            return result;
        burble_reader_destroy(&one->reader);
        one->reader = reader;
    }
    one->confirmed = one->sent = k;
    one->over = one->end_sent = one->handed = one->finished = one->bound_sent = false;
    return BURBLE_OK;
}

/* ---- sending ----------------------------------------------------------------------------------------------- */

/* Without memory, the step says so. scripts/prelude.lua describes a record. */
static void add_frame(const struct burble__publication *one, struct burble__step *step,
                      const burble_record *record)
{
    char head[BURBLE__STREAM_ID_LEN + 1 + 32], len[4];
    struct burble__buffer *records = &step->records;
    char *const entry = head + BURBLE__STREAM_ID_LEN + 1;
    const int n = snprintf(entry, 32, "%" PRIu64 "-0", record->seq + 1);
    memcpy(head, one->id.hex, BURBLE__STREAM_ID_LEN);
    entry[-1] = (char)n;
    burble__put_le32((uint32_t)(4 + record->len), len);
    if (step->call->result == BURBLE_OK)
        step->call->result =
            burble__buffer_reserve(records, sizeof head + sizeof len + 4 + record->len);
    if (step->call->result != BURBLE_OK)
        return;
    burble__buffer_append(records, head, BURBLE__STREAM_ID_LEN + 1 + (size_t)n);
    burble__buffer_append(records, len, sizeof len);
    burble__buffer_append(records, one->hashes.bytes + 4 * record->seq, 4);
    burble__buffer_append(records, record->text, record->len);
}

/* The log has become too long. The frame with which it did is not sent, however long that is, and none after it, even
 * if the writer has ended the stream already. */
static void end_too_long(struct burble__publication *one)
{
    static const char why[] = "the answer is too long to be kept: 16 MiB";
    burble_stream_fail(one->stream, BURBLE_EFULL, why);
    one->end = (burble_status){.state = BURBLE_FAILED, .code = BURBLE_EFULL, .message = why};
    one->over = true;
}

bool burble__publication_put(struct burble__publication *one, struct burble__step *step)
{
    burble_record record;
    size_t room = one->share < step->bytes ? one->share : step->bytes;
    bool more = true;
    while (step->frames > 0 && room > 0) {
        const int result = burble_reader_next_or_park(one->reader, &record);
        if (result == BURBLE_AGAIN || result == BURBLE_EDETACHED) {
            more = false;
            break;
        }
        if (result != BURBLE_OK) {
            burble_stream_status(one->stream, &one->end);
            one->over = true;
            more = false;
            break;
        }
        if (record.seq == n_hashed(one) && note(one, record.text, record.len) != BURBLE_OK) {
            step->call->result = BURBLE_ENOMEM;
            break;
        }
        if (one->bytes > BURBLE__MAX_LOG) {
            end_too_long(one);
            more = false;
            break;
        }
        if (record.seq == one->found) {
            burble__call_add_text(step->call, "n");
            burble__call_add_text(step->call, one->id.hex);
        }
        add_frame(one, step, &record);
        one->sent = record.seq + 1;
        one->progress = burble__now();
        step->frames--;
        room -= record.len < room ? record.len : room;
        step->bytes -= record.len < step->bytes ? record.len : step->bytes;
    }
    return more;
}
