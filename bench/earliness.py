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
from report import Measured, Outcome, Table

import models

sys.path.append(str(models.ROOT / "tests" / "python"))
from conftest import SAMPLE_TEXT, SHARED, SHARED_FAMILIES
from test_exactness import ACROSS, FAMILIES, PANICS, earliness

WHO = ("burble", "DecodeStream", "vLLM's rule")


def measure(characters: int) -> Measured:
    """Count, over the first ``characters`` of the text."""
    names = [name for name in FAMILIES if name != PANICS]
    if SHARED.is_dir():
        names += SHARED_FAMILIES
    samples: dict[str, list[float]] = {}
    for n in rounds(len(names), "earliness"):
        found = earliness(names[n], SAMPLE_TEXT[:characters])
        each = (found.burble, found.decode_stream, found.offsets)
        for who, value in zip(WHO, each, strict=True):
            samples[f"{names[n]}, {who}"] = [] if value is None else [value]
    return Measured(samples, {"families": names, "across": [n for n in names if n in ACROSS]})


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""
    outcome = Outcome("earliness", "8. earliness: characters held back, the mean over all ids")
    rows, beyond = [], []
    for name in found.facts["families"]:
        held = [found.samples[f"{name}, {who}"] for who in WHO]
        rows.append([name, *[f"{value[0]:.3f}" if value else "wrong" for value in held]])
        if name not in found.facts["across"]:
            (ours,), *others = held
            beyond += [ours - other[0] for other in others if other]
    outcome.tables.append(Table(["", *WHO], rows))
    what = "what burble holds back beyond one who is not wrong, the most in any family"
    outcome.goals.append(goal.no_more(what, max(beyond)))
    return outcome
