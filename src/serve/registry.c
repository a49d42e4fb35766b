/* SPDX-License-Identifier: MIT */
#include "serve/registry.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "serve/keys.h"

#define DEFAULT_MAX_ENDED ((size_t)1 << 16)
#define DEFAULT_MAX_EVICTED ((size_t)1 << 16)
#define FIRST_BUCKETS 64

/* What a record costs in memory beside its bytes, about; 9 to 12 if it has 64 bytes or more, or stands for several tokens. */
#define RECORD_OVERHEAD 4

/* ---- tables: chained, growing ---------------------------------------------------------------------------- */

enum table_name { BY_ID, BY_STREAM, BY_IDEMPOTENCY, N_TABLES };

struct bucket {
    struct burble__answer *first;
};

struct table {
    struct bucket *buckets;
    size_t n_buckets; /* a power of two */
    size_t n;
};

/* A name that was evicted, in the slot that its hash gives: a newer one takes its place. */
struct evicted {
    uint64_t key;
    uint64_t token; /* the hash of its token */
    char hex[BURBLE__STREAM_ID_LEN];
};

/* Answers in the order in which they came. */
struct list {
    struct burble__answer *oldest, *newest;
    size_t n;
};

struct burble__registry {
    pthread_mutex_t lock;
    struct burble__registry_options options;
    struct table tables[N_TABLES];
    struct list running, ended;
    uint64_t bytes; /* of the logs of those that have ended */
    uint64_t n_evicted;
    struct evicted *evicted; /* max_evicted slots; NULL until one is needed */
};

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 33;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 33;
    return hash;
}

/* Names are random, so any part of one is a hash. */
static uint64_t hash_id(const char *hex)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < 16; i++)
        hash = hash << 4 | ((unsigned char)hex[i] % 39u % 16u);
    return mix(hash);
}

static uint64_t hash_stream(const burble_stream *stream)
{
    return mix((uint64_t)(uintptr_t)stream);
}

static uint64_t hash_idempotency(uint64_t key, const char *text, size_t len)
{
    return mix(key ^ burble__body_hash(text, len));
}

static uint64_t hash_of(enum table_name name, const struct burble__answer *answer)
{
    switch (name) {
    case BY_ID:
        return hash_id(burble__answer_stream(answer));
    case BY_STREAM:
        return hash_stream(answer->stream);
    default:
        return hash_idempotency(answer->key, answer->idempotency, strlen(answer->idempotency));
    }
}

static struct burble__answer **bucket_of(const struct table *table, uint64_t hash)
{
    return &table->buckets[hash & (table->n_buckets - 1)].first;
}

/* Doubles the buckets; without memory, the chains become longer. */
static void grow(struct table *table, enum table_name name)
{
    const struct table old = *table;
    struct table new = {.n_buckets = 2 * old.n_buckets, .n = old.n};
    new.buckets = burble__calloc(new.n_buckets, sizeof *new.buckets);
    if (new.buckets == NULL)
        return;
    for (size_t i = 0; i < old.n_buckets; i++)
        while (old.buckets[i].first != NULL) {
            struct burble__answer *answer = old.buckets[i].first;
            old.buckets[i].first = answer->of_registry.next[name];
            struct burble__answer **bucket = bucket_of(&new, hash_of(name, answer));
            answer->of_registry.next[name] = *bucket;
            *bucket = answer;
        }
    burble__free(old.buckets);
    *table = new;
}

static void table_add(struct burble__registry *registry, enum table_name name,
                      struct burble__answer *answer)
{
    struct table *table = &registry->tables[name];
    if (table->n >= table->n_buckets)
        grow(table, name);
    struct burble__answer **bucket = bucket_of(table, hash_of(name, answer));
    answer->of_registry.next[name] = *bucket;
    *bucket = answer;
    table->n++;
}

/* Takes it out, if it is there. */
static void table_remove(struct burble__registry *registry, enum table_name name,
                         struct burble__answer *answer)
{
    struct table *table = &registry->tables[name];
    struct burble__answer **link = bucket_of(table, hash_of(name, answer));
    while (*link != NULL && *link != answer)
        link = &(*link)->of_registry.next[name];
    if (*link == NULL)
        return;
    *link = answer->of_registry.next[name];
    table->n--;
}

/* ---- lists ----------------------------------------------------------------------------------------------- */

static void list_add(struct list *list, struct burble__answer *answer)
{
    answer->of_registry.older = list->newest;
    answer->of_registry.newer = NULL;
    *(list->newest == NULL ? &list->oldest : &list->newest->of_registry.newer) = answer;
    list->newest = answer;
    list->n++;
}

static void list_remove(struct list *list, struct burble__answer *answer)
{
    struct burble__answer *newer = answer->of_registry.newer, *older = answer->of_registry.older;
    *(older == NULL ? &list->oldest : &older->of_registry.newer) = newer;
    *(newer == NULL ? &list->newest : &newer->of_registry.older) = older;
    list->n--;
}

/* ---- creating --------------------------------------------------------------------------------------------- */

int burble__registry_create(const struct burble__registry_options *options,
                            struct burble__registry **out)
{
    *out = NULL;
    struct burble__registry *registry = burble__calloc(1, sizeof *registry);
    if (registry == NULL)
        return BURBLE_ENOMEM;
    registry->options = *options;
    if (options->max_ended == 0)
        registry->options.max_ended = DEFAULT_MAX_ENDED;
    if (options->max_evicted == 0)
        registry->options.max_evicted = DEFAULT_MAX_EVICTED;
    bool ok = true;
    for (unsigned i = 0; i < N_TABLES; i++) {
        registry->tables[i].n_buckets = FIRST_BUCKETS;
        registry->tables[i].buckets = burble__calloc(FIRST_BUCKETS, sizeof(struct bucket));
        ok = ok && registry->tables[i].buckets != NULL;
    }
    ok = ok && pthread_mutex_init(&registry->lock, NULL) == 0;
    if (!ok) {
        for (unsigned i = 0; i < N_TABLES; i++)
            burble__free(registry->tables[i].buckets);
        burble__free(registry);
        return BURBLE_ENOMEM;
    }
    *out = registry;
    return BURBLE_OK;
}

static void drop_all(struct list *list)
{
    while (list->oldest != NULL) {
        struct burble__answer *answer = list->oldest;
        list_remove(list, answer);
        answer->of_registry.list = BURBLE__UNLISTED;
        burble__answer_drop(&answer);
    }
}

void burble__registry_destroy(struct burble__registry **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    struct burble__registry *registry = *handle;
    *handle = NULL;
    drop_all(&registry->running); /* (without the lock, which may be older than a fork) */
    drop_all(&registry->ended);
    for (unsigned i = 0; i < N_TABLES; i++)
        burble__free(registry->tables[i].buckets);
    burble__free(registry->evicted);
    pthread_mutex_destroy(&registry->lock);
    burble__free(registry);
}

/* ---- with the lock held --------------------------------------------------------------------------------------- */

static struct burble__answer *find_id(struct burble__registry *registry, const char *hex)
{
    struct burble__answer *answer = *bucket_of(&registry->tables[BY_ID], hash_id(hex));
    while (answer != NULL && memcmp(burble__answer_stream(answer), hex, BURBLE__STREAM_ID_LEN) != 0)
        answer = answer->of_registry.next[BY_ID];
    return answer;
}

static struct burble__answer *find_idempotent(struct burble__registry *registry, uint64_t key,
                                              const char *idempotency, size_t len)
{
    struct burble__answer *answer =
        *bucket_of(&registry->tables[BY_IDEMPOTENCY], hash_idempotency(key, idempotency, len));
    while (answer != NULL
           && (answer->key != key || strlen(answer->idempotency) != len
               || memcmp(answer->idempotency, idempotency, len) != 0)) {
        answer = answer->of_registry.next[BY_IDEMPOTENCY];
    }
    return answer;
}

/* A client comes to an answer that was found. */
static struct burble__answer *attach(struct burble__answer *answer)
{
    answer->of_registry.clients++;
    return burble__answer_ref(answer);
}

static enum burble__found attach_idempotent(struct burble__answer *answer, uint64_t body_hash,
                                            struct burble__answer **out)
{
    if (answer == NULL)
        return BURBLE__NOT_FOUND;
    if (answer->body_hash != body_hash)
        return BURBLE__OTHER_BODY;
    *out = attach(answer);
    return BURBLE__FOUND;
}

/* Takes an answer out of the tables and its list: the caller drops the reference that the registry had. */
static void unlist(struct burble__registry *registry, struct burble__answer *answer)
{
    const bool runs = answer->of_registry.list == BURBLE__RUNNING;
    list_remove(runs ? &registry->running : &registry->ended, answer);
    if (runs)
        table_remove(registry, BY_STREAM, answer);
    else
        registry->bytes -= answer->of_registry.bytes;
    answer->of_registry.list = BURBLE__UNLISTED;
    table_remove(registry, BY_ID, answer);
    if (answer->idempotency != NULL)
        table_remove(registry, BY_IDEMPOTENCY, answer);
}

/* 0: there is none. (Whoever finds another text with this hash learns that the answer is gone, and no more.) */
static uint64_t hash_token(const char *token, size_t len)
{
    return len == 0 ? 0 : burble__body_hash(token, len) | 1;
}

static struct evicted *evicted_slot(const struct burble__registry *registry, const char *hex)
{
    return &registry->evicted[hash_id(hex) % registry->options.max_evicted];
}

/* Takes out an answer that has ended, and remembers its name. */
static void evict(struct burble__registry *registry, struct burble__answer *answer)
{
    unlist(registry, answer);
    registry->n_evicted++;
    if (registry->evicted == NULL)
        registry->evicted =
            burble__calloc(registry->options.max_evicted, sizeof *registry->evicted);
    if (registry->evicted != NULL) {
        const char *hex = burble__answer_stream(answer);
        struct evicted *slot = evicted_slot(registry, hex);
        slot->key = answer->key;
        slot->token =
            hash_token(burble__answer_token(answer), strlen(burble__answer_token(answer)));
        memcpy(slot->hex, hex, BURBLE__STREAM_ID_LEN);
    }
}

/* The oldest answer that has ended, if it has to go, taken out; or NULL. */
static struct burble__answer *evict_oldest(struct burble__registry *registry, uint64_t now)
{
    struct burble__answer *oldest = registry->ended.oldest;
    if (oldest == NULL)
        return NULL;
    const uint64_t ended = oldest->of_registry.since;
    const bool is_old = now > ended && now - ended >= registry->options.resume_time;
    if (!is_old && registry->bytes <= registry->options.retain
        && registry->ended.n <= registry->options.max_ended) {
        return NULL;
    }
    evict(registry, oldest);
    return oldest;
}

/* ---- the API --------------------------------------------------------------------------------------------------- */

enum burble__found burble__registry_add(struct burble__registry *registry,
                                        struct burble__answer *answer, struct burble__answer **out)
{
    enum burble__found found = BURBLE__NOT_FOUND;
    *out = NULL;
    pthread_mutex_lock(&registry->lock);
    if (answer->idempotency != NULL)
        found = attach_idempotent(find_idempotent(registry, answer->key, answer->idempotency,
                                                  strlen(answer->idempotency)),
                                  answer->body_hash, out);
    struct burble__answer *same =
        answer->found ? find_id(registry, burble__answer_stream(answer)) : NULL;
    if (same != NULL) {
        *out = attach(same);
        found = BURBLE__FOUND;
    }
    if (found == BURBLE__NOT_FOUND) {
        burble__answer_ref(answer);
        answer->of_registry.clients = 1;
        answer->of_registry.list = BURBLE__RUNNING;
        list_add(&registry->running, answer);
        table_add(registry, BY_ID, answer);
        table_add(registry, BY_STREAM, answer);
        if (answer->idempotency != NULL)
            table_add(registry, BY_IDEMPOTENCY, answer);
    }
    pthread_mutex_unlock(&registry->lock);
    return found;
}

void burble__registry_remove(struct burble__registry *registry, struct burble__answer *answer)
{
    pthread_mutex_lock(&registry->lock);
    const bool listed = answer->of_registry.list != BURBLE__UNLISTED;
    if (listed)
        unlist(registry, answer);
    answer->of_registry.clients--;
    pthread_mutex_unlock(&registry->lock);
    if (listed)
        burble__answer_drop(&answer);
}

/* Whether somebody with this key or token may have the answer. */
static bool may_read(const struct burble__answer *answer, uint64_t key, const char *token,
                     size_t token_len)
{
    return answer->key == key
           || (answer->resumable && token != NULL && token_len == BURBLE__TOKEN_LEN
               && burble__equal_secrets(burble__answer_token(answer), token, BURBLE__TOKEN_LEN));
}

enum burble__found burble__registry_find(struct burble__registry *registry,
                                         const struct burble__stream_id *id, uint64_t key,
                                         const char *token, size_t token_len,
                                         struct burble__answer **out)
{
    enum burble__found found = BURBLE__NOT_FOUND;
    *out = NULL;
    pthread_mutex_lock(&registry->lock);
    struct burble__answer *answer = find_id(registry, id->hex);
    if (answer != NULL && may_read(answer, key, token, token_len)) {
        *out = attach(answer);
        found = BURBLE__FOUND;
    } else if (answer == NULL && registry->evicted != NULL) {
        const struct evicted *evicted = evicted_slot(registry, id->hex);
        const uint64_t hash = token == NULL ? 0 : hash_token(token, token_len);
        if (memcmp(evicted->hex, id->hex, BURBLE__STREAM_ID_LEN) == 0
            && (evicted->key == key || (hash != 0 && evicted->token == hash)))
            found = BURBLE__EVICTED;
    }
    pthread_mutex_unlock(&registry->lock);
    return found;
}

enum burble__found burble__registry_find_idempotent(struct burble__registry *registry, uint64_t key,
                                                    const char *idempotency, size_t len,
                                                    uint64_t body_hash, struct burble__answer **out)
{
    *out = NULL;
    pthread_mutex_lock(&registry->lock);
    const enum burble__found found =
        attach_idempotent(find_idempotent(registry, key, idempotency, len), body_hash, out);
    pthread_mutex_unlock(&registry->lock);
    return found;
}

struct burble__answer *burble__registry_of_stream(struct burble__registry *registry,
                                                  const burble_stream *stream)
{
    pthread_mutex_lock(&registry->lock);
    struct burble__answer *answer = *bucket_of(&registry->tables[BY_STREAM], hash_stream(stream));
    while (answer != NULL && answer->stream != stream)
        answer = answer->of_registry.next[BY_STREAM];
    if (answer != NULL)
        burble__answer_ref(answer);
    pthread_mutex_unlock(&registry->lock);
    return answer;
}

/* With the lock held: from now on, the tick measures the log of an answer, which clients do that read it, otherwise. Its
 * writer waits if it writes more than a whole answer between two ticks. Without memory, the next tick tries again. */
static void meter(const struct burble__registry *registry, struct burble__answer *answer)
{
    if (answer->meter != NULL || registry->options.max_answer == 0)
        return;
    if (burble_reader_create(answer->stream, BURBLE_FROM_OLDEST, &answer->meter, NULL) == BURBLE_OK
        && burble_reader_limit(answer->meter, registry->options.max_answer, BURBLE_LAG_BLOCK)
               != BURBLE_OK)
        burble_reader_destroy(&answer->meter);
}

bool burble__registry_detach(struct burble__registry *registry, struct burble__answer *answer,
                             uint64_t now)
{
    pthread_mutex_lock(&registry->lock);
    assert(answer->of_registry.clients > 0);
    const bool last = --answer->of_registry.clients == 0;
    const bool alone = last && answer->of_registry.list == BURBLE__RUNNING;
    if (alone)
        answer->of_registry.since = now;
    const bool cancel = alone && !burble__answer_goes_on(answer);
    const bool leave = last && answer->of_registry.list != BURBLE__UNLISTED && !cancel
                       && burble__answer_is_shared(answer);
    if (leave)
        unlist(registry, answer);
    else if (alone && !cancel)
        meter(registry, answer);
    pthread_mutex_unlock(&registry->lock);
    if (leave) {
        burble__answer_leave(answer);
        burble__answer_drop(&answer); /* (the caller has a reference) */
    }
    return cancel;
}

/* About how much memory the log of a kept answer takes: all records are there, and there are no more. */
static uint64_t log_bytes(const struct burble__answer *answer)
{
    burble_reader *reader;
    burble_record record;
    uint64_t bytes = sizeof *answer;
    if (burble_reader_create(answer->stream, BURBLE_FROM_OLDEST, &reader, NULL) != BURBLE_OK)
        return bytes;
    while (burble_reader_next(reader, &record) == BURBLE_OK)
        bytes += record.len + RECORD_OVERHEAD;
    burble_reader_destroy(&reader);
    return bytes;
}

void burble__registry_ended(struct burble__registry *registry, struct burble__answer *answer,
                            uint64_t now)
{
    const bool kept = burble__answer_is_kept(answer);
    const uint64_t bytes = kept ? log_bytes(answer) : 0;
    pthread_mutex_lock(&registry->lock);
    const bool runs = answer->of_registry.list == BURBLE__RUNNING;
    if (runs && kept) {
        list_remove(&registry->running, answer);
        table_remove(registry, BY_STREAM, answer);
        answer->of_registry.list = BURBLE__ENDED;
        answer->of_registry.since = now;
        answer->of_registry.bytes = bytes;
        registry->bytes += bytes;
        list_add(&registry->ended, answer);
    } else if (runs) {
        unlist(registry, answer);
    }
    pthread_mutex_unlock(&registry->lock);
    if (runs && !kept)
        burble__answer_drop(&answer);
}

static bool is_open(const struct burble__answer *answer)
{
    burble_status status;
    burble_stream_status(answer->stream, &status);
    return status.state == BURBLE_OPEN;
}

/* What a tick has to do with an answer that runs. */
enum work { NOTHING, NOTE_END, CANCEL, MEASURE };

static enum work work_of(const struct burble__registry *registry, struct burble__answer *answer,
                         uint64_t now)
{
    if (!is_open(answer))
        return NOTE_END;
    const uint64_t alone = answer->of_registry.since;
    const bool has_client = answer->of_registry.clients > 0;
    if (!has_client && now > alone && now - alone >= registry->options.resume_time)
        return CANCEL;
    if (!has_client)
        meter(registry, answer);
    /* A meter is read also while clients are there, since it has a limit. */
    return answer->meter != NULL && answer->of_registry.checked != now ? MEASURE : NOTHING;
}

static void measure(const struct burble__registry *registry, struct burble__answer *answer)
{
    const uint64_t most = registry->options.max_answer;
    burble_record record;
    char message[64];
    while (answer->meter_bytes <= most && burble_reader_next(answer->meter, &record) == BURBLE_OK)
        answer->meter_bytes += record.len;
    if (answer->meter_bytes <= most)
        return;
    snprintf(message, sizeof message, "the answer is longer than %" PRIu64 " bytes", most);
    burble__answer_fail(answer, BURBLE_EFULL, message);
}

#define BATCH 64

void burble__registry_tick(struct burble__registry *registry, uint64_t now)
{
    struct burble__answer *batch[BATCH];
    enum work works[BATCH];
    size_t n;
    do { /* The lock is not held while a log is read or a backend called. */
        n = 0;
        pthread_mutex_lock(&registry->lock);
        for (struct burble__answer *answer = registry->running.oldest; answer != NULL && n < BATCH;
             answer = answer->of_registry.newer) {
            works[n] = work_of(registry, answer, now);
            if (works[n] == NOTHING)
                continue;
            answer->of_registry.checked = now;
            batch[n++] = burble__answer_ref(answer);
        }
        pthread_mutex_unlock(&registry->lock);
        for (size_t i = 0; i < n; i++) {
            if (works[i] == CANCEL)
                burble__answer_cancel(batch[i]);
            else if (works[i] == MEASURE)
                measure(registry, batch[i]);
            if (!is_open(batch[i]))
                burble__registry_ended(registry, batch[i], now);
            burble__answer_drop(&batch[i]);
        }
    } while (n == BATCH);
    bool more;
    do {
        pthread_mutex_lock(&registry->lock);
        struct burble__answer *evicted = evict_oldest(registry, now);
        pthread_mutex_unlock(&registry->lock);
        more = evicted != NULL;
        burble__answer_drop(&evicted);
    } while (more);
}

size_t burble__registry_fail_all(struct burble__registry *registry, int code, const char *message,
                                 uint64_t now)
{
    size_t failed = 0;
    for (;;) {
        pthread_mutex_lock(&registry->lock);
        struct burble__answer *answer = registry->running.oldest;
        if (answer != NULL)
            burble__answer_ref(answer);
        pthread_mutex_unlock(&registry->lock);
        if (answer == NULL)
            return failed;
        if (burble__answer_is_shared(answer) && burble__answer_goes_on(answer)) {
            burble__store_release(&answer->moved, true);
            failed += burble_stream_fail(answer->stream, code, message) == BURBLE_OK;
            burble__answer_leave(answer);
        } else {
            failed += burble__answer_fail(answer, code, message);
        }
        burble__registry_ended(registry, answer, now);
        burble__answer_drop(&answer);
    }
}

void burble__registry_stats(struct burble__registry *registry, struct burble__registry_stats *stats)
{
    pthread_mutex_lock(&registry->lock);
    *stats = (struct burble__registry_stats){
        .running = registry->running.n,
        .retained = registry->ended.n,
        .bytes = registry->bytes,
        .evicted = registry->n_evicted,
    };
    pthread_mutex_unlock(&registry->lock);
}
