/* SPDX-License-Identifier: MIT
 *
 * What there is instead of the loaders for JSON files in a build without jansson.
 */
#include "text/load.h"

int burble__load_json(const struct burble__source *source, burble_vocab_format format,
                      burble_vocab **out)
{
    (void)format;
    *out = NULL;
    return burble__load_fail(
        source, BURBLE_EUNSUPPORTED,
        "a JSON file; this build of burble has no loader for them (it was made "
        "with -Djson=disabled or without jansson)");
}
