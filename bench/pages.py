# SPDX-License-Identifier: MIT
"""Writes the figures of a run into docs/performance.md; no figure there is typed by hand.

They stand between marks, ``<!-- bench-NAME: begin -->`` and the same with ``end``: `cost`,
`machine`, `goals`, `behind`, and each benchmark by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import generate
import plots
import put
import streams
from benchmark import Measured, Report, Table, three_digits
from goals import median, ratios
from results import Results


def update(results: Results, reports: Mapping[str, Report], folder: Path) -> None:
    """Write the figures into the folder's performance.md, and draw its plots."""
    page = folder / "performance.md"
    parts = {
        "cost": _costs(results.parts),
        "machine": _machine(results),
        "goals": _goals(reports),
        "behind": _faster_peers(reports),
        **{name: _report(report) for name, report in reports.items()},
    }
    if generate.has_intervals(results.parts["generate"]):
        title = "What an interval saves, and how late the text is"
        parts["generate"] += f"\n\n![{title}](plots/interval.svg)"
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = replace(page, text, f"bench-{name}", part)
    page.write_text(text, encoding="utf-8")
    plots.draw(results.parts, folder / "plots")


def replace(page: Path, text: str, name: str, part: str) -> str:
    """Return a page's text with another part between the marks of this name."""
    begin_mark, end_mark = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = text.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        raise SystemExit(f"{page}: expected {begin_mark} and after it {end_mark}")
    return f"{before}{begin}\n{part}\n{end}{after}"


def _machine(results: Results) -> str:
    lines = [f"| {name} | {fact} |" for name, fact in results.machine.items()]
    if results.quick:
        lines.append("| rounds | few (`--quick`): these figures are rough |")
    return "\n".join(["| | |", "| --- | --- |", *lines])


# ---- the table of costs: burble and the library that is used most for the same -------------------

Parts = Mapping[str, Measured]


def _costs(parts: Parts) -> str:
    rows = [*_put(parts), _handoff(parts), *_detokenize(parts), _generate(parts), *_streams(parts)]
    return Table(["", "beside", "", "burble", ""], rows).markdown()


def _row(
    what: str, peer: str, theirs: list[float], ours: list[float], unit: str = "µs"
) -> list[str]:
    """Return a row with both costs, and how many times less burble's is."""
    factor = {"µs": 1e6, "ms": 1e3}[unit]
    costs = [f"{three_digits(factor * median(values))} {unit}" for values in (theirs, ours)]
    times = median(ratios(theirs, ours))  # as the goals have it; not the ratio of the medians
    more_or_less = f"{_times(times)} less" if times >= 1 else f"{_times(1 / times)} more"
    return [what, peer, *costs, more_or_less]


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times" if ratio < 10 else f"{ratio:,.0f} times"


def _put(parts: Parts) -> list[list[str]]:
    samples = parts["put"].samples
    return [
        _row(
            f"one `put`, {depth:,} tokens after the last newline",
            "transformers",
            samples[f"TextStreamer, {depth}"],
            samples[f"burble, TextStreamer, {depth}"],
        )
        for depth in put.depths_of(parts["put"])
        if depth != 256
    ]


def _handoff(parts: Parts) -> list[str]:
    samples = parts["handoff"].samples
    what = "handing an item from a thread at full speed to `async for` (asyncio)"
    theirs, ours = (samples[f"{name}, asyncio, wall"] for name in ("transformers", "burble"))
    return _row(what, "transformers", theirs, ours)


def _detokenize(parts: Parts) -> list[list[str]]:
    samples, name = parts["detokenize"].samples, "byte level, gpt2"
    theirs, in_c = samples[f"{name}, DecodeStream"], samples[f"{name}, burble in C"]
    rate = 1e-6 / median(in_c)
    push, step = "one `Detokenizer.push` from Python (GPT-2)", "`DecodeStream.step`"
    same = f"the same in C: {rate:.0f} million tokens a second"
    return [
        _row(push, step, theirs, samples[f"{name}, burble"]),
        _row(same, f"{step}, from Python", theirs, in_c),
    ]


def _generate(parts: Parts) -> list[str]:
    measured = parts["generate"]
    base = median(measured.samples[f"{generate.WITHOUT}, wall"])
    both = [
        "{:.1f} % ({:.1f} to {:.1f})".format(*generate.added_percent(measured, name, "wall"))
        for name in ("AsyncTextIteratorStreamer", "burble, AsyncTextIteratorStreamer")
    ]
    what = f"what streaming adds to `generate` with a model of {1e3 * base:.1f} ms a token"
    return [what, "transformers", *both, ""]


def _streams(parts: Parts) -> list[list[str]]:
    samples = parts["streams"].samples

    def row(what: str, count: int, figure: str, unit: str) -> list[str]:
        theirs, ours = (
            samples[streams.key(name, count, figure)] for name in ("asyncio.Queue", "burble")
        )
        return _row(what, "`asyncio.Queue`", theirs, ours, unit)

    step = "10,000 streams: how long a step of the engine takes"
    arrived = "have arrived after the start of their step, within"
    (idle,) = samples["burble, idle stream, bytes"]
    return [
        *(
            row(f"{count:,} streams, a step every 10 ms: CPU for a token", count, "cpu", "µs")
            for count in (256, 1000)
        ),
        row(step, 10_000, "step", "ms"),
        row(f"1,000 streams: half of the chunks {arrived}", 1000, "step p50", "ms"),
        row(f"1,000 streams: 99 % of them {arrived}", 1000, "step p99", "ms"),
        ["an idle stream with its writer and reader", "", "", f"{idle / 1024:.1f} KiB", ""],
    ]


# ---- goals and reports ---------------------------------------------------------------------------


def _goals(reports: Mapping[str, Report]) -> str:
    """List the goals that were missed, with the reasons of those that are known, each once."""
    goals = [(report.name, goal) for report in reports.values() for goal in report.goals]
    missed, last = [], None
    for name, goal in goals:
        if goal.met:
            continue
        why = None if goal.known_miss is None else goal.known_miss.why
        reason = "" if why is None else " (as above)" if why == last else f" ({why})"
        missed.append(f"{name}, {str(goal).partition(':')[2].strip()}{reason}")
        last = why
    if not missed:
        return f"All {len(goals)} goals were met."
    met = f"{len(goals) - len(missed)} of {len(goals)} goals were met. The others:"
    return f"{met}\n\n{_list(missed)}"


def _faster_peers(reports: Mapping[str, Report]) -> str:
    lines = [f"{name}: {line}" for name, found in reports.items() for line in found.faster_peers()]
    return _list(lines) or "In this run, no peer was faster at anything that was compared."


def _report(report: Report) -> str:
    """What a benchmark measures, and its tables, notes and goals."""
    blocks = [f"{report.title[0].upper()}{report.title[1:]}."]
    blocks += [table.markdown() for table in report.tables]
    if report.notes:
        blocks.append(_list(report.notes))
    if report.goals:
        blocks.append(_list(str(goal).replace(":   ", ":") for goal in report.goals))
    return "\n\n".join(blocks)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)
