/* SPDX-License-Identifier: MIT */
#include "text/steps.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"
#include "base/reserved.h"
#include "base/utf8.h"

/* More steps than this are refused; no tokenizer has even ten. */
#define STEPS_MAX 256

/* The most operations that one step becomes, and the bytes of its own patterns beside its texts. */
#define OPS_PER_STEP 16
#define CLEANUP_BYTES 64

/* The replacements in each token by `cleanup` of WordPiece and CTC, in this order.
 * Source: cleanup in tokenizers/src/decoders/wordpiece.rs. */
static const char *const cleanup[][2] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

static const char *const names[] = {
    [BURBLE_STEP_BYTE_LEVEL] = "ByteLevel",
    [BURBLE_STEP_BYTE_FALLBACK] = "ByteFallback",
    [BURBLE_STEP_FUSE] = "Fuse",
    [BURBLE_STEP_REPLACE] = "Replace",
    [BURBLE_STEP_STRIP] = "Strip",
    [BURBLE_STEP_METASPACE] = "Metaspace",
    [BURBLE_STEP_WORDPIECE] = "WordPiece",
    [BURBLE_STEP_BPE] = "BPEDecoder",
    [BURBLE_STEP_CTC] = "CTC",
};

/* ---- adding operations; there is room for them --------------------------------------------------- */

static struct burble__op *add(struct burble__plan *plan, enum burble__op_kind kind, unsigned places)
{
    struct burble__op *op = &plan->ops[plan->n_ops++];
    *op = (struct burble__op){.kind = kind, .places = places};
    return op;
}

static void add_text(struct burble__plan *plan, enum burble__op_kind kind, const char *text)
{
    struct burble__op *op = add(plan, kind, BURBLE__NOT_FIRST);
    op->rewrite.text = text;
    op->rewrite.text_len = (uint32_t)strlen(text);
}

static void add_replace(struct burble__plan *plan, unsigned places, const char *text,
                        const char *with)
{
    struct burble__op *op = add(plan, BURBLE__OP_REWRITE, places);
    op->rewrite = (struct burble__rewrite){
        .kind = BURBLE__REWRITE_REPLACE,
        .text = text,
        .text_len = (uint32_t)strlen(text),
        .with = with,
        .with_len = (uint32_t)strlen(with),
    };
}

static void add_strip(struct burble__plan *plan, const burble_step *step)
{
    struct burble__op *op = add(plan, BURBLE__OP_REWRITE, BURBLE__ANYWHERE);
    op->rewrite = (struct burble__rewrite){
        .kind = BURBLE__REWRITE_STRIP,
        .text = step->text,
        .text_len = (uint32_t)strlen(step->text),
        .with = "",
        .start = step->start,
        .stop = step->stop,
    };
}

static void add_cleanup(struct burble__plan *plan)
{
    for (size_t i = 0; i < sizeof cleanup / sizeof cleanup[0]; i++)
        add_replace(plan, BURBLE__ANYWHERE, cleanup[i][0], cleanup[i][1]);
}

static void add_ctc(struct burble__plan *plan, const burble_step *step)
{
    add(plan, BURBLE__OP_DEDUP, BURBLE__ANYWHERE);
    if (step->text[0] != '\0') /* of an empty pad token, every one is replaced by itself */
        add_replace(plan, BURBLE__ANYWHERE, step->text, "");
    if (step->flag) {
        add_cleanup(plan);
        add_replace(plan, BURBLE__ANYWHERE, step->with, " ");
    }
    add(plan, BURBLE__OP_DROP, BURBLE__ANYWHERE);
}

static void add_step(struct burble__plan *plan, const burble_step *step)
{
    switch (step->kind) {
    case BURBLE_STEP_BYTE_LEVEL:
        add(plan, BURBLE__OP_BYTE_LEVEL, BURBLE__ANYWHERE);
        return;
    case BURBLE_STEP_BYTE_FALLBACK:
        add(plan, BURBLE__OP_BYTE_FALLBACK, BURBLE__ANYWHERE);
        return;
    case BURBLE_STEP_FUSE:
        add(plan, BURBLE__OP_FUSE, BURBLE__ANYWHERE);
        return;
    case BURBLE_STEP_REPLACE:
        add_replace(plan, BURBLE__ANYWHERE, step->text, step->with);
        return;
    case BURBLE_STEP_STRIP:
        add_strip(plan, step);
        return;
    case BURBLE_STEP_METASPACE:
        add_replace(plan, step->flag ? BURBLE__NOT_FIRST : BURBLE__ANYWHERE, step->text, " ");
        if (step->flag)
            add_replace(plan, BURBLE__FIRST, step->text, "");
        return;
    case BURBLE_STEP_WORDPIECE:
        add_text(plan, BURBLE__OP_HEAD, step->text);
        if (step->flag)
            add_cleanup(plan);
        return;
    case BURBLE_STEP_BPE:
        add_replace(plan, BURBLE__NOT_LAST, step->text, " ");
        add_replace(plan, BURBLE__LAST, step->text, "");
        return;
    case BURBLE_STEP_CTC:
        add_ctc(plan, step);
        return;
    }
}

/* ---- what a step needs ----------------------------------------------------------------------- */

static size_t characters_of(const char *text)
{
    return (size_t)burble__utf8_count(text, strlen(text));
}

static bool is_text(const char *text)
{
    const size_t len = text == NULL ? 0 : strlen(text);
    return text != NULL && len <= BURBLE_VOCAB_MAX_TOKEN && burble__utf8_valid(text, len);
}

static int check_step(const burble_step *step, size_t i, burble_error *error)
{
    /* An enum's type may be signed. */
    const size_t kind = (size_t)step->kind;
    if (kind >= sizeof names / sizeof names[0]) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "step %zu: expected a burble_step_kind, found %zu", i, kind);
    }
    const char *name = names[kind];
    const bool needs_text = kind >= BURBLE_STEP_REPLACE;
    const bool needs_with = kind == BURBLE_STEP_REPLACE || (kind == BURBLE_STEP_CTC && step->flag);
    if (needs_text && !is_text(step->text)) {
        return burble__error_set(
            error, BURBLE_EINVAL,
            "step %zu (%s): expected `text` of UTF-8, at most %u bytes, found %s", i, name,
            BURBLE_VOCAB_MAX_TOKEN, step->text == NULL ? "NULL" : "something else");
    }
    if (needs_with && !is_text(step->with)) {
        return burble__error_set(
            error, BURBLE_EINVAL,
            "step %zu (%s): expected `with` of UTF-8, at most %u bytes, found %s", i, name,
            BURBLE_VOCAB_MAX_TOKEN, step->with == NULL ? "NULL" : "something else");
    }
    if (!BURBLE__UNUSED(step))
        return burble__error_set(error, BURBLE_EINVAL, "step %zu (%s): " BURBLE__RESERVED, i, name);
    if ((kind == BURBLE_STEP_STRIP || kind == BURBLE_STEP_METASPACE)
        && characters_of(step->text) != 1) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "step %zu (%s): expected `text` of one character, found %zu", i,
                                 name, characters_of(step->text));
    }
    if (((kind == BURBLE_STEP_REPLACE || kind == BURBLE_STEP_BPE) && step->text[0] == '\0')
        || (kind == BURBLE_STEP_CTC && step->flag && step->with[0] == '\0')) {
        return burble__error_set(error, BURBLE_EUNSUPPORTED,
                                 "step %zu (%s): replacing the empty string is not supported", i,
                                 name);
    }
    return BURBLE_OK;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static void prepare(struct burble__plan *plan)
{
    uint32_t *fallback = plan->fallbacks;
    for (size_t i = 0; i < plan->n_ops; i++) {
        struct burble__rewrite *rewrite = &plan->ops[i].rewrite;
        if (plan->ops[i].kind == BURBLE__OP_REWRITE && rewrite->kind == BURBLE__REWRITE_REPLACE) {
            burble__rewrite_prepare(rewrite->text, rewrite->text_len, fallback);
            rewrite->fallback = fallback;
            fallback += rewrite->text_len;
        }
    }
}

int burble__plan_init(struct burble__plan *plan, const burble_vocab_options *options,
                      burble_error *error)
{
    *plan = (struct burble__plan){0};
    const size_t n = options->n_steps;
    if (!BURBLE__UNUSED(options))
        return burble__error_set(error, BURBLE_EINVAL, "options: " BURBLE__RESERVED);
    if (n > STEPS_MAX) {
        return burble__error_set(error, BURBLE_EUNSUPPORTED, "expected at most %d steps, found %zu",
                                 STEPS_MAX, n);
    }
    if (options->steps == NULL && n > 0)
        return burble__error_set(error, BURBLE_EINVAL, "expected %zu steps, found NULL", n);
    if (n == 0 && options->join != NULL && !is_text(options->join)) {
        return burble__error_set(error, BURBLE_EINVAL, "expected `join` of UTF-8, at most %u bytes",
                                 BURBLE_VOCAB_MAX_TOKEN);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const burble_step *step = &options->steps[i];
        const int result = check_step(step, i, error);
        if (result != BURBLE_OK)
            return result;
        bytes += CLEANUP_BYTES;
        if (step->kind >= BURBLE_STEP_REPLACE)
            bytes += 2 * strlen(step->text);
        if (step->kind == BURBLE_STEP_CTC && step->flag)
            bytes += strlen(step->with);
    }
    plan->ops = burble__malloc((OPS_PER_STEP * n + 1) * sizeof *plan->ops);
    plan->fallbacks = burble__malloc((bytes + 1) * sizeof *plan->fallbacks);
    if (plan->ops == NULL || plan->fallbacks == NULL) {
        burble__plan_finish(plan);
        return burble__error_set(error, BURBLE_ENOMEM, "out of memory");
    }
    if (n == 0 && options->join != NULL)
        add_text(plan, BURBLE__OP_JOIN, options->join);
    for (size_t i = 0; i < n; i++)
        add_step(plan, &options->steps[i]);
    prepare(plan);
    return BURBLE_OK;
}

void burble__plan_finish(struct burble__plan *plan)
{
    burble__free(plan->fallbacks);
    burble__free(plan->ops);
    *plan = (struct burble__plan){0};
}
