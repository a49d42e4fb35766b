/* SPDX-License-Identifier: MIT */
#include "engine/llama_continue.h"

#include <string.h>

#include <burble/frame.h>

#include "base/alloc.h"
#include "base/error_message.h"

/* A frame that has tokens, and not the counts. */
static bool has_ids(const burble_frame *frame)
{
    return frame->kind == BURBLE_FRAME_TEXT || frame->kind == BURBLE_FRAME_FINISH;
}

int burble__written_read(const burble_serve_request *request, size_t room,
                         struct burble__written *out, burble_error *error)
{
    burble_frame frame;
    size_t n = 0;
    *out = (struct burble__written){.room = room};
    if (request->choices > 1)
        return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                 "n: an answer of several choices cannot be continued");
    for (size_t i = 0; i < request->n_written; i++) {
        const burble_text bytes = request->written[i];
        const int result = burble_frame_read(bytes.bytes, bytes.len, &frame);
        if (result != BURBLE_OK)
            return burble__error_set(error, result, "written[%zu]: expected a frame", i);
        n += has_ids(&frame) ? frame.u.text.n_ids : 0;
    }
    out->ids = burble__calloc(room + n + 1, sizeof *out->ids);
    if (out->ids == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for an answer's ids");
    for (size_t i = 0; i < request->n_written; i++) {
        burble_frame_read(request->written[i].bytes, request->written[i].len, &frame);
        if (has_ids(&frame)) {
            burble_frame_ids(&frame, out->ids + room + out->n);
            out->n += frame.u.text.n_ids;
        }
        if (frame.kind == BURBLE_FRAME_FINISH) {
            out->finished = true;
            out->reason = frame.u.text.reason;
        }
        out->counted = out->counted || frame.kind == BURBLE_FRAME_USAGE;
    }
    return BURBLE_OK;
}

bool burble__written_continue(const struct burble__written *written, uint32_t context,
                              burble_llama_request *wanted)
{
    const size_t n = wanted->n_ids;
    memmove(written->ids + n, written->ids + written->room, written->n * sizeof *written->ids);
    wanted->ids = written->ids;
    wanted->n_ids = n + written->n;
    wanted->answered = written->n;
    if (written->finished || wanted->n_ids >= context)
        return false;
    if (wanted->max_tokens == 0)
        return true;
    if (wanted->max_tokens <= written->n)
        return false;
    wanted->max_tokens -= (uint32_t)written->n;
    return true;
}

static int write_frame(burble_stream *stream, const burble_frame *frame)
{
    char bytes[128];
    const size_t len = burble_frame_write(frame, bytes, sizeof bytes);
    return burble_stream_append(stream, bytes, len, 0);
}

int burble__written_end(const struct burble__written *written, size_t prompt, burble_stream *stream)
{
    burble_frame frame = {.kind = BURBLE_FRAME_FINISH};
    const uint32_t reason = written->finished ? written->reason : BURBLE_FRAME_LENGTH;
    int result = BURBLE_OK;
    if (!written->finished) {
        frame.u.text.text = frame.u.text.ids = frame.u.text.logprobs = (burble_text){"", 0};
        frame.u.text.reason = reason;
        result = write_frame(stream, &frame);
    }
    if (!written->counted && result == BURBLE_OK) {
        frame = (burble_frame){.kind = BURBLE_FRAME_USAGE};
        frame.u.usage.prompt = prompt;
        frame.u.usage.completion = written->n;
        result = write_frame(stream, &frame);
    }
    return result == BURBLE_OK
               ? burble_stream_end(stream, reason == BURBLE_FRAME_LENGTH ? BURBLE_REASON_LENGTH
                                                                         : BURBLE_REASON_STOP)
               : result;
}
