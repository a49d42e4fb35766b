/* SPDX-License-Identifier: MIT */
#ifndef BURBLE_PYTHON_DETOKENIZER_H
#define BURBLE_PYTHON_DETOKENIZER_H

#include "common/core.h"
#include "detokenize/ids.h"
#include "detokenize/vocabulary.h"

/* A stop string that was met; begin and end in characters of the text that was searched. */
struct met {
    size_t which;
    uint64_t begin, end;
};

/* A token with which the text ends. */
struct ender {
    int32_t id;
    Py_ssize_t
        which; /* of the stop strings: a special token with that text; -1: an end of sequence */
    Py_ssize_t order; /* in which they were given */
};

/* A stretch of text and the tokens of the sequence, counted from 0, that it came from. */
struct stretch {
    uint64_t chars, first, last;
};

struct stretches {
    struct stretch *at; /* n of them, room for `room` */
    size_t n, room;
};

/* Where a sequence stood before a token, but for `detok`, which remembers that by itself. */
struct place {
    PyObject *window; /* a copy */
    PyObject *held;   /* bytes that the stop filter held back */
    struct stretches pending;
    struct met met;
    uint64_t chars, handed, taken, since;
    bool stopped, has_met, waits;
};

/* The most that a detokenizer can be made to go back, in tokens. */
#define REWIND_MAX 65536

/* Either compiled (a vocabulary), windowed (a Python object with push, finish, reset, copy,
 * holds), or neither: it takes text alone, and no ids. Behind it the stop strings, if there are
 * any.
 *
 * A window runs Python code in the midst of a call, and letting go of an object or making one may run
 * a finalizer: each may call this detokenizer again, and other threads may. While one call is under
 * way, all others that change it are refused. What only reads it works on a copy. */
typedef struct {
    PyObject_HEAD
    struct core *core;
    VocabularyObject *vocabulary;
    burble_detok *detok;
    PyObject *window;
    bool text_alone;
    struct under_way busy; /* a method */
    bool owned; /* by a pipeline, whose owner sees to it that one call at a time is made */

    burble_stop *stop;      /* NULL where there are no stop strings */
    PyObject *stop_strings; /* a tuple of str, or NULL */
    struct ender *enders;   /* n_enders of them, in the order of their ids, each id once */
    size_t n_enders;
    bool include_stop;
    bool
        stopped; /* the present sequence is over, by a stop string or an ender: nothing more comes */
    bool has_met;   /* by a stop string; or it was the last sequence and no other has begun */
    struct met met; /* where has_met */
    uint64_t chars; /* characters that have passed the stop filter */

    /* With `rewind`: a ring of so many, where the sequence stood before each of the last tokens;
     * the `n_places` before the one at `place` are set. */
    struct place *places;
    size_t rewind, place, n_places;
    uint64_t handed; /* characters handed out in this sequence */

    /* With `offsets`. */
    bool offsets;
    struct stretches spans;   /* of the text handed out last */
    struct stretches pending; /* of the text that the stop filter holds back */
    uint64_t taken;           /* tokens of this sequence */
    uint64_t since;           /* where `waits`: from this token on, the window may hold text */
    bool waits;
} DetokenizerObject;

/* Text with whoever keeps its bytes, if that is a Python object. */
struct kept_text {
    burble_text text;
    PyObject *keeper; /* a reference, or NULL */
    bool whole;       /* the keeper is a str and this is its text */
    size_t ids;       /* how many of the ids count: those up to the end of the text */
};

/* Keeps everybody else from changing it until detokenizer_release: what follows is for the one that
 * owns it. The text that a call gives is valid until the next one. 0; or -1 with RuntimeError, where
 * it belongs to another one, is in the midst of a call or was not initialised. */
int detokenizer_own(DetokenizerObject *self);
void detokenizer_release(DetokenizerObject *self);

/* One of the same settings at the beginning of a sequence, a new reference; NULL with an exception.
 * The other one may be in the midst of a call. */
DetokenizerObject *detokenizer_another(DetokenizerObject *self);

/* What the ids make final, up to a stop string or an ender: then `stopped` is set. In a prompt none is
 * looked for. 0, or -1 with an exception. */
int detokenizer_push(DetokenizerObject *self, const struct ids *ids, bool prompt,
                     struct kept_text *out);

/* The same for text that does not come of ids, behind that of the ids before it; what these leave
 * incomplete comes behind it. `text` must stay until the text that is handed out is no more needed. */
int detokenizer_push_text(DetokenizerObject *self, burble_text text, struct kept_text *out);

/* Takes ids that come before those to be streamed; nothing is handed out, no stop string looked for.
 * 0, or -1 with an exception and none of them taken. */
int detokenizer_prime(DetokenizerObject *self, const struct ids *ids);

/* What was held back, up to a stop string: then `has_met` is set; the sequence is over. 0, or -1
 * with an exception. */
int detokenizer_finish(DetokenizerObject *self, struct kept_text *out);

/* Forgets the sequence. 0, or -1 with an exception. */
int detokenizer_reset(DetokenizerObject *self);

/* 1, 0, or -1 with an exception. */
int detokenizer_holds(DetokenizerObject *self);

/* Whether the window holds text back: the same. */
int detokenizer_window_holds(DetokenizerObject *self);

/* (which, text, begin, end) of the stop string that was met, or None. */
PyObject *detokenizer_match(DetokenizerObject *self);

#endif
