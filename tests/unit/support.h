/* SPDX-License-Identifier: MIT
 *
 * Shared by the C tests: cmocka with the headers that it needs first, assertions that say what was
 * expected and found, and a random generator of our own, so that a seed means the same everywhere.
 *
 * A function that checks something for several tests takes the place that called it, and checks with
 * the assertions that end in _at. A macro passes the place, so that a failure names the line of the
 * test:
 *
 *     static void expect_at(struct place at, burble_reader *reader, const char *text) {...}
 *     #define expect(...) expect_at(HERE, __VA_ARGS__)
 */
#ifndef BURBLE_TESTS_SUPPORT_H
#define BURBLE_TESTS_SUPPORT_H

/* clang-format off */
#include <setjmp.h> /* cmocka.h wants these before it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include <burble/error.h>

/* ---- assertions with a place ----------------------------------------------------------------- */

struct place {
    const char *file;
    int line;
};
#define HERE ((struct place){__FILE__, __LINE__})

#define assert_true_at(at, condition)                                                              \
    _assert_true(cast_to_largest_integral_type(condition), #condition, (at).file, (at).line)
#define assert_false_at(at, condition)                                                             \
    _assert_true(!(condition), "!(" #condition ")", (at).file, (at).line)
#define assert_null_at(at, pointer)                                                                \
    _assert_true((pointer) == NULL, #pointer " == NULL", (at).file, (at).line)
#define assert_non_null_at(at, pointer)                                                            \
    _assert_true((pointer) != NULL, #pointer " != NULL", (at).file, (at).line)
#define assert_memory_equal_at(at, found, expected, size)                                          \
    _assert_memory_equal(found, expected, size, (at).file, (at).line)
#define assert_string_equal_at(at, found, expected)                                                \
    _assert_string_equal(found, expected, (at).file, (at).line)
#define assert_int_equal_at(at, found, expected)                                                   \
    check_int_at(at, #found, cast_to_largest_integral_type(found), #expected,                      \
                 cast_to_largest_integral_type(expected))
#define assert_result_at(at, call, expected) check_result_at(at, #call, call, expected)

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static inline void fail_at(struct place at, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    print_error("%s\n", message);
    _fail(at.file, at.line);
}

static inline void check_int_at(struct place at, const char *what, uintmax_t found,
                                const char *wanted, uintmax_t expected)
{
    if (found != expected)
        fail_at(at, "%s: expected %s (%jd), found %jd", what, wanted, (intmax_t)expected,
                (intmax_t)found);
}

static inline void check_result_at(struct place at, const char *call, int found, int expected)
{
    if (found != expected)
        fail_at(at, "%s: expected %s, found %s", call, burble_result_name(expected),
                burble_result_name(found));
}

/* cmocka's own prints hexadecimal numbers alone. */
#undef assert_int_equal
#define assert_int_equal(found, expected) assert_int_equal_at(HERE, found, expected)

/* A function of burble returns this result. */
#define assert_result(call, expected) assert_result_at(HERE, call, expected)

/* ---- random numbers -------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* The seed of a test: fixed, or what BURBLE_TEST_SEED says. Printed, so that a failure can be had
 * again. */
static inline uint64_t test_seed(uint64_t fixed)
{
    const char *given = getenv("BURBLE_TEST_SEED");
    const uint64_t seed = given == NULL ? fixed : strtoull(given, NULL, 0);
    printf("seed: BURBLE_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
