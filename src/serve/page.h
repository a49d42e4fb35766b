/* SPDX-License-Identifier: MIT
 *
 * The page at /: files of src/serve/page/, whose bytes the build puts into the library (page/embed.py). They are
 * constant, and may be read in any thread.
 */
#ifndef BURBLE_SERVE_PAGE_H
#define BURBLE_SERVE_PAGE_H

#include <stdbool.h>
#include <stddef.h>

struct burble__asset {
    const char *path; /* "/" or "/page/NAME" */
    const char *type; /* Content-Type */
    const char *etag; /* with its quotation marks; changes with the bytes */
    const unsigned char *bytes;
    size_t len;
};

/* Headers of every asset, beside Content-Type, Content-Length and ETag. The policy lets the page run no script but its
 * own, and talk to no server but its own. */
#define BURBLE__ASSET_HEADERS                                                                      \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "           \
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "                    \
    "frame-ancestors 'none'\r\n"                                                                   \
    "X-Content-Type-Options: nosniff\r\n"                                                          \
    "Referrer-Policy: no-referrer\r\n"                                                             \
    "Cache-Control: no-cache\r\n"

/* The asset at a path, which is without its query and need not end in NUL. NULL: there is none. */
const struct burble__asset *burble__asset_find(const char *path, size_t len);

/* Whether a client that sent this If-None-Match (NULL: none) has the asset's bytes already: status 304. */
bool burble__asset_matches(const struct burble__asset *asset, const char *if_none_match,
                           size_t len);

#endif
