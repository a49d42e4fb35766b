/* SPDX-License-Identifier: MIT
 *
 * _core.Detokenizer: ids in, text out, for one sequence, up to a stop string.
 */
#include "detokenize/detokenizer.h"

#include "base/utf8.h"
#include "common/str.h"
#include "detokenize/offsets.h"
#include "detokenize/places.h"

static int keep(PyObject *text, struct kept_text *out)
{
    if (text == NULL)
        return -1;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "a window gives text as str, found %.100s",
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

int detokenizer_window_holds(DetokenizerObject *self)
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
    self->chars += burble__utf8_count(out.bytes, out.len);
    if (rc == BURBLE_OK)
        return 0;
    const size_t length = stop_string_length(self, match.which);
    const uint64_t begin = self->include_stop ? self->chars - length : self->chars;
    self->met = (struct met){match.which, begin, begin + length};
    self->has_met = true;
    return 1;
}

/* Gives the text up for a str. */
static PyObject *as_str(struct kept_text *kept)
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

/* Passes what finish_all gave on, up to a stop string: then `has_met` is set. 0, or -1 with an exception,
 * the text given up. */
static int settle_rest(DetokenizerObject *self, struct kept_text *out)
{
    int rc = offsets_trace(self, out->text, true);
    if (rc == 0 && self->stop != NULL)
        rc = filter(self, out);
    if (rc >= 0 && self->stop != NULL) {
        /* What the filter gave out is its own until it is called again. */
        rc = join(out, (burble_text){"", 0});
        burble_text rest;
        burble_stop_finish(self->stop, &rest);
        self->chars += burble__utf8_count(rest.bytes, rest.len);
        if (rc == 0 && rest.len > 0)
            rc = join(out, rest);
    }
    if (rc < 0)
        Py_CLEAR(out->keeper);
    return rc;
}

/* ---- tokens that end the text ---------------------------------------------------------------- */

static int compare_enders(const void *a, const void *b)
{
    const struct ender *left = a, *right = b;
    if (left->id != right->id)
        return left->id < right->id ? -1 : 1;
    return (left->order > right->order) - (left->order < right->order);
}

static const struct ender *ender_of(const DetokenizerObject *self, int32_t id)
{
    size_t low = 0, high = self->n_enders;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (self->enders[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < self->n_enders && self->enders[low].id == id ? &self->enders[low] : NULL;
}

/* What a copy of the detokenizer would hand out if the sequence ended now, as a str: the sequence
 * itself, to which one may go back, stays. 0, or -1 with an exception. */
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
        PyObject *another = PyObject_CallMethodObjArgs(window, self->core->str_copy, NULL);
        if (another == NULL)
            return -1;
        self->window = another;
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
    /* What the filter and the detokenizer gave out is theirs until they are called again. */
    if (join(out, (burble_text){"", 0}) < 0 || take_rest_of_copy(self, &rest) < 0)
        return -1;
    int rc = rest.text.len > 0 ? join(out, rest.text) : 0;
    Py_CLEAR(rest.keeper);
    self->stopped = true;
    if (rc < 0 || which < 0 || self->has_met)
        return rc;
    Py_ssize_t len;
    PyObject *string = PyTuple_GET_ITEM(self->stop_strings, which);
    const char *bytes = PyUnicode_AsUTF8AndSize(string, &len);
    const uint64_t length = (uint64_t)PyUnicode_GET_LENGTH(string);
    self->met = (struct met){(size_t)which, self->chars, self->chars + length};
    self->has_met = true;
    if (!self->include_stop)
        return 0;
    self->chars += length;
    if (bytes == NULL || join(out, (burble_text){bytes, (size_t)len}) < 0)
        return -1;
    return offsets_trace_token(self, length);
}

/* ---- taking ids ------------------------------------------------------------------------------ */

enum purpose { STREAM, PROMPT, PRIME };

/* What the ids make final. Nothing here is undone on failure; *pushed says whether the ids are taken.
 * 0, or -1 with an exception. */
static int take(DetokenizerObject *self, const struct ids *ids, enum purpose purpose,
                struct kept_text *out, bool *pushed)
{
    const bool over = self->stopped;
    const size_t pending = self->pending.n;
    *out = (struct kept_text){{"", 0}, NULL, false, ids->n};
    *pushed = false;
    if (push_all(self, ids, out) < 0)
        return -1;
    *pushed = true;
    if (self->window == NULL)
        self->taken += ids->n;
    if (offsets_trace(self, out->text, false) < 0)
        goto fail;
    if (over || purpose == PRIME) {
        self->pending.n = pending;
        Py_CLEAR(out->keeper);
        *out = (struct kept_text){{"", 0}, NULL, false, 0};
        return 0;
    }
    self->has_met = false;
    if (self->stop != NULL && purpose == STREAM) {
        const int met = filter(self, out);
        if (met < 0)
            return -1;
        self->stopped = met > 0;
    }
    if (purpose == STREAM && ids->n == 1 && !self->stopped) {
        const struct ender *ender = ender_of(self, ids->data[0]);
        if (ender != NULL && end_text(self, ender->which, out) < 0)
            goto fail;
    }
    if (offsets_hand_out(self, out->text) < 0)
        goto fail;
    if (self->stopped)
        self->pending.n = 0;
    return 0;

fail:
    Py_CLEAR(out->keeper);
    return -1;
}

/* The same for one id, with a place to go back to where that is wanted. It is taken or it is not. */
static int take_one(DetokenizerObject *self, int32_t id, enum purpose purpose,
                    struct kept_text *out)
{
    struct ids one = {.n = 1};
    bool pushed;
    one.few[0] = id;
    one.data = one.few;
    if (self->rewind > 0 && places_remember(self) < 0)
        return -1;
    if (take(self, &one, purpose, out, &pushed) == 0)
        return 0;
    if (self->rewind > 0) {
        if (pushed && self->detok != NULL)
            burble_detok_rewind(self->detok, 1, NULL);
        places_go_back(self, 1);
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
    for (; *taken < ids->n && !(self->stopped && self->rewind == 0); ++*taken) {
        struct kept_text kept;
        if (take_one(self, ids->data[*taken], purpose, &kept) < 0)
            goto done;
        counted += kept.ids;
        PyObject *text = as_str(&kept);
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
    const bool copied = ids->n > self->rewind;
    struct place before;
    burble_detok *detok = NULL;
    size_t taken;
    if (copied && self->detok != NULL && burble_detok_copy(self->detok, &detok) != BURBLE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    if (copied && place_save(self, &before) < 0) {
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
            places_forget(self);
            place_restore(self, &before);
        } else if (taken > 0) {
            if (self->detok != NULL)
                burble_detok_rewind(self->detok, taken, NULL);
            places_go_back(self, taken);
        }
        self->spans.n = 0;
        PyErr_Restore(type, value, traceback);
    } else if (copied) {
        place_clear(&before);
    }
    burble_detok_destroy(&detok);
    return rc;
}

static int take_ids(DetokenizerObject *self, const struct ids *ids, enum purpose purpose,
                    struct kept_text *out)
{
    const bool ends = purpose == STREAM && (self->stop != NULL || self->n_enders > 0);
    bool pushed;
    *out = (struct kept_text){{"", 0}, NULL, false, 0};
    self->spans.n = 0;
    if (self->rewind > 0 || (self->offsets && self->window != NULL) || (ends && ids->n > 1)) {
        if (ids->n == 1)
            return take_one(self, ids->data[0], purpose, out);
        return take_all_or_none(self, ids, purpose, out);
    }
    return self->stopped ? 0 : take(self, ids, purpose, out, &pushed);
}

int detokenizer_push(DetokenizerObject *self, const struct ids *ids, bool prompt,
                     struct kept_text *out)
{
    return take_ids(self, ids, prompt ? PROMPT : STREAM, out);
}

int detokenizer_push_text(DetokenizerObject *self, burble_text text, struct kept_text *out)
{
    *out = (struct kept_text){{"", 0}, NULL, false, 0};
    if (self->stopped)
        return 0;
    out->text = text;
    self->has_met = false;
    if (self->stop == NULL)
        return 0;
    const int met = filter(self, out);
    self->stopped = met > 0;
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
    places_forget(self);
    self->stopped = false;
    self->chars = 0;
    self->handed = 0;
    self->taken = 0;
    self->waits = false;
    self->pending.n = 0;
}

int detokenizer_finish(DetokenizerObject *self, struct kept_text *out)
{
    *out = (struct kept_text){{"", 0}, NULL, false, 0};
    self->spans.n = 0;
    if (self->stopped) {
        begin_sequence(self);
        return reset_all(self);
    }
    self->has_met = false;
    if (finish_all(self, out) < 0)
        return -1;
    int rc = settle_rest(self, out);
    if (rc == 0)
        rc = offsets_hand_out(self, out->text);
    if (rc < 0)
        Py_CLEAR(out->keeper);
    begin_sequence(self);
    return rc;
}

int detokenizer_reset(DetokenizerObject *self)
{
    begin_sequence(self);
    self->has_met = false;
    self->spans.n = 0;
    return reset_all(self);
}

int detokenizer_holds(DetokenizerObject *self)
{
    if (self->stop != NULL && burble_stop_has_pending(self->stop))
        return 1;
    if (self->window != NULL)
        return detokenizer_window_holds(self);
    return self->detok != NULL && burble_detok_has_pending(self->detok);
}

PyObject *detokenizer_match(DetokenizerObject *self)
{
    if (!self->has_met)
        Py_RETURN_NONE;
    return Py_BuildValue("nOKK", (Py_ssize_t)self->met.which,
                         PyTuple_GET_ITEM(self->stop_strings, (Py_ssize_t)self->met.which),
                         (unsigned long long)self->met.begin, (unsigned long long)self->met.end);
}

/* Makes the stop filter of a tuple of str, which may be empty. 0, or -1 with an exception. */
static int set_stop_strings(DetokenizerObject *self, PyObject *strings)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(strings);
    if (n == 0)
        return 0;
    burble_text *texts = PyMem_New(burble_text, (size_t)n);
    if (texts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int rc = 0;
    for (Py_ssize_t i = 0; i < n && rc == 0; i++) {
        PyObject *string = PyTuple_GET_ITEM(strings, i);
        Py_ssize_t len;
        if (!PyUnicode_Check(string)) {
            PyErr_Format(PyExc_TypeError, "stop string %zd of %zd: expected a str, found %.100s",
                         i + 1, n, Py_TYPE(string)->tp_name);
            rc = -1;
        } else if ((texts[i].bytes = PyUnicode_AsUTF8AndSize(string, &len)) == NULL) {
            rc = -1;
        } else {
            texts[i].len = (size_t)len;
        }
    }
    if (rc == 0) {
        burble_error error;
        rc = burble_stop_create(texts, (size_t)n, self->include_stop, &self->stop, &error);
        if (rc == BURBLE_EINVAL)
            PyErr_SetString(PyExc_ValueError, error.message);
        else if (rc != BURBLE_OK)
            core_raise(self->core, rc);
        else
            self->stop_strings = Py_NewRef(strings);
    }
    PyMem_Free(texts);
    return rc == 0 ? 0 : -1;
}

/* Takes a tuple of (id, which), as struct ender has them; of several for an id, the first. 0, or -1 with
 * an exception. */
static int set_enders(DetokenizerObject *self, PyObject *pairs)
{
    const Py_ssize_t n = PyTuple_GET_SIZE(pairs);
    if (n == 0)
        return 0;
    struct ender *enders = PyMem_New(struct ender, (size_t)n);
    if (enders == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    const Py_ssize_t strings =
        self->stop_strings == NULL ? 0 : PyTuple_GET_SIZE(self->stop_strings);
    for (Py_ssize_t i = 0; i < n; i++) {
        int id;
        Py_ssize_t which;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(pairs, i), "in:enders", &id, &which)) {
            PyMem_Free(enders);
            return -1;
        }
        if (which < -1 || which >= strings) {
            PyMem_Free(enders);
            PyErr_Format(PyExc_ValueError, "enders: there is no stop string %zd", which);
            return -1;
        }
        enders[i] = (struct ender){id, which, i};
    }
    qsort(enders, (size_t)n, sizeof *enders, compare_enders);
    size_t kept = 1;
    for (Py_ssize_t i = 1; i < n; i++)
        if (enders[i].id != enders[kept - 1].id)
            enders[kept++] = enders[i];
    self->enders = enders;
    self->n_enders = kept;
    return 0;
}

/* ---- one call at a time -------------------------------------------------------------------- */

static bool ready(DetokenizerObject *self)
{
    if (self->detok != NULL || self->window != NULL || self->text_alone)
        return true;
    PyErr_SetString(PyExc_RuntimeError, "Detokenizer.__init__ was not called");
    return false;
}

/* Whether the detokenizer may be changed now; then end_call. */
static bool begin_call(DetokenizerObject *self)
{
    if (is_under_way(&self->busy)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a Detokenizer takes one call at a time; this one is in the midst of one");
        return false;
    }
    if (self->owned) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "this Detokenizer belongs to a streamer or a writer, which alone changes it");
        return false;
    }
    if (!ready(self))
        return false;
    set_under_way(&self->busy, true);
    return true;
}

static void end_call(DetokenizerObject *self)
{
    set_under_way(&self->busy, false);
}

int detokenizer_own(DetokenizerObject *self)
{
    if (!begin_call(self))
        return -1;
    self->owned = true;
    end_call(self);
    return 0;
}

void detokenizer_release(DetokenizerObject *self)
{
    self->owned = false;
}

/* ---- copies -------------------------------------------------------------------------------- */

/* One of the same type and settings; its sequence is the other one's in the vocabulary's detokenizer
 * and the stop filter, and to be copied or begun. Nobody but the caller can use it, since it is busy.
 * NULL with an exception. */
static DetokenizerObject *copy_settings(DetokenizerObject *from)
{
    PyTypeObject *type = Py_TYPE(from);
    DetokenizerObject *to = (DetokenizerObject *)type->tp_alloc(type, 0);
    if (to == NULL)
        return NULL;
    to->core = from->core;
    set_under_way(&to->busy, true);
    to->include_stop = from->include_stop;
    to->offsets = from->offsets;
    to->text_alone = from->text_alone;
    to->stop_strings = Py_XNewRef(from->stop_strings);
    to->vocabulary = (VocabularyObject *)Py_XNewRef((PyObject *)from->vocabulary);
    int rc = BURBLE_OK;
    if (from->stop != NULL)
        rc = burble_stop_copy(from->stop, &to->stop);
    if (rc == BURBLE_OK && from->detok != NULL)
        rc = burble_detok_copy(from->detok, &to->detok);
    if (rc == BURBLE_OK && from->n_enders > 0) {
        to->enders = PyMem_New(struct ender, from->n_enders);
        rc = to->enders == NULL ? BURBLE_ENOMEM : BURBLE_OK;
    }
    if (rc == BURBLE_OK && from->n_enders > 0) {
        memcpy(to->enders, from->enders, from->n_enders * sizeof *to->enders);
        to->n_enders = from->n_enders;
    }
    if (rc != BURBLE_OK)
        core_raise(from->core, rc);
    if (rc != BURBLE_OK || places_make(to, from->rewind) < 0)
        Py_CLEAR(to);
    return to;
}

/* Makes the sequence of `to`, which has the settings of `from`, the same as that one's. */
static int copy_sequence(DetokenizerObject *from, DetokenizerObject *to)
{
    struct place now;
    if (places_copy(from, to) < 0 || stretches_copy(&from->spans, &to->spans) < 0
        || place_save(from, &now) < 0)
        return -1;
    place_restore(to, &now);
    return 0;
}

DetokenizerObject *detokenizer_another(DetokenizerObject *self)
{
    DetokenizerObject *other = copy_settings(self);
    if (other == NULL)
        return NULL;
    PyObject *window = Py_XNewRef(self->window);
    if (window != NULL)
        other->window = PyObject_CallMethodObjArgs(window, self->core->str_copy, NULL);
    if ((window != NULL && other->window == NULL) || detokenizer_reset(other) < 0)
        Py_CLEAR(other);
    else
        end_call(other);
    Py_XDECREF(window);
    return other;
}

/* ---- the type -------------------------------------------------------------------------------- */

static PyObject *detokenizer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    DetokenizerObject *self = (DetokenizerObject *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->core = core_of(type);
    return (PyObject *)self;
}

/* What initialise has made, where it fails in the end. */
static void forget_settings(DetokenizerObject *self)
{
    burble_stop_destroy(&self->stop);
    PyMem_Free(self->places);
    self->places = NULL;
    self->rewind = 0;
    self->offsets = false;
    PyMem_Free(self->enders);
    self->enders = NULL;
    self->n_enders = 0;
    Py_CLEAR(self->stop_strings);
}

static int set_rewind(DetokenizerObject *self, Py_ssize_t rewind)
{
    if (rewind < 0 || rewind > REWIND_MAX) {
        PyErr_Format(PyExc_ValueError, "rewind: expected from 0 to %d tokens, found %zd",
                     REWIND_MAX, rewind);
        return -1;
    }
    return places_make(self, (size_t)rewind);
}

static int set_source(DetokenizerObject *self, PyObject *source, bool skip_special)
{
    if (source == Py_None) {
        self->text_alone = true;
        return 0;
    }
    if (!PyObject_TypeCheck(source, self->core->vocabulary_type)) {
        self->window = Py_NewRef(source);
        return 0;
    }
    burble_detok_options options;
    burble_detok_options_init(&options);
    options.skip_special = skip_special;
    options.rewind = (uint32_t)self->rewind;
    options.spans = self->offsets;
    VocabularyObject *vocabulary = (VocabularyObject *)source;
    options.clean_up = vocabulary->clean_up;
    const int rc = burble_detok_create(vocabulary->vocab, &options, &self->detok);
    if (rc != BURBLE_OK) {
        core_raise(self->core, rc);
        return -1;
    }
    self->vocabulary = (VocabularyObject *)Py_NewRef(source);
    return 0;
}

static int detokenizer_init(DetokenizerObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "source", "skip_special_tokens", "stop", "include_stop", "rewind", "offsets", "enders",
        NULL};
    PyObject *source, *strings = NULL, *enders = NULL;
    Py_ssize_t rewind = 0;
    int skip = 0, include = 0, offsets = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pO!pnpO!", names, &source, &skip,
                                     &PyTuple_Type, &strings, &include, &rewind, &offsets,
                                     &PyTuple_Type, &enders))
        return -1;
    if (is_under_way(&self->busy) || self->detok != NULL || self->window != NULL
        || self->text_alone) {
        PyErr_SetString(PyExc_RuntimeError, "a Detokenizer is initialised once");
        return -1;
    }
    set_under_way(&self->busy, true);
    self->include_stop = include != 0;
    self->offsets = offsets != 0;
    int rc = set_rewind(self, rewind);
    if (rc == 0 && strings != NULL)
        rc = set_stop_strings(self, strings);
    if (rc == 0 && enders != NULL)
        rc = set_enders(self, enders);
    if (rc == 0)
        rc = set_source(self, source, skip != 0);
    if (rc < 0)
        forget_settings(self);
    end_call(self);
    return rc;
}

static PyObject *detokenizer_push_method(DetokenizerObject *self, PyObject *value)
{
    struct ids ids;
    struct kept_text kept;
    if (ids_read(self->core, value, &ids) < 0)
        return NULL;
    PyObject *text = NULL;
    if (begin_call(self)) {
        if (detokenizer_push(self, &ids, false, &kept) == 0)
            text = as_str(&kept);
        end_call(self);
    }
    ids_clear(&ids);
    return text;
}

static PyObject *detokenizer_finish_method(DetokenizerObject *self, PyObject *unused)
{
    (void)unused;
    struct kept_text kept;
    if (!begin_call(self))
        return NULL;
    PyObject *text = detokenizer_finish(self, &kept) < 0 ? NULL : as_str(&kept);
    end_call(self);
    return text;
}

static PyObject *detokenizer_prime_method(DetokenizerObject *self, PyObject *value)
{
    struct ids ids;
    if (ids_read(self->core, value, &ids) < 0)
        return NULL;
    int rc = -1;
    if (begin_call(self)) {
        rc = detokenizer_prime(self, &ids);
        end_call(self);
    }
    ids_clear(&ids);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *detokenizer_rewind_method(DetokenizerObject *self, PyObject *count)
{
    if (!begin_call(self))
        return NULL;
    const int64_t chars = places_go_back_by(self, count);
    end_call(self);
    return chars < 0 ? NULL : PyLong_FromLongLong(chars);
}

static PyObject *detokenizer_copy_method(DetokenizerObject *self, PyObject *unused)
{
    (void)unused;
    if (!begin_call(self))
        return NULL;
    DetokenizerObject *copy = copy_settings(self);
    if (copy != NULL && copy_sequence(self, copy) < 0)
        Py_CLEAR(copy);
    end_call(self);
    if (copy != NULL)
        end_call(copy);
    return (PyObject *)copy;
}

static PyObject *detokenizer_path(DetokenizerObject *self, void *unused)
{
    (void)unused;
    if (!ready(self))
        return NULL;
    if (self->text_alone)
        Py_RETURN_NONE;
    return PyUnicode_FromString(self->window == NULL ? "compiled" : "windowed");
}

static PyObject *detokenizer_get_match(DetokenizerObject *self, void *unused)
{
    (void)unused;
    return detokenizer_match(self);
}

static int detokenizer_traverse(DetokenizerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->vocabulary);
    Py_VISIT(self->window);
    Py_VISIT(self->stop_strings);
    for (size_t i = 0; i < self->n_places; i++)
        Py_VISIT(places_at(self, i + 1)->window);
    return 0;
}

static int detokenizer_clear(DetokenizerObject *self)
{
    places_forget(self);
    Py_CLEAR(self->window);
    return 0;
}

static void detokenizer_dealloc(DetokenizerObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    detokenizer_clear(self);
    burble_detok_destroy(&self->detok);
    burble_stop_destroy(&self->stop);
    PyMem_Free(self->enders);
    PyMem_Free(self->places);
    PyMem_Free(self->spans.at);
    PyMem_Free(self->pending.at);
    Py_CLEAR(self->stop_strings);
    Py_CLEAR(self->vocabulary);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(push_doc,
             "push($self, ids, /)\n--\n\n"
             "Take the next token ids and return the text that has become final (may be '').\n\n"
             "ids: an int, a list of ints, or a NumPy array or tensor of shape [n] or [1, n].\n"
             "An id beyond the vocabulary decodes as the tokenizer decodes it. A negative one\n"
             "raises ValueError, and none of the ids is taken. After a stop string was met, '' is\n"
             "all that comes, until finish().\n\n"
             "After a MemoryError text may be missing: begin another sequence, by finish().");

PyDoc_STRVAR(finish_doc,
             "finish($self, /)\n--\n\n"
             "End the sequence and return what was held back: an incomplete character becomes\n"
             "U+FFFD. The detokenizer is then at the beginning of a new sequence. (A stop string\n"
             "that was met can still be asked for, until that begins.)");

PyDoc_STRVAR(
    prime_doc,
    "prime($self, ids, /)\n--\n\n"
    "Begin in the middle: take ids that come before those to be streamed, such as the\n"
    "last of a prompt (some 8 of them decide how the text goes on). Nothing is handed out\n"
    "for them, and no stop string is looked for. A character that they leave incomplete\n"
    "is completed by the ids that follow, and handed out then.");

PyDoc_STRVAR(
    rewind_doc,
    "rewind($self, n, /)\n--\n\n"
    "Go back by the last n ids that were pushed or primed, as if they never had been, and\n"
    "return how many characters of the text that was handed out are thereby taken back.\n"
    "Ids that came after a stop string count, too. Raises ValueError, and does nothing,\n"
    "for more of them than are remembered: of this sequence, the last `rewind` ones before the\n"
    "furthest that was reached. So several calls without ids in between add up to at most\n"
    "`rewind`, and each id that is pushed after them makes one more.");

PyDoc_STRVAR(copy_doc,
             "copy($self, /)\n--\n\n"
             "A detokenizer of the same class and in the same state, independent from now on.");

static PyMethodDef detokenizer_methods[] = {
    {"push", (PyCFunction)detokenizer_push_method, METH_O, push_doc},
    {"finish", (PyCFunction)detokenizer_finish_method, METH_NOARGS, finish_doc},
    {"prime", (PyCFunction)detokenizer_prime_method, METH_O, prime_doc},
    {"rewind", (PyCFunction)detokenizer_rewind_method, METH_O, rewind_doc},
    {"copy", (PyCFunction)detokenizer_copy_method, METH_NOARGS, copy_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef detokenizer_getset[] = {
    {"path", (getter)detokenizer_path, NULL,
     "'compiled' where the tokenizer's rule runs in C; 'windowed' where text comes from the\n"
     "tokenizer's own decode over a short window of ids.",
     NULL},
    {"_match", (getter)detokenizer_get_match, NULL, NULL, NULL},
    {"_offsets", (getter)offsets_get, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(
    detokenizer_doc,
    "Detokenizer(source, skip_special_tokens=False, stop=(), include_stop=False,\n"
    "            rewind=0, offsets=False, enders=())\n--\n\n"
    "Token ids in, text out, for one sequence. source: a Vocabulary, a window, or None: text\n"
    "alone, with which a writer is given text. enders: (id, which) of each token with which\n"
    "the text ends: which stop string it stands for, or -1 for an end of sequence.");

static PyType_Slot detokenizer_slots[] = {
    {Py_tp_doc, (void *)detokenizer_doc},
    {Py_tp_new, detokenizer_new},
    {Py_tp_init, detokenizer_init},
    {Py_tp_traverse, detokenizer_traverse},
    {Py_tp_clear, detokenizer_clear},
    {Py_tp_dealloc, detokenizer_dealloc},
    {Py_tp_methods, detokenizer_methods},
    {Py_tp_getset, detokenizer_getset},
    {0, NULL},
};

PyType_Spec detokenizer_spec = {
    .name = "burble._core.Detokenizer",
    .basicsize = sizeof(DetokenizerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = detokenizer_slots,
};
