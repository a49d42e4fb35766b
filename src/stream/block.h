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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <burble/stream.h>

#include "base/atomic.h"

/* A record is its head, its bytes, and as many more as the next one needs to start at a multiple of BURBLE__RECORD_UNIT. Most
 * records are the text of one token, so their head is a single byte:
 *
 *     len << 1 | tokens      the length is below 64, and there are 0 or 1 tokens
 *     0x80, long head        all others
 *
 * (With a unit of 1, records would take a tenth less, but the model check of the log watches memory in units of 4 bytes.) */
#define BURBLE__RECORD_UNIT 4u
#define BURBLE__RECORD_LONG 0x80u

struct burble__long_head {
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

static inline size_t burble__record_head_size(size_t len, uint32_t tokens)
{
    return len < BURBLE__RECORD_LONG / 2 && tokens < 2 ? 1 : 1 + sizeof(struct burble__long_head);
}

/* How many bytes of a block a record takes. */
static inline size_t burble__record_size(size_t len, uint32_t tokens)
{
    const size_t unit = BURBLE__RECORD_UNIT;
    return (burble__record_head_size(len, tokens) + len + unit - 1) / unit * unit;
}

/* Writes a record to `at`, where there is room for it. */
static inline void burble__record_write(unsigned char *at, const char *text, size_t len,
                                        uint32_t tokens)
{
    const struct burble__long_head head = {(uint32_t)len, tokens};
    const size_t head_size = burble__record_head_size(len, tokens);
    if (head_size == 1) {
        *at = (unsigned char)(len << 1 | tokens);
    } else {
        *at = BURBLE__RECORD_LONG;
        memcpy(at + 1, &head, sizeof head);
    }
    memcpy(at + head_size, text, len);
}

/* The record at `offset` of data[], which has the number `seq`. */
static inline burble_record burble__record_at(const struct burble__block *block, uint32_t offset,
                                              uint64_t seq)
{
    const unsigned char *const at = block->data + offset;
    const uint32_t first = *at;
    const bool is_long = first == BURBLE__RECORD_LONG;
    struct burble__long_head head = {first >> 1, first & 1};
    if (is_long)
        memcpy(&head, at + 1, sizeof head);
    /* Member by member: a compound literal with zeros in it is stored in other pieces than it is read back
     * in, which took 8 ns a record with gcc. */
    burble_record record;
    memset(&record, 0, sizeof record);
    record.text = (const char *)at + 1 + (is_long ? sizeof head : 0);
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
