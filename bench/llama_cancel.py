# SPDX-License-Identifier: MIT
"""Measures cancelled requests of burble's engine: when their slots are free again, what is
still computed for them, and what they leave behind (llama_cancel.c)."""

from __future__ import annotations

import subprocess
from statistics import median

import llama_weights
from benchmark import Measured, Options, Report, Table, collect, three_digits
from goals import at_most


def measure(options: Options) -> Measured:
    """Measure."""
    command = [options.program("llama_cancel"), llama_weights.SHIPPED]

    def one_round() -> dict[str, float]:
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        scenarios = (line.partition(": ") for line in out.splitlines())
        return {
            f"{what}, {name}": float(value)
            for what, _, figures in scenarios
            for name, _, value in (figure.partition("=") for figure in figures.split())
        }

    # Each scenario already repeats what it measures; one round does not count.
    rounds = options.choose(full=3, quick=1, smoke=1)
    return Measured(collect("llama_cancel", rounds, one_round), {})


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    report = Report("llama_cancel", "cancelled requests")
    values = {name: median(samples) for name, samples in measured.samples.items()}
    figures = ("p50", "p99", "max")
    stages = [name[: -len(", p50")] for name in values if name.startswith("cancelled")]
    stages = list(dict.fromkeys(name for name in stages if f"{name}, p50" in values))
    rows = [[name, *[three_digits(values[f"{name}, {f}"]) for f in figures]] for name in stages]
    dead = "dead in the queue"
    for title, prefix in (("before", "before_"), ("meanwhile", "")):
        row = [three_digits(values[f"{dead}, {prefix}{figure}"]) for figure in figures]
        rows.append([f"1,000 {dead}: between tokens of others, {title}", *row])
    rows.append(["a live one behind them: its first token", three_digits(values[f"{dead}, first"])])
    rows[-1] += ["", ""]
    report.tables.append(Table(["milliseconds, from cancel to free slot", *figures], rows))
    held = ("allocated", "resident", "threads", "descriptors")
    rows = [
        [when, *[f"{values[f'abandoned, {prefix}{name}']:,.0f}" for name in held]]
        for when, prefix in (("before 5,000 abandoned requests", "before_"), ("after them", ""))
    ]
    titles = ("bytes allocated", "KiB resident", "threads", "descriptors")
    report.tables.append(Table(["the process", *titles], rows))
    # The live one's prompt has two tokens, and so have those of others that start anew meanwhile.
    computed = measured.samples[f"{dead}, computed"]
    report.goals.append(at_most("prompt tokens computed, 1,000 dead", 10, computed, "tokens"))
    return report
