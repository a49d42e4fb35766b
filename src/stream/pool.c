/* SPDX-License-Identifier: MIT
 *
 * Running generators on the threads of a pool. One lock, one queue.
 */
#define _POSIX_C_SOURCE 200809L

#include <burble/pool.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/fork.h"
#include "base/reserved.h"
#include "base/thread.h"

#define MOST_WORKERS 1024

/* A generator that waits or runs. */
struct job {
    burble_stream *stream; /* a reference */
    burble_generate_fn *generate;
    void *arg;
    void (*release)(void *arg);
    struct job *next;
};

/* A thread of the pool. */
struct worker {
    burble_pool *pool;
    pthread_t thread;
    burble_stream *running; /* borrowed from its job; NULL: it waits for one */
};

struct burble_pool {
    _Atomic(uint64_t) forks; /* of the process that made or renewed it: base/fork.h */
    pthread_mutex_t lock;    /* never held while a generator or a release function runs */
    pthread_cond_t come;     /* a job, or the end */
    bool closing;
    unsigned most;    /* workers */
    unsigned started; /* of them */
    unsigned running; /* of those */
    size_t room;      /* for jobs that wait */
    size_t waiting;
    struct job *first, **last; /* in the order of the calls */
    struct worker workers[];
};

void burble_pool_options_init(burble_pool_options *options)
{
    *options = (burble_pool_options){.workers = 4, .queue = 1024};
}

void burble_pool_run_options_init(burble_pool_run_options *options)
{
    *options = (burble_pool_run_options){.release = NULL};
    burble_stream_options_init(&options->stream);
}

int burble_pool_create(const burble_pool_options *given, burble_pool **out)
{
    burble_pool_options options;
    *out = NULL;
    burble_pool_options_init(&options);
    if (given != NULL)
        options = *given;
    if (options.workers == 0 || options.workers > MOST_WORKERS || !BURBLE__UNUSED(&options))
        return BURBLE_EINVAL;
    if (burble__fork_watch() != BURBLE_OK)
        return BURBLE_ENOMEM;
    burble_pool *pool = burble__calloc(1, sizeof *pool + options.workers * sizeof pool->workers[0]);
    if (pool == NULL)
        return BURBLE_ENOMEM;
    burble__init(&pool->forks, burble__forks());
    if (pthread_mutex_init(&pool->lock, NULL) != 0)
        goto fail;
    if (pthread_cond_init(&pool->come, NULL) != 0)
        goto fail_lock;
    pool->most = options.workers;
    pool->room = options.queue;
    pool->last = &pool->first;
    *out = pool;
    return BURBLE_OK;

fail_lock:
    pthread_mutex_destroy(&pool->lock);
fail:
    burble__free(pool);
    return BURBLE_ENOMEM;
}

/* Called before anything else. A pool that was created before the last fork has no threads and no jobs in
 * this process; the streams of the parent's jobs have failed. The parent's jobs are neither used nor freed,
 * because they may be half changed. */
static void arrive(burble_pool *pool)
{
    if (burble__is_here(&pool->forks))
        return;
    burble__fork_lock();
    if (!burble__is_here(&pool->forks)) {
        pthread_mutex_init(&pool->lock, NULL);
        pthread_cond_init(&pool->come, NULL);
        pool->closing = false;
        pool->started = pool->running = 0;
        pool->waiting = 0;
        pool->first = NULL;
        pool->last = &pool->first;
        /* Release: pairs with the acquire in burble__is_here. */
        burble__store_release(&pool->forks, burble__forks());
    }
    burble__fork_unlock();
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static bool was_cancelled(const struct job *job)
{
    burble_status status;
    burble_stream_status(job->stream, &status);
    return status.state != BURBLE_OPEN;
}

static void free_jobs(struct job *job)
{
    while (job != NULL) {
        struct job *next = job->next;
        burble_stream_unref(&job->stream);
        if (job->release != NULL)
            job->release(job->arg);
        burble__free(job);
        job = next;
    }
}

/* Removes the cancelled jobs from the queue. Needs the lock; the caller frees them without it. */
static struct job *take_cancelled(burble_pool *pool)
{
    struct job *taken = NULL;
    struct job **at = &pool->first;
    while (*at != NULL) {
        struct job *job = *at;
        if (was_cancelled(job)) {
            *at = job->next;
            job->next = taken;
            taken = job;
            pool->waiting--;
        } else {
            at = &job->next;
        }
    }
    pool->last = at;
    return taken;
}

static struct job *take_first(burble_pool *pool)
{
    struct job *job = pool->first;
    pool->first = job->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    pool->waiting--;
    job->next = NULL;
    return job;
}

/* The generator's result becomes the stream's end, unless it has one. */
static void run_job(struct job *job)
{
    if (was_cancelled(job))
        return;
    const int rc = job->generate(job->stream, job->arg);
    if (rc < 0) {
        char message[80];
        snprintf(message, sizeof message, "the generator returned %d: %s", rc,
                 burble_result_text(rc));
        burble_stream_fail(job->stream, rc, message);
    } else {
        burble_stream_end(job->stream, BURBLE_REASON_NONE);
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *work(void *arg)
{
    struct worker *worker = arg;
    burble_pool *pool = worker->pool;
    const uint64_t forks = burble__forks();
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->first == NULL && !pool->closing)
            pthread_cond_wait(&pool->come, &pool->lock);
        if (pool->closing)
            break;
        struct job *job = take_first(pool);
        worker->running = job->stream;
        pool->running++;
        pthread_mutex_unlock(&pool->lock);
        run_job(job);
        /* cppcheck-suppress knownConditionTrueFalse ; run_job may fork */
        if (burble__forks() != forks)
            return NULL; /* the generator has forked, and this is the child: the pool has no threads here */
        pthread_mutex_lock(&pool->lock);
        /* Under the lock: whoever closes the pool cancels what is written here. */
        worker->running = NULL;
        pool->running--;
        pthread_mutex_unlock(&pool->lock);
        free_jobs(job);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Whether there is no room for one more job. Jobs for which a thread is free do not count as waiting. Needs
 * the lock. */
static bool is_full(const burble_pool *pool)
{
    const unsigned idle = pool->started - pool->running;
    return pool->waiting >= idle && pool->waiting - idle >= pool->room;
}

/* One more thread, if there may be one. Needs the lock. 0, or what the system says. */
static int start_worker(burble_pool *pool)
{
    struct worker *worker = &pool->workers[pool->started];
    worker->pool = pool;
    const int rc = burble__thread_start(&worker->thread, work, worker);
    if (rc == 0)
        pool->started++;
    return rc;
}

int burble_pool_run(burble_pool *pool, burble_generate_fn *generate, void *arg,
                    const burble_pool_run_options *given, burble_stream **out)
{
    burble_pool_run_options options;
    *out = NULL;
    arrive(pool);
    burble_pool_run_options_init(&options);
    if (given != NULL)
        options = *given;
    if (!BURBLE__UNUSED(&options))
        return BURBLE_EINVAL;
    struct job *job = burble__calloc(1, sizeof *job);
    if (job == NULL)
        return BURBLE_ENOMEM;
    int rc = burble_stream_create(&options.stream, &job->stream);
    if (rc != BURBLE_OK) {
        burble__free(job);
        return rc;
    }
    burble_stream_hand_over(job->stream);
    job->generate = generate;
    job->arg = arg;
    job->release = options.release;
    burble_stream *stream = burble_stream_ref(job->stream); /* the caller's */

    struct job *cancelled = NULL;
    int system = 0;
    pthread_mutex_lock(&pool->lock);
    const unsigned idle = pool->started - pool->running;
    if (pool->waiting >= idle && pool->started < pool->most) {
        system = start_worker(pool);
        if (system != 0 && pool->started == 0)
            rc = BURBLE_ESYSTEM;
    }
    if (is_full(pool))
        cancelled = take_cancelled(pool);
    if (rc == BURBLE_OK && is_full(pool))
        rc = BURBLE_EFULL;
    if (rc == BURBLE_OK) {
        *pool->last = job;
        pool->last = &job->next;
        pool->waiting++;
        pthread_cond_signal(&pool->come);
    }
    pthread_mutex_unlock(&pool->lock);
    free_jobs(cancelled);
    if (rc == BURBLE_OK) {
        *out = stream;
        return BURBLE_OK;
    }
    burble_stream_unref(&stream);
    job->release = NULL;
    free_jobs(job);
    if (rc == BURBLE_ESYSTEM)
        errno = system;
    return rc;
}

void burble_pool_counts(const burble_pool *asked, unsigned *running, size_t *waiting)
{
    burble_pool *pool = (burble_pool *)asked; /* for its lock */
    arrive(pool);
    pthread_mutex_lock(&pool->lock);
    if (running != NULL)
        *running = pool->running;
    if (waiting != NULL)
        *waiting = pool->waiting;
    pthread_mutex_unlock(&pool->lock);
}

void burble_pool_destroy(burble_pool **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_pool *pool = *handle;
    *handle = NULL;
    arrive(pool);
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    for (unsigned i = 0; i < pool->started; i++)
        if (pool->workers[i].running != NULL)
            burble_stream_cancel(pool->workers[i].running);
    struct job *waiting = pool->first;
    pool->first = NULL;
    pool->last = &pool->first;
    pthread_cond_broadcast(&pool->come);
    pthread_mutex_unlock(&pool->lock);
    for (struct job *job = waiting; job != NULL; job = job->next)
        burble_stream_cancel(job->stream);
    free_jobs(waiting);
    for (unsigned i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    assert(pool->running == 0);
    pthread_cond_destroy(&pool->come);
    pthread_mutex_destroy(&pool->lock);
    burble__free(pool);
}
