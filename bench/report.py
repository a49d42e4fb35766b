# SPDX-License-Identifier: MIT
"""What one benchmark measured, what that says, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from contest import Contest
from goal import Goal
from spread import Spread


class Measured(NamedTuple):
    """What was measured: every value by its name, and what else is worth knowing of the run."""

    samples: dict[str, list[float]]
    facts: dict[str, Any]


class Table(NamedTuple):
    """A table: its first column names the rows, the others have figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> list[str]:
        """Return its lines: the first column to the left, the others to the right."""
        cells = [list(self.header), *[list(row) for row in self.rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        lines = []
        for row in cells:
            rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  " + "  ".join([row[0].ljust(widths[0]), *rest]))
        return lines

    def markdown(self) -> str:
        """Return it as a page has it."""
        lines = [self.header, ["---", *["--:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in lines)


@dataclass
class Outcome:
    """What one benchmark's values say."""

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    contests: list[Contest] = field(default_factory=list)

    def text(self) -> str:
        """Return all of it, to be printed."""
        lines = [self.title, *[f"  {note}" for note in self.notes]]
        for table in self.tables:
            lines += table.text()
        lines += [f"  {goal}" for goal in self.goals]
        lines += [f"  not the fastest: {b}" for contest in self.contests for b in contest.behind()]
        return "\n".join(lines)


def micros(value: Spread) -> str:
    """Format seconds as microseconds: the median, and the quartiles in brackets."""
    return f"{three(1e6 * value.median)} [{three(1e6 * value.lower)}-{three(1e6 * value.upper)}]"


def millis(value: Spread) -> str:
    """Format seconds as milliseconds, in the same way."""
    return f"{three(1e3 * value.median)} [{three(1e3 * value.lower)}-{three(1e3 * value.upper)}]"


def three(value: float) -> str:
    """About three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
