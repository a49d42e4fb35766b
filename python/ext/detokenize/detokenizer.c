/* SPDX-License-Identifier: MIT
 *
 * Ids in, text out, for one sequence, up to a stop string. detokenizer_type.c makes a Python type of it.
 */
#include "detokenize/detokenizer.h"

#include "common/str.h"
#include "detokenize/sequence.h"

static int keep(PyObject *text, struct kept_text *out)
{
    if (text == NULL)
        return -1;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "decode: expected a str, found %.100s",
                     Py_TYPE(text)->tp_name);
        Py_DECREF(text);
        return -1;
    }
    const int rc = str_to_utf8(text, &out->text, &out->keeper);
    out->whole = out->keeper == text;
    Py_DECREF(text);
    return rc;
}

static int push_windowed(DetokenizerObject *self, const struct ids *ids, struct kept_text *out)
{
    PyObject *list = PyList_New((Py_ssize_t)ids->n);
    if (list == NULL)
        return -1;
    for (size_t i = 0; i < ids->n; i++) {
        PyObject *id = PyLong_FromLong(ids->data[i]);
        if (id == NULL) {
            Py_DECREF(list);
            return -1;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, id);
    }
    PyObject *text = PyObject_CallMethodObjArgs(self->window, self->core->str_push, list, NULL);
    Py_DECREF(list);
    return keep(text, out);
}

static int window_holds(DetokenizerObject *self)
{
    PyObject *holds = PyObject_GetAttr(self->window, self->core->str_holds);
    if (holds == NULL)
        return -1;
    const int truth = PyObject_IsTrue(holds);
    Py_DECREF(holds);
    return truth;
}

/* Before the stop strings. */
static int push_all(DetokenizerObject *self, const struct ids *ids, struct kept_text *out)
{
    if (self->window != NULL)
        return push_windowed(self, ids, out);
    out->keeper = NULL;
    if (self->text_alone) {
        PyErr_SetString(PyExc_TypeError, "expected text, found token ids: no tokenizer was given");
        return -1;
    }
    const int rc = burble_detok_push(self->detok, ids->data, ids->n, &out->text);
    if (rc == BURBLE_OK)
        return 0;
    core_raise(self->core, rc);
    return -1;
}

static int finish_all(DetokenizerObject *self, struct kept_text *out)
{
    if (self->window != NULL)
        return keep(PyObject_CallMethodObjArgs(self->window, self->core->str_finish, NULL), out);
    out->keeper = NULL;
    if (self->text_alone)
        out->text = (burble_text){"", 0};
    else
        burble_detok_finish(self->detok, &out->text);
    return 0;
}

static int reset_all(DetokenizerObject *self)
{
    if (self->window != NULL) {
        PyObject *none = PyObject_CallMethodObjArgs(self->window, self->core->str_reset, NULL);
        Py_XDECREF(none);
        return none == NULL ? -1 : 0;
    }
    if (!self->text_alone)
        burble_detok_reset(self->detok);
    return 0;
}

/* ---- stop strings ---------------------------------------------------------------------------- */

static size_t stop_string_length(const DetokenizerObject *self, size_t which)
{
    return (size_t)PyUnicode_GET_LENGTH(PyTuple_GET_ITEM(self->stop_strings, (Py_ssize_t)which));
}

/* Takes the text through the stop filter. 1 where a stop string was met, 0 where not; or -1 with an
 * exception, the text given up. */
static int filter(DetokenizerObject *self, struct kept_text *kept)
{
    burble_text out;
    burble_stop_match match;
    const int rc = burble_stop_push(self->stop, kept->text.bytes, kept->text.len, &out, &match);
    if (rc != BURBLE_OK && rc != BURBLE_END) {
        Py_CLEAR(kept->keeper);
        core_raise(self->core, rc);
        return -1;
    }
    kept->whole = kept->whole && out.bytes == kept->text.bytes && out.len == kept->text.len;
    kept->text = out;
    self->progress.chars += burble_utf8_count(out.bytes, out.len);
    if (rc == BURBLE_OK)
        return 0;
    const size_t length = stop_string_length(self, match.which);
    const uint64_t begin =
        self->include_stop ? self->progress.chars - length : self->progress.chars;
    self->progress.met = (struct met){match.which, begin, begin + length};
    self->progress.has_met = true;
    return 1;
}

PyObject *kept_text_as_str(struct kept_text *kept)
{
    if (kept->keeper != NULL && kept->whole)
        return kept->keeper; /* the reference passes on */
    PyObject *text = str_from_utf8(kept->text.bytes, kept->text.len);
    Py_XDECREF(kept->keeper);
    return text;
}

/* Makes the text a str of its own, with `more` behind it. 0, or -1 with an exception. */
static int join(struct kept_text *kept, burble_text more)
{
    PyObject *text = str_from_utf8(kept->text.bytes, kept->text.len);
    PyObject *rest = str_from_utf8(more.bytes, more.len);
    PyObject *both = text == NULL || rest == NULL ? NULL : PyUnicode_Concat(text, rest);
    Py_XDECREF(text);
    Py_XDECREF(rest);
    Py_CLEAR(kept->keeper);
    return both == NULL ? -1 : keep(both, kept);
}

/* Notes which tokens text comes from that no stop filter has seen yet. 0, or -1 with an exception. */
static int trace(DetokenizerObject *self, burble_text text, bool end)
{
    if (!self->offsets.on)
        return 0;
    if (self->window == NULL)
        return offsets_trace_compiled(&self->offsets, self->detok, text);
    const int holds = window_holds(self);
    return holds < 0 ? -1 : offsets_trace_windowed(&self->offsets, text, end, holds > 0);
}

/* The text is handed out. 0, or -1 with an exception. */
static int note_handed(DetokenizerObject *self, burble_text text)
{
    if (self->snapshots.room == 0 && !self->offsets.on)
        return 0;
    const uint64_t chars = burble_utf8_count(text.bytes, text.len);
    self->progress.handed += chars;
    return offsets_hand_out(&self->offsets, chars);
}

/* Passes what finish_all gave on, up to a stop string: then progress.has_met is set. 0, or -1 with an exception,
 * the text given up. */
static int settle_rest(DetokenizerObject *self, struct kept_text *out)
{
    int rc = trace(self, out->text, true);
    if (rc == 0 && self->stop != NULL)
        rc = filter(self, out);
    if (rc >= 0 && self->stop != NULL) {
        /* The filter's text is valid until the filter is called again. */
        rc = join(out, (burble_text){"", 0});
        burble_text rest;
        burble_stop_finish(self->stop, &rest);
        self->progress.chars += burble_utf8_count(rest.bytes, rest.len);
        if (rc == 0 && rest.len > 0)
            rc = join(out, rest);
    }
    if (rc < 0)
        Py_CLEAR(out->keeper);
    return rc;
}

/* ---- tokens that end the text ---------------------------------------------------------------- */

/* The text that a copy of the detokenizer hands out if the sequence ends now, as a str: the sequence itself
 * is kept, because one may go back to it. 0, or -1 with an exception. */
static int take_rest_of_copy(DetokenizerObject *self, struct kept_text *out)
{
    burble_detok *detok = self->detok, *copy = NULL;
    PyObject *window = self->window;
    int rc = 0;
    if (detok != NULL && burble_detok_copy(detok, &copy) != BURBLE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    if (window != NULL) {
        PyObject *window_copy = PyObject_CallMethodObjArgs(window, self->core->str_copy, NULL);
        if (window_copy == NULL)
            return -1;
        self->window = window_copy;
    }
    self->detok = copy;
    rc = finish_all(self, out);
    if (rc == 0)
        rc = settle_rest(self, out);
    if (rc == 0)
        rc = join(out, (burble_text){"", 0});
    copy = self->detok;
    self->detok = detok;
    burble_detok_destroy(&copy);
    if (window != NULL)
        Py_SETREF(self->window, window);
    return rc;
}

/* Ends the text at a token that was taken, of which `out` has the text: hands out what was held back,
 * and the stop string that the token stands for, where that is included. 0, or -1 with an exception. */
static int end_text(DetokenizerObject *self, Py_ssize_t which, struct kept_text *out)
{
    struct kept_text rest = {{"", 0}, NULL, false, 0};
    /* The texts of the filter and the detokenizer are valid until these are called again. */
    if (join(out, (burble_text){"", 0}) < 0 || take_rest_of_copy(self, &rest) < 0)
        return -1;
    int rc = rest.text.len > 0 ? join(out, rest.text) : 0;
    Py_CLEAR(rest.keeper);
    self->progress.stopped = true;
    if (rc < 0 || which < 0 || self->progress.has_met)
        return rc;
    Py_ssize_t len;
    PyObject *string = PyTuple_GET_ITEM(self->stop_strings, which);
    const char *bytes = PyUnicode_AsUTF8AndSize(string, &len);
    const uint64_t length = (uint64_t)PyUnicode_GET_LENGTH(string);
    self->progress.met =
        (struct met){(size_t)which, self->progress.chars, self->progress.chars + length};
    self->progress.has_met = true;
    if (!self->include_stop)
        return 0;
    self->progress.chars += length;
    if (bytes == NULL || join(out, (burble_text){bytes, (size_t)len}) < 0)
        return -1;
    return offsets_trace_token(&self->offsets, length);
}

/* ---- taking ids ------------------------------------------------------------------------------ */

enum purpose { STREAM, PROMPT, PRIME };

/* The text that the ids make final. Nothing here is undone on failure; *pushed says whether the ids are taken.
 * 0, or -1 with an exception. */
static int take(DetokenizerObject *self, const struct ids *ids, enum purpose purpose,
                struct kept_text *out, bool *pushed)
{
    const bool over = self->progress.stopped;
    const size_t pending = self->offsets.state.pending.n;
    *out = (struct kept_text){{"", 0}, NULL, false, ids->n};
    *pushed = false;
    if (push_all(self, ids, out) < 0)
        return -1;
    *pushed = true;
    if (self->window == NULL)
        self->offsets.state.taken += ids->n;
    if (trace(self, out->text, false) < 0)
        goto fail;
    if (over || purpose == PRIME) {
        self->offsets.state.pending.n = pending;
        Py_CLEAR(out->keeper);
        *out = (struct kept_text){{"", 0}, NULL, false, 0};
        return 0;
    }
    self->progress.has_met = false;
    if (self->stop != NULL && purpose == STREAM) {
        const int met = filter(self, out);
        if (met < 0)
            return -1;
        self->progress.stopped = met > 0;
    }
    if (purpose == STREAM && ids->n == 1 && !self->progress.stopped) {
        const struct ender *ender = enders_find(&self->enders, ids->data[0]);
        if (ender != NULL && end_text(self, ender->which, out) < 0)
            goto fail;
    }
    if (note_handed(self, out->text) < 0)
        goto fail;
    if (self->progress.stopped)
        self->offsets.state.pending.n = 0;
    return 0;

fail:
    Py_CLEAR(out->keeper);
    return -1;
}

/* The same for one id, with a snapshot to go back to where that is wanted. It is taken or it is not. */
static int take_one(DetokenizerObject *self, int32_t id, enum purpose purpose,
                    struct kept_text *out)
{
    struct ids one = {.n = 1};
    bool pushed;
    one.few[0] = id;
    one.data = one.few;
    if (self->snapshots.room > 0 && sequence_remember(self) < 0)
        return -1;
    if (take(self, &one, purpose, out, &pushed) == 0)
        return 0;
    if (self->snapshots.room > 0) {
        if (pushed && self->detok != NULL)
            burble_detok_rewind(self->detok, 1, NULL);
        sequence_go_back(self, 1);
    }
    return -1;
}

/* One id after the other, to the end of the text; with `rewind`, those behind it, too. On failure *taken
 * is how many were taken. */
static int take_each(DetokenizerObject *self, const struct ids *ids, enum purpose purpose,
                     struct kept_text *out, size_t *taken)
{
    PyObject *joined = NULL;
    size_t counted = 0;
    PyObject *texts = PyList_New(0);
    PyObject *nothing = PyUnicode_FromString("");
    *taken = 0;
    if (texts == NULL || nothing == NULL)
        goto done;
    for (; *taken < ids->n && !(self->progress.stopped && self->snapshots.room == 0); ++*taken) {
        struct kept_text kept;
        if (take_one(self, ids->data[*taken], purpose, &kept) < 0)
            goto done;
        counted += kept.ids;
        PyObject *text = kept_text_as_str(&kept);
        const int rc = text == NULL ? -1 : PyList_Append(texts, text);
        Py_XDECREF(text);
        if (rc < 0) {
            ++*taken;
            goto done;
        }
    }
    joined = PyUnicode_Join(nothing, texts);
done:
    Py_XDECREF(nothing);
    Py_XDECREF(texts);
    out->ids = counted;
    return joined == NULL ? -1 : keep(joined, out);
}

/* Several ids one after the other, all or none of them. Few of them are undone by going back, more
 * than that by a copy made before: which is no more work than they are. */
static int take_all_or_none(DetokenizerObject *self, const struct ids *ids, enum purpose purpose,
                            struct kept_text *out)
{
    const bool copied = ids->n > self->snapshots.room;
    struct snapshot before;
    burble_detok *detok = NULL;
    size_t taken;
    if (copied && self->detok != NULL && burble_detok_copy(self->detok, &detok) != BURBLE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    if (copied && sequence_save(self, &before) < 0) {
        burble_detok_destroy(&detok);
        return -1;
    }
    const int rc = take_each(self, ids, purpose, out, &taken);
    if (rc < 0) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (copied) {
            burble_detok *undone = self->detok;
            self->detok = detok;
            detok = undone;
            snapshots_forget(&self->snapshots);
            sequence_restore(self, &before);
        } else if (taken > 0) {
            if (self->detok != NULL)
                burble_detok_rewind(self->detok, taken, NULL);
            sequence_go_back(self, taken);
        }
        self->offsets.spans.n = 0;
        PyErr_Restore(type, value, traceback);
    } else if (copied) {
        snapshot_clear(&before);
    }
    burble_detok_destroy(&detok);
    return rc;
}

static int take_ids(DetokenizerObject *self, const struct ids *ids, enum purpose purpose,
                    struct kept_text *out)
{
    const bool ends = purpose == STREAM && (self->stop != NULL || self->enders.n > 0);
    bool pushed;
    *out = (struct kept_text){{"", 0}, NULL, false, 0};
    self->offsets.spans.n = 0;
    if (self->snapshots.room > 0 || (self->offsets.on && self->window != NULL)
        || (ends && ids->n > 1)) {
        if (ids->n == 1)
            return take_one(self, ids->data[0], purpose, out);
        return take_all_or_none(self, ids, purpose, out);
    }
    return self->progress.stopped ? 0 : take(self, ids, purpose, out, &pushed);
}

int detokenizer_push(DetokenizerObject *self, const struct ids *ids, bool prompt,
                     struct kept_text *out)
{
    return take_ids(self, ids, prompt ? PROMPT : STREAM, out);
}

int detokenizer_push_text(DetokenizerObject *self, burble_text text, struct kept_text *out)
{
    *out = (struct kept_text){{"", 0}, NULL, false, 0};
    if (self->progress.stopped)
        return 0;
    out->text = text;
    self->progress.has_met = false;
    if (self->stop == NULL)
        return 0;
    const int met = filter(self, out);
    self->progress.stopped = met > 0;
    return met < 0 ? -1 : 0;
}

int detokenizer_prime(DetokenizerObject *self, const struct ids *ids)
{
    struct kept_text nothing;
    const int rc = take_ids(self, ids, PRIME, &nothing);
    if (rc == 0)
        Py_CLEAR(nothing.keeper);
    return rc;
}

/* The next sequence begins; what was met in the last one is still to be asked for. */
static void begin_sequence(DetokenizerObject *self)
{
    if (self->stop != NULL)
        burble_stop_reset(self->stop);
    snapshots_forget(&self->snapshots);
    self->progress.stopped = false;
    self->progress.chars = 0;
    self->progress.handed = 0;
    self->offsets.state.taken = 0;
    self->offsets.state.held = false;
    self->offsets.state.pending.n = 0;
}

int detokenizer_finish(DetokenizerObject *self, struct kept_text *out)
{
    *out = (struct kept_text){{"", 0}, NULL, false, 0};
    self->offsets.spans.n = 0;
    if (self->progress.stopped) {
        begin_sequence(self);
        return reset_all(self);
    }
    self->progress.has_met = false;
    if (finish_all(self, out) < 0)
        return -1;
    int rc = settle_rest(self, out);
    if (rc == 0)
        rc = note_handed(self, out->text);
    if (rc < 0)
        Py_CLEAR(out->keeper);
    begin_sequence(self);
    return rc;
}

int detokenizer_reset(DetokenizerObject *self)
{
    begin_sequence(self);
    self->progress.has_met = false;
    self->offsets.spans.n = 0;
    return reset_all(self);
}

int detokenizer_holds(DetokenizerObject *self)
{
    if (self->stop != NULL && burble_stop_has_pending(self->stop))
        return 1;
    if (self->window != NULL)
        return window_holds(self);
    return self->detok != NULL && burble_detok_has_pending(self->detok);
}

PyObject *detokenizer_match(DetokenizerObject *self)
{
    if (!self->progress.has_met)
        Py_RETURN_NONE;
    return Py_BuildValue("nOKK", (Py_ssize_t)self->progress.met.which,
                         PyTuple_GET_ITEM(self->stop_strings, (Py_ssize_t)self->progress.met.which),
                         (unsigned long long)self->progress.met.begin,
                         (unsigned long long)self->progress.met.end);
}

/* ---- one call at a time -------------------------------------------------------------------- */

bool detokenizer_is_ready(DetokenizerObject *self)
{
    if (self->detok != NULL || self->window != NULL || self->text_alone)
        return true;
    PyErr_SetString(PyExc_RuntimeError, "Detokenizer.__init__ was not called");
    return false;
}

bool detokenizer_begin_call(DetokenizerObject *self)
{
    if (is_under_way(&self->busy)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a Detokenizer takes one call at a time; another call is in progress");
        return false;
    }
    if (self->owned) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "this Detokenizer belongs to a streamer or a writer: only that may change it");
        return false;
    }
    if (!detokenizer_is_ready(self))
        return false;
    set_under_way(&self->busy, true);
    return true;
}

void detokenizer_end_call(DetokenizerObject *self)
{
    set_under_way(&self->busy, false);
}

int detokenizer_own(DetokenizerObject *self)
{
    if (!detokenizer_begin_call(self))
        return -1;
    self->owned = true;
    detokenizer_end_call(self);
    return 0;
}

void detokenizer_release(DetokenizerObject *self)
{
    self->owned = false;
}
