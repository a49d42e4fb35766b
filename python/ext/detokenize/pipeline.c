/* SPDX-License-Identifier: MIT */
#include "detokenize/pipeline.h"

#include "common/str.h"

/* A prompt goes to the detokenizer in parts of so many ids, so that its text, which nobody wants, does
 * not leave a large buffer there. */
#define PRIME_PART 64

/* A window decodes what it is given several times, so that it gets no more of a prompt than this: some
 * times what decides how the next token begins. */
#define PRIME_WINDOW 64

static void begin_sequence(struct pipeline *pipeline)
{
    pipeline->next_tokens_are_prompt = true;
    pipeline->at_beginning = true;
}

/* The parts of a new one. The detokenizer, or NULL, is at the beginning of a sequence. */
static int assemble(struct pipeline *pipeline, struct core *core, DetokenizerObject *detokenizer,
                    burble_chunking rule, char skip_prompt)
{
    *pipeline = (struct pipeline){.rule = rule, .has_prompt = true, .skip_prompt = skip_prompt};
    const int rc =
        rule == BURBLE_CHUNK_TOKEN ? BURBLE_OK : burble_chunker_create(rule, &pipeline->chunker);
    if (rc != BURBLE_OK) {
        core_raise(core, rc);
        return -1;
    }
    pipeline->detokenizer = (DetokenizerObject *)Py_XNewRef((PyObject *)detokenizer);
    begin_sequence(pipeline);
    return 0;
}

int pipeline_init(struct pipeline *pipeline, struct core *core, DetokenizerObject *detokenizer,
                  const char *chunk, bool skip_prompt)
{
    burble_chunking rule;
    if (strcmp(chunk, "word") == 0) {
        rule = BURBLE_CHUNK_WORD;
    } else if (strcmp(chunk, "token") == 0) {
        rule = BURBLE_CHUNK_TOKEN;
    } else {
        PyErr_Format(PyExc_ValueError, "chunk: expected 'word' or 'token', found '%s'", chunk);
        return -1;
    }
    if (detokenizer == NULL)
        return assemble(pipeline, core, NULL, rule, skip_prompt);
    if (detokenizer_own(detokenizer) < 0)
        return -1;
    if (detokenizer_reset(detokenizer) == 0
        && assemble(pipeline, core, detokenizer, rule, skip_prompt) == 0)
        return 0;
    detokenizer_release(detokenizer);
    return -1;
}

int pipeline_init_like(const struct pipeline *pipeline, struct core *core, struct pipeline *fresh)
{
    const burble_chunking rule = pipeline->rule;
    const char skip_prompt = pipeline->skip_prompt, has_prompt = pipeline->has_prompt;
    DetokenizerObject *from = pipeline->detokenizer; /* the other one's may change meanwhile */
    Py_INCREF(from);
    DetokenizerObject *detokenizer = detokenizer_new_like(from);
    Py_DECREF(from);
    int rc = detokenizer == NULL ? -1 : detokenizer_own(detokenizer);
    if (rc == 0)
        rc = assemble(fresh, core, detokenizer, rule, skip_prompt);
    if (rc == 0)
        fresh->has_prompt = has_prompt;
    Py_XDECREF(detokenizer);
    return rc;
}

int pipeline_traverse(struct pipeline *pipeline, visitproc visit, void *arg)
{
    Py_VISIT(pipeline->detokenizer);
    return 0;
}

void pipeline_clear(struct pipeline *pipeline)
{
    DetokenizerObject *detokenizer = pipeline->detokenizer;
    pipeline->detokenizer = NULL;
    if (detokenizer == NULL)
        return;
    detokenizer_release(detokenizer);
    Py_DECREF(detokenizer);
}

void pipeline_finish(struct pipeline *pipeline)
{
    pipeline_clear(pipeline);
    burble_chunker_destroy(&pipeline->chunker);
}

/* ---- chunks ---- */

/* What burble_chunker_push does, also by the rule that needs no chunker: each text is a chunk. */
static int chunk(struct pipeline *pipeline, burble_text text, uint32_t tokens, bool incomplete,
                 burble_text *out, uint32_t *out_tokens)
{
    if (pipeline->chunker != NULL)
        return burble_chunker_push(pipeline->chunker, text.bytes, text.len, tokens, incomplete, out,
                                   out_tokens);
    const uint32_t before = pipeline->tokens;
    const uint32_t all = tokens > UINT32_MAX - before ? UINT32_MAX : before + tokens;
    *out = text.len > 0 ? text : (burble_text){.bytes = ""};
    *out_tokens = text.len > 0 ? all : 0;
    pipeline->tokens = text.len > 0 ? 0 : all;
    return BURBLE_OK;
}

/* What burble_chunker_finish does. */
static void finish_chunk(struct pipeline *pipeline, burble_text *out, uint32_t *out_tokens)
{
    if (pipeline->chunker != NULL) {
        burble_chunker_finish(pipeline->chunker, out, out_tokens);
        return;
    }
    *out = (burble_text){.bytes = ""};
    *out_tokens = pipeline->tokens;
    pipeline->tokens = 0;
}

/* ---- pieces ---- */

void piece_clear(struct piece *piece)
{
    Py_CLEAR(piece->keeper);
    Py_CLEAR(piece->str);
}

/* The text of the chunker and the last text of a sequence, of `tokens` more tokens, as one str; the chunker
 * is then as new. 0, or -1 with an exception. */
static int drain(struct pipeline *pipeline, burble_text last, uint32_t tokens, struct piece *piece)
{
    burble_text before, after;
    uint32_t behind_before, behind_after;
    if (chunk(pipeline, last, tokens, false, &before, &behind_before) != BURBLE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *text = str_from_utf8(before.bytes, before.len);
    finish_chunk(pipeline, &after, &behind_after);
    if (text != NULL && after.len > 0) {
        PyObject *rest = str_from_utf8(after.bytes, after.len);
        PyObject *both = rest == NULL ? NULL : PyUnicode_Concat(text, rest);
        Py_DECREF(text);
        Py_XDECREF(rest);
        text = both;
    }
    *piece = (struct piece){.tokens = behind_before + behind_after, .str = text};
    if (text == NULL || str_to_utf8(text, &piece->text, &piece->keeper) < 0) {
        piece_clear(piece);
        return -1;
    }
    return 0;
}

bool pipeline_is_prompt(const struct pipeline *pipeline, const struct ids *ids)
{
    return pipeline->has_prompt && pipeline->at_beginning && ids->batch;
}

int pipeline_prime(struct pipeline *pipeline, const struct ids *ids)
{
    DetokenizerObject *detokenizer = pipeline->detokenizer;
    size_t done = 0;
    if (detokenizer->window != NULL && ids->n > PRIME_WINDOW)
        done = ids->n - PRIME_WINDOW;
    while (done < ids->n) {
        const size_t left = ids->n - done;
        const struct ids part = {.data = ids->data + done,
                                 .n = left < PRIME_PART ? left : PRIME_PART};
        if (detokenizer_prime(detokenizer, &part) < 0) {
            PyObject *type, *value, *traceback;
            PyErr_Fetch(&type, &value, &traceback);
            if (detokenizer_reset(detokenizer) < 0)
                PyErr_Clear();
            PyErr_Restore(type, value, traceback);
            return -1;
        }
        done += part.n;
    }
    pipeline->at_beginning = false;
    return 0;
}

/* Text that the detokenizer gave, which stands for `tokens`, to a piece; `kept` is given up. */
static enum passed pass(struct pipeline *pipeline, struct kept_text *kept, uint32_t tokens,
                        struct piece *piece)
{
    enum passed passed = PASSED_ERROR;
    DetokenizerObject *detokenizer = pipeline->detokenizer;
    const int holds = detokenizer == NULL ? 0 : detokenizer_holds(detokenizer);
    if (holds >= 0 && detokenizer != NULL && detokenizer->progress.stopped) {
        if (drain(pipeline, kept->text, tokens, piece) == 0)
            passed = PASSED_END;
    } else if (holds >= 0) {
        *piece = (struct piece){.text = {"", 0}, .keeper = kept->keeper};
        if (chunk(pipeline, kept->text, tokens, holds != 0, &piece->text, &piece->tokens)
            == BURBLE_OK)
            return PASSED_PIECE;
        PyErr_NoMemory();
    }
    Py_XDECREF(kept->keeper);
    return passed;
}

enum passed pipeline_put(struct pipeline *pipeline, const struct ids *ids, struct piece *piece)
{
    const bool prompt = pipeline_is_prompt(pipeline, ids);
    pipeline->at_beginning = false;
    if (pipeline->skip_prompt && pipeline->next_tokens_are_prompt) {
        pipeline->next_tokens_are_prompt = false;
        return PASSED_NOTHING;
    }
    struct kept_text kept;
    if (detokenizer_push(pipeline->detokenizer, ids, prompt, &kept) < 0)
        return PASSED_ERROR;
    const uint32_t taken = (uint32_t)kept.ids;
    const enum passed passed = pass(pipeline, &kept, taken, piece);
    piece->taken = taken;
    return passed;
}

enum passed pipeline_put_text(struct pipeline *pipeline, burble_text text, uint32_t tokens,
                              struct piece *piece)
{
    struct kept_text kept = {text, NULL, false, 0};
    if (pipeline->detokenizer != NULL
        && detokenizer_push_text(pipeline->detokenizer, text, &kept) < 0)
        return PASSED_ERROR;
    return pass(pipeline, &kept, tokens, piece);
}

void pipeline_cut(struct pipeline *pipeline, struct piece *piece)
{
    *piece = (struct piece){.text = {"", 0}};
    finish_chunk(pipeline, &piece->text, &piece->tokens);
}

int pipeline_rest(struct pipeline *pipeline, struct piece *piece)
{
    struct kept_text held = {{"", 0}, NULL, false, 0};
    int rc = 0;
    if (pipeline->detokenizer != NULL)
        rc = detokenizer_finish(pipeline->detokenizer, &held);
    if (rc == 0)
        rc = drain(pipeline, held.text, 0, piece);
    Py_XDECREF(held.keeper);
    begin_sequence(pipeline);
    return rc;
}

int pipeline_forget(struct pipeline *pipeline)
{
    if (pipeline->chunker != NULL)
        burble_chunker_reset(pipeline->chunker);
    pipeline->tokens = 0;
    begin_sequence(pipeline);
    return detokenizer_reset(pipeline->detokenizer);
}
