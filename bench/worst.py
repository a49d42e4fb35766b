# SPDX-License-Identifier: MIT
"""The cost of a token after many others at which a detokenizer may have to hold back or look again.

The kinds are a byte that is no character; a word without an end; byte-fallback tokens that are
characters, and that are not; and text that at every token is nearly a stop string, which
DecodeStream does not look for. 100,000 ids of each kind, one after another, go through
``burble.Detokenizer.push``. The cost at a depth is the mean over the last tenth of the ids that
lead up to it, in CPU time. The tokenizers library's ``DecodeStream`` gets the same ids for half a
second: with each id, it decodes again all those that it could not turn into text yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from time import thread_time
from typing import Any

from benchmark import Measured, Options, Report, Table, collect, micros
from goals import Comparison, at_most, ratios
from tokenizers.decoders import DecodeStream
from workload import byte_fallback, byte_level

import burble

DEPTHS = (1_000, 10_000, 100_000)  # powers of ten
LIMIT = 0.5
GOAL_FLAT = 1.25


@dataclass(frozen=True)
class Case:
    """Ids that are hard, to be repeated."""

    name: str
    backend: Any
    ids: list[int]
    stop: str | None = None


def cases() -> list[Case]:
    """Return all of them, of a byte-level and a byte-fallback tokenizer."""
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


def cost_by_depth(
    push: Callable[[int], Any], ids: list[int], depths: tuple[int, ...], limit: float
) -> list[float]:
    """Push all ids; return the mean seconds of a push at each depth reached within ``limit``
    seconds."""
    costs, done, cost = [], 0, 0.0
    first = thread_time()
    for depth in depths:
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


def measure(options: Options) -> Measured:
    """Measure."""
    found, n_rounds = cases(), options.choose(full=7, quick=2, smoke=1)
    depths = options.choose(full=DEPTHS, quick=DEPTHS, smoke=(10, 100, 1000))

    def one_round() -> dict[str, float]:
        seconds = {}
        for case in found:
            ids = list(islice(cycle(case.ids), depths[-1]))
            each = {
                "burble": cost_by_depth(_push(case), ids, depths, float("inf")),
                "DecodeStream": cost_by_depth(_step(case), ids, depths, LIMIT),
            }
            for who, costs in each.items():
                for depth, cost in zip(depths, costs, strict=False):
                    seconds[f"{case.name}, {who}, {depth}"] = cost
        return seconds

    samples = collect("worst", n_rounds, one_round)
    facts = {"cases": [case.name for case in found], "depths": list(depths), "rounds": n_rounds}
    return Measured(samples, facts)


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples, facts = measured
    depths, names = facts["depths"], facts["cases"]
    report = Report(
        "worst",
        "CPU microseconds a token, by the number of tokens before it; median [quartiles]",
    )
    report.notes.append(
        f"{facts['rounds']} rounds; -: DecodeStream took more than {LIMIT} s to come there"
    )
    rows = []
    for name in names:
        for who in ("burble", "DecodeStream"):
            columns = [samples.get(f"{name}, {who}, {depth}") for depth in depths]
            rows.append([f"{name}, {who}", *[micros(c) if c else "-" for c in columns]])
    report.tables.append(Table(["", *[f"{depth:,} tokens" for depth in depths]], rows))
    for name in names:
        late, early = (samples[f"{name}, burble, {depth}"] for depth in (depths[-1], depths[-2]))
        what = f"{name}, burble's cost at {depths[-1]:,} over that at {depths[-2]:,}"
        report.goals.append(at_most(what, GOAL_FLAT, ratios(late, early)))
        for depth in depths:
            theirs = samples.get(f"{name}, DecodeStream, {depth}", [])
            ours = samples[f"{name}, burble, {depth}"]
            if len(theirs) == len(ours):  # DecodeStream came here in every round
                what = f"{name}, {depth:,} tokens"
                report.comparisons.append(Comparison(what, ours, {"DecodeStream": theirs}))
    return report
