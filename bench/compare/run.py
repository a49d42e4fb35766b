#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Brings burble and its peers into the same situations, and prints what each of them does.

Every cell is a real generation of the shipped model, in a process of its own: see situations.py for
what happens there, bridges.py for how each peer is used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

# At the end: trio needs an `outcome` of its own.
sys.path.append(str(Path(__file__).resolve().parent.parent))

import cell
import machine
import marks
from progress import rounds

# The rows, as the table shows them.
SITUATIONS = {
    "error": "`generate` raises",
    "gone": "the consumer has gone",
    "slow": "the consumer is slow",
    "batch": "a batch of two",
    "second": "a second reader",
    "late": "a reader who comes at the end",
    "stop": "a stop string",
    "timeouts": "timeouts",
    "trio": "under trio",
}
# The columns, with the bridges of each.
PEERS = {
    "transformers": {
        "asynchronous": "bridges:Asynchronous",
        "synchronous": "bridges:Synchronous",
    },
    "DirectStreamer": {"": "bridges:Direct"},
    "janus": {"": "bridges:Janus"},
    "culsans": {"": "bridges:Culsans"},
    "burble.stream": {"": "with_burble:Burble"},
}
PACKAGES = ("burble", "transformers", "janus", "culsans", "trio", "torch")
MARK = "compare"

Cells = dict[tuple[str, str], dict[str, cell.Outcome]]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only", action="append", choices=SITUATIONS, help="only this situation (may be repeated)"
    )
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="only this column (may be repeated)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes to FILE, too")
    parser.add_argument(
        "--update",
        type=Path,
        metavar="FILE",
        help=f"put the table into FILE, between <!-- {MARK}: begin --> and <!-- {MARK}: end -->",
    )
    options = parser.parse_args()
    if options.update and (options.only or options.peer):
        parser.error("--update wants the whole table: leave out --only and --peer")
    return options


def outcomes(situations: Iterable[str], peers: Iterable[str]) -> Cells:
    """Run the cells, two at a time."""
    cells: Cells = {(situation, peer): {} for situation in situations for peer in peers}
    with ThreadPoolExecutor(2) as pool:
        running = {
            pool.submit(cell.run, situation, bridge): (situation, peer, variant)
            for situation, peer in cells
            for variant, bridge in PEERS[peer].items()
        }
        for _, done in zip(rounds(len(running), "compare"), as_completed(running)):
            situation, peer, variant = running[done]
            cells[situation, peer][variant] = done.result()
    return cells


def table(cells: Cells) -> str:
    """Return the outcomes in Markdown."""
    situations = list(dict.fromkeys(situation for situation, _ in cells))
    peers = list(dict.fromkeys(peer for _, peer in cells))
    rows = [["", *peers], ["---"] * (1 + len(peers))]
    for situation in situations:
        found = [_text(cells[situation, peer], peer) for peer in peers]
        rows.append([SITUATIONS[situation], *found])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _text(variants: dict[str, cell.Outcome], peer: str) -> str:
    texts = {
        variant: outcome.text.strip().splitlines()[-1].replace("|", "\\|")
        for variant, outcome in variants.items()
    }
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "<br>".join(f"{name}: {texts[name]}" for name in PEERS[peer])


def main() -> int:
    """Run and print; 1 where a cell has failed instead of seeing something."""
    options = arguments()
    cells = outcomes(
        [name for name in SITUATIONS if name in (options.only or SITUATIONS)],
        [name for name in PEERS if name in (options.peer or PEERS)],
    )
    text = table(cells)
    print(text)
    versions = {package: machine.version(package) for package in PACKAGES}
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if options.json is not None:
        found = [
            {
                "situation": situation,
                "peer": peer,
                "bridge": PEERS[peer][variant],
                "kind": outcome.kind,
                "outcome": outcome.text,
            }
            for (situation, peer), variants in cells.items()
            for variant, outcome in variants.items()
        ]
        document = {"versions": versions, "cells": found}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    failed = [
        f"{situation}, {peer}: {outcome.text}"
        for (situation, peer), variants in cells.items()
        for outcome in variants.values()
        if outcome.kind == cell.FAILED
    ]
    for failure in failed:
        print(failure, file=sys.stderr)
    if options.update is not None and not failed:
        marks.replace(options.update, MARK, text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
