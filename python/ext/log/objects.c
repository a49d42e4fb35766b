/* SPDX-License-Identifier: MIT */
#include "log/objects.h"

#include "base/atomic.h"

/* Owns the reference to one. */
struct object_item {
    PyObject *value;
    struct object_item *next; /* among those that are released */
};

/* Whose records are gone. */
static _Atomic(struct object_item *) released;

static int drop_released_soon(void *unused)
{
    (void)unused;
    objects_drop_released();
    return 0;
}

static struct object_item *item_of(const burble_record *record)
{
    struct object_record handle;
    memcpy(&handle, record->text, sizeof handle);
    return handle.item;
}

int object_record_init(struct object_record *record, PyObject *value)
{
    record->item = PyMem_RawMalloc(sizeof *record->item);
    if (record->item == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    record->item->value = Py_NewRef(value);
    return 0;
}

void object_record_finish(struct object_record *record)
{
    Py_DECREF(record->item->value);
    PyMem_RawFree(record->item);
}

void objects_release(const burble_record *record, void *unused)
{
    (void)unused;
    struct object_item *item = item_of(record);
    struct object_item *top = burble__load_relaxed(&released);
    /* Release: pairs with the taking in objects_drop_released, which reads `next`. */
    do {
        item->next = top;
    } while (!burble__cas_weak_acq_rel(&released, &top, item));
    /* A call from Python drops them when it is done. A thread that exits calls nothing any more. */
    if (top == NULL && Py_IsInitialized() && !PyGILState_Check())
        Py_AddPendingCall(drop_released_soon, NULL);
}

void objects_drop_released(void)
{
    if (burble__load_relaxed(&released) == NULL)
        return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    struct object_item *item = burble__exchange_acq_rel(&released, NULL);
    while (item != NULL) {
        struct object_item *next = item->next;
        Py_DECREF(item->value);
        PyMem_RawFree(item);
        item = next;
    }
    PyErr_Restore(type, value, traceback);
}

PyObject *object_of_record(const burble_record *record)
{
    return Py_NewRef(item_of(record)->value);
}
