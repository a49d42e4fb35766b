# SPDX-License-Identifier: MIT
"""tests/compare runs: single cells of its table, by its own command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("transformers")
pytest.importorskip("trio")

# Two processes that import torch, one after the other: slow on a busy machine.
pytestmark = [pytest.mark.no_asan, pytest.mark.timeout(300)]

MARKS = "# A page\n<!-- compare: begin -->\nold\n<!-- compare: end -->\nthe rest\n"


def compare(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tests" / "compare" / "run.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def outcome(path: Path, situation: str, peer: str) -> str:
    done = compare("--only", situation, "--peer", peer, "--json", path)
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(path.read_text())["cells"]
    assert (cell["situation"], cell["peer"], cell["kind"]) == (situation, peer, "seen")
    assert f" {cell['text']} |" in done.stdout
    return str(cell["text"])


@pytest.mark.slow
def test_cell_of_peer_equals_measured_outcome(tmp_path: Path) -> None:
    seen = outcome(tmp_path / "cells", "batch", "DirectStreamer")
    assert seen == "one text, in which the tokens of the sequences alternate"


@pytest.mark.slow
def test_cell_of_burble_equals_measured_outcome(tmp_path: Path) -> None:
    seen = outcome(tmp_path / "cells", "error", "burble.stream")
    assert seen == "the text so far, then gets the exception itself"


def test_update_of_part_of_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(MARKS)
    done = compare("--only", "error", "--update", page)
    assert done.returncode == 2
    assert "--update wants the whole table" in done.stderr
    assert page.read_text() == MARKS
