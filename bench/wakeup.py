#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the hand-over in C (wakeup.c) and says which goals are met.

A wake-up beside a bare eventfd's, the signals of a thousand streams, a record beside a bare
ring's, the memory of an idle stream.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import goal
from contest import Contest
from report import Measured, Outcome, Table
from spread import median_interval, ratios, spread

PROGRAM = Path(__file__).resolve().parent.parent / "build" / "bench" / "bench" / "wakeup"
STEPS = 100  # in each round of wakeup.c, of each kind


@dataclass(frozen=True)
class Amount(goal.Goal):
    """A bound on the median of values with a unit of their own."""

    @property
    def settled(self) -> bool:
        """Whether the interval is on one side of the bound; values that are all the same are."""
        return self.low == self.high or super().settled

    def _say(self, value: float) -> str:
        return f"{value:,.4g} {self.unit}"


def at_most(what: str, bound: float, values: Sequence[float], unit: str) -> Amount:
    """Return the goal that something is at most ``bound``."""
    middle = spread(values).median
    return Amount(what, "at most", bound, middle, *median_interval(values), unit, len(values))


def run(program: Path, rounds: int, *parts: str) -> dict[str, list[float]]:
    """Run the program; return the values by name."""
    done = subprocess.run(
        [program, str(rounds), *parts], stdout=subprocess.PIPE, text=True, check=True
    )
    return read(done.stdout)


def read(output: str) -> dict[str, list[float]]:
    """Return the values by name."""
    values: dict[str, list[float]] = {}
    for line in output.splitlines():
        name, value = line.split()
        values.setdefault(name, []).append(float(value))
    return values


def traced_signals(program: Path) -> tuple[int, int] | None:
    """Return how many signals two kinds of a hundred steps made, as the hubs count them, and how
    many system calls strace saw that write to a hub; None without strace."""
    if shutil.which("strace") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        done = subprocess.run(
            ["strace", "-f", "-e", "trace=write", "-o", trace, program, "1", "steps"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:  # where tracing is not allowed
            return None
        calls = re.findall(r'write\(\d+, "\\1(?:\\0){7}", 8\)', trace.read_text())
    signals = STEPS * sum(sum(values) for values in read(done.stdout).values())
    return round(signals), len(calls)


# What wakeup.c prints, by the table and the unit; nothing is a peer of nothing here.
FIGURES = {
    "wake_hub": ("a wake-up of a sleeping thread, by a hub", "ns"),
    "wake_bare": ("the same by a bare eventfd and epoll: the floor", "ns"),
    "signals_busy": ("signals for a step of 1,000 streams, the loop comes after it", ""),
    "signals_idle": ("the same, the loop sleeps and reads beside the writer", ""),
    "record_burble": ("a record of five bytes, from a thread to a reader", "ns"),
    "record_ring": ("the same through a ring of Concurrency Kit's", "ns"),
    "memory_new": ("an idle stream with a reader that is parked in a hub", "bytes"),
    "memory_used": ("the same after its first record", "bytes"),
}


def measure(n_rounds: int, program: Path | None = None) -> Measured:
    """Measure, in ``n_rounds`` rounds after one that does not count."""
    program = program or PROGRAM
    run(program, 1, "wakes", "steps", "records")
    found = run(program, n_rounds)
    return Measured({name: found[name] for name in FIGURES if name in found}, {})


def outcome(measured: Measured) -> Outcome:
    """Say what the values mean."""
    found = measured.samples
    outcome = Outcome("wakeup", "9. wakeup: the hand-over in C; median [quartiles]")
    outcome.notes.append(f"{len(found['wake_hub'])} rounds, wake-ups: each the median of 400")
    rows = []
    for name, values in found.items():
        what, unit = FIGURES[name]
        each = spread(values)
        between = f"[{each.lower:,.2f}-{each.upper:,.2f}]" if each.n > 1 else ""
        rows.append([what, f"{each.median:,.2f}", between, unit])
    outcome.tables.append(Table(["", "median", "quartiles", ""], rows))
    outcome.goals = [
        goal.flat(
            "a wake-up, hub over eventfd", 1.3, ratios(found["wake_hub"], found["wake_bare"])
        ),
        at_most("a step of a thousand streams", 1, found["signals_busy"], "signals"),
        at_most("a record of five bytes", 100, found["record_burble"], "ns"),
        at_most("an idle stream with its reader", 1024, found["memory_used"], "bytes"),
    ]
    if "record_ring" in found:
        ring = {"Concurrency Kit's ring": found["record_ring"]}
        outcome.contests.append(Contest("a record of five bytes", found["record_burble"], ring))
    return outcome


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", type=Path, help="the program made of wakeup.c")
    parser.add_argument("--rounds", type=int, default=21, help="default: %(default)s")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
    found = outcome(measure(options.rounds, options.program))
    print(found.text())
    traced = traced_signals(options.program)
    if traced is not None:
        print(f"  strace: {traced[1]} system calls for {traced[0]} signals")
        if traced[0] != traced[1]:
            sys.exit("the hubs count other signals than strace")
    print(f"{sum(verdict.met for verdict in found.goals)} of {len(found.goals)} goals met")


if __name__ == "__main__":
    main()
