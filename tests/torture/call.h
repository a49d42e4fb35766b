/* SPDX-License-Identifier: MIT
 *
 * The command, called as a function: once while nothing fails, then while something does.
 */
#ifndef BURBLE_TESTS_CALL_H
#define BURBLE_TESTS_CALL_H

#include <stdbool.h>
#include <stddef.h>

enum { CALL_ARGUMENTS = 16 };

struct call {
    const char *arguments[CALL_ARGUMENTS]; /* "burble" first */
    const void *input;                     /* what standard input has */
    size_t input_len;
    bool several; /* texts, each of which may fail alone */
};

/* Its text and messages are the same both times, or the second ends with 1, a message, and a beginning
 * of the text (of several: with some of them). */
void torture_call(const struct call *call);

#endif
