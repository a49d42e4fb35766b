/* SPDX-License-Identifier: MIT
 *
 * Grammars: what they allow, byte by byte, what is no grammar, and how much work one may cause.
 */
#include "engine/grammar.h"
#include "engine/grammar_rules.h"

#include "../unit/support.h"

#include <string.h>

static struct burble__grammar *make_at(struct place at, const char *text)
{
    struct burble__grammar *grammar;
    burble_error error = {0};
    if (burble__grammar_create(text, strlen(text), &grammar, &error) != BURBLE_OK)
        fail_at(at, "%s: %s", text, error.message);
    return grammar;
}
#define make(...) make_at(HERE, __VA_ARGS__)

/* Whether the whole text is of the grammar; the same whole and byte by byte. */
static bool has_at(struct place at, const char *rules, const char *text)
{
    struct burble__grammar *grammar = make_at(at, rules);
    struct burble__grammar *bytes = make_at(at, rules);
    const size_t n = strlen(text);
    const bool whole = burble__grammar_allows(grammar, text, n);
    bool each = true;
    for (size_t i = 0; i < n && each; i++)
        each = burble__grammar_take(bytes, text + i, 1);
    assert_int_equal_at(at, each, whole);
    const bool found =
        whole && burble__grammar_take(grammar, text, n) && burble__grammar_may_end(grammar);
    if (whole)
        assert_int_equal_at(at, burble__grammar_may_end(bytes), found);
    assert_false_at(at, burble__grammar_gave_up(grammar));
    burble__grammar_destroy(&grammar);
    burble__grammar_destroy(&bytes);
    return found;
}
#define assert_has(rules, text) assert_true(has_at(HERE, rules, text))
#define assert_lacks(rules, text) assert_false(has_at(HERE, rules, text))

static void literals_and_alternatives_match(void **state)
{
    static const char rules[] = "# a comment\nroot ::= \"yes\" | \"no\" [.!]* # another\n";
    (void)state;
    assert_has(rules, "yes");
    assert_has(rules, "no");
    assert_has(rules, "no!.!");
    assert_lacks(rules, "ye");
    assert_lacks(rules, "yes!");
    assert_lacks(rules, "noo");
    assert_lacks(rules, "");
    assert_has("root ::= | \"a\"", "");
    assert_has("root ::= (\"a\" |\n \"b\")+ \"c\"\n", "abbac");
    assert_has("root ::= \"\\x41\\u00e9\\U0001F600\\n\\t\\r\\\\\\\"\\[\\]\"",
               "A\xC3\xA9\xF0\x9F\x98\x80\n\t\r\\\"[]");
}

static void repetitions_have_their_bounds(void **state)
{
    char as[40];
    (void)state;
    static const struct {
        const char *rules;
        size_t least, most;
    } cases[] = {
        {"root ::= \"a\"*", 0, 39},
        {"root ::= \"a\"+", 1, 39},
        {"root ::= \"a\"?", 0, 1},
        {"root ::= \"a\"{3}", 3, 3},
        {"root ::= \"a\"{2,}", 2, 39},
        {"root ::= \"a\"{2,5}", 2, 5},
        {"root ::= \"a\"{0,4}", 0, 4},
        {"root ::= \"a\"{0}", 0, 0},
        {"root ::= \"a\"{ 1 , 2 }{2}", 2, 4},
        {"root ::= (\"a\"? \"a\"?)*", 0, 39},
        {"root ::= (\"a\"*)*", 0, 39},
        {"root ::= x{2,3}\nx ::= \"a\" | \"aa\"", 2, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t n = 0; n < 40; n++) {
            memset(as, 'a', n);
            as[n] = '\0';
            assert_int_equal(has_at(HERE, cases[i].rules, as),
                             n >= cases[i].least && n <= cases[i].most);
        }
    }
    assert_has("root ::= \"ab\"{2}", "abab");
    assert_lacks("root ::= \"ab\"{2}", "abb");
}

static void sets_have_their_characters(void **state)
{
    (void)state;
    assert_has("root ::= [a-c\xC3\xA9\xE2\x82\xAC-]+", "abc\xC3\xA9\xE2\x82\xAC-");
    assert_lacks("root ::= [a-c]", "d");
    assert_has("root ::= [^a-c]", "\xE2\x82\xAC");
    assert_lacks("root ::= [^\xE2\x82\xAC]", "\xE2\x82\xAC");
    assert_has("root ::= .", "\xF0\x9F\x98\x80");
    assert_lacks("root ::= []", "a");
    assert_lacks("root ::= .", "\xC0\x80"); /* too long a form */
    assert_lacks("root ::= .", "\xE0\x80\x80");
    assert_lacks("root ::= .", "\xFF");
    assert_lacks("root ::= .", "\xF4\x90\x80\x80");
}

static void part_of_a_character_is_allowed_if_one_is(void **state)
{
    struct burble__grammar *grammar = make("root ::= [\\u20ac-\\u20af]");
    (void)state;
    assert_true(burble__grammar_allows(grammar, "\xE2", 1));
    assert_true(burble__grammar_allows(grammar, "\xE2\x82", 2));
    assert_false(burble__grammar_allows(grammar, "\xE2\x83", 2));
    assert_false(burble__grammar_allows(grammar, "\xE3", 1));
    assert_true(burble__grammar_take(grammar, "\xE2\x82", 2));
    assert_false(burble__grammar_may_end(grammar));
    assert_false(burble__grammar_take(grammar, "\xB0", 1));
    assert_true(burble__grammar_take(grammar, "\xAF", 1));
    assert_true(burble__grammar_may_end(grammar));
    burble__grammar_destroy(&grammar);
}

static void recursion_on_each_side_matches(void **state)
{
    static const char *const sums[] = {
        "root ::= root \"+\" n | n\nn ::= [0-9]+",
        "root ::= n \"+\" root | n\nn ::= [0-9]+",
        "root ::= root \"+\" root | [0-9] | root [0-9]",
        "root ::= e root \"+\" n | n\ne ::= f\nf ::= | e\nn ::= [0-9] | n [0-9]", /* hidden */
    };
    (void)state;
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        assert_has(sums[i], "1+23+456");
        assert_lacks(sums[i], "1++2");
        assert_lacks(sums[i], "1+");
    }
    assert_has("root ::= \"(\" root \")\" | \"x\"", "((((x))))");
    assert_lacks("root ::= \"(\" root \")\" | \"x\"", "((((x)))");
}

static void json_is_an_object(void **state)
{
    static const char *const good[] = {
        "{}", "{\"a\":1}", "{ \"a\" : [1, -2.5e+10, \"\\u00e9\\n\", {}, [], true, false, null] }",
        "{\"\xC3\xA9\": {\"b\": {\"c\": \"\xF0\x9F\x98\x80\"}}}", "{\n  \"x\": 0\n}"};
    static const char *const bad[] = {"[]",
                                      "1",
                                      "{\"a\"}",
                                      "{a:1}",
                                      "{\"a\":01}",
                                      "{\"a\":1,}",
                                      "{\"a\":\"\n\"}",
                                      "{} ",
                                      "{\"a\":tru}",
                                      "{\"a\":\"\\x\"}",
                                      "{\"a\":.5}",
                                      "{\"a\":1"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_has(burble__grammar_of_json, good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_lacks(burble__grammar_of_json, bad[i]);
}

static void walk_equals_single_texts(void **state)
{
    static const char *const texts[] = {"", "a", "ab", "aba", "abc", "b", "ba", "c", "ca"};
    struct burble__grammar *grammar = make("root ::= \"x\" (\"ab\" | \"c\")*");
    const char *before = "";
    (void)state;
    assert_true(burble__grammar_take(grammar, "x", 1));
    burble__grammar_begin_walk(grammar);
    bool found[9];
    for (size_t i = 0; i < 9; i++) {
        size_t common = 0;
        while (texts[i][common] != '\0' && texts[i][common] == before[common])
            common++;
        found[i] = burble__grammar_walk(grammar, texts[i], strlen(texts[i]), common);
        before = texts[i];
    }
    burble__grammar_end_walk(grammar);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(found[i], burble__grammar_allows(grammar, texts[i], strlen(texts[i])));
    burble__grammar_destroy(&grammar);
}

static void refuses_at(struct place at, const char *text, const char *message)
{
    struct burble__grammar *grammar;
    burble_error error = {0};
    assert_result_at(at, burble__grammar_create(text, strlen(text), &grammar, &error),
                     BURBLE_EINVAL);
    assert_null_at(at, grammar);
    assert_string_equal_at(at, error.message, message);
}
#define refuses(...) refuses_at(HERE, __VA_ARGS__)

static void text_that_is_no_grammar_is_refused(void **state)
{
    (void)state;
    refuses("", "grammar: expected a rule named root, found none");
    refuses("rot ::= \"a\"", "grammar: expected a rule named root, found none");
    refuses("root ::= thing", "grammar: expected a rule named thing, found none");
    refuses("root = \"a\"", "grammar: line 1, column 6: expected ::=, found: = \"a\"");
    refuses("root ::= \"a", "grammar: line 1, column 12: expected a closing \", found the end");
    refuses("root ::= [a", "grammar: line 1, column 12: expected a closing ], found the end");
    refuses("root ::= (\"a\"", "grammar: line 1, column 14: expected a closing ), found the end");
    refuses("root ::= \"a\"\n\nroot ::= \"b\"", "grammar: line 3, column 6: expected a rule that "
                                                "is not defined yet before this, found: ::= "
                                                "\"b\"");
    refuses("root ::= *", "grammar: line 1, column 10: expected something to repeat, found: *");
    refuses(
        "root ::= \"a\"{3,1}",
        "grammar: line 1, column 17: expected a second number that is not below the first before "
        "this, found: }");
    refuses("root ::= \"a\"{9999}",
            "grammar: line 1, column 17: expected at most 2000 repetitions, found: 9}");
    refuses("root ::= \"a\"{x}", "grammar: line 1, column 14: expected a number, found: x}");
    refuses(
        "root ::= \"\\q\"",
        "grammar: line 1, column 12: expected one of n t r x u U \\ \" [ ] - after a backslash, "
        "found: q\"");
    refuses("root ::= \"\\xg0\"",
            "grammar: line 1, column 13: expected a hexadecimal digit, found: g0\"");
    refuses(
        "root ::= [c-a]",
        "grammar: line 1, column 14: expected a range that ends behind its beginning before this, "
        "found: ]");
    refuses("root ::= <[5]>", "grammar: line 1, column 10: expected text, as tokens in < > are not "
                              "supported, found: <[5]>");
    refuses("root ::= \"a\" ]",
            "grammar: line 1, column 14: expected the next item, or the end of the line, found: ]");
}

/* Each would take for ever, all memory, or the whole stack elsewhere. */
static void grammar_cannot_cause_unbounded_work(void **state)
{
    static char text[80000];
    struct burble__grammar *grammar;
    (void)state;
    /* 2 ^ 40 stacks. */
    int n = sprintf(text, "root ::= r0\n");
    for (int i = 0; i < 40; i++)
        n += sprintf(text + n, "r%d ::= r%d \"a\" | r%d \"b\"\n", i, i + 1, i + 1);
    sprintf(text + n, "r40 ::= \"x\"\n");
    grammar = make(text);
    assert_true(burble__grammar_take(grammar, "xabab", 5));
    burble__grammar_destroy(&grammar);
    /* Any text in any number of ways. */
    grammar = make("root ::= root root root | root root | \"a\" | \"\"");
    for (int i = 0; i < 3000 && !burble__grammar_gave_up(grammar); i++)
        burble__grammar_take(grammar, "a", 1);
    burble__grammar_destroy(&grammar);
    /* Sets of many ranges, at many places at once, which have none of the characters. */
    n = sprintf(text, "root ::= \"a\"* [a");
    for (unsigned c = 0x4E00; c < 0x4E00 + 15000; c += 2)
        n += sprintf(text + n, "%c%c%c", (int)(0xE0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3F)),
                     (int)(0x80 | (c & 0x3F)));
    sprintf(text + n, "]{2000}");
    grammar = make(text);
    for (int i = 0; i < 1000; i++)
        assert_true(burble__grammar_take(grammar, "a", 1));
    burble__grammar_begin_walk(grammar);
    for (char c = 'b'; c <= 'z'; c++)
        assert_false(burble__grammar_walk(grammar, &c, 1, 0));
    burble__grammar_end_walk(grammar);
    assert_true(burble__grammar_gave_up(grammar));
    burble__grammar_destroy(&grammar);
    /* Parentheses, and repetitions of repetitions. */
    memset(text, '(', 60000);
    memcpy(text, "root ::= ", 9);
    text[60000] = '\0';
    refuses(text, "grammar: line 1, column 75: expected at most 64 open parentheses before this, "
                  "found: ((((((((((((((((((((");
    burble_error error;
    assert_result(burble__grammar_create("root ::= (((\"a\"{2000}){2000}){2000}){2000}", 43,
                                         &grammar, &error),
                  BURBLE_EINVAL);
    for (int i = 0; i < 70000; i++)
        text[i] = ' ';
    text[70000] = '\0';
    refuses(text, "grammar: expected at most 65536 bytes, found 70000");
}

/* Each text of up to 3 bytes of a few, as a grammar: it is made or refused, and reads no further. */
static void any_bytes_are_a_grammar_or_refused(void **state)
{
    static const char some[] = "\"[]()|*+?{},\\-.^a0 \n#:=<\xC3\xA9";
    enum { N = sizeof some - 1 };
    (void)state;
    for (int i = 0; i < N * N * N; i++) {
        struct burble__grammar *grammar;
        char *text = malloc(12);
        assert_non_null(text);
        memcpy(text, "root ::= ", 9);
        text[9] = some[i % N];
        text[10] = some[i / N % N];
        text[11] = some[i / N / N];
        if ((text[9] | text[10] | text[11]) > 0) { /* UTF-8, which is checked before */
            if (burble__grammar_create(text, 12, &grammar, NULL) == BURBLE_OK)
                burble__grammar_allows(grammar, "a0", 2);
            burble__grammar_destroy(&grammar);
        }
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_and_alternatives_match),
        cmocka_unit_test(repetitions_have_their_bounds),
        cmocka_unit_test(sets_have_their_characters),
        cmocka_unit_test(part_of_a_character_is_allowed_if_one_is),
        cmocka_unit_test(recursion_on_each_side_matches),
        cmocka_unit_test(json_is_an_object),
        cmocka_unit_test(walk_equals_single_texts),
        cmocka_unit_test(text_that_is_no_grammar_is_refused),
        cmocka_unit_test(grammar_cannot_cause_unbounded_work),
        cmocka_unit_test(any_bytes_are_a_grammar_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
