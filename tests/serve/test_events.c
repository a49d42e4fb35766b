/* SPDX-License-Identifier: MIT
 *
 * The events of answers: the bytes of each, in the three forms.
 */
#include "protocol.h"

#include "serve/logprobs.h"

#include <math.h>

/* An answer as a client gets it. */
struct client {
    struct burble__envelope *envelope;
    struct burble__tally tally;
    struct burble__buffer out;
    enum burble__form form;
};

/* Counts a frame and appends its event. */
static int take(struct client *client, const burble_frame *frame)
{
    char bytes[8192];
    burble_frame read;
    const size_t len = burble_frame_write(frame, bytes, sizeof bytes);
    assert_true(len <= sizeof bytes);
    assert_result(burble_frame_read(bytes, len, &read), BURBLE_OK);
    const int result = burble__tally_add(&client->tally, client->envelope, bytes, len, &read);
    return result != BURBLE_OK ? result
                               : burble__event_write(client->envelope, client->form, &read,
                                                     &client->tally, &client->out);
}

static void open_client(struct client *client, const burble_frame *begin, enum burble__form form,
                        bool hashes)
{
    assert_result(burble__envelope_create(begin, &client->envelope), BURBLE_OK);
    burble__tally_init(&client->tally, hashes);
    burble__buffer_init(&client->out, 1 << 20);
    client->form = form;
    assert_result(take(client, begin), BURBLE_OK);
}

static void close_client(struct client *client)
{
    burble__buffer_finish(&client->out);
    burble__tally_finish(&client->tally);
    burble__envelope_destroy(&client->envelope);
}

#define TAKE(...) assert_result(take(&client, &(burble_frame[]){__VA_ARGS__}[0]), BURBLE_OK)

static const burble_status ended = {.state = BURBLE_ENDED, .message = ""};

static bool end(struct client *client, const burble_status *status)
{
    bool clean;
    assert_result(burble__event_end(client->envelope, client->form, &client->tally, status,
                                    &client->out, &clean),
                  BURBLE_OK);
    return clean;
}

#define CHAT                                                                                       \
    "data: {\"id\":\"chatcmpl-" HEX "\",\"object\":\"chat.completion.chunk\","                     \
    "\"created\":1790000000,\"model\":\"m\\\"1\",\"choices\":["
#define COMPLETION                                                                                 \
    "data: {\"id\":\"cmpl-" HEX "\",\"object\":\"text_completion\",\"created\":1790000000,"        \
    "\"model\":\"m\\\"1\",\"choices\":["
#define ROLE(index)                                                                                \
    "{\"index\":" index ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"                    \
    "\"logprobs\":null,\"finish_reason\":null}"
#define DELTA(index, text)                                                                         \
    "{\"index\":" index ",\"delta\":{\"content\":\"" text "\"},\"logprobs\":null,"                 \
    "\"finish_reason\":null}"
#define REASON(index, reason)                                                                      \
    "{\"index\":" index ",\"delta\":{},\"logprobs\":null,\"finish_reason\":\"" reason "\"}"

static void test_chat_in_openai_form(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    open_client(&client, &begin, BURBLE__FORM_OPENAI, false);
    EXPECT(&client.out, CHAT ROLE("0") "]}\n\n");
    TAKE(text_frame(0, TEXT("\"H\xc3\xa9\"\n")));
    EXPECT(&client.out, CHAT DELTA("0", "\\\"H\xc3\xa9\\\"\\n") "]}\n\n");
    TAKE(text_frame(0, TEXT("")));
    EXPECT(&client.out, "");
    TAKE(finish_frame(0, BURBLE_FRAME_STOP));
    EXPECT(&client.out, CHAT REASON("0", "stop") "]}\n\n");
    TAKE(usage_frame());
    EXPECT(&client.out, "");
    assert_true(end(&client, &ended));
    EXPECT(&client.out, "data: [DONE]\n\n");
    close_client(&client);
}

static void test_chat_of_several_choices_with_usage(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 12, BURBLE__ANSWER_INCLUDE_USAGE);
    open_client(&client, &begin, BURBLE__FORM_OPENAI, false);
    EXPECT(
        &client.out,
        CHAT
            ROLE("0") "," ROLE("1") "," ROLE("2") "," ROLE("3") "," ROLE("4") "," ROLE("5") "," ROLE(
                "6") "," ROLE("7") "," ROLE("8") "," ROLE("9") "," ROLE("10") "," ROLE("11") "],"
                                                                                             "\"usa"
                                                                                             "ge\":"
                                                                                             "null}"
                                                                                             "\n"
                                                                                             "\n");
    TAKE(text_frame(11, TEXT("x")));
    EXPECT(&client.out, CHAT DELTA("11", "x") "],\"usage\":null}\n\n");
    for (uint32_t i = 0; i < 12; i++) {
        TAKE(finish_frame(i, i % 2 == 0 ? BURBLE_FRAME_LENGTH : BURBLE_FRAME_STOP));
        burble__buffer_finish(&client.out);
        assert_int_equal(burble__tally_is_complete(&client.tally, client.envelope), i == 11);
    }
    TAKE(usage_frame());
    EXPECT(&client.out, CHAT "],\"usage\":" USAGE ",\"timings\":" TIMINGS "}\n\n");
    close_client(&client);
}

static void test_completion_in_openai_form(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_COMPLETION, 0, 0);
    open_client(&client, &begin, BURBLE__FORM_OPENAI, false);
    EXPECT(&client.out, "");
    TAKE(text_frame(0, TEXT(" a")));
    EXPECT(&client.out, COMPLETION
           "{\"index\":0,\"text\":\" a\",\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    TAKE(finish_frame(0, BURBLE_FRAME_LENGTH));
    EXPECT(&client.out, COMPLETION
           "{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"length\"}]}\n\n");
    close_client(&client);
}

static void test_own_form(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 2, 0);
    open_client(&client, &begin, BURBLE__FORM_OWN, false);
    EXPECT(&client.out, "event: begin\ndata: {\"id\":\"chatcmpl-" HEX
                        "\",\"created\":1790000000,\"model\":\"m\\\"1\"}\n\n");
    TAKE(text_frame(1, TEXT("a\nb")));
    EXPECT(&client.out, "data: {\"index\":1,\"text\":\"a\\nb\"}\n\n");
    TAKE(finish_frame(1, BURBLE_FRAME_STOP));
    TAKE(finish_frame(0, BURBLE_FRAME_LENGTH));
    EXPECT(&client.out, "");
    struct burble__tally without = client.tally;
    assert_result(
        burble__event_end(client.envelope, client.form, &without, &ended, &client.out, NULL),
        BURBLE_OK);
    EXPECT(&client.out, "event: end\ndata: {\"reasons\":[\"length\",\"stop\"],\"usage\":null}\n\n");
    TAKE(usage_frame());
    EXPECT(&client.out, "");
    assert_true(end(&client, &ended));
    EXPECT(&client.out, "event: end\ndata: {\"reasons\":[\"length\",\"stop\"],\"usage\":" USAGE
                        ",\"timings\":" TIMINGS "}\n\n");
    close_client(&client);
}

/* Each event has the position of its frame; the end has the number of frames. */
static void test_events_have_positions(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    const burble_frame frames[] = {begin, text_frame(0, TEXT("a")), text_frame(0, TEXT("")),
                                   finish_frame(0, BURBLE_FRAME_STOP)};
    for (unsigned form = 0; form < 2; form++) {
        uint32_t hash = BURBLE_FRAME_HASH;
        open_client(&client, &begin, (enum burble__form)form, true);
        for (size_t i = 0; i < 4; i++) {
            char bytes[1024], id[80];
            if (i > 0)
                assert_result(take(&client, &frames[i]), BURBLE_OK);
            hash =
                burble_frame_hash(hash, bytes, burble_frame_write(&frames[i], bytes, sizeof bytes));
            assert_int_equal(client.tally.hash, hash);
            snprintf(id, sizeof id, "id: " HEX ":%012zu_%08x\n", i, hash);
            if (client.out.len > 0)
                assert_memory_equal(client.out.bytes, id, strlen(id));
            else
                assert_true(i == 2 || (i == 3 && form == BURBLE__FORM_OWN));
            client.out.len = 0;
        }
        assert_true(end(&client, &ended));
        if (form == BURBLE__FORM_OPENAI) {
            EXPECT(&client.out, "data: [DONE]\n\n");
        } else {
            char expected[200];
            snprintf(expected, sizeof expected,
                     "id: " HEX ":000000000004_%08x\nevent: end\ndata: {\"reasons\":[\"stop\"],"
                     "\"usage\":null}\n\n",
                     hash);
            EXPECT(&client.out, expected);
        }
        close_client(&client);
    }
}

static void test_answer_with_another_id_has_no_positions(void **state)
{
    (void)state;
    struct client client;
    burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    begin.u.begin.id = TEXT("else");
    open_client(&client, &begin, BURBLE__FORM_OPENAI, true);
    assert_memory_equal(client.out.bytes, "data: {\"id\":\"else\"", 17);
    close_client(&client);
}

#define CHAT_LOGPROBS                                                                              \
    "{\"content\":[{\"token\":\" a\",\"logprob\":-0.25,\"bytes\":[32,97],\"top_logprobs\":["       \
    "{\"token\":\" a\",\"logprob\":-0.25,\"bytes\":[32,97]},"                                      \
    "{\"token\":\"b\",\"logprob\":-1.5,\"bytes\":[98]}]},"                                         \
    "{\"token\":\"\xef\xbf\xbd\",\"logprob\":-2,\"bytes\":[195],\"top_logprobs\":[]}],"            \
    "\"refusal\":null}"

static void test_logprobs_of_chat(void **state)
{
    (void)state;
    struct client client;
    char bytes[256];
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, BURBLE__ANSWER_LOGPROBS);
    open_client(&client, &begin, BURBLE__FORM_OPENAI, false);
    burble__buffer_finish(&client.out);
    burble_frame frame = text_frame(0, TEXT(" a"));
    frame.u.text.logprobs = some_logprobs(bytes, sizeof bytes);
    TAKE(frame);
    EXPECT(&client.out,
           CHAT "{\"index\":0,\"delta\":{\"content\":\" a\"},\"logprobs\":" CHAT_LOGPROBS
                ",\"finish_reason\":null}]}\n\n");
    /* Text that is held back: its probabilities are not. */
    frame.u.text.text = TEXT("");
    TAKE(frame);
    EXPECT(&client.out, CHAT "{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":" CHAT_LOGPROBS
                             ",\"finish_reason\":null}]}\n\n");
    close_client(&client);
    /* Not asked for. */
    const burble_frame without = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    open_client(&client, &without, BURBLE__FORM_OPENAI, false);
    burble__buffer_finish(&client.out);
    TAKE(frame);
    EXPECT(&client.out, "");
    close_client(&client);
}

#define COLUMNS(first, second)                                                                     \
    "{\"tokens\":[\" a\",\"bytes:\\\\xc3\"],\"token_logprobs\":[-0.25,-2],"                        \
    "\"top_logprobs\":[{\" a\":-0.25,\"b\":-1.5},{}],\"text_offset\":[" first "," second "]}"

static void test_logprobs_of_completion_count_characters(void **state)
{
    (void)state;
    for (uint32_t choices = 1; choices <= 2; choices++) {
        struct client client;
        char bytes[256];
        const burble_frame begin =
            begin_frame(BURBLE_SERVE_COMPLETION, choices, BURBLE__ANSWER_LOGPROBS);
        open_client(&client, &begin, BURBLE__FORM_OPENAI, false);
        burble_frame frame = text_frame(choices - 1, TEXT(" a"));
        frame.u.text.logprobs = some_logprobs(bytes, sizeof bytes);
        TAKE(frame);
        client.out.len = 0;
        TAKE(frame);
        static const char expected[] = "\"logprobs\":" COLUMNS("3", "5");
        client.out.bytes[client.out.len - 1] = '\0';
        assert_non_null(strstr(client.out.bytes, expected));
        if (choices == 2) { /* the other one is counted by itself */
            client.out.len = 0;
            frame.choice = 0;
            TAKE(frame);
            client.out.bytes[client.out.len - 1] = '\0';
            assert_non_null(strstr(client.out.bytes, "\"text_offset\":[0,2]"));
        }
        close_client(&client);
    }
}

static void test_impossible_token_has_a_finite_logprob(void **state)
{
    (void)state;
    static const float values[] = {-INFINITY, -1e9f, NAN, 0.5f, -0.0f};
    static const char *const texts[] = {"-9999", "-9999", "-9999", "0", "0"};
    for (size_t i = 0; i < 5; i++) {
        char bytes[64], expected[200];
        const burble_logprob entry = {.id = 1, .logprob = values[i], .text = TEXT("x")};
        const size_t len = burble_logprob_write(&entry, false, bytes, sizeof bytes);
        NEW_BUFFER(out);
        struct burble__output output = {&out, BURBLE_OK};
        burble__logprobs_write(BURBLE_SERVE_CHAT, (burble_text){bytes, len}, 0, &output);
        assert_int_equal(output.result, BURBLE_OK);
        snprintf(expected, sizeof expected,
                 "{\"content\":[{\"token\":\"x\",\"logprob\":%s,\"bytes\":[120],"
                 "\"top_logprobs\":[]}],\"refusal\":null}",
                 texts[i]);
        EXPECT(&out, expected);
    }
}

static void test_failure_is_an_error_without_done(void **state)
{
    (void)state;
    static const struct {
        burble_status status;
        const char *error;
    } cases[] = {
        {{.state = BURBLE_FAILED, .code = BURBLE_EFAILED, .message = "boom\n"},
         "{\"error\":{\"message\":\"boom\\n\",\"type\":\"server_error\",\"param\":null,"
         "\"code\":null}}\n\n"},
        {{.state = BURBLE_CANCELLED, .message = ""},
         "{\"error\":{\"message\":\"the answer was cancelled\",\"type\":\"cancelled_error\","
         "\"param\":null,\"code\":\"cancelled\"}}\n\n"},
        {{.state = BURBLE_ENDED, .message = ""},
         "{\"error\":{\"message\":\"the answer ended with 0 of 1 choices finished\","
         "\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n"},
    };
    for (size_t i = 0; i < 3; i++) {
        struct client client;
        char expected[400];
        const burble_frame begin = begin_frame(BURBLE_SERVE_COMPLETION, 1, 0);
        open_client(&client, &begin, BURBLE__FORM_OPENAI, true);
        assert_false(end(&client, &cases[i].status));
        snprintf(expected, sizeof expected, "data: %s", cases[i].error);
        EXPECT(&client.out, expected);
        client.form = BURBLE__FORM_OWN;
        assert_false(end(&client, &cases[i].status));
        snprintf(expected, sizeof expected,
                 "id: " HEX ":000000000001_%08x\nevent: failed\ndata: %s", client.tally.hash,
                 cases[i].error);
        EXPECT(&client.out, expected);
        close_client(&client);
    }
}

static void test_wrong_order_of_frames_is_refused(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 2, 0);
    open_client(&client, &begin, BURBLE__FORM_OPENAI, false);
    const burble_frame beyond = text_frame(2, TEXT("x"));
    assert_result(take(&client, &begin), BURBLE_EFORMAT);
    assert_result(take(&client, &beyond), BURBLE_EFORMAT);
    TAKE(finish_frame(1, BURBLE_FRAME_STOP));
    const burble_frame late = text_frame(1, TEXT("x"));
    const burble_frame again = finish_frame(1, BURBLE_FRAME_STOP);
    assert_result(take(&client, &late), BURBLE_EFORMAT);
    assert_result(take(&client, &again), BURBLE_EFORMAT);
    TAKE(usage_frame());
    const burble_frame usage = usage_frame();
    assert_result(take(&client, &usage), BURBLE_EFORMAT);
    assert_true(client.tally.frames == 3);
    close_client(&client);
    /* The first frame is begin. */
    assert_result(burble__envelope_create(&begin, &client.envelope), BURBLE_OK);
    burble__tally_init(&client.tally, false);
    assert_result(take(&client, &beyond), BURBLE_EFORMAT);
    burble__envelope_destroy(&client.envelope);
}

static void test_unknown_kind_makes_no_event_but_counts(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    open_client(&client, &begin, BURBLE__FORM_OPENAI, true);
    client.out.len = 0;
    burble_frame frame;
    static const char bytes[] = "\x63what";
    const uint32_t before = client.tally.hash;
    assert_result(burble_frame_read(bytes, 5, &frame), BURBLE_EUNSUPPORTED);
    assert_result(burble__tally_add(&client.tally, client.envelope, bytes, 5, &frame), BURBLE_OK);
    assert_result(
        burble__event_write(client.envelope, client.form, &frame, &client.tally, &client.out),
        BURBLE_OK);
    EXPECT(&client.out, "");
    assert_true(client.tally.frames == 2);
    assert_int_equal(client.tally.hash, burble_frame_hash(before, bytes, 5));
    close_client(&client);
}

static void test_envelope_of_other_frames_is_refused(void **state)
{
    (void)state;
    struct burble__envelope *envelope;
    burble_frame frame = text_frame(0, TEXT("x"));
    assert_result(burble__envelope_create(&frame, &envelope), BURBLE_EFORMAT);
    assert_null(envelope);
    frame = begin_frame(BURBLE_SERVE_CHAT, 129, 0);
    assert_result(burble__envelope_create(&frame, &envelope), BURBLE_EFORMAT);
    frame = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    frame.u.begin.route = 3;
    assert_result(burble__envelope_create(&frame, &envelope), BURBLE_EFORMAT);
    burble__envelope_destroy(&envelope);
    burble__envelope_destroy(NULL);
}

/* Whole answers, with text of many lengths, into buffers of every size up to what they need. */
static void test_full_buffer_leaves_whole_events(void **state)
{
    (void)state;
    char text[1500], logprobs[256];
    memset(text, '\n', sizeof text);
    for (unsigned form = 0; form < 2; form++)
        for (size_t len = 0; len <= sizeof text; len += 500) {
            struct client client;
            const burble_frame begin = begin_frame(
                BURBLE_SERVE_CHAT, 1, BURBLE__ANSWER_LOGPROBS | BURBLE__ANSWER_INCLUDE_USAGE);
            open_client(&client, &begin, (enum burble__form)form, true);
            burble_frame frames[4] = {begin, text_frame(0, (burble_text){text, len}),
                                      finish_frame(0, BURBLE_FRAME_STOP), usage_frame()};
            frames[1].u.text.logprobs = some_logprobs(logprobs, sizeof logprobs);
            for (size_t i = 1; i < 4; i++) {
                assert_result(take(&client, &frames[i]), BURBLE_OK);
                NEW_BUFFER(whole);
                assert_result(burble__event_write(client.envelope, client.form, &frames[i],
                                                  &client.tally, &whole),
                              BURBLE_OK);
                for (size_t room = 0; room < 16000; room += 97) {
                    struct burble__buffer small;
                    burble__buffer_init(&small, room);
                    const int result = burble__event_write(client.envelope, client.form, &frames[i],
                                                           &client.tally, &small);
                    if (result == BURBLE_OK)
                        assert_int_equal(small.len, whole.len);
                    else
                        assert_true(result == BURBLE_ENOMEM && small.len == 0);
                    if (result == BURBLE_OK && small.len > 0)
                        assert_memory_equal(small.bytes, whole.bytes, small.len);
                    burble__buffer_finish(&small);
                }
                burble__buffer_finish(&whole);
            }
            for (size_t room = 0; room < 2000; room += 29) {
                struct burble__buffer small;
                burble__buffer_init(&small, room);
                const int result = burble__event_end(client.envelope, client.form, &client.tally,
                                                     &ended, &small, NULL);
                assert_true(result == BURBLE_OK ? small.len > 0 : small.len == 0);
                burble__buffer_finish(&small);
            }
            close_client(&client);
        }
}

static void test_event_in_a_buffer_with_room_allocates_nothing(void **state)
{
    (void)state;
    struct client client;
    const burble_frame begin = begin_frame(BURBLE_SERVE_CHAT, 1, 0);
    open_client(&client, &begin, BURBLE__FORM_OPENAI, true);
    assert_result(burble__buffer_reserve(&client.out, 8192), BURBLE_OK);
    const char *const bytes = client.out.bytes;
    const size_t capacity = client.out.capacity;
    for (unsigned i = 0; i < 1000; i++) {
        client.out.len = 0;
        TAKE(text_frame(0, TEXT("a \"token\"\n")));
        assert_ptr_equal(client.out.bytes, bytes);
        assert_int_equal(client.out.capacity, capacity);
    }
    close_client(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_in_openai_form),
        cmocka_unit_test(test_chat_of_several_choices_with_usage),
        cmocka_unit_test(test_completion_in_openai_form),
        cmocka_unit_test(test_own_form),
        cmocka_unit_test(test_events_have_positions),
        cmocka_unit_test(test_answer_with_another_id_has_no_positions),
        cmocka_unit_test(test_logprobs_of_chat),
        cmocka_unit_test(test_logprobs_of_completion_count_characters),
        cmocka_unit_test(test_impossible_token_has_a_finite_logprob),
        cmocka_unit_test(test_failure_is_an_error_without_done),
        cmocka_unit_test(test_wrong_order_of_frames_is_refused),
        cmocka_unit_test(test_unknown_kind_makes_no_event_but_counts),
        cmocka_unit_test(test_envelope_of_other_frames_is_refused),
        cmocka_unit_test(test_full_buffer_leaves_whole_events),
        cmocka_unit_test(test_event_in_a_buffer_with_room_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
