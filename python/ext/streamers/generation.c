/* SPDX-License-Identifier: MIT */
#include "streamers/generation.h"

struct generation *generation_create(struct core *core)
{
    struct generation *generation = PyMem_Calloc(1, sizeof *generation);
    if (generation == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    int rc = burble_stream_create(NULL, &generation->stream);
    if (rc == BURBLE_OK)
        rc = burble_reader_create(generation->stream, 0, &generation->reader, NULL);
    if (rc != BURBLE_OK) {
        burble_stream_unref(&generation->stream);
        PyMem_Free(generation);
        core_raise(core, rc);
        return NULL;
    }
    generation->refs = 1;
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
        burble_stream_cancel(generation->stream);
        burble_reader_destroy(&generation->reader);
        burble_stream_unref(&generation->stream);
        Py_CLEAR(generation->hub);
        producer_clear(&generation->producer);
        Py_CLEAR(generation->error);
        if (generation->abandoned != NULL)
            pipeline_finish(generation->abandoned);
        PyMem_Free(generation->abandoned);
        Py_CLEAR(generation->match);
        PyMem_Free(generation);
        generation = next;
    }
}

int generation_advance(struct core *core, struct generation **side)
{
    struct generation *generation = *side;
    if (generation->next == NULL && (generation->next = generation_create(core)) == NULL)
        return -1;
    *side = generation_ref(generation->next);
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
        if (visited != 0)
            return visited;
        Py_VISIT(generation->error);
        Py_VISIT(generation->hub);
        Py_VISIT(generation->match);
    }
    return 0;
}
