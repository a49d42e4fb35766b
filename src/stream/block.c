/* SPDX-License-Identifier: MIT */
#include "stream/block.h"

#include "base/alloc.h"

struct burble__block *burble__block_create(size_t capacity, uint64_t first_seq,
                                           uint64_t first_weight)
{
    struct burble__block *block = burble__malloc(sizeof *block + capacity);
    if (block == NULL)
        return NULL;
    burble__init(&block->next, NULL);
    burble__init(&block->committed, 0);
    burble__init(&block->refs, 1);
    burble__init(&block->pins, 1);
    block->capacity = (uint32_t)capacity;
    block->text = 0;
    block->first_seq = first_seq;
    block->first_weight = first_weight;
    return block;
}

void burble__block_ref(struct burble__block *block)
{
    /* Relaxed: the caller holds the block already, by a reference or by the one before it, so this
     * only has to be atomic. */
    burble__add_relaxed(&block->refs, 1);
}

void burble__block_unref(struct burble__block *block, const struct burble__release *release)
{
    /* A loop, not a recursion: a chain may be as long as the whole history. */
    while (block != NULL) {
        /* Release, so that our reads of the block come before its end; acquire, so that whoever
         * frees it sees everybody else's done. Without the first, a reader could still be copying
         * from memory that another thread has freed. */
        if (burble__sub_acq_rel(&block->refs, 1) != 1)
            return;
        struct burble__block *next = burble__load_relaxed(&block->next);
        burble__block_unpin(block, release);
        block = next; /* its reference to the next one is now ours to give back */
    }
}

void burble__block_pin(struct burble__block *block)
{
    burble__add_relaxed(&block->pins, 1); /* the caller's reference holds the pin of them all */
}

static void release_records(const struct burble__block *block,
                            const struct burble__release *release)
{
    /* Relaxed: whoever let go of the block before us has released it, the writer among them. */
    const uint32_t committed = burble__load_relaxed(&block->committed);
    uint64_t seq = block->first_seq;
    for (uint32_t offset = 0; offset < committed;) {
        const burble_record record = burble__record_at(block, offset, seq++);
        offset += (uint32_t)burble__record_size(record.len, record.tokens);
        release->call(&record, release->arg);
    }
}

void burble__block_unpin(struct burble__block *block, const struct burble__release *release)
{
    /* Ordered as in burble__block_unref, and for the same reasons. */
    if (burble__sub_acq_rel(&block->pins, 1) != 1)
        return;
    if (release->call != NULL)
        release_records(block, release);
    burble__free(block);
}
