# SPDX-License-Identifier: MIT
"""What all benchmarks share: their options, their rounds, and the report of what was measured.

A benchmark is a module with two functions: ``measure(options)`` returns the values, and
``report(measured)`` says what they mean. It needs no more than the values, so that a report can be
made again of a file of results.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from goals import Comparison, Goal, quartiles

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "shakespeare"
# Tokenizers of large models and a corpus, which a clone may lack.
SHARED = ROOT.parent / "shared"

# ---- measuring -----------------------------------------------------------------------------------


class Options(NamedTuple):
    """How much is measured, and with what."""

    effort: Literal["full", "quick", "smoke"]
    tokenizer: Path  # the folder of the tokenizer for `put` and `handoff`
    programs: Path  # the folder of the programs in C

    def choose(self, full: T, quick: T, smoke: T) -> T:
        """Return what belongs to the effort. Where a round is short, a quick run still has the six
        rounds that a 95 % interval needs."""
        return {"full": full, "quick": quick, "smoke": smoke}[self.effort]

    def program(self, name: str) -> Path:
        """Return a program in C."""
        path = self.programs / name
        if not path.exists():
            raise SystemExit(f"{path} is missing; `make bench` builds it")
        return path


class Measured(NamedTuple):
    """Every value, round by round, by its name; and other facts about the run."""

    samples: dict[str, list[float]]
    facts: dict[str, Any]


def collect(
    name: str, n_rounds: int, one_round: Callable[[], Mapping[str, float]]
) -> dict[str, list[float]]:
    """Return the values of ``n_rounds`` rounds, after one that does not count (unless there is one
    round only).

    A progress bar on standard error counts them; in a file, it is a line every ten seconds.
    """
    from tqdm import tqdm  # here: the wake-ups alone go without packages

    samples: dict[str, list[float]] = {}
    interval = 0.2 if sys.stderr.isatty() else 10.0
    if n_rounds > 1:
        one_round()
    for _ in tqdm(range(n_rounds), desc=name, unit="round", leave=False, mininterval=interval):
        for key, value in one_round().items():
            samples.setdefault(key, []).append(value)
    return samples


_order = random.Random(1)


def shuffled(names: Collection[str]) -> list[str]:
    """Return the names in a random order, the same sequence of orders in each run."""
    return _order.sample(list(names), k=len(names))


# ---- reporting -----------------------------------------------------------------------------------


class Table(NamedTuple):
    """A table: its first column names the rows, the others have figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> list[str]:
        """Return its lines: the first column to the left, the others to the right."""
        cells = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = []
        for first, *rest in cells:
            right = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
            lines.append("  " + "  ".join([first.ljust(widths[0]), *right]))
        return lines

    def markdown(self) -> str:
        """Return it as a page has it."""
        lines = [self.header, ["---", *["--:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in lines)


@dataclass
class Report:
    """What the values of one benchmark say."""

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)

    def faster_peers(self) -> list[str]:
        """Return a line for each peer that is faster than burble at something."""
        return [line for comparison in self.comparisons for line in comparison.faster()]

    def text(self) -> str:
        """Return all of it, to be printed."""
        lines = [f"{self.name}: {self.title}", *[f"  {note}" for note in self.notes]]
        for table in self.tables:
            lines += table.text()
        lines += [f"  {goal}" for goal in self.goals]
        lines += [f"  not the fastest: {line}" for line in self.faster_peers()]
        return "\n".join(lines)


def micros(seconds: Sequence[float]) -> str:
    """Format values in seconds as microseconds: the median, and the quartiles in brackets."""
    return _with_quartiles([1e6 * value for value in seconds])


def millis(seconds: Sequence[float]) -> str:
    """Format values in seconds as milliseconds, in the same way."""
    return _with_quartiles([1e3 * value for value in seconds])


def _with_quartiles(values: Sequence[float]) -> str:
    lower, middle, upper = map(three_digits, quartiles(values))
    return f"{middle} [{lower}-{upper}]"


def three_digits(value: float) -> str:
    """Format a value with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
