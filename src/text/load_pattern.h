/* SPDX-License-Identifier: MIT
 *
 * What a Replace of Hugging Face's tokenizers replaces, among decoders as among normalizers: a string, or a
 * regular expression, of which those without operators are strings, too.
 */
#ifndef BURBLE_TEXT_LOAD_PATTERN_H
#define BURBLE_TEXT_LOAD_PATTERN_H

#include "text/load_json.h"

struct burble__pattern {
    struct burble__json_text text;  /* the string; bytes are NULL where there is none */
    struct burble__json_text regex; /* the expression; bytes are NULL where there is none */
    char *owned;                    /* memory of `text`, or NULL; burble__free releases it */
};

/* Reads the member `pattern`. BURBLE_OK, BURBLE_EFORMAT or BURBLE_ENOMEM. */
int burble__pattern_read(struct burble__pattern *pattern, const struct burble__source *source,
                         struct burble__json object, const char *path);

#endif
