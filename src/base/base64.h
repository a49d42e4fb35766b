/* SPDX-License-Identifier: MIT
 *
 * Base64 as RFC 4648, section 4, writes it: padded, nothing but the alphabet.
 */
#ifndef BURBLE_BASE_BASE64_H
#define BURBLE_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* How many bytes `n` characters decode to, at most. */
#define BURBLE__BASE64_BYTES(n) ((n) / 4 * 3)

/* Decodes `n` characters to `out`, which has room for BURBLE__BASE64_BYTES(n); *len is how many bytes
 * that were. False for what is no Base64; then *len means nothing and `out` may have been written. */
bool burble__base64_decode(const char *in, size_t n, char *out, size_t *len);

#endif
