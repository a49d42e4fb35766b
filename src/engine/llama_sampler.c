/* SPDX-License-Identifier: MIT
 *
 * The parameters of sampling, in the order that burble/llama.h states.
 *
 * llama.cpp's samplers of the same names give the same probabilities (tests/llama/test_llama_sampling.c
 * calculates them). They look each token of the vocabulary up in a hash table for a penalty, sort with memory
 * that they allocate in each step, and draw from a generator whose state depends on all draws before. So only
 * DRY is llama.cpp's.
 */
#include "engine/llama_sampler.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/error_message.h"
#include "engine/grammar.h"
#include "engine/grammar_rules.h"
#include "engine/llama_candidates.h"

/* Marks the count of a token that has been penalized in the present step. */
#define DONE (UINT32_C(1) << 31)

struct burble__sampler {
    /* The parameters; its pointers are not valid. */
    burble_llama_request wanted;
    uint64_t seed;
    float mu;     /* of Mirostat */
    bool follows; /* it is to be learned from an answer that is continued */

    burble_llama_bias *biases; /* those of the request, then the model's */
    size_t n_biases;

    int32_t *window;  /* the last ids, as a ring; NULL: no penalties */
    uint32_t size;    /* the most ids in it */
    uint32_t in_it;   /* at present */
    uint32_t next;    /* where the next one goes */
    uint32_t *counts; /* how often each id of the vocabulary is in it */

    struct llama_sampler *dry; /* NULL: none */

    struct burble__grammar *grammar; /* NULL: none */
    const struct burble__pieces *pieces;
    const struct llama_vocab *tokens;
    bool *allowed; /* for each token, by the grammar */
};

void burble__sampler_defaults(burble_llama_request *request)
{
    static const burble_text breakers[] = {{"\n", 1}, {":", 1}, {"\"", 1}, {"*", 1}};
    request->penalty_last_n = 64;
    request->repeat_penalty = 1.0f;
    request->dry_base = 1.75f;
    request->dry_allowed_length = 2;
    request->dry_last_n = UINT32_MAX;
    request->dry_breakers = breakers;
    request->n_dry_breakers = sizeof breakers / sizeof breakers[0];
    request->typical_p = 1.0f;
    request->top_p = 1.0f;
    request->mirostat_tau = 5.0f;
    request->mirostat_eta = 0.1f;
}

/* ---- checking ------------------------------------------------------------------------------------ */

static int check_numbers(const burble_llama_request *wanted, burble_error *error)
{
    const struct {
        const char *name;
        float found, least, most;
        bool above; /* least is not in the range itself */
    } ranges[] = {
        {"temperature", wanted->temperature, 0, 100, false},
        {"typical_p", wanted->typical_p, 0, 1, true},
        {"top_p", wanted->top_p, 0, 1, true},
        {"min_p", wanted->min_p, 0, 1, false},
        {"repeat_penalty", wanted->repeat_penalty, 0, 100, true},
        {"presence_penalty", wanted->presence_penalty, -100, 100, false},
        {"frequency_penalty", wanted->frequency_penalty, -100, 100, false},
        {"dry_multiplier", wanted->dry_multiplier, 0, 100, false},
        {"dry_base", wanted->dry_base, 1, 100, false},
        {"mirostat_tau", wanted->mirostat_tau, 0, 100, true},
        {"mirostat_eta", wanted->mirostat_eta, 0, 1, false},
        {"mirostat_mu", wanted->mirostat_mu, 0, 1000, false},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const float found = ranges[i].found;
        if (!(found >= ranges[i].least && found <= ranges[i].most)
            || (ranges[i].above && found == ranges[i].least)) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     ranges[i].above ? "%s: expected above %g, at most %g, found %g"
                                                     : "%s: expected %g to %g, found %g",
                                     ranges[i].name, (double)ranges[i].least,
                                     (double)ranges[i].most, (double)found);
        }
    }
    return BURBLE_OK;
}

static int check_mirostat(const burble_llama_request *wanted, burble_error *error)
{
    if (wanted->mirostat > 2) {
        return burble__error_set(error, BURBLE_EINVAL, "mirostat: expected 0 to 2, found %" PRIu32,
                                 wanted->mirostat);
    }
    if (wanted->mirostat > 0 && wanted->temperature == 0.0f) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "mirostat: expected a temperature above 0, found 0");
    }
    return BURBLE_OK;
}

static int check_biases(const burble_llama_request *wanted, int32_t ids, burble_error *error)
{
    for (size_t i = 0; i < wanted->n_logit_bias; i++) {
        const burble_llama_bias *bias = &wanted->logit_bias[i];
        if (bias->id < 0 || bias->id >= ids) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "logit_bias %zu: expected an id from 0 to %" PRId32
                                     ", found %" PRId32,
                                     i, ids - 1, bias->id);
        }
        if (!(bias->bias < INFINITY)) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "logit_bias %zu: expected a number or -INFINITY, found %g", i,
                                     (double)bias->bias);
        }
    }
    return BURBLE_OK;
}

static int check_breakers(const burble_llama_request *wanted, burble_error *error)
{
    if (wanted->n_dry_breakers > BURBLE_LLAMA_MAX_BREAKERS) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "dry_breakers: expected at most %d, found %zu",
                                 BURBLE_LLAMA_MAX_BREAKERS, wanted->n_dry_breakers);
    }
    for (size_t i = 0; i < wanted->n_dry_breakers; i++) {
        const burble_text breaker = wanted->dry_breakers[i];
        if (breaker.len == 0 || memchr(breaker.bytes, '\0', breaker.len) != NULL) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "dry_breakers %zu: expected text without NUL, found %s", i,
                                     breaker.len == 0 ? "none" : "one");
        }
        const int result =
            burble__llama_check_text("dry_breakers", breaker.bytes, breaker.len, error);
        if (result != BURBLE_OK)
            return result;
    }
    return BURBLE_OK;
}

static int check(const burble_llama_model *model, const burble_llama_request *wanted,
                 burble_error *error)
{
    int result = check_numbers(wanted, error);
    if (result == BURBLE_OK)
        result = check_mirostat(wanted, error);
    if (result == BURBLE_OK)
        result = check_biases(wanted, llama_vocab_n_tokens(model->tokens), error);
    if (result == BURBLE_OK)
        result = check_breakers(wanted, error);
    return result;
}

/* ---- making one ---------------------------------------------------------------------------------- */

/* Another one each time, also in a forked child. */
static uint64_t any_seed(void)
{
    static _Atomic(uint32_t) calls;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t call = burble__add_relaxed(&calls, 1);
    const uint64_t time = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return burble__mix(burble__mix(time) + burble__now())
           ^ burble__mix((call << 32) + (uint64_t)getpid());
}

/* Copies the request's biases, and adds the tokens that the model never chooses. */
static int make_biases(const burble_llama_model *model, const burble_llama_request *wanted,
                       struct burble__sampler *sampler)
{
    int32_t n = 0;
    const llama_token *never = llama_vocab_get_suppress_tokens(model->tokens, &n);
    const int32_t ids = llama_vocab_n_tokens(model->tokens);
    const size_t most = wanted->n_logit_bias + (n > 0 ? (size_t)n : 0);
    if (most == 0)
        return BURBLE_OK;
    sampler->biases = burble__calloc(most, sizeof *sampler->biases);
    if (sampler->biases == NULL)
        return BURBLE_ENOMEM;
    for (size_t i = 0; i < wanted->n_logit_bias; i++)
        sampler->biases[sampler->n_biases++] = wanted->logit_bias[i];
    for (int32_t i = 0; i < n; i++)
        if (never[i] >= 0 && never[i] < ids)
            sampler->biases[sampler->n_biases++] = (burble_llama_bias){never[i], -INFINITY};
    return BURBLE_OK;
}

static int make_window(const burble_llama_model *model, const burble_llama_request *wanted,
                       uint32_t context, struct burble__sampler *sampler)
{
    const bool none = wanted->repeat_penalty == 1.0f && wanted->presence_penalty == 0.0f
                      && wanted->frequency_penalty == 0.0f;
    if (none || wanted->penalty_last_n == 0)
        return BURBLE_OK;
    sampler->size = wanted->penalty_last_n < context ? wanted->penalty_last_n : context;
    sampler->window = burble__calloc(sampler->size, sizeof *sampler->window);
    sampler->counts = burble__calloc((size_t)llama_vocab_n_tokens(model->tokens), sizeof(uint32_t));
    return sampler->window == NULL || sampler->counts == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

/* llama.cpp takes the breakers as C strings. */
static int make_dry(const burble_llama_model *model, const burble_llama_request *wanted,
                    uint32_t context, struct burble__sampler *sampler)
{
    const char *breakers[BURBLE_LLAMA_MAX_BREAKERS];
    size_t len = 0;
    if (wanted->dry_multiplier == 0.0f || wanted->dry_last_n == 0)
        return BURBLE_OK;
    for (size_t i = 0; i < wanted->n_dry_breakers; i++)
        len += wanted->dry_breakers[i].len + 1;
    char *copies = burble__calloc(len + 1, 1);
    if (copies == NULL)
        return BURBLE_ENOMEM;
    char *at = copies;
    for (size_t i = 0; i < wanted->n_dry_breakers; i++) {
        breakers[i] = at;
        memcpy(at, wanted->dry_breakers[i].bytes, wanted->dry_breakers[i].len);
        at += wanted->dry_breakers[i].len + 1;
    }
    const uint32_t last = wanted->dry_last_n < context ? wanted->dry_last_n : context;
    const uint32_t allowed =
        wanted->dry_allowed_length < INT32_MAX ? wanted->dry_allowed_length : INT32_MAX;
    sampler->dry =
        llama_sampler_init_dry(model->tokens, wanted->dry_multiplier, wanted->dry_base,
                               (int32_t)allowed, (int32_t)last, breakers, wanted->n_dry_breakers);
    burble__free(copies);
    return sampler->dry == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

static int begin_grammar(const burble_llama_request *wanted, struct burble__sampler *sampler,
                         burble_error *error)
{
    const char *text = wanted->json ? burble__grammar_of_json : wanted->grammar;
    burble__grammar_destroy(&sampler->grammar);
    return burble__grammar_create(text, wanted->json ? strlen(text) : wanted->grammar_len,
                                  &sampler->grammar, error);
}

static int make_grammar(const burble_llama_model *model, const burble_llama_request *wanted,
                        struct burble__sampler *sampler, burble_error *error)
{
    if (wanted->grammar == NULL && !wanted->json)
        return BURBLE_OK;
    if (wanted->grammar != NULL && wanted->json) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "json: expected no grammar beside it, found one");
    }
    if (wanted->ignore_end) {
        return burble__error_set(
            error, BURBLE_EINVAL,
            "ignore_end: expected false, as a grammar ends the text, found true");
    }
    int result = BURBLE_OK;
    if (!wanted->json && wanted->grammar_len <= BURBLE__GRAMMAR_MAX_TEXT)
        result = burble__llama_check_text("grammar", wanted->grammar, wanted->grammar_len, error);
    if (result == BURBLE_OK)
        result = begin_grammar(wanted, sampler, error);
    if (result != BURBLE_OK)
        return result;
    sampler->tokens = model->tokens;
    sampler->pieces = burble__llama_pieces(model);
    sampler->allowed = burble__calloc((size_t)llama_vocab_n_tokens(model->tokens), sizeof(bool));
    return sampler->pieces == NULL || sampler->allowed == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

int burble__sampler_create(const burble_llama_model *model, const burble_llama_request *wanted,
                           uint32_t context, struct burble__sampler **out, burble_error *error)
{
    *out = NULL;
    int result = check(model, wanted, error);
    if (result != BURBLE_OK)
        return result;
    struct burble__sampler *sampler = burble__calloc(1, sizeof *sampler);
    if (sampler == NULL)
        return BURBLE_ENOMEM;
    sampler->wanted = *wanted;
    sampler->seed = burble__mix(wanted->seed == UINT32_MAX ? any_seed() : wanted->seed);
    if (wanted->mirostat > 0)
        sampler->mu = wanted->mirostat_mu > 0.0f ? wanted->mirostat_mu : 2 * wanted->mirostat_tau;
    sampler->follows = wanted->mirostat > 0 && wanted->mirostat_mu == 0.0f && wanted->answered > 0;
    result = make_biases(model, wanted, sampler);
    if (result == BURBLE_OK)
        result = make_window(model, wanted, context, sampler);
    if (result == BURBLE_OK)
        result = make_dry(model, wanted, context, sampler);
    if (result == BURBLE_OK)
        result = make_grammar(model, wanted, sampler, error);
    if (result != BURBLE_OK)
        burble__sampler_destroy(&sampler);
    *out = sampler;
    return result;
}

void burble__sampler_destroy(struct burble__sampler **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    struct burble__sampler *sampler = *handle;
    *handle = NULL;
    burble__grammar_destroy(&sampler->grammar);
    burble__free(sampler->allowed);
    llama_sampler_free(sampler->dry);
    burble__free(sampler->counts);
    burble__free(sampler->window);
    burble__free(sampler->biases);
    burble__free(sampler);
}

bool burble__sampler_follows(const struct burble__sampler *sampler)
{
    return sampler->follows;
}

float burble__sampler_mu(const struct burble__sampler *sampler)
{
    return sampler->mu;
}

/* ---- choosing ------------------------------------------------------------------------------------ */

/* Whether the grammar allows a token: one that ends the text where it may end, or text. */
static bool is_allowed(struct burble__sampler *sampler, int32_t id)
{
    size_t len;
    if (llama_vocab_is_eog(sampler->tokens, id))
        return burble__grammar_may_end(sampler->grammar);
    const char *bytes = burble__piece(sampler->pieces, id, &len);
    return len > 0 && burble__grammar_allows(sampler->grammar, bytes, len);
}

/* Finds all tokens that the grammar allows. */
static void find_allowed(struct burble__sampler *sampler)
{
    const struct burble__pieces *pieces = sampler->pieces;
    const bool may_end = burble__grammar_may_end(sampler->grammar);
    const char *before = NULL;
    size_t before_len = 0;
    burble__grammar_begin_walk(sampler->grammar);
    for (size_t i = 0; i < pieces->n; i++) {
        const int32_t id = pieces->order[i];
        size_t len;
        size_t common = 0;
        const char *bytes = burble__piece(pieces, id, &len);
        while (common < len && common < before_len && bytes[common] == before[common])
            common++;
        const bool allowed = burble__grammar_walk(sampler->grammar, bytes, len, common);
        sampler->allowed[id] =
            llama_vocab_is_eog(sampler->tokens, id) ? may_end : allowed && len > 0;
        before = bytes;
        before_len = len;
    }
    burble__grammar_end_walk(sampler->grammar);
}

int burble__sampler_take_answer(struct burble__sampler *sampler, const int32_t *ids, size_t n,
                                burble_error *error)
{
    if (sampler->grammar == NULL)
        return BURBLE_OK;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *bytes = burble__piece(sampler->pieces, ids[i], &len);
        if (!burble__grammar_take(sampler->grammar, bytes, len)) {
            return burble__error_set(
                error, BURBLE_EINVAL,
                "answered: expected an answer of the grammar, found one that is "
                "not from its token %zu on",
                i);
        }
    }
    /* (The parameters' pointers are valid until the request is made.) */
    return sampler->follows ? begin_grammar(&sampler->wanted, sampler, error) : BURBLE_OK;
}

const char *burble__sampler_why(const struct burble__sampler *sampler)
{
    if (sampler->grammar == NULL)
        return "every token is excluded, by logit_bias or by the model's own list";
    if (burble__grammar_may_end(sampler->grammar))
        return NULL;
    return burble__grammar_gave_up(sampler->grammar)
               ? "the grammar has too many ways to read the text"
               : "no token goes on with the text as the grammar wants it";
}

/* Remembers an id for the penalties. */
static void accept(struct burble__sampler *sampler, int32_t id)
{
    if (sampler->window != NULL) {
        if (sampler->in_it == sampler->size)
            sampler->counts[sampler->window[sampler->next]]--;
        else
            sampler->in_it++;
        sampler->counts[id]++;
        sampler->window[sampler->next] = id;
        sampler->next = sampler->next + 1 < sampler->size ? sampler->next + 1 : 0;
    }
    if (sampler->dry != NULL)
        llama_sampler_accept(sampler->dry, id);
}

void burble__sampler_take_prompt(struct burble__sampler *sampler, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        accept(sampler, ids[i]);
}

/* Penalizes each id of the window once. */
static void penalize(struct burble__sampler *sampler, llama_token_data *candidates)
{
    const burble_llama_request *wanted = &sampler->wanted;
    for (uint32_t i = 0; i < sampler->in_it; i++) {
        const int32_t id = sampler->window[i];
        uint32_t *count = &sampler->counts[id];
        float *logit = &candidates[id].logit;
        if ((*count & DONE) != 0)
            continue;
        *logit = *logit > 0.0f ? *logit / wanted->repeat_penalty : *logit * wanted->repeat_penalty;
        *logit -= (float)*count * wanted->frequency_penalty + wanted->presence_penalty;
        *count |= DONE;
    }
    for (uint32_t i = 0; i < sampler->in_it; i++)
        sampler->counts[sampler->window[i]] &= ~DONE;
}

/* All tokens, in the order of their ids, with the changes of their logits. */
static struct burble__candidates prepare(struct burble__sampler *sampler, const float *logits,
                                         llama_token_data *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (llama_token_data){(llama_token)i, logits[i], 0.0f};
    for (size_t i = 0; i < sampler->n_biases; i++) {
        const burble_llama_bias *bias = &sampler->biases[i];
        float *logit = &data[bias->id].logit;
        /* An infinite sum of other biases and -INFINITY would be no number. */
        *logit = bias->bias == -INFINITY ? -INFINITY : *logit + bias->bias;
    }
    if (sampler->window != NULL)
        penalize(sampler, data);
    if (sampler->dry != NULL) {
        llama_token_data_array all = {data, n, -1, false};
        llama_sampler_apply(sampler->dry, &all);
    }
    return (struct burble__candidates){data, n};
}

/* Mirostat's state after a token of this probability. */
static void learn(struct burble__sampler *sampler, float probability)
{
    const burble_llama_request *wanted = &sampler->wanted;
    const float surprise = -log2f(probability);
    const float mu = sampler->mu - wanted->mirostat_eta * (surprise - wanted->mirostat_tau);
    sampler->mu = isfinite(mu) ? mu : sampler->mu;
}

static size_t pick(struct burble__sampler *sampler, uint32_t position,
                   struct burble__candidates *candidates)
{
    const burble_llama_request *wanted = &sampler->wanted;
    if (wanted->temperature == 0.0f)
        return burble__candidates_best(candidates);
    if (wanted->mirostat > 0) {
        burble__candidates_mirostat(candidates, (int)wanted->mirostat, wanted->temperature,
                                    sampler->mu);
    } else {
        if (wanted->top_k > 0)
            burble__candidates_top_k(candidates, wanted->top_k);
        if (wanted->typical_p < 1.0f)
            burble__candidates_typical(candidates, wanted->typical_p);
        if (wanted->top_p < 1.0f)
            burble__candidates_top_p(candidates, wanted->top_p);
        if (wanted->min_p > 0.0f)
            burble__candidates_min_p(candidates, wanted->min_p);
    }
    const uint64_t key = burble__mix(sampler->seed + ((uint64_t)position + 1) * BURBLE__MIX_STEP);
    const size_t chosen = burble__candidates_draw(candidates, wanted->temperature, key);
    if (wanted->mirostat > 0)
        learn(sampler, candidates->data[chosen].p);
    return chosen;
}

/* Greedy, with nothing that changes the logits. */
static int32_t likeliest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* Removes what the grammar does not allow. */
static void remove_refused(const struct burble__sampler *sampler,
                           struct burble__candidates *candidates)
{
    size_t n = 0;
    for (size_t i = 0; i < candidates->n; i++)
        if (sampler->allowed[candidates->data[i].id])
            candidates->data[n++] = candidates->data[i];
    candidates->n = n;
}

/* Chooses among all tokens, or among those that the grammar allows; -1: there is none. */
static int32_t choose_from(struct burble__sampler *sampler, uint32_t position, const float *logits,
                           llama_token_data *data, size_t n, bool allowed)
{
    struct burble__candidates left = prepare(sampler, logits, data, n);
    if (allowed)
        remove_refused(sampler, &left);
    if (left.n == 0)
        return -1;
    const size_t picked = pick(sampler, position, &left);
    const llama_token_data chosen = left.data[picked];
    return chosen.logit == -INFINITY ? -1 : chosen.id;
}

/* Looking at one token costs little, and at all of them much: so a token is chosen first, and only if the grammar
 * refuses it, one of those that it allows. The choice is as from those alone: both times each token has the same
 * random number, and the first in the race of all tokens, if it is allowed, is the first of the allowed ones.
 * (With top_k and the like, "all" are those that they keep: so the first choice may be from fewer.) */
static int32_t choose_by_grammar(struct burble__sampler *sampler, uint32_t position,
                                 const float *logits, llama_token_data *data, size_t n)
{
    const float mu = sampler->mu;
    int32_t id = choose_from(sampler, position, logits, data, n, false);
    if (id < 0 || is_allowed(sampler, id))
        return id;
    sampler->mu = mu;
    find_allowed(sampler);
    return choose_from(sampler, position, logits, data, n, true);
}

int32_t burble__sampler_choose(struct burble__sampler *sampler, uint32_t position,
                               const float *logits, llama_token_data *candidates, size_t n)
{
    const bool plain = sampler->wanted.temperature == 0.0f && sampler->n_biases == 0
                       && sampler->window == NULL && sampler->dry == NULL
                       && sampler->grammar == NULL;
    if (plain)
        return likeliest(logits, n);
    const int32_t id = sampler->grammar != NULL
                           ? choose_by_grammar(sampler, position, logits, candidates, n)
                           : choose_from(sampler, position, logits, candidates, n, false);
    if (id < 0)
        return id;
    if (sampler->grammar != NULL && !llama_vocab_is_eog(sampler->tokens, id)) {
        size_t len;
        const char *bytes = burble__piece(sampler->pieces, id, &len);
        if (!burble__grammar_take(sampler->grammar, bytes, len))
            return -1; /* it was found within the bounds of all tokens, not within those of one; or no memory */
    }
    accept(sampler, id);
    return id;
}

/* As choose_by_grammar: whether the token was chosen from those that the grammar allows alone. */
static bool was_masked(struct burble__sampler *sampler, uint32_t position, const float *logits,
                       llama_token_data *data, size_t n)
{
    if (sampler->grammar == NULL)
        return false;
    const float mu = sampler->mu;
    const int32_t id = choose_from(sampler, position, logits, data, n, false);
    sampler->mu = mu;
    if (id < 0 || is_allowed(sampler, id))
        return false;
    find_allowed(sampler);
    return true;
}

void burble__sampler_follow(struct burble__sampler *sampler, uint32_t position, int32_t id,
                            const float *logits, llama_token_data *data, size_t n)
{
    const burble_llama_request *wanted = &sampler->wanted;
    const bool masked = was_masked(sampler, position, logits, data, n);
    struct burble__candidates left = prepare(sampler, logits, data, n);
    if (masked)
        remove_refused(sampler, &left);
    burble__candidates_mirostat(&left, (int)wanted->mirostat, wanted->temperature, sampler->mu);
    const float probability = burble__candidates_probability(&left, wanted->temperature, id);
    if (probability > 0.0f) /* another sum may leave it out */
        learn(sampler, probability);
    if (sampler->grammar != NULL) {
        size_t len;
        const char *bytes = burble__piece(sampler->pieces, id, &len);
        burble__grammar_take(sampler->grammar, bytes, len); /* as burble__sampler_take_answer saw */
    }
    accept(sampler, id);
}
