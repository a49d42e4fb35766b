/* SPDX-License-Identifier: MIT
 *
 * The bodies of requests: JSON, checked in two steps. burble__request_parse makes every check that needs no model;
 * burble__request_check refuses what the backend of the model cannot do, by its name. Nothing is ignored: a member that
 * is not known is refused, unless the backend reads the body itself (BURBLE_SERVE_ANY). null is as if a member were
 * absent. What OpenAI's clients may send without asking for anything (`user`, `store` false, an empty list of
 * `tools` …) is accepted.
 *
 * Memory and time are in proportion to the body, and bounded by the number of its values. The functions block for
 * as long as they compute: call them in a thread that may.
 */
#ifndef BURBLE_SERVE_REQUEST_H
#define BURBLE_SERVE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/serve.h>

#include "serve/body.h"
#include "serve/problem.h"

/* The most bytes of prompts that an answer repeats (`echo`), in all its choices; ids count four. */
#define BURBLE__ECHO_MAX 262144u

struct burble__request {
    /* For the backend. The caller fills in `id`, `model` (that of the model that was found), `resumable`, `headers`,
     * `request_id` and `server`. */
    burble_serve_request wanted;
    const char *model; /* as the client named it; NULL: it did not */
    bool include_usage;
    bool echo;      /* the text of a choice begins with its prompt, which the server writes */
    json_t *schema; /* for the answer; NULL: none */
    const char *schema_param; /* the member of the body that has it, and where it is in the body */
    const char *schema_path;
    /* What only a backend with BURBLE_SERVE_ANY may be sent; status 0: nothing. */
    struct burble__problem unknown;
    struct burble__body body;
};

/* Parses a body, whose bytes must outlive the request. Returns true, with *out to be destroyed; or false, with *problem
 * filled in and *out NULL: 400, 413 or 503. */
bool burble__request_parse(burble_serve_route route, const char *body, size_t len,
                           unsigned max_depth, struct burble__request **out,
                           struct burble__problem *problem);

/* Whether the model's backend can do all that is asked for. If not, *problem is filled in. */
bool burble__request_check(const struct burble__request *request, const burble_serve_model *model,
                           struct burble__problem *problem);

/* NULL and a pointer to NULL are allowed. */
void burble__request_destroy(struct burble__request **request);

/* All choices of the answer: those of each prompt. */
uint32_t burble__request_choices(const struct burble__request *request);

/* The flags of the answer's begin frame: BURBLE__ANSWER_…. */
uint64_t burble__request_flags(const struct burble__request *request);

#endif
