/* SPDX-License-Identifier: MIT
 *
 * An engine as a backend of a server: what a request of the server's protocol is for the engine.
 */
#include <burble/llama_serve.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/fork.h"
#include "engine/llama_continue.h"
#include "engine/llama_digest.h"
#include "engine/llama_engine.h"

/* Where a parameter of 0 means the smallest part, which the engine has no number for. */
#define LEAST 1e-6f

struct backend {
    burble_llama_engine *engine;
    burble_llama_model *model; /* a reference */
    char digest[BURBLE__DIGEST_LEN + 1];
};

/* ---- parameters ----------------------------------------------------------------------------------- */

static double number(const burble_serve_request *request, burble_serve_parameter parameter,
                     double otherwise)
{
    return burble_serve_number(request, parameter, otherwise);
}

static float share(const burble_serve_request *request, burble_serve_parameter parameter)
{
    const float given = (float)number(request, parameter, 1.0);
    return given > LEAST ? given : LEAST;
}

/* A number of tokens, of which -1 means all. */
static uint32_t count(const burble_serve_request *request, burble_serve_parameter parameter,
                      uint32_t otherwise)
{
    const double given = number(request, parameter, otherwise);
    return given < 0 ? UINT32_MAX : (uint32_t)given;
}

static void convert_numbers(const burble_serve_request *request, burble_llama_request *wanted)
{
    const double seed = number(request, BURBLE_SERVE_SEED, -1);
    wanted->max_tokens = count(request, BURBLE_SERVE_MAX_TOKENS, 0);
    wanted->penalty_last_n = count(request, BURBLE_SERVE_REPEAT_LAST_N, wanted->penalty_last_n);
    wanted->repeat_penalty = (float)number(request, BURBLE_SERVE_REPEAT_PENALTY, 1.0);
    wanted->presence_penalty = (float)number(request, BURBLE_SERVE_PRESENCE_PENALTY, 0.0);
    wanted->frequency_penalty = (float)number(request, BURBLE_SERVE_FREQUENCY_PENALTY, 0.0);
    wanted->dry_multiplier = (float)number(request, BURBLE_SERVE_DRY_MULTIPLIER, 0.0);
    wanted->dry_base = (float)number(request, BURBLE_SERVE_DRY_BASE, (double)wanted->dry_base);
    wanted->dry_allowed_length =
        count(request, BURBLE_SERVE_DRY_ALLOWED_LENGTH, wanted->dry_allowed_length);
    wanted->dry_last_n = count(request, BURBLE_SERVE_DRY_PENALTY_LAST_N, wanted->dry_last_n);
    wanted->temperature = (float)number(request, BURBLE_SERVE_TEMPERATURE, 1.0);
    wanted->top_k = count(request, BURBLE_SERVE_TOP_K, 0);
    wanted->typical_p = share(request, BURBLE_SERVE_TYPICAL_P);
    wanted->top_p = share(request, BURBLE_SERVE_TOP_P);
    wanted->min_p = (float)number(request, BURBLE_SERVE_MIN_P, 0.0);
    wanted->mirostat = count(request, BURBLE_SERVE_MIROSTAT, 0);
    wanted->mirostat_tau =
        (float)number(request, BURBLE_SERVE_MIROSTAT_TAU, (double)wanted->mirostat_tau);
    wanted->mirostat_eta =
        (float)number(request, BURBLE_SERVE_MIROSTAT_ETA, (double)wanted->mirostat_eta);
    wanted->seed = seed < 0 ? UINT32_MAX : (uint32_t)seed;
    wanted->ignore_end = number(request, BURBLE_SERVE_IGNORE_EOS, 0.0) != 0.0;
    wanted->reuse = number(request, BURBLE_SERVE_CACHE_PROMPT, 1.0) != 0.0;
    wanted->priority = (int32_t)number(request, BURBLE_SERVE_PRIORITY, 0.0);
    wanted->logprobs = number(request, BURBLE_SERVE_LOGPROBS, 0.0) != 0.0;
    wanted->top_logprobs = wanted->logprobs ? count(request, BURBLE_SERVE_TOP_LOGPROBS, 0) : 0;
}

/* What the engine would refuse by the names of its own parameters. */
static int check(const struct backend *backend, const burble_serve_request *request,
                 burble_error *error)
{
    const int32_t ids = llama_vocab_n_tokens(backend->model->tokens);
    const bool grammar = request->given & BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR);
    const uint64_t most = (uint64_t)backend->engine->options.queue + backend->engine->options.slots;
    if (grammar && request->json_object) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "response_format: expected \"text\" beside a grammar, found "
                                 "\"json_object\"");
    }
    if ((grammar || request->json_object) && number(request, BURBLE_SERVE_IGNORE_EOS, 0.0) != 0.0) {
        return burble__error_set(
            error, BURBLE_EINVAL,
            "ignore_eos: expected false, as a grammar ends the text, found true");
    }
    const uint64_t prompts = request->n_prompts > 1 ? request->n_prompts : 1;
    if (request->choices * prompts > most) {
        return burble__error_set(
            error, BURBLE_EINVAL, "n: expected at most %" PRIu64 "%s, found %" PRIu64, most,
            prompts > 1 ? " with all prompts" : "", request->choices * prompts);
    }
    for (size_t i = 0; i < request->n_bias; i++) {
        if (request->bias[i].id >= ids) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "logit_bias: expected ids from 0 to %" PRId32
                                     ", found %" PRId32,
                                     ids - 1, request->bias[i].id);
        }
    }
    return BURBLE_OK;
}

/* ---- messages ------------------------------------------------------------------------------------- */

/* A conversation of the request's messages; *roles has their roles. */
static int convert_messages(const burble_serve_request *request, burble_llama_message **messages,
                            char **roles, burble_error *error)
{
    size_t len = 0;
    for (size_t i = 0; i < request->n_messages; i++) {
        len += request->messages[i].role.len + 1;
        if (request->messages[i].name.len > 0) {
            return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                     "messages[%zu].name: expected none, as chat templates have no "
                                     "names, found one",
                                     i);
        }
    }
    *messages = burble__calloc(request->n_messages + 1, sizeof **messages);
    *roles = burble__malloc(len + 1);
    if (*messages == NULL || *roles == NULL)
        return BURBLE_ENOMEM;
    char *at = *roles;
    for (size_t i = 0; i < request->n_messages; i++) {
        const burble_serve_message *given = &request->messages[i];
        burble_llama_message *message = &(*messages)[i];
        if (given->role.len > 0)
            memcpy(at, given->role.bytes, given->role.len);
        at[given->role.len] = '\0';
        message->role = at;
        message->content = given->content.len > 0 ? given->content.bytes : "";
        message->content_len = given->content.len;
        at += given->role.len + 1;
    }
    return BURBLE_OK;
}

static int too_long(const struct backend *backend, size_t found, const char *unit,
                    burble_error *error)
{
    const uint32_t context = backend->engine->options.context;
    return burble__error_set(error, BURBLE_ETOOLONG,
                             "messages: expected at most %" PRIu32
                             " tokens, as the context is %" PRIu32 ", found %zu%s",
                             context - 1, context, found, unit);
}

/* The ids of the request's messages; *ids is the caller's, who frees it in any case. */
static int tokenize_messages(const struct backend *backend, const burble_serve_request *request,
                             int32_t **ids, size_t *n, burble_error *error)
{
    const uint32_t context = backend->engine->options.context;
    burble_llama_message *messages = NULL;
    burble_llama_conversation conversation;
    char *roles = NULL;
    size_t len = 0;
    for (size_t i = 0; i < request->n_messages; i++)
        len += request->messages[i].content.len;
    if (burble__llama_is_too_long(backend->model, len, context))
        return too_long(backend, len, " bytes of text", error);
    int result = convert_messages(request, &messages, &roles, error);
    if (result == BURBLE_OK) {
        *ids = burble__malloc(context * sizeof **ids);
        result = *ids == NULL ? BURBLE_ENOMEM : BURBLE_OK;
    }
    if (result == BURBLE_OK) {
        burble_llama_conversation_init(&conversation);
        conversation.messages = messages;
        conversation.n = request->n_messages;
        result = burble_llama_model_tokenize_chat(backend->model, &conversation, *ids, context, n,
                                                  error);
        if (result == BURBLE_EFULL || (result == BURBLE_OK && *n >= context))
            result = too_long(backend, *n, "", error);
    }
    burble__free(messages);
    burble__free(roles);
    return result;
}

/* Several prompts for the engine. NULL: no memory. */
static burble_llama_prompt *convert_prompts(const burble_serve_request *request)
{
    burble_llama_prompt *prompts = burble__calloc(request->n_prompts, sizeof *prompts);
    for (size_t i = 0; prompts != NULL && i < request->n_prompts; i++) {
        const burble_serve_prompt *given = &request->prompts[i];
        prompts[i] = (burble_llama_prompt){.ids = given->ids,
                                           .n_ids = given->n_ids,
                                           .text = given->text.len > 0 ? given->text.bytes : "",
                                           .len = given->text.len};
    }
    return prompts;
}

/* ---- going on with an answer ----------------------------------------------------------------------- */

/* The ids of the prompt, of any kind, in `ids`, which has room for as many as the context. */
static int find_prompt(const struct backend *backend, const burble_llama_request *wanted,
                       int32_t *ids, size_t *n, burble_error *error)
{
    const uint32_t context = backend->engine->options.context;
    if (wanted->ids != NULL) {
        *n = wanted->n_ids;
        if (*n < context)
            memcpy(ids, wanted->ids, *n * sizeof *ids);
    } else if (burble__llama_is_too_long(backend->model, wanted->prompt_len, context)) {
        *n = wanted->prompt_len;
    } else {
        const int result = burble_llama_model_tokenize(backend->model, wanted->prompt,
                                                       wanted->prompt_len, true, ids, context, n);
        if (result != BURBLE_OK && result != BURBLE_EFULL)
            return burble__error_set(error, result, "prompt: %s", burble_result_text(result));
    }
    const int result = *n == 0 ? BURBLE_EINVAL : *n < context ? BURBLE_OK : BURBLE_ETOOLONG;
    return result == BURBLE_OK
               ? result
               : burble__error_set(error, result,
                                   "prompt: expected 1 to %" PRIu32 " tokens, found %zu",
                                   context - 1, *n);
}

static int go_on(const struct backend *backend, const burble_serve_request *request,
                 burble_llama_request *wanted, burble_stream *stream, burble_error *error)
{
    const uint32_t context = backend->engine->options.context;
    struct burble__written written;
    size_t n = 0;
    int result = burble__written_read(request, context, &written, error);
    if (result == BURBLE_OK)
        result = find_prompt(backend, wanted, written.ids, &n, error);
    wanted->n_ids = n;
    if (result == BURBLE_OK && burble__written_continue(&written, context, wanted))
        result = burble_llama_engine_submit(backend->engine, wanted, stream, error);
    else if (result == BURBLE_OK)
        result = burble__written_end(&written, n, stream);
    burble__free(written.ids);
    return result;
}

/* ---- the functions of the backend ------------------------------------------------------------------ */

/* A request to the engine refers to these; they are freed once it is submitted. */
struct parts {
    burble_llama_bias *bias;
    burble_llama_prompt *prompts;
    int32_t *ids;
};

/* All but the prompt. BURBLE_OK or BURBLE_ENOMEM. */
static int convert(const burble_serve_request *request, burble_llama_request *wanted,
                   struct parts *parts)
{
    convert_numbers(request, wanted);
    wanted->frames = true;
    wanted->choices = request->choices;
    wanted->stop = request->stop;
    wanted->n_stop = request->n_stop;
    if (request->given & BURBLE_SERVE_BIT(BURBLE_SERVE_DRY_SEQUENCE_BREAKERS)) {
        wanted->dry_breakers = request->breakers;
        wanted->n_dry_breakers = request->n_breakers;
    }
    if (request->given & BURBLE_SERVE_BIT(BURBLE_SERVE_GRAMMAR)) {
        wanted->grammar = request->grammar.bytes;
        wanted->grammar_len = request->grammar.len;
    }
    wanted->json = request->json_object;
    if (request->n_bias == 0)
        return BURBLE_OK;
    parts->bias = burble__calloc(request->n_bias, sizeof *parts->bias);
    if (parts->bias == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < request->n_bias; i++)
        parts->bias[i] = (burble_llama_bias){request->bias[i].id, request->bias[i].bias};
    wanted->logit_bias = parts->bias;
    wanted->n_logit_bias = request->n_bias;
    return BURBLE_OK;
}

/* The prompt, or the prompts. */
static int convert_prompt(const struct backend *backend, const burble_serve_request *request,
                          burble_llama_request *wanted, struct parts *parts, burble_error *error)
{
    if (request->route == BURBLE_SERVE_CHAT) {
        const int result = tokenize_messages(backend, request, &parts->ids, &wanted->n_ids, error);
        wanted->ids = parts->ids;
        return result;
    }
    if (request->n_prompts > 1) {
        parts->prompts = convert_prompts(request);
        wanted->prompts = parts->prompts;
        wanted->n_prompts = request->n_prompts;
        wanted->specials = true;
        return parts->prompts == NULL ? BURBLE_ENOMEM : BURBLE_OK;
    }
    if (request->ids != NULL) {
        wanted->ids = request->ids;
        wanted->n_ids = request->n_ids;
    } else {
        wanted->prompt = request->prompt.len > 0 ? request->prompt.bytes : "";
        wanted->prompt_len = request->prompt.len;
        wanted->specials = true;
    }
    return BURBLE_OK;
}

static int submit(void *arg, const burble_serve_request *request, burble_stream *stream,
                  burble_error *error)
{
    const struct backend *backend = arg;
    struct parts parts = {0};
    burble_llama_request wanted;
    int result = check(backend, request, error);
    if (result != BURBLE_OK)
        return result;
    burble_llama_request_init(&wanted);
    result = convert(request, &wanted, &parts);
    if (result == BURBLE_OK)
        result = convert_prompt(backend, request, &wanted, &parts, error);
    if (result == BURBLE_OK)
        result = request->n_written > 0
                     ? go_on(backend, request, &wanted, stream, error)
                     : burble_llama_engine_submit(backend->engine, &wanted, stream, error);
    if (result == BURBLE_ENOMEM)
        burble__error_set(error, result, "no memory for a request");
    burble__free(parts.bias);
    burble__free(parts.prompts);
    burble__free(parts.ids);
    return result;
}

static int tokenize(void *arg, burble_text text, bool add_special, bool parse_special, int32_t *ids,
                    size_t capacity, size_t *n, burble_error *error)
{
    const struct backend *backend = arg;
    const char *bytes = text.len > 0 ? text.bytes : "";
    *n = 0;
    int result = burble__llama_check_text("content", bytes, text.len, error);
    if (result == BURBLE_OK && add_special) {
        result = burble_llama_model_tokenize(backend->model, bytes, text.len, parse_special, ids,
                                             capacity, n);
    } else if (result == BURBLE_OK && text.len > BURBLE__LLAMA_MAX_TEXT) {
        result = BURBLE_EINVAL;
    } else if (result == BURBLE_OK) {
        const int32_t room = capacity < INT32_MAX ? (int32_t)capacity : INT32_MAX;
        const int32_t found = llama_tokenize(backend->model->tokens, bytes, (int32_t)text.len, ids,
                                             room, false, parse_special);
        *n = (size_t)(found < 0 ? -(int64_t)found : found);
        result = found < 0 ? BURBLE_EFULL : BURBLE_OK;
    }
    return result;
}

static int piece(void *arg, int32_t id, char *text, size_t capacity, size_t *len)
{
    const struct backend *backend = arg;
    return burble_llama_model_piece(backend->model, id, text, capacity, len);
}

static void find_place(void *arg, const burble_stream *stream, burble_serve_place *place)
{
    const struct backend *backend = arg;
    burble_llama_place found;
    burble_llama_engine_find(backend->engine, stream, &found);
    *place = (burble_serve_place){
        .waits =
            found.stage == BURBLE_LLAMA_STAGE_QUEUED || found.stage == BURBLE_LLAMA_STAGE_PAUSED,
        .before = found.before,
        .prompt_tokens = found.prompt_tokens,
        .prompt_done = found.prompt_done,
    };
}

static void find_load(void *arg, burble_serve_load *load)
{
    const struct backend *backend = arg;
    burble_llama_stats stats;
    burble_llama_engine_stats(backend->engine, &stats);
    *load = (burble_serve_load){
        .slots = backend->engine->options.slots,
        .running = stats.active,
        .waiting = (uint64_t)stats.waiting + stats.paused,
        .prompt_tokens = stats.prompt_tokens,
        .reused_tokens = stats.reused_tokens,
        .tokens = stats.tokens,
        .steps = stats.steps,
    };
}

static void release(void *arg)
{
    struct backend *backend = arg;
    burble_llama_model_unref(&backend->model);
    burble__free(backend);
}

/* Whether the model has a template that llama.cpp recognises. */
static bool can_chat(const burble_llama_model *model)
{
    const burble_llama_message message = {.role = "user", .content = "Hello"};
    burble_llama_conversation conversation;
    size_t n;
    burble_llama_conversation_init(&conversation);
    conversation.messages = &message;
    conversation.n = 1;
    return burble_llama_model_tokenize_chat(model, &conversation, NULL, 0, &n, NULL)
           == BURBLE_EFULL;
}

int burble_llama_serve_model(burble_llama_engine *engine, burble_llama_model *model,
                             const char *name, burble_serve_model *out, burble_error *error)
{
    *out = (burble_serve_model){.name = NULL};
    const size_t len = name == NULL ? 0 : strlen(name);
    if (len == 0 || len > BURBLE_FRAME_MAX_NAME) {
        return burble__error_set(error, BURBLE_EINVAL, "name: expected 1 to %d bytes, found %zu",
                                 BURBLE_FRAME_MAX_NAME, len);
    }
    if (engine->forks != burble__forks()) {
        return burble__error_set(
            error, BURBLE_EINVAL,
            "expected an engine of this process, found one of its parent process");
    }
    struct backend *backend = burble__malloc(sizeof *backend);
    if (backend == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "no memory for a backend");
    *backend = (struct backend){.engine = engine, .model = burble_llama_model_ref(model)};
    const bool has_digest = burble__llama_digest(model, &engine->options, backend->digest);
    *out = (burble_serve_model){
        .name = name,
        .parameters = (BURBLE_SERVE_BIT(BURBLE_SERVE_N_PARAMETERS) - 1) | BURBLE_SERVE_PROMPTS,
        .context = engine->options.context,
        .chat = can_chat(model),
        .arg = backend,
        .submit = submit,
        .tokenize = tokenize,
        .piece = piece,
        .place = find_place,
        .load = find_load,
        .release = release,
        .digest = has_digest ? backend->digest : NULL,
    };
    return BURBLE_OK;
}
