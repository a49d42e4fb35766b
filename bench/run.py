#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures burble beside transformers' own streamers and the tokenizers library's, in one run, and
says which goals are met.

What is measured, and how, is said at the top of the file of each part, and in README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter

import machine
import transformers
from report import Outcome

import models

NAMES = (
    "put",
    "handoff",
    "generate",
    "streams",
    "detokenize",
    "vocabulary",
    "worst",
    "earliness",
)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds: about two minutes in all"
    )
    parser.add_argument(
        "--only", action="append", choices=NAMES, help="measure only this (may be given again)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value to FILE")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        default=models.default_tokenizer(),
        help="the tokenizer for `put` (default: %(default)s)",
    )
    return parser.parse_args()


def benchmarks(names: Iterable[str], tokenizer: Path, quick: bool) -> Iterable[Outcome]:
    """Run the benchmarks of these names, one after the other."""
    import detokenize
    import earliness
    import generate
    import handoff
    import put
    import streams
    import vocabulary
    import worst

    loaded = models.load_tokenizer(tokenizer)
    measures: dict[str, Callable[[], Outcome]] = {
        "put": lambda: put.measure(loaded, n_rounds=2 if quick else 11),
        "handoff": lambda: handoff.measure(
            loaded, n_rounds=5 if quick else 21, ours=200_000, theirs=10_000 if quick else 20_000
        ),
        "generate": lambda: generate.measure(n_rounds=7 if quick else 41, tokens=256),
        "streams": lambda: streams.measure(n_rounds=1 if quick else 7, steps=50 if quick else 100),
        "detokenize": lambda: detokenize.measure(n_rounds=2 if quick else 11),
        "vocabulary": lambda: vocabulary.measure(n_rounds=2 if quick else 7),
        "worst": lambda: worst.measure(n_rounds=2 if quick else 7),
        "earliness": lambda: earliness.measure(characters=300 if quick else 2000),
    }
    for name in names:
        yield measures[name]()


def main() -> None:
    """Measure and print."""
    options = arguments()
    begin = perf_counter()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    facts = {**machine.describe(), "tokenizer": options.tokenizer.name}
    for name, fact in facts.items():
        print(f"{name:>10}: {fact}")
    print("", flush=True)

    outcomes = []
    for outcome in benchmarks(options.only or NAMES, options.tokenizer, options.quick):
        print(outcome.text() + "\n", flush=True)
        outcomes.append(outcome)

    goals = [goal for outcome in outcomes for goal in outcome.goals]
    met = sum(goal.met for goal in goals)
    print(f"{met} of {len(goals)} goals met; {perf_counter() - begin:.0f} s; load {machine.load()}")
    if options.json is not None:
        results = {outcome.name: outcome.as_dict() for outcome in outcomes}
        document = {"machine": facts, "quick": options.quick, "results": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
