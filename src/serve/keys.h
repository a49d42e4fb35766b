/* SPDX-License-Identifier: MIT
 *
 * API keys. A key that a client presents is compared with all of them, and the time that this takes says nothing
 * about them but their number. All functions may be called in any thread.
 */
#ifndef BURBLE_SERVE_KEYS_H
#define BURBLE_SERVE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>

/* The longest key, in bytes. */
#define BURBLE__KEY_MAX 512

struct burble__keys;

/* Creates a set without keys. BURBLE_OK, BURBLE_ENOMEM, or BURBLE_ESYSTEM. */
int burble__keys_create(struct burble__keys **out);

/* NULL and a pointer to NULL are allowed. */
void burble__keys_destroy(struct burble__keys **handle);

/* Replaces all keys; they are copied. BURBLE_OK; BURBLE_EINVAL: one is empty, above BURBLE__KEY_MAX, or has a byte
 * that a header cannot have; BURBLE_ENOMEM. Unless the result is BURBLE_OK, the old ones stay. */
int burble__keys_set(struct burble__keys *keys, const char *const *list, size_t n,
                     burble_error *error);

/* From now on, an identity depends on nothing but the key, so that other servers have the same. It is 64 bits of a hash: it tells a
 * long random key from others, and does not give it away. While no other thread uses the
 * set. */
void burble__keys_share_identities(struct burble__keys *keys);

/* Whether a client with this key may come in; anybody may if there are no keys. *identity tells keys apart, and is the same
 * for the same key as long as the set exists; 0: there are no keys. */
bool burble__keys_check(struct burble__keys *keys, const char *presented, size_t len,
                        uint64_t *identity);

/* Whether there are keys. */
bool burble__keys_exist(struct burble__keys *keys);

/* The key in the value of the header Authorization, "Bearer KEY"; `len` 0 if there is none. */
const char *burble__keys_bearer(const char *value, size_t value_len, size_t *len);

/* Whether two strings of `n` bytes are equal, in constant time. */
bool burble__equal_secrets(const char *a, const char *b, size_t n);

#endif
