/* SPDX-License-Identifier: MIT
 *
 * Retries on an event loop, and when they are due.
 */
#define _GNU_SOURCE /* uv.h */

#include "support.h"

#include "serve/retry.h"

enum { TRIES = 8 };

static uv_loop_t loop;
static struct burble__retries retries;

/* An attempt that is tried again until nothing is left to try. */
struct attempt {
    struct burble__retry retry; /* first */
    unsigned left, tried;
    uint64_t waited[TRIES + 1]; /* ms before each retry */
};

static void begin(struct attempt *attempt)
{
    burble__retry_later(&retries, &attempt->retry);
    attempt->waited[attempt->tried] = attempt->retry.due - uv_now(&loop);
}

static void try_again(struct burble__retry *retry)
{
    struct attempt *attempt = (struct attempt *)(void *)retry;
    assert_true(uv_now(&loop) >= retry->due);
    attempt->tried++;
    if (attempt->left > 0) {
        attempt->left--;
        begin(attempt);
    }
}

static int open_loop(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(burble__retries_init(&retries, &loop), 0);
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    burble__retries_close(&retries);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void time_before_retry_doubles_up_to_40_ms(void **state)
{
    static const uint64_t longest[TRIES] = {5, 10, 20, 40, 40, 40, 40, 40};
    struct attempt attempt = {.retry.run = try_again, .left = TRIES - 1};
    (void)state;
    begin(&attempt);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(attempt.tried, TRIES);
    for (size_t i = 0; i < TRIES; i++)
        assert_in_range(attempt.waited[i], longest[i] - 4, longest[i]);
}

static void retry_after_success_comes_within_5_ms(void **state)
{
    struct attempt attempt = {.retry.run = try_again, .left = 3};
    (void)state;
    begin(&attempt);
    uv_run(&loop, UV_RUN_DEFAULT);
    attempt.retry.doubled = 0;
    begin(&attempt);
    assert_in_range(attempt.waited[4], 1, 5);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(attempt.tried, 5);
}

/* One has failed often; the other one has just begun. */
static void early_retry_does_not_wait_for_late_one(void **state)
{
    struct attempt late = {.retry = {.run = try_again, .doubled = 3}};
    struct attempt early = {.retry.run = try_again};
    (void)state;
    begin(&late);
    begin(&early);
    begin(&early); /* it is there already */
    uv_run(&loop, UV_RUN_ONCE);
    if (uv_now(&loop) < late.retry.due)
        assert_int_equal(late.tried, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(early.tried, 1);
    assert_int_equal(late.tried, 1);
    assert_true(early.retry.due < late.retry.due);
}

static void cancelled_retry_is_not_run(void **state)
{
    struct attempt kept = {.retry.run = try_again};
    struct attempt cancelled = {.retry.run = try_again};
    (void)state;
    begin(&kept);
    begin(&cancelled);
    burble__retry_never(&cancelled.retry);
    burble__retry_never(&cancelled.retry);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(kept.tried, 1);
    assert_int_equal(cancelled.tried, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(time_before_retry_doubles_up_to_40_ms, open_loop,
                                        close_loop),
        cmocka_unit_test_setup_teardown(retry_after_success_comes_within_5_ms, open_loop,
                                        close_loop),
        cmocka_unit_test_setup_teardown(early_retry_does_not_wait_for_late_one, open_loop,
                                        close_loop),
        cmocka_unit_test_setup_teardown(cancelled_retry_is_not_run, open_loop, close_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
