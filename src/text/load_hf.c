/* SPDX-License-Identifier: MIT
 *
 * tokenizer.json of Hugging Face's tokenizers.
 *
 * Source of the rules: https://github.com/huggingface/tokenizers, version 0.23.3; for ids and special
 * tokens AddedVocabulary::add_tokens in tokenizers/src/tokenizer/added_vocabulary.rs, for decoders
 * the `Deserialize` implementations below tokenizers/src/decoders.
 */
#include <stdio.h>
#include <string.h>

#include "text/load_json.h"
#include "text/load_normalizer.h"

/* How many steps a decoder has, at most (nobody's has 10), and how deep sequences of decoders go. */
#define STEPS_MAX 32
#define DEPTH_MAX 16

/* ---- decoder ------------------------------------------------------------------------------------- */

struct decoder {
    const struct burble__source *source;
    burble_step steps[STEPS_MAX];
    size_t n;
};

/* A member that is text for a step, which ends in NUL. */
static int read_text(const struct burble__source *source, const json_t *object, const char *path,
                     const char *key, const char **out)
{
    json_t *string;
    const int result = burble__json_member(source, object, path, key, JSON_STRING, &string);
    if (result != BURBLE_OK) {
        return result;
    }
    *out = json_string_value(string);
    if (strlen(*out) != json_string_length(string)) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED, "%s: a NUL in a decoder",
                                 burble__path_member(path, key).text);
    }
    return BURBLE_OK;
}

/* The same for text of one character. */
static int read_character(const struct burble__source *source, const json_t *object,
                          const char *path, const char *key, const char **out)
{
    const int result = read_text(source, object, path, key, out);
    if (result != BURBLE_OK) {
        return result;
    }
    size_t characters = 0;
    for (const char *at = *out; *at != '\0'; at++) {
        characters += ((unsigned char)*at & 0xC0) != 0x80;
    }
    if (characters != 1) {
        return burble__json_fail(source, burble__path_member(path, key).text, "one character",
                                 json_object_get(object, key));
    }
    return BURBLE_OK;
}

static int read_flag(const struct burble__source *source, const json_t *object, const char *path,
                     const char *key, bool *out)
{
    const json_t *flag = json_object_get(object, key);
    *out = json_is_true(flag);
    if (json_is_boolean(flag)) {
        return BURBLE_OK;
    }
    return burble__json_fail(source, burble__path_member(path, key).text, "true or false", flag);
}

static int read_count(const struct burble__source *source, const json_t *object, const char *path,
                      const char *key, uint32_t *out)
{
    const json_t *count = json_object_get(object, key);
    const json_int_t value = json_integer_value(count);
    if (!json_is_integer(count) || value < 0) {
        return burble__json_fail(source, burble__path_member(path, key).text,
                                 "an integer of at least 0", count);
    }
    *out = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return BURBLE_OK;
}

static int read_plain(const struct burble__source *source, const json_t *object, const char *path,
                      burble_step *step)
{
    (void)source, (void)object, (void)path, (void)step;
    return BURBLE_OK;
}

static int read_replace(const struct burble__source *source, const json_t *object, const char *path,
                        burble_step *step)
{
    json_t *pattern;
    int result = burble__json_member(source, object, path, "pattern", JSON_OBJECT, &pattern);
    if (result != BURBLE_OK) {
        return result;
    }
    const struct burble__path at = burble__path_member(path, "pattern");
    if (json_object_get(pattern, "Regex") != NULL) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "%s: a decoder that replaces a regular expression", at.text);
    }
    result = read_text(source, pattern, at.text, "String", &step->text);
    return result == BURBLE_OK ? read_text(source, object, path, "content", &step->with) : result;
}

static int read_strip(const struct burble__source *source, const json_t *object, const char *path,
                      burble_step *step)
{
    int result = read_character(source, object, path, "content", &step->text);
    if (result == BURBLE_OK) {
        result = read_count(source, object, path, "start", &step->start);
    }
    return result == BURBLE_OK ? read_count(source, object, path, "stop", &step->stop) : result;
}

/* `flag` is for any prepend scheme but "never". Files from before that member existed have
 * add_prefix_space, which must not contradict it. */
static int read_metaspace(const struct burble__source *source, const json_t *object,
                          const char *path, burble_step *step)
{
    const int result = read_character(source, object, path, "replacement", &step->text);
    if (result != BURBLE_OK) {
        return result;
    }
    json_t *scheme = json_object_get(object, "prepend_scheme");
    const char *name = scheme == NULL ? "always" : json_string_value(scheme);
    if (name == NULL
        || (strcmp(name, "always") != 0 && strcmp(name, "first") != 0
            && strcmp(name, "never") != 0)) {
        return burble__json_fail(source, burble__path_member(path, "prepend_scheme").text,
                                 "\"always\", \"first\" or \"never\"", scheme);
    }
    step->flag = strcmp(name, "never") != 0;
    const json_t *prefix_space = json_object_get(object, "add_prefix_space");
    if (json_is_false(prefix_space) && step->flag) {
        return burble__json_fail(source, burble__path_member(path, "prepend_scheme").text,
                                 "\"never\", as add_prefix_space is false", scheme);
    }
    return BURBLE_OK;
}

static int read_wordpiece(const struct burble__source *source, const json_t *object,
                          const char *path, burble_step *step)
{
    const int result = read_text(source, object, path, "prefix", &step->text);
    return result == BURBLE_OK ? read_flag(source, object, path, "cleanup", &step->flag) : result;
}

static int read_bpe(const struct burble__source *source, const json_t *object, const char *path,
                    burble_step *step)
{
    return read_text(source, object, path, "suffix", &step->text);
}

static int read_ctc(const struct burble__source *source, const json_t *object, const char *path,
                    burble_step *step)
{
    int result = read_text(source, object, path, "pad_token", &step->text);
    if (result == BURBLE_OK) {
        result = read_text(source, object, path, "word_delimiter_token", &step->with);
    }
    return result == BURBLE_OK ? read_flag(source, object, path, "cleanup", &step->flag) : result;
}

typedef int read_step_fn(const struct burble__source *, const json_t *, const char *,
                         burble_step *);

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

static int read_step(struct decoder *decoder, const json_t *object, const char *path,
                     const json_t *type)
{
    const char *name = json_string_value(type);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(name, kinds[i].name) != 0) {
            continue;
        }
        if (decoder->n == STEPS_MAX) {
            return burble__load_fail(decoder->source, BURBLE_EUNSUPPORTED,
                                     "%s: a decoder of more than %d steps", path, STEPS_MAX);
        }
        burble_step *step = &decoder->steps[decoder->n++];
        *step = (burble_step){.kind = kinds[i].kind};
        return kinds[i].read(decoder->source, object, path, step);
    }
    return burble__load_fail(decoder->source, BURBLE_EUNSUPPORTED, "%s: a decoder of type %s", path,
                             burble__quote(name, json_string_length(type)).text);
}

/* A sequence is its steps one after the other, in whatever way it is nested. DEPTH_MAX bounds the
 * recursion. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int read_decoder(struct decoder *decoder, const json_t *object, const char *path,
                        unsigned depth)
{
    const struct burble__source *source = decoder->source;
    if (!json_is_object(object)) {
        return burble__json_fail(source, path, "an object", object);
    }
    json_t *type;
    int result = burble__json_member(source, object, path, "type", JSON_STRING, &type);
    if (result != BURBLE_OK) {
        return result;
    }
    if (strcmp(json_string_value(type), "Sequence") != 0) {
        return read_step(decoder, object, path, type);
    }
    json_t *parts;
    result = burble__json_member(source, object, path, "decoders", JSON_ARRAY, &parts);
    if (result != BURBLE_OK) {
        return result;
    }
    if (depth == DEPTH_MAX) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "%s: a decoder of more than %d sequences in one another", path,
                                 DEPTH_MAX);
    }
    const struct burble__path at = burble__path_member(path, "decoders");
    for (size_t i = 0; i < json_array_size(parts) && result == BURBLE_OK; i++) {
        result = read_decoder(decoder, json_array_get(parts, i), burble__path_item(at.text, i).text,
                              depth + 1);
    }
    return result;
}

/* ---- the model's vocabulary ---------------------------------------------------------------------- */

/* BPE, WordPiece, WordLevel: an object, from token to id. */
static int read_object(const struct burble__source *source, json_t *vocab,
                       struct burble__table *table)
{
    const struct burble__place place = {"model.vocab", BURBLE__NO_NUMBER};
    const char *key;
    size_t len;
    json_t *id;
    json_object_keylen_foreach(vocab, key, len, id)
    {
        const burble_token token = {key, len > UINT32_MAX ? UINT32_MAX : (uint32_t)len, 0};
        int result;
        if (json_is_integer(id)) {
            result = burble__table_put(table, source, json_integer_value(id), token, place);
        } else {
            struct burble__path at;
            snprintf(at.text, sizeof at.text, "model.vocab[%s]", burble__quote(key, len).text);
            result = burble__json_fail(source, at.text, "an id", id);
        }
        if (result != BURBLE_OK) {
            return result;
        }
    }
    return BURBLE_OK;
}

/* Unigram: an array of [token, score], in the order of the ids. */
static int read_array(const struct burble__source *source, const json_t *vocab,
                      struct burble__table *table)
{
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *pair = json_array_get(vocab, i);
        const json_t *token = json_array_get(pair, 0);
        if (json_array_size(pair) != 2 || !json_is_string(token)
            || !json_is_number(json_array_get(pair, 1))) {
            return burble__json_fail(source, burble__path_item("model.vocab", i).text,
                                     "an array of a token and its score", pair);
        }
        const struct burble__place place = {"model.vocab, item", i};
        const int result =
            burble__table_put(table, source, (int64_t)i, burble__json_token(token, 0), place);
        if (result != BURBLE_OK) {
            return result;
        }
    }
    return BURBLE_OK;
}

/* *vocab is the member that the tokens are from, an object or an array. */
static int read_model(const struct burble__source *source, const json_t *root,
                      struct burble__table *table, json_t **vocab)
{
    json_t *model;
    const int result = burble__json_member(source, root, "", "model", JSON_OBJECT, &model);
    if (result != BURBLE_OK) {
        return result;
    }
    *vocab = json_object_get(model, "vocab");
    if (json_is_object(*vocab)) {
        return read_object(source, *vocab, table);
    }
    if (json_is_array(*vocab)) {
        return read_array(source, *vocab, table);
    }
    return burble__json_fail(source, "model.vocab", "an object or an array", *vocab);
}

/* ---- added tokens -------------------------------------------------------------------------------- */

struct added {
    const struct burble__source *source;
    struct burble__table *table;
    const json_t *known; /* texts that the model has, to their ids: all, or those of added tokens */
    json_t *taken;       /* texts added so far */
    json_t *special;     /* texts of special tokens */
    json_int_t size;     /* how many tokens the model has */
    json_int_t max;      /* the largest id of an added token, or -1 */
    struct burble__normalizer normalizer;
};

/* Makes a text a member of a set. */
static int insert(json_t *set, const char *text, size_t len, json_t *value)
{
    return json_object_setn_new_nocheck(set, text, len, value) == 0 ? BURBLE_OK : BURBLE_ENOMEM;
}

/* Reads one entry; *content is its text. */
static int read_added(const struct burble__source *source, const json_t *object, const char *path,
                      json_t **content)
{
    json_t *id = NULL;
    if (!json_is_object(object)) {
        return burble__json_fail(source, path, "an object", object);
    }
    int result = burble__json_member(source, object, path, "content", JSON_STRING, content);
    if (result == BURBLE_OK) {
        result = burble__json_member(source, object, path, "id", JSON_INTEGER, &id);
    }
    if (result != BURBLE_OK) {
        return result;
    }
    if (json_integer_value(id) < 0 || json_integer_value(id) >= (json_int_t)BURBLE_VOCAB_MAX_IDS) {
        return burble__json_fail(source, burble__path_member(path, "id").text, "an id", id);
    }
    return BURBLE_OK;
}

static bool is_normalized(const json_t *object)
{
    return json_is_true(json_object_get(object, "normalized"));
}

static bool any_normalized(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (is_normalized(json_array_get(list, i))) {
            return true;
        }
    }
    return false;
}

/* Adds a token. The tokenizers library gives it the model's id where the model has its text, else
 * the next free one; it does not look at the id in the file. In the files that it writes, both are
 * the same. One that is normalized is spelled as the normalizer makes it. */
static int add(struct added *added, const json_t *object, const char *path)
{
    json_t *content = NULL;
    int result = read_added(added->source, object, path, &content);
    if (result != BURBLE_OK || json_string_length(content) == 0) {
        return result;
    }
    const char *text = json_string_value(content);
    const size_t len = json_string_length(content);
    if (json_is_true(json_object_get(object, "special"))) {
        result = insert(added->special, text, len, json_true());
    }
    if (result != BURBLE_OK || json_object_getn(added->taken, text, len) != NULL) {
        return result;
    }
    const json_t *known = json_object_getn(added->known, text, len);
    const json_int_t next = added->max >= added->size ? added->max + 1 : added->size;
    const json_int_t id = known != NULL ? json_integer_value(known) : next;
    result = insert(added->taken, text, len, json_true());
    if (result == BURBLE_OK && is_normalized(object)) {
        result = burble__normalizer_run(&added->normalizer, added->source, path, content);
    }
    if (result != BURBLE_OK) {
        return result;
    }
    added->max = id > added->max ? id : added->max;
    return burble__table_replace(added->table, added->source, id, burble__json_token(content, 0),
                                 (struct burble__place){path, BURBLE__NO_NUMBER});
}

/* Special are all tokens with the text of one that is added as special. */
static void mark_special(const struct added *added)
{
    struct burble__table *table = added->table;
    if (json_object_size(added->special) == 0) {
        return;
    }
    for (size_t i = 0; i < table->n; i++) {
        burble_token *token = &table->tokens[i];
        if (token->len > 0 && json_object_getn(added->special, token->text, token->len) != NULL) {
            token->flags |= BURBLE_TOKEN_SPECIAL;
        }
    }
}

/* Where the model's vocabulary is an array: the ids of the texts in `list` that it has. */
static int find_known(const struct burble__table *table, const json_t *list, json_t *known)
{
    int result = BURBLE_OK;
    for (size_t i = 0; i < json_array_size(list) && result == BURBLE_OK; i++) {
        const json_t *content = json_object_get(json_array_get(list, i), "content");
        if (json_is_string(content)) {
            result =
                insert(known, json_string_value(content), json_string_length(content), json_null());
        }
    }
    for (size_t i = 0; i < table->n && result == BURBLE_OK; i++) {
        const burble_token *token = &table->tokens[i];
        if (json_object_getn(known, token->text, token->len) != NULL) {
            result = insert(known, token->text, token->len, json_integer((json_int_t)i));
        }
    }
    void *at = json_object_iter(known);
    while (at != NULL) {
        void *const next = json_object_iter_next(known, at);
        if (json_is_null(json_object_iter_value(at))) {
            json_object_deln(known, json_object_iter_key(at), json_object_iter_key_len(at));
        }
        at = next;
    }
    return result;
}

static int add_all(struct added *added, const json_t *list, const json_t *vocab)
{
    json_t *found = json_object();
    added->taken = json_object();
    added->special = json_object();
    added->known = json_is_object(vocab) ? vocab : found;
    added->size =
        (json_int_t)(json_is_object(vocab) ? json_object_size(vocab) : json_array_size(vocab));
    added->max = -1;
    int result =
        found == NULL || added->taken == NULL || added->special == NULL ? BURBLE_ENOMEM : BURBLE_OK;
    if (result == BURBLE_OK && added->known == found) {
        result = find_known(added->table, list, found);
    }
    for (size_t i = 0; i < json_array_size(list) && result == BURBLE_OK; i++) {
        result = add(added, json_array_get(list, i), burble__path_item("added_tokens", i).text);
    }
    if (result == BURBLE_OK) {
        mark_special(added);
    } else if (result == BURBLE_ENOMEM) {
        burble__load_fail(added->source, result, "%s", burble_result_text(result));
    }
    json_decref(added->special);
    json_decref(added->taken);
    json_decref(found);
    return result;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static int read_tokens(const struct burble__source *source, const json_t *root,
                       struct burble__table *table)
{
    json_t *vocab;
    const int result = read_model(source, root, table, &vocab);
    if (result != BURBLE_OK) {
        return result;
    }
    const json_t *list = json_object_get(root, "added_tokens");
    if (list == NULL) {
        return BURBLE_OK;
    }
    if (!json_is_array(list)) {
        return burble__json_fail(source, "added_tokens", "an array", list);
    }
    struct added added = {.source = source, .table = table};
    const int read =
        any_normalized(list) ? burble__normalizer_read(&added.normalizer, source, root) : BURBLE_OK;
    return read == BURBLE_OK ? add_all(&added, list, vocab) : read;
}

int burble__load_hf(const struct burble__source *source, const json_t *root, burble_vocab **out)
{
    struct decoder decoder = {.source = source};
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    const json_t *object = json_object_get(root, "decoder");
    if (object == NULL || json_is_null(object)) {
        options.join = " "; /* TokenizerImpl::decode without a decoder */
    } else {
        const int result = read_decoder(&decoder, object, "decoder", 0);
        if (result != BURBLE_OK) {
            return result;
        }
        options.steps = decoder.steps;
        options.n_steps = decoder.n;
    }
    struct burble__table table;
    burble__table_init(&table, source);
    int result = read_tokens(source, root, &table);
    if (result == BURBLE_OK) {
        result = burble__table_compile(&table, source, &options, out);
    }
    burble__table_finish(&table);
    return result;
}
