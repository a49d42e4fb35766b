/* SPDX-License-Identifier: MIT
 *
 * What libFuzzer calls, and the program that replays a corpus.
 */
#ifndef BURBLE_TESTS_FUZZ_H
#define BURBLE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Runs one input; ends the process where a promise does not hold. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
