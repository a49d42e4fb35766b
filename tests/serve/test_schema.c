/* SPDX-License-Identifier: MIT
 *
 * JSON Schemas: what their grammars allow, by the engine's own parser of grammars, and what is refused.
 */
#include "protocol.h"

#include <jansson.h>

#include "engine/grammar.h"
#include "serve/schema.h"

/* The grammar of a schema; NULL: it is refused with this message. */
static struct burble__grammar *make_at(struct place at, const char *schema, const char *message)
{
    struct burble__problem problem = {0};
    struct burble__grammar *grammar = NULL;
    burble_error error = {.code = BURBLE_OK};
    NEW_BUFFER(text);
    json_t *json = json_loads(schema, JSON_DECODE_ANY, NULL);
    if (json == NULL)
        fail_at(at, "no JSON: %s", schema);
    const bool ok = burble__schema_write(json, "s", &text, &problem);
    json_decref(json);
    if (!ok && (message == NULL || strcmp(problem.message, message) != 0))
        fail_at(at, "%s\nexpected %s\nfound    %s", schema, message == NULL ? "a grammar" : message,
                problem.message);
    if (!ok)
        assert_int_equal_at(at, problem.status, 400);
    if (ok && message != NULL)
        fail_at(at, "%s\nexpected %s\nfound a grammar", schema, message);
    if (ok && burble__grammar_create(text.bytes, text.len, &grammar, &error) != BURBLE_OK)
        fail_at(at, "%s\n%s\n%.*s", schema, error.message, (int)text.len, text.bytes);
    burble__buffer_finish(&text);
    return grammar;
}

static void check_at(struct place at, const char *schema, const char *text, bool expected)
{
    struct burble__grammar *grammar = make_at(at, schema, NULL);
    const bool found =
        burble__grammar_take(grammar, text, strlen(text)) && burble__grammar_may_end(grammar);
    if (found != expected)
        fail_at(at, "%s\nexpected %s to be %s", schema, text, expected ? "allowed" : "refused");
    burble__grammar_destroy(&grammar);
}
#define ALLOWS(schema, text) check_at(HERE, schema, text, true)
#define LACKS(schema, text) check_at(HERE, schema, text, false)
#define REFUSES(schema, message) assert_null(make_at(HERE, schema, message))

static void test_any_value_is_allowed_by_empty_schemas(void **state)
{
    (void)state;
    static const char *const schemas[] = {"true", "{}", "{\"title\":\"t\",\"$defs\":{\"a\":3}}"};
    static const char *const values[] = {
        "1",    "-0.5e+3", "\"a\\u00e9\\\"\"", "[ 1,[],{} ]", "{\"a\": {\"b\":null}, \"c\":true}",
        "false"};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++)
            ALLOWS(schemas[i], values[k]);
        LACKS(schemas[i], "");
        LACKS(schemas[i], "01");
        LACKS(schemas[i], "nul");
        LACKS(schemas[i], "\"\\ud800\"");
    }
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *type, *in, *out;
    } cases[] = {
        {"\"object\"", "{\"a\":1}", "[]"},
        {"\"array\"", "[1]", "{}"},
        {"\"string\"", "\"1\"", "1"},
        {"\"integer\"", "-10", "1.0"},
        {"\"number\"", "1.5", "\"1\""},
        {"\"boolean\"", "true", "null"},
        {"\"null\"", "null", "false"},
        {"[\"string\",\"null\"]", "null", "1"},
        {"[\"integer\",\"number\"]", "1.5", "true"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char schema[64];
        snprintf(schema, sizeof schema, "{\"type\":%s}", cases[i].type);
        ALLOWS(schema, cases[i].in);
        LACKS(schema, cases[i].out);
    }
    REFUSES("{\"type\":\"hiccup\"}",
            "s.type: expected object, array, string, number, integer, boolean "
            "or null, found \"hiccup\"");
    REFUSES("{\"type\":123}", "s.type: expected a string, found a number");
    REFUSES("{\"type\":[]}", "s.type: expected a name or a list of names, found a list");
    REFUSES("{\"type\":[\"null\",1]}", "s.type[1]: expected a string, found a number");
    REFUSES("123", "s: expected a schema: an object or true, found a number");
    REFUSES("false", "s: expected a schema: an object or true, found false");
}

#define PERSON                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"na\\\"me\":{\"type\":\"string\"},\"age\":{\"type\":"   \
    "\"integer\"},\"x\":{}},\"required\":[\"age\"],\"additionalProperties\":false}"

static void test_members_come_in_order_and_may_lack_if_optional(void **state)
{
    (void)state;
    ALLOWS(PERSON, "{\"na\\\"me\": \"x\", \"age\": 3, \"x\": []}");
    ALLOWS(PERSON, "{\"age\":3}");
    ALLOWS(PERSON, "{\n  \"age\":3 , \"x\":null }");
    LACKS(PERSON, "{}");
    LACKS(PERSON, "{\"na\\\"me\":\"x\"}");
    LACKS(PERSON, "{\"na\\\"me\":\"x\",}");
    LACKS(PERSON, "{,\"age\":3}");
    LACKS(PERSON, "{\"age\":3,\"na\\\"me\":\"x\"}");
    LACKS(PERSON, "{\"age\":3,\"age\":3}");
    LACKS(PERSON, "{\"age\":3,\"other\":3}");
    LACKS(PERSON, "{\"age\":\"3\"}");
    static const char optional[] = "{\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}}}";
    ALLOWS(optional, "{}");
    ALLOWS(optional, "{\"a\":1}");
    ALLOWS(optional, "{\"b\":2}");
    ALLOWS(optional, "{\"a\":1,\"b\":2}");
    LACKS(optional, "{\"a\":1\"b\":2}");
    LACKS(optional, "[]");
}

static void test_additional_properties(void **state)
{
    (void)state;
    ALLOWS("{\"type\":\"object\",\"additionalProperties\":false}", "{ }");
    LACKS("{\"type\":\"object\",\"additionalProperties\":false}", "{\"a\":1}");
    static const char map[] =
        "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}";
    ALLOWS(map, "{}");
    ALLOWS(map, "{\"a\":1, \"b\" : 2}");
    LACKS(map, "{\"a\":\"1\"}");
    LACKS(map, "{\"a\":1,}");
    ALLOWS("{\"type\":\"object\",\"additionalProperties\":true}", "{\"a\":[1]}");
    REFUSES("{\"properties\":{\"a\":{}},\"additionalProperties\":{\"type\":\"null\"}}",
            "s.additionalProperties: not supported beside properties, unless it is true or false");
    REFUSES("{\"type\":\"object\",\"additionalProperties\":1}",
            "s.additionalProperties: expected a schema: an object, true or false, found a number");
    REFUSES("{\"type\":\"object\",\"properties\":[]}",
            "s.properties: expected an object, found a list");
    REFUSES("{\"type\":\"object\",\"required\":[\"a\"]}",
            "s.required[0]: expected a name of properties, found \"a\"");
    REFUSES("{\"type\":\"object\",\"required\":\"a\"}",
            "s.required: expected a list of names, found a string");
}

static void test_arrays(void **state)
{
    (void)state;
    static const char some[] =
        "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,"
        "\"maxItems\":3}";
    ALLOWS(some, "[1]");
    ALLOWS(some, "[ 1, 2 ,3]");
    LACKS(some, "[]");
    LACKS(some, "[1,2,3,4]");
    LACKS(some, "[1,\"2\"]");
    ALLOWS("{\"items\":{\"type\":\"null\"}}", "[]");
    ALLOWS("{\"items\":{\"type\":\"null\"}}", "[null,null,null]");
    ALLOWS("{\"items\":{\"type\":\"null\"},\"maxItems\":0}", "[]");
    LACKS("{\"items\":{\"type\":\"null\"},\"maxItems\":0}", "[null]");
    ALLOWS("{\"type\":\"array\",\"minItems\":2}", "[1,{}]");
    LACKS("{\"type\":\"array\",\"minItems\":2}", "[1]");
    static const char tuple[] = "{\"prefixItems\":[{\"type\":\"integer\"},true],\"items\":false}";
    ALLOWS(tuple, "[1,\"a\"]");
    LACKS(tuple, "[1]");
    LACKS(tuple, "[\"a\",1]");
    ALLOWS("{\"items\":[{\"type\":\"integer\"}],\"uniqueItems\":false}", "[7]");
    REFUSES("{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}",
            "s.maxItems: expected no less than the least, found less");
    REFUSES("{\"type\":\"array\",\"maxItems\":2001}",
            "s.maxItems: expected an integer from 0 to 2000, found 2001");
    REFUSES("{\"prefixItems\":[true],\"minItems\":2}",
            "s.minItems: expected the number of the schemas that are listed, or none");
    REFUSES("{\"type\":\"array\",\"uniqueItems\":true}", "s.uniqueItems: not supported");
}

static void test_strings(void **state)
{
    (void)state;
    static const char some[] = "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}";
    ALLOWS(some, "\"ab\"");
    ALLOWS(some, "\"\xC3\xA9\\n\\u00e9\"");
    LACKS(some, "\"a\"");
    LACKS(some, "\"abcd\"");
    static const struct {
        const char *format, *in, *out;
    } cases[] = {
        {"date", "\"2026-02-28\"", "\"2026-13-01\""},
        {"time", "\"23:59:59.5+01:00\"", "\"24:00:00Z\""},
        {"date-time", "\"2026-02-28T00:00:00Z\"", "\"2026-02-28 00:00:00Z\""},
        {"uuid", "\"123e4567-e89b-12d3-a456-426614174000\"", "\"123e4567\""},
    };
    for (size_t i = 0; i < 4; i++) {
        char schema[64];
        snprintf(schema, sizeof schema, "{\"format\":\"%s\"}", cases[i].format);
        ALLOWS(schema, cases[i].in);
        LACKS(schema, cases[i].out);
    }
    REFUSES("{\"format\":\"email\"}",
            "s.format: expected date, time, date-time or uuid, found \"email\"");
    REFUSES("{\"type\":\"string\",\"pattern\":\"a\"}", "s.pattern: not supported");
}

/* Each integer near the bounds, and no other, is allowed. */
static void check_range(int64_t low, int64_t high)
{
    static const int64_t offsets[] = {-1000, -100, -10, -9, -2, -1, 0, 1, 2, 9, 10, 11, 100, 1000};
    char schema[128], text[32];
    snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld}",
             (long long)low, (long long)high);
    struct burble__grammar *grammar = make_at(HERE, schema, NULL);
    for (size_t i = 0; i < 2 * sizeof offsets / sizeof offsets[0]; i++) {
        const int64_t number = (i % 2 == 0 ? low : high) + offsets[i / 2];
        const int n = snprintf(text, sizeof text, "%lld ", (long long)number);
        struct burble__grammar *fresh = make_at(HERE, schema, NULL);
        const bool found =
            burble__grammar_take(fresh, text, (size_t)n - 1) && burble__grammar_may_end(fresh);
        if (found != (number >= low && number <= high))
            fail_at(HERE, "%s: %s is wrong", schema, text);
        burble__grammar_destroy(&fresh);
    }
    assert_false(burble__grammar_allows(grammar, "-0", 2));
    burble__grammar_destroy(&grammar);
}

static void test_integers_have_bounds(void **state)
{
    (void)state;
    static const int64_t bounds[] = {-1000000, -9999, -1005, -100, -99, -11, -10, -9,  -1,   0,
                                     1,        5,     9,     10,   11,  99,  100, 198, 1999, 12345};
    const size_t n = sizeof bounds / sizeof bounds[0];
    for (size_t i = 0; i < n; i++)
        for (size_t k = i; k < n; k++)
            check_range(bounds[i], bounds[k]);
    static const char open[] = "{\"type\":\"integer\",\"minimum\":0.5,\"exclusiveMinimum\":1}";
    ALLOWS(open, "2");
    ALLOWS(open, "9999999999999999");
    LACKS(open, "1");
    LACKS(open, "-5");
    static const char below[] = "{\"type\":\"integer\",\"exclusiveMaximum\":-3.5,\"maximum\":7}";
    ALLOWS(below, "-4");
    LACKS(below, "-3");
    ALLOWS("{\"type\":\"number\",\"minimum\":0}", "0.5");
    LACKS("{\"type\":\"number\",\"minimum\":0}", "-0.5");
    REFUSES("{\"type\":\"integer\",\"minimum\":3,\"exclusiveMaximum\":3}",
            "s: expected bounds with an integer between them, found none");
    REFUSES("{\"type\":\"number\",\"minimum\":1}",
            "s.minimum: supported for integers only, unless it is 0");
    REFUSES("{\"maximum\":1}", "s.maximum: supported for integers only");
    REFUSES("{\"type\":\"integer\",\"multipleOf\":2}", "s.multipleOf: not supported");
    REFUSES("{\"type\":\"integer\",\"minimum\":1e300}",
            "s.minimum: expected a number from -1e+16 to 1e+16, found 1e+300");
}

static void test_values_and_choices(void **state)
{
    (void)state;
    static const char values[] = "{\"enum\":[\"a\\\"\\\\[\",1,null,{\"b\":[true]}]}";
    ALLOWS(values, "\"a\\\"\\\\[\"");
    ALLOWS(values, "1");
    ALLOWS(values, "null");
    ALLOWS(values, "{\"b\":[true]}");
    LACKS(values, "2");
    ALLOWS("{\"const\":\"foooooo\"}", "\"foooooo\"");
    ALLOWS("{\"const\":null}", "null");
    ALLOWS("{\"type\":\"string\",\"enum\":[\"a\",\"b\"],\"default\":\"a\"}", "\"b\"");
    static const char any[] = "{\"anyOf\":[{\"type\":\"null\"},{\"const\":3}],\"title\":\"x\"}";
    ALLOWS(any, "null");
    ALLOWS(any, "3");
    LACKS(any, "4");
    ALLOWS("{\"oneOf\":[{\"type\":\"null\"},{\"const\":3}]}", "3");
    ALLOWS("{\"allOf\":[{\"const\":3}]}", "3");
    REFUSES("{\"allOf\":[{},{}]}", "s.allOf: supported with one schema only");
    REFUSES("{\"anyOf\":[]}", "s.anyOf: expected a list of schemas, found a list");
    REFUSES("{\"enum\":[]}", "s.enum: expected a list of values, found a list");
    REFUSES("{\"type\":\"string\",\"enum\":[\"a\",1]}",
            "s.enum[1]: expected a value of the schema's type, found a number");
    REFUSES("{\"enum\":[1],\"minimum\":0}", "s.minimum: not supported beside enum");
    REFUSES("{\"anyOf\":[{}],\"type\":\"object\"}", "s.type: not supported beside anyOf");
    REFUSES("{\"const\":1,\"enum\":[1]}", "s.enum: not supported beside const");
    REFUSES("{\"not\":{}}", "s.not: not supported");
    REFUSES("{\"anyOf\":[{\"items\":{\"if\":{}}}]}", "s.anyOf[0].items.if: not supported");
    REFUSES("{\"minLength\":1,\"minItems\":1}", "s.type: expected one, found none");
}

static void test_references(void **state)
{
    (void)state;
    static const char tree[] =
        "{\"$ref\":\"#/$defs/a~1b\",\"$defs\":{\"a/b\":{\"properties\":{\"l\":{\"$ref\":\"#/$defs/"
        "a~1b\"},\"v\":{\"type\":\"integer\"}},\"required\":[\"v\"]}}}";
    ALLOWS(tree, "{\"v\":1}");
    ALLOWS(tree, "{\"l\":{\"l\":{\"v\":3},\"v\":2},\"v\":1}");
    LACKS(tree, "{\"l\":{\"l\":{}},\"v\":1}");
    ALLOWS("{\"anyOf\":[{\"const\":1},{\"$ref\":\"#/anyOf/0\"}]}", "1");
    ALLOWS("{\"items\":{\"$ref\":\"#\"}}", "[[],[[]]]");
    REFUSES("{\"$ref\":\"#\"}", "s.$ref: expected a schema, found only references, found \"#\"");
    REFUSES("{\"$ref\":\"#/$defs/b\",\"$defs\":{}}",
            "s.$ref: expected the path of a schema in this one, such as #/$defs/NAME, found "
            "\"#/$defs/b\"");
    REFUSES("{\"$ref\":\"http://a/b\"}",
            "s.$ref: expected the path of a schema in this one, such as "
            "#/$defs/NAME, found \"http://a/b\"");
    REFUSES("{\"items\":{\"$ref\":\"#\",\"type\":\"array\"}}",
            "s.items.type: not supported beside $ref");
}

/* A schema whose list `before` N times `each`, with %zu for the number, `after` has. */
static char *repeated(const char *before, const char *each, size_t n, const char *after)
{
    const size_t room = strlen(before) + strlen(after) + n * (strlen(each) + 16) + 1;
    char *text = malloc(room);
    size_t len = (size_t)snprintf(text, room, "%s", before);
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, room - len, "%s%s%zu\"}", i > 0 ? "," : "", each, i);
    snprintf(text + len, room - len, "%s", after);
    return text;
}

static void test_bounds(void **state)
{
    (void)state;
    char *many = repeated("{\"anyOf\":[", "{\"const\":\"", 2000, "]}");
    REFUSES(many, "s.anyOf[1999]: expected at most 2000 schemas, found more");
    free(many);
    char *all = repeated("{\"anyOf\":[", "{\"const\":\"", 1000, "]}");
    ALLOWS(all, "\"999\"");
    free(all);
    char *long_one = malloc(40000);
    memset(long_one, 'x', 40000);
    memcpy(long_one, "{\"const\":\"", 10);
    memcpy(long_one + 39997, "\"}", 3);
    REFUSES(long_one, "s: expected a schema whose grammar has at most 32768 bytes, found more");
    free(long_one);
    REFUSES("{\"prefixItems\":[{\"type\":\"string\",\"maxLength\":2000},{\"type\":\"string\","
            "\"maxLength\":2000},{\"type\":\"string\",\"maxLength\":2000},{\"type\":\"string\","
            "\"maxLength\":2000}]}",
            "s.prefixItems[3]: expected at most 7000 repetitions in a schema, found more");
    struct burble__grammar *grammar =
        make_at(HERE,
                "{\"prefixItems\":[{\"type\":\"string\",\"maxLength\":2000},{\"type\":\"string\","
                "\"maxLength\":"
                "2000},{\"type\":\"array\",\"maxItems\":2000}]}",
                NULL);
    burble__grammar_destroy(&grammar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_value_is_allowed_by_empty_schemas),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_members_come_in_order_and_may_lack_if_optional),
        cmocka_unit_test(test_additional_properties),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_integers_have_bounds),
        cmocka_unit_test(test_values_and_choices),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
