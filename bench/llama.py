# SPDX-License-Identifier: MIT
"""Tokens a second of burble's engine on llama.cpp, and of a loop on llama.cpp alone.

64 requests at once, 128 tokens each, with the shipped model in one thread. Both compute the same
greedy tokens with the same settings. llama_loop does nothing else; llama_engine also makes text of
them and carries it through 64 streams to a reader in another thread. The two take turns.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

from benchmark import ROOT, Measured, Options, Report, Table, collect, shuffled
from goals import at_least, quartiles, ratios

WHO = {"burble": "llama_engine", "llama.cpp alone": "llama_loop"}
CLOCKS = ("tokens/s", "tokens/s of processor time")
REQUESTS, TOKENS, THREADS = 64, 128, 1
GOAL = 0.95


def _start(program: Path) -> subprocess.Popen[str]:
    """Start a program, which waits for its first round."""
    numbers = map(str, (REQUESTS, TOKENS, THREADS))
    return subprocess.Popen(
        [program, ROOT / "models" / "shakespeare.gguf", *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def _one_round(process: subprocess.Popen[str]) -> list[float]:
    """Let a program take one round; return tokens a second, by each of the clocks."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(".")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args!r} ended with {process.wait()}")
    return [float(word) for word in line.split()]


def measure(options: Options) -> Measured:
    """Measure."""
    with ExitStack() as stack:
        programs = {
            who: stack.enter_context(_start(options.program(name))) for who, name in WHO.items()
        }

        def one_round() -> dict[str, float]:
            return {
                f"{who}, {clock}": value
                for who in shuffled(WHO)
                for clock, value in zip(CLOCKS, _one_round(programs[who]), strict=True)
            }

        samples = collect("llama", options.choose(full=21, quick=6, smoke=1), one_round)
        for process in programs.values():
            assert process.stdin is not None
            process.stdin.close()
    return Measured(samples, {})


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples = measured.samples
    report = Report("llama", "tokens a second; median [quartiles]")
    report.notes.append(f"{REQUESTS} requests at once, {TOKENS} tokens each, {THREADS} thread")
    rows = []
    for who in WHO:
        each = [quartiles(samples[f"{who}, {clock}"]) for clock in CLOCKS]
        rows.append([who, *[f"{q.median:,.0f} [{q.lower:,.0f}-{q.upper:,.0f}]" for q in each]])
    report.tables.append(Table(["", *CLOCKS], rows))
    ours, theirs = (samples[f"{who}, {CLOCKS[0]}"] for who in WHO)
    what = "tokens a second, burble over llama.cpp alone"
    report.goals.append(at_least(what, GOAL, ratios(ours, theirs)))
    return report
