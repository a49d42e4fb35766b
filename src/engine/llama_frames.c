/* SPDX-License-Identifier: MIT */
#include "engine/llama_frames.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

/* The most bytes of an encoded id, and of an entry without its text. */
enum { ID_SIZE = 5, ENTRY_SIZE = 24 };

/* ---- what the choices share ------------------------------------------------------------------------- */

int burble__frames_create(const burble_llama_request *wanted, uint32_t n,
                          struct burble__frames **out)
{
    size_t bytes = 0;
    *out = NULL;
    for (size_t i = 0; i < wanted->n_stop; i++)
        bytes += wanted->stop[i].len;
    struct burble__frames *shared =
        burble__malloc(sizeof *shared + wanted->n_stop * sizeof *shared->stop + bytes);
    if (shared == NULL)
        return BURBLE_ENOMEM;
    *shared = (struct burble__frames){.running = n, .n_stop = wanted->n_stop};
    shared->each = wanted->choices > 0 ? wanted->choices : 1;
    shared->usage.kind = BURBLE_FRAME_USAGE;
    shared->came = burble__now();
    burble__init(&shared->refs, n);
    burble__buffer_init(&shared->bytes, SIZE_MAX);
    char *at = (char *)(shared->stop + shared->n_stop);
    for (size_t i = 0; i < shared->n_stop; i++) {
        const burble_text stop = wanted->stop[i];
        if (stop.len > 0)
            memcpy(at, stop.bytes, stop.len);
        shared->stop[i] = (burble_text){at, stop.len};
        at += stop.len;
    }
    *out = shared;
    return BURBLE_OK;
}

void burble__frames_unref(struct burble__frames *shared)
{
    /* Acquire and release: what the other choices did with it comes before its end. */
    if (shared == NULL || burble__sub_acq_rel(&shared->refs, 1) != 1)
        return;
    burble__buffer_finish(&shared->bytes);
    burble__free(shared);
}

/* ---- one choice ------------------------------------------------------------------------------------- */

int burble__choice_create(struct burble__frames *shared, uint32_t number,
                          struct burble__choice **out)
{
    struct burble__choice *choice = burble__calloc(1, sizeof *choice);
    *out = choice;
    if (choice == NULL)
        return BURBLE_ENOMEM;
    choice->shared = shared;
    choice->number = number;
    burble__buffer_init(&choice->ids, SIZE_MAX);
    burble__buffer_init(&choice->text, SIZE_MAX);
    burble__buffer_init(&choice->logprobs, SIZE_MAX);
    return BURBLE_OK;
}

void burble__choice_destroy(struct burble__choice **handle)
{
    struct burble__choice *choice = *handle;
    if (choice == NULL)
        return;
    *handle = NULL;
    burble__buffer_finish(&choice->ids);
    burble__buffer_finish(&choice->text);
    burble__buffer_finish(&choice->logprobs);
    burble__frames_unref(choice->shared);
    burble__free(choice);
}

int burble__choice_take_id(struct burble__choice *choice, int32_t id)
{
    const int result = burble__buffer_reserve(&choice->ids, ID_SIZE);
    if (result == BURBLE_OK) {
        choice->ids.len +=
            burble_frame_write_ids(&id, 1, choice->ids.bytes + choice->ids.len, ID_SIZE);
        choice->n_ids++;
    }
    return result;
}

/* Adds an entry, with the token's own text. */
static int take_entry(struct burble__choice *choice, const struct llama_vocab *tokens,
                      burble_logprob entry, bool top)
{
    struct burble__buffer *logprobs = &choice->logprobs;
    char fixed[256];
    char *text = fixed;
    int32_t len = llama_token_to_piece(tokens, entry.id, fixed, (int32_t)sizeof fixed, 0, true);
    if (len < 0) {
        text = burble__malloc((size_t)-len);
        if (text == NULL)
            return BURBLE_ENOMEM;
        len = llama_token_to_piece(tokens, entry.id, text, -len, 0, true);
    }
    entry.text = (burble_text){text, len > 0 ? (size_t)len : 0};
    const size_t room = ENTRY_SIZE + entry.text.len;
    const int result = burble__buffer_reserve(logprobs, room);
    if (result == BURBLE_OK)
        logprobs->len += burble_logprob_write(&entry, top, logprobs->bytes + logprobs->len, room);
    if (text != fixed)
        burble__free(text);
    return result;
}

int burble__choice_take_logprobs(struct burble__choice *choice, const struct llama_vocab *tokens,
                                 const burble_llama_progress *progress)
{
    const burble_logprob chosen = {
        .id = progress->id, .logprob = progress->logprob, .n_top = progress->n_top};
    int result = take_entry(choice, tokens, chosen, false);
    for (uint32_t i = 0; i < progress->n_top && result == BURBLE_OK; i++) {
        const burble_logprob top = {.id = progress->top_ids[i],
                                    .logprob = progress->top_logprobs[i]};
        result = take_entry(choice, tokens, top, true);
    }
    if (result == BURBLE_OK) {
        choice->entries[choice->n_logprobs].offset = progress->offset;
        choice->entries[choice->n_logprobs++].end = choice->logprobs.len;
    }
    return result;
}

void burble__choice_drop_logprobs(struct burble__choice *choice, uint64_t offset)
{
    uint32_t n = choice->n_logprobs;
    while (n > 0 && choice->entries[n - 1].offset >= offset)
        n--;
    choice->n_logprobs = n;
    choice->logprobs.len = n == 0 ? 0 : choice->entries[n - 1].end;
}

/* ---- frames ----------------------------------------------------------------------------------------- */

static int make(struct burble__frames *shared, const burble_frame *frame, burble_text *bytes)
{
    struct burble__buffer *buffer = &shared->bytes;
    size_t len = burble_frame_write(frame, buffer->bytes, buffer->capacity);
    if (len > buffer->capacity) {
        const int result = burble__buffer_reserve(buffer, len);
        if (result != BURBLE_OK)
            return result;
        len = burble_frame_write(frame, buffer->bytes, buffer->capacity);
    }
    *bytes = (burble_text){buffer->bytes, len};
    return BURBLE_OK;
}

static burble_text text_of(const struct burble__buffer *buffer)
{
    return (burble_text){buffer->bytes, buffer->len};
}

/* As burble__choice_make_text. */
static int make_of(struct burble__choice *choice, burble_frame *frame, burble_text *bytes,
                   uint32_t *n_ids)
{
    frame->choice = choice->number;
    frame->u.text.ids = text_of(&choice->ids);
    frame->u.text.n_ids = choice->n_ids;
    const int result = make(choice->shared, frame, bytes);
    if (result == BURBLE_OK) {
        *n_ids = choice->n_ids;
        choice->n_ids = 0;
        choice->n_logprobs = 0;
        choice->ids.len = 0;
        choice->text.len = 0;
        choice->logprobs.len = 0;
    }
    return result;
}

int burble__choice_make_text(struct burble__choice *choice, burble_text *bytes, uint32_t *n_ids)
{
    burble_frame frame = {.kind = BURBLE_FRAME_TEXT};
    frame.u.text.text = text_of(&choice->text);
    frame.u.text.logprobs = text_of(&choice->logprobs);
    return make_of(choice, &frame, bytes, n_ids);
}

int burble__choice_make_finish(struct burble__choice *choice, burble_reason reason, size_t stop,
                               burble_text *bytes, uint32_t *n_ids)
{
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH};
    frame.u.text.reason = reason == BURBLE_REASON_LENGTH ? BURBLE_FRAME_LENGTH : BURBLE_FRAME_STOP;
    if (stop < choice->shared->n_stop)
        frame.u.text.text = choice->shared->stop[stop];
    return make_of(choice, &frame, bytes, n_ids);
}

int burble__choice_make_usage(struct burble__choice *choice, uint64_t now, burble_text *bytes)
{
    struct burble__frames *shared = choice->shared;
    burble_frame *usage = &shared->usage;
    const uint64_t placed = shared->placed != 0 ? shared->placed : now;
    const uint64_t begun = shared->begun != 0 ? shared->begun : now;
    usage->u.usage.queue_ns = placed - shared->came;
    usage->u.usage.prompt_ns = begun - placed;
    usage->u.usage.answer_ns = now - begun;
    return make(shared, usage, bytes);
}
