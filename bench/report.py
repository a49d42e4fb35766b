# SPDX-License-Identifier: MIT
"""What one benchmark hands back, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from goal import Goal
from spread import Spread


@dataclass
class Outcome:
    """One benchmark's tables, verdicts and every single value behind them."""

    name: str
    title: str
    lines: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table: its first column to the left, the others to the right."""
        cells = [list(header), *[list(row) for row in rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
        for row in cells:
            first = row[0].ljust(widths[0])
            rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.lines.append("  " + "  ".join([first, *rest]))

    def text(self) -> str:
        """Return all of it, to be printed."""
        goals = [f"  {goal}" for goal in self.goals]
        return "\n".join([self.title, *self.lines, *goals])

    def as_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        goals = [{**asdict(g), "met": g.met, "settled": g.settled} for g in self.goals]
        return {"title": self.title, "goals": goals, "samples": self.samples}


def micros(value: Spread) -> str:
    """Format seconds as microseconds: the median, and the quartiles in brackets."""
    return f"{_three(value.median)} [{_three(value.lower)}-{_three(value.upper)}]"


def _three(seconds: float) -> str:
    """About three digits of microseconds."""
    value = 1e6 * seconds
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
