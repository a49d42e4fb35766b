/* SPDX-License-Identifier: MIT */
#include "serve/tally.h"

#include "base/alloc.h"
#include "base/utf8.h"

void burble__tally_init(struct burble__tally *tally, bool hashes)
{
    *tally = (struct burble__tally){.hash = BURBLE_FRAME_HASH, .hashes = hashes};
}

void burble__tally_finish(struct burble__tally *tally)
{
    burble__free(tally->others);
    burble__free(tally->usage);
    tally->others = NULL;
    tally->usage = NULL;
}

/* Moves the offset of a choice by the characters that begin in its tokens. */
static void add_offsets(struct burble__tally *tally, struct burble__choice_tally *choice,
                        const burble_frame *frame)
{
    burble_text rest = frame->u.text.logprobs;
    burble_logprob entry, alternative;
    tally->offset = choice->offset;
    while (burble_logprob_read(&rest, false, &entry)) {
        choice->offset += (uint32_t)burble__utf8_count(entry.text.bytes, entry.text.len);
        for (uint32_t i = 0; i < entry.n_top; i++)
            burble_logprob_read(&rest, true, &alternative);
    }
}

/* A frame of a choice that has not ended. */
static int add_choice(struct burble__tally *tally, const struct burble__envelope *envelope,
                      const burble_frame *frame)
{
    if (frame->choice >= envelope->choices)
        return BURBLE_EFORMAT;
    struct burble__choice_tally *choice =
        frame->choice == 0 ? &tally->first : &tally->others[frame->choice - 1];
    if (choice->reason != 0)
        return BURBLE_EFORMAT;
    if (frame->kind == BURBLE_FRAME_FINISH) {
        choice->reason = frame->u.text.reason;
        tally->finished++;
    } else if (frame->u.text.logprobs.len > 0 && envelope->logprobs
               && envelope->route == BURBLE_SERVE_COMPLETION) {
        add_offsets(tally, choice, frame);
    }
    return BURBLE_OK;
}

static int add_usage(struct burble__tally *tally, const burble_frame *frame)
{
    tally->usage = burble__malloc(sizeof *tally->usage);
    if (tally->usage == NULL)
        return BURBLE_ENOMEM;
    *tally->usage = (struct burble__usage){
        .prompt = frame->u.usage.prompt,
        .reused = frame->u.usage.reused,
        .completion = frame->u.usage.completion,
        .queue_ns = frame->u.usage.queue_ns,
        .prompt_ns = frame->u.usage.prompt_ns,
        .answer_ns = frame->u.usage.answer_ns,
    };
    return BURBLE_OK;
}

/* The first frame. */
static int begin(struct burble__tally *tally, const struct burble__envelope *envelope)
{
    if (envelope->choices > 1 && tally->others == NULL)
        tally->others = burble__calloc(envelope->choices - 1, sizeof *tally->others);
    return envelope->choices > 1 && tally->others == NULL ? BURBLE_ENOMEM : BURBLE_OK;
}

int burble__tally_add(struct burble__tally *tally, const struct burble__envelope *envelope,
                      const char *bytes, size_t len, const burble_frame *frame)
{
    int result = BURBLE_OK;
    if ((tally->frames == 0) != (frame->kind == BURBLE_FRAME_BEGIN))
        return BURBLE_EFORMAT;
    switch (frame->kind) {
    case BURBLE_FRAME_BEGIN:
        result = begin(tally, envelope);
        break;
    case BURBLE_FRAME_TEXT:
    case BURBLE_FRAME_REASONING:
    case BURBLE_FRAME_TOOL:
    case BURBLE_FRAME_FINISH:
        result = add_choice(tally, envelope, frame);
        break;
    case BURBLE_FRAME_USAGE:
        result = tally->usage == NULL ? add_usage(tally, frame) : BURBLE_EFORMAT;
        break;
    default:
        break;
    }
    if (result != BURBLE_OK)
        return result;
    tally->frames++;
    if (tally->hashes)
        tally->hash = burble_frame_hash(tally->hash, bytes, len);
    return BURBLE_OK;
}

const char *burble__reason_name(unsigned reason)
{
    return reason == BURBLE_FRAME_STOP     ? "stop"
           : reason == BURBLE_FRAME_LENGTH ? "length"
                                           : "error";
}
