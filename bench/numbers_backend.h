/* SPDX-License-Identifier: MIT
 *
 * The backend of serve_numbers.c and relay_numbers.c: one thread that makes a piece of text for each answer, at a rate
 * (serve_pace.h).
 */
#ifndef BURBLE_BENCH_NUMBERS_BACKEND_H
#define BURBLE_BENCH_NUMBERS_BACKEND_H

#include <stdbool.h>

#include <burble/serve.h>

/* The model `numbers`. */
burble_serve_model numbers_model(void);

/* Starts the thread: pieces a second for each answer, above 0. A piece is " @" and the microseconds of CLOCK_MONOTONIC, modulo
 * 10 seconds, if it is `stamped`; else as serve_pace.h makes it. Returns whether there is a thread. Once. */
bool numbers_start(double rate, bool stamped);

#endif
