/* SPDX-License-Identifier: MIT */
#include "serve/wheel.h"

void burble__wheel_init(struct burble__wheel *wheel, uint64_t now)
{
    *wheel = (struct burble__wheel){.tick = now / BURBLE__WHEEL_TICK};
}

static void link_to(struct burble__timer **slot, struct burble__timer *timer)
{
    timer->next = *slot;
    timer->at = slot;
    if (timer->next != NULL)
        timer->next->at = &timer->next;
    *slot = timer;
}

static void unlink_it(struct burble__timer *timer)
{
    *timer->at = timer->next;
    if (timer->next != NULL)
        timer->next->at = timer->at;
    timer->next = NULL;
    timer->at = NULL;
}

void burble__wheel_set(struct burble__wheel *wheel, struct burble__timer *timer, uint64_t due)
{
    burble__wheel_clear(wheel, timer);
    timer->due = due;
    uint64_t tick = due / BURBLE__WHEEL_TICK + 1; /* rounded up: never too early */
    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    if (tick >= wheel->tick + BURBLE__WHEEL_SLOTS)
        tick = wheel->tick + BURBLE__WHEEL_SLOTS - 1; /* it is moved on when that comes */
    link_to(&wheel->slots[tick % BURBLE__WHEEL_SLOTS], timer);
    wheel->n++;
}

void burble__wheel_clear(struct burble__wheel *wheel, struct burble__timer *timer)
{
    if (timer->at == NULL)
        return;
    unlink_it(timer);
    wheel->n--;
}

uint64_t burble__wheel_next(const struct burble__wheel *wheel)
{
    if (wheel->n == 0)
        return UINT64_MAX;
    uint64_t tick = wheel->tick + 1;
    while (wheel->slots[tick % BURBLE__WHEEL_SLOTS] == NULL)
        tick++;
    return tick * BURBLE__WHEEL_TICK;
}

void burble__wheel_turn(struct burble__wheel *wheel, uint64_t now)
{
    const uint64_t to = now / BURBLE__WHEEL_TICK;
    uint64_t turns = to > wheel->tick ? to - wheel->tick : 0;
    if (turns > BURBLE__WHEEL_SLOTS) {
        wheel->tick = to - BURBLE__WHEEL_SLOTS;
        turns = BURBLE__WHEEL_SLOTS;
    }
    for (; turns > 0; turns--) {
        struct burble__timer *due = NULL;
        struct burble__timer **slot = &wheel->slots[++wheel->tick % BURBLE__WHEEL_SLOTS];
        /* A list of their own, since the functions may set timers to this slot again. */
        while (*slot != NULL) {
            struct burble__timer *timer = *slot;
            unlink_it(timer);
            link_to(&due, timer);
        }
        while (due != NULL) {
            struct burble__timer *timer = due;
            burble__wheel_clear(wheel, timer);
            if (timer->due > now)
                burble__wheel_set(wheel, timer, timer->due);
            else
                timer->fire(timer);
        }
    }
}
