# SPDX-License-Identifier: MIT
"""The hand-over in C (wakeup.c), without Python: a wake-up compared with a bare eventfd's, the
signals of a thousand streams, a record compared with a bare ring's, the memory of an idle stream.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark import Measured, Options, Report, Table
from goals import Comparison, at_most, quartiles, ratios

STEPS = 100  # in each round of wakeup.c, of each kind
# The names that wakeup.c prints; each with a description and the unit.
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


def _values(output: str) -> dict[str, list[float]]:
    """Return the values that wakeup.c printed, by name."""
    values: dict[str, list[float]] = {}
    for line in output.splitlines():
        name, value = line.split()
        values.setdefault(name, []).append(float(value))
    return values


def _run(program: Path, rounds: int, *parts: str) -> dict[str, list[float]]:
    command = [program, str(rounds), *parts]
    return _values(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _count_system_calls(program: Path) -> int | None:
    """Return how many writes to a hub strace saw in two hundred steps; None without strace.

    Raises RuntimeError if the hubs count other signals.
    """
    if shutil.which("strace") is None:
        return None
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        command = ["strace", "-f", "-e", "trace=write", "-o", trace, program, "1", "steps"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:  # tracing is not allowed
            return None
        calls = len(re.findall(r'write\(\d+, "\\1(?:\\0){7}", 8\)', trace.read_text()))
    signals = round(STEPS * sum(sum(values) for values in _values(done.stdout).values()))
    if signals != calls:
        raise RuntimeError(f"the hubs count {signals} signals, strace {calls} system calls")
    return calls


def measure(options: Options) -> Measured:
    """Measure."""
    program = options.program("wakeup")
    _run(program, 1, "wakes", "steps", "records")  # to warm up
    found = _run(program, options.choose(full=21, quick=6, smoke=1))
    samples = {name: found[name] for name in FIGURES if name in found}
    return Measured(samples, {"system calls": _count_system_calls(program)})


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    found, facts = measured
    report = Report("wakeup", "the hand-over in C; median [quartiles]")
    report.notes.append(f"{len(found['wake_hub'])} rounds, wake-ups: each the median of 400")
    if (calls := facts.get("system calls")) is not None:
        report.notes.append(f"strace saw {calls} system calls for {calls} signals")
    rows = []
    for name, values in found.items():
        what, unit = FIGURES[name]
        lower, middle, upper = quartiles(values)
        between = f"[{lower:,.2f}-{upper:,.2f}]" if len(values) > 1 else ""
        rows.append([what, f"{middle:,.2f}", between, unit])
    report.tables.append(Table(["", "median", "quartiles", ""], rows))
    wakes = ratios(found["wake_hub"], found["wake_bare"])
    report.goals = [
        at_most("a wake-up, hub over eventfd", 1.3, wakes),
        at_most("a step of a thousand streams", 1, found["signals_busy"], "signals"),
        at_most("a record of five bytes", 100, found["record_burble"], "ns"),
        at_most("an idle stream with its reader", 1024, found["memory_used"], "bytes"),
    ]
    if "record_ring" in found:
        ring = {"Concurrency Kit's ring": found["record_ring"]}
        report.comparisons.append(
            Comparison("a record of five bytes", found["record_burble"], ring)
        )
    return report
