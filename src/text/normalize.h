/* SPDX-License-Identifier: MIT
 *
 * The normalizers of Hugging Face's tokenizers, as far as added tokens need them.
 *
 * A normalized added token is decoded to the text that its normalizer makes of it. Most normalizers need the
 * tables of Unicode, which burble does not have. They are applied to texts for which no table is needed, and
 * refused for others.
 */
#ifndef BURBLE_TEXT_NORMALIZE_H
#define BURBLE_TEXT_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* Plain: printable ASCII and Han ideographs. */
enum burble__normal_kind {
    BURBLE__NORMAL_PREPEND,     /* `text` before it, if there is any of it */
    BURBLE__NORMAL_REPLACE,     /* `text` by `with` */
    BURBLE__NORMAL_STRIP,       /* white space from its `left` and its `right`; of plain text */
    BURBLE__NORMAL_LOWER,       /* capital letters; of plain text */
    BURBLE__NORMAL_COMPOSE,     /* what is composed stays as it is: NFC */
    BURBLE__NORMAL_PLAIN,       /* what is plain stays as it is */
    BURBLE__NORMAL_ASCII,       /* what is printable ASCII stays as it is */
    BURBLE__NORMAL_LOWER_ASCII, /* capital letters; of printable ASCII */
    BURBLE__NORMAL_SPACES,      /* what is plain and has no space stays as it is */
    BURBLE__NORMAL_KEYS,        /* what is printable ASCII and has none of `keys` stays as it is */
    BURBLE__NORMAL_OTHER        /* not known: nothing stays as it is */
};

struct burble__normal {
    enum burble__normal_kind kind;
    const char *name; /* of the normalizer, for messages */
    const char *text, *with;
    size_t text_len, with_len; /* bytes; a REPLACE has some text */
    const char *regex; /* that its file has, of `regex_len` bytes, for messages; NULL: none */
    size_t regex_len;
    char *owned; /* memory of `text`, or NULL */
    bool left, right;
    bool keys[0x80];
};

/* Takes the text through one step. Work: proportional to its length, before and after.
 *
 * BURBLE_OK
 * BURBLE_EUNSUPPORTED  the step cannot be done to this text
 * BURBLE_EFULL         it becomes longer than text->max
 * BURBLE_ENOMEM */
int burble__normalize(const struct burble__normal *step, struct burble__buffer *text);

#endif
