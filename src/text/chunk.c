/* SPDX-License-Identifier: MIT
 *
 * The chunker: where a stream of text is cut.
 *
 * Text that is kept back until its word ends is copied to `pending`. A chunk that needs no such text is
 * returned in place, in the caller's text.
 *
 * Why the work is linear. Between two pushes, the text that is kept back contains no space: the last push
 * cut after the last space that it saw, or returned everything. So the next cut can only be in the new
 * text, and only that is searched. A chunk at the front of `pending` is dropped at the next call, which
 * moves the bytes after it. These are the end of one push's text, after its last space, so each byte is
 * moved at most once.
 *
 * The text that is kept back is bounded: a word that would become longer than BURBLE_WORD_MAX is returned
 * as it is, by the push that reaches this length. Each push consists of whole characters, so no cut splits
 * one.
 */
#include <burble/chunk.h>

#include <string.h>

#include <burble/stream.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/utf8.h"

struct burble_chunker {
    burble_chunking rule;
    uint32_t tokens; /* since the last chunk; stays at its maximum */
    size_t handed;   /* bytes at the front of `pending` that are the last chunk */
    struct burble__buffer pending;
};

/* Whether transformers treats this character as an ideograph, after which it cuts.
 * Source: TextStreamer._is_chinese_char in src/transformers/generation/streamers.py of
 * https://github.com/huggingface/transformers (CJK ideographs, but no kana and no Hangul). */
static bool is_ideograph(uint32_t character)
{
    static const uint32_t ranges[][2] = {
        {0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
        {0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (character >= ranges[i][0] && character <= ranges[i][1])
            return true;
    return false;
}

/* Whether text that ends like this may be cut at its end. */
static bool ends_chunk(const char *bytes, size_t n)
{
    if (n == 0)
        return false;
    const uint32_t last = burble__utf8_last(bytes, n);
    return last == '\n' || is_ideograph(last);
}

/* The number of bytes up to and including the last space; 0 if there is none. */
static size_t through_last_space(const char *bytes, size_t n)
{
    while (n > 0 && bytes[n - 1] != ' ')
        n--;
    return n;
}

/* How many bytes of what waits and the new text together are a chunk. */
static size_t cut(const burble_chunker *chunker, const char *text, size_t len, bool incomplete)
{
    const struct burble__buffer *pending = &chunker->pending;
    if (chunker->rule == BURBLE_CHUNK_TOKEN)
        return len; /* nothing ever waits */
    if (!incomplete && (len > 0 ? ends_chunk(text, len) : ends_chunk(pending->bytes, pending->len)))
        return pending->len + len;
    const size_t through = through_last_space(text, len);
    const size_t ready = through == 0 ? 0 : pending->len + through;
    const bool fits = pending->len + len - ready <= BURBLE_WORD_MAX;
    return fits ? ready : pending->len + len;
}

/* Drops the last chunk, which is no longer valid for the caller. */
static void drop_handed(burble_chunker *chunker)
{
    burble__buffer_drop(&chunker->pending, chunker->handed);
    chunker->handed = 0;
}

/* Returns the count of tokens and begins a new one. */
static void hand_tokens(burble_chunker *chunker, uint32_t *tokens)
{
    if (tokens != NULL)
        *tokens = chunker->tokens;
    chunker->tokens = 0;
}

int burble_chunker_create(burble_chunking rule, burble_chunker **out)
{
    *out = NULL;
    if (rule != BURBLE_CHUNK_TOKEN && rule != BURBLE_CHUNK_WORD)
        return BURBLE_EINVAL;
    burble_chunker *chunker = burble__malloc(sizeof *chunker);
    if (chunker == NULL)
        return BURBLE_ENOMEM;
    *chunker = (burble_chunker){.rule = rule};
    /* A chunk must fit into one record. */
    burble__buffer_init(&chunker->pending, BURBLE_RECORD_MAX);
    *out = chunker;
    return BURBLE_OK;
}

void burble_chunker_destroy(burble_chunker **chunker)
{
    if (chunker == NULL || *chunker == NULL)
        return;
    burble__buffer_finish(&(*chunker)->pending);
    burble__free(*chunker);
    *chunker = NULL;
}

int burble_chunker_push(burble_chunker *chunker, const char *text, size_t len, uint32_t tokens,
                        bool incomplete, burble_text *chunk, uint32_t *chunk_tokens)
{
    struct burble__buffer *pending = &chunker->pending;
    *chunk = (burble_text){.bytes = ""};
    if (chunk_tokens != NULL)
        *chunk_tokens = 0;
    drop_handed(chunker);

    const size_t ready = cut(chunker, text, len, incomplete);
    const bool in_place = pending->len == 0; /* the chunk, if there is one, lies in `text` alone */
    const size_t from = in_place ? ready : 0;
    if (from < len && burble__buffer_append(pending, text + from, len - from) != BURBLE_OK)
        return BURBLE_ENOMEM;
    chunker->tokens = tokens > UINT32_MAX - chunker->tokens ? UINT32_MAX : chunker->tokens + tokens;
    if (ready == 0)
        return BURBLE_OK;
    if (in_place) {
        *chunk = (burble_text){.bytes = text, .len = ready};
    } else {
        *chunk = (burble_text){.bytes = pending->bytes, .len = ready};
        chunker->handed = ready;
    }
    hand_tokens(chunker, chunk_tokens);
    return BURBLE_OK;
}

void burble_chunker_finish(burble_chunker *chunker, burble_text *chunk, uint32_t *chunk_tokens)
{
    drop_handed(chunker);
    *chunk = (burble_text){.bytes = ""};
    if (chunker->pending.len > 0)
        *chunk = (burble_text){.bytes = chunker->pending.bytes, .len = chunker->pending.len};
    hand_tokens(chunker, chunk_tokens);
    chunker->pending.len = 0; /* the bytes stay where they are until the next push */
}

void burble_chunker_reset(burble_chunker *chunker)
{
    chunker->handed = 0;
    chunker->tokens = 0;
    chunker->pending.len = 0;
}
