/* SPDX-License-Identifier: MIT
 *
 * The parameters of requests: each of the table in serve.h, at its bounds and beyond them, and the refusal by a
 * backend that does not have it.
 */
#include "protocol.h"

#include <math.h>

#include <burble/serve.h>

#include "serve/request.h"

static const burble_serve_model able = {
    .name = "m",
    .chat = true,
    .parameters = BURBLE_SERVE_BIT(BURBLE_SERVE_N_PARAMETERS) - 1,
};

/* Parses a chat with this member beside its messages. */
static bool parse(const char *name, const char *value, struct burble__request **request,
                  struct burble__problem *problem)
{
    static char body[1 << 20]; /* the request refers to it */
    const int len =
        snprintf(body, sizeof body,
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"%s\":%s}", name, value);
    *problem = (struct burble__problem){0};
    return burble__request_parse(BURBLE_SERVE_CHAT, body, (size_t)len, 64, request, problem);
}

static struct burble__request *read_at(struct place at, const char *name, const char *value)
{
    struct burble__request *request;
    struct burble__problem problem;
    if (!parse(name, value, &request, &problem))
        fail_at(at, "%s %s: expected a request, found %s", name, value, problem.message);
    return request;
}
#define READ(name, value) read_at(HERE, name, value)

static void refuse_at(struct place at, const char *name, const char *value, const char *message)
{
    struct burble__request *request;
    struct burble__problem problem;
    if (parse(name, value, &request, &problem) && burble__request_check(request, &able, &problem))
        fail_at(at, "%s %s: expected a refusal", name, value);
    burble__request_destroy(&request);
    if (strcmp(problem.message, message) != 0)
        fail_at(at, "expected %s\nfound    %s", message, problem.message);
    assert_true_at(at, *problem.param != '\0');
}
#define REFUSE(name, value, message) refuse_at(HERE, name, value, message)

enum type { INTEGER, NUMBER, BOOLEAN, STRINGS, STRING, BIAS, FORMAT };

static const struct {
    burble_serve_parameter parameter;
    const char *name;
    enum type type;
    double least, most;
} parameters[] = {
#define PARAMETER(name, json, type, least, most) {BURBLE_SERVE_##name, json, type, least, most},
    BURBLE_SERVE_PARAMETERS(PARAMETER)
#undef PARAMETER
};
#define N_PARAMETERS (sizeof parameters / sizeof parameters[0])

static void test_numbers_are_read_within_their_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const double least = parameters[i].least, most = parameters[i].most;
        const bool is_integer = parameters[i].type == INTEGER;
        if (!is_integer && parameters[i].type != NUMBER)
            continue;
        if (parameters[i].parameter == BURBLE_SERVE_TOP_LOGPROBS)
            continue; /* below: it needs logprobs */
        const double inside[] = {least, most, is_integer ? least + 1 : (least + most) / 2};
        for (size_t k = 0; k < 3; k++) {
            char value[64];
            snprintf(value, sizeof value, "%.17g", inside[k]);
            struct burble__request *request = READ(parameters[i].name, value);
            struct burble__problem problem;
            assert_true(request->wanted.given == BURBLE_SERVE_BIT(parameters[i].parameter));
            assert_true(
                fabs(burble_serve_number(&request->wanted, parameters[i].parameter, -7) - inside[k])
                < 1e-9);
            assert_true(burble__request_check(request, &able, &problem));
            burble__request_destroy(&request);
        }
        const double outside[] = {least - 1, most + 1, 0.5};
        for (size_t k = 0; k < (is_integer ? 3 : 2); k++) {
            char value[64], message[200];
            snprintf(value, sizeof value, "%.10g", outside[k]);
            if (is_integer)
                snprintf(message, sizeof message,
                         "%s: expected an integer from %.0f to %.0f, found %s", parameters[i].name,
                         least, most, value);
            else
                snprintf(message, sizeof message,
                         "%s: expected a number from %.10g to %.10g, found %s", parameters[i].name,
                         least, most, value);
            REFUSE(parameters[i].name, value, message);
        }
    }
}

static void test_wrong_types_are_refused(void **state)
{
    (void)state;
    static const char *const expected[] = {
        [INTEGER] = "an integer",    [NUMBER] = "a number",
        [BOOLEAN] = "true or false", [STRINGS] = "a string or a list of strings",
        [STRING] = "a string",       [BIAS] = "an object or a list",
        [FORMAT] = "an object",
    };
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const enum type type = parameters[i].type;
        const bool takes_object = type == BIAS || type == FORMAT;
        const bool takes_string = type == STRING || type == STRINGS;
        char message[200];
        snprintf(message, sizeof message, "%s: expected %s, found %s", parameters[i].name,
                 expected[type],
                 takes_object   ? "a string"
                 : takes_string ? "an object"
                                : "an object");
        REFUSE(parameters[i].name, takes_object ? "\"x\"" : "{}", message);
        snprintf(message, sizeof message, "%s: expected %s, found %s", parameters[i].name,
                 expected[type], type == BOOLEAN ? "a number" : "true");
        REFUSE(parameters[i].name, type == BOOLEAN ? "1" : "true", message);
    }
}

static void test_other_names_of_max_tokens(void **state)
{
    (void)state;
    static const char *const names[] = {"max_completion_tokens", "n_predict"};
    for (size_t i = 0; i < 2; i++) {
        struct burble__request *request = READ(names[i], "7");
        assert_int_equal(burble_serve_number(&request->wanted, BURBLE_SERVE_MAX_TOKENS, 0), 7);
        const burble_serve_model unable = {.name = "m", .chat = true};
        struct burble__problem problem;
        assert_false(burble__request_check(request, &unable, &problem));
        assert_string_equal(problem.param, names[i]);
        burble__request_destroy(&request);
    }
    struct burble__request *request = READ("n_predict", "7,\"max_tokens\":7");
    burble__request_destroy(&request);
    REFUSE("max_completion_tokens", "6,\"max_completion_tokens \":7",
           "max_completion_tokens : not a parameter of /v1/chat/completions");
    REFUSE("max_tokens", "6,\"max_completion_tokens\":7",
           "max_completion_tokens: expected the same number as in max_tokens, which means the "
           "same, found 7");
}

static void test_booleans(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_PARAMETERS; i++)
        for (unsigned value = 0; parameters[i].type == BOOLEAN && value < 2; value++) {
            struct burble__request *request =
                READ(parameters[i].name, value == 0 ? "false" : "true");
            assert_true(request->wanted.given == BURBLE_SERVE_BIT(parameters[i].parameter));
            assert_int_equal(burble_serve_number(&request->wanted, parameters[i].parameter, 7),
                             value);
            burble__request_destroy(&request);
        }
}

static void test_stop_strings(void **state)
{
    (void)state;
    struct burble__request *request = READ("stop", "\"\\n\\n\"");
    assert_int_equal(request->wanted.n_stop, 1);
    assert_int_equal(request->wanted.stop[0].len, 2);
    burble__request_destroy(&request);
    request = READ("stop", "[\"a\",\"b\\u0000c\"]");
    assert_int_equal(request->wanted.n_stop, 2);
    assert_memory_equal(request->wanted.stop[1].bytes, "b\0c", 3);
    assert_true(request->wanted.given == BURBLE_SERVE_BIT(BURBLE_SERVE_STOP));
    burble__request_destroy(&request);
    REFUSE("stop", "\"\"", "stop: expected 1 to 1024 bytes, found 0");
    REFUSE("stop", "[\"a\",\"\"]", "stop[1]: expected 1 to 1024 bytes, found 0");
    REFUSE("stop", "[\"a\",null]", "stop[1]: expected a string, found null");
    char many[65 * 4 + 2] = "[";
    for (size_t i = 0; i < 65; i++)
        strcat(many, i == 0 ? "\"x\"" : ",\"x\"");
    strcat(many, "]");
    REFUSE("stop", many, "stop: expected at most 64 strings, found 65");
    char longest[1100] = "\"";
    memset(longest + 1, 'x', 1025);
    longest[1026] = '"';
    REFUSE("stop", longest, "stop: expected 1 to 1024 bytes, found 1025");
    request = READ("dry_sequence_breakers", "[\"a\"]");
    assert_int_equal(request->wanted.n_breakers, 1);
    assert_int_equal(request->wanted.n_stop, 0);
    burble__request_destroy(&request);
}

static void test_biases(void **state)
{
    (void)state;
    static const char *const forms[] = {"{\"5\":-100,\"2147483647\":false}",
                                        "[[5,-100.0],[2147483647,false]]"};
    for (size_t i = 0; i < 2; i++) {
        struct burble__request *request = READ("logit_bias", forms[i]);
        assert_int_equal(request->wanted.n_bias, 2);
        assert_int_equal(request->wanted.bias[0].id, 5);
        assert_true(fabsf(request->wanted.bias[0].bias + 100) < 1e-6f);
        assert_int_equal(request->wanted.bias[1].id, INT32_MAX);
        assert_true(isinf(request->wanted.bias[1].bias) && request->wanted.bias[1].bias < 0);
        burble__request_destroy(&request);
    }
    REFUSE("logit_bias", "{\"a\":1}", "logit_bias: expected ids of tokens as keys, found \"a\"");
    REFUSE("logit_bias", "{\"-1\":1}", "logit_bias: expected ids of tokens as keys, found \"-1\"");
    REFUSE("logit_bias", "{\" 1\":1}", "logit_bias: expected ids of tokens as keys, found \" 1\"");
    REFUSE("logit_bias", "{\"2147483648\":1}",
           "logit_bias: expected ids of tokens as keys, found \"2147483648\"");
    REFUSE("logit_bias", "{\"99999999999999999999\":1}",
           "logit_bias: expected ids of tokens as keys, found \"99999999999999999999\"");
    REFUSE("logit_bias", "{\"1\":true}", "logit_bias.1: expected a number or false, found true");
    REFUSE("logit_bias", "{\"1\":101}",
           "logit_bias.1: expected a number from -100 to 100, found 101");
    REFUSE("logit_bias", "[5]",
           "logit_bias[0]: expected a list of an id and a number, found a number");
    REFUSE("logit_bias", "[[5]]",
           "logit_bias[0]: expected a list of an id and a number, found a list");
    REFUSE("logit_bias", "[[\" a\",1]]", "logit_bias[0][0]: expected an integer, found a string");
    REFUSE("logit_bias", "[[1,\"x\"]]",
           "logit_bias[0][1]: expected a number or false, found a string");
    static char many[4097 * 6 + 3] = "[";
    for (size_t i = 0; i < 4097; i++)
        memcpy(many + 1 + 6 * i, i == 0 ? " [1,0]" : ",[1,0]", 6);
    many[1 + 6 * 4097] = ']';
    REFUSE("logit_bias", many, "logit_bias: expected at most 4096 ids, found 4097");
}

static void test_formats(void **state)
{
    (void)state;
    struct burble__request *request = READ("response_format", "{\"type\":\"json_object\"}");
    assert_true(request->wanted.json_object);
    burble__request_destroy(&request);
    request = READ("response_format", "{\"type\":\"text\"}");
    assert_false(request->wanted.json_object);
    burble__request_destroy(&request);
    REFUSE("response_format", "{}", "response_format.type: expected a string, found nothing");
    REFUSE("response_format", "{\"type\":\"sound\"}",
           "response_format.type: expected \"text\", \"json_object\" or \"json_schema\", found "
           "\"sound\"");
    REFUSE("response_format", "{\"type\":\"text\",\"schema\":{}}",
           "response_format.schema: not supported");
    REFUSE("grammar", "\"root ::= [a]\",\"response_format\":{\"type\":\"json_object\"}",
           "grammar: expected none with response_format \"json_object\", found one");
}

static void test_schemas_become_grammars(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } cases[] = {
        {"response_format",
         "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"strict\":true,"
         "\"schema\":{\"const\":42}}}"},
        {"response_format", "{\"type\":\"json_object\",\"schema\":{\"const\":42}}"},
        {"json_schema", "{\"const\":42}"},
    };
    struct burble__request *request;
    for (size_t i = 0; i < 3; i++) {
        request = READ(cases[i].name, cases[i].value);
        assert_true(request->wanted.json_schema);
        assert_false(request->wanted.json_object);
        assert_non_null(strstr(request->wanted.grammar.bytes, "s0 ::= \"42\"\n"));
        assert_true(request->wanted.given & BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR));
        assert_true(request->wanted.given & BURBLE_SERVE_BIT(BURBLE_SERVE_RESPONSE_FORMAT));
        burble_serve_model model = {.name = "m", .chat = true};
        struct burble__problem problem = {0};
        model.parameters = BURBLE_SERVE_BIT(BURBLE_SERVE_RESPONSE_FORMAT);
        assert_false(burble__request_check(request, &model, &problem));
        assert_string_equal(problem.param, cases[i].name); /* not grammar, which it did not name */
        burble__request_destroy(&request);
    }
    request = READ("response_format", "{\"type\":\"json_object\",\"schema\":{}}");
    assert_true(request->wanted.json_object);
    burble__request_destroy(&request);
    REFUSE("response_format", "{\"type\":\"json_schema\"}",
           "response_format.json_schema: expected an object, found nothing");
    REFUSE("response_format", "{\"type\":\"json_schema\",\"json_schema\":{}}",
           "response_format.json_schema.schema: expected a schema: an object, found nothing");
    REFUSE(
        "response_format",
        "{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"properties\":{\"a\":{\"pattern\":"
        "\"x\"}}}}}",
        "response_format.json_schema.schema.properties.a.pattern: not supported");
    REFUSE("response_format", "{\"type\":\"json_object\",\"schema\":123}",
           "response_format.schema: expected a schema: an object or true, found a number");
    REFUSE("response_format",
           "{\"type\":\"json_object\",\"schema\":{\"const\":1}},\"json_schema\":{\"const\":1}",
           "json_schema: expected one schema, found two");
    REFUSE("grammar", "\"root ::= [a]\",\"json_schema\":{\"const\":1}",
           "grammar: expected none with json_schema, found one");
}

static void test_grammars(void **state)
{
    (void)state;
    struct burble__request *request = READ("grammar", "\"root ::= [a]\"");
    assert_int_equal(request->wanted.grammar.len, 12);
    burble__request_destroy(&request);
    REFUSE("grammar", "\"a\\u0000\"", "grammar: expected a string without NUL, found one");
    static char longest[65536 + 4];
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '"';
    longest[65538] = '"';
    longest[65539] = '\0';
    REFUSE("grammar", longest, "grammar: expected at most 65536 bytes, found 65537");
}

static void test_logprobs_of_chat(void **state)
{
    (void)state;
    struct burble__request *request = READ("logprobs", "true,\"top_logprobs\":20");
    assert_int_equal(burble_serve_number(&request->wanted, BURBLE_SERVE_TOP_LOGPROBS, 0), 20);
    burble__request_destroy(&request);
    REFUSE("top_logprobs", "1", "top_logprobs: needs \"logprobs\": true");
    REFUSE("top_logprobs", "1,\"logprobs\":false", "top_logprobs: needs \"logprobs\": true");
    REFUSE("top_logprobs", "21,\"logprobs\":true",
           "top_logprobs: expected an integer from 0 to 20, found 21");
    REFUSE("logprobs", "5", "logprobs: expected true or false, found a number");
}

/* A backend without a parameter refuses it by name. */
static void test_each_parameter_is_refused_by_backend_without_it(void **state)
{
    (void)state;
    static const char *const values[] = {
        [INTEGER] = "2",
        [NUMBER] = "0.5",
        [BOOLEAN] = "true",
        [STRINGS] = "[\"x\"]",
        [STRING] = "\"x\"",
        [BIAS] = "{\"1\":1}",
        [FORMAT] = "{\"type\":\"json_object\"}",
    };
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const char *value =
            parameters[i].parameter == BURBLE_SERVE_TOP_LOGPROBS ? "2,\"logprobs\":true"
            : parameters[i].parameter == BURBLE_SERVE_DRY_BASE   ? "1.5"
                                                                 : values[parameters[i].type];
        burble_serve_model model = able;
        struct burble__problem problem;
        char message[100];
        struct burble__request *request = READ(parameters[i].name, value);
        assert_true(burble__request_check(request, &model, &problem));
        model.parameters &= ~BURBLE_SERVE_BIT(parameters[i].parameter);
        assert_false(burble__request_check(request, &model, &problem));
        snprintf(message, sizeof message, "%s: the model m does not support it",
                 parameters[i].name);
        assert_string_equal(problem.message, message);
        assert_string_equal(problem.param, parameters[i].name);
        burble__request_destroy(&request);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_read_within_their_bounds),
        cmocka_unit_test(test_wrong_types_are_refused),
        cmocka_unit_test(test_other_names_of_max_tokens),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_biases),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_schemas_become_grammars),
        cmocka_unit_test(test_grammars),
        cmocka_unit_test(test_logprobs_of_chat),
        cmocka_unit_test(test_each_parameter_is_refused_by_backend_without_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
