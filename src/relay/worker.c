/* SPDX-License-Identifier: MIT
 *
 * What a worker's owner calls: its models, and its end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fork.h"
#include "base/thread.h"
#include "relay/session.h"

static void on_doorbell(const char *bytes, size_t len, void *arg)
{
    struct burble__worker_model *model = arg;
    (void)bytes, (void)len;
    model->wanted = true;
}

int burble_relay_add_model(burble_relay *relay, const burble_serve_model *model, uint32_t slots,
                           burble_error *error)
{
    if (slots < 1 || slots > BURBLE__MAX_SLOTS)
        return burble__error_set(error, BURBLE_EINVAL, "slots: expected 1 to %u, found %u",
                                 BURBLE__MAX_SLOTS, slots);
    if (relay->forks != burble__forks() || relay->state != BURBLE__RELAY_CREATED)
        return burble__error_set(error, BURBLE_EINVAL, "the relay was started before");
    if (relay->worker == NULL) {
        if (burble__session_create(relay, &relay->worker) != BURBLE_OK)
            return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
        burble__relay_add_role(relay, &relay->worker->role);
    }
    struct burble__session *session = relay->worker;
    struct burble__worker_model *one = burble__calloc(1, sizeof *one);
    if (one == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    burble__buffer_init(&one->description, 4096);
    one->session = session;
    one->slots = slots;
    int result = burble__models_add(session->known, model, (uint64_t)time(NULL), error);
    if (result != BURBLE_OK) {
        burble__free(one);
        return result;
    }
    one->model = burble__models_find(session->known, model->name, strlen(model->name));
    result = burble__model_describe(&one->model->backend, slots, &one->description);
    if (result == BURBLE_OK)
        result = burble__redis_subscribe(&relay->redis, model->name, on_doorbell, one);
    if (result != BURBLE_OK) {
        one->model->backend.release = NULL; /* it was not added */
        burble__models_remove(session->known, model->name);
        burble__model_drop(&one->model);
        burble__buffer_finish(&one->description);
        burble__free(one);
        return burble__error_set(error, result, "out of memory");
    }
    one->next = session->models;
    session->models = one;
    return BURBLE_OK;
}

void burble__relay_set_drained(burble_relay *relay)
{
    pthread_mutex_lock(&relay->lock);
    relay->drained = true;
    pthread_cond_broadcast(&relay->changed);
    pthread_mutex_unlock(&relay->lock);
}

struct drain {
    struct burble__relay_post post;
    uint64_t grace;
};

static void run_drain(burble_relay *relay, struct burble__relay_post *post)
{
    struct drain *drain = (struct drain *)(void *)post;
    struct burble__session *session = relay->worker;
    const uint64_t grace = burble__now() + drain->grace;
    burble__free(drain);
    session->grace = session->draining && session->grace < grace ? session->grace : grace;
    if (session->draining)
        return;
    session->draining = true;
    burble__relay_log(relay, "draining: %zu answers are computed", session->running.n);
    struct burble__publications *const lists[] = {&session->running, &session->to_adopt};
    for (unsigned i = 0; i < 2; i++)
        for (struct burble__publication *one = lists[i]->first; one != NULL; one = one->next) {
            one->handing = true;
            burble__session_mark(session, one);
        }
}

void burble_relay_drain(burble_relay *relay, uint64_t grace)
{
    if (relay->forks != burble__forks())
        return;
    struct drain *drain = relay->worker == NULL ? NULL : burble__malloc(sizeof *drain);
    if (drain != NULL) {
        *drain = (struct drain){.post = {.run = run_drain}, .grace = grace};
        if (burble__relay_post(relay, &drain->post))
            return;
        burble__free(drain);
    }
    /* It computes nothing. (Without memory to say so, its answers go on elsewhere once its lease is over.) */
    burble__relay_set_drained(relay);
}

int burble_relay_wait(burble_relay *relay, uint64_t deadline)
{
    int result = 0;
    if (relay->forks != burble__forks())
        return BURBLE_OK;
    pthread_mutex_lock(&relay->lock);
    while (!relay->drained && relay->state == BURBLE__RELAY_RUNNING && result != ETIMEDOUT)
        result = burble__condition_wait(&relay->changed, &relay->lock, deadline);
    const bool is_over = relay->drained || relay->state != BURBLE__RELAY_RUNNING;
    pthread_mutex_unlock(&relay->lock);
    return is_over ? BURBLE_OK : BURBLE_ETIMEDOUT;
}
