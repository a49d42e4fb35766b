/* SPDX-License-Identifier: MIT
 *
 * Records that are references to Python objects, not text.
 *
 * burble frees a record in the middle of its work, perhaps in a thread without the GIL, where no object may be
 * used. So released objects are put on a stack, and dropped later.
 */
#ifndef BURBLE_PYTHON_OBJECTS_H
#define BURBLE_PYTHON_OBJECTS_H

#include "common/core.h"

struct object_item;

/* The bytes of such a record. */
struct object_record {
    struct object_item *item;
};

/* A record with a reference to `value`. 0, or -1 with an exception. */
int object_record_init(struct object_record *record, PyObject *value);

/* For one that was not appended. */
void object_record_finish(struct object_record *record);

/* The object of a record: a new reference. */
PyObject *object_of_record(const burble_record *record);

/* For burble_stream_options.release. */
void objects_release(const burble_record *record, void *unused);

/* Drops the objects whose records were freed. Call it after each call of burble that can free a record:
 * the finalizers that run here may use the log again. */
void objects_drop_released(void);

#endif
