/* SPDX-License-Identifier: MIT
 *
 * The reply to a request that is not streamed: the frames of an answer, collected, and one JSON object made of them.
 */
#ifndef BURBLE_SERVE_WHOLE_H
#define BURBLE_SERVE_WHOLE_H

#include <burble/frame.h>

#include "base/buffer.h"
#include "serve/envelope.h"
#include "serve/tally.h"

struct burble__whole;

/* Creates an empty one, which keeps at most `max` bytes of text and log-probabilities. The envelope must outlive it. BURBLE_OK or
 * BURBLE_ENOMEM. */
int burble__whole_create(const struct burble__envelope *envelope, uint64_t max,
                         struct burble__whole **out);

/* NULL and a pointer to NULL are allowed. */
void burble__whole_destroy(struct burble__whole **handle);

/* Adds a frame: its bytes, and what burble_frame_read made of them. BURBLE_OK; BURBLE_ENOMEM; BURBLE_EFULL: more than `max`;
 * BURBLE_EFORMAT: as burble__tally_add. */
int burble__whole_add(struct burble__whole *whole, const char *bytes, size_t len,
                      const burble_frame *frame);

/* The counts so far: its reasons and usage. */
const struct burble__tally *burble__whole_tally(const struct burble__whole *whole);

/* Appends the reply. All choices must have ended: burble__tally_is_complete. BURBLE_OK or BURBLE_ENOMEM. */
int burble__whole_write(const struct burble__whole *whole, struct burble__buffer *buffer);

#endif
