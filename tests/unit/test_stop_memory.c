/* SPDX-License-Identifier: MIT
 *
 * The stop filter where memory is short: each of its allocations fails in turn. Its sources are
 * compiled in here, with an allocator that fails when it is told to.
 */
#include "support.h"

#include <stdbool.h>
#include <string.h>

#define BURBLE_BASE_ALLOC_H /* instead of src/base/alloc.h */

static size_t allocations; /* still to succeed */
static size_t failed;

static bool fails(void)
{
    if (allocations > 0) {
        allocations--;
        return false;
    }
    failed++;
    return true;
}

static void *burble__malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *burble__calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

static void *burble__realloc(void *p, size_t size)
{
    return fails() ? NULL : realloc(p, size);
}

static void burble__free(void *p)
{
    free(p);
}

/* NOLINTBEGIN(bugprone-suspicious-include): that is the point */
#include "../../src/base/buffer.c"
#include "../../src/text/matcher.c"
#include "../../src/text/stop.c"
/* NOLINTEND(bugprone-suspicious-include) */

static const burble_text strings[] = {{.bytes = "stop", .len = 4}, {.bytes = "stay", .len = 4}};

static void create_without_memory_fails_and_leaks_nothing(void **state)
{
    (void)state;
    burble_stop *stop = NULL;
    for (size_t i = 0; stop == NULL; i++) {
        burble_error error = {.code = 0};
        allocations = i;
        failed = 0;
        const int result = burble_stop_create(strings, 2, false, &stop, &error);
        if (failed == 0) {
            assert_result(result, BURBLE_OK);
            assert_true(i > 3);
        } else {
            assert_result(result, BURBLE_ENOMEM);
            assert_result(error.code, BURBLE_ENOMEM);
            assert_null(stop);
        }
    }
    burble_stop_destroy(&stop);
}

static void copy_without_memory_fails_and_leaks_nothing(void **state)
{
    (void)state;
    burble_stop *stop, *copy;
    allocations = 100;
    assert_result(burble_stop_create(strings, 2, false, &stop, NULL), BURBLE_OK);
    allocations = 0;
    assert_result(burble_stop_copy(stop, &copy), BURBLE_ENOMEM);
    assert_null(copy);
    allocations = 1; /* the strings are shared */
    assert_result(burble_stop_copy(stop, &copy), BURBLE_OK);
    burble_stop_destroy(&stop);
    burble_stop_destroy(&copy);
}

static void push_without_memory_can_be_repeated(void **state)
{
    (void)state;
    burble_stop *stop;
    burble_text out;
    burble_stop_match match = {.which = 99};
    allocations = 100;
    assert_result(burble_stop_create(strings, 2, false, &stop, NULL), BURBLE_OK);
    assert_result(burble_stop_push(stop, "a st", 4, &out, &match), BURBLE_OK);
    assert_int_equal(out.len, 2);
    for (int i = 0; i < 2; i++) {
        allocations = 0;
        assert_result(burble_stop_push(stop, "age stop", 8, &out, &match), BURBLE_ENOMEM);
        assert_non_null(out.bytes);
        assert_int_equal(out.len, 0);
        assert_true(burble_stop_has_pending(stop));
        assert_int_equal(match.which, 99);
    }
    allocations = 100;
    assert_result(burble_stop_push(stop, "age stop", 8, &out, &match), BURBLE_END);
    assert_int_equal(out.len, 6);
    assert_memory_equal(out.bytes, "stage ", 6);
    assert_int_equal(match.which, 0);
    assert_int_equal(match.begin, 8);
    burble_stop_destroy(&stop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_without_memory_fails_and_leaks_nothing),
        cmocka_unit_test(copy_without_memory_fails_and_leaks_nothing),
        cmocka_unit_test(push_without_memory_can_be_repeated),
    };
    return cmocka_run_group_tests_name("stop_memory", tests, NULL, NULL);
}
