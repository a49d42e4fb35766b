/* SPDX-License-Identifier: MIT
 *
 * Replies that are not streamed.
 */
#include "protocol.h"

#include <jansson.h>

#include "serve/whole.h"

static int add(struct burble__whole *whole, const burble_frame *frame)
{
    char bytes[4096];
    burble_frame read;
    const size_t len = burble_frame_write(frame, bytes, sizeof bytes);
    assert_result(burble_frame_read(bytes, len, &read), BURBLE_OK);
    return burble__whole_add(whole, bytes, len, &read);
}

#define ADD(...) assert_result(add(whole, &(burble_frame[]){__VA_ARGS__}[0]), BURBLE_OK)

static struct burble__envelope *envelope_of(const burble_frame *begin)
{
    struct burble__envelope *envelope;
    assert_result(burble__envelope_create(begin, &envelope), BURBLE_OK);
    return envelope;
}

static void test_chat_of_two_choices(void **state)
{
    (void)state;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 2, 0);
    struct burble__envelope *envelope = envelope_of(&begin);
    struct burble__whole *whole;
    NEW_BUFFER(out);
    assert_result(burble__whole_create(envelope, 1000, &whole), BURBLE_OK);
    ADD(begin);
    ADD(text_frame(1, TEXT("b\"")));
    ADD(text_frame(0, TEXT("a")));
    ADD(text_frame(1, TEXT("b")));
    ADD(finish_frame(1, BURBLE_FRAME_LENGTH));
    ADD(finish_frame(0, BURBLE_FRAME_STOP));
    ADD(usage_frame());
    assert_true(burble__tally_is_complete(burble__whole_tally(whole), envelope));
    assert_result(burble__whole_write(whole, &out), BURBLE_OK);
    EXPECT(&out,
           "{\"id\":\"chatcmpl-" HEX "\",\"object\":\"chat.completion\",\"created\":1790000000,"
           "\"model\":\"m\\\"1\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
           "\"content\":\"a\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"},"
           "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"b\\\"b\","
           "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"length\"}],"
           "\"usage\":" USAGE ",\"timings\":" TIMINGS "}");
    burble__whole_destroy(&whole);
    assert_null(whole);
    burble__envelope_destroy(&envelope);
}

static void test_completion_with_logprobs(void **state)
{
    (void)state;
    char bytes[256];
    const burble_frame begin = begin_frame(BURBLE_SERVE_COMPLETION, 1, BURBLE__ANSWER_LOGPROBS);
    struct burble__envelope *envelope = envelope_of(&begin);
    struct burble__whole *whole;
    NEW_BUFFER(out);
    assert_result(burble__whole_create(envelope, 1000, &whole), BURBLE_OK);
    ADD(begin);
    burble_frame frame = text_frame(0, TEXT(" a"));
    frame.u.text.logprobs = some_logprobs(bytes, sizeof bytes);
    ADD(frame);
    ADD(frame);
    ADD(finish_frame(0, BURBLE_FRAME_STOP));
    assert_result(burble__whole_write(whole, &out), BURBLE_OK);
    EXPECT(&out, "{\"id\":\"cmpl-" HEX "\",\"object\":\"text_completion\",\"created\":1790000000,"
                 "\"model\":\"m\\\"1\",\"choices\":[{\"index\":0,\"text\":\" a a\",\"logprobs\":{"
                 "\"tokens\":[\" a\",\"bytes:\\\\xc3\",\" a\",\"bytes:\\\\xc3\"],"
                 "\"token_logprobs\":[-0.25,-2,-0.25,-2],"
                 "\"top_logprobs\":[{\" a\":-0.25,\"b\":-1.5},{},{\" a\":-0.25,\"b\":-1.5},{}],"
                 "\"text_offset\":[0,2,3,5]},\"finish_reason\":\"stop\"}]}");
    burble__whole_destroy(&whole);
    burble__envelope_destroy(&envelope);
}

static void test_answer_above_its_bound_is_refused(void **state)
{
    (void)state;
    char bytes[256];
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    struct burble__envelope *envelope = envelope_of(&begin);
    struct burble__whole *whole;
    assert_result(burble__whole_create(envelope, 5, &whole), BURBLE_OK);
    ADD(begin);
    burble_frame frame = text_frame(0, TEXT("abc"));
    frame.u.text.logprobs = some_logprobs(bytes, sizeof bytes); /* not wanted: not kept */
    ADD(frame);
    assert_result(add(whole, &frame), BURBLE_EFULL);
    burble__whole_destroy(&whole);
    burble__envelope_destroy(&envelope);
}

static void test_wrong_frames_are_refused(void **state)
{
    (void)state;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    const burble_frame beyond = text_frame(1, TEXT("x"));
    struct burble__envelope *envelope = envelope_of(&begin);
    struct burble__whole *whole;
    assert_result(burble__whole_create(envelope, 5, &whole), BURBLE_OK);
    assert_result(add(whole, &beyond), BURBLE_EFORMAT);
    ADD(begin);
    assert_result(add(whole, &beyond), BURBLE_EFORMAT);
    assert_result(add(whole, &begin), BURBLE_EFORMAT);
    burble__whole_destroy(&whole);
    burble__whole_destroy(&whole);
    burble__whole_destroy(NULL);
    burble__envelope_destroy(&envelope);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_of_two_choices),
        cmocka_unit_test(test_completion_with_logprobs),
        cmocka_unit_test(test_answer_above_its_bound_is_refused),
        cmocka_unit_test(test_wrong_frames_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
