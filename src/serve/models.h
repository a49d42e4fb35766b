/* SPDX-License-Identifier: MIT
 *
 * The models of a server, by name. A model that is removed lives on until the last answer of it has dropped it; then its
 * `release` is called, once. All functions may be called in any thread.
 */
#ifndef BURBLE_SERVE_MODELS_H
#define BURBLE_SERVE_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/serve.h>

#include "base/atomic.h"
#include "base/buffer.h"
#include "serve/workers.h"

struct burble__model {
    burble_serve_model backend; /* its `name` and `digest` are those below, `created` is not 0 */
    _Atomic(uint32_t) references;
    struct burble__model *next; /* of the table's list, in the order of adding */
    struct burble__lane lane;   /* of the calls of its backend; `cancelled` is no such call */
    burble_serve_load load;     /* when it was last asked for; under the table's lock */
    char name[BURBLE_FRAME_MAX_NAME + 1];
    char digest[BURBLE_SERVE_MAX_DIGEST + 1];
};

struct burble__models;

/* BURBLE_OK or BURBLE_ENOMEM. */
int burble__models_create(struct burble__models **out);

/* Drops all models. NULL and a pointer to NULL are allowed. */
void burble__models_destroy(struct burble__models **handle);

/* As burble_server_add_model. `now`: seconds since 1970. */
int burble__models_add(struct burble__models *models, const burble_serve_model *given, uint64_t now,
                       burble_error *error);

/* A model that is in no table, of this name, with one reference, for an answer that a finder has found. NULL: out of memory. */
struct burble__model *burble__model_create(const burble_serve_model *backend, const char *name,
                                           size_t len);

/* As burble_server_remove_model. */
int burble__models_remove(struct burble__models *models, const char *name);

/* The model of this name; `name` NULL: of the usable ones, or else of all, the one that was added first. NULL if there is none; otherwise drop it with
 * burble__model_drop. */
struct burble__model *burble__models_find(struct burble__models *models, const char *name,
                                          size_t len);

/* How many there are, and how many were added so far. */
size_t burble__models_count(struct burble__models *models);
size_t burble__models_added(struct burble__models *models);

/* Asks all backends for their loads. Of one that does not return from its calls, what it said last stays. BURBLE_OK or
 * BURBLE_ENOMEM. In a worker. */
int burble__models_ask_loads(struct burble__models *models, struct burble__workers *workers);

/* Calls `each` for each model, with a lock held: it must not call functions of this header, or of a backend. */
void burble__models_each(struct burble__models *models,
                         void (*each)(const struct burble__model *model, void *arg), void *arg);

struct burble__model *burble__model_ref(struct burble__model *model);

/* Drops a reference and sets *handle to NULL. NULL and a pointer to NULL are allowed. */
void burble__model_drop(struct burble__model **handle);

/* Append the bodies of GET /v1/models and GET /v1/models/{id}. BURBLE_OK or BURBLE_ENOMEM. */
int burble__models_write(struct burble__models *models, struct burble__buffer *buffer);
int burble__model_write(const struct burble__model *model, struct burble__buffer *buffer);

#endif
