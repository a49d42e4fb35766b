/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/workers.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/thread.h"

/* ---- queues: with the lock held -------------------------------------------------------------------------- */

static void push(struct burble__job_queue *queue, struct burble__job *job)
{
    job->queue = queue;
    job->next = NULL;
    job->before = queue->last;
    *(queue->last == NULL ? &queue->first : &queue->last->next) = job;
    queue->last = job;
}

static void push_front(struct burble__job_queue *queue, struct burble__job *job)
{
    job->queue = queue;
    job->next = queue->first;
    job->before = NULL;
    *(queue->first == NULL ? &queue->last : &queue->first->before) = job;
    queue->first = job;
}

static void take_out(struct burble__job *job)
{
    struct burble__job_queue *queue = job->queue;
    *(job->before == NULL ? &queue->first : &job->before->next) = job->next;
    *(job->next == NULL ? &queue->last : &job->next->before) = job->before;
    job->queue = NULL;
}

static struct burble__job *pop(struct burble__job_queue *queue)
{
    struct burble__job *job = queue->first;
    if (job != NULL)
        take_out(job);
    return job;
}

/* A place in a lane is free: the next job gets it, and runs before those that have not begun: it has memory, such as a
 * request that was read, and keeps the place. */
static void pass_on(struct burble__workers *workers, struct burble__lane *lane)
{
    struct burble__job *job = pop(&lane->waiting);
    if (job == NULL) {
        lane->entered--;
        return;
    }
    job->lane = lane;
    push_front(&workers->ready, job);
    pthread_cond_signal(&workers->changed);
}

static bool has_room(const struct burble__workers *workers, const struct burble__lane *lane)
{
    return lane->entered < workers->wanted / 2;
}

/* ---- jobs ------------------------------------------------------------------------------------------------ */

void burble__workers_add(struct burble__workers *workers, struct burble__job *job)
{
    pthread_mutex_lock(&workers->lock);
    push(&workers->ready, job);
    pthread_cond_signal(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
}

bool burble__workers_remove(struct burble__workers *workers, struct burble__job *job)
{
    pthread_mutex_lock(&workers->lock);
    const bool waits = job->queue != NULL;
    if (waits) {
        take_out(job);
        if (job->lane != NULL)
            pass_on(workers, job->lane);
        job->lane = NULL;
    }
    pthread_mutex_unlock(&workers->lock);
    return waits;
}

bool burble__workers_enter(struct burble__workers *workers, struct burble__lane *lane,
                           struct burble__job *job)
{
    pthread_mutex_lock(&workers->lock);
    bool entered = job->lane != NULL;
    if (!entered && has_room(workers, lane)) {
        lane->entered++;
        job->lane = lane;
        entered = true;
    } else if (!entered) {
        push(&lane->waiting, job);
    }
    pthread_mutex_unlock(&workers->lock);
    return entered;
}

bool burble__workers_try_enter(struct burble__workers *workers, struct burble__lane *lane)
{
    pthread_mutex_lock(&workers->lock);
    const bool entered = has_room(workers, lane);
    lane->entered += entered;
    pthread_mutex_unlock(&workers->lock);
    return entered;
}

void burble__workers_leave(struct burble__workers *workers, struct burble__lane *lane,
                           struct burble__job *job)
{
    pthread_mutex_lock(&workers->lock);
    assert(lane->entered > 0);
    pass_on(workers, lane);
    if (job != NULL)
        job->lane = NULL;
    pthread_mutex_unlock(&workers->lock);
}

/* ---- threads --------------------------------------------------------------------------------------------- */

static void *work(void *arg)
{
    struct burble__workers *workers = arg;
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        struct burble__job *job = pop(&workers->ready);
        if (job != NULL) {
            pthread_mutex_unlock(&workers->lock);
            job->run(job);
            pthread_mutex_lock(&workers->lock);
        } else if (workers->stopping) {
            break;
        } else {
            pthread_cond_wait(&workers->changed, &workers->lock);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

int burble__workers_init(struct burble__workers *workers, unsigned n)
{
    *workers = (struct burble__workers){.wanted = n};
    workers->threads = burble__calloc(n, sizeof *workers->threads);
    if (workers->threads == NULL)
        return BURBLE_ENOMEM;
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->changed, NULL);
    return BURBLE_OK;
}

int burble__workers_start(struct burble__workers *workers, burble_error *error)
{
    int result = 0;
    while (workers->n < workers->wanted && result == 0) {
        pthread_t *thread = &workers->threads[workers->n];
        result = burble__thread_start(thread, work, workers);
        if (result != 0)
            break;
        workers->n++;
#ifdef __linux__
        pthread_setname_np(*thread, BURBLE__WORKER_NAME);
#endif
    }
    if (result == 0)
        return BURBLE_OK;
    errno = result;
    return burble__error_set(error, BURBLE_ESYSTEM, "cannot start a thread: %s", strerror(result));
}

void burble__workers_stop(struct burble__workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
    while (workers->n > 0)
        pthread_join(workers->threads[--workers->n], NULL);
    assert(workers->ready.first == NULL);
}

void burble__workers_finish(struct burble__workers *workers)
{
    if (workers->threads == NULL)
        return;
    pthread_cond_destroy(&workers->changed);
    pthread_mutex_destroy(&workers->lock);
    burble__free(workers->threads);
    workers->threads = NULL;
}
