/* SPDX-License-Identifier: MIT
 *
 * Assets by their path, and whether a client has one already.
 */
#include "serve/page.h"

#include <string.h>

#include "serve/page_assets.h"

const struct burble__asset *burble__asset_find(const char *path, size_t len)
{
    for (size_t i = 0; i < burble__n_assets; i++) {
        const struct burble__asset *asset = &burble__assets[i];
        if (strlen(asset->path) == len && memcmp(asset->path, path, len) == 0)
            return asset;
    }
    return NULL;
}

/* RFC 9110, 13.1.2: "*", or a list of tags, of which a weak one ("W/" before it) counts as well. A tag of ours has no
 * comma, and no other tag can hold it with its quotation marks. */
bool burble__asset_matches(const struct burble__asset *asset, const char *if_none_match, size_t len)
{
    if (if_none_match == NULL)
        return false;
    if (len == 1 && if_none_match[0] == '*')
        return true;
    const size_t tag = strlen(asset->etag);
    for (size_t at = 0; at + tag <= len; at++)
        if (memcmp(if_none_match + at, asset->etag, tag) == 0)
            return true;
    return false;
}
