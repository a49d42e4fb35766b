/* SPDX-License-Identifier: MIT
 *
 * The files of the page, as they are in the library.
 */
#include "protocol.h"

#include "serve/page.h"

static const struct burble__asset *find(const char *path)
{
    return burble__asset_find(path, strlen(path));
}

static void test_page_and_its_files_are_found_by_their_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *type;
    } cases[] = {
        {"/", "text/html; charset=utf-8"},
        {"/page/page.css", "text/css; charset=utf-8"},
        {"/page/page.js", "text/javascript; charset=utf-8"},
        {"/page/icon.svg", "image/svg+xml"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct burble__asset *asset = find(cases[i].path);
        assert_non_null(asset);
        assert_string_equal(asset->path, cases[i].path);
        assert_string_equal(asset->type, cases[i].type);
        assert_true(asset->len > 100);
    }
}

static void test_nothing_else_is_found(void **state)
{
    (void)state;
    static const char *const paths[] = {"",
                                        "/page",
                                        "/page/",
                                        "/index.html",
                                        "/page/index.html",
                                        "/page/embed.py",
                                        "/page/page.jsx",
                                        "/page/page.j",
                                        "//",
                                        "/PAGE/page.js"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_null(find(paths[i]));
    assert_non_null(burble__asset_find("/page/page.js?x", strlen("/page/page.js")));
}

static bool matches(const struct burble__asset *asset, const char *format)
{
    char text[256];
    snprintf(text, sizeof text, format, asset->etag);
    return burble__asset_matches(asset, text, strlen(text));
}

static void test_known_tag_is_found_in_a_list(void **state)
{
    (void)state;
    const struct burble__asset *asset = find("/");
    assert_int_equal(asset->etag[0], '"');
    assert_string_not_equal(asset->etag, find("/page/page.js")->etag);
    assert_true(matches(asset, "%s"));
    assert_true(matches(asset, "W/%s"));
    assert_true(matches(asset, "\"a\", %s , \"b\""));
    assert_true(matches(asset, "*"));
    assert_false(matches(asset, ""));
    assert_false(matches(asset, "**"));
    assert_false(matches(asset, "\"a\""));
    assert_false(burble__asset_matches(asset, NULL, 0));
    assert_false(burble__asset_matches(asset, asset->etag, strlen(asset->etag) - 1));
    assert_false(matches(find("/page/page.js"), "\"%.3s\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_and_its_files_are_found_by_their_paths),
        cmocka_unit_test(test_nothing_else_is_found),
        cmocka_unit_test(test_known_tag_is_found_in_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
