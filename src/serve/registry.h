/* SPDX-License-Identifier: MIT
 *
 * The answers of a server: all that run, and those that have ended and can still be read. One for all event loops: a
 * client may come back to any of them. All functions may be called in any thread.
 *
 *     burble__registry_add       the request was accepted; it has a client
 *     burble__registry_detach    the client has left. An ordinary answer without clients is to be cancelled
 *     burble__registry_find      a client comes back; it counts as attached
 *     burble__registry_tick      every second or so: notes which have ended, forgets old ones, cancels abandoned ones,
 *                                fails those that nobody reads and that are too long
 *
 * An answer that other servers show, too (burble__answer_is_shared), is forgotten as soon as it has no client here.
 *
 * Answers that cannot be read again are forgotten when they end. Of the others, those that ended first are *evicted* as
 * soon as their logs are above `retain` bytes in all, and all of them after `resume_time`. Their names are remembered for a
 * while, so that clients get 410 and not 404.
 */
#ifndef BURBLE_SERVE_REGISTRY_H
#define BURBLE_SERVE_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve/answer.h"

struct burble__registry;

struct burble__registry_options {
    uint64_t retain;      /* bytes */
    uint64_t resume_time; /* ns */
    uint64_t max_answer;  /* most bytes of the log of an answer that has no client; 0: no bound */
    size_t max_ended;     /* most answers that have ended; 0: 65,536 */
    size_t max_evicted;   /* most names of evicted ones that are remembered; 0: 65,536 */
};

enum burble__found {
    BURBLE__FOUND,      /* *out is the answer: drop it, and detach from it */
    BURBLE__NOT_FOUND,  /* or another key's */
    BURBLE__EVICTED,    /* it was there, and is not kept any more */
    BURBLE__OTHER_BODY, /* of an idempotency key: the answer is to another request */
};

/* BURBLE_OK or BURBLE_ENOMEM. */
int burble__registry_create(const struct burble__registry_options *options,
                            struct burble__registry **out);

/* Drops all answers. NULL and a pointer to NULL are allowed. */
void burble__registry_destroy(struct burble__registry **handle);

/* Adds an answer, with one client. If it has an idempotency key that an answer has already, or was found and is there
 * already, nothing is added, and the result is as that of burble__registry_find_idempotent: BURBLE__FOUND (with *out) or BURBLE__OTHER_BODY. BURBLE__NOT_FOUND: it was
 * added. */
enum burble__found burble__registry_add(struct burble__registry *registry,
                                        struct burble__answer *answer, struct burble__answer **out);

/* Removes an answer that was just added, since its backend has refused it. Its client counts as detached. */
void burble__registry_remove(struct burble__registry *registry, struct burble__answer *answer);

/* The answer of this name, and attaches a client to it, if it is of this key; or if `token` (NULL: none), of `token_len` bytes,
 * is its capability. */
enum burble__found burble__registry_find(struct burble__registry *registry,
                                         const struct burble__stream_id *id, uint64_t key,
                                         const char *token, size_t token_len,
                                         struct burble__answer **out);

/* The same by its idempotency key. */
enum burble__found burble__registry_find_idempotent(struct burble__registry *registry, uint64_t key,
                                                    const char *idempotency, size_t len,
                                                    uint64_t body_hash,
                                                    struct burble__answer **out);

/* The answer that has this stream and runs, with a reference; NULL: none. For burble_server_read_text. */
struct burble__answer *burble__registry_of_stream(struct burble__registry *registry,
                                                  const burble_stream *stream);

/* A client has left. `now` by burble_now, here and below. Returns whether the answer has none any more, runs, and does not go
 * on without one: then cancel it. In a thread of an event loop. */
bool burble__registry_detach(struct burble__registry *registry, struct burble__answer *answer,
                             uint64_t now);

/* The stream of an answer has ended: optional, since a tick notices it, too. */
void burble__registry_ended(struct burble__registry *registry, struct burble__answer *answer,
                            uint64_t now);

/* See above; in a thread of an event loop, since it cancels answers, and always in the same one. */
void burble__registry_tick(struct burble__registry *registry, uint64_t now);

/* Fails all answers that run, such as at the end of a drain: their readers get `code` and `message`; backends are told as
 * of a cancelled one, or, of one that goes on elsewhere, that its clients have left. Returns how many. In a thread of an event loop. */
size_t burble__registry_fail_all(struct burble__registry *registry, int code, const char *message,
                                 uint64_t now);

struct burble__registry_stats {
    uint64_t running;  /* answers that have not ended */
    uint64_t retained; /* answers that have ended and can be read */
    uint64_t bytes;    /* of the logs of these */
    uint64_t evicted;  /* so far */
};
void burble__registry_stats(struct burble__registry *registry,
                            struct burble__registry_stats *stats);

#endif
