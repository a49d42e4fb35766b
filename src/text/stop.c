/* SPDX-License-Identifier: MIT
 *
 * The stop filter: a matcher, and the text that it holds back.
 *
 * The text held back is the end of the text that the matcher's state represents. It is the beginning of a stop
 * string, so it need not be stored: the matcher has it. If the text before it is in one piece, either old or
 * new, it is returned in place; otherwise the two pieces are joined.
 *
 * Why only whole characters are returned. The text and the stop strings are UTF-8, so each stop string begins
 * with the first byte of a character and ends with the last byte of one. The first byte of a character is
 * never a later byte of another one. So wherever the beginning of a stop string occurs in the text, it begins
 * at the beginning of a character, and the text before it consists of whole characters; and a match ends at
 * the end of a character. The caller promises that each push consists of whole characters.
 */
#include <burble/stop.h>

#include <assert.h>
#include <string.h>

#include <burble/stream.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/error_message.h"
#include "base/utf8.h"
#include "text/matcher.h"
#include "text/vocab.h"

struct burble_stop {
    struct burble__matcher *matcher;
    bool include;
    bool met;       /* and `match` says what */
    uint32_t state; /* of the matcher */
    uint64_t taken; /* bytes of text so far */
    burble_stop_match match;
    struct burble__buffer joined; /* the text handed out last, where it is in no piece */
};

/* ---- making ---------------------------------------------------------------------------------- */

static int check(const burble_text *strings, size_t n, burble_error *error)
{
    size_t total = 0;
    if (n > BURBLE_STOP_MAX_STRINGS) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "expected at most %d stop strings, found %zu",
                                 BURBLE_STOP_MAX_STRINGS, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (strings[i].len == 0) {
            return burble__error_set(error, BURBLE_EINVAL,
                                     "stop string %zu of %zu: expected some text, found none",
                                     i + 1, n);
        }
        if (strings[i].len > BURBLE_STOP_MAX_BYTES - total) {
            return burble__error_set(
                error, BURBLE_EINVAL,
                "stop string %zu of %zu: expected at most %u bytes in all of them "
                "together, found %zu up to this one",
                i + 1, n, BURBLE_STOP_MAX_BYTES, total + strings[i].len);
        }
        if (!burble__utf8_valid(strings[i].bytes, strings[i].len)) {
            return burble__error_set(
                error, BURBLE_EINVAL,
                "stop string %zu of %zu: expected UTF-8, found bytes that are not", i + 1, n);
        }
        total += strings[i].len;
    }
    return BURBLE_OK;
}

int burble_stop_create(const burble_text *strings, size_t n, bool include, burble_stop **out,
                       burble_error *error)
{
    *out = NULL;
    const int checked = check(strings, n, error);
    if (checked != BURBLE_OK)
        return checked;
    burble_stop *stop = burble__malloc(sizeof *stop);
    if (stop == NULL)
        goto no_memory;
    *stop = (burble_stop){.include = include, .state = BURBLE__MATCHER_ROOT};
    if (burble__matcher_create(strings, n, &stop->matcher) != BURBLE_OK)
        goto no_matcher;
    /* A text that is to fit in a record, and what may be held back in front of it. */
    burble__buffer_init(&stop->joined, BURBLE_RECORD_MAX + BURBLE_STOP_MAX_BYTES);
    *out = stop;
    return BURBLE_OK;

no_matcher:
    burble__free(stop);
no_memory:
    return burble__error_set(error, BURBLE_ENOMEM, "no memory for %zu stop strings", n);
}

int burble_stop_copy(const burble_stop *stop, burble_stop **out)
{
    burble_stop *copy = burble__malloc(sizeof *copy);
    *out = copy;
    if (copy == NULL)
        return BURBLE_ENOMEM;
    *copy = *stop;
    burble__matcher_ref(copy->matcher);
    /* The text that was handed out last belongs to the original. */
    burble__buffer_init(&copy->joined, stop->joined.max);
    return BURBLE_OK;
}

void burble_stop_destroy(burble_stop **stop)
{
    if (stop == NULL || *stop == NULL)
        return;
    burble__buffer_finish(&(*stop)->joined);
    burble__matcher_unref(&(*stop)->matcher);
    burble__free(*stop);
    *stop = NULL;
}

/* ---- filtering ------------------------------------------------------------------------------- */

/* The first `len` bytes of what was held back and the new text together. BURBLE_OK or
 * BURBLE_ENOMEM. */
static int hand_out(burble_stop *stop, burble_text held, const char *text, size_t len,
                    burble_text *out)
{
    if (len <= held.len) {
        *out = (burble_text){.bytes = held.bytes, .len = len};
        return BURBLE_OK;
    }
    if (held.len == 0) {
        *out = (burble_text){.bytes = text, .len = len};
        return BURBLE_OK;
    }
    if (burble__buffer_reserve(&stop->joined, len) != BURBLE_OK)
        return BURBLE_ENOMEM;
    burble__buffer_append(&stop->joined, held.bytes, held.len);
    burble__buffer_append(&stop->joined, text, len - held.len);
    *out = (burble_text){.bytes = stop->joined.bytes, .len = len};
    return BURBLE_OK;
}

int burble_stop_push(burble_stop *stop, const char *text, size_t len, burble_text *out,
                     burble_stop_match *match)
{
    *out = (burble_text){.bytes = ""};
    stop->joined.len = 0;
    if (!stop->met) {
        const burble_text held = burble__matcher_end(stop->matcher, stop->state);
        uint32_t state = stop->state;
        const size_t read = burble__matcher_run(stop->matcher, &state, text, len);
        const bool met = burble__matcher_met(stop->matcher, state);
        const burble_text end = burble__matcher_end(stop->matcher, state);
        /* The string of `state` is a suffix of this. */
        assert(end.len <= held.len + read);
        const size_t settled = held.len + read - (met && stop->include ? 0 : end.len);
        if (hand_out(stop, held, text, settled, out) != BURBLE_OK)
            return BURBLE_ENOMEM;
        stop->state = state;
        stop->taken += read;
        stop->met = met;
        if (met) {
            stop->match = (burble_stop_match){.which = burble__matcher_which(stop->matcher, state),
                                              .begin = stop->taken - end.len,
                                              .end = stop->taken};
        }
    }
    if (!stop->met)
        return BURBLE_OK;
    if (match != NULL)
        *match = stop->match;
    return BURBLE_END;
}

void burble_stop_finish(burble_stop *stop, burble_text *out)
{
    *out = (burble_text){.bytes = ""};
    if (!stop->met)
        *out = burble__matcher_end(stop->matcher, stop->state);
    burble_stop_reset(stop);
}

bool burble_stop_has_pending(const burble_stop *stop)
{
    return !stop->met && stop->state != BURBLE__MATCHER_ROOT;
}

void burble_stop_reset(burble_stop *stop)
{
    stop->joined.len = 0;
    stop->met = false;
    stop->state = BURBLE__MATCHER_ROOT;
    stop->taken = 0;
}

/* ---- special tokens -------------------------------------------------------------------------- */

/* Whether this is the token's text, wherever in the sequence it stands. */
static bool is_text_of(const burble_vocab *vocab, uint32_t id, const burble_text *string)
{
    for (unsigned place = 0; place <= (BURBLE__AT_FIRST | BURBLE__AT_LAST); place++) {
        const burble__piece piece = burble__vocab_at(vocab, id, vocab->pieces[id], place);
        if (burble__piece_len(piece) == string->len
            && memcmp(burble__piece_bytes(vocab, piece), string->bytes, string->len) == 0) {
            return true;
        }
    }
    return false;
}

size_t burble_stop_tokens(const burble_vocab *vocab, const burble_text *strings, size_t n,
                          burble_stop_token *tokens, size_t capacity)
{
    size_t found = 0;
    for (uint32_t id = 0; id < vocab->size; id++) {
        if ((vocab->pieces[id] & BURBLE__PIECE_SPECIAL) == 0)
            continue;
        size_t which = 0;
        while (which < n && !is_text_of(vocab, id, &strings[which]))
            which++;
        if (which == n)
            continue;
        if (found < capacity)
            tokens[found] = (burble_stop_token){.id = id, .which = which};
        found++;
    }
    return found;
}
