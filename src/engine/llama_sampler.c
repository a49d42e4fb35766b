/* SPDX-License-Identifier: MIT */
#include "engine/llama_sampler.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/error_message.h"

/* The lowest temperature that is passed to llama.cpp. It divides the logits by the temperature, and the
 * result is infinite below about 1e-37. Lower temperatures would not change the text: if the logits of two
 * tokens differ at all, the more likely token already has the whole probability. */
#define COLDEST 1e-30f

struct burble__sampler {
    struct llama_sampler *chain; /* NULL: greedy */
};

/* ---- making one ---------------------------------------------------------------------------------- */

static int check(const burble_llama_request *wanted, burble_error *error)
{
    if (!(wanted->temperature >= 0.0f && wanted->temperature <= 100.0f)) {
        return burble__error_set(error, BURBLE_EINVAL, "temperature: expected 0 to 100, found %g",
                                 (double)wanted->temperature);
    }
    if (!(wanted->top_p > 0.0f && wanted->top_p <= 1.0f)) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "top_p: expected above 0, at most 1, found %g",
                                 (double)wanted->top_p);
    }
    if (!(wanted->min_p >= 0.0f && wanted->min_p <= 1.0f)) {
        return burble__error_set(error, BURBLE_EINVAL, "min_p: expected 0 to 1, found %g",
                                 (double)wanted->min_p);
    }
    if (wanted->top_k > INT32_MAX) {
        return burble__error_set(error, BURBLE_EINVAL, "top_k: expected at most %d, found %" PRIu32,
                                 INT32_MAX, wanted->top_k);
    }
    return BURBLE_OK;
}

/* Adds a link to the chain, which then owns it. */
static bool link_sampler(struct llama_sampler *chain, struct llama_sampler *link)
{
    if (link != NULL)
        llama_sampler_chain_add(chain, link);
    return link != NULL;
}

static int make_chain(const burble_llama_request *wanted, struct burble__sampler *sampler)
{
    if (wanted->temperature == 0.0f)
        return BURBLE_OK;
    struct llama_sampler_chain_params params = llama_sampler_chain_default_params();
    params.no_perf = true;
    const float temperature = wanted->temperature > COLDEST ? wanted->temperature : COLDEST;
    struct llama_sampler *chain = llama_sampler_chain_init(params);
    sampler->chain = chain;
    const bool done = chain != NULL
                      && (wanted->top_k == 0
                          || link_sampler(chain, llama_sampler_init_top_k((int32_t)wanted->top_k)))
                      && (wanted->top_p >= 1.0f
                          || link_sampler(chain, llama_sampler_init_top_p(wanted->top_p, 1)))
                      && (wanted->min_p <= 0.0f
                          || link_sampler(chain, llama_sampler_init_min_p(wanted->min_p, 1)))
                      && link_sampler(chain, llama_sampler_init_temp(temperature))
                      && link_sampler(chain, llama_sampler_init_dist(wanted->seed));
    return done ? BURBLE_OK : BURBLE_ENOMEM;
}

int burble__sampler_create(const burble_llama_request *wanted, struct burble__sampler **out,
                           burble_error *error)
{
    *out = NULL;
    int result = check(wanted, error);
    if (result != BURBLE_OK)
        return result;
    struct burble__sampler *sampler = burble__calloc(1, sizeof *sampler);
    if (sampler == NULL)
        return BURBLE_ENOMEM;
    result = make_chain(wanted, sampler);
    if (result != BURBLE_OK)
        burble__sampler_destroy(&sampler);
    *out = sampler;
    return result;
}

void burble__sampler_destroy(struct burble__sampler **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    llama_sampler_free((*handle)->chain);
    burble__free(*handle);
    *handle = NULL;
}

/* ---- choosing ------------------------------------------------------------------------------------ */

static int32_t likeliest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

int32_t burble__sampler_choose(struct burble__sampler *sampler, const float *logits,
                               llama_token_data *candidates, size_t n)
{
    if (sampler->chain == NULL)
        return likeliest(logits, n);
    for (size_t i = 0; i < n; i++)
        candidates[i] = (llama_token_data){(llama_token)i, logits[i], 0.0f};
    llama_token_data_array all = {candidates, n, -1, false};
    llama_sampler_apply(sampler->chain, &all);
    const size_t chosen = all.selected >= 0 && (size_t)all.selected < all.size
                              ? (size_t)all.selected
                              : 0; /* logits that are no numbers */
    const int32_t id = all.data[chosen].id;
    llama_sampler_accept(sampler->chain, id);
    return id;
}
