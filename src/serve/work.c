/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE

#include "serve/work.h"

#include <assert.h>
#include <stddef.h>

#include <burble/clock.h>

#include "base/alloc.h"
#include "serve/answer.h"
#include "serve/delivery.h"
#include "serve/exchange.h"
#include "serve/metrics.h"
#include "serve/models.h"
#include "serve/registry.h"
#include "serve/routes.h"
#include "serve/server.h"
#include "serve/work_parts.h"

/* ---- in a worker --------------------------------------------------------------------------------------- */

static void send_back(struct burble__work *work)
{
    const bool open = burble__loop_post(work->loop, &work->post);
    assert(open); /* the loop waits for its works */
    (void)open;
}

static void run(struct burble__job *job)
{
    struct burble__work *work = (struct burble__work *)(void *)job;
    if (!work->parsed) {
        work->parsed = true;
        if (!burble__load_relaxed(&work->abandoned))
            burble__work_parse(work);
    }
    if (work->lane != NULL) {
        if (!burble__workers_enter(&work->server->workers, work->lane, job))
            return;
        if (!burble__load_relaxed(&work->abandoned))
            burble__work_call(work);
        burble__workers_leave(&work->server->workers, work->lane, job);
    }
    send_back(work);
}

/* ---- in the loop ----------------------------------------------------------------------------------------- */

/* Nobody is there to be answered. */
static void drop_answer(burble_server *server, struct burble__answer **answer)
{
    if (*answer == NULL)
        return;
    if (burble__registry_detach(server->registry, *answer, burble_now()))
        burble__answer_cancel(*answer);
    burble__answer_drop(answer);
}

static void take_back(struct burble__work *work)
{
    struct burble__exchange *exchange = work->exchange;
    exchange->work = NULL;
    if (exchange->connection == NULL) {
        drop_answer(work->server, &work->answer);
        burble__exchange_destroy(exchange);
    } else if (work->problem.status != 0) {
        drop_answer(work->server, &work->answer);
        burble__exchange_problem(exchange, &work->problem);
    } else if (work->kind == BURBLE__WORK_FIND) {
        exchange->sought = true;
        burble__route_run(
            exchange); /* it looks into the registry again, and checks the key there */
        drop_answer(work->server, &work->answer);
    } else if (work->kind == BURBLE__WORK_CHAT || work->kind == BURBLE__WORK_COMPLETION) {
        struct burble__answer *answer = work->answer;
        work->answer = NULL;
        if (work->repeated)
            burble__metrics_count(burble__loop_metrics(exchange->loop), BURBLE__COUNT_REPEATED, 1);
        burble__delivery_begin(exchange, answer,
                               work->streamed ? BURBLE__DELIVER_EVENTS : BURBLE__DELIVER_WHOLE,
                               !work->repeated, NULL);
    } else {
        drop_answer(work->server, &work->answer);
        burble__exchange_reply_buffer(exchange, 200,
                                      work->kind == BURBLE__WORK_METRICS
                                          ? "text/plain; version=0.0.4; charset=utf-8"
                                          : "application/json",
                                      &work->reply);
    }
}

static void destroy(struct burble__work *work)
{
    burble__loop_work_ended(work->loop);
    burble__work_finish(work);
    burble__buffer_finish(&work->reply);
    burble__free(work);
}

static void on_result(struct burble__loop *loop, struct burble__post *post)
{
    (void)loop;
    struct burble__work *work =
        (struct burble__work *)(void *)((char *)post - offsetof(struct burble__work, post));
    take_back(work);
    destroy(work);
}

void burble__work_begin(struct burble__exchange *exchange, enum burble__work_kind kind,
                        struct burble__answer *answer)
{
    struct burble__work *work = burble__calloc(1, sizeof *work);
    if (work == NULL) {
        struct burble__problem problem;
        drop_answer(exchange->loop->server, &answer);
        burble__problem_memory(&problem);
        burble__exchange_problem(exchange, &problem);
        return;
    }
    work->job.run = run;
    work->post.run = on_result;
    work->exchange = exchange;
    work->loop = exchange->loop;
    work->server = exchange->loop->server;
    work->kind = kind;
    work->answer = answer;
    burble__buffer_init(&work->reply, BURBLE__MAX_REPLY);
    burble__init(&work->abandoned, false);
    exchange->work = work;
    burble__loop_work_begins(work->loop);
    burble__workers_add(&work->server->workers, &work->job);
}

void burble__work_abandon(struct burble__work *work)
{
    burble__store_relaxed(&work->abandoned, true);
    if (!burble__workers_remove(&work->server->workers, &work->job))
        return; /* it runs, and comes back */
    take_back(work);
    destroy(work);
}
