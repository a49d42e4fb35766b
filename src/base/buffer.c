/* SPDX-License-Identifier: MIT */
#include "base/buffer.h"

#include <assert.h>
#include <string.h>

#include <burble/error.h>

#include "base/alloc.h"

/* The first allocation, in bytes: some dozens of ordinary tokens. */
#define FIRST_CAPACITY 64

void burble__buffer_init(struct burble__buffer *buffer, size_t max)
{
    *buffer = (struct burble__buffer){.max = max};
}

void burble__buffer_finish(struct burble__buffer *buffer)
{
    burble__free(buffer->bytes);
    burble__buffer_init(buffer, buffer->max);
}

int burble__buffer_grow(struct burble__buffer *buffer, size_t more)
{
    const size_t max = buffer->max;
    if (more > max - buffer->len)
        return BURBLE_ENOMEM;
    const size_t wanted = buffer->len + more;
    size_t capacity = buffer->capacity;
    while (capacity < wanted)
        if (capacity > max / 2)
            capacity = max;
        else
            capacity = capacity == 0 ? (max < FIRST_CAPACITY ? max : FIRST_CAPACITY) : 2 * capacity;
    char *bytes = burble__realloc(buffer->bytes, capacity);
    if (bytes == NULL)
        return BURBLE_ENOMEM;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return BURBLE_OK;
}

int burble__buffer_append(struct burble__buffer *buffer, const char *bytes, size_t n)
{
    if (n == 0)
        return BURBLE_OK;
    const int result = burble__buffer_reserve(buffer, n);
    if (result == BURBLE_OK) {
        memcpy(buffer->bytes + buffer->len, bytes, n);
        buffer->len += n;
    }
    return result;
}

void burble__buffer_drop(struct burble__buffer *buffer, size_t n)
{
    assert(n <= buffer->len);
    if (n == 0)
        return;
    buffer->len -= n;
    memmove(buffer->bytes, buffer->bytes + n, buffer->len);
}
