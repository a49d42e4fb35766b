# SPDX-License-Identifier: MIT
"""A goal, and whether a run met it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spread import ENOUGH, median_interval, spread

Unit = Literal["times", "percent", "seconds", "a second"]


@dataclass(frozen=True)
class Goal:
    """A bound on the median of paired ratios, or of other values.

    The median decides, and nothing else. Where the bound lies within the median's 95 % interval
    the verdict says so, since another run might decide otherwise.
    """

    what: str
    sense: Literal["at least", "at most"]
    bound: float
    ratio: float
    low: float
    high: float
    unit: Unit
    rounds: int

    @property
    def met(self) -> bool:
        """Whether the median is on the right side of the bound."""
        return self.ratio >= self.bound if self.sense == "at least" else self.ratio <= self.bound

    @property
    def settled(self) -> bool:
        """Whether the whole interval is on one side of the bound; what was counted, and not
        measured, is."""
        return self.low == self.high or not self.low <= self.bound <= self.high

    def __str__(self) -> str:
        verdict = "goal met:   " if self.met else "goal missed:"
        interval = "95 %" if self.rounds >= ENOUGH else "range"
        between = f" ({interval}: {self._say(self.low)} to {self._say(self.high)})"
        line = (
            f"{verdict} {self.what}: {self._say(self.ratio)}{between if self.rounds > 1 else ''};"
            f" goal: {self.sense} {self._say(self.bound)}"
        )
        return line if self.settled else line + "; not settled by this run"

    def _say(self, ratio: float) -> str:
        if self.unit == "percent":
            return f"{100 * (ratio - 1):+.2f} %"
        if self.unit == "seconds":
            return f"{1e3 * ratio:.0f} ms"
        if self.unit == "a second":
            return f"{1e-6 * ratio:.1f} million"
        return f"{ratio:,.2f} times" if ratio < 10 else f"{ratio:,.0f} times"


def _goal(
    what: str,
    sense: Literal["at least", "at most"],
    bound: float,
    ratios: Sequence[float],
    unit: Unit,
) -> Goal:
    return Goal(
        what, sense, bound, spread(ratios).median, *median_interval(ratios), unit, len(ratios)
    )


def less(what: str, bound: float, ratios: Sequence[float]) -> Goal:
    """Return the goal that burble costs at least ``bound`` times less: ``ratios`` are the peer's
    cost over burble's."""
    return _goal(what, "at least", bound, ratios, "times")


def flat(what: str, bound: float, ratios: Sequence[float]) -> Goal:
    """Return the goal that a cost grows to at most ``bound`` times: ``ratios``: late over early."""
    return _goal(what, "at most", bound, ratios, "times")


def adds(what: str, bound: float, ratios: Sequence[float]) -> Goal:
    """Return the goal that something takes at most ``bound - 1`` longer: ``ratios`` are with over
    without."""
    return _goal(what, "at most", bound, ratios, "percent")


def within(what: str, bound: float, seconds: Sequence[float]) -> Goal:
    """Return the goal that something takes at most ``bound`` seconds."""
    return _goal(what, "at most", bound, seconds, "seconds")


def rate(what: str, bound: float, rates: Sequence[float]) -> Goal:
    """Return the goal of at least ``bound`` a second."""
    return _goal(what, "at least", bound, rates, "a second")
