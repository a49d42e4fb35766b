/* SPDX-License-Identifier: MIT
 *
 * The origins of a detokenizer's text. Each byte has an origin: the tokens that it came from. The returned
 * text is described by spans of one origin each.
 */
#include "text/detok.h"

static int put_replacements(burble_detok *detok, const struct burble__origins *origins, size_t held,
                            size_t len)
{
    struct burble__writer *out = &detok->out;
    const size_t each = len / 3 == held ? 1 : held; /* bytes that one U+FFFD stands for */
    int result = BURBLE_OK;
    for (size_t i = 0; i < len / 3 && result == BURBLE_OK; i++) {
        const struct burble__origin origin = {origins->at[i * each].first,
                                              origins->at[i * each + each - 1].last};
        result = burble__writer_put(out, "\xEF\xBF\xBD", 3, &origin);
    }
    return result;
}

int burble__origins_feed(burble_detok *detok, struct burble__origins *origins, char byte,
                         uint64_t token)
{
    struct burble__utf8 *utf8 = &detok->state->utf8;
    const struct burble__origin own = {token, token};
    const size_t before = utf8->held;
    char text[BURBLE__UTF8_GROWTH * (BURBLE__UTF8_HELD_MAX + 1)];
    origins->at[before] = own;
    size_t len = burble__utf8_feed(utf8, &byte, 1, text);
    if (len == 0)
        return BURBLE_OK;
    if (utf8->held == 0 && len == before + 1
        && (before == 0 || ((unsigned char)byte & 0xC0) == 0x80)) {
        const struct burble__origin whole = {origins->at[0].first, token};
        return burble__writer_put(&detok->out, text, len, &whole);
    }
    size_t broken = 0; /* bytes of text for what was held before */
    if (before > 0)
        broken = utf8->rule == BURBLE__UTF8_PER_BYTE ? 3 * before : 3;
    int result = put_replacements(detok, origins, before, broken);
    if (result == BURBLE_OK)
        result = burble__writer_put(&detok->out, text + broken, len - broken, &own);
    origins->at[0] = own;
    return result;
}

int burble__origins_flush(burble_detok *detok, const struct burble__origins *origins)
{
    char text[BURBLE__UTF8_GROWTH * BURBLE__UTF8_HELD_MAX];
    const size_t held = detok->state->utf8.held;
    return put_replacements(detok, origins, held, burble__utf8_flush(&detok->state->utf8, text));
}

int burble__spans_note(burble_detok *detok, const struct burble__traced *text)
{
    detok->spans.len = 0;
    for (size_t begin = 0, end; begin < text->len; begin = end) {
        const struct burble__origin *origin = &text->origins[begin];
        for (end = begin + 1; end < text->len && text->origins[end].first == origin->first
                              && text->origins[end].last == origin->last;) {
            end++;
        }
        const burble_span span = {begin, end, origin->first, origin->last};
        if (burble__buffer_append(&detok->spans, (const char *)&span, sizeof span) != BURBLE_OK)
            return BURBLE_ENOMEM;
    }
    return BURBLE_OK;
}

void burble_detok_spans(const burble_detok *detok, const burble_span **spans, size_t *n)
{
    static const burble_span none = {0};
    *n = detok->spans.len / sizeof **spans;
    *spans = *n == 0 ? &none : (const void *)detok->spans.bytes;
}
