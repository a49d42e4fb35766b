/* SPDX-License-Identifier: MIT */
/** @file
 *
 * Runs a generator, which is a blocking function, on a thread of a pool; the generator writes a stream.
 *
 *     static int generate(burble_stream *stream, void *arg)
 *     {
 *         while ((token = next_token(arg)) != EOS) {
 *             int rc = burble_stream_append(stream, text_of(token), strlen(text_of(token)), 1);
 *             if (rc != BURBLE_OK)
 *                 return rc;                  // for example, cancelled: no reader wants more
 *         }
 *         return BURBLE_OK;
 *     }
 *
 *     burble_pool_create(NULL, &pool);
 *     burble_pool_run(pool, generate, model, NULL, &stream);
 *     burble_reader_create(stream, 0, &reader, NULL);
 */
#ifndef BURBLE_POOL_H
#define BURBLE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A pool of threads that run generators, and a queue of generators that wait for a thread.
 *
 * Forks: in a forked child the pool has no threads and no jobs. The streams of the parent's jobs have
 * failed there with BURBLE_EDIED, and `release` is not called for those jobs. The pool accepts new jobs
 * in the child. If a generator itself forks, the child's thread ends when the generator returns. */
typedef struct burble_pool burble_pool;

typedef struct burble_pool_options {
    /** The most generators that run at the same time, from 1 to 1,024. Threads are started when they
     * are needed, and stay until the pool is destroyed. Default: 4. */
    unsigned workers;
    /** The most generators that may wait. Default: 1,024. */
    size_t queue;
    uint64_t reserved[4]; /**< 0: see burble.h */
} burble_pool_options;

/** A generator: generates text and writes it to `stream`, on a thread of the pool.
 *
 * Return BURBLE_OK on success. The stream then ends, unless the generator has already ended it
 * (burble_stream_end, to give a reason). Return a negative number on failure: one of burble's results,
 * or an error code of your own. The stream then fails with that code, unless the generator has already
 * failed it (burble_stream_fail, to give a message).
 *
 * A generator should return when an append returns BURBLE_ECANCELED. It must return: it must not leave
 * its thread in another way, such as pthread_exit. It must not use `stream` after its return, unless it
 * took a reference. */
typedef int burble_generate_fn(burble_stream *stream, void *arg);

typedef struct burble_pool_run_options {
    /** The options of the stream that is created. */
    burble_stream_options stream;
    /** Called once when `arg` is no longer needed: after the generator has returned, or once it is
     * certain that the generator will never run. Not called if burble_pool_run itself fails. It runs on a
     * thread of the pool, in burble_pool_destroy, or in a later burble_pool_run that removes cancelled
     * generators from a full queue. NULL (the default): nothing is called. */
    void (*release)(void *arg);
    uint64_t reserved[4]; /**< 0: see burble.h */
} burble_pool_run_options;

/** Fills in the defaults. */
BURBLE_API void burble_pool_options_init(burble_pool_options *options);
BURBLE_API void burble_pool_run_options_init(burble_pool_run_options *options);

/** Creates a pool. If `options` is NULL, the defaults apply.
 *
 * @retval BURBLE_OK      *out is the pool, which the caller owns
 * @retval BURBLE_EINVAL  `workers` is out of its range, or `reserved` is not 0; *out is NULL
 * @retval BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_pool_create(const burble_pool_options *options, burble_pool **out);

/** Cancels the streams of all running and waiting generators, joins the threads, frees the pool and sets
 * *pool to NULL. Waiting generators never run. The call blocks until the running ones have returned.
 * NULL and a pointer to NULL are allowed. Do not call it from a generator of the same pool, or while
 * another call uses this pool. */
BURBLE_API void burble_pool_destroy(burble_pool **pool);

/** Runs `generate(stream, arg)` on a thread of the pool as soon as one is free. Generators run in the
 * order of the calls. A generator whose stream is cancelled while it waits never runs. If `options` is
 * NULL, the defaults apply. Any thread may call it.
 *
 * @retval BURBLE_OK       *out is the stream, with one reference, which the caller owns. Dropping this reference
 *                         does not stop the generator; burble_stream_cancel does. If
 *                         options->stream.cancel_when_unread is true, so does destroying the last reader.
 * @retval BURBLE_EFULL    the queue is full
 * @retval BURBLE_EINVAL   the options of the stream are not valid, or `reserved` is not 0
 * @retval BURBLE_ESYSTEM  the pool has no thread, and none could be started (errno says why)
 * @retval BURBLE_ENOMEM   out of memory
 *
 * Unless the result is BURBLE_OK, *out is NULL, and neither `generate` nor `release` will be called. */
BURBLE_API int burble_pool_run(burble_pool *pool, burble_generate_fn *generate, void *arg,
                               const burble_pool_run_options *options, burble_stream **out);

/** The number of generators that run and that wait at this moment; either pointer may be NULL. A
 * cancelled generator counts as waiting until a thread takes it from the queue. Any thread may call
 * it. */
BURBLE_API void burble_pool_counts(const burble_pool *pool, unsigned *running, size_t *waiting);

#ifdef __cplusplus
}
#endif

#endif
