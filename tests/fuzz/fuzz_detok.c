/* SPDX-License-Identifier: MIT
 *
 * The detokenizer with any decoder, any vocabulary and any ids, pushed in pieces of any length, copied
 * and taken back in between, behind a prompt or not: the text is that of the decoder's steps, each done
 * plainly to the whole list of tokens, and its spans cover it.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include <burble/detok.h>

#include "base/utf8.h"
#include "plain_steps.h"

enum { TOKENS = 32, TOKEN_MAX = 40, STEPS_MAX = 4, IDS_MAX = 512, REWIND = 9 };

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
static const char *const parts[] = {
    "a",  "b", "c",      " ",      "▁",      "é",      "Ã",      "©",      "ä",  "¸",    "Ń",
    "中", ".", "<0xC3>", "<0xA9>", "<0xE4>", "<0xE2>", "<0x96>", "<0x81>", "##", "</w>", "|",
    "Ġ",  "'", "n't",    "do",     "not",    "日",     "<0x41>", "<0xFF>", ",",  "x",
};
enum { PARTS = sizeof parts / sizeof parts[0] };

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
            memcpy(bytes + len, parts[byte % PARTS], strlen(parts[byte % PARTS]));
            len += strlen(parts[byte % PARTS]);
        }
    }
    *token = (burble_token){bytes, (uint32_t)len, 0};
    token->flags |= head >= 0xE0 ? BURBLE_TOKEN_SPECIAL : 0;
    token->flags |= head % 32 == 31 ? BURBLE_TOKEN_ABSENT : 0;
}

/* What an input is about. */
struct subject {
    burble_step steps[STEPS_MAX];
    burble_vocab_options options;
    char bytes[TOKENS][TOKEN_MAX];
    burble_token tokens[TOKENS];
};

/* A step of any kind, which may be one that a vocabulary refuses. */
static void read_step(struct input *input, burble_step *step)
{
    const uint8_t head = next_byte(input);
    const uint8_t text = next_byte(input);
    const uint8_t with = next_byte(input);
    const uint8_t ends = next_byte(input);
    *step = (burble_step){
        .kind = (burble_step_kind)(head % (BURBLE_STEP_CTC + 1)),
        .text = parts[text % PARTS],
        .with = with >= 0xE0 ? "" : parts[with % PARTS],
        .start = ends % 4,
        .stop = ends / 4 % 4,
        .flag = head >= 0x80,
    };
}

static void read_options(struct input *input, struct subject *subject)
{
    burble_vocab_options *options = &subject->options;
    const uint8_t head = next_byte(input);
    burble_vocab_options_init(options);
    options->steps = decoders[head % DECODERS].steps;
    options->n_steps = decoders[head % DECODERS].n;
    if ((head & 0x20) != 0) {
        options->steps = subject->steps;
        options->n_steps = 1 + head % STEPS_MAX;
        for (size_t i = 0; i < options->n_steps; i++)
            read_step(input, &subject->steps[i]);
    }
    options->special_breaks = (head & 0x80) != 0;
    options->join = options->n_steps == 0 && (head & 0x40) != 0 ? " " : NULL;
}

static burble_vocab *read_vocab(struct input *input, struct subject *subject)
{
    burble_vocab *vocab;
    read_options(input, subject);
    for (size_t i = 0; i < TOKENS; i++)
        read_token(input, subject->options.n_steps == 0, subject->bytes[i], &subject->tokens[i]);
    const int result =
        burble_vocab_create(&subject->options, subject->tokens, TOKENS, &vocab, NULL);
    CHECK(result == BURBLE_OK || result == BURBLE_EUNSUPPORTED || result == BURBLE_EINVAL);
    return vocab;
}

static void take(struct text *text, const burble_detok *detok, burble_text more, bool spans)
{
    const burble_span *span;
    size_t n, at = 0;
    CHECK(burble__utf8_valid(more.bytes, more.len));
    append(text, more.bytes, more.len);
    burble_detok_spans(detok, &span, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(span[i].begin == at && span[i].end > at && span[i].first <= span[i].last);
        at = span[i].end;
    }
    CHECK(at == (spans ? more.len : 0));
}

static void end(struct text *text, burble_detok *detok, bool spans)
{
    burble_text more;
    burble_detok_finish(detok, &more);
    CHECK(!burble_detok_has_pending(detok));
    take(text, detok, more, spans);
}

/* Goes on with a copy. */
static burble_detok *exchange(burble_detok *detok)
{
    burble_detok *copy;
    CHECK(burble_detok_copy(detok, &copy) == BURBLE_OK);
    CHECK(burble_detok_has_pending(copy) == burble_detok_has_pending(detok));
    burble_detok_destroy(&detok);
    return copy;
}

static void check_same(struct text got, struct text want)
{
    CHECK(got.len == want.len && memcmp(got.bytes, want.bytes, got.len) == 0);
    free(got.bytes);
}

/* Takes the input's pieces; returns their text, and fills in the ids that it is of. */
static struct text stream(struct input *input, burble_vocab *vocab,
                          const burble_detok_options *options, int32_t *ids, size_t *n_ids)
{
    struct text pieces = text_of("", 0);
    burble_detok *detok;
    burble_text text;
    size_t n = 0, depth = 0; /* of the ring of the rewind */
    CHECK(burble_detok_create(vocab, options, &detok) == BURBLE_OK);
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
            for (size_t i = 0; i < more; i++)
                ids[n + i] = next_byte(input) % (TOKENS + 1);
            CHECK(burble_detok_push(detok, ids + n, more, &text) == BURBLE_OK);
            take(&pieces, detok, text, options->spans);
            n += more;
            depth = depth + more < options->rewind ? depth + more : options->rewind;
        }
    }
    end(&pieces, detok, options->spans);
    burble_detok_destroy(&detok);
    *n_ids = n;
    return pieces;
}

/* The same ids, `n_first` of them at once and the others `step` by `step`. */
static struct text push_all(burble_detok *detok, const int32_t *ids, size_t n, size_t n_first,
                            size_t step)
{
    struct text all = text_of("", 0);
    burble_text text;
    for (size_t at = 0, more = n_first; at < n; at += more, more = step) {
        more = more < n - at ? more : n - at;
        CHECK(burble_detok_push(detok, ids + at, more, &text) == BURBLE_OK);
        take(&all, detok, text, false);
    }
    return all;
}

static void check(struct input *input, const struct subject *subject, burble_vocab *vocab)
{
    const uint8_t head = next_byte(input);
    burble_detok_options options = {.skip_special = head & 1, .clean_up = head & 2};
    burble_detok *plain, *primed;
    int32_t ids[IDS_MAX];
    size_t n;
    CHECK(burble_detok_create(vocab, &options, &plain) == BURBLE_OK);
    CHECK(burble_detok_create(vocab, &options, &primed) == BURBLE_OK);
    options.spans = (head & 4) != 0;
    options.rewind = (head & 8) != 0 ? REWIND : 0;
    const struct text pieces = stream(input, vocab, &options, ids, &n);
    const struct text want =
        plain_decode(&subject->options, subject->tokens, TOKENS, &options, ids, n);
    check_same(pieces, want);

    struct text whole = push_all(plain, ids, n, n, n);
    end(&whole, plain, false);
    check_same(whole, want);
    struct text each = push_all(plain, ids, n, 1, 1);
    end(&each, plain, false);
    check_same(each, want);

    /* Behind a prompt comes what follows it. */
    const size_t prompt = n * (head / 16u) / 16;
    struct text all = push_all(plain, ids, prompt, prompt, prompt);
    CHECK(burble_detok_prime(primed, ids, prompt) == BURBLE_OK);
    struct text rest = push_all(primed, ids + prompt, n - prompt, n - prompt, 1);
    end(&rest, primed, false);
    append(&all, rest.bytes, rest.len);
    free(rest.bytes);
    check_same(all, want);
    free(want.bytes);
    burble_detok_destroy(&primed);
    burble_detok_destroy(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct subject subject;
    struct input input = {data, size};
    burble_vocab *vocab = read_vocab(&input, &subject);
    if (vocab != NULL) {
        check(&input, &subject, vocab);
        burble_vocab_unref(&vocab);
    }
    return 0;
}
