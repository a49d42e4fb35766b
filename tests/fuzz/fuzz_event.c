/* SPDX-License-Identifier: MIT
 *
 * Any frames: each is refused, or becomes at most one event, whose data is JSON; and the whole reply is JSON.
 *
 * The first byte has the route, the flags and the choices of the begin frame; each frame that follows is its length
 * and its bytes.
 */
#include "fuzz.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "serve/event.h"
#include "serve/whole.h"

#define ID "chatcmpl-0123456789abcdef0123456789abcdef"

static void check_json(const char *bytes, size_t len)
{
    json_error_t error;
    json_t *json = json_loadb(bytes, len, JSON_ALLOW_NUL, &error);
    /* A token that is a key, in the form of completions, may have one; jansson alone cannot read it. */
    CHECK(json != NULL || json_error_code(&error) == json_error_null_byte_in_key);
    json_decref(json);
}

/* Whether what was appended is nothing, or lines of which the last is "data: " and JSON, and an empty line. */
static void check_event(const struct burble__buffer *out, size_t begin)
{
    static const char done[] = "data: [DONE]\n\n";
    size_t len = out->len - begin;
    if (len == 0)
        return;
    const char *bytes = out->bytes + begin;
    if (len == strlen(done) && memcmp(bytes, done, len) == 0)
        return;
    CHECK(len > 2 && memcmp(bytes + len - 2, "\n\n", 2) == 0);
    len -= 2;
    while (memcmp(bytes, "id: ", 4) == 0 || memcmp(bytes, "event: ", 7) == 0) {
        const char *line_feed = memchr(bytes, '\n', len);
        CHECK(line_feed != NULL);
        len -= (size_t)(line_feed + 1 - bytes);
        bytes = line_feed + 1;
    }
    CHECK(memcmp(bytes, "data: ", 6) == 0 && memchr(bytes, '\n', len) == NULL);
    check_json(bytes + 6, len - 6);
}

/* The answer in one form, and, of the first, as a whole. */
static void run(struct input input, const struct burble__envelope *envelope,
                const burble_frame *begin, enum burble__form form)
{
    char bytes[256];
    struct burble__tally tally;
    struct burble__whole *whole;
    struct burble__buffer out;
    burble_frame frame = *begin;
    size_t len = burble_frame_write(begin, bytes, sizeof bytes);
    burble__tally_init(&tally, form == BURBLE__FORM_OWN);
    burble__buffer_init(&out, 1 << 20);
    CHECK(burble__whole_create(envelope, 4096, &whole) == BURBLE_OK);
    int result = BURBLE_OK;
    while (result == BURBLE_OK) {
        const size_t before = out.len;
        result = burble__tally_add(&tally, envelope, bytes, len, &frame);
        CHECK(result == BURBLE_OK || result == BURBLE_EFORMAT);
        const int added = burble__whole_add(whole, bytes, len, &frame);
        CHECK(added == result || added == BURBLE_EFULL);
        if (result == BURBLE_OK) {
            CHECK(burble__event_write(envelope, form, &frame, &tally, &out) == BURBLE_OK);
            check_event(&out, before);
        }
        if (input.left == 0 || added == BURBLE_EFULL)
            break;
        len = next_byte(&input);
        if (len > input.left)
            len = input.left;
        memcpy(bytes, input.at, len);
        input.at += len;
        input.left -= len;
        const int read = burble_frame_read(bytes, len, &frame);
        if (read != BURBLE_OK && read != BURBLE_EUNSUPPORTED)
            break;
    }
    const size_t before = out.len;
    bool clean;
    CHECK(burble__event_end(envelope, form, &tally,
                            &(burble_status){.state = BURBLE_ENDED, .message = ""}, &out, &clean)
          == BURBLE_OK);
    check_event(&out, before);
    CHECK(clean == burble__tally_is_complete(&tally, envelope));
    out.len = 0;
    CHECK(burble__whole_write(whole, &out) == BURBLE_OK);
    check_json(out.bytes, out.len);
    burble__whole_destroy(&whole);
    burble__tally_finish(&tally);
    burble__buffer_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    const uint8_t head = next_byte(&input);
    burble_frame begin = {.kind = BURBLE_FRAME_BEGIN};
    begin.u.begin.id = (burble_text){ID, sizeof ID - 1};
    begin.u.begin.model = (burble_text){"m", 1};
    begin.u.begin.version = BURBLE_FRAME_VERSION;
    begin.u.begin.route = 1 + head % 2;
    begin.u.begin.flags = (head >> 1 & 3) | (uint64_t)(head >> 3 & 7) << 8;
    struct burble__envelope *envelope;
    CHECK(burble__envelope_create(&begin, &envelope) == BURBLE_OK);
    run(input, envelope, &begin, BURBLE__FORM_OPENAI);
    run(input, envelope, &begin, BURBLE__FORM_OWN);
    burble__envelope_destroy(&envelope);
    return 0;
}
