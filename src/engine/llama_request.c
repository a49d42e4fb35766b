/* SPDX-License-Identifier: MIT */
#include "engine/llama_request.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error_message.h"
#include "base/reserved.h"
#include "base/utf8.h"

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

/* Whether a text is too long for `context` tokens, whatever its content. Such a text is not tokenized:
 * for megabytes of text, that would take seconds, and a hundred times the text's memory.
 *
 * Each token represents a piece of the text, which is at most as long as the longest piece of the model.
 * There are exceptions: a special token can also absorb the white space around it, and some bytes have no
 * token in the vocabulary. So a piece counts as at least LEAST bytes, which is several times the average,
 * and SPARE bytes are added. */
static bool is_too_long(const burble_llama_model *model, size_t len, uint32_t context)
{
    enum { LEAST = 64, SPARE = 4096 };
    const size_t longest = model->longest > LEAST ? model->longest : LEAST;
    return len > SPARE && (len - SPARE - 1) / longest >= context;
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
        && is_too_long(model, wanted->prompt_len, context)) {
        return burble__error_set(error, BURBLE_EINVAL,
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
                                 "prompt: expected at least 1 token, found none");
    }
    if (n >= context) {
        return burble__error_set(error, BURBLE_EINVAL,
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

static int replay(const burble_llama_model *model, struct burble__request *request,
                  burble_error *error);

int burble__request_create(burble_llama_model *model, const burble_llama_request *wanted,
                           uint32_t context, burble_stream *stream, struct burble__request **out,
                           burble_error *error)
{
    *out = NULL;
    int result = check(wanted, error);
    if (result != BURBLE_OK)
        return result;
    struct burble__request *request = burble__calloc(1, sizeof *request);
    if (request == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for a request");
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
    burble__buffer_init(&request->held, SIZE_MAX);
    result = burble__sampler_create(model, wanted, context, &request->sampler, error);
    if (result == BURBLE_OK)
        result = take_prompt(model, wanted, context, request, error);
    if (result == BURBLE_OK) {
        burble__sampler_take_prompt(request->sampler, request->ids, request->n_ids);
        result = make_way(model, wanted, request, error);
    }
    if (result == BURBLE_OK)
        result = replay(model, request, error);
    if (result == BURBLE_ENOMEM)
        burble__error_set(error, result, "no memory for a request");
    if (result != BURBLE_OK)
        burble__request_destroy(&request);
    *out = request;
    return result;
}

/* Calls the watch function with the present progress. */
static void tell(struct burble__request *request)
{
    if (request->watch == NULL)
        return;
    burble_llama_progress *progress = &request->progress;
    progress->waits = request->full_since != 0;
    progress->waited =
        request->waited + (progress->waits ? burble__now() - request->full_since : 0);
    request->watch(progress, request->watch_arg);
}

void burble__request_destroy(struct burble__request **handle)
{
    struct burble__request *request = *handle;
    *handle = NULL;
    request->progress.over = true;
    tell(request);
    burble_stream_unref(&request->stream);
    burble_detok_destroy(&request->detok);
    burble_stop_destroy(&request->stop);
    burble__free(request->stop_tokens);
    burble_chunker_destroy(&request->chunker);
    burble__buffer_finish(&request->held);
    burble__sampler_destroy(&request->sampler);
    burble__free(request->ids);
    burble__free(request);
}

/* ---- tokens -------------------------------------------------------------------------------------- */

bool burble__request_is_over(const struct burble__request *request)
{
    burble_status status;
    burble_stream_status(request->stream, &status);
    return status.state != BURBLE_OPEN;
}

int32_t burble__request_sample(struct burble__request *request, const float *logits,
                               llama_token_data *candidates, size_t n)
{
    const uint32_t position = request->progress.prompt_tokens + request->progress.tokens;
    if (request->wants_logprobs)
        burble__logprobs_take(&request->logprobs, logits, candidates, n);
    const int32_t id = burble__sampler_choose(request->sampler, position, logits, candidates, n);
    burble_llama_progress *progress = &request->progress;
    progress->mirostat_mu = burble__sampler_mu(request->sampler);
    if (request->wants_logprobs && id >= 0) {
        progress->has_logprobs = true;
        progress->logprob = (float)((double)logits[id] - request->logprobs.norm);
        progress->n_top = request->logprobs.n;
        progress->top_ids = request->logprobs.ids;
        progress->top_logprobs = request->logprobs.values;
    }
    return id;
}

/* Holds a chunk until the stream has room for it. BURBLE_OK or BURBLE_ENOMEM. */
static int hold(struct burble__request *request, burble_text chunk, uint32_t tokens)
{
    const int result = burble__buffer_append(&request->held, chunk.bytes, chunk.len);
    if (result == BURBLE_OK) {
        if (request->n_chunks == 0)
            request->full_since = burble__now();
        request->chunks[request->n_chunks].len = chunk.len;
        request->chunks[request->n_chunks++].tokens = tokens;
    }
    return result;
}

static int append(struct burble__request *request, const char *text, size_t len, uint32_t tokens)
{
    return burble_stream_append_until(request->stream, text, len, tokens, BURBLE_NO_WAIT);
}

/* Writes a chunk, which may be empty, or holds it if there is no room or other chunks are already held.
 * BURBLE_OK, or the reason why nothing more can be written. */
static int write_chunk(struct burble__request *request, burble_text chunk, uint32_t tokens)
{
    const int result = burble__request_is_full(request)
                           ? BURBLE_EFULL
                           : append(request, chunk.bytes, chunk.len, tokens);
    if (result != BURBLE_EFULL)
        return result;
    return chunk.len > 0 ? hold(request, chunk, tokens) : BURBLE_OK;
}

/* Writes text that has passed the stop filter. If it is the last text, also writes the text that the chunker
 * still keeps back. */
static int write_text(struct burble__request *request, burble_text text, uint32_t tokens, bool last)
{
    burble_text chunk;
    uint32_t stands_for;
    const bool holds = burble_detok_has_pending(request->detok);
    int result = burble_chunker_push(request->chunker, text.bytes, text.len, tokens, holds, &chunk,
                                     &stands_for);
    if (result == BURBLE_OK)
        result = write_chunk(request, chunk, stands_for);
    if (result == BURBLE_OK && last) {
        burble_chunker_finish(request->chunker, &chunk, &stands_for);
        result = write_chunk(request, chunk, stands_for);
    }
    return result;
}

static void end_with(struct burble__request *request, burble_reason reason)
{
    request->done = true;
    request->reason = reason;
}

/* Passes text through the stop filter, if there is one. BURBLE_OK, BURBLE_END if a stop string was found,
 * or BURBLE_ENOMEM. */
static int look_for_stop(struct burble__request *request, burble_text *text)
{
    burble_stop_match match;
    if (request->stop == NULL)
        return BURBLE_OK;
    const int result = burble_stop_push(request->stop, text->bytes, text->len, text, &match);
    if (result == BURBLE_OK) {
        request->characters += burble__utf8_count(text->bytes, text->len);
    } else if (result == BURBLE_END) {
        const size_t matched = request->include_stop ? (size_t)(match.end - match.begin) : 0;
        request->progress.stopped = true;
        request->progress.stop = match.which;
        request->progress.stop_begin =
            request->characters + burble__utf8_count(text->bytes, text->len - matched);
    }
    return result;
}

/* Ends the text: writes the text that was held back and the text of the stop token (NULL: none), and records
 * the reason of the end. */
static int finish(struct burble__request *request, burble_reason reason,
                  const struct burble__stop_token *token)
{
    burble_text text;
    burble_detok_finish(request->detok, &text);
    int result = BURBLE_OK;
    if (request->stop != NULL) {
        result = look_for_stop(request, &text);
        if (result == BURBLE_OK) {
            result = write_text(request, text, 0, false);
            burble_stop_finish(request->stop, &text);
        } else if (result == BURBLE_END) {
            result = BURBLE_OK;
            reason = BURBLE_REASON_STOP;
            token = NULL; /* the text ends before it */
        }
    }
    if (token != NULL) {
        request->progress.stopped = true;
        request->progress.stop = token->token.which;
        request->progress.stop_begin =
            request->characters + burble__utf8_count(text.bytes, text.len);
        result = result == BURBLE_OK ? write_text(request, text, 0, false) : result;
        text = token->text;
    }
    if (result == BURBLE_OK)
        result = write_text(request, text, 0, true);
    end_with(request, reason);
    return result;
}

static const struct burble__stop_token *stop_token_of(const struct burble__request *request,
                                                      int32_t id)
{
    for (size_t i = 0; i < request->n_stop_tokens; i++)
        if (request->stop_tokens[i].token.id == (uint32_t)id)
            return &request->stop_tokens[i];
    return NULL;
}

/* Whether the text ends with this token, before its text: at the end of the model's text, or because the
 * token is a stop string (*stop, else NULL). */
static bool is_end(const struct burble__request *request, const struct llama_vocab *tokens,
                   int32_t id, const struct burble__stop_token **stop)
{
    const bool ends = !request->ignore_end && llama_vocab_is_eog(tokens, id);
    *stop = ends || request->skip_special ? stop_token_of(request, id) : NULL;
    return ends || *stop != NULL;
}

/* Converts the token to text, and passes that through the stop filter. Results as of look_for_stop. */
static int text_of(struct burble__request *request, int32_t id, burble_text *text)
{
    const int result = burble_detok_push(request->detok, &id, 1, text);
    if (result != BURBLE_OK)
        return result;
    request->converted += burble__utf8_count(text->bytes, text->len);
    return look_for_stop(request, text);
}

/* Converts the token to text and writes it. BURBLE_OK, or the reason why nothing more can be written. */
static int take(struct burble__request *request, const struct llama_vocab *tokens, int32_t id)
{
    const struct burble__stop_token *token;
    burble_text text;
    request->last = id;
    request->progress.tokens++;
    request->progress.id = id;
    request->progress.offset = request->converted;
    tell(request);
    if (is_end(request, tokens, id, &token))
        return finish(request, BURBLE_REASON_STOP, token);
    int result = text_of(request, id, &text);
    const bool stopped = result == BURBLE_END;
    if (result == BURBLE_OK || stopped)
        result = write_text(request, text, 1, stopped);
    if (result == BURBLE_OK && stopped)
        end_with(request, BURBLE_REASON_STOP);
    else if (result == BURBLE_OK && request->progress.tokens == request->max_tokens)
        result = finish(request, BURBLE_REASON_LENGTH, NULL);
    return result;
}

/* Brings all that makes text of tokens to where the answered ids left it, and writes nothing. */
static int replay(const burble_llama_model *model, struct burble__request *request,
                  burble_error *error)
{
    const int allowed = burble__sampler_take_answer(
        request->sampler, request->ids + request->n_ids - request->answered, request->answered,
        error);
    if (allowed != BURBLE_OK)
        return allowed;
    for (uint32_t i = 0; i < request->answered; i++) {
        const int32_t id = request->ids[request->n_ids - request->answered + i];
        const struct burble__stop_token *token;
        burble_text text;
        int result = BURBLE_END;
        if (!is_end(request, model->tokens, id, &token))
            result = text_of(request, id, &text);
        if (result == BURBLE_END) {
            return burble__error_set(
                error, BURBLE_EINVAL,
                "answered: expected an answer that goes on, found one that ends "
                "with its token %" PRIu32,
                i);
        }
        if (result == BURBLE_OK) {
            const bool holds = burble_detok_has_pending(request->detok);
            result =
                burble_chunker_push(request->chunker, text.bytes, text.len, 1, holds, &text, NULL);
        }
        if (result != BURBLE_OK)
            return result;
    }
    return BURBLE_OK;
}

bool burble__request_take(struct burble__request *request, const struct llama_vocab *tokens,
                          int32_t id)
{
    int result = BURBLE_EFAILED;
    if (id >= 0)
        result = take(request, tokens, id);
    else if (burble__sampler_why(request->sampler) == NULL)
        result = finish(request, BURBLE_REASON_STOP, NULL);
    if (result == BURBLE_ENOMEM || (id < 0 && result == BURBLE_EFAILED)) {
        request->done = true;
        request->code = result;
    } else if (result != BURBLE_OK) {
        return false; /* the stream is over */
    }
    return burble__request_catch_up(request);
}

/* Ends the stream, or fails it. */
static void conclude(struct burble__request *request)
{
    tell(request);
    if (request->code < 0)
        burble_stream_fail(request->stream, request->code,
                           request->code == BURBLE_ENOMEM ? "no memory for the text"
                                                          : burble__sampler_why(request->sampler));
    else
        burble_stream_end(request->stream, request->reason);
}

/* Writes as many of the held chunks as fit. */
static int write_held(struct burble__request *request)
{
    int result = BURBLE_OK;
    uint32_t n = 0;
    size_t len = 0;
    while (n < request->n_chunks) {
        result = append(request, request->held.bytes + len, request->chunks[n].len,
                        request->chunks[n].tokens);
        if (result != BURBLE_OK)
            break;
        len += request->chunks[n++].len;
    }
    burble__buffer_drop(&request->held, len);
    request->n_chunks -= n;
    if (request->n_chunks == 0 && request->full_since != 0) {
        request->waited += burble__now() - request->full_since;
        request->full_since = 0;
    }
    memmove(request->chunks, request->chunks + n, request->n_chunks * sizeof *request->chunks);
    return result;
}

bool burble__request_catch_up(struct burble__request *request)
{
    if (burble__request_is_full(request)) {
        const int result = write_held(request);
        if (result == BURBLE_EFULL) {
            tell(request);
            return true;
        }
        if (result == BURBLE_ENOMEM)
            request->code = result;
        request->done = request->done || result != BURBLE_OK;
    }
    if (request->done)
        conclude(request);
    return !request->done;
}
