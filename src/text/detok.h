/* SPDX-License-Identifier: MIT
 *
 * The internals of a detokenizer, for the files that implement it.
 *
 * The state of a sequence has a fixed size and can be copied. Rewinding uses such copies, and so does a call
 * that runs out of memory, which must change nothing.
 */
#ifndef BURBLE_TEXT_DETOK_H
#define BURBLE_TEXT_DETOK_H

#include <burble/detok.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "text/rewrite.h"
#include "text/vocab.h"

/* A filter's memory of one sequence, or a rewrite's. */
union burble__slot {
    uint32_t token; /* the last one that came, NO_TOKEN at the beginning */
    struct burble__rewrite_state rewrite;
};

/* The state of one sequence. */
struct burble__detok_state {
    uint64_t taken;       /* ids */
    uint64_t handed;      /* bytes of text handed out for them */
    uint64_t waiting_at;  /* which of the ids waits to learn whether it is the last */
    uint32_t waiting;     /* that id */
    uint32_t waiting_out; /* bytes of its piece that have gone on, being the same in any case */
    bool waits;
    bool waiting_first;
    bool begun;     /* there was a token */
    bool in_run;    /* the last one was a byte token, where runs of them are rewritten */
    bool run_first; /* that run is the first token */
    struct burble__utf8 utf8;
    union burble__slot slots[]; /* the vocabulary's filters, its rewrites, and those of clean_up */
};

/* The state of a sequence at an earlier time. */
struct burble__past {
    struct burble__detok_state *state;
    struct burble__buffer held; /* as in struct burble_detok */
};

struct burble_detok {
    burble_vocab *vocab;
    unsigned skip; /* BURBLE__PIECE_…: pieces with one of these are as if never there */
    bool lends;    /* one id at a time can be taken by lend() */
    burble_detok_options options;
    size_t n_rewrites;
    size_t state_size;
    struct burble__detok_state *state;
    struct burble__past before;      /* where the last call began */
    struct burble__writer out;       /* what the pieces become */
    struct burble__writer stages[2]; /* what the rewrites make of it, in turn */
    struct burble__writer collected; /* of several ids taken one by one */
    char last[BURBLE__UTF8_GROWTH * BURBLE__UTF8_HELD_MAX]; /* finish: what was held */
    /* With options.spans. */
    struct burble__buffer held;  /* the origins of all bytes that are held, in their order */
    struct burble__buffer holds; /* the same, being written */
    struct burble__buffer spans;
    /* With options.rewind: a ring of so many, where the sequence stood before each of the last ids;
     * the `n_pasts` before the one at `past` are set. */
    struct burble__past *pasts;
    size_t past;
    size_t n_pasts;
};

/* ---- where the sequence stood (detok_past.c) ----------------------------------------------------- */

/* Makes the ring, with options.rewind. BURBLE_OK or BURBLE_ENOMEM. */
int burble__past_make_ring(burble_detok *detok);
void burble__past_free_ring(burble_detok *detok);

/* Fills the ring of `copy`, which is as new, with what the other one's has. BURBLE_OK or
 * BURBLE_ENOMEM. */
int burble__past_copy_ring(const burble_detok *detok, burble_detok *copy);

/* Saves the state of the sequence. BURBLE_OK or BURBLE_ENOMEM. */
int burble__past_save(const burble_detok *detok, struct burble__past *past);

/* Restores that state; *past is then invalid. */
void burble__past_restore(burble_detok *detok, struct burble__past *past);

/* Saves the state of the sequence in the ring. BURBLE_OK or BURBLE_ENOMEM. */
int burble__past_remember(burble_detok *detok);

/* Takes the last `n` out of the ring again, which had `n_pasts` before them. */
void burble__past_forget(burble_detok *detok, size_t n, size_t n_pasts);

/* ---- where text came from (detok_spans.c) -------------------------------------------------------- */

/* The origins of the bytes that burble__utf8 holds. With options.spans. */
struct burble__origins {
    struct burble__origin at[BURBLE__UTF8_HELD_MAX + 1];
};

/* Feeds burble__utf8 one byte of a piece, and writes to `out` what becomes of it, with its origins.
 * BURBLE_OK or BURBLE_ENOMEM. */
int burble__origins_feed(burble_detok *detok, struct burble__origins *origins, char byte,
                         uint64_t token);

/* The same for the bytes that burble__utf8 holds, which stay incomplete. */
int burble__origins_flush(burble_detok *detok, const struct burble__origins *origins);

/* Makes the spans of the text. BURBLE_OK or BURBLE_ENOMEM. */
int burble__spans_note(burble_detok *detok, const struct burble__traced *text);

#endif
