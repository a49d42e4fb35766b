/* SPDX-License-Identifier: MIT
 *
 * Deadlines of many objects of one event loop: a hashed wheel. Setting, moving and removing a timer take constant
 * time. A timer fires at its time or up to BURBLE__WHEEL_TICK ms later, never before.
 *
 * Deadlines that only ever move away, such as that of a client that keeps reading, need not be set at each event:
 * the object notes its last event, and its function sets the timer again if it is too early.
 */
#ifndef BURBLE_SERVE_WHEEL_H
#define BURBLE_SERVE_WHEEL_H

#include <stddef.h>
#include <stdint.h>

enum { BURBLE__WHEEL_TICK = 32, BURBLE__WHEEL_SLOTS = 128 };

struct burble__timer {
    struct burble__timer *next, **at; /* `at` NULL: it is not set */
    uint64_t due;                     /* in ms, of the clock that the wheel is turned by */
    void (*fire)(struct burble__timer *timer);
};

struct burble__wheel {
    struct burble__timer *slots[BURBLE__WHEEL_SLOTS];
    uint64_t tick; /* the last one that was turned to */
    size_t n;      /* timers that are set */
};

/* Nanoseconds in ms, rounded up, so that no timer fires too early. */
static inline uint64_t burble__in_ms(uint64_t ns)
{
    return ns / 1000000 + (ns % 1000000 != 0);
}

/* No timer is set; `now` in ms. */
void burble__wheel_init(struct burble__wheel *wheel, uint64_t now);

/* Sets a timer, or moves it. A time that has passed is the next tick. */
void burble__wheel_set(struct burble__wheel *wheel, struct burble__timer *timer, uint64_t due);

/* Takes a timer off; nothing happens if it is not set. */
void burble__wheel_clear(struct burble__wheel *wheel, struct burble__timer *timer);

/* When it has to be turned next, in ms; UINT64_MAX: no timer is set. */
uint64_t burble__wheel_next(const struct burble__wheel *wheel);

/* Calls the functions of the timers that are due. They may set and clear any timer. */
void burble__wheel_turn(struct burble__wheel *wheel, uint64_t now);

#endif
