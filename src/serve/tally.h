/* SPDX-License-Identifier: MIT
 *
 * The tally of a client: what the events of later frames need of the earlier ones. It is a function of the frames, and
 * is rebuilt by reading the log from its beginning.
 */
#ifndef BURBLE_SERVE_TALLY_H
#define BURBLE_SERVE_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <burble/frame.h>

#include "serve/envelope.h"
#include "serve/usage.h"

/* Of one choice. */
struct burble__choice_tally {
    uint32_t offset; /* text_offset of its next token, in characters */
    uint32_t reason; /* of its end; 0: none yet */
};

struct burble__tally {
    uint64_t frames;   /* so far; the last one has the number frames - 1 */
    uint32_t hash;     /* of all frames so far; BURBLE_FRAME_HASH unless `hashes` */
    uint32_t finished; /* choices that have a reason */
    uint32_t offset;   /* text_offset of the last frame's first token */
    bool hashes;       /* positions are needed */
    struct burble__choice_tally first;
    struct burble__choice_tally *others; /* choices from 1 on; NULL if there is one */
    struct burble__usage *usage;         /* NULL: it was in no frame yet */
};

/* Before the first frame. `hashes`: the client is told positions, or has sent one. */
void burble__tally_init(struct burble__tally *tally, bool hashes);

void burble__tally_finish(struct burble__tally *tally);

/* Counts a frame: its bytes, and what burble_frame_read made of them (also of an unknown kind). BURBLE_OK; BURBLE_ENOMEM;
 * BURBLE_EFORMAT: the frames are not those of an answer (a second begin, text after the end of a choice …). */
int burble__tally_add(struct burble__tally *tally, const struct burble__envelope *envelope,
                      const char *bytes, size_t len, const burble_frame *frame);

/* The reason of a choice; 0: none yet. */
static inline uint32_t burble__tally_reason(const struct burble__tally *tally, uint32_t choice)
{
    return choice == 0             ? tally->first.reason
           : tally->others == NULL ? 0
                                   : tally->others[choice - 1].reason;
}

/* Whether all choices have ended. */
static inline bool burble__tally_is_complete(const struct burble__tally *tally,
                                             const struct burble__envelope *envelope)
{
    return tally->finished == envelope->choices;
}

/* "stop", "length"; "error" for an unknown one. */
const char *burble__reason_name(unsigned reason);

#endif
