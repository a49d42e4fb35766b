#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures burble's engine beside llama.cpp's own loop: tokens a second, 64 texts at once.

Both compute the same greedy tokens with the same settings. `llama_loop` does nothing but that;
`llama_engine` makes text of them, too, and carries it through 64 streams to a reader in another
thread. The two take turns, so that whatever else the machine does falls on both; the figure is the
median of the ratios of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.95


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("programs", type=Path, help="the folder with llama_engine and llama_loop")
    add("--model", type=Path, default=ROOT / "models" / "shakespeare.gguf")
    add("--requests", type=int, default=64, help="how many at once (default: %(default)s)")
    add("--tokens", type=int, default=128, help="for each of them (default: %(default)s)")
    add("--threads", type=int, default=1, help="that compute (default: %(default)s)")
    add("--rounds", type=int, default=21, help="of each (default: %(default)s)")
    return parser.parse_args()


def start(program: Path, options: argparse.Namespace) -> subprocess.Popen[str]:
    """Start one of the two programs, which waits for its first round."""
    numbers = (options.requests, options.tokens, options.threads)
    return subprocess.Popen(
        [program, options.model, *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def one_round(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Let it take one round; returns tokens per second, and per second of processor time."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(".")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{process.args!r} ended with {process.wait()}")
    wall, cpu = map(float, line.split())
    return wall, cpu


def main() -> None:
    """Measure and print."""
    options = arguments()
    with ExitStack() as stack:
        engine = stack.enter_context(start(options.programs / "llama_engine", options))
        loop = stack.enter_context(start(options.programs / "llama_loop", options))
        one_round(engine), one_round(loop)  # to warm up
        rounds = []
        for i in range(options.rounds):
            if i % 2:
                theirs, ours = one_round(loop), one_round(engine)
            else:
                ours, theirs = one_round(engine), one_round(loop)
            rounds.append((ours, theirs))
        for process in (engine, loop):
            assert process.stdin is not None
            process.stdin.close()
    for name, value in machine.describe().items():
        print(f"{name:>10}  {value}")
    print(
        f"\n{options.requests} requests at once, {options.tokens} tokens each, "
        f"{options.threads} thread(s), {options.rounds} rounds of each: medians\n"
        f"{'':24}{'llama.cpp alone':>16}{'burble':>10}{'ratio':>8}   middle half"
    )
    for i, what in enumerate(("tokens/s", "tokens/s of processor time")):
        ratios = sorted(ours[i] / theirs[i] for ours, theirs in rounds)
        quarter = len(ratios) // 4
        print(
            f"  {what:<27}{statistics.median(theirs[i] for _, theirs in rounds):11,.0f}"
            f"{statistics.median(ours[i] for ours, _ in rounds):10,.0f}"
            f"{statistics.median(ratios):8.3f}"
            f"   {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}"
        )
    print(f"goal: a ratio of {GOAL} or more")


if __name__ == "__main__":
    main()
