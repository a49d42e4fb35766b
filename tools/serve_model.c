/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "serve_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <burble/llama_serve.h>

#include "command.h"

/* Says why a file cannot be read. A name that is not one of GGUF's may be of a model elsewhere. */
static int complain_of_file(const char *path, int reason)
{
    const size_t len = strlen(path);
    if (reason == EISDIR)
        return complain("%s: expected a GGUF file, found a directory (python -m burble serve takes "
                        "a model of transformers)",
                        path);
    if (reason == ENOENT && (len < 5 || strcasecmp(path + len - 5, ".gguf") != 0))
        return complain("%s: expected the path of a GGUF file: %s", path, strerror(reason));
    return complain("%s: %s", path, strerror(reason));
}

int serve_model_check(const char *path)
{
    char magic[4];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return complain_of_file(path, errno);
    errno = 0;
    const size_t n = fread(magic, 1, sizeof magic, file);
    const int reason = ferror(file) ? errno : 0;
    fclose(file);
    if (reason != 0)
        return complain_of_file(path, reason);
    return n == sizeof magic && memcmp(magic, "GGUF", n) == 0
               ? EXIT_DONE
               : complain("%s: expected a GGUF file, found another one", path);
}

int serve_model_load(struct serve_model *model, const struct serve_options *options,
                     const struct serve_model_option *option,
                     burble_llama_model_progress_fn *progress, void *arg, burble_error *error)
{
    burble_llama_model_options wanted;
    burble_llama_model_options_init(&wanted);
    wanted.progress = progress;
    wanted.progress_arg = arg;
    wanted.gpu_layers = options->gpu_layers;
    wanted.overcommit = options->overcommit;
    model->name = option->name;
    int result = burble_llama_model_load(option->path, &wanted, &model->model, error);
    if (result != BURBLE_OK)
        return result;
    result = burble_llama_engine_create(model->model, &options->engine, &model->engine, error);
    return result == BURBLE_OK ? burble_llama_serve_model(model->engine, model->model, option->name,
                                                          &model->backend, error)
                               : result;
}

/* ---- with prompts in the log: the same functions, and `submit` says what it is given ------------------------------ */

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    const struct serve_model *model = arg;
    log_prompt(model->prompts, request);
    return model->backend.submit(model->backend.arg, request, stream, error);
}

static void cancelled(void *arg, burble_stream *stream)
{
    const struct serve_model *model = arg;
    model->backend.cancelled(model->backend.arg, stream);
}

static int tokenize(void *arg, burble_text text, bool add_special, bool parse_special, int32_t *ids,
                    size_t capacity, size_t *n, burble_error *error)
{
    const struct serve_model *model = arg;
    return model->backend.tokenize(model->backend.arg, text, add_special, parse_special, ids,
                                   capacity, n, error);
}

static int piece(void *arg, int32_t id, char *text, size_t capacity, size_t *len)
{
    const struct serve_model *model = arg;
    return model->backend.piece(model->backend.arg, id, text, capacity, len);
}

static void place(void *arg, const burble_stream *stream, burble_serve_place *at)
{
    const struct serve_model *model = arg;
    model->backend.place(model->backend.arg, stream, at);
}

static void load(void *arg, burble_serve_load *counts)
{
    const struct serve_model *model = arg;
    model->backend.load(model->backend.arg, counts);
}

static void release(void *arg)
{
    const struct serve_model *model = arg;
    model->backend.release(model->backend.arg);
}

static burble_serve_model logged(struct serve_model *model)
{
    burble_serve_model outer = model->backend;
    outer.arg = model;
    outer.submit = submit;
    outer.cancelled = outer.cancelled != NULL ? cancelled : NULL;
    outer.tokenize = outer.tokenize != NULL ? tokenize : NULL;
    outer.piece = outer.piece != NULL ? piece : NULL;
    outer.place = outer.place != NULL ? place : NULL;
    outer.load = outer.load != NULL ? load : NULL;
    outer.release = outer.release != NULL ? release : NULL;
    return outer;
}

int serve_model_add(struct serve_model *model, serve_model_add_fn *add, void *arg,
                    burble_error *error)
{
    const burble_serve_model outer = model->prompts != NULL ? logged(model) : model->backend;
    const int result = add(arg, &outer, error);
    if (result != BURBLE_OK && model->backend.release != NULL)
        model->backend.release(model->backend.arg);
    return result;
}

void serve_model_destroy(struct serve_model *model)
{
    burble_llama_engine_destroy(&model->engine);
    burble_llama_model_unref(&model->model);
}
