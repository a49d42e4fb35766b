/* SPDX-License-Identifier: MIT
 *
 * Running a generator: a blocking function on a thread of a pool, and the stream that it writes.
 *
 *     static int generate(burble_stream *stream, void *arg)
 *     {
 *         while ((token = next_token(arg)) != EOS) {
 *             int rc = burble_stream_append(stream, text_of(token), strlen(text_of(token)), 1);
 *             if (rc != BURBLE_OK)
 *                 return rc;                  // cancelled, say: nobody wants to read on
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

#include <burble/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A number of threads that run generators, and a queue of those that wait for one. A forked child has the
 * pool without threads and jobs: their streams have failed there with BURBLE_EDIED, `release` is not called
 * for them, and the pool runs new ones. If a generator itself forks, the child's thread ends when the
 * generator returns. */
typedef struct burble_pool burble_pool;

typedef struct burble_pool_options {
    /* How many generators run at the same time, from 1 to 1,024. Threads are started when they are
     * needed, and stay until the pool is destroyed. Default: 4. */
    unsigned workers;
    /* How many may wait, at most. Default: 1,024. */
    size_t queue;
} burble_pool_options;

/* Generates, and writes what it generates to `stream`, on a thread of the pool's.
 *
 * It must return, and not leave its thread in another way (pthread_exit, say). It returns BURBLE_OK where
 * it is done, and the stream ends, unless the generator has ended it itself
 * (burble_stream_end, to give a reason); or an error, a negative number, of burble's or of its own, and
 * the stream fails with that, unless the generator has failed it itself (burble_stream_fail, to give a
 * message). It should return when an append says BURBLE_ECANCELED. It must not keep `stream` for
 * after its return, unless it takes a reference. */
typedef int burble_generate_fn(burble_stream *stream, void *arg);

typedef struct burble_pool_run_options {
    /* Of the stream that is made. */
    burble_stream_options stream;
    /* Called once when `arg` is not needed any more: after the generator has returned, or when it is
     * known that it will never run. Not called where burble_pool_run itself fails. On a thread of the pool's,
     * in burble_pool_destroy, or in a burble_pool_run for another generator that finds the queue full of
     * cancelled ones. NULL (the default): nothing is called. */
    void (*release)(void *arg);
} burble_pool_run_options;

/* Fills in the defaults. */
BURBLE_API void burble_pool_options_init(burble_pool_options *options);
BURBLE_API void burble_pool_run_options_init(burble_pool_run_options *options);

/* Makes a pool. `options` may be NULL for the defaults.
 *
 * BURBLE_OK      *out is the pool, which the caller owns
 * BURBLE_EINVAL  `workers` is out of its range; *out is NULL
 * BURBLE_ENOMEM  *out is NULL */
BURBLE_API int burble_pool_create(const burble_pool_options *options, burble_pool **out);

/* Cancels the streams of all generators that run or wait, joins the threads, and frees the pool; sets
 * *pool to NULL. Generators that wait never run. It blocks until those that run have returned. NULL and
 * a pointer to NULL are fine. Not from within a generator of the same pool, and not at the same time as
 * another call for this pool. */
BURBLE_API void burble_pool_destroy(burble_pool **pool);

/* Runs `generate(stream, arg)` on a thread of the pool as soon as one is free, in the order of the
 * calls. One whose stream is cancelled while it waits never runs. `options` may be NULL for the
 * defaults. Any thread.
 *
 * BURBLE_OK       *out is the stream, with one reference, which the caller owns. Giving it back does not
 *                 stop the generator: burble_stream_cancel does, or, where options->stream says
 *                 cancel_when_unread, the end of its last reader.
 * BURBLE_EFULL    as many wait as may
 * BURBLE_ESYSTEM  no thread could be started, and none is there (errno says why)
 * BURBLE_ENOMEM
 * In all but the first case *out is NULL, and neither `generate` nor `release` will be called. */
BURBLE_API int burble_pool_run(burble_pool *pool, burble_generate_fn *generate, void *arg,
                               const burble_pool_run_options *options, burble_stream **out);

/* How many generators run, and how many wait, at this moment; either pointer may be NULL. One that was
 * cancelled counts as waiting until a thread has come to it. Any thread. */
BURBLE_API void burble_pool_counts(burble_pool *pool, unsigned *running, size_t *waiting);

#ifdef __cplusplus
}
#endif

#endif
