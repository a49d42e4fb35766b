#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures burble beside its peers, in one run, and says which goals are met.

The first lines of each benchmark's file say what it measures, README.md how to read the figures.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter

from benchmark import MODEL, ROOT, SHARED, Options, Report
from goals import check
from results import Results, describe_machine, load

BENCHMARKS = (
    "put",
    "handoff",
    "generate",
    "streams",
    "detokenize",
    "vocabulary",
    "worst",
    "wakeup",
)
# Only by --only: these need llama.cpp, or Redis.
APART = ("llama", "llama_parts", "llama_server", "llama_cancel", "serve", "relay")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    names = (*BENCHMARKS, *APART)
    add("--only", action="append", choices=names, help="only this (may be given again)")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument(
        "--quick",
        dest="effort",
        action="store_const",
        const="quick",
        default="full",
        help="fewer rounds: about three minutes in all",
    )
    effort.add_argument(
        "--smoke",
        dest="effort",
        action="store_const",
        const="smoke",
        help="one round of very little, only to see that everything runs",
    )
    effort.add_argument(
        "--read",
        action="append",
        type=Path,
        metavar="FILE",
        help="measure nothing: take the values from FILE (may be given again: all together)",
    )
    add("--json", type=Path, metavar="FILE", help="write every value to FILE")
    add(
        "--pages",
        type=Path,
        metavar="FOLDER",
        help="write the figures into FOLDER/performance.md, and the plots into FOLDER/plots",
    )
    add(
        "--check",
        action="store_true",
        help="fail where a goal is missed by more than the noise; what a --quick run misses is"
        " measured again in full before that",
    )
    found = (SHARED / "tokenizers" / name for name in ("gpt2", "llama3"))
    add(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        default=next((path for path in found if path.is_dir()), MODEL),
        help="the tokenizer for `put` and `handoff` (default: %(default)s)",
    )
    add(
        "--programs",
        type=Path,
        metavar="FOLDER",
        default=ROOT / "build" / "bench" / "bench",
        help="the benchmarks' programs in C (default: %(default)s)",
    )
    add(
        "--engine-page",
        type=Path,
        metavar="FOLDER",
        help="write the figures of the engine into FOLDER/engine-performance.md",
    )
    add(
        "--serve-page",
        type=Path,
        metavar="FOLDER",
        help="write the figures of the server into FOLDER/serve-performance.md, and those of the"
        " relay into FOLDER/relay-performance.md",
    )
    options = parser.parse_args(given)
    if options.pages and options.only:
        parser.error("--pages needs all benchmarks: leave out --only")
    return options


def measure(names: Iterable[str], options: Options, results: Results) -> None:
    """Run the benchmarks of these names, and print what each says."""
    for name in names:
        results.add(name, importlib.import_module(name).measure(options))
        print(report(name, results).text() + "\n", flush=True)


def report(name: str, results: Results) -> Report:
    """Return what a benchmark's values say."""
    found: Report = importlib.import_module(name).report(results.parts[name])
    return found


def reports(results: Results) -> dict[str, Report]:
    """Return what the values of all benchmarks say."""
    return {name: report(name, results) for name in (*BENCHMARKS, *APART) if name in results.parts}


def checked(results: Results, options: Options) -> bool:
    """Judge the goals; those of a quick run that fail only after another run, in full."""
    lines, failed = check({name: found.goals for name, found in reports(results).items()})
    if failed and options.effort == "quick":
        print(f"again, in full: {', '.join(sorted(failed))}\n", flush=True)
        measure(sorted(failed), options._replace(effort="full"), results)
        lines, failed = check({name: found.goals for name, found in reports(results).items()})
    print("\n".join(lines) or "no goal is missed")
    return not failed


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if a check fails."""
    chosen = arguments(given)
    options = Options(chosen.effort, chosen.tokenizer, chosen.programs)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    begin = perf_counter()
    if chosen.read is not None:
        results = Results.read(chosen.read)
        results.parts = {n: v for n, v in results.parts.items() if n in (chosen.only or BENCHMARKS)}
    else:
        machine = {**describe_machine(), "tokenizer": options.tokenizer.name}
        results = Results(machine, options.effort != "full")
    for name, fact in results.machine.items():
        print(f"{name:>10}: {fact}")
    print("", flush=True)

    if chosen.read is not None:
        for found in reports(results).values():
            print(found.text() + "\n")
    else:
        measure(chosen.only or BENCHMARKS, options, results)
        took = f"{perf_counter() - begin:.0f} s; load {load()} at the end"
        results.machine = {**results.machine, "took": took}
        print(took)
    goals = [goal for found in reports(results).values() for goal in found.goals]
    print(f"{sum(goal.met for goal in goals)} of {len(goals)} goals met")
    passed = not chosen.check or checked(results, options)
    if chosen.json is not None:
        results.write(chosen.json)
    if chosen.pages is not None:
        importlib.import_module("pages").update(results, reports(results), chosen.pages)
    if chosen.engine_page is not None:
        importlib.import_module("engine_page").update(results, chosen.engine_page)
    if chosen.serve_page is not None:
        importlib.import_module("serve_page").update(results, chosen.serve_page)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
