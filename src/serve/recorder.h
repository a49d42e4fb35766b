/* SPDX-License-Identifier: MIT
 *
 * A recorder makes the frames of an answer from streams of plain text, its sources, for burble_server_read_text (read_text.c)
 * and burble_relay_read_text. It has a reader of each source on the hub of an event loop, and appends to the answer's stream
 * in that loop's thread.
 *
 * The loop must not wait. If the reader of the answer is so far behind that its stream has no room, the recorder keeps one
 * frame, reads no further, and tries again soon; the readers of the sources have a limit, so the generation
 * waits, too.
 *
 * When the answer is over, the recorder cancels the sources: at their next text, or at once by burble__recorders_cancel. A
 * server, which knows the sources, cancels them itself.
 */
#ifndef BURBLE_SERVE_RECORDER_H
#define BURBLE_SERVE_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/hub.h>
#include <burble/serve.h>

#include "serve/retry.h"

struct burble__recorder;

/* The recorders of one event loop; embedded in the owner of the loop, which sets the first two members. */
struct burble__recorders {
    burble_hub *hub;
    struct burble__retries *retries;
    struct burble__recorder *first;
};

/* Fails all answers and cancels their sources. In the loop's thread. */
void burble__recorders_stop(struct burble__recorders *all, int code, const char *message);

/* Cancels the sources of the answer with this stream, which is over. Looks at each recorder. In the loop's thread. */
void burble__recorders_cancel(struct burble__recorders *all, const burble_stream *stream);

/* Whether there are 1 to BURBLE_FRAME_MAX_CHOICES, each with a stream and `reserved` 0. */
bool burble__sources_are_valid(const burble_serve_source *sources, size_t n);

/* Cancels the streams of sources that are not recorded, and frees their readers and counts. */
void burble__sources_discard(const burble_serve_source *sources, size_t n);

/* Creates a recorder, which takes over the readers and counts of the sources. `began`: when the request came (burble_now).
 * NULL: no memory; the readers and counts stay the caller's. Any thread. */
struct burble__recorder *burble__recorder_create(burble_stream *stream, uint64_t began,
                                                 const burble_serve_source *sources, size_t n);

/* Destroys a recorder that has not begun; the readers and counts that came with the sources are the caller's again. NULL is
 * allowed. */
void burble__recorder_destroy_but_for_given(struct burble__recorder *recorder,
                                            const burble_serve_source *sources);

/* Begins to record; the recorder frees itself at its end. In the loop's thread. */
void burble__recorder_begin(struct burble__recorders *all, struct burble__recorder *recorder);

/* Fails the answer and frees the recorder. In the loop's thread, or before the recorder begins. */
void burble__recorder_fail(struct burble__recorder *recorder, int code, const char *message);

#endif
