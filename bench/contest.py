# SPDX-License-Identifier: MIT
"""Who is faster than burble at something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spread import median_interval, ratios, spread


@dataclass(frozen=True)
class Behind:
    """A peer that costs less: burble's cost over the peer's, and the interval of that."""

    what: str
    peer: str
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.peer} takes {self.ratio:.2f} times less"
            f" ({self.low:.2f} to {self.high:.2f})"
        )


@dataclass(frozen=True)
class Contest:
    """The costs of burble and of its peers, round by round. The less, the better.

    What is nobody's choice but a bound on what anybody can reach, such as a bare deque, is no peer.
    """

    what: str
    ours: Sequence[float]
    peers: Mapping[str, Sequence[float]]

    def behind(self) -> list[Behind]:
        """Return the peers that cost less, beyond what noise explains; the best of them first."""
        found = []
        for peer, theirs in self.peers.items():
            paired = ratios(self.ours, theirs)
            low, high = median_interval(paired)
            if low > 1:
                found.append(Behind(self.what, peer, spread(paired).median, low, high))
        return sorted(found, key=lambda behind: -behind.ratio)
