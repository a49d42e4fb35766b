/* SPDX-License-Identifier: MIT */
/** @file
 *
 * Answers across machines, over Redis: fronts, which clients are connected to, and workers, which generate. Any of them
 * may end at any time: the readers of an answer see at most a pause. It is the library libburble-relay
 * (pkg-config: burble-relay), which is built if libburble-serve is, and hiredis is found.
 *
 *     a worker                                            a front
 *     burble_relay_create(&options, &relay, &error);      burble_relay_create(&options, &relay, &error);
 *     burble_relay_add_model(relay, &model, 16, &error);  burble_relay_serve(relay, server, &error);
 *     burble_relay_start(relay, &error);                  burble_relay_start(relay, &error);
 *     ...                                                 ...
 *     burble_relay_drain(relay, grace);                   burble_server_destroy(&server);
 *     burble_relay_destroy(&relay);                       burble_relay_destroy(&relay);
 *
 * One relay may be both. It has a thread of its own, with an event loop and two connections to Redis: one that is
 * subscribed, and one for commands. While Redis is away, workers go on up to the bounds below, and the relay connects
 * again.
 *
 * A reader that was shown frame k of an answer is next shown only a frame k+1 whose predecessors are byte for byte
 * what it was shown; otherwise the stream fails, with one of the errors of burble_relay_attach. This holds also where
 * Redis has lost its newest writes. docs/design.md has the protocol, and the races that its rules prevent.
 *
 * Forks: a forked child has none of the relay's threads: it can only destroy the relay.
 */
#ifndef BURBLE_RELAY_H
#define BURBLE_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>
#include <burble/serve.h>
#include <burble/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct burble_relay burble_relay;

typedef struct burble_relay_options {
    /** redis://[[user]:password@]host[:port][/database], or unix://[[user]:password@]/path/of/socket[?db=N]; the
     * password may be percent-encoded. Default: "redis://127.0.0.1:6379". */
    const char *url;
    /** The name of this process in `status`; default: host name and process id. */
    const char *name;
    /** Of all keys and channels: 1 to 64 visible ASCII characters but braces, which are put around it;
     * default: "burble". */
    const char *prefix;

    /* Bounds. */
    uint32_t queue; /**< answers of a model that wait for a worker; default: 1,024 */
    /** Bytes of frames that Redis has not confirmed, of one answer, before its writer waits; default: 1 MiB. */
    uint64_t max_pending;
    /** Bytes of the logs of finished answers that a worker keeps for a Redis that has lost them; default: 64 MiB. */
    uint64_t retain;
    uint32_t attempts;      /**< how many workers may try an answer; default: 5 */
    uint32_t idle_attempts; /**< of these, how many in a row without a new frame; default: 2 */

    /* Times, in nanoseconds. */
    /** The answers of a worker go to others if Redis has not heard of it for so long: 200 ms to 60 s; default: 2 s. */
    uint64_t lease;
    /** A worker gives up its lease if it computes an answer that has had no frame for so long; default: 60 s. */
    uint64_t stall;
    uint64_t ttl; /**< how long an answer is kept after its end; default: 600 s */
    /** How long an answer goes on that no front shows; default: 600 s. One that is not resumable: 30 s at most. */
    uint64_t linger;
    /** How long Redis may be away before the answers that wait for it fail; default: 60 s. */
    uint64_t away;

    /** Called in the relay's thread with a line for a person: connected, lost, reaped, rejoined … Must not block.
     * Default: NULL. */
    void (*log)(const char *line, void *arg);
    void *log_arg;
    uint64_t reserved[16]; /**< 0: see burble.h */
} burble_relay_options;

/** Fills in the defaults. */
BURBLE_API void burble_relay_options_init(burble_relay_options *options);

/** Creates a relay, which does not connect yet. Everything in `options` is copied. NULL: the defaults.
 *
 * @retval BURBLE_OK      *out is the relay, which the caller owns
 * @retval BURBLE_EINVAL  an option is out of its range, or `reserved` is not 0
 * @retval BURBLE_ESYSTEM the system has no random numbers
 * @retval BURBLE_ENOMEM  out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_relay_create(const burble_relay_options *options, burble_relay **out,
                                   burble_error *error);

/** Before burble_relay_start: this process computes answers of the model, at most `slots` at once. Everything but
 * `arg` is copied. A model whose `digest` is not NULL can go on with answers that a worker with the same digest has
 * begun (serve.h: burble_serve_request.written).
 *
 * @retval BURBLE_OK      it does
 * @retval BURBLE_EINVAL  there is one of that name, `slots` is 0, or the relay was started
 * @retval BURBLE_ENOMEM  out of memory */
BURBLE_API int burble_relay_add_model(burble_relay *relay, const burble_serve_model *model,
                                      uint32_t slots, burble_error *error);

/** As burble_server_read_text, for a request that a worker got from a front (burble_serve_request.server is NULL):
 * the relay's thread makes the frames of the answer `stream` from plain text.
 *
 * @retval BURBLE_OK      the sources are read; or they were cancelled, because the answer is over already
 * @retval BURBLE_EINVAL  `n` is not the number of choices, `reserved` is not 0, or `stream` is no answer
 * @retval BURBLE_ENOMEM  out of memory: the answer has failed */
BURBLE_API int burble_relay_read_text(burble_relay *relay, burble_stream *stream,
                                      const burble_serve_source *sources, size_t n);

/** Before burble_relay_start, and before burble_server_start: makes this process a front. The models that workers
 * have become models of the server, as they come and go, and streams that the server does not know are looked for in
 * Redis. The server must be destroyed before the relay.
 *
 * @retval BURBLE_OK      it is
 * @retval BURBLE_EINVAL  it has one already, or one of them was started
 * @retval BURBLE_ENOMEM  out of memory */
BURBLE_API int burble_relay_serve(burble_relay *relay, burble_server *server, burble_error *error);

/** Connects and starts the thread. Returns once Redis has answered, or refused.
 *
 * A worker registers its models a moment later: until then, fronts answer that no worker computes them. For each
 * connection, the relay's thread looks up the host's name, and waits for the name server.
 *
 * @retval BURBLE_OK      it is connected
 * @retval BURBLE_EINVAL  it was started before
 * @retval BURBLE_ESYSTEM no connection, or no thread (*error says why)
 * @retval BURBLE_EUNSUPPORTED  what answers is no Redis of at least version 6.2, its `maxmemory-policy` is not noeviction, or
 *                        the user may not do what is needed (*error says what)
 * @retval BURBLE_ENOMEM  out of memory */
BURBLE_API int burble_relay_start(burble_relay *relay, burble_error *error);

/** Attaches to an answer: *out is a stream of its frames (frame.h), from the one of number `frames` on, of which the
 * caller has the ones before; `hash` is their hash (burble_frame_hash). It ends as the answer does. Cancelling it
 * only ends the reading; burble_relay_cancel cancels the answer. Blocks until Redis has answered, at most until
 * `deadline` (burble_now; 0: none). Any thread may call it.
 *
 * @retval BURBLE_OK        *out is the stream, which the caller owns
 * @retval BURBLE_EGONE     404: there is no such answer (any more)
 * @retval BURBLE_ECLOSED   the relay does not run; or Redis was restarted a moment ago, and a later call may find the answer; or
 *                          Redis has lost frames that the caller has
 * @retval BURBLE_EFORMAT   410: the answer has other frames than the caller, or fewer
 * @retval BURBLE_ETIMEDOUT Redis has not answered in time
 * @retval BURBLE_EINVAL    `id` is not 32 hexadecimal digits
 * @retval BURBLE_ENOMEM    out of memory
 *
 * A stream fails later with BURBLE_EFORMAT if Redis or a worker has lost what was shown, and another text follows; with
 * BURBLE_ETIMEDOUT if Redis was away for too long; else as the answer. */
BURBLE_API int burble_relay_attach(burble_relay *relay, const char *id, uint64_t frames,
                                   uint32_t hash, uint64_t deadline, burble_stream **out,
                                   burble_error *error);

/** Attaches to an answer as plain text: the relay's thread writes the text of one choice, from its beginning, to the
 * stream `text`, of which it takes a reference. `text` ends as the choice does, with BURBLE_REASON_STOP or
 * BURBLE_REASON_LENGTH. The token count of a record is that of its frame. If a reader of `text` has a limit
 * (burble_reader_limit), reading the answer waits for it; the answer itself does not. Cancelling `text` only ends the
 * reading. Blocks as burble_relay_attach, with the same results; `text` is unchanged unless the result is BURBLE_OK.
 * Any thread may call it.
 *
 * `text` fails later as the stream of burble_relay_attach does; with BURBLE_EINVAL if the answer has no such choice;
 * and with BURBLE_ECLOSED if the relay is destroyed. */
BURBLE_API int burble_relay_play(burble_relay *relay, const char *id, uint32_t choice,
                                 uint64_t deadline, burble_stream *text, burble_error *error);

/** Cancels an answer, wherever it is computed. Blocks until Redis has answered, at most until `deadline` (burble_now;
 * 0: none). Any thread may call it.
 *
 * @retval BURBLE_OK        its worker is told, and the answer ends as cancelled, unless the worker ends it first; or it has
 *                          waited for a worker, and is cancelled
 * @retval BURBLE_EGONE     there is no such answer that runs or waits: it is over, or not kept any more
 * @retval BURBLE_ECLOSED   the relay does not run, or was stopped meanwhile
 * @retval BURBLE_ESYSTEM   Redis has refused (*error says why)
 * @retval BURBLE_ETIMEDOUT Redis has not answered in time; if it comes back while the relay runs, the answer is cancelled
 * @retval BURBLE_EINVAL    `id` is not 32 hexadecimal digits
 * @retval BURBLE_ENOMEM    out of memory; or too many answers are to be cancelled once Redis is there */
BURBLE_API int burble_relay_cancel(burble_relay *relay, const char *id, uint64_t deadline,
                                   burble_error *error);

/** Begins to drain a worker: it takes no new answers; those that it can hand on go back into the queue, for others;
 * the rest may end within `grace` nanoseconds, then they fail. Any thread may call it. */
BURBLE_API void burble_relay_drain(burble_relay *relay, uint64_t grace);

/** Waits until nothing is computed any more after burble_relay_drain, and Redis knows it. `deadline` by burble_now;
 * 0: none. BURBLE_OK or BURBLE_ETIMEDOUT. Any thread may call it. */
BURBLE_API int burble_relay_wait(burble_relay *relay, uint64_t deadline);

/** Begins to end the relay, as burble_relay_destroy does, and returns at once: other threads that wait in
 * burble_relay_start, burble_relay_attach or burble_relay_play get BURBLE_ECLOSED. Once they have returned, the relay
 * can be destroyed. Any thread may call it, also repeatedly; of a relay that was not started, it does nothing. */
BURBLE_API void burble_relay_stop(burble_relay *relay);

/** Ends the thread, closes the connections, frees the relay and sets *relay to NULL. What it computes is cancelled
 * here, and goes on at others once its lease is over. NULL and a pointer to NULL are allowed. */
BURBLE_API void burble_relay_destroy(burble_relay **relay);

/** Counts of a relay. */
typedef struct burble_relay_stats {
    bool connected;
    uint64_t lag_ns; /**< of the last command, until its reply */
    /** Bytes of the worker's command that Redis has not confirmed; 0: none is in flight. */
    uint64_t pending;
    uint64_t computing;   /**< answers that this worker has */
    uint64_t showing;     /**< answers that this front reads */
    uint64_t commands;    /**< scripts so far */
    uint64_t frames_sent; /**< frames that Redis has confirmed */
    uint64_t frames_received;
    uint64_t gaps;     /**< frames that were fetched, since their message was lost */
    uint64_t reaped;   /**< sessions of others that this one has fenced */
    uint64_t fenced;   /**< how often this session was fenced */
    uint64_t rejoined; /**< answers that were adopted after Redis had lost its tail */
    uint64_t diverged; /**< streams that failed since another text followed */
    uint64_t resumed;  /**< answers that this worker has taken over with text in them */
    uint64_t reconnects;
    uint64_t reserved[16];
} burble_relay_stats;

/** Fills in the present counts. Any thread may call it. */
BURBLE_API void burble_relay_stats_now(const burble_relay *relay, burble_relay_stats *stats);

/* ---- for a person -------------------------------------------------------------------------------- */

/** A worker, as Redis knows it. */
typedef struct burble_relay_worker {
    const char *session; /**< of this run of it */
    const char *name;    /**< burble_relay_options.name */
    const char *models;  /**< their names, each but the first after a comma and a space */
    int64_t lease_ms;    /**< what is left of its lease; below 0: it is over */
    uint64_t answers;    /**< that it computes */
    uint64_t commands;   /**< of this run */
    uint64_t reserved[4];
} burble_relay_worker;

/** A model that a worker has had. */
typedef struct burble_relay_model {
    const char *name;
    uint64_t waiting; /**< answers that wait for a worker */
    uint64_t workers; /**< whose lease is not over */
    uint64_t reserved[4];
} burble_relay_model;

/** What a Redis knows. */
typedef struct burble_relay_status {
    const burble_relay_worker *workers;
    size_t n_workers;
    const burble_relay_model *models;
    size_t n_models;
    const char *redis_version; /**< what it calls itself */
    uint64_t redis_uptime;     /**< seconds */
    uint64_t memory;           /**< bytes used */
    uint64_t max_memory;       /**< `maxmemory`; 0: no bound */
    bool persistent;           /**< it keeps an append-only file */
    uint64_t reserved[8];
} burble_relay_status;

/** Asks Redis for workers and queues. Blocks until it has answered, at most until `deadline` (burble_now; 0: none).
 * After burble_relay_start. Any thread may call it.
 *
 * @retval BURBLE_OK        *out is the status, which the caller owns
 * @retval BURBLE_ECLOSED   the relay does not run
 * @retval BURBLE_ESYSTEM   Redis is away, or has refused
 * @retval BURBLE_ETIMEDOUT Redis has not answered in time
 * @retval BURBLE_ENOMEM    out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL, and *error (may be NULL) says what was wrong. */
BURBLE_API int burble_relay_status_read(burble_relay *relay, uint64_t deadline,
                                        burble_relay_status **out, burble_error *error);

/** Frees a status and sets *status to NULL. NULL and a pointer to NULL are allowed. */
BURBLE_API void burble_relay_status_destroy(burble_relay_status **status);

#ifdef __cplusplus
}
#endif

#endif
