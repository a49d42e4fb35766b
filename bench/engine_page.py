# SPDX-License-Identifier: MIT
"""Writes the figures of a run into docs/engine-performance.md; no figure there is typed by hand.

They stand between marks, as in performance.md: `shipped`, `large`, `cancel` and `parts`, and
`machine`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import llama_cancel
import llama_parts
import llama_server
from benchmark import Table
from pages import replace
from results import Results


def update(results: Results, folder: Path) -> None:
    """Write the figures that there are into the folder's engine-performance.md."""
    page = folder / "engine-performance.md"
    text = page.read_text(encoding="utf-8")
    for name, part in _parts(results).items():
        text = replace(page, text, f"bench-{name}", part)
    page.write_text(text, encoding="utf-8")


def _parts(results: Results) -> dict[str, str]:
    facts = [f"| {name} | {results.machine[name]} |" for name in ("when", "processor", "system")]
    parts = {"machine": "\n".join(["| | |", "| --- | --- |", *facts])}
    if "llama_server" in results.parts:
        samples = results.parts["llama_server"].samples
        for name, load in llama_server.LOADS.items():
            part = llama_server.Part(samples, name, load.who)
            if any(key.startswith(f"{name}, ") for key in samples):
                parts[name] = _text(llama_server.tables(part, load))
    for name, module in (("cancel", llama_cancel), ("parts", llama_parts)):
        if f"llama_{name}" in results.parts:
            parts[name] = _text(module.report(results.parts[f"llama_{name}"]).tables)
    return parts


def _text(tables: Iterable[Table]) -> str:
    return "\n\n".join(table.markdown() for table in tables)
