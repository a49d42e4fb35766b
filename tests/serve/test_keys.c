/* SPDX-License-Identifier: MIT
 *
 * API keys, origins and hosts.
 */
#include "protocol.h"

#include "serve/cors.h"
#include "serve/hosts.h"
#include "serve/keys.h"

static bool check(struct burble__keys *keys, const char *presented, uint64_t *identity)
{
    return burble__keys_check(keys, presented, strlen(presented), identity);
}

static void test_without_keys_anybody_may(void **state)
{
    (void)state;
    struct burble__keys *keys;
    uint64_t identity = 7;
    assert_result(burble__keys_create(&keys), BURBLE_OK);
    assert_true(check(keys, "", &identity));
    assert_true(identity == 0);
    assert_true(check(keys, "whatever", &identity));
    assert_true(identity == 0);
    burble__keys_destroy(&keys);
    burble__keys_destroy(&keys);
    burble__keys_destroy(NULL);
}

static void test_only_whole_keys_are_let_in(void **state)
{
    (void)state;
    static const char *const list[] = {"sk-abc", "sk-abcd", "x"};
    struct burble__keys *keys;
    uint64_t first, second, third, identity;
    assert_result(burble__keys_create(&keys), BURBLE_OK);
    assert_result(burble__keys_set(keys, list, 3, NULL), BURBLE_OK);
    assert_true(check(keys, "sk-abc", &first));
    assert_true(check(keys, "sk-abcd", &second));
    assert_true(check(keys, "x", &third));
    assert_true(first != 0 && second != 0 && third != 0);
    assert_true(first != second && second != third && first != third);
    static const char *const wrong[] = {"",   "s",     "sk-ab", "sk-abcde", "sk-abcsk-abc",
                                        "xx", "SK-ABC"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(check(keys, wrong[i], &identity));
        assert_true(identity == 0);
    }
    assert_false(burble__keys_check(keys, "x\0x", 3, &identity));
    char longest[BURBLE__KEY_MAX + 1];
    memset(longest, 'x', sizeof longest);
    assert_false(burble__keys_check(keys, longest, sizeof longest, &identity));
    burble__keys_destroy(&keys);
}

static void test_identity_outlives_a_reload(void **state)
{
    (void)state;
    static const char *const before[] = {"a", "b"}, *const after[] = {"c", "b"};
    struct burble__keys *keys;
    uint64_t old, new;
    assert_result(burble__keys_create(&keys), BURBLE_OK);
    assert_result(burble__keys_set(keys, before, 2, NULL), BURBLE_OK);
    assert_true(check(keys, "b", &old));
    assert_result(burble__keys_set(keys, after, 2, NULL), BURBLE_OK);
    assert_true(check(keys, "b", &new));
    assert_true(old == new);
    assert_false(check(keys, "a", &new));
    assert_result(burble__keys_set(keys, NULL, 0, NULL), BURBLE_OK);
    assert_true(check(keys, "a", &new));
    burble__keys_destroy(&keys);
}

static void test_shared_identities_are_those_of_other_sets(void **state)
{
    (void)state;
    static const char *const some[] = {"one", "two"}, *const others[] = {"three", "two"};
    struct burble__keys *a, *b, *alone;
    uint64_t of_a, of_b, of_alone, one;
    assert_result(burble__keys_create(&a), BURBLE_OK);
    assert_result(burble__keys_create(&b), BURBLE_OK);
    assert_result(burble__keys_create(&alone), BURBLE_OK);
    assert_result(burble__keys_set(a, some, 2, NULL), BURBLE_OK); /* before, and after */
    burble__keys_share_identities(a);
    burble__keys_share_identities(b);
    assert_result(burble__keys_set(b, others, 2, NULL), BURBLE_OK);
    assert_result(burble__keys_set(alone, others, 2, NULL), BURBLE_OK);
    assert_true(check(a, "two", &of_a));
    assert_true(check(b, "two", &of_b));
    assert_true(check(alone, "two", &of_alone));
    assert_true(check(a, "one", &one));
    assert_true(of_a == of_b);
    assert_true(of_a != one);
    assert_true(of_a != of_alone);
    burble__keys_destroy(&a);
    burble__keys_destroy(&b);
    burble__keys_destroy(&alone);
}

static void test_keys_that_no_header_can_carry_are_refused(void **state)
{
    (void)state;
    char longest[BURBLE__KEY_MAX + 2];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const wrong[] = {"", "a b", "a\n", "\xc3\xa9", longest, NULL};
    static const char *const good[] = {"good"};
    struct burble__keys *keys;
    uint64_t identity;
    assert_result(burble__keys_create(&keys), BURBLE_OK);
    assert_result(burble__keys_set(keys, good, 1, NULL), BURBLE_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const list[] = {"fine", wrong[i]};
        burble_error error;
        assert_result(burble__keys_set(keys, list, 2, &error), BURBLE_EINVAL);
        assert_string_equal(error.message, "keys[1]: expected 1 to 512 visible ASCII characters, "
                                           "found other ones");
    }
    assert_true(check(keys, "good", &identity));
    const char *const most[] = {longest + 1};
    assert_result(burble__keys_set(keys, most, 1, NULL), BURBLE_OK);
    assert_true(check(keys, longest + 1, &identity));
    burble__keys_destroy(&keys);
}

static void test_bearer(void **state)
{
    (void)state;
    static const struct {
        const char *value, *key;
    } cases[] = {
        {"Bearer abc", "abc"}, {"bearer  abc \t", "abc"}, {"BEARER a b", "a b"}, {"Bearer", ""},
        {"Bearer ", ""},       {"Basic abc", ""},         {"Bearerabc", ""},     {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len;
        const char *key = burble__keys_bearer(cases[i].value, strlen(cases[i].value), &len);
        assert_int_equal(len, strlen(cases[i].key));
        assert_memory_equal(key, cases[i].key, len);
    }
    assert_true(burble__equal_secrets("abc", "abc", 3));
    assert_false(burble__equal_secrets("abc", "abd", 3));
    assert_false(burble__equal_secrets("xbc", "abc", 3));
}

static void test_origins(void **state)
{
    (void)state;
    static const char *const some[] = {"https://a.example", "http://localhost:3000"};
    static const char *const any[] = {"*"};
    static const char origin[] = "http://localhost:3000";
    const size_t len = strlen(origin);
    assert_true(burble__cors_allows(some, 2, origin, len));
    assert_false(burble__cors_allows(some, 2, origin, len - 1));
    assert_false(burble__cors_allows(some, 0, origin, len));
    assert_true(burble__cors_allows(any, 1, origin, len));
    NEW_BUFFER(out);
    assert_result(burble__cors_write(some, 2, origin, len, &out), BURBLE_OK);
    EXPECT(&out, "Access-Control-Allow-Origin: http://localhost:3000\r\nVary: Origin\r\n"
                 "Access-Control-Expose-Headers: Burble-Stream, Burble-Token, Retry-After, "
                 "X-Request-Id\r\n");
    assert_result(burble__cors_write(any, 1, origin, len, &out), BURBLE_OK);
    EXPECT(&out, "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Burble-Stream, "
                 "Burble-Token, Retry-After, X-Request-Id\r\n");
}

#define PREFLIGHT                                                                                  \
    "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, POST, DELETE, "          \
    "OPTIONS\r\nAccess-Control-Max-Age: 600\r\nAccess-Control-Allow-Headers: Authorization, "      \
    "Content-Type, Last-Event-ID, Idempotency-Key, Burble-Resumable, X-Request-Id"

static void test_preflights(void **state)
{
    (void)state;
    static const char *const any[] = {"*"};
    static const struct {
        const char *requested, *reply;
    } cases[] = {
        {NULL, PREFLIGHT "\r\n"},
        {"", PREFLIGHT "\r\n"},
        {"x-stainless-os, authorization", PREFLIGHT ", x-stainless-os, authorization\r\n"},
        {"a\r\nSet-Cookie: x", PREFLIGHT "\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *requested = cases[i].requested;
        NEW_BUFFER(out);
        assert_result(burble__cors_write_preflight(any, 1, "http://a", 8, requested,
                                                   requested == NULL ? 0 : strlen(requested), &out),
                      BURBLE_OK);
        EXPECT(&out, cases[i].reply);
    }
}

static void test_hosts_are_compared_without_port_and_case(void **state)
{
    (void)state;
    static const char *const some[] = {"localhost", "[::1]", "Example.com"};
    static const char *const any[] = {"*"};
    static const char *const in[] = {"localhost", "LOCALHOST:8080", "localhost.", "localhost.:80",
                                     "[::1]",     "[::1]:8080",     "example.com"};
    static const char *const out[] = {
        "",    ":8080", ".",     "localhost.evil.example", "evil.localhost",       "localhos",
        "::1", "[::1",  "[::2]", "localhost@evil.example", "example.com,localhost"};
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++)
        assert_true(burble__hosts_have(some, 3, in[i]));
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        assert_false(burble__hosts_have(some, 3, out[i]));
        assert_true(burble__hosts_have(any, 1, out[i]));
    }
}

static void test_hosts_that_none_can_be_are_refused(void **state)
{
    (void)state;
    static const char *const good[] = {"*", "a", "127.0.0.1", "[::1]", "a-b.example"};
    static const char *const bad[] = {"",         "a:80", "[::1]:80", "[::1",
                                      "http://a", "a/",   "a b",      NULL};
    burble_error error = {.code = BURBLE_OK};
    assert_result(burble__hosts_check(good, 5, &error), BURBLE_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *const list[] = {"a", bad[i]};
        assert_result(burble__hosts_check(list, 2, &error), BURBLE_EINVAL);
        assert_memory_equal(error.message, "allowed_hosts[1]: ", 18);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_keys_anybody_may),
        cmocka_unit_test(test_only_whole_keys_are_let_in),
        cmocka_unit_test(test_identity_outlives_a_reload),
        cmocka_unit_test(test_shared_identities_are_those_of_other_sets),
        cmocka_unit_test(test_keys_that_no_header_can_carry_are_refused),
        cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_preflights),
        cmocka_unit_test(test_hosts_are_compared_without_port_and_case),
        cmocka_unit_test(test_hosts_that_none_can_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
