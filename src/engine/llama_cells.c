/* SPDX-License-Identifier: MIT */
#include "engine/llama_cells.h"

#include <string.h>

#include <burble/error.h>

#include "base/alloc.h"

int burble__cells_init(struct burble__cells *cells, struct llama_context *context, uint32_t n,
                       uint32_t length, bool unified)
{
    *cells = (struct burble__cells){.context = context, .unified = unified};
    cells->sequences = burble__calloc(n, sizeof *cells->sequences);
    if (cells->sequences == NULL)
        return BURBLE_ENOMEM;
    cells->n = n;
    for (uint32_t i = 0; i < n; i++) {
        cells->sequences[i].ids = burble__malloc(length * sizeof(int32_t));
        if (cells->sequences[i].ids == NULL)
            return BURBLE_ENOMEM;
    }
    return BURBLE_OK;
}

void burble__cells_finish(struct burble__cells *cells)
{
    for (uint32_t i = 0; i < cells->n; i++)
        burble__free(cells->sequences[i].ids);
    burble__free(cells->sequences);
    burble__free(cells->copy);
}

uint32_t burble__cells_common(const struct burble__cells *cells, uint32_t sequence,
                              const int32_t *ids, uint32_t n)
{
    const struct burble__sequence *at = &cells->sequences[sequence];
    const uint32_t most = n < at->n ? n : at->n;
    uint32_t same = 0;
    while (same < most && at->ids[same] == ids[same])
        same++;
    return same;
}

/* Whether llama.cpp has all cells from position 0 on. A cache of a sliding window may have dropped the first
 * ones; then the sequence can go on where it is, but not from an earlier position. */
static bool is_whole(struct burble__cells *cells, uint32_t sequence)
{
    return llama_memory_seq_pos_min(llama_get_memory(cells->context), (llama_seq_id)sequence) <= 0;
}

uint32_t burble__cells_cut(struct burble__cells *cells, uint32_t sequence, uint32_t n)
{
    llama_memory_t memory = llama_get_memory(cells->context);
    struct burble__sequence *at = &cells->sequences[sequence];
    if (at->n == n && at->pending == 0)
        return n;
    const bool shorter = n < at->n;
    at->pending = 0;
    at->n = n;
    if (n == 0 || (shorter && !is_whole(cells, sequence))
        || !llama_memory_seq_rm(memory, (llama_seq_id)sequence, (llama_pos)n, -1)) {
        llama_memory_seq_rm(memory, (llama_seq_id)sequence, -1, -1);
        at->n = 0;
    }
    return at->n;
}

void burble__cells_keep(struct burble__cells *cells, uint64_t step)
{
    for (uint32_t i = 0; i < cells->n; i++) {
        struct burble__sequence *at = &cells->sequences[i];
        if (at->pending > 0) {
            at->n += at->pending;
            at->pending = 0;
            at->used = step;
        }
    }
}

/* Copies the cells of a sequence out of llama.cpp, to `*out`, which is made larger where it must be. Returns
 * their size, or 0 if there is no memory. */
static size_t copy_out(struct burble__cells *cells, uint32_t sequence, uint8_t **out, size_t *room)
{
    const size_t size = llama_state_seq_get_size(cells->context, (llama_seq_id)sequence);
    if (size > *room) {
        uint8_t *larger = burble__realloc(*out, size);
        if (larger == NULL)
            return 0;
        *out = larger;
        *room = size;
    }
    return llama_state_seq_get_data(cells->context, *out, size, (llama_seq_id)sequence);
}

/* Copies cells back, into a sequence; those it had are forgotten. */
static bool copy_in(struct burble__cells *cells, const uint8_t *from, size_t size,
                    uint32_t sequence)
{
    return size > 0
           && llama_state_seq_set_data(cells->context, from, size, (llama_seq_id)sequence) > 0;
}

/* Whatever llama.cpp has of the sequence is forgotten. */
static void clear(struct burble__cells *cells, uint32_t sequence)
{
    struct burble__sequence *at = &cells->sequences[sequence];
    llama_memory_seq_rm(llama_get_memory(cells->context), (llama_seq_id)sequence, -1, -1);
    at->n = 0;
    at->pending = 0;
}

bool burble__cells_copy(struct burble__cells *cells, uint32_t from, uint32_t to, uint32_t n)
{
    const struct burble__sequence *source = &cells->sequences[from];
    struct burble__sequence *target = &cells->sequences[to];
    clear(cells, to);
    if (cells->unified) {
        llama_memory_seq_cp(llama_get_memory(cells->context), (llama_seq_id)from, (llama_seq_id)to,
                            -1, -1);
    } else {
        const size_t size = copy_out(cells, from, &cells->copy, &cells->room);
        if (!copy_in(cells, cells->copy, size, to)) {
            clear(cells, to);
            return false;
        }
    }
    memcpy(target->ids, source->ids, source->n * sizeof *target->ids);
    target->n = source->n;
    target->used = source->used;
    return burble__cells_cut(cells, to, n) == n;
}

bool burble__cells_swap(struct burble__cells *cells, uint32_t a, uint32_t b)
{
    struct burble__sequence *first = &cells->sequences[a];
    struct burble__sequence *second = &cells->sequences[b];
    uint8_t *other = NULL;
    size_t room = 0;
    const size_t size = first->n > 0 ? copy_out(cells, a, &cells->copy, &cells->room) : 0;
    const size_t other_size = second->n > 0 ? copy_out(cells, b, &other, &room) : 0;
    const bool copied = (size > 0 || first->n == 0) && (other_size > 0 || second->n == 0);
    if (copied) {
        const struct burble__sequence was = *first;
        *first = *second;
        *second = was;
        if (!copy_in(cells, cells->copy, size, b))
            clear(cells, b);
        if (!copy_in(cells, other, other_size, a))
            clear(cells, a);
    }
    burble__free(other);
    return copied;
}
