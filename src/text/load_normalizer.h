/* SPDX-License-Identifier: MIT
 *
 * The normalizer in a tokenizer.json, for its added tokens.
 */
#ifndef BURBLE_TEXT_LOAD_NORMALIZER_H
#define BURBLE_TEXT_LOAD_NORMALIZER_H

#include "text/load_json.h"
#include "text/normalize.h"

/* How many steps a normalizer has, at most (nobody's has 20). */
#define BURBLE__NORMALS_MAX 64

struct burble__normalizer {
    struct burble__normal steps[BURBLE__NORMALS_MAX]; /* their texts are the file's */
    size_t n;
    size_t made; /* bytes of text */
};

/* Reads the member `normalizer`, if there is one. One that is not known is no failure: only texts
 * that go through it are refused. Results as those of the loaders. */
int burble__normalizer_read(struct burble__normalizer *normalizer,
                            const struct burble__source *source, const json_t *root);

/* Replaces a string by what the normalizer makes of it; `path` is where it stands, for messages.
 * BURBLE_OK, BURBLE_EUNSUPPORTED, BURBLE_EFORMAT (all texts together become longer than a vocabulary
 * may be, or this one longer than a token in all proportion), or BURBLE_ENOMEM, which it does not
 * report. */
int burble__normalizer_run(struct burble__normalizer *normalizer,
                           const struct burble__source *source, const char *path, json_t *content);

#endif
