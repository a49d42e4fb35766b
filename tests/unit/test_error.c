/* SPDX-License-Identifier: MIT
 *
 * Every result has a name and a text, and no two have the same.
 */
#include "support.h"

#include <string.h>

#include <burble/burble.h>

#include "base/error_message.h"
#include "base/utf8.h"

static const int results[] = {
#define VALUE_OF(name, value, text) value,
    BURBLE_RESULTS(VALUE_OF)
#undef VALUE_OF
};
static const size_t n_results = sizeof results / sizeof results[0];

static void result_has_name_and_text_of_its_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_results; i++) {
        const char *name = burble_result_name(results[i]);
        const char *text = burble_result_text(results[i]);
        assert_memory_equal(name, "BURBLE_", 7);
        assert_true(strlen(name) > 7 && strlen(text) > 0);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(name, burble_result_name(results[j]));
            assert_string_not_equal(text, burble_result_text(results[j]));
        }
    }
    assert_string_equal(burble_result_name(BURBLE_OK), "BURBLE_OK");
    assert_string_equal(burble_result_name(BURBLE_ENOMEM), "BURBLE_ENOMEM");
}

static void unknown_result_is_called_unknown(void **state)
{
    (void)state;
    assert_string_equal(burble_result_name(12345), "BURBLE_?");
    assert_string_equal(burble_result_text(12345), "unknown result");
}

/* Whatever is quoted in it, and wherever it is cut. */
static void message_is_valid_utf8(void **state)
{
    static const struct {
        const char *quoted, *message;
    } cases[] = {
        {"na\xC3\xAFve", "na\xC3\xAFve: no"},
        {"caf\xE9", "caf?: no"},
        {"\xFF\xFE", "??: no"},
        {"\xE2\x82", "?: no"},
        {"\xED\xA0\x80", "???: no"},
    };
    burble_error error;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_result(burble__error_set(&error, BURBLE_EFORMAT, "%s: no", cases[i].quoted),
                      BURBLE_EFORMAT);
        assert_string_equal(error.message, cases[i].message);
    }
    assert_result(burble__error_set(NULL, BURBLE_EFORMAT, "%s", "\xFF"), BURBLE_EFORMAT);

    char name[600];
    for (size_t from = 0; from < 4; from++) {
        memset(name, 'x', from);
        for (size_t i = from; i < sizeof name; i += 4)
            memcpy(name + i, "😀", i + 4 < sizeof name ? 4 : sizeof name - i);
        name[sizeof name - 1] = '\0';
        burble__error_set(&error, BURBLE_EFORMAT, "%s", name);
        const size_t len = strlen(error.message);
        assert_true(burble__utf8_valid(error.message, len));
        assert_memory_equal(error.message, name, len);
        assert_true(len >= sizeof error.message - 4);
    }
}

static void version_of_library_equals_headers(void **state)
{
    (void)state;
    assert_string_equal(burble_version(), BURBLE_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(result_has_name_and_text_of_its_own),
        cmocka_unit_test(unknown_result_is_called_unknown),
        cmocka_unit_test(message_is_valid_utf8),
        cmocka_unit_test(version_of_library_equals_headers),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
