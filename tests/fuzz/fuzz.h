/* SPDX-License-Identifier: MIT
 *
 * What libFuzzer calls, and the program that replays a corpus.
 */
#ifndef BURBLE_TESTS_FUZZ_H
#define BURBLE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the process where a promise does not hold. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* An input, taken apart from its beginning. */
struct input {
    const uint8_t *at;
    size_t left;
};

/* Its next byte, 0 behind its end. */
static inline uint8_t next_byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

/* Runs one input; ends the process where a promise does not hold. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
