/* SPDX-License-Identifier: MIT */
#include "stream/block.h"

#include "base/alloc.h"

struct burble__block *burble__block_create(size_t capacity, uint64_t first_seq)
{
    struct burble__block *block = burble__malloc(sizeof *block + capacity);
    if (block == NULL)
        return NULL;
    burble__init(&block->next, NULL);
    burble__init(&block->committed, 0);
    burble__init(&block->refs, 1);
    block->capacity = (uint32_t)capacity;
    block->text = 0;
    block->first_seq = first_seq;
    return block;
}

void burble__block_ref(struct burble__block *block)
{
    /* Relaxed: the caller holds the block already, by a reference or by the one before it, so this
     * only has to be atomic. */
    burble__add_relaxed(&block->refs, 1);
}

void burble__block_unref(struct burble__block *block)
{
    /* A loop, not a recursion: a chain may be as long as the whole history. */
    while (block != NULL) {
        /* Release, so that our reads of the block come before its end; acquire, so that whoever
         * frees it sees everybody else's done. Without the first, a reader could still be copying
         * from memory that another thread has freed. */
        if (burble__sub_acq_rel(&block->refs, 1) != 1)
            return;
        struct burble__block *next = burble__load_relaxed(&block->next);
        burble__free(block);
        block = next; /* its reference to the next one is now ours to give back */
    }
}
