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

uint32_t burble__pace_room(const struct burble__pace *pace, uint32_t most)
{
    /* A step of a large model takes long in any case; twice that is not noticed, either. */
    const double time = pace->limit > pace->answer ? pace->limit : pace->answer;
    const double room = pace->token == 0.0 ? LEAST : time / pace->token;
    const uint32_t least = most < LEAST ? most : LEAST;
    return room <= least ? least : room >= most ? most : (uint32_t)room;
}

void burble__pace_note(struct burble__pace *pace, uint32_t answers, uint32_t prompt, uint64_t ns)
{
    const double time = (double)ns;
    if (prompt == 0) {
        pace->answer = mean(pace->answer, time);
        return;
    }
    /* A few tokens say little of what many cost; and a step that is all prompt has no answers to subtract. */
    const double rest = answers == 0 ? time : time - pace->answer;
    if (prompt >= LEAST && rest > 0.0)
        pace->token = mean(pace->token, rest / prompt);
}
