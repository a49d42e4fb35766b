/* SPDX-License-Identifier: MIT
 *
 * A delivery: an answer on its way to one client. It has a reader of the answer's stream on the loop's hub.
 *
 *     hub → reader → burble_frame_read → burble__event_write into the loop's buffer → one write to the socket
 *
 * All frames that wait go out in one write. What the socket does not take is copied into the connection's queue, and the
 * reader is not pulled until that is empty: the log has the rest, once for all its readers. A batch ends as soon as it has
 * half of `max_output` bytes, so that it and one more event are about the bound. Per token nothing is
 * allocated, and no timer is set.
 *
 * A stream's head waits for its first text, at most `first_timeout`, so that an answer that fails before is an HTTP status;
 * only a resumable one has it at once. A reply that is not streamed is collected (whole.h).
 *
 * The reader of an ordinary answer makes the writer wait if it falls `max_lag` bytes behind; if another server computes the
 * answer, `max_answer` bytes. If the log is kept (burble__answer_is_kept), a client that is behind costs no more memory, and
 * the answer fails once its log has more than `max_answer` bytes.
 */
#ifndef BURBLE_SERVE_DELIVERY_H
#define BURBLE_SERVE_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include <burble/serve.h>

#include "serve/event.h"

struct burble__answer;
struct burble__delivery;
struct burble__exchange;

enum burble__delivery_form {
    BURBLE__DELIVER_WHOLE,  /* one reply */
    BURBLE__DELIVER_EVENTS, /* events in the form of the request's route */
    BURBLE__DELIVER_OWN,    /* events in burble's own form, beginning after a position */
};

/* Begins to answer an exchange. Takes over the caller's reference to the answer, and its attachment in the registry. The
 * exchange may be over afterwards. `primary`: this client's request made the answer. `after` (may be NULL): the last
 * position that the client has seen. */
void burble__delivery_begin(struct burble__exchange *exchange, struct burble__answer *answer,
                            enum burble__delivery_form form, bool primary,
                            const struct burble__position *after);

/* Its exchange is still there. Detaches from the answer, which is cancelled if nobody wants it any more; frees it and sets *delivery to NULL. */
void burble__delivery_destroy(struct burble__delivery **delivery);

/* Fills in what a log line says of an answer. */
void burble__delivery_note(const struct burble__delivery *delivery, burble_serve_log *line);

/* ---- for the exchange ---------------------------------------------------------------------------------- */

void burble__delivery_on_drained(struct burble__delivery *delivery);
uint64_t burble__delivery_due(const struct burble__delivery *delivery);
void burble__delivery_on_due(struct burble__delivery *delivery, uint64_t now);

#endif
