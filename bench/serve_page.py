# SPDX-License-Identifier: MIT
"""Writes the figures of a run into docs/serve-performance.md and docs/relay-performance.md; no
figure there is typed by hand.

They stand between marks, as in performance.md, for each part of serve.py and relay.py by its name.
A run may have some parts only: each says when and where it was measured.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from goals import Goal
from pages import replace
from results import Results

from serve import Part


def update(results: Results, folder: Path) -> None:
    """Write the figures that there are into the folder's pages."""
    for benchmark in {"serve", "relay"} & results.parts.keys():
        page = folder / f"{benchmark}-performance.md"
        text = page.read_text(encoding="utf-8")
        found = importlib.import_module(benchmark).parts(results.parts[benchmark].samples)
        for name, part in found.items():
            text = replace(page, text, f"bench-{name}", _text(part, results))
        page.write_text(text, encoding="utf-8")


def _text(part: Part, results: Results) -> str:
    machine = results.machine
    where = f"{machine['when']}, {machine['processor']}; {machine['took']}."
    blocks = [f"{where} Few rounds (`--quick`)." if results.quick else where]
    blocks += [table.markdown() for table in part.tables]
    if part.goals:
        blocks.append("\n".join(map(_verdict, part.goals)))
    return "\n\n".join(blocks)


def _verdict(goal: Goal) -> str:
    rest = str(goal).partition(":")[2].strip()
    return f"* {'met' if goal.met else '**missed**'}: {rest}"
