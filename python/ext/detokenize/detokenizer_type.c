/* SPDX-License-Identifier: MIT
 *
 * _core.Detokenizer: the type, with what it is made of.
 */
#include "detokenize/detokenizer.h"

/* ---- settings -------------------------------------------------------------------------------- */

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

/* Frees what initialise has made, if it fails in the end. */
static void forget_settings(DetokenizerObject *self)
{
    burble_stop_destroy(&self->stop);
    snapshots_finish(&self->snapshots);
    self->offsets.on = false;
    enders_finish(&self->enders);
    Py_CLEAR(self->stop_strings);
}

static int set_rewind(DetokenizerObject *self, Py_ssize_t rewind)
{
    if (rewind < 0 || rewind > REWIND_MAX) {
        PyErr_Format(PyExc_ValueError, "rewind: expected from 0 to %d tokens, found %zd",
                     REWIND_MAX, rewind);
        return -1;
    }
    return snapshots_init(&self->snapshots, (size_t)rewind);
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
    options.rewind = (uint32_t)self->snapshots.room;
    options.spans = self->offsets.on;
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
        PyErr_SetString(PyExc_RuntimeError, "a Detokenizer can be initialised only once");
        return -1;
    }
    set_under_way(&self->busy, true);
    self->include_stop = include != 0;
    self->offsets.on = offsets != 0;
    int rc = set_rewind(self, rewind);
    if (rc == 0 && strings != NULL)
        rc = set_stop_strings(self, strings);
    if (rc == 0 && enders != NULL)
        rc = enders_init(&self->enders, enders,
                         self->stop_strings == NULL ? 0 : PyTuple_GET_SIZE(self->stop_strings));
    if (rc == 0)
        rc = set_source(self, source, skip != 0);
    if (rc < 0)
        forget_settings(self);
    detokenizer_end_call(self);
    return rc;
}

static PyObject *detokenizer_push_method(DetokenizerObject *self, PyObject *value)
{
    struct ids ids;
    struct kept_text kept;
    if (ids_read(self->core, value, &ids) < 0)
        return NULL;
    PyObject *text = NULL;
    if (detokenizer_begin_call(self)) {
        if (detokenizer_push(self, &ids, false, &kept) == 0)
            text = kept_text_as_str(&kept);
        detokenizer_end_call(self);
    }
    ids_clear(&ids);
    return text;
}

static PyObject *detokenizer_finish_method(DetokenizerObject *self, PyObject *unused)
{
    (void)unused;
    struct kept_text kept;
    if (!detokenizer_begin_call(self))
        return NULL;
    PyObject *text = detokenizer_finish(self, &kept) < 0 ? NULL : kept_text_as_str(&kept);
    detokenizer_end_call(self);
    return text;
}

static PyObject *detokenizer_prime_method(DetokenizerObject *self, PyObject *value)
{
    struct ids ids;
    if (ids_read(self->core, value, &ids) < 0)
        return NULL;
    int rc = -1;
    if (detokenizer_begin_call(self)) {
        rc = detokenizer_prime(self, &ids);
        detokenizer_end_call(self);
    }
    ids_clear(&ids);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *detokenizer_rewind_method(DetokenizerObject *self, PyObject *count)
{
    if (!detokenizer_begin_call(self))
        return NULL;
    const int64_t chars = detokenizer_rewind(self, count);
    detokenizer_end_call(self);
    return chars < 0 ? NULL : PyLong_FromLongLong(chars);
}

static PyObject *detokenizer_copy_method(DetokenizerObject *self, PyObject *unused)
{
    (void)unused;
    if (!detokenizer_begin_call(self))
        return NULL;
    DetokenizerObject *copy = detokenizer_copy(self);
    detokenizer_end_call(self);
    return (PyObject *)copy;
}

static PyObject *detokenizer_path(DetokenizerObject *self, void *unused)
{
    (void)unused;
    if (!detokenizer_is_ready(self))
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

static PyObject *detokenizer_get_offsets(DetokenizerObject *self, void *unused)
{
    (void)unused;
    if (!self->offsets.on) {
        PyErr_SetString(PyExc_RuntimeError,
                        "offsets: expected a Detokenizer made with offsets=True");
        return NULL;
    }
    return offsets_list(&self->offsets);
}

static int detokenizer_traverse(DetokenizerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->vocabulary);
    Py_VISIT(self->window);
    Py_VISIT(self->stop_strings);
    return snapshots_traverse(&self->snapshots, visit, arg);
}

static int detokenizer_clear(DetokenizerObject *self)
{
    snapshots_forget(&self->snapshots);
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
    enders_finish(&self->enders);
    snapshots_finish(&self->snapshots);
    offsets_finish(&self->offsets);
    Py_CLEAR(self->stop_strings);
    Py_CLEAR(self->vocabulary);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(push_doc,
             "push($self, ids, /)\n--\n\n"
             "Take the next token ids and return the text that has become final (may be '').\n\n"
             "ids: an int, a list of ints, or a NumPy array or tensor of shape [n] or [1, n].\n"
             "An id beyond the vocabulary decodes as the tokenizer decodes it. A negative id\n"
             "raises ValueError, and none of the ids is taken. After a stop string, push()\n"
             "returns '' until finish().\n\n"
             "After a MemoryError, text may be missing: call finish() to begin a new sequence.");

PyDoc_STRVAR(finish_doc,
             "finish($self, /)\n--\n\n"
             "End the sequence and return the text that was held back: an incomplete character\n"
             "becomes U+FFFD. The detokenizer is then at the beginning of a new sequence.\n"
             "(`stopped` stays until the first push() of that sequence.)");

PyDoc_STRVAR(
    prime_doc,
    "prime($self, ids, /)\n--\n\n"
    "Begin in the middle of a sequence: take the ids that precede the ones to be\n"
    "streamed, such as the last ids of a prompt (about 8 suffice). No text is returned for\n"
    "them, and no stop string is looked for. If they end within a character, the ids that\n"
    "follow complete it, and its text is returned then.");

PyDoc_STRVAR(
    rewind_doc,
    "rewind($self, n, /)\n--\n\n"
    "Undo the last n ids that were pushed or primed, and return how many characters of the\n"
    "returned text are thereby taken back. Ids after a stop string count, too. The\n"
    "detokenizer remembers the last `rewind` states of this sequence. A call uses up n of\n"
    "them, and each id that is pushed later adds one: several calls without ids between\n"
    "them can go back by at most `rewind` ids in total. Raises ValueError, and changes\n"
    "nothing, if n is above the number of remembered states.");

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
    {"_offsets", (getter)detokenizer_get_offsets, NULL, NULL, NULL},
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
