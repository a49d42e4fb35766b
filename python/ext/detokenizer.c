/* SPDX-License-Identifier: MIT
 *
 * _core.Detokenizer: ids in, text out, for one sequence.
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
    *out = (struct kept_text){{bytes, (size_t)len}, text};
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

int detokenizer_push(DetokenizerObject *self, const struct ids *ids, struct kept_text *out)
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

int detokenizer_finish(DetokenizerObject *self, struct kept_text *out)
{
    if (self->window != NULL)
        return keep(PyObject_CallMethodObjArgs(self->window, self->core->str_finish, NULL), out);
    out->keeper = NULL;
    burble_detok_finish(self->detok, &out->text);
    return 0;
}

int detokenizer_reset(DetokenizerObject *self)
{
    if (self->window != NULL) {
        PyObject *none = PyObject_CallMethodObjArgs(self->window, self->core->str_reset, NULL);
        Py_XDECREF(none);
        return none == NULL ? -1 : 0;
    }
    burble_detok_reset(self->detok);
    return 0;
}

int detokenizer_holds(DetokenizerObject *self)
{
    if (self->window == NULL)
        return burble_detok_holds(self->detok);
    PyObject *holds = PyObject_GetAttr(self->window, self->core->str_holds);
    if (holds == NULL)
        return -1;
    const int truth = PyObject_IsTrue(holds);
    Py_DECREF(holds);
    return truth;
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
    static char *names[] = {"source", "skip_special_tokens", NULL};
    PyObject *source;
    int skip = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p", names, &source, &skip))
        return -1;
    if (self->detok != NULL || self->window != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a Detokenizer is initialised once");
        return -1;
    }
    if (!PyObject_TypeCheck(source, self->core->vocabulary_type)) {
        self->window = Py_NewRef(source);
        return 0;
    }
    burble_detok_options options;
    burble_detok_options_init(&options);
    options.skip_special = skip != 0;
    VocabularyObject *vocabulary = (VocabularyObject *)source;
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
    if (kept->keeper != NULL)
        return kept->keeper; /* the reference passes on */
    return PyUnicode_DecodeUTF8(kept->text.bytes, (Py_ssize_t)kept->text.len, NULL);
}

static PyObject *detokenizer_push_method(DetokenizerObject *self, PyObject *value)
{
    struct ids ids;
    struct kept_text kept;
    if (!ready(self) || ids_read(self->core, value, &ids) < 0)
        return NULL;
    const int rc = detokenizer_push(self, &ids, &kept);
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

static int detokenizer_traverse(DetokenizerObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->vocabulary);
    Py_VISIT(self->window);
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
    Py_CLEAR(self->vocabulary);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(push_doc,
             "push($self, ids, /)\n--\n\n"
             "Take the next token ids and return the text that has become final (may be '').\n\n"
             "ids: an int, a list of ints, or a NumPy array or tensor of shape [n] or [1, n].\n"
             "An id beyond the vocabulary decodes as the tokenizer decodes it. A negative one\n"
             "raises ValueError, and none of the ids is taken.");

PyDoc_STRVAR(finish_doc,
             "finish($self, /)\n--\n\n"
             "End the sequence and return what was held back: an incomplete character becomes\n"
             "U+FFFD. The detokenizer is then at the beginning of a new sequence.");

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
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(detokenizer_doc,
             "Detokenizer(source, skip_special_tokens=False)\n--\n\n"
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
