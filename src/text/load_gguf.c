/* SPDX-License-Identifier: MIT
 *
 * The vocabulary in the metadata of a GGUF file, version 2 or 3, little-endian. Tensors, which come
 * after the metadata, are not looked at.
 *
 * Sources: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md for the format; for how tokens
 * become text, token_to_piece in src/llama-vocab.cpp of https://github.com/ggml-org/llama.cpp:
 *
 *   type                            gpt2                  llama, t5            bert
 *   normal                          alphabet to bytes     U+2581 to a space    U+2581 to a space
 *   unknown, control, user-defined  as it is              as it is             as it is
 *   byte (<0x41>)                   that byte             that byte            (llama.cpp ends the program)
 *   unused, any other               nothing               nothing              nothing
 *
 * Some models with the name gpt2, told by tokenizer.ggml.pre, and gemma4 are as llama here. Where the text
 * of a sequence differs from the decoder of the tokenizer.json that the file was made from, it is the latter's
 * rule: a normal token of gpt2 with characters that are not in the alphabet is text as it is; one space is taken
 * away from the beginning of the text where add_space_prefix is set (llama.cpp takes it from the first token even
 * where special tokens before it are left out); an empty token is empty.
 *
 * Special are control tokens and unknown ones.
 */
#include <inttypes.h>
#include <string.h>

#include "text/compile.h"
#include "text/load.h"

#define SPACE_SYMBOL "\xE2\x96\x81" /* U+2581 */

/* The types of metadata values. */
enum type {
    TYPE_U8,
    TYPE_I8,
    TYPE_U16,
    TYPE_I16,
    TYPE_U32,
    TYPE_I32,
    TYPE_F32,
    TYPE_BOOL,
    TYPE_STRING,
    TYPE_ARRAY,
    TYPE_U64,
    TYPE_I64,
    TYPE_F64
};

/* tokenizer.ggml.token_type */
enum { KIND_NORMAL = 1, KIND_UNKNOWN, KIND_CONTROL, KIND_USER_DEFINED, KIND_UNUSED, KIND_BYTE };

struct cursor {
    const struct burble__source *source;
    size_t at;
};

struct text {
    const char *bytes; /* NULL: none */
    size_t len;
};

/* An array: where its elements begin. */
struct array {
    size_t at; /* 0: none */
    uint32_t type;
    uint64_t n;
};

/* The metadata that burble uses. */
struct metadata {
    struct text model;
    struct text pre; /* the pre-tokenizer of a gpt2 model */
    struct array tokens;
    struct array kinds;
    int add_space_prefix; /* -1: not said */
};

/* ---- reading ------------------------------------------------------------------------------------- */

/* Looks for `n` bytes more. BURBLE_OK; BURBLE_AGAIN where the file has them, but they are not read
 * yet; BURBLE_EFORMAT where it has not. */
static int need(const struct cursor *cursor, uint64_t n, const char *what)
{
    const struct burble__source *source = cursor->source;
    if (n <= source->size - cursor->at)
        return BURBLE_OK;
    if (n <= source->total - cursor->at)
        return BURBLE_AGAIN;
    return burble__load_fail(source, BURBLE_EFORMAT,
                             "byte %zu: expected %" PRIu64 " bytes of %s, found %" PRIu64
                             " before the end",
                             cursor->at, n, what, source->total - cursor->at);
}

static uint64_t little_endian(const char *bytes, size_t n)
{
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;)
        value = value << 8 | (unsigned char)bytes[i];
    return value;
}

static int read_number(struct cursor *cursor, size_t n, const char *what, uint64_t *out)
{
    const int result = need(cursor, n, what);
    if (result == BURBLE_OK) {
        *out = little_endian(cursor->source->bytes + cursor->at, n);
        cursor->at += n;
    }
    return result;
}

static int read_text(struct cursor *cursor, const char *what, struct text *out)
{
    uint64_t len;
    int result = read_number(cursor, 8, what, &len);
    if (result == BURBLE_OK)
        result = need(cursor, len, what);
    if (result == BURBLE_OK) {
        *out = (struct text){cursor->source->bytes + cursor->at, (size_t)len};
        cursor->at += (size_t)len;
    }
    return result;
}

/* The size of a value, or of its smallest form; 0 for an unknown type. */
static size_t size_of(uint64_t type)
{
    switch (type) {
    case TYPE_U8:
    case TYPE_I8:
    case TYPE_BOOL:
        return 1;
    case TYPE_U16:
    case TYPE_I16:
        return 2;
    case TYPE_U32:
    case TYPE_I32:
    case TYPE_F32:
        return 4;
    case TYPE_U64:
    case TYPE_I64:
    case TYPE_F64:
    case TYPE_STRING:
        return 8;
    case TYPE_ARRAY:
        return 12;
    default:
        return 0;
    }
}

static int fail_type(const struct cursor *cursor, size_t at, uint64_t type)
{
    return burble__load_fail(cursor->source, BURBLE_EFORMAT,
                             "byte %zu: expected the type of a value, 0 to %d, found %" PRIu64, at,
                             TYPE_F64, type);
}

/* Reads an array's type and length; the cursor is then at its elements. */
static int read_array(struct cursor *cursor, struct array *out)
{
    const size_t start = cursor->at;
    uint64_t type = 0;
    int result = read_number(cursor, 4, "an array's type", &type);
    if (result == BURBLE_OK)
        result = read_number(cursor, 8, "an array's length", &out->n);
    if (result != BURBLE_OK)
        return result;
    const size_t each = size_of(type);
    if (each == 0)
        return fail_type(cursor, start, type);
    out->type = (uint32_t)type;
    out->at = cursor->at;
    if (out->n > UINT64_MAX / each)
        out->n = UINT64_MAX / each; /* more than any file has */
    return need(cursor, out->n * each, "an array");
}

/* `need` has seen that there are some bytes for each element, so that this ends with the source.
 * Arrays in arrays are in the format, but in no file: llama.cpp refuses them. */
static int skip_array(struct cursor *cursor)
{
    struct array array = {0};
    int result = read_array(cursor, &array);
    if (result == BURBLE_OK && array.type == TYPE_ARRAY) {
        return burble__load_fail(cursor->source, BURBLE_EUNSUPPORTED,
                                 "byte %zu: an array of arrays in the metadata", array.at);
    }
    if (result == BURBLE_OK && array.type != TYPE_STRING) {
        cursor->at += (size_t)array.n * size_of(array.type);
        return BURBLE_OK;
    }
    for (uint64_t i = 0; result == BURBLE_OK && i < array.n; i++) {
        struct text text;
        result = read_text(cursor, "a string", &text);
    }
    return result;
}

static int skip_value(struct cursor *cursor, uint64_t type)
{
    if (type == TYPE_STRING) {
        struct text text;
        return read_text(cursor, "a string", &text);
    }
    if (type == TYPE_ARRAY)
        return skip_array(cursor);
    uint64_t value;
    const size_t size = size_of(type);
    return size == 0 ? fail_type(cursor, cursor->at, type)
                     : read_number(cursor, size, "a value", &value);
}

/* ---- metadata ------------------------------------------------------------------------------------ */

static bool is(const struct text *text, const char *name)
{
    return text->len == strlen(name) && memcmp(text->bytes, name, text->len) == 0;
}

/* Looks at a member that matters, at its value. */
static int note(const struct cursor *cursor, const struct text *key, uint64_t type,
                struct metadata *metadata)
{
    struct cursor value = *cursor;
    uint64_t wanted = TYPE_STRING;
    bool again = false;
    int result = BURBLE_OK;
    if (is(key, "tokenizer.ggml.model")) {
        again = metadata->model.bytes != NULL;
        result = type == wanted ? read_text(&value, "a string", &metadata->model) : BURBLE_OK;
    } else if (is(key, "tokenizer.ggml.pre")) {
        again = metadata->pre.bytes != NULL;
        result = type == wanted ? read_text(&value, "a string", &metadata->pre) : BURBLE_OK;
    } else if (is(key, "tokenizer.ggml.tokens")) {
        wanted = TYPE_ARRAY;
        again = metadata->tokens.at != 0;
        result = type == wanted ? read_array(&value, &metadata->tokens) : BURBLE_OK;
    } else if (is(key, "tokenizer.ggml.token_type")) {
        wanted = TYPE_ARRAY;
        again = metadata->kinds.at != 0;
        result = type == wanted ? read_array(&value, &metadata->kinds) : BURBLE_OK;
    } else if (is(key, "tokenizer.ggml.add_space_prefix")) {
        uint64_t flag = 0;
        wanted = TYPE_BOOL;
        again = metadata->add_space_prefix >= 0;
        result = type == wanted ? read_number(&value, 1, "a value", &flag) : BURBLE_OK;
        metadata->add_space_prefix = flag != 0;
    } else {
        return BURBLE_OK;
    }
    if (type != wanted || again) {
        return burble__load_fail(cursor->source, BURBLE_EFORMAT,
                                 "byte %zu: expected %s once and of type %" PRIu64
                                 ", found %s of type %" PRIu64,
                                 cursor->at, burble__quote(key->bytes, key->len).text, wanted,
                                 again ? "another" : "one", type);
    }
    return result;
}

/* The head of the file; *n is how many members the metadata has. */
static int read_head(struct cursor *cursor, uint64_t *n)
{
    const struct burble__source *source = cursor->source;
    int result = need(cursor, 4, "\"GGUF\"");
    if (result != BURBLE_OK)
        return result;
    if (memcmp(source->bytes, "GGUF", 4) != 0) {
        return burble__load_fail(source, BURBLE_EFORMAT, "byte 0: expected \"GGUF\", found %s",
                                 burble__quote(source->bytes, 4).text);
    }
    cursor->at = 4;
    uint64_t version = 0;
    uint64_t tensors;
    result = read_number(cursor, 4, "the version", &version);
    if (result != BURBLE_OK)
        return result;
    if (version != 2 && version != 3) {
        const bool swapped = version != 0 && (version & 0xFFFF) == 0;
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "byte 4: expected GGUF version 2 or 3, found %s%" PRIu64,
                                 swapped ? "a big-endian file, or version " : "", version);
    }
    result = read_number(cursor, 8, "the number of tensors", &tensors);
    if (result == BURBLE_OK)
        result = read_number(cursor, 8, "the number of metadata members", n);
    return result;
}

static int read_metadata(struct cursor *cursor, struct metadata *metadata)
{
    uint64_t n = 0;
    int result = read_head(cursor, &n);
    /* Each member takes at least 13 bytes, so that a wrong number ends with the file. */
    for (uint64_t i = 0; result == BURBLE_OK && i < n; i++) {
        struct text key = {0};
        uint64_t type = 0;
        result = read_text(cursor, "a key", &key);
        if (result == BURBLE_OK)
            result = read_number(cursor, 4, "a value's type", &type);
        if (result == BURBLE_OK)
            result = note(cursor, &key, type, metadata);
        if (result == BURBLE_OK)
            result = skip_value(cursor, type);
    }
    return result;
}

/* ---- tokens -------------------------------------------------------------------------------------- */

/* Each model's steps. */
enum rule { RULE_BYTE_LEVEL, RULE_BYTES_AND_SPACES, RULE_SPACES };

struct rules {
    const char *model;
    enum rule rule;
    bool add_space_prefix; /* where the file does not say */
};

static const struct rules known[] = {
    {"gpt2", RULE_BYTE_LEVEL, false},
    {"gemma4", RULE_BYTES_AND_SPACES, false},
    {"llama", RULE_BYTES_AND_SPACES, true},
    {"t5", RULE_BYTES_AND_SPACES, false},
    {"bert", RULE_SPACES, true},
};

/* Pre-tokenizers of models called gpt2 whose tokens have U+2581 and byte tokens all the same. */
static const char *const with_spaces[] = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"};

/* NULL: none is known. */
static const struct rules *rules_of(const struct metadata *metadata)
{
    static const struct rules spaces = {"gpt2", RULE_BYTES_AND_SPACES, false};
    for (size_t i = 0; i < sizeof with_spaces / sizeof with_spaces[0]; i++)
        if (is(&metadata->model, "gpt2") && is(&metadata->pre, with_spaces[i]))
            return &spaces;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (is(&metadata->model, known[i].model))
            return &known[i];
    return NULL;
}

static int check(const struct burble__source *source, const struct metadata *metadata)
{
    const struct array *tokens = &metadata->tokens;
    const struct array *kinds = &metadata->kinds;
    if (metadata->model.bytes == NULL || tokens->at == 0) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "expected tokenizer.ggml.model and tokenizer.ggml.tokens in the "
                                 "metadata, found %s",
                                 metadata->model.bytes != NULL ? "no tokens"
                                 : tokens->at != 0             ? "no model"
                                                               : "neither");
    }
    if (rules_of(metadata) == NULL) {
        return burble__load_fail(source, BURBLE_EUNSUPPORTED,
                                 "tokenizer.ggml.model: expected gpt2, gemma4, llama, t5 or bert, "
                                 "found %s",
                                 burble__quote(metadata->model.bytes, metadata->model.len).text);
    }
    if (tokens->type != TYPE_STRING || tokens->n > BURBLE_VOCAB_MAX_IDS) {
        return burble__load_fail(
            source, BURBLE_EFORMAT,
            "byte %zu: expected at most %u tokens, of type %d, found %" PRIu64 " of type %" PRIu32,
            tokens->at, BURBLE_VOCAB_MAX_IDS, TYPE_STRING, tokens->n, tokens->type);
    }
    if (kinds->at != 0
        && (kinds->n != tokens->n || (kinds->type != TYPE_I32 && kinds->type != TYPE_U32))) {
        return burble__load_fail(source, BURBLE_EFORMAT,
                                 "byte %zu: expected %" PRIu64 " token types, of type %d, found "
                                 "%" PRIu64 " of type %" PRIu32,
                                 kinds->at, tokens->n, TYPE_I32, kinds->n, kinds->type);
    }
    return BURBLE_OK;
}

/* Whether it is spelled as the byte-fallback step reads it. */
static bool is_byte_token(const struct text *text)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    return text->len == 6 && memcmp(text->bytes, "<0x", 3) == 0 && text->bytes[5] == '>'
           && text->bytes[3] != '\0' && strchr(digits, text->bytes[3]) != NULL
           && text->bytes[4] != '\0' && strchr(digits, text->bytes[4]) != NULL;
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* How GPT-2's alphabet spells the bytes: in up to two bytes each, with a NUL behind them. */
struct alphabet {
    char texts[256][3];
};

static void fill_alphabet(struct alphabet *alphabet)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        const unsigned character = burble__alphabet_at((unsigned char)byte);
        alphabet->texts[byte][0] = (char)(character < 0x80 ? character : 0xC0 | character >> 6);
        alphabet->texts[byte][1] = (char)(character < 0x80 ? 0 : 0x80 | (character & 0x3F));
        alphabet->texts[byte][2] = '\0';
    }
}

/* A token of the file, as an entry of the table. */
static burble_token token_of(const struct text *text, uint64_t kind, enum rule rule,
                             const struct alphabet *alphabet)
{
    const uint32_t len = text->len > UINT32_MAX ? UINT32_MAX : (uint32_t)text->len;
    burble_token token = {text->bytes, len, 0};
    switch (kind) {
    case KIND_NORMAL:
        /* Spelled as a byte, it is none: its type says so. */
        token.flags =
            rule == RULE_BYTES_AND_SPACES && is_byte_token(text) ? BURBLE_TOKEN_VERBATIM : 0u;
        break;
    case KIND_UNKNOWN:
    case KIND_CONTROL:
        token.flags = BURBLE_TOKEN_SPECIAL | BURBLE_TOKEN_VERBATIM;
        break;
    case KIND_USER_DEFINED:
        token.flags = BURBLE_TOKEN_VERBATIM;
        break;
    case KIND_BYTE:
        if (rule == RULE_BYTE_LEVEL) {
            token.text = alphabet->texts[digit(text->bytes[3]) << 4 | digit(text->bytes[4])];
            token.len = (uint32_t)strlen(token.text);
        }
        break;
    default:
        token.flags = BURBLE_TOKEN_ABSENT;
    }
    return token;
}

/* Puts all the tokens into the table. They stay where they are, in the source. */
static int read_tokens(const struct burble__source *source, const struct metadata *metadata,
                       enum rule rule, const struct alphabet *alphabet, struct burble__table *table)
{
    struct cursor cursor = {source, metadata->tokens.at};
    const char *kinds = metadata->kinds.at == 0 ? NULL : source->bytes + metadata->kinds.at;
    for (size_t i = 0; i < metadata->tokens.n; i++) {
        const struct burble__place place = {"byte", cursor.at};
        struct text text;
        int result = read_text(&cursor, "a token", &text);
        const uint64_t kind = kinds == NULL ? KIND_NORMAL : little_endian(kinds + 4 * i, 4);
        if (result == BURBLE_OK && rule != RULE_SPACES && kind == KIND_BYTE
            && !is_byte_token(&text)) {
            result = burble__load_fail(source, BURBLE_EFORMAT,
                                       "byte %zu: expected <0x00> to <0xFF>, as token %zu is a "
                                       "byte, found %s",
                                       place.number, i, burble__quote(text.bytes, text.len).text);
        }
        if (result == BURBLE_OK) {
            result = burble__table_put(table, source, (int64_t)i,
                                       token_of(&text, kind, rule, alphabet), place);
        }
        if (result != BURBLE_OK)
            return result;
    }
    return BURBLE_OK;
}

static int make(const struct burble__source *source, const struct metadata *metadata,
                burble_vocab **out)
{
    const struct rules *rules = rules_of(metadata);
    const bool strips =
        metadata->add_space_prefix < 0 ? rules->add_space_prefix : metadata->add_space_prefix > 0;
    struct alphabet alphabet;
    burble_step steps[4];
    size_t n = 0;
    if (rules->rule == RULE_BYTE_LEVEL) {
        steps[n++] = (burble_step){.kind = BURBLE_STEP_BYTE_LEVEL};
    } else {
        steps[n++] = (burble_step){.kind = BURBLE_STEP_REPLACE, .text = SPACE_SYMBOL, .with = " "};
        if (rules->rule == RULE_BYTES_AND_SPACES)
            steps[n++] = (burble_step){.kind = BURBLE_STEP_BYTE_FALLBACK};
        steps[n++] = (burble_step){.kind = BURBLE_STEP_FUSE};
        if (strips)
            steps[n++] = (burble_step){.kind = BURBLE_STEP_STRIP, .text = " ", .start = 1};
    }
    burble_vocab_options options;
    burble_vocab_options_init(&options);
    options.steps = steps;
    options.n_steps = n;
    struct burble__table table;
    fill_alphabet(&alphabet);
    burble__table_init(&table, source);
    int result = read_tokens(source, metadata, rules->rule, &alphabet, &table);
    if (result == BURBLE_OK)
        result = burble__table_compile(&table, source, &options, out);
    burble__table_finish(&table);
    return result;
}

int burble__load_gguf(const struct burble__source *source, burble_vocab **out)
{
    struct cursor cursor = {.source = source};
    struct metadata metadata = {.add_space_prefix = -1};
    int result = read_metadata(&cursor, &metadata);
    if (result == BURBLE_OK)
        result = check(source, &metadata);
    return result == BURBLE_OK ? make(source, &metadata, out) : result;
}
