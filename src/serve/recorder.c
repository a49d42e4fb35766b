/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/recorder.h"

#include <assert.h>
#include <string.h>

#include <burble/clock.h>
#include <burble/frame.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/reserved.h"

/* How far, in units of its stream, a reader of a source falls behind before what generates waits. */
#define SOURCE_LAG 65536u

/* The most bytes of text that are read from a source in one turn of the loop: a quick writer must not hold up others, nor fill the
 * answer's log before its reader has had its turn. */
#define TURN 16384u

/* The most bytes of a frame around its text, and of a frame without text. */
#define FRAME_AROUND 64u

struct source {
    struct burble__recorder *recorder;
    burble_stream *stream;
    burble_reader *reader; /* NULL: it has ended */
};

struct burble__recorder {
    struct burble__retry retry; /* first */
    struct burble__recorders *all;
    struct burble__recorder *next, **at; /* of these; NULL: it has not begun */
    burble_stream *stream;
    struct burble__buffer frame; /* that found no room; empty: none */
    uint32_t frame_tokens;
    bool has_usage; /* its frame was written */
    uint64_t began, first, prompt_tokens, tokens;
    burble_serve_counts *counts; /* NULL: none */
    uint32_t open;               /* sources that have not ended */
    uint32_t n;
    struct source sources[];
};

/* ---- the end -------------------------------------------------------------------------------------------- */

static void destroy(struct burble__recorder *recorder)
{
    for (uint32_t i = 0; i < recorder->n; i++) {
        burble_reader_destroy(&recorder->sources[i].reader);
        burble_stream_unref(&recorder->sources[i].stream);
    }
    burble__retry_never(&recorder->retry);
    if (recorder->at != NULL) {
        *recorder->at = recorder->next;
        if (recorder->next != NULL)
            recorder->next->at = recorder->at;
    }
    burble__buffer_finish(&recorder->frame);
    if (recorder->counts != NULL)
        recorder->counts->release(recorder->counts);
    burble_stream_unref(&recorder->stream);
    burble__free(recorder);
}

/* The answer is over for another reason than that all sources have ended. */
static void give_up(struct burble__recorder *recorder)
{
    for (uint32_t i = 0; i < recorder->n; i++)
        burble_stream_cancel(recorder->sources[i].stream);
    destroy(recorder);
}

void burble__recorder_fail(struct burble__recorder *recorder, int code, const char *message)
{
    burble_stream_fail(recorder->stream, code, message);
    give_up(recorder);
}

void burble__recorders_stop(struct burble__recorders *all, int code, const char *message)
{
    while (all->first != NULL)
        burble__recorder_fail(all->first, code, message);
}

void burble__recorders_cancel(struct burble__recorders *all, const burble_stream *stream)
{
    for (struct burble__recorder *at = all->first; at != NULL; at = at->next)
        if (at->stream == stream) {
            give_up(at);
            return;
        }
}

/* ---- frames --------------------------------------------------------------------------------------------- */

/* Appends the kept frame. False: the recorder is gone, or has to wait. */
static bool append_kept(struct burble__recorder *recorder)
{
    const int result =
        burble_stream_append_until(recorder->stream, recorder->frame.bytes, recorder->frame.len,
                                   recorder->frame_tokens, BURBLE_NO_WAIT);
    if (result == BURBLE_OK) {
        recorder->frame.len = 0;
        return true;
    }
    if (result == BURBLE_EFULL)
        burble__retry_later(recorder->all->retries, &recorder->retry);
    else if (result == BURBLE_ENOMEM)
        burble__recorder_fail(recorder, result, "out of memory");
    else
        give_up(recorder);
    return false;
}

/* Writes a frame and appends it. False: as above. */
static bool put(struct burble__recorder *recorder, const burble_frame *frame, size_t text_len,
                uint32_t tokens)
{
    struct burble__buffer *out = &recorder->frame;
    assert(out->len == 0);
    if (burble__buffer_reserve(out, text_len + FRAME_AROUND) != BURBLE_OK) {
        burble__recorder_fail(recorder, BURBLE_ENOMEM, "out of memory");
        return false;
    }
    out->len = burble_frame_write(frame, out->bytes, out->capacity);
    assert(out->len <= out->capacity);
    recorder->frame_tokens = tokens;
    return append_kept(recorder);
}

static bool put_text(struct burble__recorder *recorder, uint32_t choice,
                     const burble_record *record)
{
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT, .choice = choice};
    frame.u.text.text = (burble_text){.bytes = record->text, .len = record->len};
    frame.u.text.ids = frame.u.text.logprobs = (burble_text){.bytes = "", .len = 0};
    if (recorder->first == 0)
        recorder->first = burble_now();
    recorder->tokens += record->tokens;
    return put(recorder, &frame, record->len, record->tokens);
}

static bool put_finish(struct burble__recorder *recorder, uint32_t choice, burble_reason reason)
{
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH, .choice = choice};
    frame.u.text.text = frame.u.text.ids = frame.u.text.logprobs =
        (burble_text){.bytes = "", .len = 0};
    frame.u.text.reason = reason == BURBLE_REASON_LENGTH ? BURBLE_FRAME_LENGTH : BURBLE_FRAME_STOP;
    return put(recorder, &frame, 0, 0);
}

static bool put_usage(struct burble__recorder *recorder)
{
    const uint64_t now = burble_now();
    const uint64_t first = recorder->first == 0 ? now : recorder->first;
    burble_frame frame = {.kind = BURBLE_FRAME_USAGE};
    frame.u.usage.prompt = recorder->prompt_tokens;
    frame.u.usage.completion = recorder->tokens;
    if (recorder->counts != NULL)
        recorder->counts->read(recorder->counts, &frame.u.usage.prompt, &frame.u.usage.reused);
    frame.u.usage.prompt_ns = first - recorder->began;
    frame.u.usage.answer_ns = now - first;
    return put(recorder, &frame, 0, 0);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

/* The stream of a source is not open any more. False: the recorder is gone, or has to wait. */
static bool end_source(struct burble__recorder *recorder, uint32_t choice)
{
    burble_status status;
    struct source *source = &recorder->sources[choice];
    burble_stream_status(source->stream, &status);
    if (status.state == BURBLE_FAILED) {
        burble__recorder_fail(recorder, status.code, status.message);
        return false;
    }
    if (status.state == BURBLE_CANCELLED) {
        burble__recorder_fail(recorder, BURBLE_ECANCELED, "the text was cancelled");
        return false;
    }
    burble_reader_destroy(&source->reader);
    recorder->open--;
    return put_finish(recorder, choice, status.reason);
}

/* False: the recorder is gone, or has to wait. */
static bool read_source(struct burble__recorder *recorder, uint32_t choice)
{
    struct source *source = &recorder->sources[choice];
    burble_record record;
    size_t taken = 0;
    int result;
    if (source->reader == NULL)
        return true;
    while ((result = burble_reader_next_or_park(source->reader, &record)) == BURBLE_OK) {
        taken += record.len;
        if (!put_text(recorder, choice, &record))
            return false;
        if (taken >= TURN) {
            burble__retry_soon(recorder->all->retries, &recorder->retry);
            return true;
        }
    }
    return result == BURBLE_AGAIN || end_source(recorder, choice);
}

static void finish_if_all_ended(struct burble__recorder *recorder)
{
    if (recorder->open > 0 || recorder->frame.len > 0)
        return;
    if (!recorder->has_usage) {
        recorder->has_usage = true;
        if (!put_usage(recorder))
            return;
    }
    burble_stream_end(recorder->stream, BURBLE_REASON_NONE);
    destroy(recorder);
}

static void on_ready(burble_reader *reader, void *arg)
{
    (void)reader;
    struct source *source = arg;
    struct burble__recorder *recorder = source->recorder;
    if (recorder->frame.len == 0 && read_source(recorder, (uint32_t)(source - recorder->sources)))
        finish_if_all_ended(recorder);
}

/* Appends what was kept, and reads all sources. */
static void read_on(struct burble__recorder *recorder)
{
    if (recorder->frame.len > 0) {
        if (!append_kept(recorder))
            return;
        recorder->retry.doubled = 0;
    }
    for (uint32_t i = 0; i < recorder->n; i++)
        if (!read_source(recorder, i))
            return;
    finish_if_all_ended(recorder);
}

static void on_retry(struct burble__retry *retry)
{
    read_on((struct burble__recorder *)(void *)retry);
}

/* ---- the beginning -------------------------------------------------------------------------------------- */

bool burble__sources_are_valid(const burble_serve_source *sources, size_t n)
{
    if (n == 0 || n > BURBLE_FRAME_MAX_CHOICES
        || sources[0].prompt_tokens > BURBLE_FRAME_MAX_NUMBER)
        return false;
    for (size_t i = 0; i < n; i++)
        if (sources[i].stream == NULL || !BURBLE__UNUSED(&sources[i]))
            return false;
    return true;
}

void burble__sources_discard(const burble_serve_source *sources, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        burble_reader *reader = sources[i].reader;
        burble_stream_cancel(sources[i].stream);
        burble_reader_destroy(&reader);
    }
    if (sources[0].counts != NULL)
        sources[0].counts->release(sources[0].counts);
}

void burble__recorder_destroy_but_for_given(struct burble__recorder *recorder,
                                            const burble_serve_source *sources)
{
    if (recorder == NULL)
        return;
    for (uint32_t i = 0; i < recorder->n; i++)
        if (sources[i].reader != NULL)
            recorder->sources[i].reader = NULL;
    recorder->counts = NULL;
    destroy(recorder);
}

static int begin_to_read(struct source *source, const burble_serve_source *given)
{
    int result = BURBLE_OK;
    source->stream = burble_stream_ref(given->stream);
    if (given->reader != NULL)
        source->reader = given->reader;
    else
        result = burble_reader_create(given->stream, BURBLE_FROM_OLDEST, &source->reader, NULL);
    return result == BURBLE_OK ? burble_reader_limit(source->reader, SOURCE_LAG, BURBLE_LAG_BLOCK)
                               : result;
}

struct burble__recorder *burble__recorder_create(burble_stream *stream, uint64_t began,
                                                 const burble_serve_source *sources, size_t n)
{
    struct burble__recorder *recorder =
        burble__calloc(1, sizeof *recorder + n * sizeof recorder->sources[0]);
    if (recorder == NULL)
        return NULL;
    recorder->retry.run = on_retry;
    recorder->stream = burble_stream_ref(stream);
    recorder->began = began;
    recorder->prompt_tokens = sources[0].prompt_tokens;
    recorder->counts = sources[0].counts;
    recorder->n = recorder->open = (uint32_t)n;
    burble__buffer_init(&recorder->frame, BURBLE_RECORD_MAX);
    for (size_t i = 0; i < n; i++) {
        struct source *source = &recorder->sources[i];
        source->recorder = recorder;
        if (begin_to_read(source, &sources[i]) != BURBLE_OK) {
            burble__recorder_destroy_but_for_given(recorder, sources);
            return NULL;
        }
    }
    return recorder;
}

void burble__recorder_begin(struct burble__recorders *all, struct burble__recorder *recorder)
{
    burble_status status;
    recorder->all = all;
    recorder->next = all->first;
    recorder->at = &all->first;
    if (recorder->next != NULL)
        recorder->next->at = &recorder->next;
    all->first = recorder;
    burble_stream_status(recorder->stream, &status);
    if (status.state != BURBLE_OPEN) {
        give_up(recorder); /* nobody wants it any more */
        return;
    }
    for (uint32_t i = 0; i < recorder->n; i++)
        if (burble_reader_attach(recorder->sources[i].reader, all->hub, on_ready,
                                 &recorder->sources[i])
            != BURBLE_OK) {
            burble__recorder_fail(recorder, BURBLE_ENOMEM, "out of memory");
            return;
        }
    read_on(recorder);
}
