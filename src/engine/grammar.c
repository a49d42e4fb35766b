/* SPDX-License-Identifier: MIT
 *
 * After each character there is a set of items. An item is a place in an alternative (a symbol before which the
 * text is), with the number of the set at which this alternative began. A set is closed: the alternatives of a rule
 * that may come next begin in it, and where an alternative ends, those that waited for its rule go on. A rule that
 * has the empty text is passed over at once.
 */
#include "engine/grammar.h"

#include "base/alloc.h"
#include "engine/grammar_rules.h"

/* The most items of all sets (12 bytes each), and the most work, in items looked at, for one call. */
#define MAX_ITEMS (1u << 21)
#define MAX_WORK (1u << 22)

/* The most bytes of one text of a walk. A longer one is not allowed. */
#define MAX_WALK 256

struct item {
    uint32_t at;     /* symbol */
    uint32_t origin; /* set */
    /* An earlier item of this set with the same symbol, as an index from 1; 0: none. */
    uint32_t same;
};

/* The part of a character that has come. */
struct partial {
    uint32_t value;
    uint32_t least; /* the first character of that many bytes */
    unsigned missing;
};

/* A place in the text, to go back to. */
struct mark {
    size_t n_items, n_sets;
    struct partial partial;
};

struct burble__grammar {
    struct burble__grammar_rules rules;
    struct item *items;
    size_t n_items, items_size;
    uint32_t *sets; /* where each begins */
    size_t n_sets, sets_size;
    /* For each symbol: the newest item with it, from 1; valid only in the present set. */
    uint32_t *newest;
    struct partial partial;
    uint32_t work; /* left for the present call */
    bool gave_up;

    struct mark walked[MAX_WALK + 1]; /* after each byte of the walk's text */
    size_t n_walked;                  /* bytes of it that are allowed */
};

/* ---- sets ------------------------------------------------------------------------------------------ */

static bool give_up(struct burble__grammar *grammar)
{
    grammar->gave_up = true;
    return false;
}

/* Counts work, in items looked at. */
static bool spend_some(struct burble__grammar *grammar, uint32_t work)
{
    if (grammar->work < work) {
        grammar->work = 0;
        return give_up(grammar);
    }
    grammar->work -= work;
    return true;
}

static bool spend(struct burble__grammar *grammar)
{
    return spend_some(grammar, 1);
}

static bool begin_set(struct burble__grammar *grammar)
{
    if (grammar->n_sets == grammar->sets_size) {
        const size_t more = grammar->sets_size == 0 ? 256 : 2 * grammar->sets_size;
        uint32_t *larger = burble__realloc(grammar->sets, more * sizeof *larger);
        if (larger == NULL)
            return give_up(grammar);
        grammar->sets = larger;
        grammar->sets_size = more;
    }
    grammar->sets[grammar->n_sets++] = (uint32_t)grammar->n_items;
    return true;
}

/* Adds an item to the newest set, unless it has it. */
static bool add(struct burble__grammar *grammar, uint32_t at, uint32_t origin)
{
    const uint32_t begin = grammar->sets[grammar->n_sets - 1];
    uint32_t newest = grammar->newest[at];
    if (newest <= begin || newest > grammar->n_items || grammar->items[newest - 1].at != at)
        newest = 0; /* of another set, or one that was given up */
    for (uint32_t i = newest; i != 0; i = grammar->items[i - 1].same) {
        if (grammar->items[i - 1].origin == origin)
            return true;
        if (!spend(grammar))
            return false;
    }
    if (grammar->n_items == grammar->items_size) {
        const size_t more = grammar->items_size == 0 ? 1024 : 2 * grammar->items_size;
        struct item *larger =
            more > MAX_ITEMS ? NULL : burble__realloc(grammar->items, more * sizeof *larger);
        if (larger == NULL)
            return give_up(grammar);
        grammar->items = larger;
        grammar->items_size = more;
    }
    grammar->items[grammar->n_items++] = (struct item){at, origin, newest};
    grammar->newest[at] = (uint32_t)grammar->n_items;
    return true;
}

/* Begins the alternatives of a rule. */
static bool predict(struct burble__grammar *grammar, uint32_t rule)
{
    const struct burble__grammar_rules *rules = &grammar->rules;
    const uint32_t here = (uint32_t)grammar->n_sets - 1;
    for (uint32_t i = rules->rules[rule].first; i != BURBLE__NONE; i = rules->alternatives[i].next)
        if (!add(grammar, rules->alternatives[i].begin, here))
            return false;
    return true;
}

/* Goes on with what has waited for this rule since the set `origin`, which is an earlier one. */
static bool complete(struct burble__grammar *grammar, uint32_t rule, uint32_t origin)
{
    const uint32_t end = grammar->sets[origin + 1];
    for (uint32_t i = grammar->sets[origin]; i < end; i++) {
        const struct item item = grammar->items[i];
        const struct burble__symbol *symbol = &grammar->rules.symbols[item.at];
        if (!spend(grammar))
            return false;
        if (symbol->kind == BURBLE__SYMBOL_RULE && symbol->a == rule
            && !add(grammar, item.at + 1, item.origin)) {
            return false;
        }
    }
    return true;
}

static bool close_set(struct burble__grammar *grammar)
{
    const uint32_t here = (uint32_t)grammar->n_sets - 1;
    for (size_t i = grammar->sets[here]; i < grammar->n_items; i++) {
        const struct item item = grammar->items[i];
        const struct burble__symbol *symbol = &grammar->rules.symbols[item.at];
        if (!spend(grammar))
            return false;
        if (symbol->kind == BURBLE__SYMBOL_RULE) {
            if (!predict(grammar, symbol->a)
                || (grammar->rules.rules[symbol->a].nullable
                    && !add(grammar, item.at + 1, item.origin)))
                return false;
        } else if (symbol->kind == BURBLE__SYMBOL_END && item.origin < here
                   && !complete(grammar, symbol->a, item.origin)) {
            return false;
        }
    }
    return true;
}

/* ---- characters ------------------------------------------------------------------------------------ */

static struct mark mark_here(const struct burble__grammar *grammar)
{
    return (struct mark){grammar->n_items, grammar->n_sets, grammar->partial};
}

static void go_back(struct burble__grammar *grammar, struct mark mark)
{
    grammar->n_items = mark.n_items;
    grammar->n_sets = mark.n_sets;
    grammar->partial = mark.partial;
}

/* Counts a look at an item whose symbol may have a character: some ranges take as long as an item. */
static bool spend_on(struct burble__grammar *grammar, const struct burble__symbol *symbol)
{
    return spend_some(grammar, symbol->kind >= BURBLE__SYMBOL_SET ? 1 + symbol->b / 4 : 1);
}

/* A new set of what goes on behind this character. False: there is nothing, or it has given up. */
static bool take_character(struct burble__grammar *grammar, uint32_t character)
{
    const uint32_t begin = grammar->sets[grammar->n_sets - 1];
    const size_t end = grammar->n_items;
    if (!begin_set(grammar))
        return false;
    for (size_t i = begin; i < end; i++) {
        const struct item item = grammar->items[i];
        const struct burble__symbol *symbol = &grammar->rules.symbols[item.at];
        if (!spend_on(grammar, symbol))
            return false;
        if (symbol->kind >= BURBLE__SYMBOL_SET
            && burble__symbol_has(&grammar->rules, symbol, character, character)
            && !add(grammar, item.at + 1, item.origin))
            return false;
    }
    return grammar->n_items > end && close_set(grammar);
}

/* Whether a character from `low` to `high` may come. */
static bool may_come(struct burble__grammar *grammar, uint32_t low, uint32_t high)
{
    for (size_t i = grammar->sets[grammar->n_sets - 1]; i < grammar->n_items; i++) {
        const struct burble__symbol *symbol = &grammar->rules.symbols[grammar->items[i].at];
        if (!spend_on(grammar, symbol))
            return false;
        if (symbol->kind >= BURBLE__SYMBOL_SET
            && burble__symbol_has(&grammar->rules, symbol, low, high))
            return true;
    }
    return false;
}

/* Whether the character that has begun may come. */
static bool may_be_completed(struct burble__grammar *grammar)
{
    const struct partial *partial = &grammar->partial;
    const uint32_t low = partial->value << (6 * partial->missing);
    const uint32_t high = low | ((UINT32_C(1) << (6 * partial->missing)) - 1);
    return high >= partial->least
           && may_come(grammar, low > partial->least ? low : partial->least, high);
}

/* The text stays as it is only if this returns true, or is gone back in. */
static bool take_byte(struct burble__grammar *grammar, unsigned char byte)
{
    struct partial *partial = &grammar->partial;
    if (partial->missing > 0) {
        if ((byte & 0xC0u) != 0x80u)
            return false;
        partial->value = partial->value << 6 | (byte & 0x3Fu);
        if (--partial->missing > 0)
            return may_be_completed(grammar);
        return partial->value >= partial->least && partial->value <= 0x10FFFFu
               && take_character(grammar, partial->value);
    }
    if (byte < 0x80)
        return take_character(grammar, byte);
    if (byte < 0xC2 || byte > 0xF4)
        return false;
    partial->missing = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    partial->value = byte & (0x3Fu >> partial->missing);
    partial->least = partial->missing == 1 ? 0x80u : partial->missing == 2 ? 0x800u : 0x10000u;
    return may_be_completed(grammar);
}

/* ---- texts ----------------------------------------------------------------------------------------- */

bool burble__grammar_take(struct burble__grammar *grammar, const char *bytes, size_t n)
{
    const struct mark before = mark_here(grammar);
    grammar->work = MAX_WORK;
    for (size_t i = 0; i < n; i++) {
        if (!take_byte(grammar, (unsigned char)bytes[i])) {
            go_back(grammar, before);
            return false;
        }
    }
    return true;
}

bool burble__grammar_allows(struct burble__grammar *grammar, const char *bytes, size_t n)
{
    const struct mark before = mark_here(grammar);
    const bool allowed = burble__grammar_take(grammar, bytes, n);
    go_back(grammar, before);
    return allowed;
}

bool burble__grammar_may_end(const struct burble__grammar *grammar)
{
    if (grammar->partial.missing > 0)
        return false;
    for (size_t i = grammar->sets[grammar->n_sets - 1]; i < grammar->n_items; i++) {
        const struct item item = grammar->items[i];
        const struct burble__symbol *symbol = &grammar->rules.symbols[item.at];
        if (symbol->kind == BURBLE__SYMBOL_END && symbol->a == grammar->rules.root
            && item.origin == 0)
            return true;
    }
    return false;
}

bool burble__grammar_gave_up(const struct burble__grammar *grammar)
{
    return grammar->gave_up;
}

void burble__grammar_begin_walk(struct burble__grammar *grammar)
{
    grammar->n_walked = 0;
    grammar->walked[0] = mark_here(grammar);
    grammar->work = 4 * MAX_WORK; /* for all of it */
}

bool burble__grammar_walk(struct burble__grammar *grammar, const char *bytes, size_t n,
                          size_t common)
{
    if (common > grammar->n_walked) /* where the last text was not allowed any more */
        return false;
    grammar->n_walked = common;
    go_back(grammar, grammar->walked[common]);
    for (size_t i = common; i < n; i++) {
        if (i >= MAX_WALK || !take_byte(grammar, (unsigned char)bytes[i]))
            return false;
        grammar->walked[++grammar->n_walked] = mark_here(grammar);
    }
    return true;
}

void burble__grammar_end_walk(struct burble__grammar *grammar)
{
    go_back(grammar, grammar->walked[0]);
}

/* ---- making one ------------------------------------------------------------------------------------ */

int burble__grammar_create(const char *text, size_t len, struct burble__grammar **out,
                           burble_error *error)
{
    *out = NULL;
    struct burble__grammar *grammar = burble__calloc(1, sizeof *grammar);
    if (grammar == NULL)
        return BURBLE_ENOMEM;
    int result = burble__grammar_rules_parse(text, len, &grammar->rules, error);
    if (result == BURBLE_OK) {
        grammar->newest = burble__calloc(grammar->rules.n_symbols, sizeof *grammar->newest);
        grammar->work = MAX_WORK;
        if (grammar->newest == NULL || !begin_set(grammar) || !predict(grammar, grammar->rules.root)
            || !close_set(grammar))
            result = BURBLE_ENOMEM;
    }
    if (result != BURBLE_OK)
        burble__grammar_destroy(&grammar);
    *out = grammar;
    return result;
}

void burble__grammar_destroy(struct burble__grammar **handle)
{
    if (handle == NULL || *handle == NULL)
        return;
    struct burble__grammar *grammar = *handle;
    *handle = NULL;
    burble__grammar_rules_finish(&grammar->rules);
    burble__free(grammar->newest);
    burble__free(grammar->items);
    burble__free(grammar->sets);
    burble__free(grammar);
}
