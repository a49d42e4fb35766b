/* SPDX-License-Identifier: MIT
 *
 * The events that a client is sent: server-sent events, in OpenAI's two forms and in burble's own.
 *
 * Each frame makes one event or none, which is a function of the begin frame (envelope.h) and the frames up to this one
 * (tally.h).
 *
 *     burble_frame_read(record.text, record.len, &frame)            BURBLE_EFORMAT: the answer is broken
 *     burble__tally_add(&tally, envelope, record.text, record.len, &frame)
 *     burble__event_write(envelope, form, &frame, &tally, out)
 *     ...
 *     burble__event_end(envelope, form, &tally, &status, out)       when the stream is not open any more
 *
 * What frames become:
 *
 *              chat                                completion          burble's own (GET /v1/streams/{id})
 *     BEGIN    one chunk: {"role":"assistant",     none                event: begin; {"id", "model", "created"}
 *              "content":""} for each choice
 *     TEXT     {"content":"…"}                     "text":"…"          {"index":0,"text":"…"}
 *     FINISH   {} with the reason                  "" with the reason  none
 *     USAGE    "choices":[],"usage":{…}, if it was asked for           none
 *     the end  data: [DONE]                                            event: end; {"reasons":[…],"usage":{…}}
 *     failure  data: {"error":{…}}, and no [DONE]                      event: failed; {"error":{…}}
 *
 * A TEXT frame without text and log-probabilities makes no event, nor does a frame of an unknown kind.
 */
#ifndef BURBLE_SERVE_EVENT_H
#define BURBLE_SERVE_EVENT_H

#include <stdbool.h>

#include <burble/frame.h>
#include <burble/stream.h>

#include "base/buffer.h"
#include "serve/envelope.h"
#include "serve/problem.h"
#include "serve/tally.h"

/* Functions return BURBLE_OK, or BURBLE_ENOMEM, and then nothing was written. */

enum burble__form {
    BURBLE__FORM_OPENAI, /* of the answer's route */
    BURBLE__FORM_OWN,
};

/* Appends the event of a frame that was added to the tally last; maybe nothing. If the tally has hashes, the event has its
 * position as `id`. */
int burble__event_write(const struct burble__envelope *envelope, enum burble__form form,
                        const burble_frame *frame, const struct burble__tally *tally,
                        struct burble__buffer *out);

/* Appends the event of the end of the stream, which is not open any more. A stream that has
 * ended without a FINISH frame for each choice is an error. *clean (may be NULL): the event is not an error; otherwise the
 * connection must be closed, without [DONE]. */
int burble__event_end(const struct burble__envelope *envelope, enum burble__form form,
                      const struct burble__tally *tally, const burble_status *status,
                      struct burble__buffer *out, bool *clean);

/* Appends the event of an error, after which the connection must be closed. `tally` NULL: without `id`. */
int burble__event_error(const struct burble__envelope *envelope, enum burble__form form,
                        const struct burble__tally *tally, const struct burble__problem *problem,
                        struct burble__buffer *out);

/* A keep-alive. It is a comment with no empty line behind it: openai-python makes an event of that. */
#define BURBLE__PING ": ping\n"

#endif
