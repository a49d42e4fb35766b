#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what burble and its peers do in nine situations where something goes wrong.

Each cell of the table is a generation of the shipped model in a separate process: situations.py
has the rows, adapters.py the columns. Nothing in the table is written by hand.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

# The rows: the functions of situations.py, and their titles.
SITUATIONS = {
    "error": "`generate` raises",
    "gone": "the consumer has gone",
    "slow": "the consumer is slow",
    "batch": "a batch of two",
    "second": "a second reader",
    "late": "a reader that begins at the end",
    "stop": "a stop string",
    "timeouts": "timeouts",
    "trio": "under trio",
}
# The columns: the classes of adapters.py, by variant.
PEERS = {
    "transformers": {"asynchronous": "Asynchronous", "synchronous": "Synchronous"},
    "DirectStreamer": {"": "Direct"},
    "janus": {"": "Janus"},
    "culsans": {"": "Culsans"},
    "burble.stream": {"": "Burble"},
}
PACKAGES = ("burble", "transformers", "janus", "culsans", "trio", "torch")
BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--only", action="append", choices=SITUATIONS, help="only this row (may be given again)")
    add("--peer", action="append", choices=PEERS, help="only this column (may be given again)")
    add("--json", type=Path, metavar="FILE", help="write the outcomes to FILE, too")
    add("--update", type=Path, metavar="FILE", help=f"put the table into FILE, after {BEGIN}")
    options = parser.parse_args()
    if options.update and (options.only or options.peer):
        parser.error("--update wants the whole table: leave out --only and --peer")
    return options


# ---- a cell: one situation, one adapter, one process ---------------------------------------------

# Every process starts with these imported: that takes longer than most situations.
PRELOAD = (
    "transformers.cli.serving.utils",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.auto.tokenization_auto",
    "trio",
)
# Seconds for a cell, once it has begun: its imports are complete. A situation bounds its own waits;
# this is for a blocked event loop.
LIMIT = 60.0

BEGUN = "begun"
SEEN, ABSENT, FAILED = "seen", "absent", "failed"


class Outcome(NamedTuple):
    """What was seen; or that the peer is not installed; or how the cell itself failed."""

    kind: str
    text: str


# Forked from a server, not from this process, whose threads would not survive that.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(list(PRELOAD))


def run_cell(situation: str, adapter: str) -> Outcome:
    """Run one cell. Thread-safe."""
    ours, theirs = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_child, args=(theirs, situation, adapter))
    process.start()
    theirs.close()
    try:
        message = ours.recv()
        if message == BEGUN:
            if not ours.poll(LIMIT):
                return Outcome(SEEN, f"blocks its event loop for ever ({LIMIT:.0f} s)")
            message = ours.recv()
        return Outcome(*message)
    except EOFError:
        process.join()
        return Outcome(FAILED, f"the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()
        ours.close()


def _child(connection: Connection, situation: str, adapter: str) -> None:
    # Complaints of threads and libraries are part of the situation, and not of the report.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    threading.excepthook = lambda _: None
    try:
        chosen = getattr(importlib.import_module("adapters"), adapter)
        see = importlib.import_module("situations").see
        connection.send(BEGUN)
        outcome = Outcome(SEEN, see(situation, chosen))
    except ImportError as error:
        outcome = Outcome(ABSENT, str(error))
    except BaseException:
        outcome = Outcome(FAILED, traceback.format_exc())
    connection.send(tuple(outcome))
    connection.close()
    os._exit(0)  # without waiting for threads that never end


# ---- the table -----------------------------------------------------------------------------------

Cells = dict[tuple[str, str], dict[str, Outcome]]


def run_cells(situations: Iterable[str], peers: Iterable[str]) -> Cells:
    """Run the cells, two at a time."""
    cells: Cells = {(situation, peer): {} for situation in situations for peer in peers}
    with ThreadPoolExecutor(2) as pool:
        running = {
            (cell, variant): pool.submit(run_cell, cell[0], adapter)
            for cell in cells
            for variant, adapter in PEERS[cell[1]].items()
        }
        for (cell, variant), done in running.items():
            cells[cell][variant] = done.result()
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return cells


def table(cells: Cells) -> str:
    """Return the outcomes in Markdown."""
    situations = list(dict.fromkeys(situation for situation, _ in cells))
    peers = list(dict.fromkeys(peer for _, peer in cells))
    rows = [["", *peers], ["---"] * (1 + len(peers))]
    for situation in situations:
        found = [_text(cells[situation, peer]) for peer in peers]
        rows.append([SITUATIONS[situation], *found])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _text(variants: dict[str, Outcome]) -> str:
    texts = {
        variant: outcome.text.strip().splitlines()[-1].replace("|", "\\|")
        for variant, outcome in variants.items()
    }
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "<br>".join(f"{variant}: {text}" for variant, text in texts.items())


def update(path: Path, text: str) -> None:
    """Replace the table in a page."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{path}: expected {BEGIN} and after it {END}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def version(package: str) -> str:
    """Return a package's version."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def main() -> int:
    """Run and print; return 1 if a cell failed instead of seeing something."""
    options = arguments()
    cells = run_cells(
        [name for name in SITUATIONS if name in (options.only or SITUATIONS)],
        [name for name in PEERS if name in (options.peer or PEERS)],
    )
    print(table(cells))
    versions = {package: version(package) for package in PACKAGES}
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))
    found = [
        {"situation": situation, "peer": peer, "variant": variant, **outcome._asdict()}
        for (situation, peer), variants in cells.items()
        for variant, outcome in variants.items()
    ]
    if options.json is not None:
        document = {"versions": versions, "cells": found}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    failed = [cell for cell in found if cell["kind"] == FAILED]
    for cell in failed:
        print(f"{cell['situation']}, {cell['peer']}: {cell['text']}", file=sys.stderr)
    if options.update is not None and not failed:
        update(options.update, table(cells))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
