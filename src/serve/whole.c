/* SPDX-License-Identifier: MIT */
#include "serve/whole.h"

#include <string.h>

#include "base/alloc.h"
#include "serve/json.h"
#include "serve/logprobs.h"

struct choice {
    struct burble__buffer text;
    struct burble__buffer logprobs; /* encoded, as in the frames */
};

struct burble__whole {
    const struct burble__envelope *envelope;
    struct burble__tally tally;
    uint64_t room; /* bytes that may still be kept */
    struct choice choices[];
};

int burble__whole_create(const struct burble__envelope *envelope, uint64_t max,
                         struct burble__whole **out)
{
    struct burble__whole *whole =
        burble__malloc(sizeof *whole + envelope->choices * sizeof(struct choice));
    *out = whole;
    if (whole == NULL)
        return BURBLE_ENOMEM;
    whole->envelope = envelope;
    whole->room = max;
    burble__tally_init(&whole->tally, false);
    for (uint32_t i = 0; i < envelope->choices; i++) {
        burble__buffer_init(&whole->choices[i].text, SIZE_MAX / 2);
        burble__buffer_init(&whole->choices[i].logprobs, SIZE_MAX / 2);
    }
    return BURBLE_OK;
}

void burble__whole_destroy(struct burble__whole **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    struct burble__whole *whole = *handle;
    *handle = NULL;
    for (uint32_t i = 0; i < whole->envelope->choices; i++) {
        burble__buffer_finish(&whole->choices[i].text);
        burble__buffer_finish(&whole->choices[i].logprobs);
    }
    burble__tally_finish(&whole->tally);
    burble__free(whole);
}

int burble__whole_add(struct burble__whole *whole, const char *bytes, size_t len,
                      const burble_frame *frame)
{
    int result = burble__tally_add(&whole->tally, whole->envelope, bytes, len, frame);
    if (result != BURBLE_OK || frame->kind != BURBLE_FRAME_TEXT)
        return result;
    const burble_text text = frame->u.text.text;
    const burble_text logprobs =
        whole->envelope->logprobs ? frame->u.text.logprobs : (burble_text){0};
    if (text.len + logprobs.len > whole->room)
        return BURBLE_EFULL;
    struct choice *choice = &whole->choices[frame->choice];
    result = burble__buffer_append(&choice->text, text.bytes, text.len);
    if (result == BURBLE_OK)
        result = burble__buffer_append(&choice->logprobs, logprobs.bytes, logprobs.len);
    if (result == BURBLE_OK)
        whole->room -= text.len + logprobs.len;
    return result;
}

const struct burble__tally *burble__whole_tally(const struct burble__whole *whole)
{
    return &whole->tally;
}

static void put_choice(const struct burble__whole *whole, uint32_t index,
                       struct burble__output *out)
{
    const struct choice *choice = &whole->choices[index];
    const burble_serve_route route = whole->envelope->route;
    const bool chat = route == BURBLE_SERVE_CHAT;
    const burble_text logprobs = {choice->logprobs.bytes, choice->logprobs.len};
    burble__put_raw(out, index == 0 ? "{\"index\":" : ",{\"index\":");
    burble__put_integer(out, index);
    burble__put_raw(out, chat ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"text\":");
    burble__put_string(out, choice->text.bytes, choice->text.len);
    burble__put_raw(out, chat ? ",\"refusal\":null}" : "");
    burble__put_raw(out, ",\"logprobs\":");
    burble__logprobs_write(route, logprobs, 0, out);
    burble__put_raw(out, ",\"finish_reason\":");
    burble__put_name(out, burble__reason_name(burble__tally_reason(&whole->tally, index)));
    burble__put_raw(out, "}");
}

int burble__whole_write(const struct burble__whole *whole, struct burble__buffer *buffer)
{
    const struct burble__envelope *envelope = whole->envelope;
    struct burble__output out = {buffer, BURBLE_OK};
    burble__envelope_put_whole(envelope, &out);
    for (uint32_t i = 0; i < envelope->choices; i++)
        put_choice(whole, i, &out);
    burble__put_raw(&out, "]");
    if (whole->tally.usage != NULL) {
        burble__put_raw(&out, ",\"usage\":");
        burble__usage_write(whole->tally.usage, &out);
        burble__put_raw(&out, ",\"timings\":");
        burble__timings_write(whole->tally.usage, &out);
    }
    burble__put_raw(&out, "}");
    return out.result;
}
