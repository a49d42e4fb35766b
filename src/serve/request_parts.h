/* SPDX-License-Identifier: MIT
 *
 * The parts of parsing a request that are in files of their own.
 */
#ifndef BURBLE_SERVE_REQUEST_PARTS_H
#define BURBLE_SERVE_REQUEST_PARTS_H

#include "serve/request.h"

/* `messages` of a chat. */
bool burble__request_messages(struct burble__request *request, const json_t *value,
                              struct burble__problem *problem);

/* A member of the body that may be a parameter (BURBLE_SERVE_PARAMETERS). *known: whether it is one. `value` is not null. */
bool burble__request_parameter(struct burble__request *request, const char *name,
                               const json_t *value, bool *known, struct burble__problem *problem);

/* Notes a JSON Schema for the answer, from the member `param` of the body; `path` is where it is. Both are static. */
bool burble__request_schema(struct burble__request *request, json_t *schema, const char *param,
                            const char *path, struct burble__problem *problem);

/* What has to be checked once all parameters are there. */
bool burble__request_parameters_end(struct burble__request *request,
                                    struct burble__problem *problem);

/* Notes what only a backend that reads the body itself may be sent, if it is the first. Returns true. */
bool burble__request_unknown(struct burble__request *request, const char *path, const char *format,
                             ...) BURBLE__PRINTF(3, 4);

#endif
