# SPDX-License-Identifier: MIT
"""What a token costs after many others, where a detokenizer may have to hold back or look again.

One id after another, 100,000 of each kind, through ``burble.Detokenizer.push``. The cost at a depth
is the mean over the last tenth of the ids that lead up to it, in CPU time. The tokenizers library's
``DecodeStream`` gets the same ids, as far as it comes within half a second: of ids that it cannot
turn into text yet, it decodes all again with each one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from time import thread_time
from typing import Any

import goal
from contest import Contest
from families import byte_fallback, byte_level
from progress import rounds
from report import Measured, Outcome, Table, micros
from spread import ratios, spread
from tokenizers.decoders import DecodeStream

import burble

DEPTHS = (1_000, 10_000, 100_000)  # powers of ten
LIMIT = 0.5
GOAL_FLAT = 1.25


@dataclass(frozen=True)
class Case:
    """Ids that are hard, over and over."""

    name: str
    backend: Any
    ids: list[int]
    stop: str | None = None


def cases() -> list[Case]:
    """All of them, of a byte-level and a byte-fallback tokenizer."""
    level, fallback = byte_level(), byte_fallback()
    broken = level.encode("é", add_special_tokens=False).ids
    if len(broken) == 1:  # it has the character as one token
        broken = [level.token_to_id("Ã")]
    the = level.encode(" the", add_special_tokens=False).ids
    byte = {b: fallback.token_to_id(f"<0x{b:02X}>") for b in (*"é".encode(), 0xFF)}
    return [
        Case("U+FFFD", level, broken[:1]),
        Case("one word", level, level.encode("ing", add_special_tokens=False).ids),
        Case("bytes, characters", fallback, [byte[b] for b in "é".encode()]),
        Case("bytes, not UTF-8", fallback, [byte[0xFF]]),
        Case("nearly a stop string", level, the, " the" * 8 + "!"),
    ]


def cost_by_depth(push: Callable[[int], Any], ids: list[int], limit: float) -> list[float]:
    """Push all ids; return the mean seconds of a push at each depth that is reached before
    ``limit`` seconds are over."""
    costs, done, cost = [], 0, 0.0
    first = thread_time()
    for depth in DEPTHS:
        tenth = depth // 10
        for at in range(done, depth, tenth):
            begin = thread_time()
            if begin - first > limit:
                return costs
            for i in ids[at : at + tenth]:
                push(i)
            cost = (thread_time() - begin) / tenth
        costs.append(cost)
        done = depth
    return costs


def _step(case: Case) -> Callable[[int], Any]:
    stream, backend = DecodeStream(skip_special_tokens=False), case.backend
    return lambda i: stream.step(backend, i)


def _push(case: Case) -> Callable[[int], Any]:
    return burble.Detokenizer(case.backend, stop=case.stop).push


def measure(n_rounds: int) -> Measured:
    """Measure, in ``n_rounds`` rounds after one that does not count."""
    found = cases()
    samples: dict[str, list[float]] = {}
    for n in rounds(n_rounds + 1, "worst"):
        for case in found:
            ids = list(islice(cycle(case.ids), DEPTHS[-1]))
            each = {
                "burble": cost_by_depth(_push(case), ids, float("inf")),
                "DecodeStream": cost_by_depth(_step(case), ids, LIMIT),
            }
            for who, costs in each.items():
                for depth, cost in zip(DEPTHS, costs, strict=False):
                    if n > 0:
                        samples.setdefault(f"{case.name}, {who}, {depth}", []).append(cost)
    facts = {"cases": [case.name for case in found], "depths": list(DEPTHS), "rounds": n_rounds}
    return Measured(samples, facts)


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""
    samples, facts = found
    depths, names = facts["depths"], facts["cases"]
    outcome = Outcome(
        "worst",
        "7. worst: CPU microseconds a token, by the number of tokens before it; median [quartiles]",
    )
    outcome.notes.append(
        f"{facts['rounds']} rounds; -: DecodeStream took more than {LIMIT} s to come there"
    )
    rows = []
    for name in names:
        for who in ("burble", "DecodeStream"):
            columns = [samples.get(f"{name}, {who}, {depth}") for depth in depths]
            cells = [micros(spread(column)) if column else "-" for column in columns]
            rows.append([f"{name}, {who}", *cells])
    outcome.tables.append(Table(["", *[f"{depth:,} tokens" for depth in depths]], rows))
    for name in names:
        late, early = (samples[f"{name}, burble, {depth}"] for depth in (depths[-1], depths[-2]))
        outcome.goals.append(
            goal.flat(
                f"{name}, burble's cost at {depths[-1]:,} over that at {depths[-2]:,}",
                GOAL_FLAT,
                ratios(late, early),
            )
        )
        # Only where DecodeStream came in every round.
        for depth in depths:
            theirs = samples.get(f"{name}, DecodeStream, {depth}", [])
            ours = samples[f"{name}, burble, {depth}"]
            if len(theirs) == len(ours):
                what = f"{name}, {depth:,} tokens"
                outcome.contests.append(Contest(what, ours, {"DecodeStream": theirs}))
    return outcome
