/* SPDX-License-Identifier: MIT
 *
 * The detokenizer with any vocabulary and any ids, pushed in pieces of any length, copied and taken
 * back in between: the text is that of one push of all the ids, and its spans cover it.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include <burble/detok.h>

#include "base/utf8.h"

enum { TOKENS = 32, TOKEN_MAX = 40, IDS_MAX = 512, TEXT_MAX = 1 << 18, REWIND = 9 };

static const burble_step byte_level[] = {{.kind = BURBLE_STEP_BYTE_LEVEL}};
static const burble_step fallback[] = {
    {.kind = BURBLE_STEP_REPLACE, .text = "▁", .with = " "},
    {.kind = BURBLE_STEP_BYTE_FALLBACK},
    {.kind = BURBLE_STEP_FUSE},
    {.kind = BURBLE_STEP_STRIP, .text = " ", .start = 1, .stop = 1},
};
static const burble_step replaced_in_runs[] = {
    {.kind = BURBLE_STEP_BYTE_FALLBACK},
    {.kind = BURBLE_STEP_METASPACE, .text = "▁", .flag = true},
    {.kind = BURBLE_STEP_FUSE},
    {.kind = BURBLE_STEP_REPLACE, .text = "ab", .with = "b"},
};
static const burble_step bpe[] = {{.kind = BURBLE_STEP_BPE, .text = "c"}};
static const burble_step wordpiece[] = {{.kind = BURBLE_STEP_WORDPIECE, .text = "a", .flag = true}};
static const burble_step ctc[] = {
    {.kind = BURBLE_STEP_CTC, .text = "a", .with = "b", .flag = true}};

#define STEPS(array) {(array), sizeof(array) / sizeof(array)[0]}
static const struct {
    const burble_step *steps;
    size_t n;
} decoders[] = {
    {NULL, 0},  STEPS(byte_level), STEPS(fallback), STEPS(replaced_in_runs),
    STEPS(bpe), STEPS(wordpiece),  STEPS(ctc),
};
#define DECODERS (sizeof decoders / sizeof decoders[0])

/* What tokens that have to be UTF-8 are made of. */
static const char *const parts[] = {"a", "b", "c", " ",  "▁", "é",      "Ã",      "©",
                                    "ä", "¸", "Ń", "中", ".", "<0xC3>", "<0xA9>", "<0xE4>"};

/* Fills in a token of some parts, or where `raw` of some bytes. */
static void read_token(struct input *input, bool raw, char *bytes, burble_token *token)
{
    const uint8_t head = next_byte(input);
    size_t len = 0;
    for (unsigned i = 0; i < head % 5; i++) {
        const uint8_t byte = next_byte(input);
        if (raw) {
            bytes[len++] = (char)byte;
        } else {
            memcpy(bytes + len, parts[byte % 16], strlen(parts[byte % 16]));
            len += strlen(parts[byte % 16]);
        }
    }
    *token = (burble_token){bytes, (uint32_t)len, 0};
    token->flags |= head >= 0xE0 ? BURBLE_TOKEN_SPECIAL : 0;
    token->flags |= head % 32 == 31 ? BURBLE_TOKEN_ABSENT : 0;
}

static burble_vocab *read_vocab(struct input *input)
{
    static char bytes[TOKENS][TOKEN_MAX];
    burble_token tokens[TOKENS];
    burble_vocab_options options;
    burble_vocab *vocab;
    const uint8_t head = next_byte(input);
    burble_vocab_options_init(&options);
    options.steps = decoders[head % DECODERS].steps;
    options.n_steps = decoders[head % DECODERS].n;
    options.special_breaks = (head & 0x80) != 0;
    options.join = options.n_steps == 0 && (head & 0x40) != 0 ? " " : NULL;
    const bool raw = options.n_steps == 0;
    for (size_t i = 0; i < TOKENS; i++) {
        read_token(input, raw, bytes[i], &tokens[i]);
    }
    return burble_vocab_create(&options, tokens, TOKENS, &vocab, NULL) == BURBLE_OK ? vocab : NULL;
}

/* The text so far. */
struct text {
    char bytes[TEXT_MAX];
    size_t len;
};

static void take(struct text *text, const burble_detok *detok, burble_text more, bool spans)
{
    const burble_span *span;
    size_t n, at = 0;
    CHECK(burble__utf8_valid(more.bytes, more.len));
    CHECK(more.len <= TEXT_MAX - text->len);
    memcpy(text->bytes + text->len, more.bytes, more.len);
    text->len += more.len;
    burble_detok_spans(detok, &span, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(span[i].begin == at && span[i].end > at && span[i].first <= span[i].last);
        at = span[i].end;
    }
    CHECK(at == (spans ? more.len : 0));
}

/* Goes on with a copy. */
static burble_detok *exchange(burble_detok *detok)
{
    burble_detok *copy;
    CHECK(burble_detok_copy(detok, &copy) == BURBLE_OK);
    CHECK(burble_detok_holds(copy) == burble_detok_holds(detok));
    burble_detok_destroy(&detok);
    return copy;
}

static void check(struct input *input, burble_vocab *vocab)
{
    static struct text whole, pieces;
    static int32_t ids[IDS_MAX];
    const uint8_t head = next_byte(input);
    burble_detok_options options = {.skip_special = head & 1, .clean_up = head & 2};
    burble_detok *all, *detok;
    burble_text text;
    size_t n = 0, depth = 0; /* of the ring of the rewind */
    CHECK(burble_detok_create(vocab, &options, &all) == BURBLE_OK);
    options.spans = (head & 4) != 0;
    options.rewind = (head & 8) != 0 ? REWIND : 0;
    CHECK(burble_detok_create(vocab, &options, &detok) == BURBLE_OK);
    whole.len = pieces.len = 0;
    while (input->left > 0 && n < IDS_MAX - 8) {
        const uint8_t op = next_byte(input);
        if (op >= 0xF0) {
            detok = exchange(detok);
        } else if (op >= 0xD0) {
            uint64_t bytes = 0;
            const size_t back = op % 8;
            const int result = burble_detok_rewind(detok, back, &bytes);
            CHECK(result == (back <= depth ? BURBLE_OK : BURBLE_EINVAL));
            CHECK(bytes <= pieces.len);
            pieces.len -= (size_t)bytes;
            n -= result == BURBLE_OK ? back : 0;
            depth -= result == BURBLE_OK ? back : 0;
        } else {
            const size_t more = op % 8;
            for (size_t i = 0; i < more; i++) {
                ids[n + i] = next_byte(input) % (TOKENS + 1);
            }
            CHECK(burble_detok_push(detok, ids + n, more, &text) == BURBLE_OK);
            take(&pieces, detok, text, options.spans);
            n += more;
            depth = depth + more < options.rewind ? depth + more : options.rewind;
        }
    }
    burble_detok_finish(detok, &text);
    take(&pieces, detok, text, options.spans);
    CHECK(burble_detok_push(all, ids, n, &text) == BURBLE_OK);
    take(&whole, all, text, false);
    burble_detok_finish(all, &text);
    take(&whole, all, text, false);
    CHECK(whole.len == pieces.len && memcmp(whole.bytes, pieces.bytes, whole.len) == 0);
    burble_detok_destroy(&detok);
    burble_detok_destroy(&all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    burble_vocab *vocab = read_vocab(&input);
    if (vocab != NULL) {
        check(&input, vocab);
        burble_vocab_unref(&vocab);
    }
    return 0;
}
