/* SPDX-License-Identifier: MIT */
#include "engine/llama_output.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/error_message.h"
#include "base/utf8.h"

void burble__request_tell(struct burble__request *request)
{
    if (request->watch == NULL)
        return;
    burble_llama_progress *progress = &request->progress;
    progress->waits = request->full_since != 0;
    progress->waited =
        request->waited + (progress->waits ? burble__now() - request->full_since : 0);
    request->watch(progress, request->watch_arg);
}

bool burble__request_follow(struct burble__request *request, const float *logits,
                            llama_token_data *candidates, size_t n)
{
    if (request->next_followed == request->n_followed)
        return false;
    const uint32_t position =
        request->progress.prompt_tokens - request->n_followed + request->next_followed;
    request->last = request->followed[request->next_followed++];
    burble__sampler_follow(request->sampler, position, request->last, logits, candidates, n);
    return true;
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

/* ---- text for the stream --------------------------------------------------------------------------- */

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
static int put(struct burble__request *request, burble_text chunk, uint32_t tokens)
{
    const int result = burble__request_is_full(request)
                           ? BURBLE_EFULL
                           : append(request, chunk.bytes, chunk.len, tokens);
    if (result != BURBLE_EFULL)
        return result;
    return chunk.len > 0 ? hold(request, chunk, tokens) : BURBLE_OK;
}

/* The chunks of one token become one frame. */
static int write_chunk(struct burble__request *request, burble_text chunk, uint32_t tokens)
{
    if (request->choice != NULL)
        return burble__buffer_append(&request->choice->text, chunk.bytes, chunk.len);
    return put(request, chunk, tokens);
}

/* Writes the frame of the tokens so far, if it is time for one; `last`: there will be no other one with text. */
static int write_frame(struct burble__request *request, bool last)
{
    burble_text bytes;
    uint32_t n_ids;
    const burble_llama_progress *progress = &request->progress;
    if (progress->stopped && !request->include_stop)
        burble__choice_drop_logprobs(request->choice, progress->stop_begin);
    if (!burble__choice_has_frame(request->choice, last))
        return BURBLE_OK;
    const int result = burble__choice_make_text(request->choice, &bytes, &n_ids);
    return result == BURBLE_OK ? put(request, bytes, n_ids) : result;
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

/* ---- from a token to text -------------------------------------------------------------------------- */

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

/* Puts the token into the choice's frame; the token that ends the text has no text there. */
static int note(struct burble__request *request, const struct llama_vocab *tokens, int32_t id,
                bool ends)
{
    if (request->choice == NULL)
        return BURBLE_OK;
    if (request->choice->shared->begun == 0)
        request->choice->shared->begun = burble__now();
    const int result = burble__choice_take_id(request->choice, id);
    if (result != BURBLE_OK || ends || !request->wants_logprobs)
        return result;
    return burble__choice_take_logprobs(request->choice, tokens, &request->progress);
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
    burble__request_tell(request);
    const bool ends = is_end(request, tokens, id, &token);
    int result = note(request, tokens, id, ends);
    if (result != BURBLE_OK)
        return result;
    if (ends)
        return finish(request, BURBLE_REASON_STOP, token);
    result = text_of(request, id, &text);
    const bool stopped = result == BURBLE_END;
    if (result == BURBLE_OK || stopped)
        result = write_text(request, text, 1, stopped);
    if (result == BURBLE_OK && stopped)
        end_with(request, BURBLE_REASON_STOP);
    else if (result == BURBLE_OK && request->progress.tokens == request->max_tokens)
        result = finish(request, BURBLE_REASON_LENGTH, NULL);
    return result;
}

int burble__request_replay(const burble_llama_model *model, struct burble__request *request,
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
        if (!is_end(request, model->tokens, id, &token)) {
            result = text_of(request, id, &text);
        } else if (token != NULL) {
            request->progress.stopped = true;
            request->progress.stop = token->token.which;
        }
        if (result == BURBLE_END && request->choice != NULL && i + 1 == request->answered) {
            end_with(request, BURBLE_REASON_STOP); /* its text is written, but not its end */
            return BURBLE_OK;
        }
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
    if (request->choice != NULL && result == BURBLE_OK)
        result = write_frame(request, request->done);
    if (result == BURBLE_ENOMEM || (id < 0 && result == BURBLE_EFAILED)) {
        request->done = true;
        request->code = result;
    } else if (result != BURBLE_OK) {
        return false; /* the stream is over */
    }
    return burble__request_catch_up(request);
}

/* ---- ends, and what was held ----------------------------------------------------------------------- */

/* Writes the last frames of a choice, each once the one before it is in the stream: its end, and the counts of the
 * answer if it is the last choice. Returns whether there may be more to do. */
static bool write_end(struct burble__request *request)
{
    struct burble__choice *choice = request->choice;
    struct burble__frames *shared = choice->shared;
    const burble_llama_progress *progress = &request->progress;
    burble_text bytes;
    uint32_t n_ids = 0;
    int result;
    if (choice->stage == BURBLE__CHOICE_RUNS) {
        choice->stage = BURBLE__CHOICE_FINISHED;
        result = burble__choice_make_finish(
            choice, request->reason, progress->stopped ? progress->stop : SIZE_MAX, &bytes, &n_ids);
    } else if (choice->stage == BURBLE__CHOICE_FINISHED) {
        const uint32_t prompt = progress->prompt_tokens - request->answered;
        choice->stage = BURBLE__CHOICE_COUNTED;
        shared->usage.u.usage.completion += request->answered + progress->tokens;
        if (choice->number % shared->each == 0) {
            shared->usage.u.usage.prompt += prompt;
            shared->usage.u.usage.reused += progress->reused < prompt ? progress->reused : prompt;
        }
        if (--shared->running > 0)
            return false;
        result = burble__choice_make_usage(choice, burble__now(), &bytes);
    } else {
        burble_stream_end(request->stream, request->reason);
        return false;
    }
    if (result == BURBLE_OK)
        result = put(request, bytes, n_ids);
    if (result == BURBLE_ENOMEM)
        burble_stream_fail(request->stream, result, "no memory for the text");
    return result == BURBLE_OK;
}

/* Ends the stream, or fails it. Returns whether there may be more to do. */
static bool conclude(struct burble__request *request)
{
    const bool writes = request->choice != NULL && request->code == BURBLE_OK;
    if (!writes || request->choice->stage == BURBLE__CHOICE_RUNS)
        burble__request_tell(request);
    if (writes)
        return write_end(request);
    if (request->code < 0)
        burble_stream_fail(request->stream, request->code,
                           request->code == BURBLE_ENOMEM ? "no memory for the text"
                                                          : burble__sampler_why(request->sampler));
    else
        burble_stream_end(request->stream, request->reason);
    return false;
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

/* Writes what is held. Returns whether there is room for more. */
static bool make_room(struct burble__request *request)
{
    const int result = write_held(request);
    if (result == BURBLE_EFULL) {
        burble__request_tell(request);
        return false;
    }
    if (result == BURBLE_ENOMEM)
        request->code = result;
    request->done = request->done || result != BURBLE_OK;
    return true;
}

bool burble__request_catch_up(struct burble__request *request)
{
    do {
        if (burble__request_is_full(request) && !make_room(request))
            return true;
        if (!request->done)
            return true;
    } while (conclude(request));
    return false;
}
