/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_DETOKENIZER_H
#define BURBLE_PYTHON_DETOKENIZER_H

#include "common/core.h"
#include "detokenize/enders.h"
#include "detokenize/ids.h"
#include "detokenize/offsets.h"
#include "detokenize/snapshots.h"
#include "detokenize/vocabulary.h"

/* The most that a detokenizer can be made to go back, in tokens. */
#define REWIND_MAX 65536

/* Either compiled (a vocabulary), windowed (a Python object with push, finish, reset, copy,
 * holds), or neither: it takes text alone, and no ids. Behind it the stop strings, if there are
 * any.
 *
 * A window runs Python code during a call, and dropping or creating an object may run a finalizer: this code
 * may call the detokenizer again, and so may other threads. While one call is in progress, all other calls that
 * change it are refused. Calls that only read it work on a copy. */
typedef struct {
    PyObject_HEAD
    struct core *core;
    VocabularyObject *vocabulary;
    burble_detok *detok;
    PyObject *window;
    bool text_alone;
    struct under_way busy; /* a method */
    bool owned; /* by a pipeline, whose owner makes sure that there is one call at a time */

    burble_stop *stop;      /* NULL where there are no stop strings */
    PyObject *stop_strings; /* a tuple of str, or NULL */
    bool include_stop;
    struct enders enders;

    struct progress progress;
    struct snapshots snapshots; /* with `rewind`: before each of the last so many tokens */
    struct offsets offsets;
} DetokenizerObject;

/* Text, and the Python object that keeps its bytes, if there is one. */
struct kept_text {
    burble_text text;
    PyObject *keeper; /* a reference, or NULL */
    bool whole;       /* the keeper is a str and this is its text */
    size_t ids;       /* how many of the ids count: those up to the end of the text */
};

/* Whether __init__ was called; else RuntimeError. */
bool detokenizer_is_ready(DetokenizerObject *self);

/* Whether it may be changed now, until detokenizer_end_call; else RuntimeError. */
bool detokenizer_begin_call(DetokenizerObject *self);
void detokenizer_end_call(DetokenizerObject *self);

/* Reserves it for the caller until detokenizer_release: only the owner may call the functions below. The text
 * that a call returns is valid until the next call. 0; or -1 with RuntimeError if it has another owner, a
 * call is in progress, or it was not initialised. */
int detokenizer_own(DetokenizerObject *self);
void detokenizer_release(DetokenizerObject *self);

/* A new detokenizer with the same settings, at the beginning of a sequence: a new reference, or NULL with an
 * exception. A call of the other one may be in progress. */
DetokenizerObject *detokenizer_new_like(DetokenizerObject *self);

/* One of the same settings, with the same sequence; the caller is in a call of it. A new reference, NULL with an
 * exception. */
DetokenizerObject *detokenizer_copy(DetokenizerObject *self);

/* Goes back by so many tokens: how many characters are taken back, or -1 with an exception. */
int64_t detokenizer_rewind(DetokenizerObject *self, PyObject *count);

/* Gives the text up for a str; NULL with an exception. */
PyObject *kept_text_as_str(struct kept_text *kept);

/* The text that the ids make final, up to a stop string or an ender: then progress.stopped is set. A prompt is
 * not searched. 0, or -1 with an exception. */
int detokenizer_push(DetokenizerObject *self, const struct ids *ids, bool prompt,
                     struct kept_text *out);

/* The same for text that does not come of ids, behind that of the ids before it; what these leave
 * incomplete comes behind it. `text` must stay until the text that is handed out is no more needed. */
int detokenizer_push_text(DetokenizerObject *self, burble_text text, struct kept_text *out);

/* Takes ids that come before those to be streamed; nothing is handed out, no stop string looked for.
 * 0, or -1 with an exception and none of them taken. */
int detokenizer_prime(DetokenizerObject *self, const struct ids *ids);

/* The text that was held back, up to a stop string: then progress.has_met is set; the sequence is over. 0, or -1
 * with an exception. */
int detokenizer_finish(DetokenizerObject *self, struct kept_text *out);

/* Forgets the sequence. 0, or -1 with an exception. */
int detokenizer_reset(DetokenizerObject *self);

/* 1, 0, or -1 with an exception. */
int detokenizer_holds(DetokenizerObject *self);

/* (which, text, begin, end) of the stop string that was met, or None. */
PyObject *detokenizer_match(DetokenizerObject *self);

#endif
