#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures burble beside its peers, in one run, and says which goals are met.

What is measured, and how, is said at the top of the file of each part, and in README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import check
import known
import machine
import page
import transformers
from parts import names, outcomes, parts
from report import Outcome
from results import Results

import models

RESULTS = models.ROOT / "bench" / "results.json"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer rounds: about three minutes in all")
    add("--only", action="append", choices=names(), help="only this (may be given again)")
    add("--json", type=Path, metavar="FILE", help="write every value to FILE")
    add(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        default=models.default_tokenizer(),
        help="the tokenizer for `put` and `handoff` (default: %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--record",
        action="store_true",
        help="keep the values in bench/results.json, then --update",
    )
    what.add_argument(
        "--update",
        action="store_true",
        help="measure nothing: write what bench/results.json says into the pages and the plots",
    )
    what.add_argument(
        "--check",
        action="store_true",
        help="fail where a goal is missed by more than the noise; what a --quick run misses is"
        " measured again in full before that",
    )
    options = parser.parse_args(given)
    if options.record and options.only:
        parser.error("--record wants all benchmarks: leave out --only")
    return options


def measure(which: Sequence[str], tokenizer: Path, quick: bool, results: Results) -> list[Outcome]:
    """Run the benchmarks of these names, one after the other, and print what they say."""
    known_parts = parts(tokenizer)
    said = []
    for name in which:
        results.parts[name] = known_parts[name].measure(quick)
        said.append(known_parts[name].outcome(results.parts[name]))
        print(said[-1].text() + "\n", flush=True)
    return said


def checked(said: list[Outcome], options: argparse.Namespace, results: Results) -> bool:
    """Judge; where a quick run misses something, only after those benchmarks ran in full."""
    verdict = check.judge(said, known.MISSES)
    if verdict.parts and options.quick:
        print(f"again, in full: {', '.join(sorted(verdict.parts))}\n", flush=True)
        again = [name for name in results.parts if name in verdict.parts]
        measure(again, options.tokenizer, quick=False, results=results)
        verdict = check.judge(outcomes(results.parts).values(), known.MISSES)
    print(verdict.text() or "no goal is missed")
    return verdict.passed


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a check fails."""
    options = arguments(given)
    if options.update:
        page.update(Results.read(RESULTS))
        return 0
    begin = perf_counter()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    results = Results({**machine.describe(), "tokenizer": options.tokenizer.name}, options.quick)
    for name, fact in results.machine.items():
        print(f"{name:>10}: {fact}")
    print("", flush=True)

    said = measure(options.only or names(), options.tokenizer, options.quick, results)
    goals = [goal for outcome in said for goal in outcome.goals]
    met = sum(goal.met for goal in goals)
    took = f"{perf_counter() - begin:.0f} s; load {machine.load()} at the end"
    print(f"{met} of {len(goals)} goals met; {took}")
    passed = not options.check or checked(said, options, results)
    results.machine = {**results.machine, "took": took}
    if options.json is not None:
        results.write(options.json)
    if options.record:
        results.write(RESULTS)
        page.update(Results.read(RESULTS))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
