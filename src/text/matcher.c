/* SPDX-License-Identifier: MIT
 *
 * The matcher: the automaton of Aho and Corasick, with 9 bytes for each byte of the strings.
 *
 * The strings are stored sorted, one after the other, in `bytes`. A state is the beginning of a string, and its
 * number is the position in `bytes` where this beginning first ends: the first d bytes of the string at offset
 * o are the state o + d. So the byte that leads from state s to s + 1 is bytes[s], the state s represents the
 * depth(s) bytes before bytes[s], and neither needs a table. Where strings differ, the later ones are reached
 * by an edge; there are fewer edges than strings. They are sorted, and found by binary search, but only from
 * states that have some; the root, which has the most, has a table.
 *
 * A string that contains another one before its last byte is left out, because the other one is always found
 * first. Of the remaining states, exactly the ends of strings are matches. (A state that ends in a match without
 * being one would be the beginning of a string that contains the match.) In every other state, each of its
 * bytes can become a part of the first match. Proof: let s be a string that begins with this state, which is the
 * longest that fits, and let the text go on with the rest of s. The first match is not within the beginning of
 * s, because then s would have been left out. If it began before this state, its own beginning would be a longer
 * state that fits. So it ends with the last byte of s; of such matches the longest is reported, which is s.
 */
#include "text/matcher.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"

#define ROOT BURBLE__MATCHER_ROOT

/* With how many first bytes a block of text is compared; more are looked up in the root's table. */
#define MAX_FIRSTS 4

struct state {
    uint32_t fail;         /* the longest end of this state that is a state, too */
    uint32_t depth : 30;   /* how many bytes it stands for */
    uint32_t branches : 1; /* has edges */
    uint32_t met : 1;      /* ends in, or contains, a string */
};

/* A way on from a state other than with the next byte in `bytes`. */
struct edge {
    uint32_t key; /* the state it starts from << 8 | the byte */
    uint32_t to;
};

struct string {
    uint32_t offset; /* in `bytes` */
    uint32_t which;  /* its index in what the caller gave */
};

struct burble__matcher {
    _Atomic(size_t) refs;
    char *bytes;
    struct state *states; /* one more than there are bytes */
    struct edge *edges;   /* sorted */
    struct string *strings;
    uint32_t n_edges, n_strings;
    uint32_t root[256]; /* where the root leads with each byte */
    unsigned n_firsts;  /* with how many bytes it leads anywhere */
    unsigned char firsts[MAX_FIRSTS];
};

/* ---- running --------------------------------------------------------------------------------- */

static uint32_t edge_key(uint32_t state, unsigned char byte)
{
    return state << 8 | byte;
}

/* Where the edge with this key leads; ROOT where there is none. */
static uint32_t follow_edge(const struct burble__matcher *matcher, uint32_t key)
{
    size_t low = 0, high = matcher->n_edges;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (matcher->edges[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < matcher->n_edges && matcher->edges[low].key == key ? matcher->edges[low].to : ROOT;
}

/* The state that is this one and the byte; ROOT where there is none. */
static uint32_t child(const struct burble__matcher *matcher, uint32_t state, unsigned char byte)
{
    if (state == ROOT)
        return matcher->root[byte];
    assert(!matcher->states[state].met); /* so the string goes on, at bytes[state] */
    if ((unsigned char)matcher->bytes[state] == byte)
        return state + 1;
    return matcher->states[state].branches ? follow_edge(matcher, edge_key(state, byte)) : ROOT;
}

/* The longest end of this state and the byte that is a state. */
static uint32_t step(const struct burble__matcher *matcher, uint32_t state, unsigned char byte)
{
    for (;;) {
        const uint32_t next = child(matcher, state, byte);
        if (next != ROOT || state == ROOT)
            return next;
        state = matcher->states[state].fail;
    }
}

/* How many bytes there are before the first that begins a string, some at a time: whole blocks, with
 * a loop that compilers make vectors of. May stop early, in the block that has such a byte. */
static size_t skip_blocks(const struct burble__matcher *matcher, const unsigned char *text,
                          size_t len)
{
    enum { BLOCK = 32 };
    const unsigned char a = matcher->firsts[0], b = matcher->firsts[1], c = matcher->firsts[2],
                        d = matcher->firsts[3];
    size_t i = 0;
    for (; len - i >= BLOCK; i += BLOCK) {
        unsigned char any = 0;
        for (size_t j = 0; j < BLOCK; j++) {
            const unsigned char byte = text[i + j];
            any |= (unsigned char)((byte == a) | (byte == b) | (byte == c) | (byte == d));
        }
        if (any != 0)
            break;
    }
    return i;
}

/* How many bytes there are before the first that begins a string. */
static size_t skip_harmless(const struct burble__matcher *matcher, const unsigned char *text,
                            size_t len)
{
    if (matcher->n_firsts == 0)
        return len;
    if (matcher->n_firsts == 1) {
        const unsigned char *found = memchr(text, matcher->firsts[0], len);
        return found == NULL ? len : (size_t)(found - text);
    }
    size_t i = matcher->n_firsts <= MAX_FIRSTS ? skip_blocks(matcher, text, len) : 0;
    while (i < len && matcher->root[text[i]] == ROOT)
        i++;
    return i;
}

size_t burble__matcher_run(const struct burble__matcher *matcher, uint32_t *state, const char *text,
                           size_t len)
{
    const unsigned char *const bytes = (const unsigned char *)text;
    uint32_t at = *state;
    assert(!matcher->states[at].met);
    size_t i = 0;
    while (i < len) {
        if (at == ROOT) {
            i += skip_harmless(matcher, bytes + i, len - i);
            if (i == len)
                break;
        }
        at = step(matcher, at, bytes[i++]);
        if (matcher->states[at].met)
            break;
    }
    *state = at;
    return i;
}

bool burble__matcher_met(const struct burble__matcher *matcher, uint32_t state)
{
    return matcher->states[state].met;
}

size_t burble__matcher_which(const struct burble__matcher *matcher, uint32_t state)
{
    assert(matcher->states[state].met);
    /* The last string that begins before the end of the state. */
    size_t low = 0, high = matcher->n_strings;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (matcher->strings[middle].offset < state)
            low = middle;
        else
            high = middle;
    }
    return matcher->strings[low].which;
}

burble_text burble__matcher_end(const struct burble__matcher *matcher, uint32_t state)
{
    if (state == ROOT)
        return (burble_text){.bytes = ""};
    const size_t depth = matcher->states[state].depth;
    return (burble_text){.bytes = matcher->bytes + (state - depth), .len = depth};
}

/* ---- making ---------------------------------------------------------------------------------- */

/* A string while the matcher is made. */
struct source {
    const char *bytes; /* the caller's */
    uint32_t len;
    uint32_t which;
    uint32_t offset; /* in the matcher's bytes */
    uint32_t shared; /* how many bytes it shares with the string before it, which spells them */
    uint32_t from;   /* the string that spells the last of these, where there are any */
    uint32_t branch; /* the state that these are: where its own states begin */
    bool dead;       /* contains another string before its last byte */
};

static int compare_sources(const void *a, const void *b)
{
    const struct source *const left = a, *const right = b;
    const uint32_t len = left->len < right->len ? left->len : right->len;
    const int order = memcmp(left->bytes, right->bytes, len);
    if (order != 0)
        return order;
    if (left->len != right->len)
        return left->len < right->len ? -1 : 1;
    return left->which < right->which ? -1 : 1;
}

static int compare_edges(const void *a, const void *b)
{
    const struct edge *const left = a, *const right = b;
    return left->key < right->key ? -1 : left->key > right->key;
}

static uint32_t shared_bytes(const struct source *a, const struct source *b)
{
    const uint32_t len = a->len < b->len ? a->len : b->len;
    uint32_t i = 0;
    while (i < len && a->bytes[i] == b->bytes[i])
        i++;
    return i;
}

/* Leaves out what begins with another string, or is equal to an earlier one: sorted, each comes
 * behind the shortest string that it begins with, with nothing kept in between. Returns how many are
 * left. */
static size_t drop_longer(struct source *sources, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && shared_bytes(&sources[kept - 1], &sources[i]) == sources[kept - 1].len)
            continue;
        sources[kept++] = sources[i];
    }
    return kept;
}

static size_t drop_dead(struct source *sources, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!sources[i].dead)
            sources[kept++] = sources[i];
    return kept;
}

/* Adds the way from the root, or the edge, by which the states of string i are reached. */
static void branch_off(struct burble__matcher *matcher, struct source *sources, uint32_t i)
{
    struct source *const source = &sources[i];
    const uint32_t to = source->offset + source->shared + 1;
    const unsigned char byte = (unsigned char)source->bytes[source->shared];
    if (source->shared == 0) {
        source->branch = ROOT;
        matcher->root[byte] = to;
        if (matcher->n_firsts < MAX_FIRSTS)
            matcher->firsts[matcher->n_firsts] = byte;
        matcher->n_firsts++;
        return;
    }
    uint32_t from = i - 1;
    while (source->shared <= sources[from].shared)
        from = sources[from].from;
    source->from = from;
    source->branch = sources[from].offset + source->shared;
    matcher->states[source->branch].branches = 1;
    matcher->edges[matcher->n_edges++] =
        (struct edge){.key = edge_key(source->branch, byte), .to = to};
}

/* Lays the strings out and makes their states reachable. */
static void lay_out(struct burble__matcher *matcher, struct source *sources, size_t n)
{
    uint32_t offset = 0;
    memset(matcher->root, 0, sizeof matcher->root);
    matcher->n_edges = 0;
    matcher->n_firsts = 0;
    matcher->n_strings = (uint32_t)n;
    matcher->states[ROOT] = (struct state){.fail = ROOT};
    for (uint32_t i = 0; i < n; i++) {
        struct source *const source = &sources[i];
        memcpy(matcher->bytes + offset, source->bytes, source->len);
        memset(matcher->states + offset + 1, 0, source->len * sizeof *matcher->states);
        matcher->strings[i] = (struct string){.offset = offset, .which = source->which};
        source->offset = offset;
        source->shared = i == 0 ? 0 : shared_bytes(source - 1, source);
        branch_off(matcher, sources, i);
        offset += source->len;
    }
    for (unsigned i = matcher->n_firsts; i > 0 && i < MAX_FIRSTS; i++)
        matcher->firsts[i] = matcher->firsts[0];
    if (matcher->n_edges > 1)
        qsort(matcher->edges, matcher->n_edges, sizeof *matcher->edges, compare_edges);
}

/* Fills in the state of a string's first `depth` bytes, all shorter states being complete. */
static void link_state(struct burble__matcher *matcher, struct source *source, uint32_t depth)
{
    const uint32_t at = source->offset + depth;
    const uint32_t parent = depth == source->shared + 1 ? source->branch : at - 1;
    struct state *const state = &matcher->states[at];
    state->depth = depth & 0x3FFFFFFF;
    state->met = depth == source->len;
    state->fail = ROOT;
    if (matcher->states[parent].met) {
        source->dead = true;
        state->met = 1;
    } else if (parent != ROOT) {
        const unsigned char byte = (unsigned char)matcher->bytes[at - 1];
        state->fail = step(matcher, matcher->states[parent].fail, byte);
        state->met |= matcher->states[state->fail].met;
    }
}

/* Completes the states, the shorter ones first, and finds out which strings are dead. `active` has
 * room for n. Returns whether there are any. */
static bool link_states(struct burble__matcher *matcher, struct source *sources, size_t n,
                        uint32_t *active)
{
    size_t n_active = n;
    bool dead = false;
    for (uint32_t i = 0; i < n; i++)
        active[i] = i;
    for (uint32_t depth = 1; n_active > 0; depth++) {
        size_t left = 0;
        for (size_t i = 0; i < n_active; i++) {
            struct source *const source = &sources[active[i]];
            if (depth > source->shared)
                link_state(matcher, source, depth);
            if (depth < source->len)
                active[left++] = active[i];
            else
                dead |= source->dead;
        }
        n_active = left;
    }
    return dead;
}

/* Sorts the strings and builds the automaton; `active` has room for n. */
static void build(struct burble__matcher *matcher, struct source *sources, size_t n,
                  uint32_t *active)
{
    if (n > 1)
        qsort(sources, n, sizeof *sources, compare_sources);
    n = drop_longer(sources, n);
    lay_out(matcher, sources, n);
    if (link_states(matcher, sources, n, active)) {
        n = drop_dead(sources, n);
        lay_out(matcher, sources, n);
        const bool dead = link_states(matcher, sources, n, active);
        assert(!dead);
        (void)dead;
    }
}

/* The matcher's memory, for `n` strings of `total` bytes; NULL where there is none. */
static struct burble__matcher *allocate(size_t n, size_t total)
{
    struct burble__matcher *matcher = burble__calloc(1, sizeof *matcher);
    if (matcher == NULL)
        return NULL;
    burble__init(&matcher->refs, 1);
    matcher->bytes = burble__malloc(total + 1);
    matcher->states = burble__calloc(total + 1, sizeof *matcher->states);
    matcher->edges = burble__calloc(n + 1, sizeof *matcher->edges);
    matcher->strings = burble__calloc(n + 1, sizeof *matcher->strings);
    if (matcher->bytes == NULL || matcher->states == NULL || matcher->edges == NULL
        || matcher->strings == NULL) {
        burble__matcher_unref(&matcher);
    }
    return matcher;
}

int burble__matcher_create(const burble_text *strings, size_t n, struct burble__matcher **out)
{
    *out = NULL;
    size_t total = 0;
    struct source *sources = burble__calloc(n + 1, sizeof *sources);
    uint32_t *active = burble__calloc(n + 1, sizeof *active);
    struct burble__matcher *matcher = NULL;
    if (sources == NULL || active == NULL)
        goto done;
    for (uint32_t i = 0; i < n; i++) {
        assert(strings[i].len > 0);
        sources[i] =
            (struct source){.bytes = strings[i].bytes, .len = (uint32_t)strings[i].len, .which = i};
        total += strings[i].len;
        assert(total < (size_t)1 << 24); /* a state and a byte are an edge's key */
    }
    matcher = allocate(n, total);
    if (matcher != NULL)
        build(matcher, sources, n, active);
done:
    burble__free(active);
    burble__free(sources);
    *out = matcher;
    return matcher == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

struct burble__matcher *burble__matcher_ref(struct burble__matcher *matcher)
{
    /* Relaxed: whoever makes a reference has one, and what that one lets him see, he sees. */
    burble__add_relaxed(&matcher->refs, 1);
    return matcher;
}

void burble__matcher_unref(struct burble__matcher **matcher)
{
    if (matcher == NULL || *matcher == NULL)
        return;
    struct burble__matcher *mine = *matcher;
    *matcher = NULL;
    /* Acquire and release pair with one another across threads: every read that another holder made
     * comes before the free. Without that it could read freed memory. */
    const size_t before = burble__sub_acq_rel(&mine->refs, 1);
    assert(before > 0);
    if (before == 1) {
        burble__free(mine->bytes);
        burble__free(mine->states);
        burble__free(mine->edges);
        burble__free(mine->strings);
        burble__free(mine);
    }
}
