/* SPDX-License-Identifier: MIT
 *
 * The added tokens of a tokenizer.json.
 */
#ifndef BURBLE_TEXT_LOAD_ADDED_H
#define BURBLE_TEXT_LOAD_ADDED_H

#include "text/load_json.h"

struct burble__added {
    struct burble__added_token *tokens; /* by their texts, each once */
    size_t n;
    bool begins
        [256]; /* whether a text begins with this byte: most tokens do not look like an added one */
};

/* Reads the member `added_tokens` into the table, which has the `size` tokens of the model. BURBLE_OK,
 * BURBLE_EFORMAT, BURBLE_EUNSUPPORTED or BURBLE_ENOMEM. In any case *added is to be finished, once the
 * table is no longer needed: it has texts that the normalizer has made. */
int burble__added_read(struct burble__added *added, const struct burble__source *source,
                       struct burble__json root, size_t size, struct burble__table *table);
void burble__added_finish(struct burble__added *added);

#endif
