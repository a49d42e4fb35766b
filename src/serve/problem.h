/* SPDX-License-Identifier: MIT
 *
 * What is wrong with a request, or with an answer: OpenAI's error object, and the HTTP status.
 */
#ifndef BURBLE_SERVE_PROBLEM_H
#define BURBLE_SERVE_PROBLEM_H

#include <stdbool.h>

#include <burble/error.h>
#include <burble/stream.h>

#include "base/buffer.h"
#include "base/error_message.h"

struct burble__problem {
    unsigned status;      /* of HTTP; 0: no problem */
    unsigned retry_after; /* seconds, for the header Retry-After; 0: none */
    const char *type;     /* a static string, such as "invalid_request_error" */
    const char *code;     /* a static string, or NULL */
    char param[128];      /* "": none. A longer one is cut */
    char message[512];    /* UTF-8; a longer one is cut */
};

/* Fills it in; `type` and `retry_after` follow from the status. `code` is a static string or NULL, `param` may be NULL.
 * Returns false, for functions that report a problem in this way. */
bool burble__problem_set(struct burble__problem *problem, unsigned status, const char *code,
                         const char *param, const char *format, ...) BURBLE__PRINTF(5, 6);

/* Out of memory: 503. Returns false. */
bool burble__problem_memory(struct burble__problem *problem);

/* The result of a backend, which is not BURBLE_OK, and its error. If the message begins with the name of a parameter and a
 * colon, that is `param`. */
void burble__problem_of_result(struct burble__problem *problem, int result,
                               const burble_error *error);

/* The end of a stream that has failed or was cancelled. */
void burble__problem_of_status(struct burble__problem *problem, const burble_status *status);

/* Appends the body of the response: {"error":{"message":…,"type":…,"param":…,"code":…}}. BURBLE_OK or BURBLE_ENOMEM. */
int burble__problem_write(const struct burble__problem *problem, struct burble__buffer *buffer);

/* The phrase of a status that the server uses, such as "Not Found". */
const char *burble__status_phrase(unsigned status);

#endif
