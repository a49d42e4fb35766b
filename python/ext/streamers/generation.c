/* SPDX-License-Identifier: MIT */
#include "streamers/generation.h"

/* Takes a new object out of the collector's sight; NULL is fine. */
static void *untracked(void *object)
{
    if (object != NULL)
        PyObject_GC_UnTrack(object);
    return object;
}

struct generation *generation_create(struct core *core, struct consumer *consumer)
{
    LogObject *log = untracked(log_create(core, NULL));
    ReaderObject *reader = log == NULL ? NULL : untracked(reader_create(log, 0));
    struct generation *generation = reader == NULL ? NULL : PyMem_Malloc(sizeof *generation);
    if (generation == NULL) {
        core_raise(core, BURBLE_ENOMEM); /* if nothing was raised before */
        Py_XDECREF((PyObject *)reader);
        Py_XDECREF((PyObject *)log);
        return NULL;
    }
    reader->read_by = consumer;
    *generation = (struct generation){.log = log, .reader = reader, .refs = 1};
    return generation;
}

struct generation *generation_ref(struct generation *generation)
{
    generation->refs++;
    return generation;
}

void generation_unref(struct generation *generation)
{
    while (generation != NULL && --generation->refs == 0) {
        struct generation *next = generation->next;
        /* Nobody can write to it or read it any more. */
        burble_stream_cancel(generation->log->stream);
        reader_let_go(generation->reader);
        Py_DECREF(generation->reader);
        Py_DECREF(generation->log);
        producer_clear(&generation->producer);
        if (generation->abandoned != NULL)
            pipeline_finish(generation->abandoned);
        PyMem_Free(generation->abandoned);
        PyMem_Free(generation);
        generation = next;
    }
}

int generation_advance(struct generation **side)
{
    struct generation *generation = generation_ref(*side), *next = NULL;
    if (generation->next == NULL) {
        next = generation_create(generation->log->core, generation->reader->read_by);
        if (next == NULL) {
            generation_unref(generation);
            return -1;
        }
    }
    /* Once more, since making one may run Python code, which may do the same. */
    if (generation->next == NULL)
        generation->next = next;
    else
        generation_unref(next);
    if (*side == generation) {
        *side = generation_ref(generation->next);
        generation_unref(generation);
    }
    generation_unref(generation);
    return 0;
}

int generation_traverse(struct generation *generation, visitproc visit, void *arg)
{
    for (; generation != NULL; generation = generation->next) {
        int visited = generation->abandoned == NULL
                          ? 0
                          : pipeline_traverse(generation->abandoned, visit, arg);
        if (visited == 0)
            visited = producer_traverse(&generation->producer, visit, arg);
        PyObject *log = (PyObject *)generation->log;
        if (visited == 0)
            visited = Py_TYPE(log)->tp_traverse(log, visit, arg);
        if (visited != 0)
            return visited;
        Py_VISIT(Py_TYPE(generation->reader));
        Py_VISIT(generation->reader->attached);
    }
    return 0;
}
