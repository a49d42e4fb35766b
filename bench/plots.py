# SPDX-License-Identifier: MIT
"""The plots, as SVG, on white: they look the same in a light page and in a dark one.

A library has the same colour in all plots, and its name beside its line or its row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import detokenize
import generate
import matplotlib as mpl
import put
import streams
from benchmark import Measured, three_digits
from goals import median, quartiles
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from queues import FLOOR

Found = Mapping[str, Measured]

OURS = "#c2255c"
COLOURS = {
    "burble": OURS,
    "burble in C": "#7a1038",
    "burble.stream": "#e0568a",
    "burble.channel": "#e0568a",
    "TextStreamer": "#5b9bd5",
    "TextIteratorStreamer": "#2f7fc1",
    "AsyncTextIteratorStreamer": "#0b4a8a",
    "transformers": "#0b4a8a",
    "DirectStreamer": "#7048a8",
    "CBStreamer": "#a673cf",
    "asyncio.Queue": "#0c8577",
    "janus": "#c97a06",
    "culsans": "#6b8e12",
    "aiologic": "#8a5a44",
    "DecodeStream": "#2f7fc1",
    "tokenizers.decode": "#5fa0d8",
    "tiktoken": "#b5840c",
    "tiktoken.decode": "#cf9f2f",
    FLOOR: "#8a8a8a",
    "memcpy": "#8a8a8a",
    generate.AGAIN: "#8a8a8a",
    generate.NOTHING: "#8a8a8a",
}
INK, FAINT = "#333333", "#e4e4e4"
STYLE = {
    "svg.hashsalt": "burble",  # so that the same figures make the same file
    # Text stays text: the file is small, and can be searched. Verdana is as wide as DejaVu Sans.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}


def colour(name: str) -> str:
    """Return the colour for a name; all classes of burble share one."""
    return COLOURS.get(name) or COLOURS[name.partition(",")[0]]


# ---- shared parts of the plots -------------------------------------------------------------------


def _figure(title: str, subtitle: str, height: float, left: float, right: float) -> tuple[Any, Any]:
    """Return a figure with one pair of axes between these margins, in inches."""
    width, top, bottom = 8.0, 0.75, 0.6
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - top - bottom) / height,
        )
    )
    figure.text(0.15 / width, 1 - 0.30 / height, title, fontsize=12, fontweight="bold")
    figure.text(0.15 / width, 1 - 0.52 / height, subtitle, fontsize=9, color="#666666")
    return figure, axes


def _logarithmic(axis: Any, ticks: Sequence[float]) -> None:
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(mpl.ticker.FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _decades(values: Sequence[float]) -> list[float]:
    """Return the powers of ten from below the least value to above the greatest."""
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(first, last + 1)]


def _bounds(lines: Mapping[str, Sequence[Sequence[float]]]) -> tuple[float, float]:
    """Return the least and the greatest quartile of the lines."""
    each = [quartiles(column) for columns in lines.values() for column in columns]
    return min(one.lower for one in each), max(one.upper for one in each)


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights as little as needed to keep a distance between them, in the same order."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups: list[list[float]] = []  # of neighbours at that distance: their middle and their number
    for i in order:
        groups.append([heights[i], 1])
        while len(groups) > 1:
            (low, m), (high, n) = groups[-2:]
            if high - low >= gap * (m + n) / 2:
                break
            groups[-2:] = [[(low * m + high * n) / (m + n), m + n]]
    placed = [middle + gap * (k - (n - 1) / 2) for middle, n in groups for k in range(round(n))]
    moved = [0.0] * len(heights)
    for i, height in zip(order, placed, strict=True):
        moved[i] = height
    return moved


def _name_lines(axes: Any, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write each line's name to the right of its end, on a logarithmic scale."""
    bottom, top = (math.log10(limit) for limit in axes.get_ylim())
    inches = axes.get_position().height * axes.figure.get_size_inches()[1]
    logs = _apart([math.log10(y) for _, y in ends.values()], 0.19 * (top - bottom) / inches)
    for (name, (x, y)), log in zip(ends.items(), logs, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.02, (log - bottom) / (top - bottom)),
            textcoords="axes fraction",
            color=colour(name),
            va="center",
            annotation_clip=False,
            fontweight="bold" if name.startswith("burble") else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": colour(name),
                "lw": 0.6,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )


def _lines(
    axes: Any, xs: Sequence[float], lines: Mapping[str, Sequence[Sequence[float]]], unit: float
) -> dict[str, tuple[float, float]]:
    """Draw a line of medians for each name, with the quartiles as a band; return the ends."""
    ends = {}
    for name, columns in lines.items():
        each = [quartiles([unit * value for value in column]) for column in columns]
        shade = colour(name)
        axes.plot(xs, [s.median for s in each], "o-", color=shade, markersize=4, lw=1.8)
        lower, upper = [s.lower for s in each], [s.upper for s in each]
        axes.fill_between(xs, lower, upper, color=shade, alpha=0.15, lw=0)
        ends[name] = (xs[-1], each[-1].median)
    return ends


def _rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows, from the top on, each in its colour."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(colour(name))
        label.set_fontweight("bold" if name.startswith("burble") else "normal")


# ---- the plots -----------------------------------------------------------------------------------


def draw_put(found: Found) -> Any:
    """The cost of a put, over the length of the sequence."""
    samples, depths = found["put"].samples, put.depths_of(found["put"])
    names = {"burble, AsyncTextIteratorStreamer": "burble"}
    names.update({name: name for name in put.MAKERS if not name.startswith("burble")})
    lines = {
        shown: [samples[f"{name}, {depth}"] for depth in depths] for name, shown in names.items()
    }
    figure, axes = _figure(
        "What a token costs, by how long the text is",
        "CPU time of one put; median and quartiles; burble: AsyncTextIteratorStreamer",
        4.2,
        0.8,
        2.3,
    )
    ends = _lines(axes, depths, lines, 1e6)
    _logarithmic(axes.xaxis, depths)
    low, high = (1e6 * bound for bound in _bounds(lines))
    _logarithmic(axes.yaxis, _decades([low, high]))
    axes.set(
        xlabel="tokens since the last newline", ylabel="µs a token", ylim=(low / 1.5, high * 1.8)
    )
    _name_lines(axes, ends)
    return figure


def draw_streams(found: Found) -> Any:
    """The cost of a token, over the number of streams."""
    samples, counts = found["streams"].samples, list(streams.COUNTS)
    lines = {
        name: [samples[streams.key(name, count, "cpu")] for count in counts]
        for name in streams.MAKERS
    }
    figure, axes = _figure(
        "What a token costs, by how many streams one engine feeds",
        "CPU time of the whole process; one engine step every 10 ms; median and quartiles",
        4.2,
        0.8,
        1.5,
    )
    ends = _lines(axes, counts, lines, 1e6)
    _logarithmic(axes.xaxis, counts)
    low, high = (1e6 * bound for bound in _bounds(lines))
    _logarithmic(axes.yaxis, _decades([low, high]))
    axes.set(xlabel="streams", ylabel="µs a token", ylim=(low / 1.5, high * 1.8))
    _name_lines(axes, ends)
    return figure


def draw_latency(found: Found) -> Any:
    """The latency of a chunk at 1,000 streams."""
    samples, names = found["streams"].samples, list(streams.MAKERS)
    percents = [f"p{percent:g}" for percent in streams.QUANTILES]
    figure, axes = _figure(
        "From put to its consumer, 1,000 streams",
        "thin: 1 % to 99.9 % of the chunks; thick: 10 % to 90 %; ring: half of them; bar: 99 %",
        3.6,
        1.3,
        0.5,
    )
    seen: list[float] = []
    for row, name in enumerate(names):
        at = {p: 1e3 * median(samples[streams.key(name, 1000, p)]) for p in percents}
        seen += at.values()
        shade = colour(name)
        axes.plot([at["p1"], at["p99.9"]], [row, row], color=shade, lw=1)
        axes.plot([at["p10"], at["p90"]], [row, row], color=shade, lw=5, solid_capstyle="butt")
        axes.plot(at["p50"], row, "o", color="white", markeredgecolor=shade, markersize=7, mew=2)
        axes.plot(at["p99"], row, "|", color=shade, markersize=13, mew=2)
        for p in ("p50", "p99"):
            axes.annotate(
                three_digits(at[p]),
                (at[p], row),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    _logarithmic(axes.xaxis, _decades(seen))
    axes.set(xlabel="milliseconds", xlim=(min(seen) / 1.3, max(seen) * 1.3))
    _rows(axes, names)
    return figure


def draw_detokenize(found: Found) -> Any:
    """Tokens a second, by the kind of tokenizer."""
    samples, families = found["detokenize"].samples, found["detokenize"].facts["families"]
    figure, axes = _figure(
        "Tokens a second, by kind of tokenizer",
        "CPU time; one id at a time; hollow: all ids at once",
        0.4 * len(families) + 2.0,
        1.75,
        0.5,
    )
    seen: list[float] = []
    first: dict[str, float] = {}
    for row, family in enumerate(families):
        rates = {
            way: 1e-6 / median(samples[f"{family}, {way}"])
            for way in detokenize.WAYS
            if f"{family}, {way}" in samples
        }
        seen += rates.values()
        for way, rate in rates.items():
            shade = colour(way)
            face = "white" if way in detokenize.AT_ONCE else shade
            axes.plot(rate, row, "o", color=face, markeredgecolor=shade, markersize=8, mew=1.8)
            if row == 0:
                first[way] = rate
    _logarithmic(axes.xaxis, _decades(seen))
    axes.set(xlabel="million tokens a second", xlim=(min(seen) / 1.4, max(seen) * 1.4))
    axes.set_yticks(range(len(families)), families)
    axes.set_ylim(len(families) - 0.5, -1.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _name_dots(axes, first)
    return figure


def _name_dots(axes: Any, dots: Mapping[str, float]) -> None:
    """Write each dot's name above the first row, in three tiers so that names do not overlap."""
    for tier, way in enumerate(sorted(dots, key=dots.__getitem__)):
        axes.annotate(
            way,
            (dots[way], 0),
            xytext=(0, 10 + 12 * (tier % 3)),
            textcoords="offset points",
            color=colour(way),
            ha="center",
            fontsize=8,
            fontweight="bold" if way.startswith("burble") else "normal",
            arrowprops={"arrowstyle": "-", "color": colour(way), "lw": 0.5, "shrinkB": 4},
        )


def draw_generate(found: Found) -> Any:
    """What streaming adds to generate."""
    measured = found["generate"]
    names = [name for name in generate.measured_ways(measured) if name != generate.WITHOUT]
    base = median(measured.samples[f"{generate.WITHOUT}, wall"])
    figure, axes = _figure(
        "What streaming adds to generate",
        f"time beyond that without a streamer, {1e3 * base:.1f} ms a token; median of the rounds"
        " with its 95 % interval",
        0.4 * len(names) + 0.4,
        3.05,
        0.5,
    )
    for row, name in enumerate(names):
        middle, low, high = generate.added_percent(measured, name, "wall")
        shade = colour(name)
        axes.plot([low, high], [row, row], color=shade, lw=4, alpha=0.35, solid_capstyle="butt")
        axes.plot(middle, row, "o", color=shade, markersize=7)
        axes.annotate(
            f"{middle:+.1f} %",
            (middle, row),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.axvline(0, color="#999999", lw=1)
    axes.set(xlabel="% longer")
    _rows(axes, names)
    return figure


def draw_interval(found: Found) -> Any:
    """Draw what reading costs over how late the text arrives, for each interval."""
    measured = found["generate"]
    token = median(measured.samples[generate.key(generate.NOTHING, "wall")])
    figure, axes = _figure(
        "What an interval saves, and how late the text is",
        f"burble.stream, a model of {1e3 * token:.1f} ms a token; dot: half of the tokens; end of"
        " the line: 99 %",
        5.4,
        0.8,
        0.5,
    )
    shade, seen = colour("burble.stream"), []
    for waits, name in generate.intervals().items():
        middle, low, high = generate.summary(generate.share(measured, name))
        p50, p99 = (1e3 * median(measured.samples[generate.key(name, p)]) for p in ("p50", "p99"))
        seen += [p50, p99]
        axes.plot([p50, p99], [middle, middle], color=shade, lw=1.8)
        axes.plot([p50, p50], [low, high], color=shade, lw=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(p50, middle, "o", color=shade, markersize=6)
        axes.annotate(
            f"interval={waits / 1e3:g}" if waits else "no interval",
            (p99, middle),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.axhline(100 * (generate.GOAL - 1), color="#999999", lw=1, ls="--")
    _logarithmic(axes.xaxis, _decades(seen))
    axes.set(
        xlabel="milliseconds from put to the reader",
        ylabel="CPU time, % of a token's",
        xlim=(min(seen) / 1.3, max(seen) * 3),  # with room for the last label
    )
    axes.set_ylim(bottom=0)
    return figure


def draw_handoff(found: Found) -> Any:
    """The cost of an item from a thread at full speed."""
    samples, facts = found["handoff"]
    names, loops = facts["names"], facts["loops"]
    figure, axes = _figure(
        "What an item costs from a thread at full speed to async for",
        f"wall time; median and quartiles; filled: {loops[0]}, hollow: {' '.join(loops[1:])}",
        4.4,
        1.5,
        0.5,
    )
    seen: list[float] = []
    for row, name in enumerate(names):
        for loop in loops:
            each = quartiles([1e6 * value for value in samples[f"{name}, {loop}, wall"]])
            seen += [each.lower, each.upper]
            shade, hollow = colour(name), loop != loops[0]
            at = row + (0.2 if hollow else -0.2)
            axes.plot([each.lower, each.upper], [at, at], color=shade, lw=4, alpha=0.35)
            face = "white" if hollow else shade
            axes.plot(each.median, at, "o", color=face, markeredgecolor=shade, mew=1.6, ms=6)
            axes.annotate(
                three_digits(each.median),
                (max(each.upper, each.median), at),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    _logarithmic(axes.xaxis, _decades(seen))
    axes.set(xlabel="µs an item", xlim=(min(seen) / 1.3, max(seen) * 1.5))
    _rows(axes, names)
    return figure


PLOTS: dict[str, Callable[[Found], Any]] = {
    "put": draw_put,
    "streams": draw_streams,
    "latency": draw_latency,
    "detokenize": draw_detokenize,
    "generate": draw_generate,
    "interval": draw_interval,
    "handoff": draw_handoff,
}


def draw(found: Found, folder: Path) -> None:
    """Draw all of them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            if name == "interval" and not generate.has_intervals(found["generate"]):
                continue
            plot(found).savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
