/* SPDX-License-Identifier: MIT
 *
 * _core.Vocabulary: an immutable burble_vocab, made from what a tokenizer says of itself.
 */
#include "detokenize/vocabulary.h"

#include <burble/stop.h>

#include "detokenize/token_table.h"

/* The vocabulary as an object, which takes the reference. */
static PyObject *wrap(PyTypeObject *type, burble_vocab *vocab)
{
    VocabularyObject *self = (VocabularyObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        burble_vocab_unref(&vocab);
    else
        self->vocab = vocab;
    return (PyObject *)self;
}

/* A vocabulary of tokens as the tokenizer spells them, and of steps in a tuple. */
static PyObject *compile(PyTypeObject *type, PyObject *tuples, const char *join,
                         const burble_token *table, size_t n)
{
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    burble_step *steps = token_table_read_steps(tuples, &options.n_steps);
    if (steps == NULL)
        return NULL;
    burble_vocab *vocab;
    burble_error error;
    options.steps = steps;
    options.join = join;
    const int rc = burble_vocab_create(&options, table, n, &vocab, &error);
    PyMem_Free(steps);
    if (rc == BURBLE_OK)
        return wrap(type, vocab);
    if (rc != BURBLE_EINVAL && rc != BURBLE_EUNSUPPORTED)
        return core_raise(core_of(type), rc);
    return PyErr_Format(rc == BURBLE_EINVAL ? PyExc_ValueError : PyExc_NotImplementedError,
                        "the vocabulary: %s", error.message);
}

static PyObject *vocabulary_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"steps", "tokens", "special", "join", NULL};
    PyObject *given, *tokens, *special;
    PyObject *result = NULL;
    const char *join = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!O|z", names, &given, &PyDict_Type, &tokens,
                                     &special, &join))
        return NULL;
    /* Calls that may run Python code, and so change the mapping, come before the mapping is read. */
    PyObject *tuples = PySequence_Tuple(given);
    PyObject *ids = tuples == NULL ? NULL : PySequence_Tuple(special);
    size_t n;
    burble_token *table = ids == NULL ? NULL : token_table_read(tokens, ids, &n);
    if (table != NULL)
        result = compile(type, tuples, join, table, n);
    PyMem_Free(table);
    Py_XDECREF(ids);
    Py_XDECREF(tuples);
    return result;
}

static PyObject *vocabulary_ask(PyTypeObject *type, PyObject *args)
{
    PyObject *given, *text_of, *special;
    PyObject *result = NULL;
    Py_ssize_t n;
    const char *join;
    if (!PyArg_ParseTuple(args, "OOnO!z:ask", &given, &text_of, &n, &PyFrozenSet_Type, &special,
                          &join))
        return NULL;
    if (n < 0 || n > (Py_ssize_t)BURBLE_VOCAB_MAX_IDS)
        return PyErr_Format(PyExc_ValueError, "ask: expected from 0 to %u ids, found %zd",
                            BURBLE_VOCAB_MAX_IDS, n);
    PyObject *tuples = PySequence_Tuple(given);
    if (tuples == NULL)
        return NULL;
    char *memory;
    burble_token *table = token_table_ask(text_of, (size_t)n, special, &memory);
    if (table != NULL)
        result = compile(type, tuples, join, table, (size_t)n);
    else if (!PyErr_Occurred())
        result = Py_NewRef(Py_None);
    PyMem_Free(table);
    PyMem_Free(memory);
    Py_DECREF(tuples);
    return result;
}

/* ---- of pieces and of files ------------------------------------------------------------------ */

static PyObject *vocabulary_from_pieces(PyTypeObject *type, PyObject *args)
{
    PyObject *given, *special, *result = NULL;
    int breaks = 0;
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    if (!PyArg_ParseTuple(args, "OO|p:from_pieces", &given, &special, &breaks))
        return NULL;
    options.special_breaks = breaks != 0;
    PyObject *pieces = PySequence_Tuple(given);
    PyObject *ids = pieces == NULL ? NULL : PySequence_Tuple(special);
    if (ids == NULL)
        goto release_pieces;
    const Py_ssize_t n = PyTuple_GET_SIZE(pieces);
    burble_token *table = PyMem_New(burble_token, n == 0 ? 1 : (size_t)n);
    if (table == NULL) {
        PyErr_NoMemory();
        goto release_pieces;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (token_table_read_piece(PyTuple_GET_ITEM(pieces, i), i, &table[i]) < 0)
            goto free_table;
    if (token_table_mark_special(ids, table, (size_t)n) < 0)
        goto free_table;
    burble_vocab *vocab;
    burble_error error;
    const int rc = burble_vocab_create(&options, table, (size_t)n, &vocab, &error);
    if (rc == BURBLE_OK)
        result = wrap(type, vocab);
    else if (rc == BURBLE_EINVAL)
        PyErr_Format(PyExc_ValueError, "the pieces: %s", error.message);
    else
        core_raise(core_of(type), rc);

free_table:
    PyMem_Free(table);
release_pieces:
    Py_XDECREF(ids);
    Py_XDECREF(pieces);
    return result;
}

/* The vocabulary that a loader has made, or its exception. */
static PyObject *loaded(PyTypeObject *type, int rc, burble_vocab *vocab, const burble_error *error)
{
    if (rc == BURBLE_OK)
        return wrap(type, vocab);
    if (rc != BURBLE_EFORMAT && rc != BURBLE_EUNSUPPORTED)
        return core_raise(core_of(type), rc);
    /* A name that is not UTF-8 does not stand in the way of the message. */
    PyObject *message =
        PyUnicode_DecodeUTF8(error->message, (Py_ssize_t)strlen(error->message), "replace");
    if (message != NULL)
        PyErr_SetObject(PyExc_ValueError, message);
    Py_XDECREF(message);
    return NULL;
}

static PyObject *vocabulary_load(PyTypeObject *type, PyObject *path)
{
    PyObject *bytes;
    burble_vocab *vocab;
    burble_error error;
    int rc;
    if (!PyUnicode_FSConverter(path, (void *)&bytes))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        rc = burble_vocab_load(PyBytes_AS_STRING(bytes), BURBLE_VOCAB_AUTO, &vocab, &error);
    Py_END_ALLOW_THREADS
    Py_DECREF(bytes);
    if (rc == BURBLE_ESYSTEM)
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    return loaded(type, rc, vocab, &error);
}

/* A vocabulary from the bytes of a file in this format. */
static PyObject *parse(PyTypeObject *type, PyObject *args, burble_vocab_format format)
{
    Py_buffer data;
    const char *name;
    burble_vocab *vocab;
    burble_error error;
    int rc;
    if (!PyArg_ParseTuple(args, "y*s", &data, &name))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
        rc = burble_vocab_parse(data.buf, (size_t)data.len, format, name, &vocab, &error);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    return loaded(type, rc, vocab, &error);
}

static PyObject *vocabulary_parse(PyTypeObject *type, PyObject *args)
{
    return parse(type, args, BURBLE_VOCAB_AUTO);
}

static PyObject *vocabulary_parse_sentencepiece(PyTypeObject *type, PyObject *args)
{
    return parse(type, args, BURBLE_VOCAB_SENTENCEPIECE);
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

static PyObject *vocabulary_cleaned_up(VocabularyObject *self, PyObject *unused)
{
    (void)unused;
    PyTypeObject *type = Py_TYPE(self);
    VocabularyObject *other = (VocabularyObject *)type->tp_alloc(type, 0);
    if (other != NULL) {
        other->vocab = burble_vocab_ref(self->vocab);
        other->clean_up = true;
    }
    return (PyObject *)other;
}

/* The tokens of burble_stop_tokens as a list of (id, which). */
static PyObject *find_stop_tokens(VocabularyObject *self, const burble_text *strings, size_t n)
{
    const size_t found = burble_stop_tokens(self->vocab, strings, n, NULL, 0);
    burble_stop_token *tokens = PyMem_New(burble_stop_token, found == 0 ? 1 : found);
    if (tokens == NULL)
        return PyErr_NoMemory();
    burble_stop_tokens(self->vocab, strings, n, tokens, found);
    /* (Not of that length at once: making a pair may run the collector, and so code that finds it.) */
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < found; i++) {
        PyObject *pair =
            Py_BuildValue("In", (unsigned int)tokens[i].id, (Py_ssize_t)tokens[i].which);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    PyMem_Free(tokens);
    return list;
}

static PyObject *vocabulary_stop_tokens(VocabularyObject *self, PyObject *strings)
{
    if (!PyTuple_Check(strings)) {
        PyErr_SetString(PyExc_TypeError, "stop_tokens: expected a tuple of str");
        return NULL;
    }
    const Py_ssize_t n = PyTuple_GET_SIZE(strings);
    burble_text *texts = PyMem_New(burble_text, n == 0 ? 1 : (size_t)n);
    PyObject *list = NULL;
    if (texts == NULL)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t len;
        texts[i].bytes = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(strings, i), &len);
        if (texts[i].bytes == NULL)
            goto free_texts;
        texts[i].len = (size_t)len;
    }
    list = find_stop_tokens(self, texts, (size_t)n);

free_texts:
    PyMem_Free(texts);
    return list;
}

PyDoc_STRVAR(stop_tokens_doc, "stop_tokens($self, strings, /)\n--\n\n"
                              "(id, which) of each special token whose text is one of a tuple of\n"
                              "strings.");

PyDoc_STRVAR(cleaned_up_doc, "cleaned_up($self, /)\n--\n\n"
                             "The same vocabulary (not a copy), whose text is cleaned up as the\n"
                             "clean_up_tokenization of transformers does it.");

PyDoc_STRVAR(from_pieces_doc,
             "from_pieces($type, pieces, special, breaks=False, /)\n--\n\n"
             "Of the bytes of each token, or None where no token has the id; the bytes of a\n"
             "sequence, decoded as UTF-8, are its text. special: the ids of the special tokens;\n"
             "breaks: they break a character also where they are left out.");

PyDoc_STRVAR(
    ask_doc,
    "ask($type, steps, text_of, n, special, join, /)\n--\n\n"
    "Of the texts that a function of an id returns for 0 to n - 1; None if it returns None for\n"
    "one of them. special: a frozenset of the texts of special tokens; steps and join: as\n"
    "those of Vocabulary.");

PyDoc_STRVAR(
    load_doc,
    "load($type, path, /)\n--\n\n"
    "Of a file: tokenizer.json, GGUF, tiktoken's ranks, SentencePiece or Tekken, told by\n"
    "its content. Raises OSError where it cannot be read, ValueError for what is wrong with it.");

PyDoc_STRVAR(parse_doc, "parse($type, data, name, /)\n--\n\n"
                        "The same of a file's bytes; the name stands in messages.");

PyDoc_STRVAR(parse_sentencepiece_doc,
             "parse_sentencepiece($type, model, name, /)\n--\n\n"
             "Of the bytes of a SentencePiece model; the name stands in messages.");

static PyMethodDef vocabulary_methods[] = {
    {"from_pieces", (PyCFunction)vocabulary_from_pieces, METH_VARARGS | METH_CLASS,
     from_pieces_doc},
    {"ask", (PyCFunction)vocabulary_ask, METH_VARARGS | METH_CLASS, ask_doc},
    {"load", (PyCFunction)vocabulary_load, METH_O | METH_CLASS, load_doc},
    {"parse", (PyCFunction)vocabulary_parse, METH_VARARGS | METH_CLASS, parse_doc},
    {"parse_sentencepiece", (PyCFunction)vocabulary_parse_sentencepiece, METH_VARARGS | METH_CLASS,
     parse_sentencepiece_doc},
    {"cleaned_up", (PyCFunction)vocabulary_cleaned_up, METH_NOARGS, cleaned_up_doc},
    {"stop_tokens", (PyCFunction)vocabulary_stop_tokens, METH_O, stop_tokens_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef vocabulary_getset[] = {
    {"memory", (getter)vocabulary_memory, NULL, "Bytes of memory that the vocabulary takes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(
    vocabulary_doc,
    "Vocabulary(steps, tokens, special, join=None)\n--\n\n"
    "What each token id stands for. Immutable; may be shared between threads.\n\n"
    "steps: how tokens become text, each (name, text, with, start, stop, flag) or fewer of\n"
    "  these; the names are those of burble_step_kind\n"
    "tokens: a dict from each id to its text, as the tokenizer spells it\n"
    "special: the ids of the special tokens\n"
    "join: what stands between tokens where there are no steps\n\n"
    "Raises NotImplementedError for steps that cannot be streamed.");

static PyType_Slot vocabulary_slots[] = {
    {Py_tp_doc, (void *)vocabulary_doc},
    {Py_tp_new, vocabulary_new},
    {Py_tp_dealloc, vocabulary_dealloc},
    {Py_sq_length, vocabulary_length},
    {Py_tp_getset, vocabulary_getset},
    {Py_tp_methods, vocabulary_methods},
    {0, NULL},
};

PyType_Spec vocabulary_spec = {
    .name = "burble._core.Vocabulary",
    .basicsize = sizeof(VocabularyObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = vocabulary_slots,
};
