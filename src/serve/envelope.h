/* SPDX-License-Identifier: MIT
 *
 * The envelope of an answer: what all its events repeat, formatted once from its begin frame. All clients of the answer
 * share it.
 */
#ifndef BURBLE_SERVE_ENVELOPE_H
#define BURBLE_SERVE_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/frame.h>
#include <burble/serve.h>

#include "serve/json.h"
#include "serve/position.h"

/* The flags of a begin frame. */
#define BURBLE__ANSWER_INCLUDE_USAGE ((uint64_t)1)
#define BURBLE__ANSWER_LOGPROBS ((uint64_t)2)
#define BURBLE__ANSWER_CHOICES_SHIFT 8 /* then 8 bits: the number of choices; 0 counts as 1 */

struct burble__envelope {
    uint8_t route; /* a burble_serve_route */
    uint16_t choices;
    bool include_usage;
    bool logprobs;
    bool has_stream; /* whether the id has the usual form, with the name of the stream at its end */
    uint16_t id_end, object_end, model_end, len; /* in `bytes`, behind the quotes */
    char bytes[]; /* data: {"id":…,"object":…,"created":…,"model":…,"choices":[ */
};

/* Creates the envelope of a begin frame that was read. BURBLE_OK; BURBLE_EFORMAT: it is no begin frame, or its route or
 * number of choices is unknown; BURBLE_ENOMEM. */
int burble__envelope_create(const burble_frame *begin, struct burble__envelope **created);

/* NULL and a pointer to NULL are allowed. */
void burble__envelope_destroy(struct burble__envelope **envelope);

/* The name of the stream: BURBLE__STREAM_ID_LEN bytes, without NUL. For one that has_stream. */
static inline const char *burble__envelope_stream(const struct burble__envelope *envelope)
{
    return envelope->bytes + envelope->id_end - 1 - BURBLE__STREAM_ID_LEN;
}

/* A whole reply up to its first choice: {"id":…,"object":…,"created":…,"model":…,"choices":[ */
void burble__envelope_put_whole(const struct burble__envelope *envelope,
                                struct burble__output *out);

/* The data of the event `begin`: {"id":…,"created":…,"model":…} */
void burble__envelope_put_begin(const struct burble__envelope *envelope,
                                struct burble__output *out);

#endif
