/* SPDX-License-Identifier: MIT
 *
 * Every result has a name and a text, and no two have the same.
 */
#include "support.h"

#include <string.h>

#include <burble/burble.h>

static const int results[] = {
#define VALUE_OF(name, value, text) value,
    BURBLE_RESULTS(VALUE_OF)
#undef VALUE_OF
};
static const size_t n_results = sizeof results / sizeof results[0];

static void each_result_has_a_name_and_a_text_of_its_own(void **state)
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

static void what_is_no_result_is_called_so(void **state)
{
    (void)state;
    assert_string_equal(burble_result_name(12345), "BURBLE_?");
    assert_string_equal(burble_result_text(12345), "unknown result");
}

static void the_library_is_the_version_of_its_headers(void **state)
{
    (void)state;
    assert_string_equal(burble_version(), BURBLE_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_result_has_a_name_and_a_text_of_its_own),
        cmocka_unit_test(what_is_no_result_is_called_so),
        cmocka_unit_test(the_library_is_the_version_of_its_headers),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
