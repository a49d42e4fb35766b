/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* pthread_rwlock_t, strnlen, strncasecmp */
#include "serve/keys.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/error_message.h"

struct key {
    char *bytes;
    size_t len;
    uint64_t identity;
};

struct set {
    struct key *keys;
    size_t n;
};

struct burble__keys {
    pthread_rwlock_t lock;
    struct set set;
    uint64_t seed; /* random, so that an identity does not give its key away */
};

int burble__keys_create(struct burble__keys **out)
{
    *out = NULL;
    struct burble__keys *keys = burble__calloc(1, sizeof *keys);
    if (keys == NULL)
        return BURBLE_ENOMEM;
    int result = BURBLE_OK;
    if (getrandom(&keys->seed, sizeof keys->seed, 0) != sizeof keys->seed)
        result = BURBLE_ESYSTEM;
    else if (pthread_rwlock_init(&keys->lock, NULL) != 0)
        result = BURBLE_ENOMEM;
    if (result == BURBLE_OK)
        *out = keys;
    else
        burble__free(keys);
    return result;
}

static void set_finish(struct set *set)
{
    for (size_t i = 0; i < set->n; i++)
        burble__free(set->keys[i].bytes);
    burble__free(set->keys);
}

void burble__keys_destroy(struct burble__keys **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    set_finish(&(*handle)->set);
    pthread_rwlock_destroy(&(*handle)->lock);
    burble__free(*handle);
    *handle = NULL;
}

/* A hash in which each byte of the key changes every bit; not 0. */
static uint64_t identity_of(uint64_t seed, const char *bytes, size_t len)
{
    uint64_t hash = seed ^ UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    hash ^= seed >> 7;
    hash ^= hash >> 33;
    hash *= UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 33;
    hash *= UINT64_C(0xc4ceb9fe1a85ec53);
    hash ^= hash >> 33;
    return hash == 0 ? 1 : hash;
}

/* Whether a header can carry it: visible ASCII. */
static bool is_key(const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return false;
    return len > 0 && len <= BURBLE__KEY_MAX;
}

static int copy(const struct burble__keys *keys, const char *const *list, size_t n, struct set *set,
                burble_error *error)
{
    *set = (struct set){0};
    set->keys = n == 0 ? NULL : burble__calloc(n, sizeof *set->keys);
    if (n > 0 && set->keys == NULL)
        return burble__error_set(error, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
    for (size_t i = 0; i < n; i++) {
        const char *key = list[i] == NULL ? "" : list[i];
        const size_t len = strnlen(key, BURBLE__KEY_MAX + 1);
        if (!is_key(key, len)) /* without the key: messages are logged */
            return burble__error_set(
                error, BURBLE_EINVAL,
                "keys[%zu]: expected 1 to %d visible ASCII characters, found other ones", i,
                BURBLE__KEY_MAX);
        char *bytes = burble__malloc(len + 1);
        if (bytes == NULL)
            return burble__error_set(error, BURBLE_ENOMEM, "%s", burble_result_text(BURBLE_ENOMEM));
        memcpy(bytes, key, len);
        set->keys[set->n++] = (struct key){bytes, len, identity_of(keys->seed, bytes, len)};
    }
    return BURBLE_OK;
}

int burble__keys_set(struct burble__keys *keys, const char *const *list, size_t n,
                     burble_error *error)
{
    struct set set;
    const int result = copy(keys, list, n, &set, error);
    if (result == BURBLE_OK) {
        pthread_rwlock_wrlock(&keys->lock);
        const struct set old = keys->set;
        keys->set = set;
        set = old;
        pthread_rwlock_unlock(&keys->lock);
    }
    set_finish(&set);
    return result;
}

void burble__keys_share_identities(struct burble__keys *keys)
{
    keys->seed = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < keys->set.n; i++) {
        struct key *key = &keys->set.keys[i];
        key->identity = identity_of(keys->seed, key->bytes, key->len);
    }
}

/* Whether they are equal, in a time that depends on the length of `presented` alone. */
static bool equal(const struct key *key, const char *presented, size_t len)
{
    size_t difference = key->len ^ len;
    for (size_t i = 0, at = 0; i < len; i++) {
        difference |= (unsigned char)(key->bytes[at] ^ presented[i]);
        at = at + 1 < key->len ? at + 1 : 0;
    }
    return difference == 0;
}

bool burble__keys_check(struct burble__keys *keys, const char *presented, size_t len,
                        uint64_t *identity)
{
    uint64_t found = 0;
    pthread_rwlock_rdlock(&keys->lock);
    const bool open = keys->set.n == 0;
    if (len <= BURBLE__KEY_MAX)
        for (size_t i = 0; i < keys->set.n; i++) {
            const uint64_t mask = 0 - (uint64_t)equal(&keys->set.keys[i], presented, len);
            found |= keys->set.keys[i].identity & mask;
        }
    pthread_rwlock_unlock(&keys->lock);
    *identity = open ? 0 : found;
    return open || found != 0;
}

bool burble__keys_exist(struct burble__keys *keys)
{
    pthread_rwlock_rdlock(&keys->lock);
    const bool exist = keys->set.n > 0;
    pthread_rwlock_unlock(&keys->lock);
    return exist;
}

const char *burble__keys_bearer(const char *value, size_t value_len, size_t *len)
{
    static const char scheme[] = "bearer";
    const size_t n = sizeof scheme - 1;
    *len = 0;
    if (value_len <= n || strncasecmp(value, scheme, n) != 0 || value[n] != ' ')
        return value;
    size_t begin = n, end = value_len;
    while (begin < end && value[begin] == ' ')
        begin++;
    while (end > begin && (value[end - 1] == ' ' || value[end - 1] == '\t'))
        end--;
    *len = end - begin;
    return value + begin;
}

bool burble__equal_secrets(const char *a, const char *b, size_t n)
{
    unsigned difference = 0;
    for (size_t i = 0; i < n; i++)
        difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
}
