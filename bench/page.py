# SPDX-License-Identifier: MIT
"""What the pages say of a run: every figure in them is written from here, none by hand.

It goes between marks in docs/performance.md, ``<!-- bench-NAME: begin -->`` and the same with
``end``: `cost`, `machine`, `goals`, `behind`, and each benchmark by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import generate
import known
import marks
import plots
import put
import streams
from parts import outcomes
from report import Outcome, Table, three
from results import Results
from spread import median_interval, ratios, spread

import models

PAGE = models.ROOT / "docs" / "performance.md"
PLOTS = models.ROOT / "docs" / "plots"


def update(results: Results, page: Path = PAGE, folder: Path = PLOTS) -> None:
    """Write the figures into the page, and draw the plots."""
    found = outcomes(results.parts)
    marks.replace(page, "bench-cost", _cost(results))
    marks.replace(page, "bench-machine", _machine(results))
    marks.replace(page, "bench-goals", _goals(found))
    marks.replace(page, "bench-behind", _behind(found))
    for name, outcome in found.items():
        marks.replace(page, f"bench-{name}", _part(outcome))
    plots.draw(results.parts, folder)


# ---- what was measured, on what ------------------------------------------------------------------


def _machine(results: Results) -> str:
    lines = [f"| {name} | {fact} |" for name, fact in results.machine.items()]
    if results.quick:
        lines.append("| rounds | few (`--quick`): these figures are rough |")
    return "\n".join(["| | |", "| --- | --- |", *lines])


# ---- the table of costs --------------------------------------------------------------------------


def _cost(results: Results) -> str:
    """burble beside the library that is used most for the same."""
    rows = [*_puts(results), *_handoffs(results), *_tokens(results), *_generations(results)]
    return Table(["", "beside", "", "burble", ""], [*rows, *_streams(results)]).markdown()


def _row(what: str, peer: str, theirs: list[float], ours: list[float], unit: float) -> list[str]:
    """A row of the table; ``unit`` makes what is kept the unit of the figures, µs or ms."""
    name = {1e6: "µs", 1e3: "ms"}[unit]
    medians = [unit * spread(values).median for values in (theirs, ours)]
    times = spread(ratios(theirs, ours)).median  # as the goals have it, and not the medians' own
    said = f"{_two(times)} times less" if times >= 1 else f"{_two(1 / times)} times more"
    return [what, peer, *[f"{three(median)} {name}" for median in medians], said]


def _two(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:,.0f}"


def _puts(results: Results) -> list[list[str]]:
    samples = results.parts["put"].samples
    return [
        _row(
            f"one `put`, {depth:,} tokens after the last newline",
            "transformers",
            samples[f"TextStreamer, {depth}"],
            samples[f"burble, TextStreamer, {depth}"],
            1e6,
        )
        for depth in put.DEPTHS
        if depth != 256
    ]


def _handoffs(results: Results) -> list[list[str]]:
    samples = results.parts["handoff"].samples
    what = "handing an item from a thread at full speed to `async for` (asyncio)"
    theirs, ours = (samples[f"{name}, asyncio, wall"] for name in ("transformers", "burble"))
    return [_row(what, "transformers", theirs, ours, 1e6)]


def _tokens(results: Results) -> list[list[str]]:
    samples, family = results.parts["detokenize"].samples, "byte level, gpt2"
    theirs, in_c = samples[f"{family}, DecodeStream"], samples[f"{family}, burble in C"]
    rate = 1e-6 / spread(in_c).median
    push, step = "one `Detokenizer.push` from Python (GPT-2)", "`DecodeStream.step`"
    return [
        _row(push, step, theirs, samples[f"{family}, burble"], 1e6),
        _row(
            f"the same in C: {rate:.0f} million tokens a second",
            f"{step}, from Python",
            theirs,
            in_c,
            1e6,
        ),
    ]


def _generations(results: Results) -> list[list[str]]:
    measured = results.parts["generate"]
    base = spread(measured.samples[f"{generate.WITHOUT}, wall"]).median
    said = []
    for name in ("AsyncTextIteratorStreamer", "burble, AsyncTextIteratorStreamer"):
        paired = generate.added(measured, name, "wall")
        values = [100 * (ratio - 1) for ratio in (spread(paired).median, *median_interval(paired))]
        said.append("{:.1f} % ({:.1f} to {:.1f})".format(*values))
    what = f"what streaming adds to `generate` with a model of {1e3 * base:.1f} ms a token"
    return [[what, "transformers", *said, ""]]


def _streams(results: Results) -> list[list[str]]:
    samples = results.parts["streams"].samples

    def both(count: int, what: str) -> tuple[list[float], list[float]]:
        theirs, ours = (
            samples[streams.key(name, count, what)] for name in ("asyncio.Queue", "burble")
        )
        return theirs, ours

    peer = "`asyncio.Queue`"
    rows = [
        _row(
            f"{count:,} streams, a step every 10 ms: CPU for a token",
            peer,
            *both(count, "cpu"),
            1e6,
        )
        for count in (256, 1000)
    ]
    step = "10,000 streams: how long a step of the engine takes"
    rows.append(_row(step, peer, *both(10_000, "step"), 1e3))
    for percent, said in (("p50", "half of the chunks"), ("p99", "99 % of them")):
        what = f"1,000 streams: {said} have arrived after their `put`, within"
        rows.append(_row(what, peer, *both(1000, percent), 1e3))
    (idle,) = samples["burble, idle stream, bytes"]
    return [
        *rows,
        ["an idle stream with its writer and reader", "", "", f"{idle / 1024:.1f} KiB", ""],
    ]


# ---- what is not as it should be -----------------------------------------------------------------


def _missed(found: Mapping[str, Outcome]) -> list[str]:
    """The goals that were missed; each reason once."""
    lines: list[str] = []
    said = None
    for outcome in found.values():
        for goal in outcome.goals:
            if goal.met:
                continue
            miss = known.MISSES.get((outcome.name, goal.what))
            why = None if miss is None else miss.why
            line = str(goal).partition(":")[2].strip()
            reason = "" if why is None else " (as above)" if why == said else f" ({why})"
            lines.append(f"{outcome.name}, {line}{reason}")
            said = why
    return lines


def _list(lines: Sequence[str]) -> list[str]:
    return [f"* {line}" for line in lines]


def _goals(found: Mapping[str, Outcome]) -> str:
    goals = [goal for outcome in found.values() for goal in outcome.goals]
    met = f"{sum(goal.met for goal in goals)} of {len(goals)} goals were met. The others:"
    missed = _list(_missed(found))
    return "\n".join([met, "", *missed]) if missed else f"All {len(goals)} goals were met."


def _behind(found: Mapping[str, Outcome]) -> str:
    lines = [
        f"{outcome.name}: {behind}"
        for outcome in found.values()
        for contest in outcome.contests
        for behind in contest.behind()
    ]
    return "\n".join(_list(lines)) or "In this run nobody was faster at anything that was compared."


def _part(outcome: Outcome) -> str:
    """What a benchmark measures, and its tables, notes and goals."""
    measured = outcome.title.partition(": ")[2]
    blocks = [
        f"{measured[0].upper()}{measured[1:]}.",
        *(table.markdown() for table in outcome.tables),
    ]
    if outcome.notes:
        blocks.append("\n".join(_list(outcome.notes)))
    if outcome.goals:
        goals = [str(goal).replace(":   ", ":") for goal in outcome.goals]
        blocks.append("\n".join(_list(goals)))
    return "\n\n".join(blocks)
