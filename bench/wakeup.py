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
from spread import median_interval, ratios, spread

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


def row(name: str, values: Sequence[float], unit: str) -> str:
    """Return a line of the table: the median, and the quartiles in brackets."""
    found = spread(values)
    return f"  {name:<58}{found.median:9,.2f} [{found.lower:,.2f}-{found.upper:,.2f}] {unit}"


def report(found: dict[str, list[float]]) -> list[goal.Goal]:
    """Print the figures; return the goals."""
    microseconds = {name: [1e-3 * v for v in found[name]] for name in ("wake_hub", "wake_bare")}
    print("from an append to the thread that reads it, which slept in epoll_wait")
    print(row("hub", microseconds["wake_hub"], "µs"))
    print(row("bare eventfd", microseconds["wake_bare"], "µs"))
    print("\na thousand streams that move together: signals for each step")
    print(row("the loop comes after the step", found["signals_busy"], ""))
    print(row("the loop sleeps, and reads beside the writer", found["signals_idle"], ""))
    print("\na record of five bytes, from a thread at full speed to a reader")
    print(row("burble", found["record_burble"], "ns"))
    if "record_ring" in found:
        print(row("a ring of Concurrency Kit's", found["record_ring"], "ns"))
    print("\nan idle stream with a reader that is parked in a hub")
    print(row("new", found["memory_new"], "bytes"))
    print(row("after its first record", found["memory_used"], "bytes"))
    print()
    return [
        goal.flat(
            "a wake-up, hub over eventfd", 1.3, ratios(found["wake_hub"], found["wake_bare"])
        ),
        at_most("a step of a thousand streams", 1, found["signals_busy"], "signals"),
        at_most("a record of five bytes", 100, found["record_burble"], "ns"),
        at_most("an idle stream with its reader", 1024, found["memory_used"], "bytes"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", type=Path, help="the program made of wakeup.c")
    parser.add_argument("--rounds", type=int, default=21, help="default: %(default)s")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {options.rounds} rounds\n")
    run(options.program, 1, "wakes", "steps", "records")  # to warm up
    goals = report(run(options.program, options.rounds))
    for verdict in goals:
        print(f"  {verdict}")
    traced = traced_signals(options.program)
    if traced is not None:
        print(f"  strace: {traced[1]} system calls for {traced[0]} signals")
        if traced[0] != traced[1]:
            sys.exit("the hubs count other signals than strace")
    print(f"{sum(verdict.met for verdict in goals)} of {len(goals)} goals met")


if __name__ == "__main__":
    main()
