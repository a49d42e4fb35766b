/* SPDX-License-Identifier: MIT */
#include "relay/directory.h"

#include <string.h>

#include "base/alloc.h"

#define FIRST_BUCKETS 64

int burble__directory_init(struct burble__directory *directory)
{
    *directory = (struct burble__directory){.n_buckets = FIRST_BUCKETS};
    directory->by_id =
        (struct burble__entry **)burble__calloc(FIRST_BUCKETS, sizeof(struct burble__entry *));
    directory->by_stream =
        (struct burble__entry **)burble__calloc(FIRST_BUCKETS, sizeof(struct burble__entry *));
    if (directory->by_id != NULL && directory->by_stream != NULL)
        return BURBLE_OK;
    burble__directory_finish(directory);
    return BURBLE_ENOMEM;
}

void burble__directory_finish(struct burble__directory *directory)
{
    burble__free((void *)directory->by_id);
    burble__free((void *)directory->by_stream);
}

/* Names are random digits; they are mixed, since they also come from outside. */
static size_t hash_id(const char *id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (unsigned i = 0; i < BURBLE__STREAM_ID_LEN; i++)
        hash = (hash ^ (unsigned char)id[i]) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 32);
}

static size_t hash_stream(const burble_stream *stream)
{
    const uint64_t hash = (uint64_t)(uintptr_t)stream * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32);
}

static struct burble__entry **id_bucket(const struct burble__directory *directory, const char *id)
{
    return &directory->by_id[hash_id(id) & (directory->n_buckets - 1)];
}

static struct burble__entry **stream_bucket(const struct burble__directory *directory,
                                            const burble_stream *stream)
{
    return &directory->by_stream[hash_stream(stream) & (directory->n_buckets - 1)];
}

static void put(struct burble__directory *directory, struct burble__entry *entry)
{
    struct burble__entry **bucket = id_bucket(directory, entry->of.id.hex);
    entry->same_id = *bucket;
    *bucket = entry;
    bucket = stream_bucket(directory, entry->of.stream);
    entry->same_stream = *bucket;
    *bucket = entry;
}

/* Doubles the buckets; without memory, the chains become longer. */
static void grow(struct burble__directory *directory)
{
    struct burble__directory new = *directory;
    new.n_buckets = 2 * directory->n_buckets;
    new.by_id =
        (struct burble__entry **)burble__calloc(new.n_buckets, sizeof(struct burble__entry *));
    new.by_stream =
        (struct burble__entry **)burble__calloc(new.n_buckets, sizeof(struct burble__entry *));
    if (new.by_id == NULL || new.by_stream == NULL) {
        burble__directory_finish(&new);
        return;
    }
    for (struct burble__entry *entry = new.oldest; entry != NULL; entry = entry->newer)
        put(&new, entry);
    burble__directory_finish(directory);
    *directory = new;
}

void burble__directory_add(struct burble__directory *directory, struct burble__entry *entry)
{
    if (directory->n >= directory->n_buckets)
        grow(directory);
    put(directory, entry);
    entry->older = directory->newest;
    entry->newer = NULL;
    *(directory->newest == NULL ? &directory->oldest : &directory->newest->newer) = entry;
    directory->newest = entry;
    directory->n++;
}

void burble__directory_remove(struct burble__directory *directory, struct burble__entry *entry)
{
    struct burble__entry **link = id_bucket(directory, entry->of.id.hex);
    while (*link != entry)
        link = &(*link)->same_id;
    *link = entry->same_id;
    link = stream_bucket(directory, entry->of.stream);
    while (*link != entry)
        link = &(*link)->same_stream;
    *link = entry->same_stream;
    struct burble__entry *older = entry->older, *newer = entry->newer;
    *(newer == NULL ? &directory->newest : &newer->older) = older;
    *(older == NULL ? &directory->oldest : &older->newer) = newer;
    directory->n--;
}

static struct burble__entry *first_of(struct burble__entry *entry, const char *id)
{
    while (entry != NULL && memcmp(entry->of.id.hex, id, BURBLE__STREAM_ID_LEN) != 0)
        entry = entry->same_id;
    return entry;
}

struct burble__entry *burble__directory_find(const struct burble__directory *directory,
                                             const char *id)
{
    return first_of(*id_bucket(directory, id), id);
}

struct burble__entry *burble__directory_next(const struct burble__entry *entry)
{
    return first_of(entry->same_id, entry->of.id.hex);
}

struct burble__entry *burble__directory_of_stream(const struct burble__directory *directory,
                                                  const burble_stream *stream)
{
    struct burble__entry *entry = *stream_bucket(directory, stream);
    while (entry != NULL && entry->of.stream != stream)
        entry = entry->same_stream;
    return entry;
}
