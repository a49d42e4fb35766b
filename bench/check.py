# SPDX-License-Identifier: MIT
"""Whether goals were missed that are not known to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from known import Miss
from report import Outcome


@dataclass
class Verdict:
    """What there is to report, a line each; the first two make a check fail."""

    missed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)  # in the list of known misses, but no goal
    known: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    parts: set[str] = field(default_factory=set)  # the benchmarks of what was missed

    @property
    def passed(self) -> bool:
        """Whether nothing has to be looked at."""
        return not self.missed and not self.stale

    def text(self) -> str:
        """Return all of it, to be printed."""
        return "\n".join(
            [
                *[f"FAILED: {line}" for line in self.missed],
                *[f"FAILED: listed in known.py, but nothing measures it: {s}" for s in self.stale],
                *[f"known: {line}" for line in self.known],
                *[f"known no more, take it out of known.py: {line}" for line in self.mended],
            ]
        )


def judge(outcomes: Iterable[Outcome], misses: Mapping[tuple[str, str], Miss]) -> Verdict:
    """Judge the goals of these benchmarks.

    A goal is missed where the whole interval of the median is on the wrong side of it, or of the
    bound that a known miss keeps. What lies nearer is noise, for this purpose, and is not reported.
    """
    verdict = Verdict()
    for outcome in outcomes:
        goals = {goal.what: goal for goal in outcome.goals}
        known = {what: miss for (name, what), miss in misses.items() if name == outcome.name}
        verdict.stale += [f"{outcome.name}, {what}" for what in known if what not in goals]
        for what, goal in goals.items():
            line = f"{outcome.name}, {goal}"
            held = replace(goal, bound=known[what].bound) if what in known else goal
            if not held.met and held.settled:
                verdict.missed.append(f"{outcome.name}, {held}")
                verdict.parts.add(outcome.name)
            elif what in known and not goal.met:
                verdict.known.append(f"{line}\n    {known[what].why}")
            elif what in known and goal.settled:
                verdict.mended.append(line)
    return verdict
