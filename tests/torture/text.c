/* SPDX-License-Identifier: MIT
 *
 * From token ids to text: vocabularies, their loaders, detokenizers, stop filters and chunkers.
 */
#define _POSIX_C_SOURCE 200809L

#include "torture.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text as it comes. */
struct text {
    char bytes[1 << 14];
    size_t len;
};

static void add(struct text *text, burble_text more)
{
    CHECK(more.len <= sizeof text->bytes - text->len);
    memcpy(text->bytes + text->len, more.bytes, more.len);
    text->len += more.len;
}

static void check_same(const struct text *found, const struct text *expected)
{
    CHECK(found->len == expected->len);
    CHECK(memcmp(found->bytes, expected->bytes, expected->len) == 0);
}

/* ---- vocabularies and detokenizers ----------------------------------------------------------- */

static const burble_token tokens[] = {
    {"▁a", 4, 0},
    {"b</w>", 5, 0},
    {"▁", 3, 0},
    {"<0xE4>", 6, 0},
    {"<0xB8>", 6, 0},
    {"<0xAD>", 6, 0},
    {"n", 1, 0},
    {"'t", 2, 0},
    {"a long token that needs a buffer of its own, and one more </w>", 62, 0},
    {"##c", 3, 0},
    {"</s>", 4, BURBLE_TOKEN_SPECIAL},
};
static const int32_t ids[] = {0, 3, 4, 5, 2, 6, 7, 8, 1, 9, 2, 3, 4, 1, 10, 8, 2, 2, 8};

/* Among them, they have everything that takes memory. */
static const burble_step fallback[] = {
    {.kind = BURBLE_STEP_BYTE_FALLBACK},
    {.kind = BURBLE_STEP_METASPACE, .text = "▁", .flag = true},
    {.kind = BURBLE_STEP_FUSE},
    {.kind = BURBLE_STEP_REPLACE, .text = "a", .with = "<longer than it was>"},
    {.kind = BURBLE_STEP_STRIP, .text = " ", .start = 1, .stop = 1},
};
static const burble_step wordpiece[] = {
    {.kind = BURBLE_STEP_CTC, .text = "<pad>", .with = "|", .flag = true},
    {.kind = BURBLE_STEP_WORDPIECE, .text = "##", .flag = true},
    {.kind = BURBLE_STEP_BPE, .text = "</w>"},
};
static const burble_vocab_options decoders[] = {
    {.steps = NULL, .n_steps = 0},
    {.steps = fallback, .n_steps = COUNT(fallback)},
    {.steps = wordpiece, .n_steps = COUNT(wordpiece)},
};

void torture_vocab(void)
{
    burble_vocab *vocabs[COUNT(decoders)] = {NULL};
    burble_error error = {.message = ""};
    size_t made = 0;

    torture_begin();
    for (; made < COUNT(decoders); made++) {
        TRY(burble_vocab_create(&decoders[made], tokens, COUNT(tokens), &vocabs[made], &error));
        CHECK(burble_vocab_size(vocabs[made]) == COUNT(tokens));
    }
out:
    if (made < COUNT(decoders)) {
        CHECK(vocabs[made] == NULL);
        CHECK(error.code == BURBLE_ENOMEM && error.message[0] != '\0');
    }
    for (size_t i = 0; i < COUNT(decoders); i++)
        burble_vocab_unref(&vocabs[i]);
    torture_end();
}

static burble_detok_options options_of(unsigned set)
{
    return (burble_detok_options){.skip_special = (set & 1) != 0,
                                  .clean_up = (set & 2) != 0,
                                  .spans = (set & 4) != 0,
                                  .rewind = (set & 8) != 0 ? 3 : 0};
}

/* Without any failure: after the first id, which primes. */
static void decode(burble_vocab *vocab, const burble_detok_options *options, struct text *text)
{
    burble_detok *detok;
    burble_text more;
    text->len = 0;
    CHECK(burble_detok_create(vocab, options, &detok) == BURBLE_OK);
    CHECK(burble_detok_prime(detok, ids, 1) == BURBLE_OK);
    CHECK(burble_detok_push(detok, ids + 1, COUNT(ids) - 1, &more) == BURBLE_OK);
    add(text, more);
    burble_detok_finish(detok, &more);
    add(text, more);
    burble_detok_destroy(&detok);
}

static void check_spans(const burble_detok *detok, burble_text text, bool spans)
{
    const burble_span *span;
    size_t n, at = 0;
    burble_detok_spans(detok, &span, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(span[i].begin == at && span[i].end > at && span[i].last < COUNT(ids));
        at = span[i].end;
    }
    CHECK(at == (spans ? text.len : 0));
}

/* By two ids each, the last of which are taken back once; then on with a copy. */
static void torture_detok_with(burble_vocab *vocab, unsigned set)
{
    static struct text expected, found;
    const burble_detok_options options = options_of(set);
    burble_detok *detok = NULL, *copy = NULL;
    burble_text more;
    size_t at = 1;

    decode(vocab, &options, &expected);
    found.len = 0;
    torture_begin();
    TRY(burble_detok_create(vocab, &options, &detok));
    TRY(burble_detok_prime(detok, ids, 1));
    while (at < COUNT(ids)) {
        const size_t n = COUNT(ids) - at < 2 ? COUNT(ids) - at : 2;
        uint64_t bytes = 0;
        TRY(burble_detok_push(detok, ids + at, n, &more));
        add(&found, more);
        check_spans(detok, more, options.spans);
        at += n;
        if (options.rewind > 0 && at % 4 == 1) {
            CHECK(burble_detok_rewind(detok, 2, &bytes) == BURBLE_OK);
            CHECK(bytes <= found.len);
            found.len -= (size_t)bytes;
            at -= 2;
            TRY(burble_detok_push(detok, ids + at, 2, &more));
            add(&found, more);
            at += 2;
        }
        TRY(burble_detok_copy(detok, &copy));
        burble_detok_destroy(&detok);
        detok = copy;
        copy = NULL;
    }
out:
    if (detok != NULL) {
        burble_detok_finish(detok, &more);
        add(&found, more);
    }
    burble_detok_destroy(&detok);
    torture_end();
    if (at == COUNT(ids) && copy == NULL && !torture_for_good())
        check_same(&found, &expected);
}

void torture_detok(void)
{
    static const unsigned sets[] = {0, 2, 4, 8, 15}; /* none, some, all of options_of */
    for (size_t i = 0; i < COUNT(decoders); i++) {
        burble_vocab *vocab;
        CHECK(burble_vocab_create(&decoders[i], tokens, COUNT(tokens), &vocab, NULL) == BURBLE_OK);
        for (size_t j = 0; j < COUNT(sets); j++)
            torture_detok_with(vocab, sets[j]);
        burble_vocab_unref(&vocab);
    }
}

/* ---- stop filter, chunker -------------------------------------------------------------------- */

static const char *const pieces[] = {"To be, ",
                                     "or not\n",
                                     "",
                                     "to be: that is th",
                                     "e question: ",
                                     "whether 'tis nobler in the mind",
                                     "to suffer the slings and arrows of outrageous for",
                                     "tune"};

static void expect_pieces(struct text *text)
{
    text->len = 0;
    for (size_t i = 0; i < COUNT(pieces); i++)
        add(text, (burble_text){pieces[i], strlen(pieces[i])});
}

void torture_stop(void)
{
    static struct text expected, found;
    static const burble_text strings[] = {
        {"fortunes", 8}, {"the questions", 13}, {"\n\n", 2}, {"naïve", 6}};
    burble_stop *stop = NULL, *copy = NULL;
    burble_error error = {.code = BURBLE_OK};
    burble_text more;
    size_t done = 0;

    expect_pieces(&expected);
    found.len = 0;
    torture_begin();
    TRY(burble_stop_create(strings, COUNT(strings), false, &stop, &error));
    for (; done < COUNT(pieces); done++) {
        TRY(burble_stop_push(stop, pieces[done], strlen(pieces[done]), &more, NULL));
        add(&found, more);
        TRY(burble_stop_copy(stop, &copy));
        burble_stop_destroy(&stop);
        stop = copy;
        copy = NULL;
    }
out:
    if (stop != NULL) {
        burble_stop_finish(stop, &more);
        add(&found, more);
    }
    burble_stop_destroy(&stop);
    torture_end();
    /* What was taken comes out again, whatever failed after it. */
    if (done < COUNT(pieces))
        expected.len = found.len;
    check_same(&found, &expected);
}

void torture_chunk(void)
{
    static struct text expected, found;
    burble_chunker *chunker = NULL;
    burble_text more;
    uint32_t tokens_in = 0, tokens_out = 0, n = 0;

    expect_pieces(&expected);
    for (int rule = BURBLE_CHUNK_TOKEN; rule <= BURBLE_CHUNK_WORD; rule++) {
        found.len = 0;
        tokens_in = tokens_out = 0;
        size_t len = 0;
        torture_begin();
        TRY(burble_chunker_create((burble_chunking)rule, &chunker));
        for (size_t i = 0; i < COUNT(pieces); i++) {
            TRY(burble_chunker_push(chunker, pieces[i], strlen(pieces[i]), 1, false, &more, &n));
            add(&found, more);
            tokens_in++;
            tokens_out += n;
            len += strlen(pieces[i]);
        }
    out:
        if (chunker != NULL) {
            burble_chunker_finish(chunker, &more, &n);
            add(&found, more);
            tokens_out += n;
        }
        burble_chunker_destroy(&chunker);
        torture_end();
        expected.len = len;
        check_same(&found, &expected);
        CHECK(tokens_out == tokens_in);
    }
}

/* ---- loaders --------------------------------------------------------------------------------- */

static size_t slurp(const char *path, char *bytes, size_t room)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    const size_t n = fread(bytes, 1, room, file);
    fclose(file);
    return n;
}

static void load(const char *path, burble_vocab_format format)
{
    static char bytes[1 << 16];
    burble_vocab *read = NULL, *parsed = NULL, *clean;
    burble_error error = {.message = ""};
    const size_t size = slurp(path, bytes, sizeof bytes);
    CHECK(size < sizeof bytes);
    CHECK(burble_vocab_parse(bytes, size, format, path, &clean, NULL) == BURBLE_OK);

    torture_begin();
    TRY(burble_vocab_load(path, format, &read, &error));
    CHECK(burble_vocab_size(read) == burble_vocab_size(clean));
    CHECK(burble_vocab_memory(read) == burble_vocab_memory(clean));
    TRY(burble_vocab_parse(bytes, size, BURBLE_VOCAB_AUTO, path, &parsed, &error));
    CHECK(burble_vocab_size(parsed) == burble_vocab_size(clean));
    CHECK(burble_vocab_memory(parsed) == burble_vocab_memory(clean));
out:
    if (parsed == NULL) {
        CHECK(error.code == BURBLE_ENOMEM || error.code == BURBLE_ESYSTEM);
        CHECK(strncmp(error.message, path, strlen(path)) == 0);
        CHECK(error.message[strlen(path)] == ':');
    }
    burble_vocab_unref(&read);
    burble_vocab_unref(&parsed);
    torture_end();
    burble_vocab_unref(&clean);
}

static void load_from_corpus(burble_vocab_format format, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", torture_corpus(), names[i]);
        load(path, format);
    }
}

void torture_load_hf(void)
{
    static const char *const names[] = {"hf/bpe.json",      "hf/bytelevel.json",
                                        "hf/fallback.json", "hf/metaspace.json",
                                        "hf/merges.json",   "hf/wordpiece.json"};
    load_from_corpus(BURBLE_VOCAB_HF_JSON, names, COUNT(names));
}

void torture_load_tekken(void)
{
    static const char *const names[] = {"tekken/special.json", "tekken/implied.json"};
    load_from_corpus(BURBLE_VOCAB_TEKKEN, names, COUNT(names));
}

void torture_load_gguf(void)
{
    static const char *const names[] = {"gguf/gpt2", "gguf/llama"};
    load_from_corpus(BURBLE_VOCAB_GGUF, names, COUNT(names));
}

void torture_load_tiktoken(void)
{
    static const char *const names[] = {"tiktoken/ranks", "tiktoken/crlf"};
    load_from_corpus(BURBLE_VOCAB_TIKTOKEN, names, COUNT(names));
}

void torture_load_sentencepiece(void)
{
    static const char *const names[] = {"sentencepiece/plain", "sentencepiece/bytes"};
    load_from_corpus(BURBLE_VOCAB_SENTENCEPIECE, names, COUNT(names));
}

/* A file of which only the beginning is read, in several steps. */
void torture_load_large(void)
{
    burble_vocab *vocab = NULL;
    burble_error error = {.message = ""};
    char path[200];
    snprintf(path, sizeof path, "%s/shakespeare.gguf", torture_models());
    torture_begin();
    TRY(burble_vocab_load(path, BURBLE_VOCAB_AUTO, &vocab, &error));
    CHECK(burble_vocab_size(vocab) > 100);
out:
    burble_vocab_unref(&vocab);
    torture_end();
}
