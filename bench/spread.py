# SPDX-License-Identifier: MIT
"""What a list of measured values says: its median, and how far that is to be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# How many values an interval of 95 % needs.
ENOUGH = 6


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    median: float
    lower: float
    upper: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of ``values``, which must not be empty."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper, len(values))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return where the true median lies, with a confidence of 95 % or more.

    The interval is made of two of the values themselves, by the binomial distribution of how many
    of them fall below the median; so it supposes nothing of how the noise is distributed. Fewer
    than ``ENOUGH`` values cannot give that confidence: for those it is their whole range.
    """
    ordered = sorted(values)
    n = len(ordered)
    drop, below = 0, 0.0  # how many to leave out at each end; the chance of being wrong by that
    while drop < n // 2:
        below += math.comb(n, drop) / 2**n
        if below > 0.025:
            break
        drop += 1
    first = max(0, drop - 1)
    return ordered[first], ordered[n - 1 - first]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return ``above / below`` pair by pair; the two of a pair are of the same round."""
    return [a / b for a, b in zip(above, below, strict=True)]
