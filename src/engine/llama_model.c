/* SPDX-License-Identifier: MIT */
#include "engine/llama_model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/reserved.h"
#include "base/utf8.h"
#include "engine/llama_log.h"
#include "engine/llama_memory.h"

void burble_llama_model_options_init(burble_llama_model_options *options)
{
    *options = (burble_llama_model_options){.gpu_layers = -1};
}

/* ---- loading ------------------------------------------------------------------------------------- */

struct progress {
    burble_llama_model_progress_fn *report;
    void *arg;
    bool given_up;
};

static bool progress(float done, void *arg)
{
    struct progress *progress = arg;
    progress->given_up = !progress->report(done, progress->arg);
    return !progress->given_up;
}

/* llama.cpp's text of one token, in the buffer, which is made larger where it must be. */
static int piece(const struct llama_vocab *tokens, llama_token id, char **text, int32_t *capacity,
                 uint32_t *len)
{
    int32_t n = llama_token_to_piece(tokens, id, *text, *capacity, 0, true);
    if (n < 0) {
        char *larger = burble__realloc(*text, (size_t)-n);
        if (larger == NULL)
            return BURBLE_ENOMEM;
        *text = larger;
        *capacity = -n;
        n = llama_token_to_piece(tokens, id, *text, *capacity, 0, true);
    }
    *len = n > 0 ? (uint32_t)n : 0;
    return BURBLE_OK;
}

/* A vocabulary made from llama.cpp's texts of the ids, for tokenizers that burble cannot read itself. */
static int vocab_of_pieces(const struct llama_vocab *tokens, burble_vocab **out,
                           burble_error *error)
{
    const int32_t n = llama_vocab_n_tokens(tokens);
    int32_t capacity = 64;
    char *text = burble__malloc((size_t)capacity);
    burble_token *table = burble__calloc((size_t)n + 1, sizeof *table);
    int result = text == NULL || table == NULL ? BURBLE_ENOMEM : BURBLE_OK;
    for (int32_t id = 0; id < n && result == BURBLE_OK; id++) {
        result = piece(tokens, id, &text, &capacity, &table[id].len);
        char *copy = NULL;
        if (result == BURBLE_OK && table[id].len > 0) {
            copy = burble__malloc(table[id].len);
            result = copy == NULL ? BURBLE_ENOMEM : BURBLE_OK;
        }
        if (copy != NULL)
            memcpy(copy, text, table[id].len);
        table[id].text = copy;
        table[id].flags = llama_vocab_is_control(tokens, id) ? BURBLE_TOKEN_SPECIAL : 0;
    }
    if (result == BURBLE_OK)
        result = burble_vocab_create(NULL, table, (size_t)n, out, error);
    else
        burble__error_set(error, result, "no memory for a vocabulary of %" PRId32 " tokens", n);
    for (int32_t id = 0; table != NULL && id < n; id++)
        burble__free((char *)table[id].text);
    burble__free(table);
    burble__free(text);
    return result;
}

static int load_vocab(const char *path, burble_llama_model *model, burble_error *error)
{
    if (llama_vocab_type(model->tokens) == LLAMA_VOCAB_TYPE_NONE) {
        return burble__error_set(error, BURBLE_EUNSUPPORTED, "%s: the model has no vocabulary",
                                 path);
    }
    int result = burble_vocab_load(path, BURBLE_VOCAB_GGUF, &model->vocab, error);
    if (result == BURBLE_EUNSUPPORTED) {
        if (error != NULL)
            *error = (burble_error){.code = BURBLE_OK}; /* it is no failure */
        result = vocab_of_pieces(model->tokens, &model->vocab, error);
    }
    return result;
}

/* The most bytes of text that one token represents, for tokenizers whose tokens each represent a piece of
 * the text. Other tokenizers use one token for any text that they do not know. */
static size_t longest_piece(const struct llama_vocab *tokens)
{
    const enum llama_vocab_type type = llama_vocab_type(tokens);
    if (type != LLAMA_VOCAB_TYPE_SPM && type != LLAMA_VOCAB_TYPE_BPE
        && type != LLAMA_VOCAB_TYPE_RWKV) {
        return SIZE_MAX;
    }
    int32_t longest = 0;
    for (int32_t id = 0; id < llama_vocab_n_tokens(tokens); id++) {
        char byte; /* no room: what comes back is how much there should be, below 0 */
        const int32_t len = -llama_token_to_piece(tokens, id, &byte, 0, 0, true);
        longest = len > longest ? len : longest;
    }
    return (size_t)longest;
}

static const char *why_not(const struct llama_model *model)
{
    if (!llama_model_has_decoder(model))
        return "an encoder only";
    if (llama_model_has_encoder(model))
        return "an encoder with a decoder";
    return llama_model_is_diffusion(model) ? "a model for diffusion" : NULL;
}

int burble__llama_look_at(const char *path, burble_error *error)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fgetc(file) == EOF) {
        const int reason = file != NULL && !ferror(file) ? 0 : errno;
        if (file != NULL)
            fclose(file);
        if (reason == 0) {
            return burble__error_set(error, BURBLE_EFORMAT,
                                     "%s: expected a GGUF file, found an empty one", path);
        }
        errno = reason;
        return reason == EISDIR
                   ? burble__error_set(error, BURBLE_ESYSTEM,
                                       "%s: expected a GGUF file, found a directory", path)
                   : burble__error_set(error, BURBLE_ESYSTEM, "%s: %s", path, strerror(reason));
    }
    fclose(file);
    return BURBLE_OK;
}

static int load(const char *path, const burble_llama_model_options *options,
                burble_llama_model *model, burble_error *error)
{
    struct progress reports = {options->progress, options->progress_arg, false};
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = options->gpu_layers;
    params.check_tensors = options->check_tensors;
    if (options->progress != NULL) {
        params.progress_callback = progress;
        params.progress_callback_user_data = &reports;
    }
    burble__llama_listen();
    model->llama = llama_model_load_from_file(path, params);
    if (reports.given_up)
        return burble__error_set(error, BURBLE_ECANCELED, "%s: loading was cancelled", path);
    if (model->llama == NULL) {
        /* llama.cpp has no codes, only words. */
        const char *said = burble__llama_said();
        const bool memory = strstr(said, "alloc") != NULL;
        return burble__error_set(error, memory ? BURBLE_ENOMEM : BURBLE_EFORMAT, "%s: %s", path,
                                 said);
    }
    model->tokens = llama_model_get_vocab(model->llama);
    const char *found = why_not(model->llama);
    if (found != NULL) {
        return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                 "%s: expected a model that continues a text, found %s", path,
                                 found);
    }
    model->longest = longest_piece(model->tokens);
    return load_vocab(path, model, error);
}

int burble_llama_model_load(const char *path, const burble_llama_model_options *options,
                            burble_llama_model **out, burble_error *error)
{
    burble_llama_model_options defaults;

    *out = NULL;
    if (options == NULL) {
        burble_llama_model_options_init(&defaults);
        options = &defaults;
    }
    if (!BURBLE__UNUSED(options))
        return burble__error_set(error, BURBLE_EINVAL, "options: " BURBLE__RESERVED);
    int result = burble__llama_look_at(path, error);
    if (result == BURBLE_OK)
        result = burble__memory_check_file(path, options, error);
    if (result != BURBLE_OK)
        return result;
    burble__llama_begin();
    burble_llama_model *model = burble__calloc(1, sizeof *model);
    if (model == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "%s: no memory", path);
    burble__init(&model->refs, 1);
    burble__init(&model->pieces, NULL);
    burble__init(&model->specials, NULL);
    model->path = burble__malloc(strlen(path) + 1);
    if (model->path == NULL) {
        burble_llama_model_unref(&model);
        return burble__error_set(error, BURBLE_ENOMEM, "%s: no memory", path);
    }
    memcpy(model->path, path, strlen(path) + 1);
    result = load(path, options, model, error);
    if (result != BURBLE_OK)
        burble_llama_model_unref(&model);
    *out = model;
    return result;
}

burble_llama_model *burble_llama_model_ref(burble_llama_model *model)
{
    burble__add_relaxed(&model->refs, 1); /* the caller has one already */
    return model;
}

void burble_llama_model_unref(burble_llama_model **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    burble_llama_model *model = *handle;
    *handle = NULL;
    /* Acquire and release: what others did with the model comes before its end. */
    if (burble__sub_acq_rel(&model->refs, 1) != 1)
        return;
    burble__pieces_destroy(burble__load_relaxed(&model->pieces));
    burble__specials_destroy(burble__load_relaxed(&model->specials));
    burble_vocab_unref(&model->vocab);
    llama_model_free(model->llama);
    burble__free(model->path);
    burble__free(model);
}

const struct burble__pieces *burble__llama_pieces(const burble_llama_model *model)
{
    burble_llama_model *changed = (burble_llama_model *)model; /* for what is made once */
    struct burble__pieces *found = burble__load_acquire(&changed->pieces);
    struct burble__pieces *made;
    if (found != NULL || burble__pieces_create(model->tokens, &made) != BURBLE_OK)
        return found;
    /* Release, for the loads above: who finds them also finds their texts. The first thread's stay. */
    if (burble__cas_acq_rel(&changed->pieces, &found, made))
        return made;
    burble__pieces_destroy(made);
    return found;
}

const struct burble__specials *burble__llama_specials(const burble_llama_model *model)
{
    burble_llama_model *changed = (burble_llama_model *)model; /* as above */
    struct burble__specials *found = burble__load_acquire(&changed->specials);
    struct burble__specials *made;
    if (found != NULL || burble__specials_create(model->tokens, &made) != BURBLE_OK)
        return found;
    if (burble__cas_acq_rel(&changed->specials, &found, made))
        return made;
    burble__specials_destroy(made);
    return found;
}

burble_vocab *burble_llama_model_vocab(const burble_llama_model *model)
{
    return model->vocab;
}

uint32_t burble_llama_model_context(const burble_llama_model *model)
{
    const int32_t n = llama_model_n_ctx_train(model->llama);
    return n > 0 ? (uint32_t)n : 0;
}

/* ---- prompts ------------------------------------------------------------------------------------- */

int burble__llama_check_text(const char *what, const char *text, size_t len, burble_error *error)
{
    if (len == 0 || burble__utf8_valid(text, len))
        return BURBLE_OK;
    size_t at = 0;
    size_t character = 1;
    while (character <= 4 && character <= len - at) {
        if (burble__utf8_valid(text + at, character)) {
            at += character;
            character = 1;
        } else {
            character++;
        }
    }
    return burble__error_set(error, BURBLE_EINVAL, "%s: expected UTF-8, found byte 0x%02x at %zu",
                             what, (unsigned)(unsigned char)text[at], at);
}

int burble_llama_model_tokenize(const burble_llama_model *model, const char *text, size_t len,
                                bool specials, int32_t *ids, size_t capacity, size_t *n)
{
    *n = 0;
    if (len > BURBLE__LLAMA_MAX_TEXT || (text == NULL && len > 0))
        return BURBLE_EINVAL;
    if (burble__llama_check_text("text", text, len, NULL) != BURBLE_OK)
        return BURBLE_EINVAL;
    /* llama.cpp also adds an EOS token, if the model's add_eos_token wants it, and a text that ends is not
     * continued. So BOS, if it is wanted, is added here in this case. */
    const bool ends = llama_vocab_get_add_eos(model->tokens);
    const size_t begin = ends && llama_vocab_get_add_bos(model->tokens) ? 1 : 0;
    if (begin > 0 && capacity > 0)
        ids[0] = llama_vocab_bos(model->tokens);
    const size_t left = capacity > begin ? capacity - begin : 0;
    const int32_t room = left < INT32_MAX ? (int32_t)left : INT32_MAX;
    const int32_t found = llama_tokenize(model->tokens, len > 0 ? text : "", (int32_t)len,
                                         left > 0 ? ids + begin : NULL, room, !ends, specials);
    if (found == INT32_MIN)
        return BURBLE_EINVAL;
    *n = begin + (size_t)(found < 0 ? -found : found);
    return *n > capacity ? BURBLE_EFULL : BURBLE_OK;
}

int burble_llama_model_piece(const burble_llama_model *model, int32_t id, char *text,
                             size_t capacity, size_t *len)
{
    char none;
    *len = 0;
    if (id < 0 || id >= llama_vocab_n_tokens(model->tokens))
        return BURBLE_EINVAL;
    const int32_t room = capacity < INT32_MAX ? (int32_t)capacity : INT32_MAX;
    const int32_t n =
        llama_token_to_piece(model->tokens, id, room > 0 ? text : &none, room, 0, true);
    *len = (size_t)(n < 0 ? -n : n);
    return n < 0 ? BURBLE_EFULL : BURBLE_OK;
}

/* Each token represents a piece of the text, which is at most as long as the longest piece of the model.
 * There are exceptions: a special token can also absorb the white space around it, and some bytes have no
 * token in the vocabulary. So a piece counts as at least LEAST bytes, which is several times the average,
 * and SPARE bytes are added. */
bool burble__llama_is_too_long(const burble_llama_model *model, size_t len, uint32_t context)
{
    enum { LEAST = 64, SPARE = 4096 };
    const size_t longest = model->longest > LEAST ? model->longest : LEAST;
    return len > SPARE && (len - SPARE - 1) / longest >= context;
}
