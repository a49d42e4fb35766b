/* SPDX-License-Identifier: MIT */
#include "engine/llama_pace.h"

/* Before anything is known, and where a token seems to cost more than it can: a few tokens cost little more
 * than one, because the weights are read once for all of them. */
#define LEAST 16

/* The weight of the newest step in the means. */
#define NEWEST 0.25

static double mean(double before, double now)
{
    return before == 0.0 ? now : before + NEWEST * (now - before);
}

/* What a step with so many answers takes for them, by what one usually takes. */
static double share_of(const struct burble__llama_pace *pace, uint32_t answers)
{
    return answers < pace->answers ? answers / pace->answers : 1.0;
}

uint32_t burble__llama_pace_room(const struct burble__llama_pace *pace, uint32_t answers,
                                 uint32_t most)
{
    /* A step of a large model takes long in any case; twice that is not noticed, either. And when many answers have just
     * ended, and new requests come in their place, prompts have the time of those that are missing, too. */
    const double time = (pace->limit > pace->answer ? pace->limit : pace->answer)
                        + (1.0 - share_of(pace, answers)) * pace->answer;
    const double room = pace->token == 0.0 ? LEAST : time / pace->token;
    const uint32_t least = most < LEAST ? most : LEAST;
    return room <= least ? least : room >= most ? most : (uint32_t)room;
}

void burble__llama_pace_note(struct burble__llama_pace *pace, uint32_t answers, uint32_t prompt,
                             uint64_t ns)
{
    const double time = (double)ns;
    if (prompt == 0) {
        pace->answer = mean(pace->answer, time);
        pace->answers = mean(pace->answers, answers);
        return;
    }
    /* A step with fewer answers than usual takes less for them. Few prompt tokens (below LEAST) say little of what many cost. */
    const double rest = time - share_of(pace, answers) * pace->answer;
    if (prompt >= LEAST && rest > 0.0)
        pace->token = mean(pace->token, rest / prompt);
}
