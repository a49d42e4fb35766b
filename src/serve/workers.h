/* SPDX-License-Identifier: MIT
 *
 * Worker threads: what may block, such as a call of a backend, runs in one of them, as a job. Jobs begin in the order in
 * which they were added.
 *
 * A *lane* keeps those calls apart that may block each other: all of one backend. At most half of the threads are in one
 * lane; a job that comes to a lane which is full waits without a thread, and runs again, as the next one, when it has a place
 * there. So a backend whose calls do not return holds up its own requests, and no others.
 */
#ifndef BURBLE_SERVE_WORKERS_H
#define BURBLE_SERVE_WORKERS_H

#include <pthread.h>
#include <stdbool.h>

#include <burble/error.h>

/* The threads' name. */
#define BURBLE__WORKER_NAME "burble-work"

struct burble__job;

struct burble__job_queue {
    struct burble__job *first, *last;
};

/* All zeros at the beginning. Under the workers' lock. */
struct burble__lane {
    struct burble__job_queue waiting;
    unsigned entered;
};

/* All zeros but `run` at the beginning. Its memory belongs to whoever added it. */
struct burble__job {
    void (*run)(struct burble__job *job); /* in a worker */
    struct burble__job *next, *before;
    struct burble__job_queue *queue; /* that it waits in; NULL: none */
    struct burble__lane *lane;       /* in which it has a place; NULL: none */
};

struct burble__workers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct burble__job_queue ready;
    unsigned wanted, n; /* threads: that are started, and that were */
    bool stopping;
    pthread_t *threads;
};

/* `n` threads, from 2 on, which are not started yet. BURBLE_OK or BURBLE_ENOMEM. */
int burble__workers_init(struct burble__workers *workers, unsigned n);

/* Starts the threads. BURBLE_OK, or BURBLE_ESYSTEM with errno; then some of them run. */
int burble__workers_start(struct burble__workers *workers, burble_error *error);

/* Ends the threads, and waits for them. No job is left. */
void burble__workers_stop(struct burble__workers *workers);

/* After burble__workers_stop, or if nothing was started. */
void burble__workers_finish(struct burble__workers *workers);

/* Has a job run. Any thread. */
void burble__workers_add(struct burble__workers *workers, struct burble__job *job);

/* Takes a job back that waits. False: it runs, or has run. Any thread. */
bool burble__workers_remove(struct burble__workers *workers, struct burble__job *job);

/* The job, which runs, enters a lane. False: the lane is full; the job must not be touched any more, and runs again when it
 * has its place: then this returns true. */
bool burble__workers_enter(struct burble__workers *workers, struct burble__lane *lane,
                           struct burble__job *job);

/* The same without waiting, for a call that can be left out. */
bool burble__workers_try_enter(struct burble__workers *workers, struct burble__lane *lane);

/* Leaves a lane that was entered; `job` is NULL after burble__workers_try_enter. */
void burble__workers_leave(struct burble__workers *workers, struct burble__lane *lane,
                           struct burble__job *job);

#endif
