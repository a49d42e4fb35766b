# SPDX-License-Identifier: MIT
"""What measured values say: medians and their intervals, goals, and peers that are faster."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, NamedTuple

# ---- statistics ----------------------------------------------------------------------------------

# An interval of 95 % needs this many values.
ENOUGH = 6


class Quartiles(NamedTuple):
    """The median and the quartiles beside it."""

    lower: float
    median: float
    upper: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles of ``values``, which must not be empty."""
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval that contains the true median with a confidence of 95 % or more.

    Its ends are two of the values: by the binomial distribution of how many values fall below the
    median, so that nothing is assumed about the noise. Fewer than ``ENOUGH`` values cannot give
    that confidence; their interval is their range.
    """
    ordered = sorted(values)
    n = len(ordered)
    drop, error = 0, 0.0  # values to leave out at each end, and the probability of a miss there
    while drop < n // 2:
        error += math.comb(n, drop) / 2**n
        if error > 0.025:
            break
        drop += 1
    first = max(0, drop - 1)
    return ordered[first], ordered[n - 1 - first]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return ``above / below`` round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


# ---- goals ---------------------------------------------------------------------------------------


class KnownMiss(NamedTuple):
    """Why a goal is missed, and the looser bound that ``make bench-check`` holds it to."""

    why: str
    bound: float


@dataclass(frozen=True)
class Goal:
    """A bound on the median of values, one for each round.

    The median alone decides. Where the bound lies within the median's 95 % interval, the goal is
    not settled: another run may decide otherwise.
    """

    what: str
    sense: Literal["at least", "at most"]
    bound: float
    values: Sequence[float]
    unit: str = "times"
    known_miss: KnownMiss | None = None

    @property
    def met(self) -> bool:
        """Whether the median is on the right side of the bound."""
        middle = median(self.values)
        return middle >= self.bound if self.sense == "at least" else middle <= self.bound

    @property
    def settled(self) -> bool:
        """Whether the whole interval is on one side of the bound; a single count always is."""
        low, high = median_interval(self.values)
        return low == high or not low <= self.bound <= high

    def __str__(self) -> str:
        verdict = "goal met:   " if self.met else "goal missed:"
        line = f"{verdict} {self.what}: {self._format(median(self.values))}"
        if len(self.values) > 1:
            kind = "95 %" if len(self.values) >= ENOUGH else "range"
            low, high = map(self._format, median_interval(self.values))
            line += f" ({kind}: {low} to {high})"
        line += f"; goal: {self.sense} {self._format(self.bound)}"
        return line if self.settled else line + "; not settled by this run"

    def _format(self, value: float) -> str:
        if self.unit == "times":
            return f"{value:,.2f} times" if value < 10 else f"{value:,.0f} times"
        if self.unit == "percent":  # of a ratio: beyond 1
            return f"{100 * (value - 1):+.2f} %"
        if self.unit == "ms":
            return f"{1e3 * value:.0f} ms"
        if self.unit == "million":
            return f"{1e-6 * value:.1f} million"
        return f"{value:,.4g} {self.unit}"


def at_least(what: str, bound: float, values: Sequence[float], unit: str = "times") -> Goal:
    """Return the goal that the median is ``bound`` or more."""
    return Goal(what, "at least", bound, values, unit)


def at_most(what: str, bound: float, values: Sequence[float], unit: str = "times") -> Goal:
    """Return the goal that the median is ``bound`` or less."""
    return Goal(what, "at most", bound, values, unit)


def known(goal: Goal, why: str, bound: float) -> Goal:
    """Return the goal as one that is known to be missed, but not beyond ``bound``."""
    return replace(goal, known_miss=KnownMiss(why, bound))


def check(goals: Mapping[str, Sequence[Goal]]) -> tuple[list[str], set[str]]:
    """Judge the goals of benchmarks, by their names; return lines to print, and who has failed.

    A goal fails where the whole interval is on the wrong side of its bound: where it is missed by
    more than the noise. A goal that is known to be missed fails at its looser bound only.
    """
    lines, failed = [], set()
    for name, of_benchmark in goals.items():
        for goal in of_benchmark:
            miss = goal.known_miss
            held = goal if miss is None else replace(goal, bound=miss.bound)
            if not held.met and held.settled:
                lines.append(f"FAILED: {name}, {held}")
                failed.add(name)
            elif miss is not None and not goal.met:
                lines.append(f"known: {name}, {goal}\n    {miss.why}")
            elif miss is not None and goal.settled:
                lines.append(f"known no more, remove its known miss: {name}, {goal}")
    return sorted(lines), failed


# ---- comparisons ---------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """The costs of burble and of peers that do the same, round by round."""

    what: str
    ours: Sequence[float]
    peers: Mapping[str, Sequence[float]]

    def faster(self) -> list[str]:
        """Return a line for each peer that costs less by more than the noise, the fastest first."""
        found = []
        for peer, theirs in self.peers.items():
            paired = ratios(self.ours, theirs)
            low, high = median_interval(paired)
            if low > 1:
                found.append((median(paired), low, high, peer))
        return [
            f"{self.what}: {peer} takes {ratio:.2f} times less ({low:.2f} to {high:.2f})"
            for ratio, low, high, peer in sorted(found, reverse=True)
        ]
