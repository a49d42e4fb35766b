/* SPDX-License-Identifier: MIT
 *
 * From the ids that a generation puts to the chunks of its text: what streamers and writers share.
 *
 *     ids -> prompt left out -> detokenizer -> stop filter -> chunker -> piece
 *     text ------------------------------------^
 *
 * The owner decides where the pieces go and which thread may put.
 */
#ifndef BURBLE_PYTHON_PIPELINE_H
#define BURBLE_PYTHON_PIPELINE_H

#include "common/core.h"
#include "detokenize/detokenizer.h"
#include "detokenize/ids.h"

struct pipeline {
    /* A reference; or NULL: not made yet, or text without a filter. */
    DetokenizerObject *detokenizer;
    burble_chunker *chunker; /* NULL where `rule` is BURBLE_CHUNK_TOKEN: nothing waits there */
    burble_chunking rule;
    uint32_t tokens; /* then: since the last piece that has text; stays at its maximum */
    /* The first ids of a sequence are its prompt where they have the shape [1, n]. */
    char has_prompt;
    char skip_prompt;
    char next_tokens_are_prompt; /* the next ids are left out, where prompts are */
    bool at_beginning;           /* nothing of the sequence was put yet */
};

/* A stretch of text that is final, and how many tokens stand behind it. */
struct piece {
    burble_text text;
    uint32_t tokens;
    PyObject *keeper; /* a reference to the Python object that keeps the bytes, if it is one */
    PyObject *str;    /* the text as a str, where it is the rest of a sequence; else NULL */
    uint32_t taken;   /* of the ids that were put: those up to the end of the text */
};

/* The outcome of ids that were put. */
enum passed {
    PASSED_ERROR = -1, /* an exception is set */
    PASSED_NOTHING,    /* they are a prompt that is left out */
    PASSED_PIECE,      /* they gave a piece, which may be empty */
    PASSED_END /* and the text has ended (see struct ender), or met a stop string: the piece is
                          the rest of it */
};

/* `chunk` is "word" or "token"; `detokenizer`, which may be NULL, is the pipeline's own from now on. 0;
 * or -1 with an exception, and nothing to clear. */
int pipeline_init(struct pipeline *pipeline, struct core *core, DetokenizerObject *detokenizer,
                  const char *chunk, bool skip_prompt);

/* Makes `fresh` of the same settings, at the beginning of a sequence, whatever is done with the other one
 * meanwhile. 0; or -1 with an exception, and nothing to clear. */
int pipeline_init_like(const struct pipeline *pipeline, struct core *core, struct pipeline *fresh);

/* The pipeline's references: for the collector, and for good. */
int pipeline_traverse(struct pipeline *pipeline, visitproc visit, void *arg);
void pipeline_clear(struct pipeline *pipeline);
void pipeline_finish(struct pipeline *pipeline);

/* Whether ids that came now would be a prompt, none of which was generated. */
bool pipeline_is_prompt(const struct pipeline *pipeline, const struct ids *ids);

/* Takes a prompt that is left out as what comes before the ids that follow, so that those go on where
 * it stops. 0; or -1 with an exception, and the sequence has not begun. */
int pipeline_prime(struct pipeline *pipeline, const struct ids *ids);

/* Takes the next ids. The piece is to be cleared where there is one; its text is valid until the next
 * call on this pipeline. */
enum passed pipeline_put(struct pipeline *pipeline, const struct ids *ids, struct piece *piece);

/* The same for text, which is to stay as long as the piece; it stands for `tokens`. Never a prompt, and no
 * beginning of ids: those that follow begin their sequence. */
enum passed pipeline_put_text(struct pipeline *pipeline, burble_text text, uint32_t tokens,
                              struct piece *piece);

/* The unfinished word in the chunker, as it is; the sequence goes on. The text is valid until the
 * next call on this pipeline, and nothing is to be cleared. */
void pipeline_cut(struct pipeline *pipeline, struct piece *piece);

/* All that is left of a sequence, in a piece that is to be cleared. The next ids begin
 * another sequence. 0, or -1 with an exception. */
int pipeline_rest(struct pipeline *pipeline, struct piece *piece);

/* Forgets the sequence: the next ids begin another one. 0, or -1 with an exception. */
int pipeline_forget(struct pipeline *pipeline);

void piece_clear(struct piece *piece);

#endif
