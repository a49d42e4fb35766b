/* SPDX-License-Identifier: MIT */
#include "engine/grammar_rules.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error_message.h"

/* The most parentheses that are open at once, since the parser calls itself for each. */
#define MAX_DEPTH 64

/* The most repetitions in braces. */
#define MAX_TIMES 2000

#define MAX_CHARACTER 0x10FFFFu

/* White space is bounded, or a model could go on with it for ever. */
const char burble__grammar_of_json[] =
    "root ::= object\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "object ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\n"
    "pair ::= string ws \":\" ws value ws\n"
    "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n"
    "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" "
    "[0-9a-fA-F]{4}))* \"\\\"\"\n"
    "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?\n"
    "ws ::= (\" \" | \"\\n\" [ \\t]{0,20})?\n";

struct parser {
    struct burble__grammar_rules *rules;
    const char *begin, *at, *end;
    unsigned depth;
    /* The symbols of the alternatives that are being parsed, the innermost last. */
    struct burble__symbol *open;
    size_t n_open, open_size;
    void *larger; /* of GROW */
    int result;
    burble_error *error;
};

/* ---- what is made ---------------------------------------------------------------------------------- */

/* A larger array of entries of `size` bytes, or NULL. */
static void *grow(struct parser *parser, void *array, size_t *capacity, size_t size)
{
    const size_t more = *capacity == 0 ? 32 : 2 * *capacity;
    void *larger = burble__realloc(array, more * size);
    if (larger == NULL)
        parser->result = BURBLE_ENOMEM;
    else
        *capacity = more;
    return larger;
}

/* Makes room for one more entry in an array of `n`; false: no memory. */
#define GROW(parser, array, n, capacity)                                                           \
    ((n) < (capacity)                                                                              \
     || (((parser)->larger = grow((parser), (array), &(capacity), sizeof *(array))) != NULL        \
         && ((array) = (parser)->larger, true)))

static bool fail(struct parser *parser, const char *expected)
{
    unsigned line = 1;
    unsigned column = 1;
    if (parser->result != BURBLE_OK)
        return false;
    for (const char *p = parser->begin; p < parser->at; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    const size_t rest = (size_t)(parser->end - parser->at);
    const size_t shown = rest < 20 ? rest : 20;
    parser->result =
        rest == 0 ? burble__error_set(parser->error, BURBLE_EINVAL,
                                      "grammar: line %u, column %u: expected %s, found the end",
                                      line, column, expected)
                  : burble__error_set(parser->error, BURBLE_EINVAL,
                                      "grammar: line %u, column %u: expected %s, found: %.*s", line,
                                      column, expected, (int)shown, parser->at);
    return false;
}

static uint32_t new_rule(struct parser *parser, size_t name, size_t len)
{
    struct burble__grammar_rules *rules = parser->rules;
    if (!GROW(parser, rules->rules, rules->n_rules, rules->rules_size))
        return BURBLE__NONE;
    rules->rules[rules->n_rules] =
        (struct burble__rule){BURBLE__NONE, (uint32_t)name, (uint32_t)len, false};
    return (uint32_t)rules->n_rules++;
}

static bool push(struct parser *parser, uint32_t kind, uint32_t a, uint32_t b)
{
    if (!GROW(parser, parser->open, parser->n_open, parser->open_size))
        return false;
    if (parser->n_open + parser->rules->n_symbols >= BURBLE__GRAMMAR_MAX_SYMBOLS)
        return fail(parser, "fewer symbols and repetitions before this");
    parser->open[parser->n_open++] = (struct burble__symbol){kind, a, b};
    return true;
}

/* Makes an alternative of `rule` of the open symbols from `from` on, which are closed. */
static bool add_alternative(struct parser *parser, uint32_t rule, size_t from)
{
    struct burble__grammar_rules *rules = parser->rules;
    if (!push(parser, BURBLE__SYMBOL_END, rule, 0)
        || !GROW(parser, rules->alternatives, rules->n_alternatives, rules->alternatives_size))
        return false;
    const size_t begin = rules->n_symbols;
    for (size_t i = from; i < parser->n_open; i++) {
        if (!GROW(parser, rules->symbols, rules->n_symbols, rules->symbols_size))
            return false;
        rules->symbols[rules->n_symbols++] = parser->open[i];
    }
    parser->n_open = from;
    rules->alternatives[rules->n_alternatives] =
        (struct burble__alternative){(uint32_t)begin, rules->rules[rule].first};
    rules->rules[rule].first = (uint32_t)rules->n_alternatives++;
    return true;
}

/* ---- characters ------------------------------------------------------------------------------------ */

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static int peek(const struct parser *parser)
{
    return parser->at < parser->end ? (unsigned char)*parser->at : -1;
}

static bool skip(struct parser *parser, char c)
{
    if (peek(parser) != c)
        return false;
    parser->at++;
    return true;
}

/* White space and comments. */
static void skip_space(struct parser *parser, bool newlines)
{
    for (int c; (c = peek(parser)) >= 0; parser->at++) {
        if (c == '#') {
            while (peek(parser) >= 0 && *parser->at != '\n' && *parser->at != '\r')
                parser->at++;
            parser->at--;
        } else if (c != ' ' && c != '\t' && (!newlines || (c != '\n' && c != '\r'))) {
            return;
        }
    }
}

static bool hexadecimal(struct parser *parser, int digits, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++, parser->at++) {
        const int c = peek(parser);
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return fail(parser, "a hexadecimal digit");
        *value = *value * 16 + (uint32_t)digit;
    }
    return *value <= MAX_CHARACTER || fail(parser, "a character up to \\U0010FFFF before this");
}

static bool escape(struct parser *parser, uint32_t *value)
{
    static const char plain[] = "\\\"[]-";
    const int c = peek(parser);
    const char *which = c > 0 ? strchr(plain, c) : NULL;
    *value = which != NULL ? (uint32_t)*which : c == 'n' ? '\n' : c == 't' ? '\t' : '\r';
    if (which == NULL && (c < 0 || strchr("ntrxuU", c) == NULL || c == 0))
        return fail(parser, "one of n t r x u U \\ \" [ ] - after a backslash");
    parser->at++;
    return c == 'x'   ? hexadecimal(parser, 2, value)
           : c == 'u' ? hexadecimal(parser, 4, value)
           : c == 'U' ? hexadecimal(parser, 8, value)
                      : true;
}

/* The text is UTF-8, which is checked before. */
static bool character(struct parser *parser, uint32_t *value)
{
    if (skip(parser, '\\'))
        return escape(parser, value);
    const int c = peek(parser);
    if (c < 0)
        return fail(parser, "a character");
    const int more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    *value = more == 0 ? (uint32_t)c : (uint32_t)c & (0x3Fu >> more);
    parser->at++;
    for (int i = 0; i < more; i++)
        *value = *value << 6 | ((unsigned char)*parser->at++ & 0x3Fu);
    return true;
}

static bool add_range(struct parser *parser, uint32_t low, uint32_t high)
{
    struct burble__grammar_rules *rules = parser->rules;
    if (!GROW(parser, rules->ranges, rules->n_ranges, rules->ranges_size))
        return false;
    rules->ranges[rules->n_ranges++] = (struct burble__range){low, high};
    return true;
}

static bool literal(struct parser *parser)
{
    while (!skip(parser, '"')) {
        uint32_t c = 0;
        const uint32_t range = (uint32_t)parser->rules->n_ranges;
        if (peek(parser) < 0)
            return fail(parser, "a closing \"");
        if (!character(parser, &c) || !add_range(parser, c, c)
            || !push(parser, BURBLE__SYMBOL_SET, range, 1))
            return false;
    }
    return true;
}

static bool set(struct parser *parser)
{
    const uint32_t kind = skip(parser, '^') ? BURBLE__SYMBOL_NOT : BURBLE__SYMBOL_SET;
    const uint32_t first = (uint32_t)parser->rules->n_ranges;
    while (!skip(parser, ']')) {
        uint32_t low = 0;
        uint32_t high;
        if (peek(parser) < 0)
            return fail(parser, "a closing ]");
        if (!character(parser, &low))
            return false;
        high = low;
        if (parser->end - parser->at > 1 && parser->at[0] == '-' && parser->at[1] != ']') {
            parser->at++;
            if (!character(parser, &high))
                return false;
            if (high < low)
                return fail(parser, "a range that ends behind its beginning before this");
        }
        if (!add_range(parser, low, high))
            return false;
    }
    return push(parser, kind, first, (uint32_t)parser->rules->n_ranges - first);
}

/* ---- rules ----------------------------------------------------------------------------------------- */

/* The parser calls itself for each parenthesis; MAX_DEPTH bounds that. NOLINTBEGIN(misc-no-recursion) */
static bool alternatives(struct parser *parser, uint32_t rule, bool nested);

static uint32_t find_rule(struct parser *parser, const char *name, size_t len)
{
    for (size_t i = 0; i < parser->rules->n_rules; i++) {
        const struct burble__rule *rule = &parser->rules->rules[i];
        if (rule->len == len && memcmp(parser->begin + rule->name, name, len) == 0)
            return (uint32_t)i;
    }
    return new_rule(parser, (size_t)(name - parser->begin), len);
}

static uint32_t name(struct parser *parser)
{
    const char *begin = parser->at;
    while (parser->at < parser->end && is_name(*parser->at))
        parser->at++;
    if (parser->at == begin) {
        fail(parser, "the name of a rule");
        return BURBLE__NONE;
    }
    return find_rule(parser, begin, (size_t)(parser->at - begin));
}

static bool group(struct parser *parser)
{
    const uint32_t rule = new_rule(parser, 0, 0);
    if (rule == BURBLE__NONE)
        return false;
    if (++parser->depth > MAX_DEPTH)
        return fail(parser, "at most 64 open parentheses before this");
    skip_space(parser, true);
    if (!alternatives(parser, rule, true))
        return false;
    if (!skip(parser, ')'))
        return fail(parser, "a closing )");
    parser->depth--;
    return push(parser, BURBLE__SYMBOL_RULE, rule, 0);
}

/* A new rule: the empty text, or the item after itself (if `again`), or before the rule `next`, if that is not
 * BURBLE__NONE. */
static uint32_t optional(struct parser *parser, const struct burble__symbol *item, bool again,
                         uint32_t next)
{
    const size_t from = parser->n_open;
    const uint32_t rule = new_rule(parser, 0, 0);
    const bool made = rule != BURBLE__NONE && add_alternative(parser, rule, from)
                      && (!again || push(parser, BURBLE__SYMBOL_RULE, rule, 0))
                      && push(parser, item->kind, item->a, item->b)
                      && (next == BURBLE__NONE || push(parser, BURBLE__SYMBOL_RULE, next, 0))
                      && add_alternative(parser, rule, from);
    return made ? rule : BURBLE__NONE;
}

/* Makes one symbol of the open ones from `from` on, if they are more or fewer. */
static bool unite(struct parser *parser, size_t from)
{
    if (parser->n_open - from == 1)
        return true;
    const uint32_t whole = new_rule(parser, 0, 0);
    return whole != BURBLE__NONE && add_alternative(parser, whole, from)
           && push(parser, BURBLE__SYMBOL_RULE, whole, 0);
}

/* Repeats the open symbols from `from` on: at least `least` times, at most `most` (BURBLE__NONE: any). What
 * repeats without bound is left-recursive, which the matcher (grammar.c) takes with the least work. */
static bool repeat(struct parser *parser, size_t from, uint32_t least, uint32_t most)
{
    if (!unite(parser, from))
        return false;
    const struct burble__symbol item = parser->open[--parser->n_open];
    for (uint32_t i = 0; i < least; i++)
        if (!push(parser, item.kind, item.a, item.b))
            return false;
    uint32_t rest = BURBLE__NONE;
    if (most == BURBLE__NONE) {
        rest = optional(parser, &item, true, BURBLE__NONE);
        if (rest == BURBLE__NONE)
            return false;
    }
    for (uint32_t i = least; most != BURBLE__NONE && i < most; i++) {
        rest = optional(parser, &item, false, rest);
        if (rest == BURBLE__NONE)
            return false;
    }
    return rest == BURBLE__NONE || push(parser, BURBLE__SYMBOL_RULE, rest, 0);
}

static bool number(struct parser *parser, uint32_t *value)
{
    const char *begin = parser->at;
    *value = 0;
    for (int c; (c = peek(parser)) >= '0' && c <= '9'; parser->at++) {
        *value = *value * 10 + (uint32_t)(c - '0');
        if (*value > MAX_TIMES)
            return fail(parser, "at most 2000 repetitions");
    }
    return parser->at > begin || fail(parser, "a number");
}

static bool braces(struct parser *parser, uint32_t *least, uint32_t *most)
{
    skip_space(parser, false);
    if (!number(parser, least))
        return false;
    *most = *least;
    skip_space(parser, false);
    if (skip(parser, ',')) {
        skip_space(parser, false);
        *most = BURBLE__NONE;
        if (peek(parser) != '}' && !number(parser, most))
            return false;
        skip_space(parser, false);
    }
    if (*most < *least)
        return fail(parser, "a second number that is not below the first before this");
    return skip(parser, '}') || fail(parser, "a closing }");
}

/* Repetitions behind an item that begins at `from`; several may follow each other. */
static bool repetitions(struct parser *parser, size_t from, bool nested)
{
    for (;;) {
        uint32_t least = 0;
        uint32_t most = BURBLE__NONE;
        skip_space(parser, nested);
        if (skip(parser, '+'))
            least = 1;
        else if (skip(parser, '?'))
            most = 1;
        else if (skip(parser, '{')) {
            if (!braces(parser, &least, &most))
                return false;
        } else if (!skip(parser, '*'))
            return true;
        if (!repeat(parser, from, least, most) || !unite(parser, from))
            return false;
    }
}

static bool parse_item(struct parser *parser, bool *any)
{
    *any = true;
    if (skip(parser, '"'))
        return literal(parser);
    if (skip(parser, '['))
        return set(parser);
    if (skip(parser, '('))
        return group(parser);
    if (skip(parser, '.'))
        return push(parser, BURBLE__SYMBOL_NOT, 0, 0);
    if (peek(parser) >= 0 && is_name(*parser->at)) {
        const uint32_t rule = name(parser);
        return rule != BURBLE__NONE && push(parser, BURBLE__SYMBOL_RULE, rule, 0);
    }
    if (peek(parser) == '<' || peek(parser) == '!')
        return fail(parser, "text, as tokens in < > are not supported");
    if (peek(parser) >= 0 && strchr("*+?{", peek(parser)) != NULL)
        return fail(parser, "something to repeat");
    *any = false;
    return true;
}

static bool sequence(struct parser *parser, bool nested)
{
    for (;;) {
        const size_t from = parser->n_open;
        bool any;
        if (!parse_item(parser, &any))
            return false;
        if (!any)
            return true;
        if (!repetitions(parser, from, nested))
            return false;
    }
}

static bool alternatives(struct parser *parser, uint32_t rule, bool nested)
{
    const size_t from = parser->n_open;
    do {
        skip_space(parser, true);
        if (!sequence(parser, nested) || !add_alternative(parser, rule, from))
            return false;
    } while (skip(parser, '|'));
    return true;
}

/* NOLINTEND(misc-no-recursion) */

static bool parse_rule(struct parser *parser)
{
    const uint32_t found = name(parser);
    if (found == BURBLE__NONE)
        return false;
    skip_space(parser, false);
    if (parser->end - parser->at < 3 || memcmp(parser->at, "::=", 3) != 0)
        return fail(parser, "::=");
    if (parser->rules->rules[found].first != BURBLE__NONE)
        return fail(parser, "a rule that is not defined yet before this");
    parser->at += 3;
    if (!alternatives(parser, found, false))
        return false;
    if (peek(parser) >= 0 && peek(parser) != '\n' && peek(parser) != '\r')
        return fail(parser, "the next item, or the end of the line");
    skip_space(parser, true);
    return true;
}

/* Finds the rules that have the empty text: an alternative of only such rules makes one. */
static void find_nullable(struct burble__grammar_rules *rules)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < rules->n_alternatives; i++) {
            const struct burble__symbol *at = &rules->symbols[rules->alternatives[i].begin];
            while (at->kind == BURBLE__SYMBOL_RULE && rules->rules[at->a].nullable)
                at++;
            if (at->kind == BURBLE__SYMBOL_END && !rules->rules[at->a].nullable) {
                rules->rules[at->a].nullable = true;
                changed = true;
            }
        }
    }
}

static bool check(struct parser *parser)
{
    struct burble__grammar_rules *rules = parser->rules;
    rules->root = BURBLE__NONE;
    for (size_t i = 0; i < rules->n_rules; i++) {
        const struct burble__rule *found = &rules->rules[i];
        const char *text = parser->begin + found->name;
        if (found->first == BURBLE__NONE) {
            parser->result = burble__error_set(parser->error, BURBLE_EINVAL,
                                               "grammar: expected a rule named %.*s, found none",
                                               found->len < 60 ? (int)found->len : 60, text);
            return false;
        }
        if (found->len == 4 && memcmp(text, "root", 4) == 0)
            rules->root = (uint32_t)i;
    }
    if (rules->root == BURBLE__NONE) {
        parser->result = burble__error_set(parser->error, BURBLE_EINVAL,
                                           "grammar: expected a rule named root, found none");
        return false;
    }
    find_nullable(rules);
    return true;
}

int burble__grammar_rules_parse(const char *text, size_t len, struct burble__grammar_rules *rules,
                                burble_error *error)
{
    *rules = (struct burble__grammar_rules){.symbols = NULL};
    if (len > BURBLE__GRAMMAR_MAX_TEXT) {
        return burble__error_set(error, BURBLE_EINVAL,
                                 "grammar: expected at most %u bytes, found %zu",
                                 BURBLE__GRAMMAR_MAX_TEXT, len);
    }
    struct parser parser = {
        .rules = rules, .begin = text, .at = text, .end = text + len, .error = error};
    skip_space(&parser, true);
    bool good = true;
    while (good && peek(&parser) >= 0)
        good = parse_rule(&parser);
    if (good)
        check(&parser);
    burble__free(parser.open);
    return parser.result;
}

void burble__grammar_rules_finish(struct burble__grammar_rules *rules)
{
    burble__free(rules->symbols);
    burble__free(rules->ranges);
    burble__free(rules->alternatives);
    burble__free(rules->rules);
    *rules = (struct burble__grammar_rules){.symbols = NULL};
}

bool burble__symbol_has(const struct burble__grammar_rules *rules,
                        const struct burble__symbol *symbol, uint32_t low, uint32_t high)
{
    const struct burble__range *ranges = rules->ranges + symbol->a;
    if (symbol->kind == BURBLE__SYMBOL_SET) {
        for (uint32_t i = 0; i < symbol->b; i++)
            if (ranges[i].low <= high && low <= ranges[i].high)
                return true;
        return false;
    }
    for (uint32_t i = 0; i < symbol->b; i++)
        if (ranges[i].low <= low && high <= ranges[i].high)
            return false; /* all of them are excluded */
    return true;
}
