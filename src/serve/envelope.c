/* SPDX-License-Identifier: MIT */
#include "serve/envelope.h"

#include <stddef.h>
#include <string.h>

#include <burble/error.h>

#include "base/alloc.h"
#include "serve/json.h"

/* The longest head: six times each of the longest names, and what is around them. */
#define MAX_HEAD (1 << 13)

#define DATA "data: "
#define CHUNK ".chunk" /* at the end of the object's name, in an event of a chat */
#define CHOICES ",\"choices\":["

/* Where parts of a head end. */
struct ends {
    size_t id, object, model;
};

static void put_head(struct burble__output *out, const burble_frame *begin, struct ends *ends)
{
    burble__put_raw(out, DATA "{\"id\":");
    burble__put_string(out, begin->u.begin.id.bytes, begin->u.begin.id.len);
    ends->id = out->buffer->len;
    burble__put_raw(out, begin->u.begin.route == BURBLE_SERVE_CHAT
                             ? ",\"object\":\"chat.completion" CHUNK "\""
                             : ",\"object\":\"text_completion\"");
    ends->object = out->buffer->len;
    burble__put_raw(out, ",\"created\":");
    burble__put_integer(out, begin->u.begin.created);
    burble__put_raw(out, ",\"model\":");
    burble__put_string(out, begin->u.begin.model.bytes, begin->u.begin.model.len);
    ends->model = out->buffer->len;
    burble__put_raw(out, CHOICES);
}

int burble__envelope_create(const burble_frame *begin, struct burble__envelope **created)
{
    *created = NULL;
    const uint32_t route = begin->u.begin.route;
    if (begin->kind != BURBLE_FRAME_BEGIN
        || (route != BURBLE_SERVE_CHAT && route != BURBLE_SERVE_COMPLETION)) {
        return BURBLE_EFORMAT;
    }
    const uint32_t choices =
        (uint32_t)(begin->u.begin.flags >> BURBLE__ANSWER_CHOICES_SHIFT & 0xff);
    if (choices > BURBLE_FRAME_MAX_CHOICES)
        return BURBLE_EFORMAT;
    struct burble__buffer head;
    struct burble__output out = {&head, BURBLE_OK};
    struct ends ends;
    burble__buffer_init(&head, MAX_HEAD);
    put_head(&out, begin, &ends);
    struct burble__envelope *envelope =
        out.result == BURBLE_OK
            ? burble__malloc(offsetof(struct burble__envelope, bytes) + head.len)
            : NULL;
    if (envelope != NULL) {
        struct burble__stream_id id;
        *envelope = (struct burble__envelope){
            .route = (uint8_t)route,
            .choices = choices == 0 ? 1 : (uint16_t)choices,
            .include_usage = begin->u.begin.flags & BURBLE__ANSWER_INCLUDE_USAGE,
            .logprobs = begin->u.begin.flags & BURBLE__ANSWER_LOGPROBS,
            .has_stream =
                burble__stream_id_parse(begin->u.begin.id.bytes, begin->u.begin.id.len, &id),
            .id_end = (uint16_t)ends.id,
            .object_end = (uint16_t)ends.object,
            .model_end = (uint16_t)ends.model,
            .len = (uint16_t)head.len,
        };
        memcpy(envelope->bytes, head.bytes, head.len);
    }
    burble__buffer_finish(&head);
    *created = envelope;
    return envelope == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

void burble__envelope_destroy(struct burble__envelope **envelope)
{
    if (envelope == NULL)
        return;
    burble__free(*envelope);
    *envelope = NULL;
}

/* The bytes from `begin` to `end`. */
static void put_part(struct burble__output *out, const struct burble__envelope *envelope,
                     size_t begin, size_t end)
{
    burble__put_bytes(out, envelope->bytes + begin, end - begin);
}

void burble__envelope_put_whole(const struct burble__envelope *envelope, struct burble__output *out)
{
    const bool chat = envelope->route == BURBLE_SERVE_CHAT;
    put_part(out, envelope, sizeof DATA - 1,
             envelope->object_end - (chat ? sizeof CHUNK : 1)); /* up to the quote, or the suffix */
    put_part(out, envelope, envelope->object_end - 1U, envelope->len);
}

void burble__envelope_put_begin(const struct burble__envelope *envelope, struct burble__output *out)
{
    put_part(out, envelope, sizeof DATA - 1, envelope->id_end);
    put_part(out, envelope, envelope->object_end, envelope->model_end);
    burble__put_raw(out, "}");
}
