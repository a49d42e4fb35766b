/* SPDX-License-Identifier: MIT
 *
 * _core.Vocabulary: an immutable burble_vocab, made from what a tokenizer says of itself.
 */
#include "vocabulary.h"

static int read_token(PyObject *text, burble_token *token)
{
    Py_ssize_t len;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &len);
    if (bytes == NULL)
        return -1;
    if (len > (Py_ssize_t)BURBLE_VOCAB_MAX_TOKEN) {
        PyErr_Format(PyExc_ValueError, "a token may have up to %u bytes, found one of %zd",
                     BURBLE_VOCAB_MAX_TOKEN, len);
        return -1;
    }
    *token = (burble_token){bytes, (uint32_t)len, 0};
    return 0;
}

/* The id in a mapping of the tokenizer's: below BURBLE_VOCAB_MAX_IDS, or -1 with an exception. */
static Py_ssize_t read_id(PyObject *object)
{
    const Py_ssize_t id = PyLong_AsSsize_t(object);
    if (id == -1 && PyErr_Occurred())
        return -1;
    if (id < 0 || id >= (Py_ssize_t)BURBLE_VOCAB_MAX_IDS) {
        PyErr_Format(PyExc_ValueError, "a token id must be from 0 to %u, found %zd",
                     BURBLE_VOCAB_MAX_IDS - 1, id);
        return -1;
    }
    return id;
}

/* All the tokens, with id i at [i]; the texts belong to the keys of `tokens` and to `added`. */
static burble_token *read_tokens(PyObject *tokens, PyObject *added, PyObject *special, size_t *n)
{
    Py_ssize_t at = 0, largest = -1;
    PyObject *key, *value;
    while (PyDict_Next(tokens, &at, &key, &value)) {
        const Py_ssize_t id = read_id(value);
        if (id < 0)
            return NULL;
        largest = id > largest ? id : largest;
    }
    for (at = 0; PyDict_Next(added, &at, &key, &value);) {
        const Py_ssize_t id = read_id(key);
        if (id < 0)
            return NULL;
        largest = id > largest ? id : largest;
    }

    *n = (size_t)(largest + 1);
    burble_token *table = PyMem_New(burble_token, *n == 0 ? 1 : *n);
    if (table == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < *n; i++)
        table[i] = (burble_token){NULL, 0, BURBLE_TOKEN_ABSENT};
    for (at = 0; PyDict_Next(tokens, &at, &key, &value);)
        if (read_token(key, &table[PyLong_AsSsize_t(value)]) < 0)
            goto fail;
    for (at = 0; PyDict_Next(added, &at, &key, &value);)
        if (read_token(value, &table[PyLong_AsSsize_t(key)]) < 0)
            goto fail;

    PyObject *iterator = PyObject_GetIter(special);
    if (iterator == NULL)
        goto fail;
    PyObject *item;
    while ((item = PyIter_Next(iterator)) != NULL) {
        const Py_ssize_t id = read_id(item);
        Py_DECREF(item);
        if (id >= 0 && (size_t)id < *n)
            table[id].flags |= BURBLE_TOKEN_SPECIAL;
        else if (id >= 0)
            PyErr_Format(PyExc_ValueError, "the special token %zd is not in the vocabulary", id);
        if (PyErr_Occurred())
            break;
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred())
        goto fail;
    return table;

fail:
    PyMem_Free(table);
    return NULL;
}

static PyObject *vocabulary_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"decoder", "tokens", "added", "special", "strip_left", NULL};
    const char *decoder;
    PyObject *tokens, *added, *special;
    unsigned int strip_left = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO!O!O|I", names, &decoder, &PyDict_Type,
                                     &tokens, &PyDict_Type, &added, &special, &strip_left))
        return NULL;

    burble_vocab_options options;
    burble_vocab_options_init(&options);
    options.strip_left = strip_left;
    if (strcmp(decoder, "byte_level") == 0) {
        options.decoder = BURBLE_DECODER_BYTE_LEVEL;
    } else if (strcmp(decoder, "byte_fallback") == 0) {
        options.decoder = BURBLE_DECODER_BYTE_FALLBACK;
    } else {
        PyErr_Format(PyExc_ValueError,
                     "decoder: expected 'byte_level' or 'byte_fallback', found '%s'", decoder);
        return NULL;
    }

    size_t n, where = 0;
    burble_token *table = read_tokens(tokens, added, special, &n);
    if (table == NULL)
        return NULL;
    burble_vocab *vocab;
    const int rc = burble_vocab_create(&options, table, n, &vocab, &where);
    PyMem_Free(table);
    if (rc == BURBLE_EINVAL) {
        PyErr_Format(PyExc_ValueError, "the vocabulary of %zu tokens is malformed at token %zu", n,
                     where);
        return NULL;
    }
    if (rc != BURBLE_OK)
        return core_raise(core_of(type), rc);
    VocabularyObject *self = (VocabularyObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        burble_vocab_unref(&vocab);
        return NULL;
    }
    self->vocab = vocab;
    return (PyObject *)self;
}

static void vocabulary_dealloc(VocabularyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    burble_vocab_unref(&self->vocab);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t vocabulary_length(VocabularyObject *self)
{
    return (Py_ssize_t)burble_vocab_size(self->vocab);
}

static PyObject *vocabulary_memory(VocabularyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(burble_vocab_memory(self->vocab));
}

static PyGetSetDef vocabulary_getset[] = {
    {"memory", (getter)vocabulary_memory, NULL, "Bytes of memory that the vocabulary takes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(vocabulary_doc,
             "Vocabulary(decoder, tokens, added, special, strip_left=0)\n--\n\n"
             "What each token id stands for. Immutable; may be shared between threads.\n\n"
             "decoder: 'byte_level' or 'byte_fallback'\n"
             "tokens: the text of each token, as the tokenizer spells it, to its id\n"
             "added: ids whose text differs from, or is not in, tokens, to that text\n"
             "special: the ids of the special tokens\n"
             "strip_left: spaces to take from the beginning of the text ('byte_fallback')");

static PyType_Slot vocabulary_slots[] = {
    {Py_tp_doc, (void *)vocabulary_doc}, {Py_tp_new, vocabulary_new},
    {Py_tp_dealloc, vocabulary_dealloc}, {Py_sq_length, vocabulary_length},
    {Py_tp_getset, vocabulary_getset},   {0, NULL},
};

PyType_Spec vocabulary_spec = {
    .name = "burble._core.Vocabulary",
    .basicsize = sizeof(VocabularyObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = vocabulary_slots,
};
