# SPDX-License-Identifier: MIT
"""bench/compare still runs: cells of its table, through its own command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import burble

pytest.importorskip("transformers")
pytest.importorskip("trio")

MARKS = "# A page\n<!-- compare: begin -->\nold\n<!-- compare: end -->\nthe rest\n"


def compare(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "compare" / "run.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def outcome(path: Path, situation: str, peer: str) -> str:
    done = compare("--only", situation, "--peer", peer, "--json", path)
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(path.read_text())["cells"]
    assert (cell["situation"], cell["peer"], cell["kind"]) == (situation, peer, "seen")
    assert f" {cell['outcome']} |" in done.stdout
    return str(cell["outcome"])


@pytest.mark.slow
def test_a_peers_cell_says_what_was_seen(tmp_path: Path) -> None:
    seen = outcome(tmp_path / "cells", "batch", "DirectStreamer")
    assert seen == "one text, in which the tokens of the sequences alternate"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(burble, "stream"), reason="burble.stream is not there yet")
def test_burbles_cell_says_what_was_seen(tmp_path: Path) -> None:
    seen = outcome(tmp_path / "cells", "error", "burble.stream")
    assert seen == "the text so far, then gets the exception itself"


def test_a_part_of_the_table_does_not_replace_the_whole(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(MARKS)
    done = compare("--only", "error", "--update", page)
    assert done.returncode == 2
    assert "--update wants the whole table" in done.stderr
    assert page.read_text() == MARKS
