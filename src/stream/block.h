/* SPDX-License-Identifier: MIT
 *
 * Blocks: the memory of a log.
 *
 * A log is a chain of blocks, each full of records. The writer fills the last block and publishes
 * each record by `committed`, a new block by `next`. Readers follow behind.
 *
 * A block lives as long as there is a reference to it: the stream has a reference to the oldest block
 * that it retains, every block to the block after it, and every reader to the block of its position. So a
 * block that all readers have left, and that is not retained, is freed, in order. The writer's block needs
 * no other reference: it is the end of the chain that the stream's reference keeps.
 *
 * A pin keeps only the memory of one block, and not the blocks after it: for a reader that was dropped,
 * and may still use the record that it was handed last.
 */
#ifndef BURBLE_STREAM_BLOCK_H
#define BURBLE_STREAM_BLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <burble/stream.h>

#include "base/atomic.h"

/* Precedes the bytes of each record; records start at multiples of its size. */
struct burble__record_head {
    uint32_t len;
    uint32_t tokens;
};

struct burble__block {
    _Atomic(struct burble__block *) next; /* writer: released once the next block is ready */
    _Atomic(uint32_t) committed;          /* writer: bytes of data[] that readers may read */
    _Atomic(uint32_t) refs;
    _Atomic(uint32_t) pins; /* all the references count as one */
    uint32_t capacity;      /* bytes of data[]; never changes */
    uint32_t text;          /* writer only: bytes of text in it, for retention */
    uint64_t first_seq;     /* of its first record; never changes */
    uint64_t first_weight;  /* what all records before it weigh; never changes */
    unsigned char data[];
};

/* The function that is called when a record is freed. */
struct burble__release {
    burble_release_fn *call; /* NULL: nobody */
    void *arg;
};

/* How many bytes of a block a record of `len` bytes takes. */
static inline size_t burble__record_size(size_t len)
{
    const size_t unit = sizeof(struct burble__record_head);
    return unit + (len + unit - 1) / unit * unit;
}

/* The record at `offset` of data[], which has the number `seq`. */
static inline burble_record burble__record_at(const struct burble__block *block, uint32_t offset,
                                              uint64_t seq)
{
    struct burble__record_head head;
    memcpy(&head, block->data + offset, sizeof head);
    /* Member by member: a compound literal with zeros in it is stored in other pieces than it is read back
     * in, which took 8 ns a record with gcc. */
    burble_record record;
    memset(&record, 0, sizeof record);
    record.text = (const char *)block->data + offset + sizeof head;
    record.len = head.len;
    record.seq = seq;
    record.tokens = head.tokens;
    return record;
}

/* A new block with one reference, room for `capacity` bytes; NULL where memory is short. */
struct burble__block *burble__block_create(size_t capacity, uint64_t first_seq,
                                           uint64_t first_weight);

/* One more reference; only by somebody who has one, or while the block before it is held. */
void burble__block_ref(struct burble__block *block);

/* Drops a reference, and frees the blocks that have none left. Never with a lock held, because `release`
 * calls the user's function. */
void burble__block_unref(struct burble__block *block, const struct burble__release *release);

/* Takes a pin. The caller must have a reference. */
void burble__block_pin(struct burble__block *block);

/* Drops a pin. Never with a lock held, as with a reference. */
void burble__block_unpin(struct burble__block *block, const struct burble__release *release);

#endif
