/* SPDX-License-Identifier: MIT
 *
 * OpenAI's error object, and the statuses of backends' results.
 */
#include "protocol.h"

static void test_problem_is_openai_error_object(void **state)
{
    (void)state;
    struct burble__problem problem;
    NEW_BUFFER(out);
    assert_false(burble__problem_set(&problem, 404, "model_not_found", "model",
                                     "model: expected \"%s\"", "m"));
    assert_int_equal(burble__problem_write(&problem, &out), BURBLE_OK);
    EXPECT(&out,
           "{\"error\":{\"message\":\"model: expected \\\"m\\\"\",\"type\":\"not_found_error\","
           "\"param\":\"model\",\"code\":\"model_not_found\"}}");
    burble__problem_set(&problem, 500, NULL, NULL, "boom");
    assert_int_equal(burble__problem_write(&problem, &out), BURBLE_OK);
    EXPECT(&out, "{\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"param\":null,"
                 "\"code\":null}}");
}

static void test_each_status_has_a_phrase_and_a_type(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *phrase, *type;
    } cases[] = {
        {400, "Bad Request", "invalid_request_error"},
        {401, "Unauthorized", "authentication_error"},
        {404, "Not Found", "not_found_error"},
        {405, "Method Not Allowed", "invalid_request_error"},
        {409, "Conflict", "conflict_error"},
        {410, "Gone", "gone_error"},
        {413, "Content Too Large", "invalid_request_error"},
        {429, "Too Many Requests", "rate_limit_error"},
        {500, "Internal Server Error", "server_error"},
        {503, "Service Unavailable", "unavailable_error"},
        {599, "Unknown", "server_error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__problem problem;
        burble__problem_set(&problem, cases[i].status, NULL, NULL, "x");
        assert_string_equal(problem.type, cases[i].type);
        assert_string_equal(burble__status_phrase(cases[i].status), cases[i].phrase);
        assert_int_equal(problem.retry_after > 0, cases[i].status == 429 || cases[i].status == 503);
    }
}

static void test_result_of_backend_has_its_status(void **state)
{
    (void)state;
    static const struct {
        int result;
        unsigned status;
    } cases[] = {
        {BURBLE_EINVAL, 400},  {BURBLE_EUNSUPPORTED, 400}, {BURBLE_ETOOLONG, 400},
        {BURBLE_EFULL, 429},   {BURBLE_ECLOSED, 503},      {BURBLE_ENOMEM, 503},
        {BURBLE_EFAILED, 500}, {BURBLE_EDIED, 500},        {-12345, 500},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__problem problem;
        burble__problem_of_result(&problem, cases[i].result, NULL);
        assert_int_equal(problem.status, cases[i].status);
        assert_string_equal(problem.message, burble_result_text(cases[i].result));
        const burble_error error = {.message = "its own words"};
        burble__problem_of_result(&problem, cases[i].result, &error);
        assert_string_equal(problem.message, "its own words");
        assert_string_equal(problem.param, "");
    }
}

static void test_prompt_above_context_has_code_of_openai(void **state)
{
    (void)state;
    struct burble__problem problem;
    const burble_error error = {.message = "prompt: expected at most 7 tokens, found 8"};
    burble__problem_of_result(&problem, BURBLE_ETOOLONG, &error);
    assert_string_equal(problem.code, "context_length_exceeded");
    assert_string_equal(problem.param, "prompt");
    assert_string_equal(problem.type, "invalid_request_error");
    burble__problem_of_result(&problem, BURBLE_EINVAL, &error);
    assert_null(problem.code);
}

static void test_name_before_colon_is_param(void **state)
{
    (void)state;
    static const struct {
        const char *message, *param;
    } cases[] = {
        {"grammar: expected a rule named root, found none", "grammar"},
        {"messages[2].content: expected less", "messages[2].content"},
        {"top_k: no", "top_k"},
        {"Grammar: no", ""},
        {"the prompt: is long", ""},
        {"prompt:is long", ""},
        {"prompt", ""},
        {": x", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct burble__problem problem;
        burble_error error = {0};
        snprintf(error.message, sizeof error.message, "%s", cases[i].message);
        burble__problem_of_result(&problem, BURBLE_EINVAL, &error);
        assert_string_equal(problem.param, cases[i].param);
    }
}

static void test_end_of_stream_has_its_status(void **state)
{
    (void)state;
    struct burble__problem problem;
    burble__problem_of_status(&problem, &(burble_status){.state = BURBLE_CANCELLED});
    assert_int_equal(problem.status, 499);
    assert_string_equal(problem.message, "the answer was cancelled");
    burble__problem_of_status(
        &problem,
        &(burble_status){.state = BURBLE_FAILED, .code = BURBLE_ETIMEDOUT, .message = "too slow"});
    assert_int_equal(problem.status, 504);
    assert_string_equal(problem.message, "too slow");
    burble__problem_of_status(
        &problem,
        &(burble_status){.state = BURBLE_FAILED, .code = BURBLE_ETIMEDOUT, .message = ""});
    assert_string_equal(problem.message, burble_result_text(BURBLE_ETIMEDOUT));
    burble__problem_of_status(
        &problem, &(burble_status){.state = BURBLE_FAILED, .code = BURBLE_EDIED, .message = ""});
    assert_int_equal(problem.status, 500);
}

static void test_long_message_and_param_are_cut_at_a_character(void **state)
{
    (void)state;
    char text[1200];
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 3);
    struct burble__problem problem;
    burble__problem_set(&problem, 400, NULL, text, "x%s", text);
    assert_int_equal(strlen(problem.message) % 2, 1);
    assert_int_equal(strlen(problem.param) % 2, 0);
    assert_true(strlen(problem.message) > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_problem_is_openai_error_object),
        cmocka_unit_test(test_each_status_has_a_phrase_and_a_type),
        cmocka_unit_test(test_result_of_backend_has_its_status),
        cmocka_unit_test(test_prompt_above_context_has_code_of_openai),
        cmocka_unit_test(test_name_before_colon_is_param),
        cmocka_unit_test(test_end_of_stream_has_its_status),
        cmocka_unit_test(test_long_message_and_param_are_cut_at_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
