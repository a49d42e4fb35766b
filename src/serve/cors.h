/* SPDX-License-Identifier: MIT
 *
 * Cross-origin requests: which origins may read replies, and the headers that say so.
 */
#ifndef BURBLE_SERVE_CORS_H
#define BURBLE_SERVE_CORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* Whether a server with these origins ("*": any) answers requests of `origin`. */
bool burble__cors_allows(const char *const *origins, size_t n, const char *origin, size_t len);

/* Appends the header lines of a reply to a request of this origin, which is allowed. BURBLE_OK or BURBLE_ENOMEM. */
int burble__cors_write(const char *const *origins, size_t n, const char *origin, size_t len,
                       struct burble__buffer *buffer);

/* The same for the reply to a preflight: OPTIONS with Access-Control-Request-Method. `requested` is the value of
 * Access-Control-Request-Headers, or NULL. */
int burble__cors_write_preflight(const char *const *origins, size_t n, const char *origin,
                                 size_t len, const char *requested, size_t requested_len,
                                 struct burble__buffer *buffer);

#endif
