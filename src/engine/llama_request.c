/* SPDX-License-Identifier: MIT */
#include "engine/llama_request.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/reserved.h"
#include "engine/llama_output.h"

/* How many of the prompt's last ids are used to decide how the text after it begins: more than enough. */
#define PRIME 16

void burble_llama_request_init(burble_llama_request *request)
{
    *request = (burble_llama_request){.skip_special = true, .reuse = true};
    burble__sampler_defaults(request);
}

/* ---- making one ---------------------------------------------------------------------------------- */

static int check(const burble_llama_request *wanted, burble_error *error)
{
    if (!BURBLE__UNUSED(wanted))
        return burble__error_set(error, BURBLE_EINVAL, "request: " BURBLE__RESERVED);
    if (wanted->top_logprobs > BURBLE_LLAMA_MAX_LOGPROBS) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "top_logprobs: expected 0 to %d, found %" PRIu32,
                                 BURBLE_LLAMA_MAX_LOGPROBS, wanted->top_logprobs);
    }
    if (wanted->answered > 0 && (wanted->ids == NULL || wanted->answered >= wanted->n_ids)) {
        return burble__error_set(
            error, BURBLE_EINVAL,
            "answered: expected fewer than the ids of the prompt, %zu, found %zu",
            wanted->ids == NULL ? 0 : wanted->n_ids, wanted->answered);
    }
    if (wanted->answered > 0 && wanted->n_prompts > 0) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "answered: expected 0 with `prompts`, found %zu",
                                 wanted->answered);
    }
    if (wanted->frames && wanted->ids != NULL && wanted->answered > 0 && wanted->choices > 1) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "choices: expected 1, as an answer is continued, found %" PRIu32,
                                 wanted->choices);
    }
    return BURBLE_OK;
}

int burble__request_count(const burble_llama_request *wanted, uint64_t most, uint32_t *n,
                          burble_error *error)
{
    *n = wanted->choices == 0 ? 1 : wanted->choices;
    if (*n > BURBLE_FRAME_MAX_CHOICES) {
        return burble__error_set(error, BURBLE_EINVAL, "choices: expected 0 to %d, found %" PRIu32,
                                 BURBLE_FRAME_MAX_CHOICES, *n);
    }
    if (wanted->n_prompts > 0 && !wanted->frames) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "n_prompts: expected 0 without `frames`, found %zu",
                                 wanted->n_prompts);
    }
    if (wanted->n_prompts > BURBLE_FRAME_MAX_CHOICES / *n) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "n_prompts: expected at most %" PRIu32 ", with %" PRIu32
                                 " choices each, found %zu",
                                 BURBLE_FRAME_MAX_CHOICES / *n, *n, wanted->n_prompts);
    }
    if (wanted->n_prompts > 1)
        *n *= (uint32_t)wanted->n_prompts;
    if (*n > 1 && !wanted->frames) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "choices: expected 1 without `frames`, found %" PRIu32, *n);
    }
    if (*n > most) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "choices: expected at most %" PRIu64
                                 ", the slots and the places in the queue, found %" PRIu32,
                                 most, *n);
    }
    return BURBLE_OK;
}

static int prompt_of_ids(const burble_llama_model *model, const burble_llama_request *wanted,
                         struct burble__request *request, burble_error *error)
{
    const int32_t ids = llama_vocab_n_tokens(model->tokens);
    for (size_t i = 0; i < wanted->n_ids; i++) {
        if (wanted->ids[i] < 0 || wanted->ids[i] >= ids) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "prompt: token %zu: expected an id from 0 to %" PRId32
                                     ", found %" PRId32,
                                     i, ids - 1, wanted->ids[i]);
        }
    }
    request->ids = burble__malloc(wanted->n_ids * sizeof *request->ids);
    if (request->ids == NULL)
        return BURBLE_ENOMEM;
    memcpy(request->ids, wanted->ids, wanted->n_ids * sizeof *request->ids);
    return BURBLE_OK;
}

/* An empty text is the beginning of a new one, which the model knows by BOS, also if it needs none before others. If
 * the file names no BOS, llama.cpp takes a token by its number in other models. */
static size_t begin_text(const burble_llama_model *model, int32_t *ids)
{
    char value[32];
    const llama_token bos = llama_vocab_bos(model->tokens);
    if (bos == LLAMA_TOKEN_NULL
        || llama_model_meta_val_str(model->llama, "tokenizer.ggml.bos_token_id", value,
                                    sizeof value)
               < 0)
        return 0;
    ids[0] = bos;
    return 1;
}

/* *n is the number of tokens of the text. If it is above `room`, no ids are returned. */
static int prompt_of_text(const burble_llama_model *model, const burble_llama_request *wanted,
                          size_t room, struct burble__request *request, size_t *n,
                          burble_error *error)
{
    request->ids = burble__malloc(room * sizeof *request->ids);
    if (request->ids == NULL)
        return BURBLE_ENOMEM;
    const int result = burble_llama_model_tokenize(model, wanted->prompt, wanted->prompt_len,
                                                   wanted->specials, request->ids, room, n);
    if (result == BURBLE_EINVAL
        && (wanted->prompt == NULL
            || burble__llama_check_text("prompt", wanted->prompt, wanted->prompt_len, error)
                   == BURBLE_OK)) {
        return burble__error_set(error, result, "prompt: expected at most 1 GiB of text, found %s",
                                 wanted->prompt == NULL ? "NULL" : "more");
    }
    if (result == BURBLE_OK && *n == 0)
        *n = begin_text(model, request->ids);
    if (result == BURBLE_OK && *n > 0) {
        int32_t *smaller = burble__realloc(request->ids, *n * sizeof *request->ids);
        request->ids = smaller != NULL ? smaller : request->ids;
    }
    return result == BURBLE_EFULL ? BURBLE_OK : result;
}

static int take_prompt(const burble_llama_model *model, const burble_llama_request *wanted,
                       uint32_t context, struct burble__request *request, burble_error *error)
{
    size_t n = wanted->n_ids;
    int result = BURBLE_OK;
    if (wanted->ids == NULL && wanted->prompt != NULL
        && burble__llama_is_too_long(model, wanted->prompt_len, context)) {
        return burble__error_set(error, BURBLE_ETOOLONG,
                                 "prompt: expected at most %" PRIu32
                                 " tokens, as the context is %" PRIu32
                                 ", found more: %zu bytes of text",
                                 context - 1, context, wanted->prompt_len);
    }
    if (wanted->ids == NULL)
        result = prompt_of_text(model, wanted, context, request, &n, error);
    else if (n > 0 && n < context)
        result = prompt_of_ids(model, wanted, request, error);
    if (result != BURBLE_OK)
        return result;
    if (n == 0) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "prompt: expected at least 1 token, found none%s",
                                 wanted->ids == NULL ? ", and the model has no BOS" : "");
    }
    if (n >= context) {
        return burble__error_set(error, BURBLE_ETOOLONG,
                                 "prompt: expected at most %" PRIu32
                                 " tokens, as the context is %" PRIu32 ", found %zu",
                                 context - 1, context, n);
    }
    request->n_ids = (uint32_t)n;
    request->answered = (uint32_t)wanted->answered;
    request->progress.prompt_tokens = request->n_ids;
    const uint32_t most = context - request->n_ids;
    request->max_tokens =
        wanted->max_tokens == 0 || wanted->max_tokens > most ? most : wanted->max_tokens;
    return BURBLE_OK;
}

/* Looks for stop strings that are the text of special tokens. Such tokens have no text in the stream if
 * special tokens are left out, or if they are the model's end-of-text token. The text to write for them is
 * stored after the table. BURBLE_OK or BURBLE_ENOMEM. */
static int find_stop_tokens(const burble_llama_model *model, const burble_llama_request *wanted,
                            struct burble__request *request)
{
    const size_t n = burble_stop_tokens(model->vocab, wanted->stop, wanted->n_stop, NULL, 0);
    if (n == 0)
        return BURBLE_OK;
    burble_stop_token *found = burble__calloc(n, sizeof *found);
    if (found == NULL)
        return BURBLE_ENOMEM;
    burble_stop_tokens(model->vocab, wanted->stop, wanted->n_stop, found, n);
    size_t bytes = 0;
    for (size_t i = 0; i < n && wanted->include_stop; i++)
        bytes += wanted->stop[found[i].which].len;
    struct burble__stop_token *tokens = burble__malloc(n * sizeof *tokens + bytes);
    if (tokens != NULL) {
        char *at = (char *)(tokens + n);
        for (size_t i = 0; i < n; i++) {
            const burble_text string = wanted->stop[found[i].which];
            const size_t len = wanted->include_stop ? string.len : 0;
            memcpy(at, string.bytes, len);
            tokens[i] = (struct burble__stop_token){found[i], {.bytes = at, .len = len}};
            at += len;
        }
        request->stop_tokens = tokens;
        request->n_stop_tokens = n;
    }
    burble__free(found);
    return tokens == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

/* Creates the parts between the ids and the stream: detokenizer, stop filter and chunker. */
static int make_way(const burble_llama_model *model, const burble_llama_request *wanted,
                    struct burble__request *request, burble_error *error)
{
    burble_detok_options options;
    burble_detok_options_init(&options);
    options.skip_special = wanted->skip_special;
    int result = burble_detok_create(model->vocab, &options, &request->detok);
    if (result == BURBLE_OK) {
        const uint32_t before = request->n_ids - request->answered;
        const uint32_t n = before < PRIME ? before : PRIME;
        result = burble_detok_prime(request->detok, request->ids + before - n, n);
    }
    if (result == BURBLE_OK) {
        result = burble_chunker_create(wanted->chunking, &request->chunker);
        if (result == BURBLE_EINVAL) {
            return burble__error_set(error, result, "chunking: expected a known rule, found %d",
                                     (int)wanted->chunking);
        }
    }
    if (result == BURBLE_OK && wanted->n_stop > 0) {
        result = burble_stop_create(wanted->stop, wanted->n_stop, wanted->include_stop,
                                    &request->stop, error);
        result = result == BURBLE_OK ? find_stop_tokens(model, wanted, request) : result;
    }
    return result;
}

/* The answer's tokens are not a part of the prompt: each is computed alone, as it was before. */
static int follow(struct burble__request *request)
{
    const uint32_t before = request->n_ids - request->answered;
    request->followed = burble__malloc(request->answered * sizeof *request->followed);
    if (request->followed == NULL)
        return BURBLE_ENOMEM;
    memcpy(request->followed, request->ids + before, request->answered * sizeof *request->followed);
    request->n_followed = request->answered;
    request->n_ids = before;
    return BURBLE_OK;
}

static int make(burble_llama_model *model, const burble_llama_request *wanted, uint32_t context,
                struct burble__request *request, burble_error *error)
{
    int result = burble__sampler_create(model, wanted, context, &request->sampler, error);
    if (result == BURBLE_OK)
        result = take_prompt(model, wanted, context, request, error);
    if (result != BURBLE_OK)
        return result;
    const bool follows = burble__sampler_follows(request->sampler);
    burble__sampler_take_prompt(request->sampler, request->ids,
                                request->n_ids - (follows ? request->answered : 0));
    result = make_way(model, wanted, request, error);
    if (result == BURBLE_OK)
        result = burble__request_replay(model, request, error);
    return result == BURBLE_OK && follows && !request->done ? follow(request) : result;
}

/* Creates the request of choice `number`; `frames` (NULL: none are wanted) has a reference for it, which is dropped
 * if it fails. */
static int create(burble_llama_model *model, const burble_llama_request *wanted, uint32_t context,
                  burble_stream *stream, struct burble__frames *frames, uint32_t number,
                  struct burble__request **out, burble_error *error)
{
    int result = BURBLE_OK;
    *out = NULL;
    struct burble__request *request = burble__calloc(1, sizeof *request);
    if (request == NULL) {
        burble__frames_unref(frames);
        return BURBLE_ENOMEM;
    }
    request->stream = burble_stream_ref(stream);
    request->priority = wanted->priority;
    request->deadline = wanted->deadline;
    request->reuse = wanted->reuse;
    request->ignore_end = wanted->ignore_end;
    request->include_stop = wanted->include_stop;
    request->skip_special = wanted->skip_special;
    request->wants_logprobs = wanted->logprobs;
    request->logprobs.top = wanted->top_logprobs;
    request->progress.id = -1;
    request->progress.choice = number;
    burble__buffer_init(&request->held, SIZE_MAX);
    if (frames != NULL) {
        result = burble__choice_create(frames, number, &request->choice);
        if (result != BURBLE_OK)
            burble__frames_unref(frames);
    }
    if (result == BURBLE_OK)
        result = make(model, wanted, context, request, error);
    if (result != BURBLE_OK)
        burble__llama_request_destroy(&request);
    *out = request;
    return result;
}

/* The request for the first answer to one of several prompts. */
static void take_prompt_of(const burble_llama_request *wanted, uint32_t i,
                           burble_llama_request *next)
{
    if (wanted->n_prompts == 0)
        return;
    next->ids = wanted->prompts[i].ids;
    next->n_ids = wanted->prompts[i].n_ids;
    next->prompt = wanted->prompts[i].text;
    next->prompt_len = wanted->prompts[i].len;
    next->seed = wanted->seed;
}

/* "prompt: …" becomes "prompt[2]: …". */
static void name_prompt(burble_error *error, uint32_t i)
{
    static const char name[] = "prompt: ";
    if (error == NULL || strncmp(error->message, name, sizeof name - 1) != 0)
        return;
    const burble_error old = *error;
    burble__error_set(error, old.code, "prompt[%" PRIu32 "]: %s", i, old.message + sizeof name - 1);
}

int burble__request_create(burble_llama_model *model, const burble_llama_request *wanted,
                           uint32_t context, burble_stream *stream, struct burble__request **out,
                           burble_error *error)
{
    const uint32_t each = wanted->choices == 0 ? 1 : wanted->choices;
    const uint32_t n = wanted->n_prompts > 1 ? each * (uint32_t)wanted->n_prompts : each;
    struct burble__frames *frames = NULL;
    struct burble__request *first = NULL;
    struct burble__request **last = &first;
    burble_llama_request next = *wanted;
    *out = NULL;
    int result = check(wanted, error);
    if (result == BURBLE_OK && wanted->frames)
        result = burble__frames_create(wanted, n, &frames);
    for (uint32_t i = 0; i < n && result == BURBLE_OK; i++) {
        if (i % each == 0)
            take_prompt_of(wanted, i / each, &next);
        result = create(model, &next, context, stream, frames, i, last, error);
        if (result != BURBLE_OK) {
            for (uint32_t left = i + 1; left < n; left++)
                burble__frames_unref(frames);
            if (wanted->n_prompts > 1)
                name_prompt(error, i / each);
            break;
        }
        next.ids = (*last)->ids; /* the others need not tokenize it */
        next.n_ids = (*last)->n_ids;
        if (next.seed != UINT32_MAX)
            next.seed = (uint32_t)(((uint64_t)wanted->seed + i % each + 1) % UINT32_MAX);
        last = &(*last)->next;
    }
    if (result == BURBLE_ENOMEM)
        burble__error_set(error, result, "no memory for a request");
    if (result != BURBLE_OK) {
        while (first != NULL) {
            struct burble__request *rest = first->next;
            burble__llama_request_destroy(&first);
            first = rest;
        }
    }
    *out = first;
    return result;
}

void burble__llama_request_destroy(struct burble__request **handle)
{
    struct burble__request *request = *handle;
    *handle = NULL;
    request->progress.over = true;
    burble__request_tell(request);
    burble_stream_unref(&request->stream);
    burble_detok_destroy(&request->detok);
    burble_stop_destroy(&request->stop);
    burble__free(request->stop_tokens);
    burble_chunker_destroy(&request->chunker);
    burble__choice_destroy(&request->choice);
    burble__buffer_finish(&request->held);
    burble__sampler_destroy(&request->sampler);
    burble__free(request->followed);
    burble__free(request->ids);
    burble__free(request);
}

bool burble__request_is_over(const struct burble__request *request)
{
    burble_status status;
    burble_stream_status(request->stream, &status);
    return status.state != BURBLE_OPEN;
}
