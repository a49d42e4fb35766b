/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L /* strnlen */
#include "serve/models.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/reserved.h"
#include "base/utf8.h"
#include "serve/json.h"

struct burble__models {
    pthread_mutex_t lock;
    struct burble__model *first;
    size_t added; /* so far */
};

int burble__models_create(struct burble__models **out)
{
    struct burble__models *models = burble__calloc(1, sizeof *models);
    if (models != NULL && pthread_mutex_init(&models->lock, NULL) != 0) {
        burble__free(models);
        models = NULL;
    }
    *out = models;
    return models == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

void burble__models_destroy(struct burble__models **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    struct burble__models *models = *handle;
    *handle = NULL;
    while (models->first != NULL) {
        struct burble__model *model = models->first;
        models->first = model->next;
        burble__model_drop(&model);
    }
    pthread_mutex_destroy(&models->lock);
    burble__free(models);
}

/* The link of the model of this name, or the last one. With the lock held. */
static struct burble__model **find(struct burble__models *models, const char *name, size_t len)
{
    struct burble__model **link = &models->first;
    while (*link != NULL && (strncmp((*link)->name, name, len) != 0 || (*link)->name[len] != '\0'))
        link = &(*link)->next;
    return link;
}

static bool is_digest(const char *digest)
{
    size_t len = 0;
    while (len <= BURBLE_SERVE_MAX_DIGEST && digest[len] > ' ' && digest[len] <= '~')
        len++;
    return len > 0 && len <= BURBLE_SERVE_MAX_DIGEST && digest[len] == '\0'
           && strcmp(digest, "-") != 0;
}

static int check(const burble_serve_model *model, burble_error *error)
{
    if (!BURBLE__UNUSED(model))
        return burble__error_set(error, BURBLE_EINVAL, "burble_serve_model: " BURBLE__RESERVED);
    const size_t len = model->name == NULL ? 0 : strnlen(model->name, BURBLE_FRAME_MAX_NAME + 1);
    if (len == 0 || len > BURBLE_FRAME_MAX_NAME)
        return burble__error_set(error, BURBLE_EINVAL, "name: expected 1 to %d bytes, found %s",
                                 BURBLE_FRAME_MAX_NAME, len == 0 ? "none" : "more");
    if (!burble__utf8_valid(model->name, len))
        return burble__error_set(error, BURBLE_EINVAL, "name: expected UTF-8, found other bytes");
    if (model->submit == NULL)
        return burble__error_set(error, BURBLE_EINVAL, "submit: expected a function, found NULL");
    if (model->digest != NULL && !is_digest(model->digest))
        return burble__error_set(
            error, BURBLE_EINVAL,
            "digest: expected 1 to %d visible ASCII characters but \"-\" alone",
            BURBLE_SERVE_MAX_DIGEST);
    return BURBLE_OK;
}

struct burble__model *burble__model_create(const burble_serve_model *backend, const char *name,
                                           size_t len)
{
    struct burble__model *model = burble__calloc(1, sizeof *model);
    if (model == NULL)
        return NULL;
    memcpy(model->name, name, len);
    model->backend = *backend;
    model->backend.name = model->name;
    if (backend->digest != NULL)
        model->backend.digest = memcpy(model->digest, backend->digest, strlen(backend->digest) + 1);
    burble__init(&model->references, 1);
    return model;
}

int burble__models_add(struct burble__models *models, const burble_serve_model *given, uint64_t now,
                       burble_error *error)
{
    const int result = check(given, error);
    if (result != BURBLE_OK)
        return result;
    const size_t len = strlen(given->name);
    struct burble__model *model = burble__model_create(given, given->name, len);
    if (model == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    if (model->backend.created == 0)
        model->backend.created = now;
    pthread_mutex_lock(&models->lock);
    struct burble__model **link = find(models, model->name, len);
    const bool is_new = *link == NULL;
    if (is_new) {
        *link = model;
        models->added++;
    }
    pthread_mutex_unlock(&models->lock);
    if (is_new)
        return BURBLE_OK;
    burble__free(model); /* without `release`: it was not added */
    return burble__error_set(error, BURBLE_EINVAL,
                             "name: expected a new name, found %s, which is a model already",
                             given->name);
}

int burble__models_remove(struct burble__models *models, const char *name)
{
    pthread_mutex_lock(&models->lock);
    struct burble__model **link = find(models, name, strlen(name));
    struct burble__model *model = *link;
    if (model != NULL)
        *link = model->next;
    pthread_mutex_unlock(&models->lock);
    if (model == NULL)
        return BURBLE_EINVAL;
    burble__model_drop(&model);
    return BURBLE_OK;
}

/* What a request gets that names none. With the lock held. */
static struct burble__model *choose(const struct burble__models *models)
{
    struct burble__model *model = models->first;
    while (model != NULL && model->backend.usable != NULL
           && !model->backend.usable(model->backend.arg))
        model = model->next;
    return model == NULL ? models->first : model;
}

struct burble__model *burble__models_find(struct burble__models *models, const char *name,
                                          size_t len)
{
    pthread_mutex_lock(&models->lock);
    struct burble__model *model = name == NULL ? choose(models) : *find(models, name, len);
    if (model != NULL)
        burble__model_ref(model);
    pthread_mutex_unlock(&models->lock);
    return model;
}

size_t burble__models_count(struct burble__models *models)
{
    size_t n = 0;
    pthread_mutex_lock(&models->lock);
    for (const struct burble__model *model = models->first; model != NULL; model = model->next)
        n++;
    pthread_mutex_unlock(&models->lock);
    return n;
}

size_t burble__models_added(struct burble__models *models)
{
    pthread_mutex_lock(&models->lock);
    const size_t added = models->added;
    pthread_mutex_unlock(&models->lock);
    return added;
}

static void ask_load(struct burble__models *models, struct burble__workers *workers,
                     struct burble__model *model)
{
    burble_serve_load load = {0};
    if (model->backend.load == NULL || !burble__workers_try_enter(workers, &model->lane))
        return;
    model->backend.load(model->backend.arg, &load);
    burble__workers_leave(workers, &model->lane, NULL);
    pthread_mutex_lock(&models->lock);
    model->load = load;
    pthread_mutex_unlock(&models->lock);
}

int burble__models_ask_loads(struct burble__models *models, struct burble__workers *workers)
{
    size_t n = 0;
    pthread_mutex_lock(&models->lock);
    for (const struct burble__model *model = models->first; model != NULL; model = model->next)
        n++;
    struct burble__model **all = (struct burble__model **)burble__calloc(n + 1, sizeof *all);
    struct burble__model *at = models->first;
    for (size_t i = 0; all != NULL && i < n; i++, at = at->next)
        all[i] = burble__model_ref(at);
    pthread_mutex_unlock(&models->lock);
    if (all == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        ask_load(models, workers, all[i]);
        burble__model_drop(&all[i]);
    }
    burble__free((void *)all);
    return BURBLE_OK;
}

void burble__models_each(struct burble__models *models,
                         void (*each)(const struct burble__model *model, void *arg), void *arg)
{
    pthread_mutex_lock(&models->lock);
    for (const struct burble__model *model = models->first; model != NULL; model = model->next)
        each(model, arg);
    pthread_mutex_unlock(&models->lock);
}

struct burble__model *burble__model_ref(struct burble__model *model)
{
    burble__add_relaxed(&model->references, 1);
    return model;
}

void burble__model_drop(struct burble__model **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    struct burble__model *model = *handle;
    *handle = NULL;
    if (burble__sub_acq_rel(&model->references, 1) != 1)
        return;
    if (model->backend.release != NULL)
        model->backend.release(model->backend.arg);
    burble__free(model);
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

/* The names of the parameters that the backend honours. */
static void put_parameters(uint64_t parameters, struct burble__output *out)
{
    static const char *const names[] = {
#define NAME(name, json, type, least, most) json,
        BURBLE_SERVE_PARAMETERS(NAME)
#undef NAME
    };
    bool first = true;
    burble__put_raw(out, "[");
    for (unsigned i = 0; i < BURBLE_SERVE_N_PARAMETERS; i++) {
        if ((parameters & BURBLE_SERVE_BIT(i)) == 0)
            continue;
        burble__put_raw(out, first ? "" : ",");
        burble__put_name(out, names[i]);
        first = false;
    }
    burble__put_raw(out, "]");
}

static void put_model(const struct burble__model *model, struct burble__output *out)
{
    burble__put_raw(out, "{\"id\":");
    burble__put_name(out, model->name);
    burble__put_raw(out, ",\"object\":\"model\",\"created\":");
    burble__put_integer(out, model->backend.created);
    burble__put_raw(out, ",\"owned_by\":\"burble\",\"meta\":{\"context\":");
    if (model->backend.context > 0)
        burble__put_integer(out, model->backend.context);
    else
        burble__put_raw(out, "null");
    burble__put_raw(out, model->backend.chat ? ",\"chat\":true" : ",\"chat\":false");
    burble__put_raw(out, ",\"parameters\":");
    put_parameters(model->backend.parameters, out);
    burble__put_raw(out, "}}");
}

int burble__model_write(const struct burble__model *model, struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    put_model(model, &out);
    return out.result;
}

int burble__models_write(struct burble__models *models, struct burble__buffer *buffer)
{
    struct burble__output out = {buffer, BURBLE_OK};
    burble__put_raw(&out, "{\"object\":\"list\",\"data\":[");
    pthread_mutex_lock(&models->lock);
    for (const struct burble__model *model = models->first; model != NULL; model = model->next) {
        burble__put_raw(&out, model == models->first ? "" : ",");
        put_model(model, &out);
    }
    pthread_mutex_unlock(&models->lock);
    burble__put_raw(&out, "]}");
    return out.result;
}
