/* SPDX-License-Identifier: MIT
 *
 * The rules of a grammar, from text in GBNF, llama.cpp's notation (its grammars/README.md):
 *
 *     root ::= "yes" | "no" [.!]*
 *
 * Immutable. The parser bounds what it makes, whatever the text is.
 */
#ifndef BURBLE_ENGINE_GRAMMAR_RULES_H
#define BURBLE_ENGINE_GRAMMAR_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/error.h>

/* The most bytes of a grammar, and the most symbols that its repetitions may be written out to. */
#define BURBLE__GRAMMAR_MAX_TEXT (64u << 10)
#define BURBLE__GRAMMAR_MAX_SYMBOLS (64u << 10)

enum burble__symbol_kind {
    BURBLE__SYMBOL_END,  /* of an alternative of rule `a` */
    BURBLE__SYMBOL_RULE, /* rule `a` */
    BURBLE__SYMBOL_SET,  /* a character of the `b` ranges from `a` on */
    BURBLE__SYMBOL_NOT   /* any other character */
};

struct burble__symbol {
    uint32_t kind, a, b;
};

struct burble__range {
    uint32_t low, high;
};

/* A sequence of symbols, up to its BURBLE__SYMBOL_END. */
struct burble__alternative {
    uint32_t begin;
    uint32_t next; /* of the same rule; BURBLE__NONE: none */
};

#define BURBLE__NONE UINT32_MAX

struct burble__rule {
    uint32_t first; /* alternative; BURBLE__NONE: the rule is not defined */
    uint32_t name;  /* its place in the text */
    uint32_t len;   /* 0: it has no name */
    bool nullable;  /* it has the empty text */
};

struct burble__grammar_rules {
    struct burble__symbol *symbols;
    struct burble__range *ranges;
    struct burble__alternative *alternatives;
    struct burble__rule *rules;
    size_t n_symbols, n_ranges, n_alternatives, n_rules;
    size_t symbols_size, ranges_size, alternatives_size, rules_size; /* allocated */
    uint32_t root;
};

/* Whether the symbol, a set, has one of the characters from `low` to `high`. */
bool burble__symbol_has(const struct burble__grammar_rules *rules,
                        const struct burble__symbol *symbol, uint32_t low, uint32_t high);

/* Parses `len` bytes of UTF-8 into *rules, to be freed by burble__grammar_rules_finish in any case.
 *
 * BURBLE_OK
 * BURBLE_EINVAL  *error (may be NULL) says where in the text, and what was expected
 * BURBLE_ENOMEM */
int burble__grammar_rules_parse(const char *text, size_t len, struct burble__grammar_rules *rules,
                                burble_error *error);

void burble__grammar_rules_finish(struct burble__grammar_rules *rules);

/* The grammar of one JSON object. */
extern const char burble__grammar_of_json[];

#endif
