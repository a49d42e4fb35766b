/* SPDX-License-Identifier: MIT
 *
 * The wheel of timers.
 */
#include "support.h"

#include "serve/wheel.h"

enum { TIMERS = 2000 };

struct thing {
    struct burble__timer timer; /* first */
    uint64_t fired;             /* when; 0: not yet */
};

static struct burble__wheel wheel;
static uint64_t clock_now;
static struct thing things[TIMERS];

static void note(struct burble__timer *timer)
{
    ((struct thing *)(void *)timer)->fired = clock_now;
}

static void turn_to(uint64_t now)
{
    clock_now = now;
    burble__wheel_turn(&wheel, now);
}

static int start(void **state)
{
    (void)state;
    clock_now = 1000003;
    burble__wheel_init(&wheel, clock_now);
    for (size_t i = 0; i < TIMERS; i++)
        things[i] = (struct thing){.timer.fire = note};
    return 0;
}

static void timers_fire_at_their_time_or_one_tick_later(void **state)
{
    (void)state;
    uint64_t random = 1;
    uint64_t due[TIMERS];
    for (size_t i = 0; i < TIMERS; i++) {
        due[i] = clock_now + next_random(&random) % 20000;
        burble__wheel_set(&wheel, &things[i].timer, due[i]);
    }
    for (uint64_t now = clock_now; wheel.n > 0; now += 1 + next_random(&random) % 40)
        if (now >= burble__wheel_next(&wheel)) /* no timer is missed */
            turn_to(now);
    assert_int_equal(burble__wheel_next(&wheel), UINT64_MAX);
    for (size_t i = 0; i < TIMERS; i++) {
        assert_true(things[i].fired >= due[i]);
        assert_true(things[i].fired <= due[i] + 2 * BURBLE__WHEEL_TICK + 41);
    }
}

static void late_turn_fires_everything_that_is_due(void **state)
{
    (void)state;
    for (size_t i = 0; i < TIMERS; i++)
        burble__wheel_set(&wheel, &things[i].timer, clock_now + i * 100);
    turn_to(clock_now + TIMERS * 50);
    for (size_t i = 0; i < TIMERS; i++)
        assert_true((things[i].fired != 0) == (i < TIMERS / 2)
                    || i == TIMERS / 2); /* that one is due just now */
    turn_to(clock_now + (UINT64_C(1) << 40));
    assert_int_equal(wheel.n, 0);
}

static void set_timer_is_moved_and_cleared(void **state)
{
    (void)state;
    burble__wheel_set(&wheel, &things[0].timer, clock_now + 100);
    burble__wheel_set(&wheel, &things[0].timer, clock_now + 10000);
    burble__wheel_set(&wheel, &things[1].timer, clock_now + 100);
    burble__wheel_clear(&wheel, &things[1].timer);
    burble__wheel_clear(&wheel, &things[1].timer);
    assert_int_equal(wheel.n, 1);
    turn_to(clock_now + 5000);
    assert_int_equal(things[0].fired, 0);
    assert_int_equal(things[1].fired, 0);
    turn_to(clock_now + 6000);
    assert_int_not_equal(things[0].fired, 0);
}

static void set_again(struct burble__timer *timer)
{
    note(timer);
    burble__wheel_set(&wheel, timer, clock_now); /* in the past: the next tick, and not for ever */
    burble__wheel_clear(&wheel, &things[1].timer);
}

static void function_may_set_and_clear_timers(void **state)
{
    (void)state;
    things[0].timer.fire = set_again;
    burble__wheel_set(&wheel, &things[1].timer, clock_now);
    burble__wheel_set(&wheel, &things[0].timer, clock_now);
    turn_to(clock_now + 100);
    assert_int_not_equal(things[0].fired, 0);
    assert_int_equal(wheel.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timers_fire_at_their_time_or_one_tick_later, start),
        cmocka_unit_test_setup(late_turn_fires_everything_that_is_due, start),
        cmocka_unit_test_setup(set_timer_is_moved_and_cleared, start),
        cmocka_unit_test_setup(function_may_set_and_clear_timers, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
