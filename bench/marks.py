# SPDX-License-Identifier: MIT
"""Text that a program writes into a page, between two marks."""

from __future__ import annotations

from pathlib import Path


def replace(path: Path, name: str, text: str) -> None:
    """Replace what stands between the marks ``name`` of a file."""
    begin_mark, end_mark = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = path.read_text(encoding="utf-8").partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        raise SystemExit(f"{path}: expected {begin_mark} and after it {end_mark}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
