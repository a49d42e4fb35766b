# SPDX-License-Identifier: MIT
"""The programs of bench/serve.py: the clients count what a server sends, and the floor sends it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from servers import ROOT, needs_numbers, numbers_server, started

PROGRAMS = Path(os.environ.get("BURBLE_TEST_BENCH", ROOT / "build/plain/bench"))

pytestmark = pytest.mark.skipif(
    not (PROGRAMS / "serve_load").exists(), reason=f"needs {PROGRAMS}/serve_load"
)


def load(port: int, *options: object) -> dict[str, Any]:
    """What clients have seen."""
    command = [PROGRAMS / "serve_load", "--port", port, *options]
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=100,
        check=True,
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@needs_numbers
@pytest.mark.parametrize("form", [["--chat"], []])
def test_load_counts_whole_answers(form: list[str]) -> None:
    with numbers_server("--rate", 0) as (port, _):
        options = ("--clients", 20, "--requests", 3, "--max-tokens", 10, "--model", "numbers")
        seen = load(port, *form, *options, "--usage")
    assert (seen["answers"], seen["broken"], seen["statuses"]) == (60, 0, {"200": 60})
    # The number of the generation is a piece, too.
    assert seen["tokens"] == 60 * 11
    assert seen["first_ms"]["n"] == 60
    assert seen["gap_ms"]["n"] == 60 * 10


@needs_numbers
def test_load_counts_refusals_as_broken() -> None:
    with numbers_server() as (port, _):
        seen = load(port, "--clients", 5, "--model", "none")
        assert (seen["answers"], seen["broken"], seen["statuses"]) == (0, 5, {"404": 5})
        seen = load(port, "--clients", 1, "--requests", 4, "--get", "/health")
        assert (seen["answers"], seen["broken"], seen["statuses"]) == (4, 0, {"200": 4})


@pytest.mark.skipif(
    not (PROGRAMS / "relay_numbers").exists(), reason=f"needs {PROGRAMS}/relay_numbers"
)
def test_load_takes_the_delay_of_each_stamped_piece() -> None:
    with started(PROGRAMS / "relay_numbers", "alone", 100) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        options = ("--clients", 5, "--chat", "--max-tokens", 20, "--model", "numbers")
        seen = load(port, *options)
    assert (seen["answers"], seen["broken"], seen["tokens"]) == (5, 0, 100)
    assert seen["delay_ms"]["n"] == 100
    # A stamp that is misread is anything up to 10 s.
    assert seen["delay_ms"]["max"] <= seen["total_ms"]["max"]


@pytest.mark.parametrize("program", ["serve_floor", "serve_numbers"])
def test_fixed_rate_reaches_all_clients(program: str) -> None:
    with started(PROGRAMS / program, 100) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        options = ("--clients", 50, "--chat", "--max-tokens", 0, "--model", "numbers")
        seen = load(port, *options, "--seconds", 1)
    assert seen["first_ms"]["n"] == 50
    assert seen["tokens"] > 50
    assert seen["broken"] == 0
