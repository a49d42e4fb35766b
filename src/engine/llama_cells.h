/* SPDX-License-Identifier: MIT
 *
 * What llama.cpp's memory (the KV cache) holds of each sequence: the ids whose cells have been computed, from
 * position 0 on. A prompt that begins with the same ids need not be computed again. llama.cpp itself does
 * not know the ids of its cells.
 *
 * Only the engine's thread uses it, between steps.
 */
#ifndef BURBLE_ENGINE_LLAMA_CELLS_H
#define BURBLE_ENGINE_LLAMA_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llama.h>

struct burble__sequence {
    int32_t *ids;     /* room for as many as a request may have */
    uint32_t n;       /* of these, computed */
    uint32_t pending; /* ids after them that are in the present batch */
    uint64_t used;    /* the number of the step that computed the last of them */
};

struct burble__cells {
    struct llama_context *context;
    struct burble__sequence *sequences;
    uint32_t n;    /* sequences */
    bool unified;  /* all sequences share one memory, so that copies cost nothing */
    uint8_t *copy; /* of the cells of a sequence on their way to another one */
    size_t room;   /* there, in bytes */
};

/* Makes `n` empty sequences, each of at most `length` ids. BURBLE_OK or BURBLE_ENOMEM; in both cases
 * burble__cells_finish frees what was made. */
int burble__cells_init(struct burble__cells *cells, struct llama_context *context, uint32_t n,
                       uint32_t length, bool unified);
void burble__cells_finish(struct burble__cells *cells);

/* How many ids at the beginning of a sequence are the first of these `n`. */
uint32_t burble__cells_common(const struct burble__cells *cells, uint32_t sequence,
                              const int32_t *ids, uint32_t n);

/* Forgets what comes after the first `n` ids, also of the present batch. Returns how many ids are left:
 * `n`, or 0 if the model's memory can only be forgotten as a whole (a recurrent one). */
uint32_t burble__cells_cut(struct burble__cells *cells, uint32_t sequence, uint32_t n);

/* Adds an id of the present batch. */
static inline void burble__cells_add(struct burble__cells *cells, uint32_t sequence, int32_t id)
{
    struct burble__sequence *at = &cells->sequences[sequence];
    at->ids[at->n + at->pending++] = id;
}

/* The present batch, which was number `step`, has been computed: its ids are in the memory. */
void burble__cells_keep(struct burble__cells *cells, uint64_t step);

/* Makes the sequence `to` a copy of the first `n` ids of `from`. Returns whether it is; if not, `to` is
 * empty. Costs a copy of the cells of `from`, unless the memory is unified. */
bool burble__cells_copy(struct burble__cells *cells, uint32_t from, uint32_t to, uint32_t n);

/* Exchanges two sequences, of which none has ids in a batch. Returns false, and changes nothing, if there is
 * no memory for it. A sequence that llama.cpp cannot take in again is empty afterwards. */
bool burble__cells_swap(struct burble__cells *cells, uint32_t a, uint32_t b);

#endif
