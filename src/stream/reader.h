/* SPDX-License-Identifier: MIT
 *
 * The inside of a reader.
 */
#ifndef BURBLE_STREAM_READER_H
#define BURBLE_STREAM_READER_H

#include <stdbool.h>
#include <stdint.h>

#include <burble/stream.h>

#include "base/atomic.h"
#include "base/fork.h"
#include "stream/block.h"
#include "stream/lag.h"
#include "stream/waiter.h"

struct burble_reader {
    burble_stream *stream;       /* a reference */
    _Atomic(uint64_t) forks;     /* of the process that made or renewed it: base/fork.h */
    struct burble__block *block; /* where the reader stands: a reference; a pin once it was dropped
                                      for its lag; NULL once it has reported that */
    uint64_t seq;                /* of the next record */
    struct burble__waiter *waiter; /* a reference; NULL: attached to nothing */
    struct burble__limit *limit;   /* its own; NULL: none */
    struct burble__pace *pace;     /* its own; NULL: no interval */
    uint32_t offset;               /* of the next record, in block->data */
    uint32_t readable;             /* the end of the records that it has seen committed there */
    int16_t end;                   /* what it has reported as the end; BURBLE_OK: nothing yet */
    _Atomic(bool) interrupted;     /* does not wait any more */
};

/* The slow half of burble__reader_here. */
void burble__reader_renew(burble_reader *reader);

/* Before anything else in each public function that only the reader's thread calls: renews a reader, and its
 * stream, that were made before the last fork (base/fork.h). */
static inline void burble__reader_here(burble_reader *reader)
{
    if (!burble__is_here(&reader->forks))
        burble__reader_renew(reader);
}

#endif
