# SPDX-License-Identifier: MIT
"""How much text is held back after each id, by kind of decoder.

For each family of tests/python/test_exactness.py: the characters that a detokenizer has not handed
out yet although the ids so far say them, in the mean over the ids of that test's sample text.
Beside burble stand the tokenizers library's ``DecodeStream``, and vLLM's rule of prefix and read
offsets. "wrong" is what hands out text that decode does not say, or gives up.

The goal leaves two families out, which replace text across tokens: there the others are early on
this text because they hold nothing back, and wrong on texts in which something is replaced.
Nothing here depends on the machine.
"""

from __future__ import annotations

import sys

import goal
from progress import rounds
from report import Outcome

import models

sys.path.append(str(models.ROOT / "tests" / "python"))
from conftest import SAMPLE_TEXT, SHARED, SHARED_FAMILIES
from test_exactness import ACROSS, FAMILIES, PANICS, earliness


def _say(held: float | None) -> str:
    return "wrong" if held is None else f"{held:.3f}"


def measure(characters: int) -> Outcome:
    """Count, over the first ``characters`` of the text."""
    names = [name for name in FAMILIES if name != PANICS]
    if SHARED.is_dir():
        names += SHARED_FAMILIES
    outcome = Outcome("earliness", "8. earliness: characters held back, the mean over all ids")
    rows, beyond = [], []
    for n in rounds(len(names), "earliness"):
        found = earliness(names[n], SAMPLE_TEXT[:characters])
        held = {
            "burble": found.burble,
            "DecodeStream": found.decode_stream,
            "vLLM's rule": found.offsets,
        }
        rows.append([names[n], *map(_say, held.values())])
        if names[n] not in ACROSS:
            others = (found.decode_stream, found.offsets)
            beyond += [found.burble - other for other in others if other is not None]
        for who, value in held.items():
            outcome.samples[f"{names[n]}, {who}"] = [] if value is None else [value]
    outcome.table(["", "burble", "DecodeStream", "vLLM's rule"], rows)
    what = "what burble holds back beyond one who is not wrong, the most in any family"
    outcome.goals.append(goal.no_more(what, max(beyond)))
    return outcome
