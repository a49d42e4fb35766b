/* SPDX-License-Identifier: MIT
 *
 * The bodies of requests: what is read, and each refusal with its words.
 */
#include "protocol.h"

#include <burble/serve.h>

#include "serve/request.h"

/* A backend that can do everything in the table. */
static const burble_serve_model able = {
    .name = "m",
    .chat = true,
    .parameters = BURBLE_SERVE_BIT(BURBLE_SERVE_N_PARAMETERS) - 1,
};
static const burble_serve_model reads_itself = {
    .name = "m", .chat = true, .parameters = BURBLE_SERVE_ANY};

static struct burble__request *parse_at(struct place at, burble_serve_route route, const char *body)
{
    struct burble__request *request;
    struct burble__problem problem = {0};
    if (!burble__request_parse(route, body, strlen(body), 64, &request, &problem))
        fail_at(at, "%s\nexpected a request, found %u %s", body, problem.status, problem.message);
    if (!burble__request_check(request, &able, &problem))
        fail_at(at, "%s\nexpected a request that can be served, found %s", body, problem.message);
    return request;
}
#define CHAT_OF(body) parse_at(HERE, BURBLE_SERVE_CHAT, body)
#define COMPLETION_OF(body) parse_at(HERE, BURBLE_SERVE_COMPLETION, body)

/* The request is refused, by the parser or by the check, with this message and parameter. */
static void refuse_at(struct place at, burble_serve_route route, const char *body, size_t len,
                      const char *message, const char *param)
{
    struct burble__request *request;
    struct burble__problem problem = {0};
    if (burble__request_parse(route, body, len, 64, &request, &problem)
        && burble__request_check(request, &able, &problem)) {
        fail_at(at, "%.*s\nexpected a refusal", (int)len, body);
    }
    burble__request_destroy(&request);
    if (strcmp(problem.message, message) != 0)
        fail_at(at, "%.*s\nexpected %s\nfound    %s", (int)len, body, message, problem.message);
    assert_string_equal_at(at, problem.param, param);
    assert_string_equal_at(at, problem.type, "invalid_request_error");
    assert_true_at(at, problem.status == 400 || problem.status == 413);
}

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define REFUSE(body, message, param)                                                               \
    refuse_at(HERE, BURBLE_SERVE_CHAT, body, strlen(body), message, param)
/* Of a chat with this member beside its messages. */
#define REFUSE_CHAT(member, message, param)                                                        \
    refuse_at(HERE, BURBLE_SERVE_CHAT, "{" MESSAGES "," member "}",                                \
              strlen("{" MESSAGES "," member "}"), message, param)
#define REFUSE_COMPLETION(body, message, param)                                                    \
    refuse_at(HERE, BURBLE_SERVE_COMPLETION, body, strlen(body), message, param)

#define ASSERT_TEXT(found, expected)                                                               \
    do {                                                                                           \
        assert_int_equal((found).len, sizeof(expected) - 1);                                       \
        assert_memory_equal((found).bytes, expected, sizeof(expected) - 1);                        \
    } while (0)

/* ---- what is read ------------------------------------------------------------------------------------- */

static void test_chat_is_read(void **state)
{
    (void)state;
    struct burble__request *request =
        CHAT_OF("{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,"
                "\"include_obfuscation\":false,\"other\":null},\"messages\":["
                "{\"role\":\"developer\",\"content\":\"be brief\",\"name\":\"ann\"},"
                "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\\u0000\"},"
                "{\"type\":\"text\",\"text\":\"b\"}]},"
                "{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"tool_calls\":[],"
                "\"annotations\":[],\"reasoning_content\":\"\"},"
                "{\"role\":\"user\",\"content\":[]}],"
                "\"logprobs\":true,\"top_logprobs\":3,\"n\":2}");
    const burble_serve_request *wanted = &request->wanted;
    assert_string_equal(request->model, "m");
    assert_true(wanted->streamed);
    assert_true(request->include_usage);
    assert_int_equal(wanted->n_messages, 4);
    ASSERT_TEXT(wanted->messages[0].role, "system");
    ASSERT_TEXT(wanted->messages[0].content, "be brief");
    ASSERT_TEXT(wanted->messages[0].name, "ann");
    ASSERT_TEXT(wanted->messages[1].role, "user");
    ASSERT_TEXT(wanted->messages[1].content, "a\0\nb");
    ASSERT_TEXT(wanted->messages[2].content, "");
    ASSERT_TEXT(wanted->messages[3].content, "");
    assert_int_equal(wanted->choices, 2);
    assert_true(burble__request_flags(request)
                == (BURBLE__ANSWER_INCLUDE_USAGE | BURBLE__ANSWER_LOGPROBS
                    | (uint64_t)2 << BURBLE__ANSWER_CHOICES_SHIFT));
    burble__request_destroy(&request);
    assert_null(request);
}

static void test_absent_is_as_null(void **state)
{
    (void)state;
    struct burble__request *request = CHAT_OF(
        "{" MESSAGES ",\"model\":null,\"stream\":null,\"stream_options\":null,\"temperature\":null,"
        "\"stop\":null,\"logit_bias\":null,\"tools\":null,\"nonsense\":null,\"n\":null}");
    assert_null(request->model);
    assert_true(request->wanted.given == 0);
    assert_false(request->wanted.streamed);
    assert_int_equal(request->wanted.choices, 1);
    burble__request_destroy(&request);
}

static void test_prompts_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"prompt\":\"ab\"}", "{\"prompt\":[\"ab\"]}"};
    for (size_t i = 0; i < 2; i++) {
        struct burble__request *request = COMPLETION_OF(texts[i]);
        ASSERT_TEXT(request->wanted.prompt, "ab");
        assert_null(request->wanted.ids);
        burble__request_destroy(&request);
    }
    static const char *const ids[] = {"{\"prompt\":[1,2147483647]}",
                                      "{\"prompt\":[[1,2147483647]]}",
                                      "{\"prompt\":[1.0,2147483647]}"};
    for (size_t i = 0; i < 3; i++) {
        struct burble__request *request = COMPLETION_OF(ids[i]);
        assert_int_equal(request->wanted.n_ids, 2);
        assert_int_equal(request->wanted.ids[0], 1);
        assert_int_equal(request->wanted.ids[1], INT32_MAX);
        burble__request_destroy(&request);
    }
    struct burble__request *request = COMPLETION_OF("{\"prompt\":\"\"}");
    ASSERT_TEXT(request->wanted.prompt, "");
    burble__request_destroy(&request);
}

static void test_several_prompts_are_read_in_order(void **state)
{
    (void)state;
    static const char body[] = "{\"n\":3,\"prompt\":[\"ab\",[1,2],\"\"]}";
    struct burble__request *request;
    struct burble__problem problem = {0};
    burble_serve_model model = able;
    model.parameters |= BURBLE_SERVE_PROMPTS;
    assert_true(
        burble__request_parse(BURBLE_SERVE_COMPLETION, body, strlen(body), 64, &request, &problem));
    const burble_serve_request *wanted = &request->wanted;
    assert_int_equal(wanted->n_prompts, 3);
    assert_int_equal(wanted->choices, 3);
    ASSERT_TEXT(wanted->prompts[0].text, "ab");
    ASSERT_TEXT(wanted->prompt, "ab");
    assert_int_equal(wanted->prompts[1].n_ids, 2);
    assert_int_equal(wanted->prompts[1].ids[1], 2);
    ASSERT_TEXT(wanted->prompts[2].text, "");
    assert_null(wanted->prompts[2].ids);
    assert_int_equal(burble__request_choices(request), 9);
    assert_int_equal(burble__request_flags(request) >> BURBLE__ANSWER_CHOICES_SHIFT, 9);
    assert_true(burble__request_check(request, &model, &problem));
    burble__request_destroy(&request);
}

static void test_echo_is_bounded_and_of_completions(void **state)
{
    (void)state;
    struct burble__request *request = COMPLETION_OF("{\"prompt\":\"ab\",\"echo\":true}");
    assert_true(request->echo);
    burble__request_destroy(&request);
    request = COMPLETION_OF("{\"prompt\":\"ab\",\"echo\":false,\"logprobs\":1}");
    assert_false(request->echo);
    burble__request_destroy(&request);
    REFUSE_COMPLETION("{\"prompt\":\"ab\",\"echo\":1}",
                      "echo: expected true or false, found a number", "echo");
    REFUSE_COMPLETION("{\"prompt\":\"ab\",\"echo\":true,\"logprobs\":1}",
                      "echo: not supported beside logprobs", "echo");
    REFUSE_CHAT("\"echo\":true", "echo: not a parameter of /v1/chat/completions", "echo");
    char *body = malloc(70000);
    const int n = snprintf(body, 70000, "{\"prompt\":\"%065536d\",\"echo\":true,\"n\":4}", 0);
    request = COMPLETION_OF(body);
    burble__request_destroy(&request);
    body[n - 2] = '5';
    REFUSE_COMPLETION(
        body, "echo: expected at most 262144 bytes of prompts, in all choices, found 327680",
        "echo");
    free(body);
}

static void test_logprobs_of_completion_are_a_number(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 3; n++) {
        char body[64];
        snprintf(body, sizeof body, "{\"prompt\":\"\",\"logprobs\":%u}", n);
        struct burble__request *request = COMPLETION_OF(body);
        assert_true(burble_serve_number(&request->wanted, BURBLE_SERVE_LOGPROBS, 0) > 0);
        assert_int_equal(burble_serve_number(&request->wanted, BURBLE_SERVE_TOP_LOGPROBS, 9), n);
        burble__request_destroy(&request);
    }
}

/* Members that clients send without asking for anything. */
static void test_members_that_ask_for_nothing_are_accepted(void **state)
{
    (void)state;
    struct burble__request *request = CHAT_OF(
        "{" MESSAGES ",\"user\":\"ann\",\"safety_identifier\":\"x\",\"prompt_cache_key\":\"x\","
        "\"metadata\":{\"a\":\"b\"},\"parallel_tool_calls\":true,\"store\":false,\"tools\":[],"
        "\"functions\":[],\"tool_choice\":\"none\",\"function_call\":\"auto\","
        "\"service_tier\":\"default\",\"verbosity\":\"medium\",\"modalities\":[\"text\"],"
        "\"id_slot\":-1,\"return_progress\":false,\"timings_per_token\":false,\"stop\":[],"
        "\"logit_bias\":{},\"response_format\":{\"type\":\"text\"},\"grammar\":\"\","
        "\"max_tokens\":-1,\"top_logprobs\":0}");
    assert_int_equal(request->wanted.n_stop, 0);
    burble__request_destroy(&request);
    request = COMPLETION_OF("{\"prompt\":\"\",\"suffix\":\"\",\"echo\":false,\"best_of\":2,\"n\":2,"
                            "\"n_predict\":-1}");
    burble__request_destroy(&request);
}

static void test_neutral_values_need_no_backend(void **state)
{
    (void)state;
    static const burble_serve_model unable = {.name = "m", .chat = true};
    static const char neutral[] =
        "{" MESSAGES ",\"top_p\":1,\"typical_p\":1.0,\"repeat_penalty\":1,\"n\":1,\"seed\":-1,"
        "\"top_k\":0,\"min_p\":0,\"presence_penalty\":0,\"frequency_penalty\":0.0,"
        "\"dry_multiplier\":0,\"mirostat\":0,\"ignore_eos\":false,\"cache_prompt\":false,"
        "\"priority\":0,\"top_logprobs\":0,\"logprobs\":false,\"stop\":[],\"logit_bias\":[],"
        "\"response_format\":{\"type\":\"text\"}}";
    struct burble__request *request;
    struct burble__problem problem;
    assert_true(
        burble__request_parse(BURBLE_SERVE_CHAT, neutral, strlen(neutral), 64, &request, &problem));
    assert_true(burble__request_check(request, &unable, &problem));
    burble__request_destroy(&request);
}

/* ---- what is refused ---------------------------------------------------------------------------------- */

static void test_what_is_no_json_is_refused(void **state)
{
    (void)state;
    REFUSE("", "expected JSON in the body, found nothing", "");
    REFUSE("[]", "expected a JSON object, found a list", "");
    REFUSE("nonsense",
           "the body is not valid JSON: line 1, column 8 (byte 8): '[' or '{' expected near "
           "'nonsense'",
           "");
    REFUSE("{\"a\":1",
           "the body is not valid JSON: line 1, column 6 (byte 6): '}' expected near end of file",
           "");
    REFUSE("{\"a\":1,\"a\":2}",
           "the body is not valid JSON: line 1, column 10 (byte 10): duplicate object key near "
           "'\"a\"'",
           "");
    REFUSE("{\"a\":1} x",
           "the body is not valid JSON: line 1, column 9 (byte 9): end of file expected near 'x'",
           "");
    REFUSE("{\"a\":\"\xff\"}",
           "the body is not valid JSON: line 1, column 6 (byte 6): unable to decode byte 0xff near "
           "'\"'",
           "");
    REFUSE(
        "{\"a\":\"\\ud800\"}",
        "the body is not valid JSON: line 1, column 13 (byte 13): invalid Unicode '\\uD800' near "
        "'\"\\ud800\"'",
        "");
    REFUSE("{\"a\\u0000\":1}",
           "the body is not valid JSON: line 1, column 10 (byte 10): NUL byte in object key not "
           "supported near '\"a\\u0000\"'",
           "");
    REFUSE("{\"temperature\":1e999}",
           "the body is not valid JSON: line 1, column 20 (byte 20): real number overflow near "
           "'1e999'",
           "");
    REFUSE("{\"temperature\":NaN}",
           "the body is not valid JSON: line 1, column 18 (byte 18): invalid token near 'NaN'", "");
    refuse_at(HERE, BURBLE_SERVE_CHAT, "{}\0", 3,
              "the body is not valid JSON: line 1, column 3 (byte 3): end of file expected near "
              "end of file",
              "");
}

static void test_json_beyond_bounds_is_refused_before_it_is_parsed(void **state)
{
    (void)state;
    char deep[200];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    refuse_at(HERE, BURBLE_SERVE_CHAT, deep, sizeof deep,
              "expected JSON nested up to 64 deep, found more at byte 68", "");
    /* Brackets in strings do not count. */
    static const char quoted[] = "{" MESSAGES ",\"user\":\"\\\"[[[[[[[[[[\"}";
    struct burble__request *request;
    struct burble__problem problem;
    assert_true(
        burble__request_parse(BURBLE_SERVE_CHAT, quoted, strlen(quoted), 3, &request, &problem));
    burble__request_destroy(&request);
    assert_false(
        burble__request_parse(BURBLE_SERVE_CHAT, quoted, strlen(quoted), 2, &request, &problem));
    /* A million ids are read, one more is not. */
    const size_t most = BURBLE__BODY_MAX_VALUES - 4;
    char *body = malloc(2 * most + 100);
    assert_non_null(body);
    for (size_t n = most; n <= most + 4; n += 4) {
        size_t len = (size_t)sprintf(body, "{\"prompt\":[");
        for (size_t i = 0; i < n; i++) {
            body[len++] = '1';
            body[len++] = ',';
        }
        len--;
        len += (size_t)sprintf(body + len, "]}");
        const bool ok =
            burble__request_parse(BURBLE_SERVE_COMPLETION, body, len, 64, &request, &problem);
        assert_int_equal(ok, n == most);
        if (ok)
            assert_int_equal(request->wanted.n_ids, n);
        else
            assert_int_equal(problem.status, 413);
        burble__request_destroy(&request);
    }
    /* Lists and objects take more memory, so there may be fewer. */
    size_t len = (size_t)sprintf(body, "{\"prompt\":[");
    for (size_t i = 0; i < BURBLE__BODY_MAX_CONTAINERS; i++)
        len += (size_t)sprintf(body + len, "[],");
    len += (size_t)sprintf(body + len - 1, "]}") - 1;
    refuse_at(HERE, BURBLE_SERVE_COMPLETION, body, len,
              "expected at most 65536 lists and objects in the body, found more", "");
    free(body);
}

static void test_wrong_messages_are_refused(void **state)
{
    (void)state;
    REFUSE("{}", "messages: expected a list of messages, found nothing", "messages");
    REFUSE("{\"messages\":null}", "messages: expected a list of messages, found null", "messages");
    REFUSE("{\"messages\":{}}", "messages: expected a list of messages, found an object",
           "messages");
    REFUSE("{\"messages\":[]}", "messages: expected at least one message, found none", "messages");
    REFUSE("{\"messages\":[1]}", "messages[0]: expected an object, found a number", "messages[0]");
    REFUSE("{\"messages\":[{\"content\":\"x\"}]}",
           "messages[0].role: expected a string, found nothing", "messages[0].role");
    REFUSE("{\"messages\":[{\"role\":\"\",\"content\":\"x\"}]}",
           "messages[0].role: expected the name of a role, found an empty string",
           "messages[0].role");
    REFUSE("{\"messages\":[{\"role\":\"a\\u0000\",\"content\":\"x\"}]}",
           "messages[0].role: expected a string without NUL, found one", "messages[0].role");
    REFUSE("{" MESSAGES ",\"messages \":1}", "messages : not a parameter of /v1/chat/completions",
           "messages ");
    REFUSE("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\",\"content\":"
           "\"x\"},"
           "{\"role\":\"user\",\"content\":1}]}",
           "messages[2].content: expected a string or a list, found a number",
           "messages[2].content");
    REFUSE("{\"messages\":[{\"role\":\"user\"}]}",
           "messages[0].content: expected a string or a list, found nothing",
           "messages[0].content");
    REFUSE("{\"messages\":[{\"role\":\"user\",\"content\":null}]}",
           "messages[0].content: expected a string or a list, found null", "messages[0].content");
    REFUSE("{\"messages\":[{\"role\":\"user\",\"content\":[\"x\"]}]}",
           "messages[0].content[0]: expected an object, found a string", "messages[0].content[0]");
    REFUSE("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":1}]}]}",
           "messages[0].content[0].type: expected a string, found a number",
           "messages[0].content[0].type");
    REFUSE("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
           "messages[0].content[0].text: expected a string, found nothing",
           "messages[0].content[0].text");
    REFUSE("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
           "messages[0].content[0].type: expected \"text\", found \"image_url\"",
           "messages[0].content[0].type");
    REFUSE("{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"name\":[]}]}",
           "messages[0].name: expected a string, found a list", "messages[0].name");
    REFUSE("{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{}]}]}",
           "messages[0].tool_calls: not supported", "messages[0].tool_calls");
    REFUSE("{\"messages\":[{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":\"7\"}]}",
           "messages[0].tool_call_id: not supported", "messages[0].tool_call_id");
}

static void test_wrong_prompts_are_refused(void **state)
{
    (void)state;
    REFUSE_COMPLETION("{}", "prompt: expected a string or a list of ids, found nothing", "prompt");
    REFUSE_COMPLETION("{\"prompt\":{}}",
                      "prompt: expected a string or a list of ids, found an object", "prompt");
    REFUSE_COMPLETION("{\"prompt\":[]}", "prompt: expected at least one id, found none", "prompt");
    REFUSE_COMPLETION("{\"prompt\":[[]]}", "prompt[0]: expected at least one id, found none",
                      "prompt[0]");
    REFUSE_COMPLETION("{\"prompt\":[\"a\",\"b\"]}",
                      "prompt: expected one prompt for the model m, found a list of 2", "prompt");
    REFUSE_COMPLETION("{\"prompt\":[\"a\",3]}",
                      "prompt[1]: expected a string or a list of ids, found a number", "prompt[1]");
    REFUSE_COMPLETION("{\"prompt\":[\"a\",\"b\"],\"n\":65}",
                      "prompt: expected at most 128 choices in all, found 2 prompts with 65 each",
                      "prompt");
    REFUSE_COMPLETION("{\"prompt\":[1,\"b\"]}", "prompt[1]: expected an integer, found a string",
                      "prompt[1]");
    REFUSE_COMPLETION("{\"prompt\":[-1]}",
                      "prompt[0]: expected an integer from 0 to 2147483647, found -1", "prompt[0]");
    REFUSE_COMPLETION("{\"prompt\":[1.5]}",
                      "prompt[0]: expected an integer from 0 to 2147483647, found 1.5",
                      "prompt[0]");
    REFUSE_COMPLETION("{\"prompt\":[[2147483648]]}",
                      "prompt[0][0]: expected an integer from 0 to 2147483647, found 2147483648",
                      "prompt[0][0]");
    REFUSE_COMPLETION("{\"prompt\":\"\",\"messages\":[]}",
                      "messages: not a parameter of /v1/completions", "messages");
    REFUSE_COMPLETION("{\"prompt\":\"\",\"suffix\":\"x\"}", "suffix: not supported", "suffix");
    REFUSE_COMPLETION("{\"prompt\":\"\",\"best_of\":3,\"n\":2}",
                      "best_of: expected the same as n, found 3", "best_of");
    REFUSE_COMPLETION("{\"prompt\":\"\",\"best_of\":0}",
                      "best_of: expected an integer from 1 to 128, found 0", "best_of");
    REFUSE_COMPLETION("{\"prompt\":\"\",\"top_logprobs\":1}",
                      "top_logprobs: not a parameter of /v1/completions", "top_logprobs");
    REFUSE_COMPLETION("{\"prompt\":\"\",\"logprobs\":true}",
                      "logprobs: expected an integer, found true", "logprobs");
    REFUSE_COMPLETION("{\"prompt\":\"\",\"logprobs\":21}",
                      "logprobs: expected an integer from 0 to 20, found 21", "logprobs");
}

static void test_other_members_are_refused_by_name(void **state)
{
    (void)state;
    REFUSE_CHAT("\"model\":1", "model: expected a string, found a number", "model");
    REFUSE_CHAT("\"model\":\"a\\u0000\"", "model: expected a string without NUL, found one",
                "model");
    REFUSE_CHAT("\"stream\":\"yes\"", "stream: expected true or false, found a string", "stream");
    REFUSE_CHAT("\"stream_options\":{}", "stream_options: needs \"stream\": true",
                "stream_options");
    REFUSE_CHAT("\"stream\":true,\"stream_options\":[]",
                "stream_options: expected an object, found a list", "stream_options");
    REFUSE_CHAT("\"stream\":true,\"stream_options\":{\"include_usage\":1}",
                "stream_options.include_usage: expected true or false, found a number",
                "stream_options.include_usage");
    REFUSE_CHAT("\"stream\":true,\"stream_options\":{\"x\":1}", "stream_options.x: not supported",
                "stream_options.x");
    REFUSE_CHAT("\"tools\":[{}]", "tools: not supported", "tools");
    REFUSE_CHAT("\"tool_choice\":\"required\"", "tool_choice: not supported", "tool_choice");
    REFUSE_CHAT("\"store\":true", "store: not supported", "store");
    REFUSE_CHAT("\"user\":1", "user: not supported", "user");
    REFUSE_CHAT("\"modalities\":[\"text\",\"audio\"]", "modalities: not supported", "modalities");
    REFUSE_CHAT("\"prompt\":\"x\"", "prompt: not a parameter of /v1/chat/completions", "prompt");
    REFUSE_CHAT("\"best_of\":1", "best_of: not a parameter of /v1/chat/completions", "best_of");
    REFUSE_CHAT("\"temprature\":1", "temprature: not a parameter of /v1/chat/completions",
                "temprature");
    REFUSE_CHAT("\"first\":1,\"second\":2", "first: not a parameter of /v1/chat/completions",
                "first");
}

static void test_backend_that_reads_the_body_gets_all(void **state)
{
    (void)state;
    static const char body[] = "{" MESSAGES ",\"tools\":[{}],\"temprature\":2,\"temperature\":1,"
                               "\"response_format\":{\"type\":\"other\"}}";
    struct burble__request *request;
    struct burble__problem problem;
    assert_true(
        burble__request_parse(BURBLE_SERVE_CHAT, body, strlen(body), 64, &request, &problem));
    assert_false(burble__request_check(request, &able, &problem));
    assert_string_equal(problem.message, "tools: not supported");
    /* But not parameters of the table that it does not honour. */
    assert_false(burble__request_check(request, &reads_itself, &problem));
    assert_string_equal(problem.message, "temperature: the model m does not support it");
    burble_serve_model model = reads_itself;
    model.parameters |= BURBLE_SERVE_BIT(BURBLE_SERVE_TEMPERATURE);
    assert_true(burble__request_check(request, &model, &problem));
    assert_memory_equal(request->wanted.body.bytes, body, strlen(body));
    burble__request_destroy(&request);
    /* A schema of which no grammar can be made, too. */
    static const char schema[] = "{" MESSAGES ",\"json_schema\":{\"not\":{}}}";
    assert_true(
        burble__request_parse(BURBLE_SERVE_CHAT, schema, strlen(schema), 64, &request, &problem));
    model.parameters |= BURBLE_SERVE_BIT(BURBLE_SERVE_RESPONSE_FORMAT);
    assert_true(burble__request_check(request, &model, &problem));
    assert_true(request->wanted.json_schema);
    assert_int_equal(request->wanted.grammar.len, 0);
    burble__request_destroy(&request);
}

static void test_model_without_template_has_no_chats(void **state)
{
    (void)state;
    static const burble_serve_model model = {.name = "base"};
    struct burble__request *request = CHAT_OF("{" MESSAGES "}");
    struct burble__problem problem;
    assert_false(burble__request_check(request, &model, &problem));
    assert_string_equal(problem.message,
                        "messages: the model base has no chat template; use /v1/completions");
    assert_string_equal(problem.code, "no_chat_template");
    burble__request_destroy(&request);
    request = COMPLETION_OF("{\"prompt\":\"x\"}");
    assert_true(burble__request_check(request, &model, &problem));
    burble__request_destroy(&request);
    burble__request_destroy(&request);
    burble__request_destroy(NULL);
}

/* Every beginning of a body, and every body with one byte changed, is read or refused. */
static void test_damaged_bodies_are_read_or_refused(void **state)
{
    (void)state;
    static const char body[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":"
        "\"\\ud83d\\ude00\"}]}],\"n\":2,\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"1\":-1},"
        "\"temperature\":0.5,\"response_format\":{\"type\":\"json_object\",\"schema\":{\"type\":"
        "\"integer\",\"minimum\":-5}}}";
    static const char changes[] = "{}[]\",:0-9e.\\\xff\x01tn";
    struct burble__request *request;
    struct burble__problem problem;
    for (size_t len = 0; len < sizeof body - 1; len++) {
        char *exact = malloc(len + 1); /* so that ASan sees a byte too many */
        assert_non_null(exact);
        memcpy(exact, body, len);
        assert_false(burble__request_parse(BURBLE_SERVE_CHAT, exact, len, 64, &request, &problem));
        assert_null(request);
        assert_int_equal(problem.status, 400);
        for (size_t i = 0; i < sizeof changes - 1; i++) {
            char changed[sizeof body];
            memcpy(changed, body, sizeof body);
            changed[len] = changes[i];
            burble__request_parse(i % 2 == 0 ? BURBLE_SERVE_CHAT : BURBLE_SERVE_COMPLETION, changed,
                                  sizeof body - 1, 64, &request, &problem);
            burble__request_destroy(&request);
        }
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_is_read),
        cmocka_unit_test(test_absent_is_as_null),
        cmocka_unit_test(test_prompts_are_read),
        cmocka_unit_test(test_several_prompts_are_read_in_order),
        cmocka_unit_test(test_echo_is_bounded_and_of_completions),
        cmocka_unit_test(test_logprobs_of_completion_are_a_number),
        cmocka_unit_test(test_members_that_ask_for_nothing_are_accepted),
        cmocka_unit_test(test_neutral_values_need_no_backend),
        cmocka_unit_test(test_what_is_no_json_is_refused),
        cmocka_unit_test(test_json_beyond_bounds_is_refused_before_it_is_parsed),
        cmocka_unit_test(test_wrong_messages_are_refused),
        cmocka_unit_test(test_wrong_prompts_are_refused),
        cmocka_unit_test(test_other_members_are_refused_by_name),
        cmocka_unit_test(test_backend_that_reads_the_body_gets_all),
        cmocka_unit_test(test_model_without_template_has_no_chats),
        cmocka_unit_test(test_damaged_bodies_are_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
