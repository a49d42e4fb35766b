/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json of Hugging Face's tokenizers.
 *
 * Source of the rules: the `Deserialize` implementations below tokenizers/src/decoders of
 * https://github.com/huggingface/tokenizers, version 0.23.3.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/load_added.h"
#include "text/load_pattern.h"

/* How many steps a decoder has, at most (nobody's has 10), and how deep sequences of decoders go. */
#define STEPS_MAX 32
#define DEPTH_MAX 16

/* ---- decoder ------------------------------------------------------------------------------------- */

struct decoder {
    const struct burble__source *source;
    burble_step steps[STEPS_MAX];
    char *owned[STEPS_MAX]; /* memory of steps' texts that are not the file's, or NULL */
    size_t n;
};

/* Whether text of a step has no NUL, as it ends in one. */
static int check_text(const struct burble__source *source, const char *path,
                      struct burble__json_text text)
{
    return strlen(text.bytes) == text.len
               ? BURBLE_OK
               : burble__load_fail(source, BURBLE_EUNSUPPORTED, "%s: a NUL in a decoder", path);
}

/* A member that is text for a step. */
static int read_text(const struct burble__source *source, struct burble__json object,
                     const char *path, const char *key, const char **out)
{
    struct burble__json string;
    const int result = burble__json_member(source, object, path, key, BURBLE__JSON_STRING, &string);
    if (result != BURBLE_OK)
        return result;
    *out = burble__json_text(string).bytes;
    return check_text(source, burble__path_member(path, key).text, burble__json_text(string));
}

/* The same for text of one character. */
static int read_character(const struct burble__source *source, struct burble__json object,
                          const char *path, const char *key, const char **out)
{
    const int result = read_text(source, object, path, key, out);
    if (result != BURBLE_OK)
        return result;
    size_t characters = 0;
    for (const char *at = *out; *at != '\0'; at++)
        characters += ((unsigned char)*at & 0xC0) != 0x80;
    if (characters != 1) {
        return burble__json_fail(source, burble__path_member(path, key).text, "one character",
                                 burble__json_get(object, key));
    }
    return BURBLE_OK;
}

static int read_count(const struct burble__source *source, struct burble__json object,
                      const char *path, const char *key, uint32_t *out)
{
    struct burble__json count = burble__json_get(object, key);
    const int64_t value = burble__json_integer(count);
    if (!burble__json_is(count, BURBLE__JSON_INTEGER) || value < 0) {
        return burble__json_fail(source, burble__path_member(path, key).text,
                                 "an integer of at least 0", count);
    }
    *out = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return BURBLE_OK;
}

static int read_plain(struct decoder *decoder, struct burble__json object, const char *path,
                      burble_step *step)
{
    (void)decoder, (void)object, (void)path, (void)step;
    return BURBLE_OK;
}

static int read_replace(struct decoder *decoder, struct burble__json object, const char *path,
                        burble_step *step)
{
    const struct burble__source *source = decoder->source;
    struct burble__pattern pattern;
    int result = burble__pattern_read(&pattern, source, object, path);
    decoder->owned[decoder->n - 1] = pattern.owned;
    if (result != BURBLE_OK)
        return result;
    const struct burble__path at = burble__path_member(path, "pattern");
    if (pattern.text.bytes == NULL) {
        return burble__load_fail(
            source, BURBLE_EUNSUPPORTED,
            "%s: Replace with the Regex %s is not supported in a decoder" BURBLE__JSON_INSTEAD,
            at.text, burble__quote(pattern.regex.bytes, pattern.regex.len).text);
    }
    step->text = pattern.text.bytes;
    result = check_text(source, at.text, pattern.text);
    return result == BURBLE_OK ? read_text(source, object, path, "content", &step->with) : result;
}

static int read_strip(struct decoder *decoder, struct burble__json object, const char *path,
                      burble_step *step)
{
    const struct burble__source *source = decoder->source;
    int result = read_character(source, object, path, "content", &step->text);
    if (result == BURBLE_OK)
        result = read_count(source, object, path, "start", &step->start);
    return result == BURBLE_OK ? read_count(source, object, path, "stop", &step->stop) : result;
}

/* `flag` is for any prepend scheme but "never". Files from before that member existed have
 * add_prefix_space, which must not contradict it. */
static int read_metaspace(struct decoder *decoder, struct burble__json object, const char *path,
                          burble_step *step)
{
    const struct burble__source *source = decoder->source;
    const int result = read_character(source, object, path, "replacement", &step->text);
    if (result != BURBLE_OK)
        return result;
    struct burble__json scheme = burble__json_get(object, "prepend_scheme");
    const bool never = burble__json_equals(scheme, "never");
    if (scheme.at != NULL && !never && !burble__json_equals(scheme, "always")
        && !burble__json_equals(scheme, "first")) {
        return burble__json_fail(source, burble__path_member(path, "prepend_scheme").text,
                                 "\"always\", \"first\" or \"never\"", scheme);
    }
    step->flag = !never;
    struct burble__json prefix_space = burble__json_get(object, "add_prefix_space");
    if (burble__json_is(prefix_space, BURBLE__JSON_FALSE) && step->flag) {
        return burble__json_fail(source, burble__path_member(path, "prepend_scheme").text,
                                 "\"never\", as add_prefix_space is false", scheme);
    }
    return BURBLE_OK;
}

static int read_wordpiece(struct decoder *decoder, struct burble__json object, const char *path,
                          burble_step *step)
{
    const struct burble__source *source = decoder->source;
    const int result = read_text(source, object, path, "prefix", &step->text);
    return result == BURBLE_OK ? burble__json_flag(source, object, path, "cleanup", &step->flag)
                               : result;
}

static int read_bpe(struct decoder *decoder, struct burble__json object, const char *path,
                    burble_step *step)
{
    const struct burble__source *source = decoder->source;
    return read_text(source, object, path, "suffix", &step->text);
}

static int read_ctc(struct decoder *decoder, struct burble__json object, const char *path,
                    burble_step *step)
{
    const struct burble__source *source = decoder->source;
    int result = read_text(source, object, path, "pad_token", &step->text);
    if (result == BURBLE_OK)
        result = read_text(source, object, path, "word_delimiter_token", &step->with);
    return result == BURBLE_OK ? burble__json_flag(source, object, path, "cleanup", &step->flag)
                               : result;
}

typedef int read_step_fn(struct decoder *, struct burble__json, const char *, burble_step *);

static const struct {
    const char *name;
    burble_step_kind kind;
    read_step_fn *read;
} kinds[] = {
    {"ByteLevel", BURBLE_STEP_BYTE_LEVEL, read_plain},
    {"ByteFallback", BURBLE_STEP_BYTE_FALLBACK, read_plain},
    {"Fuse", BURBLE_STEP_FUSE, read_plain},
    {"Replace", BURBLE_STEP_REPLACE, read_replace},
    {"Strip", BURBLE_STEP_STRIP, read_strip},
    {"Metaspace", BURBLE_STEP_METASPACE, read_metaspace},
    {"WordPiece", BURBLE_STEP_WORDPIECE, read_wordpiece},
    {"BPEDecoder", BURBLE_STEP_BPE, read_bpe},
    {"CTC", BURBLE_STEP_CTC, read_ctc},
};

static int read_step(struct decoder *decoder, struct burble__json object, const char *path,
                     struct burble__json type)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!burble__json_equals(type, kinds[i].name))
            continue;
        if (decoder->n == STEPS_MAX) {
            return burble__load_fail(decoder->source, BURBLE_EUNSUPPORTED,
                                     "%s: a decoder of more than %d steps", path, STEPS_MAX);
        }
        burble_step *step = &decoder->steps[decoder->n];
        *step = (burble_step){.kind = kinds[i].kind};
        decoder->owned[decoder->n++] = NULL;
        return kinds[i].read(decoder, object, path, step);
    }
    const struct burble__json_text name = burble__json_text(type);
    return burble__load_fail(decoder->source, BURBLE_EUNSUPPORTED,
                             "%s: a decoder of type %s is not supported" BURBLE__JSON_INSTEAD, path,
                             burble__quote(name.bytes, name.len).text);
}

/* A sequence is its steps one after the other, in whatever way it is nested. DEPTH_MAX bounds the
 * recursion. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int read_decoder(struct decoder *decoder, struct burble__json object, const char *path,
                        unsigned depth)
{
    const struct burble__source *source = decoder->source;
    if (!burble__json_is(object, BURBLE__JSON_OBJECT))
        return burble__json_fail(source, path, "an object", object);
    struct burble__json type;
    int result = burble__json_member(source, object, path, "type", BURBLE__JSON_STRING, &type);
    if (result != BURBLE_OK)
        return result;
    if (!burble__json_equals(type, "Sequence"))
        return read_step(decoder, object, path, type);
    struct burble__json parts;
    result = burble__json_member(source, object, path, "decoders", BURBLE__JSON_ARRAY, &parts);
    if (result != BURBLE_OK)
        return result;
    if (depth == DEPTH_MAX) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "%s: a decoder of more than %d sequences in one another", path,
                                 DEPTH_MAX);
    }
    const struct burble__path at = burble__path_member(path, "decoders");
    struct burble__json part;
    struct burble__json_cursor next = burble__json_begin(parts);
    for (size_t i = 0; result == BURBLE_OK && burble__json_item(&next, &part); i++)
        result = read_decoder(decoder, part, burble__path_item(at.text, i).text, depth + 1);
    return result;
}

/* ---- the model's vocabulary ---------------------------------------------------------------------- */

/* BPE, WordPiece, WordLevel: an object, from token to id. */
static int read_object(const struct burble__source *source, struct burble__json vocab,
                       struct burble__table *table)
{
    const struct burble__place place = {"model.vocab", BURBLE__NO_NUMBER};
    struct burble__json key, id;
    struct burble__json_cursor at = burble__json_begin(vocab);
    while (burble__json_pair(&at, &key, &id)) {
        const burble_token token = burble__json_token(key, 0);
        int result;
        if (burble__json_is(id, BURBLE__JSON_INTEGER)) {
            result = burble__table_put(table, source, burble__json_integer(id), token, place);
        } else {
            struct burble__path path;
            snprintf(path.text, sizeof path.text, "model.vocab[%s]",
                     burble__quote(token.text, token.len).text);
            result = burble__json_fail(source, path.text, "an id", id);
        }
        if (result != BURBLE_OK)
            return result;
    }
    return BURBLE_OK;
}

static bool is_number(struct burble__json value)
{
    return burble__json_is(value, BURBLE__JSON_INTEGER)
           || burble__json_is(value, BURBLE__JSON_REAL);
}

/* Unigram: an array of [token, score], in the order of the ids. */
static int read_array(const struct burble__source *source, struct burble__json vocab,
                      struct burble__table *table)
{
    struct burble__json pair, token, score;
    struct burble__json_cursor next = burble__json_begin(vocab);
    for (size_t i = 0; burble__json_item(&next, &pair); i++) {
        struct burble__json_cursor at = burble__json_begin(pair);
        if (!burble__json_is(pair, BURBLE__JSON_ARRAY) || at.left != 2
            || !burble__json_item(&at, &token) || !burble__json_is(token, BURBLE__JSON_STRING)
            || !burble__json_item(&at, &score) || !is_number(score)) {
            return burble__json_fail(source, burble__path_item("model.vocab", i).text,
                                     "an array of a token and its score", pair);
        }
        const struct burble__place place = {"model.vocab, item", i};
        const int result =
            burble__table_put(table, source, (int64_t)i, burble__json_token(token, 0), place);
        if (result != BURBLE_OK)
            return result;
    }
    return BURBLE_OK;
}

/* *vocab is the member that the tokens are from, an object or an array. */
static int read_model(const struct burble__source *source, struct burble__json root,
                      struct burble__table *table, struct burble__json *vocab)
{
    struct burble__json model;
    const int result = burble__json_member(source, root, "", "model", BURBLE__JSON_OBJECT, &model);
    if (result != BURBLE_OK)
        return result;
    *vocab = burble__json_get(model, "vocab");
    if (burble__json_is(*vocab, BURBLE__JSON_OBJECT))
        return read_object(source, *vocab, table);
    if (burble__json_is(*vocab, BURBLE__JSON_ARRAY))
        return read_array(source, *vocab, table);
    return burble__json_fail(source, "model.vocab", "an object or an array", *vocab);
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static int read_tokens(const struct burble__source *source, struct burble__json root,
                       struct burble__table *table, struct burble__added *added)
{
    struct burble__json vocab;
    const int result = read_model(source, root, table, &vocab);
    return result == BURBLE_OK
               ? burble__added_read(added, source, root, burble__json_size(vocab), table)
               : result;
}

/* Fills in the decoder and what of the options depends on it. */
static int read_options(struct decoder *decoder, struct burble__json root,
                        burble_vocab_options *options)
{
    const struct burble__json object = burble__json_get(root, "decoder");
    burble_vocab_options_init(options);
    if (object.at == NULL || burble__json_is(object, BURBLE__JSON_NULL)) {
        options->join = " "; /* TokenizerImpl::decode without a decoder */
        return BURBLE_OK;
    }
    const int result = read_decoder(decoder, object, "decoder", 0);
    options->steps = decoder->steps;
    options->n_steps = decoder->n;
    return result;
}

int burble__load_hf(const struct burble__source *source, struct burble__json root,
                    burble_vocab **out)
{
    struct decoder decoder = {.source = source};
    burble_vocab_options options;
    struct burble__table table;
    struct burble__added added = {.tokens = NULL};
    burble__table_init(&table, source);
    int result = read_options(&decoder, root, &options);
    if (result == BURBLE_OK)
        result = read_tokens(source, root, &table, &added);
    if (result == BURBLE_OK)
        result = burble__table_compile(&table, source, &options, out);
    burble__added_finish(&added);
    burble__table_finish(&table);
    for (size_t i = 0; i < decoder.n; i++)
        burble__free(decoder.owned[i]);
    return result;
}
