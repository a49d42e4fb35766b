/* SPDX-License-Identifier: MIT
 *
 * Source of the grammar: RFC 8259.
 */
#include "text/json.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/hash.h"
#include "base/large_pages.h"
#include "base/utf8.h"

/* Keys of an object up to which each is compared with each. */
#define FEW 8

/* An array or object that is being read. */
struct level {
    size_t node;
    size_t key; /* the node of the key of its last member */
    uint32_t n; /* items or members up to now */
    bool is_object;
};

struct parser {
    const struct burble__source *source;
    const char *at, *end;
    struct burble__buffer nodes;
    char *texts;
    /* Of `texts`, which has room for all strings: none is longer than it is in the source. */
    size_t used;
    struct level levels[BURBLE__JSON_DEPTH_MAX];
    size_t depth;
    size_t left_out;            /* the depth in the array that is only checked, or 0 */
    struct burble__buffer keys; /* memory of check_keys */
};

static struct burble__json_node *node_at(const struct parser *parser, size_t i)
{
    return (struct burble__json_node *)(void *)parser->nodes.bytes + i;
}

static size_t n_nodes(const struct parser *parser)
{
    return parser->nodes.len / sizeof(struct burble__json_node);
}

/* ---- errors -------------------------------------------------------------------------------------- */

static int no_memory(const struct parser *parser)
{
    return burble__load_fail(parser->source, BURBLE_ENOMEM, "%s",
                             burble_result_text(BURBLE_ENOMEM));
}

/* "line 1, column 1 (byte 0): expected EXPECTED, found …" of what stands at `at`. */
static int fail(const struct parser *parser, const char *at, const char *expected)
{
    size_t line = 1, column = 1;
    for (const char *byte = parser->source->bytes; byte < at; byte++) {
        column += ((unsigned char)*byte & 0xC0) != 0x80;
        if (*byte == '\n') {
            line++;
            column = 1;
        }
    }
    const size_t left = (size_t)(parser->end - at);
    return burble__load_fail(
        parser->source, BURBLE_EFORMAT, "line %zu, column %zu (byte %zu): expected %s, found %s",
        line, column, (size_t)(at - parser->source->bytes), expected,
        left == 0 ? "the end of the file" : burble__quote(at, left < 8 ? left : 8).text);
}

/* ---- strings ------------------------------------------------------------------------------------- */

/* Whether a byte of a string stands for itself. */
static bool is_plain(char byte)
{
    return (unsigned char)byte >= 0x20 && byte != '"' && byte != '\\';
}

/* How many bytes are 0 before the first that is not. `eight`, as it is in memory, is not 0. */
static size_t zero_bytes(uint64_t eight)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (size_t)__builtin_clzll(eight) / 8;
#else
    return (size_t)__builtin_ctzll(eight) / 8;
#endif
}

/* Passes bytes that are ASCII and stand for themselves; all of them, except on a big-endian machine. Returns their
 * number. */
static size_t plain_ascii(const char *at, const char *end)
{
    const char *const begin = at;
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    for (uint64_t eight; end - at >= 8; at += 8) {
        memcpy(&eight, at, sizeof eight);
        /* The highest bit of each byte that ends the run. A borrow may also set that of a more significant byte. */
        const uint64_t quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
        const uint64_t marks =
            ((eight - ones * ' ') | (quote - ones) | (backslash - ones) | eight) & high;
        if (marks != 0)
            return (size_t)(at - begin) + zero_bytes(marks);
    }
    while (at < end && is_plain(*at) && (unsigned char)*at < 0x80)
        at++;
    return (size_t)(at - begin);
}

/* The value of four hexadecimal digits, which are passed; UINT32_MAX where they are not there. */
static uint32_t take_hex(struct parser *parser)
{
    uint32_t value = 0;
    if (parser->end - parser->at < 4)
        return UINT32_MAX;
    for (unsigned i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = memchr(digits, parser->at[i], sizeof digits - 1);
        if (digit == NULL)
            return UINT32_MAX;
        const unsigned place = (unsigned)(digit - digits);
        value = value << 4 | (place < 16 ? place : place - 6);
    }
    parser->at += 4;
    return value;
}

/* Passes the digits of `\u`, and of a second half where they are a first one. */
static int take_character(struct parser *parser, uint32_t *out)
{
    const char *const begin = parser->at;
    uint32_t value = take_hex(parser);
    if (value == UINT32_MAX)
        return fail(parser, begin, "four hexadecimal digits");
    if (value >= 0xD800 && value < 0xDC00 && parser->end - parser->at >= 2
        && memcmp(parser->at, "\\u", 2) == 0) {
        parser->at += 2;
        const uint32_t low = take_hex(parser);
        value = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00)
                                              : 0xD800;
    }
    if (value >= 0xD800 && value < 0xE000)
        return fail(parser, begin, "a character or both halves of a surrogate pair");
    *out = value;
    return BURBLE_OK;
}

static size_t encode(uint32_t character, char *out)
{
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    const size_t len = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len - 1; i > 0; i--, character >>= 6)
        out[i] = (char)(0x80 | (character & 0x3F));
    out[0] = (char)(lead[len] | character);
    return len;
}

/* Passes what follows a backslash, and writes what it stands for. */
static int take_escape(struct parser *parser, char *out, size_t *len)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *name =
        parser->at == parser->end ? NULL : memchr(names, *parser->at, sizeof names - 1);
    *len = 1;
    if (name != NULL) {
        *out = values[name - names];
        parser->at++;
        return BURBLE_OK;
    }
    if (parser->at == parser->end || *parser->at != 'u')
        return fail(parser, parser->at, "one of \"\\/bfnrtu behind a backslash");
    parser->at++;
    uint32_t character = 0;
    const int result = take_character(parser, &character);
    if (result == BURBLE_OK)
        *len = encode(character, out);
    return result;
}

/* Passes a string, and writes its text behind the others. */
static int take_string(struct parser *parser, struct burble__json_node *node)
{
    const size_t begin = parser->used;
    for (parser->at++;;) {
        const char *const run = parser->at;
        const char *at = run;
        bool is_checked = true; /* of ASCII and characters of two bytes, as byte-level tokens are */
        for (;;) {
            at += plain_ascii(at, parser->end);
            if (at == parser->end || !is_plain(*at))
                break;
            const unsigned char byte = (unsigned char)*at++;
            if (byte < 0x80)
                continue;
            const bool is_pair = byte >= 0xC2 && byte <= 0xDF && at < parser->end
                                 && ((unsigned char)*at & 0xC0) == 0x80;
            at += is_pair;
            is_checked &= is_pair;
        }
        const size_t len = (size_t)(at - run);
        if (!is_checked && !burble__utf8_valid(run, len))
            return fail(parser, run, "a string in UTF-8");
        if (parser->left_out == 0)
            memcpy(parser->texts + parser->used, run, len);
        parser->used += len;
        parser->at = at;
        if (parser->at == parser->end || (unsigned char)*parser->at < 0x20)
            return fail(parser, parser->at, "the rest of a string");
        if (*parser->at++ == '"')
            break;
        size_t written = 0;
        const int result = take_escape(parser, parser->texts + parser->used, &written);
        if (result != BURBLE_OK)
            return result;
        parser->used += written;
    }
    *node = (struct burble__json_node){
        BURBLE__JSON_STRING, (uint32_t)(parser->used - begin), {.begin = begin}};
    parser->texts[parser->used++] = '\0';
    return BURBLE_OK;
}

/* ---- numbers and words --------------------------------------------------------------------------- */

static bool is_digit(const struct parser *parser)
{
    return parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9';
}

static bool pass_digits(struct parser *parser)
{
    const bool any = is_digit(parser);
    while (is_digit(parser))
        parser->at++;
    return any;
}

static bool pass_one_of(struct parser *parser, char one, char other)
{
    const bool found = parser->at < parser->end && (*parser->at == one || *parser->at == other);
    parser->at += found;
    return found;
}

/* Digits as a negative number, which there is one more of; false where they are too many. */
static bool read_negative(const char *digit, const char *end, int64_t *out)
{
    *out = 0;
    for (; digit < end; digit++) {
        const int64_t value = *digit - '0';
        if (*out < (INT64_MIN + value) / 10)
            return false;
        *out = *out * 10 - value;
    }
    return true;
}

static int take_number(struct parser *parser, struct burble__json_node *node)
{
    const char *const begin = parser->at;
    const bool minus = pass_one_of(parser, '-', '-');
    const char *const digits = parser->at;
    if (!pass_digits(parser) || (*digits == '0' && parser->at - digits > 1))
        return fail(parser, begin, "a number");
    const char *const end = parser->at;
    const bool fraction = pass_one_of(parser, '.', '.');
    if (fraction && !pass_digits(parser))
        return fail(parser, begin, "a number");
    const bool exponent = pass_one_of(parser, 'e', 'E');
    if (exponent) {
        pass_one_of(parser, '+', '-');
        if (!pass_digits(parser))
            return fail(parser, begin, "a number");
    }
    *node = (struct burble__json_node){.type = BURBLE__JSON_REAL};
    if (fraction || exponent)
        return BURBLE_OK;
    node->type = BURBLE__JSON_INTEGER;
    if (!read_negative(digits, end, &node->as.integer) || (!minus && node->as.integer == INT64_MIN))
        return fail(parser, begin, "an integer of 64 bits");
    node->as.integer = minus ? node->as.integer : -node->as.integer;
    return BURBLE_OK;
}

static int take_word(struct parser *parser, struct burble__json_node *node)
{
    static const struct {
        const char *text;
        enum burble__json_type type;
    } words[] = {
        {"true", BURBLE__JSON_TRUE}, {"false", BURBLE__JSON_FALSE}, {"null", BURBLE__JSON_NULL}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const size_t len = strlen(words[i].text);
        if ((size_t)(parser->end - parser->at) >= len
            && memcmp(parser->at, words[i].text, len) == 0) {
            *node = (struct burble__json_node){.type = words[i].type};
            parser->at += len;
            return BURBLE_OK;
        }
    }
    return fail(parser, parser->at, "a value");
}

/* ---- arrays and objects -------------------------------------------------------------------------- */

/* The next byte behind any space, which is passed; NUL at the end. */
static char next(struct parser *parser)
{
    const char *at = parser->at;
    const uint64_t spaces = UINT64_C(0x2020202020202020);
    while (at < parser->end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
        for (uint64_t eight; parser->end - at >= 8; at += 8) { /* indentation */
            memcpy(&eight, at, sizeof eight);
            eight ^= spaces;
            if (eight != 0) {
                at += zero_bytes(eight);
                break;
            }
        }
    }
    parser->at = at;
    return at < parser->end ? *at : '\0';
}

/* Adds a node, unless it is in what is left out. */
static int add(struct parser *parser, const struct burble__json_node *node)
{
    if (parser->left_out > 0)
        return BURBLE_OK;
    return burble__buffer_append(&parser->nodes, (const char *)node, sizeof *node) == BURBLE_OK
               ? BURBLE_OK
               : no_memory(parser);
}

static bool is_text(const struct parser *parser, size_t i, const char *text)
{
    const struct burble__json_node *node = node_at(parser, i);
    return node->n == strlen(text) && memcmp(parser->texts + node->as.begin, text, node->n) == 0;
}

/* Whether the value that begins here is that of the root's "model", and in it of "merges". */
static bool is_merges(const struct parser *parser)
{
    const struct level *levels = parser->levels;
    return parser->depth == 2 && levels[0].is_object && levels[1].is_object
           && is_text(parser, levels[1].key, "merges") && is_text(parser, levels[0].key, "model");
}

static int open_level(struct parser *parser, bool is_object)
{
    if (parser->depth == BURBLE__JSON_DEPTH_MAX) {
        return burble__load_fail(parser->source, BURBLE_EFORMAT,
                                 "byte %zu: expected at most %d arrays and objects in one another, "
                                 "found more",
                                 (size_t)(parser->at - parser->source->bytes),
                                 BURBLE__JSON_DEPTH_MAX);
    }
    /* (Its keys would have to be compared.) */
    if (is_object && parser->left_out > 0)
        return fail(parser, parser->at, "a string or an array of strings in model.merges");
    const struct burble__json_node node = {.type = is_object ? BURBLE__JSON_OBJECT
                                                             : BURBLE__JSON_ARRAY};
    const bool leave_out = !is_object && parser->left_out == 0 && is_merges(parser);
    parser->at++;
    parser->levels[parser->depth++] = (struct level){n_nodes(parser), 0, 0, is_object};
    const int result = add(parser, &node);
    if (leave_out)
        parser->left_out = parser->depth;
    return result;
}

/* The node behind a value. */
static const struct burble__json_node *behind(const struct burble__json_node *node)
{
    return node + (node->type <= BURBLE__JSON_ARRAY ? node->as.span : 1);
}

static bool same(const struct parser *parser, const struct burble__json_node *a,
                 const struct burble__json_node *b)
{
    return a->n == b->n
           && memcmp(parser->texts + a->as.begin, parser->texts + b->as.begin, a->n) == 0;
}

static int fail_twice(const struct parser *parser, const struct burble__json_node *key)
{
    return burble__load_fail(parser->source, BURBLE_EFORMAT,
                             "expected each key once in an object, found %s twice",
                             burble__quote(parser->texts + key->as.begin, key->n).text);
}

/* Whether the keys of a small object differ. */
static int compare_keys(const struct parser *parser, const struct burble__json_node *object)
{
    const struct burble__json_node *keys[FEW];
    const struct burble__json_node *key = object + 1;
    for (uint32_t i = 0; i < object->n; i++, key = behind(key + 1)) {
        keys[i] = key;
        for (uint32_t k = 0; k < i; k++)
            if (same(parser, keys[k], key))
                return fail_twice(parser, key);
    }
    return BURBLE_OK;
}

/* The same for an object of any size, in a hash table with room for twice its keys. */
static int hash_keys(struct parser *parser, const struct burble__json_node *object)
{
    size_t mask = 2 * FEW - 1;
    while (mask < 2 * (size_t)object->n)
        mask = 2 * mask + 1;
    parser->keys.len = 0;
    if (burble__buffer_reserve(&parser->keys, (mask + 1) * sizeof(uint32_t)) != BURBLE_OK)
        return no_memory(parser);
    uint32_t *slots =
        (uint32_t *)(void *)parser->keys.bytes; /* how far behind the object; 0: none */
    memset(slots, 0, (mask + 1) * sizeof *slots);
    size_t work = 16 * (size_t)object->n; /* two looks for each key would be enough by far */
    const struct burble__json_node *key = object + 1;
    for (uint32_t i = 0; i < object->n; i++, key = behind(key + 1)) {
        size_t at = burble__hash(parser->texts + key->as.begin, key->n) & mask;
        for (; slots[at] != 0; at = (at + 1) & mask) {
            if (same(parser, object + slots[at], key))
                return fail_twice(parser, key);
            if (work-- == 0)
                return burble__load_fail(parser->source, BURBLE_EFORMAT,
                                         "expected keys that do not collide, found many that do");
        }
        slots[at] = (uint32_t)(key - object);
    }
    return BURBLE_OK;
}

static int close_level(struct parser *parser)
{
    const struct level *level = &parser->levels[--parser->depth];
    const bool is_empty =
        parser->left_out == parser->depth + 1; /* to readers, as nothing was kept */
    parser->at++;
    if (parser->left_out > 0 && !is_empty)
        return BURBLE_OK;
    parser->left_out = 0;
    struct burble__json_node *node = node_at(parser, level->node);
    node->n = is_empty ? 0 : level->n;
    node->as.span = n_nodes(parser) - level->node;
    if (!level->is_object || node->n < 2)
        return BURBLE_OK;
    return node->n <= FEW ? compare_keys(parser, node) : hash_keys(parser, node);
}

/* Passes a key and its colon. */
static int take_key(struct parser *parser, struct level *level)
{
    struct burble__json_node key = {0};
    if (next(parser) != '"')
        return fail(parser, parser->at, "a key in quotation marks");
    const char *const begin = parser->at;
    int result = take_string(parser, &key);
    if (result != BURBLE_OK)
        return result;
    if (strlen(parser->texts + key.as.begin) != key.n)
        return fail(parser, begin, "a key without NUL");
    level->key = n_nodes(parser);
    result = add(parser, &key);
    if (result != BURBLE_OK)
        return result;
    if (next(parser) != ':')
        return fail(parser, parser->at, "\":\"");
    parser->at++;
    return BURBLE_OK;
}

/* Passes a value; of an array or object, only its beginning. */
static int take_value(struct parser *parser)
{
    struct burble__json_node node = {0};
    const size_t used = parser->used;
    int result;
    const char first = next(parser);
    if (first == '{' || first == '[')
        return open_level(parser, first == '{');
    if (first == '"')
        result = take_string(parser, &node);
    else if (first == '-' || is_digit(parser))
        result = take_number(parser, &node);
    else
        result = take_word(parser, &node);
    if (parser->left_out > 0) {
        parser->used = used;
        return result;
    }
    return result == BURBLE_OK ? add(parser, &node) : result;
}

/* Goes on in the innermost array or object: to its next value, or out of it. */
static int go_on(struct parser *parser)
{
    struct level *level = &parser->levels[parser->depth - 1];
    const char found = next(parser);
    if (found == (level->is_object ? '}' : ']'))
        return close_level(parser);
    if (level->n > 0) {
        if (found != ',')
            return fail(parser, parser->at, level->is_object ? "\",\" or \"}\"" : "\",\" or \"]\"");
        parser->at++;
    }
    level->n++;
    const int result = level->is_object ? take_key(parser, level) : BURBLE_OK;
    return result == BURBLE_OK ? take_value(parser) : result;
}

int burble__json_parse(const struct burble__source *source, struct burble__json_document *out)
{
    struct parser parser = {
        .source = source, .at = source->bytes, .end = source->bytes + source->size};
    burble__buffer_init(&parser.nodes, SIZE_MAX / 2);
    burble__buffer_init(&parser.keys, SIZE_MAX / 2);
    *out = (struct burble__json_document){NULL, NULL};
    parser.texts = burble__malloc(source->size + 1);
    if (parser.texts == NULL)
        return no_memory(&parser);
    burble__prefer_large_pages(parser.texts, source->size + 1);
    int result = take_value(&parser);
    while (result == BURBLE_OK && parser.depth > 0)
        result = go_on(&parser);
    if (result == BURBLE_OK && (next(&parser), parser.at < parser.end))
        result = fail(&parser, parser.at, "the end of the file");
    burble__buffer_finish(&parser.keys);
    *out = (struct burble__json_document){(void *)parser.nodes.bytes, parser.texts};
    if (result != BURBLE_OK)
        burble__json_finish(out);
    return result;
}

void burble__json_finish(struct burble__json_document *document)
{
    burble__free(document->nodes);
    burble__free(document->texts);
    *document = (struct burble__json_document){NULL, NULL};
}
