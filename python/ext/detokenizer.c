/* SPDX-License-Identifier: MIT
 *
 * _core.Detokenizer: ids in, text out, for one sequence, up to a stop string.
 */
#include "detokenizer.h"

static int keep(PyObject *text, struct kept_text *out)
{
    Py_ssize_t len;
    if (text == NULL)
        return -1;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "a window gives text as str, found %.100s",
                     Py_TYPE(text)->tp_name);
        Py_DECREF(text);
        return -1;
    }
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &len);
    if (bytes == NULL) {
        Py_DECREF(text);
        return -1;
    }
    *out = (struct kept_text){{bytes, (size_t)len}, text, true};
    return 0;
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

/* Before the stop strings. */
static int push_all(DetokenizerObject *self, const struct ids *ids, struct kept_text *out)
{
    if (self->window != NULL)
        return push_windowed(self, ids, out);
    out->keeper = NULL;
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
    burble_detok_reset(self->detok);
    return 0;
}

/* ---- stop strings ---------------------------------------------------------------------------- */

static uint64_t count_characters(burble_text text)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.bytes[i] & 0xC0) != 0x80;
    return n;
}

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
    self->chars += count_characters(out);
    if (rc == BURBLE_OK)
        return 0;
    const size_t length = stop_string_length(self, match.which);
    const uint64_t begin = self->include_stop ? self->chars - length : self->chars;
    self->met = (struct met){match.which, begin, begin + length};
    self->has_met = true;
    return 1;
}

int detokenizer_push(DetokenizerObject *self, const struct ids *ids, bool prompt,
                     struct kept_text *out)
{
    *out = (struct kept_text){{"", 0}, NULL, false};
    if (self->stopped)
        return 0;
    self->has_met = false;
    if (push_all(self, ids, out) < 0)
        return -1;
    if (self->stop == NULL || prompt)
        return 0;
    const int met = filter(self, out);
    self->stopped = met > 0;
    return met < 0 ? -1 : 0;
}

/* The next sequence begins; what was met in the last one is still to be asked for. */
static void begin_filter(DetokenizerObject *self)
{
    if (self->stop != NULL)
        burble_stop_reset(self->stop);
    self->stopped = false;
    self->chars = 0;
}

/* Makes the text a str of its own, with `more` behind it. 0, or -1 with an exception. */
static int join(struct kept_text *kept, burble_text more)
{
    PyObject *text = PyUnicode_DecodeUTF8(kept->text.bytes, (Py_ssize_t)kept->text.len, NULL);
    PyObject *rest = PyUnicode_DecodeUTF8(more.bytes, (Py_ssize_t)more.len, NULL);
    PyObject *both = text == NULL || rest == NULL ? NULL : PyUnicode_Concat(text, rest);
    Py_XDECREF(text);
    Py_XDECREF(rest);
    Py_CLEAR(kept->keeper);
    return both == NULL ? -1 : keep(both, kept);
}

int detokenizer_finish(DetokenizerObject *self, struct kept_text *out)
{
    *out = (struct kept_text){{"", 0}, NULL, false};
    if (self->stopped) {
        begin_filter(self);
        return reset_all(self);
    }
    self->has_met = false;
    if (finish_all(self, out) < 0)
        return -1;
    if (self->stop == NULL)
        return 0;
    int rc = filter(self, out);
    if (rc >= 0) {
        /* What the filter gave out is its own until it is called again. */
        rc = join(out, (burble_text){"", 0});
        burble_text rest;
        burble_stop_finish(self->stop, &rest);
        if (rc == 0 && rest.len > 0)
            rc = join(out, rest);
    }
    begin_filter(self);
    return rc;
}

int detokenizer_reset(DetokenizerObject *self)
{
    begin_filter(self);
    self->has_met = false;
    return reset_all(self);
}

int detokenizer_holds(DetokenizerObject *self)
{
    if (self->stop != NULL && burble_stop_holds(self->stop))
        return 1;
    if (self->window == NULL)
        return burble_detok_holds(self->detok);
    PyObject *holds = PyObject_GetAttr(self->window, self->core->str_holds);
    if (holds == NULL)
        return -1;
    const int truth = PyObject_IsTrue(holds);
    Py_DECREF(holds);
    return truth;
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

static int detokenizer_init(DetokenizerObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"source", "skip_special_tokens", "stop", "include_stop", NULL};
    PyObject *source, *strings = NULL;
    int skip = 0, include = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|pO!p", names, &source, &skip, &PyTuple_Type,
                                     &strings, &include))
        return -1;
    if (self->detok != NULL || self->window != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a Detokenizer is initialised once");
        return -1;
    }
    self->include_stop = include != 0;
    if (self->stop == NULL && strings != NULL && set_stop_strings(self, strings) < 0)
        return -1;
    if (!PyObject_TypeCheck(source, self->core->vocabulary_type)) {
        self->window = Py_NewRef(source);
        return 0;
    }
    burble_detok_options options;
    burble_detok_options_init(&options);
    options.skip_special = skip != 0;
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

static bool ready(DetokenizerObject *self)
{
    if (self->detok != NULL || self->window != NULL)
        return true;
    PyErr_SetString(PyExc_RuntimeError, "Detokenizer.__init__ was not called");
    return false;
}

static PyObject *as_str(struct kept_text *kept)
{
    if (kept->keeper != NULL && kept->whole)
        return kept->keeper; /* the reference passes on */
    PyObject *text = PyUnicode_DecodeUTF8(kept->text.bytes, (Py_ssize_t)kept->text.len, NULL);
    Py_XDECREF(kept->keeper);
    return text;
}

static PyObject *detokenizer_push_method(DetokenizerObject *self, PyObject *value)
{
    struct ids ids;
    struct kept_text kept;
    if (!ready(self) || ids_read(self->core, value, &ids) < 0)
        return NULL;
    const int rc = detokenizer_push(self, &ids, false, &kept);
    ids_clear(&ids);
    return rc < 0 ? NULL : as_str(&kept);
}

static PyObject *detokenizer_finish_method(DetokenizerObject *self, PyObject *unused)
{
    (void)unused;
    struct kept_text kept;
    if (!ready(self) || detokenizer_finish(self, &kept) < 0)
        return NULL;
    return as_str(&kept);
}

static PyObject *detokenizer_path(DetokenizerObject *self, void *unused)
{
    (void)unused;
    if (!ready(self))
        return NULL;
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
    return 0;
}

static int detokenizer_clear(DetokenizerObject *self)
{
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
             "all that comes, until finish().");

PyDoc_STRVAR(finish_doc,
             "finish($self, /)\n--\n\n"
             "End the sequence and return what was held back: an incomplete character becomes\n"
             "U+FFFD. The detokenizer is then at the beginning of a new sequence. (A stop string\n"
             "that was met can still be asked for, until that begins.)");

static PyMethodDef detokenizer_methods[] = {
    {"push", (PyCFunction)detokenizer_push_method, METH_O, push_doc},
    {"finish", (PyCFunction)detokenizer_finish_method, METH_NOARGS, finish_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef detokenizer_getset[] = {
    {"path", (getter)detokenizer_path, NULL,
     "'compiled' where the tokenizer's rule runs in C; 'windowed' where text comes from the\n"
     "tokenizer's own decode over a short window of ids.",
     NULL},
    {"_match", (getter)detokenizer_get_match, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(detokenizer_doc,
             "Detokenizer(source, skip_special_tokens=False, stop=(), include_stop=False)\n--\n\n"
             "Token ids in, text out, for one sequence. source: a Vocabulary, or a window.");

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
