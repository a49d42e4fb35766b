/* SPDX-License-Identifier: MIT
 *
 * How many prompt tokens a step may compute: beside answers, as many as make the step longer by a time that the
 * readers of these answers do not notice, and as take the time of answers that have ended. Without answers, several prompts
 * share such a step, too. What a token costs is measured, step by step.
 *
 * Only the engine's thread uses it.
 */
#ifndef BURBLE_ENGINE_LLAMA_PACE_H
#define BURBLE_ENGINE_LLAMA_PACE_H

#include <stdint.h>

struct burble__llama_pace {
    double limit;   /* by how much prompts may prolong a step, in nanoseconds */
    double answer;  /* how long a step without prompts takes, in nanoseconds; 0: not known yet */
    double answers; /* how many tokens of answers such a step has */
    double token; /* what one token of a prompt adds to a step, in nanoseconds; 0: not known yet */
};

/* How many prompt tokens the next step may compute, beside `answers` tokens of answers or of several prompts: at least
 * 1, at most `most`. */
uint32_t burble__llama_pace_room(const struct burble__llama_pace *pace, uint32_t answers,
                                 uint32_t most);

/* A step with `answers` tokens of answers and `prompt` ones of prompts has taken `ns`. */
void burble__llama_pace_note(struct burble__llama_pace *pace, uint32_t answers, uint32_t prompt,
                             uint64_t ns);

#endif
