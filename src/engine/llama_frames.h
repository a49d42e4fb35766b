/* SPDX-License-Identifier: MIT
 *
 * Answers that are written as frames (burble/frame.h): what the choices of one stream share, and the frame that
 * each of them is making.
 *
 * The choices of an answer are requests of their own, which end in any order; the last one that does writes the
 * counts of all. Only the engine's thread uses this, once the requests are in its queue, except that any thread
 * may drop a reference.
 */
#ifndef BURBLE_ENGINE_LLAMA_FRAMES_H
#define BURBLE_ENGINE_LLAMA_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llama.h>

#include <burble/frame.h>
#include <burble/llama.h>

#include "base/atomic.h"
#include "base/buffer.h"

/* The most tokens of one frame, also if none of them has text yet. */
#define BURBLE__FRAME_TOKENS 64

struct burble__frames {
    _Atomic(uint32_t) refs; /* one for each choice */
    uint32_t each;          /* choices of one prompt */
    uint32_t running;       /* choices whose end is not written yet */
    burble_frame usage;     /* so far */
    /* When the request came, when one of its choices first had a slot, and when the first token; 0: not yet. */
    uint64_t came, placed, begun;
    struct burble__buffer bytes; /* of the frame that is being written */
    size_t n_stop;
    burble_text stop[]; /* the stop strings; their bytes are behind the array */
};

/* Makes what `n` choices share, with one reference for each. BURBLE_OK or BURBLE_ENOMEM. */
int burble__frames_create(const burble_llama_request *wanted, uint32_t n,
                          struct burble__frames **out);

/* Drops a reference; the last one frees it. NULL is fine. */
void burble__frames_unref(struct burble__frames *shared);

/* One choice: what its next frame will have. */
struct burble__choice {
    struct burble__frames *shared;
    uint32_t number;           /* from 0 */
    uint32_t n_ids;            /* since the last frame */
    struct burble__buffer ids; /* encoded */
    struct burble__buffer text;
    struct burble__buffer logprobs; /* encoded */
    uint32_t n_logprobs;            /* tokens whose entries are there: */
    struct {
        uint64_t offset; /* of its text in the whole text, in characters */
        size_t end;      /* of its entries */
    } entries[BURBLE__FRAME_TOKENS];
    enum { BURBLE__CHOICE_RUNS, BURBLE__CHOICE_FINISHED, BURBLE__CHOICE_COUNTED } stage;
};

/* Makes one, which gets one of the references. BURBLE_OK or BURBLE_ENOMEM; then the reference is the caller's
 * still. */
int burble__choice_create(struct burble__frames *shared, uint32_t number,
                          struct burble__choice **out);

/* Frees it, drops its reference, and sets *handle to NULL. A pointer to NULL is fine. */
void burble__choice_destroy(struct burble__choice **handle);

/* Adds a token that was chosen. BURBLE_OK or BURBLE_ENOMEM, here and below. */
int burble__choice_take_id(struct burble__choice *choice, int32_t id);

/* Adds its log-probabilities, as the progress has them. */
int burble__choice_take_logprobs(struct burble__choice *choice, const struct llama_vocab *tokens,
                                 const burble_llama_progress *progress);

/* Removes those of tokens whose text begins at `offset` or later: they are of a stop string. */
void burble__choice_drop_logprobs(struct burble__choice *choice, uint64_t offset);

/* Whether it has enough for a frame: text, or many tokens without any; or, if it is the last one,
 * log-probabilities that no other frame will have. */
static inline bool burble__choice_has_frame(const struct burble__choice *choice, bool last)
{
    return choice->text.len > 0 || choice->n_ids == BURBLE__FRAME_TOKENS
           || (last && choice->logprobs.len > 0);
}

/* Make the bytes of a frame, valid until the next one of any choice of the answer: of text; of the choice's end, with
 * the stop string of that index, if it is below the number of these; of the counts of the answer. A TEXT or FINISH
 * frame takes all that the choice has. */
int burble__choice_make_text(struct burble__choice *choice, burble_text *bytes, uint32_t *n_ids);
int burble__choice_make_finish(struct burble__choice *choice, burble_reason reason, size_t stop,
                               burble_text *bytes, uint32_t *n_ids);
int burble__choice_make_usage(struct burble__choice *choice, uint64_t now, burble_text *bytes);

#endif
