/* SPDX-License-Identifier: MIT
 *
 * What a scenario of the memory model check is made of, and what it may call. checker.cpp has the
 * inside.
 *
 * The threads of a scenario are run over and over, each time interleaved in another way, and each
 * load is handed any value that C11 allows it. What they share lies in static variables, which
 * `before` sets anew each time: these are not looked at for races, the heap is.
 */
#ifndef BURBLE_TESTS_MODEL_H
#define BURBLE_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MODEL_THREADS = 3 };

struct model_scenario {
    const char *name;
    unsigned threads; /* 2 or 3 */
    void (*before)(void);
    void (*thread[MODEL_THREADS])(void);
    void (*after)(void); /* alone again; afterwards nothing may be left on the heap */
};

extern const struct model_scenario model_scenarios[]; /* ends with a name of NULL */

/* Fails the check with this reason. Does not return. */
void model_fail(const char *why);

/* One of 0 … n - 1; all are tried. */
unsigned model_choose(unsigned n);

/* Sleeps until the descriptor of a hub is readable. Orders nothing: a kernel promises nothing here. */
void model_poll(int fd);

#ifdef __cplusplus
}
#endif

#define model_check(what) ((what) ? (void)0 : model_fail("not so: " #what))

#endif
