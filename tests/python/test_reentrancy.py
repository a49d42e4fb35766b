# SPDX-License-Identifier: MIT
"""What runs in the middle of a call of the extension may call the same object: a finalizer that the
collector runs, a tokenizer's decode, a signal handler, another thread. Nothing crashes, hangs or is
lost.

Each scenario runs in a separate process: those that are wrong end it, or never end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import every_method
import pytest
import reentrancy

pytestmark = pytest.mark.extension

SCRIPT = Path(reentrancy.__file__)
EVERY_METHOD = Path(every_method.__file__)
TIMEOUT = float(os.environ.get("BURBLE_TEST_TIMEOUT", "120"))


def run(script: Path, *args: str) -> str:
    """The last line of what the script prints, which has to end in time."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), *args],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
    return done.stdout.rstrip().rsplit("\n", 1)[-1]


@pytest.mark.parametrize("how", ["cancel", "next", "put", "signal", "gc", "thread", "fail"])
def test_call_while_dead_generation_is_abandoned_returns(how: str) -> None:
    assert run(SCRIPT, "abandon", how) == "done"


@pytest.mark.parametrize("kind", ["error", "interrupt"])
def test_abandon_generation_with_an_error_loses_no_text(kind: str) -> None:
    assert run(SCRIPT, "abandon_with_an_error", kind) == "done"


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_abandon_generation_by_two_threads_blocks_neither(first: str) -> None:
    assert run(SCRIPT, "two_abandon", first) == "done"


@pytest.mark.parametrize("how", ["grow", "shrink", "finish", "init"])
def test_offsets_changed_by_finalizer_are_those_of_before(how: str) -> None:
    assert run(SCRIPT, "offsets", how) == "done"


@pytest.mark.parametrize(
    "scenario",
    [
        s
        for s in reentrancy.SCENARIOS
        if s not in ("abandon", "abandon_with_an_error", "two_abandon", "offsets")
    ],
)
def test_call_within_call_does_no_harm(scenario: str) -> None:
    assert run(SCRIPT, scenario) == "done"


def test_table_of_methods_has_each_of_extension() -> None:
    every_method.check_table()


@pytest.mark.parametrize("family", every_method.FAMILIES)
def test_reentrant_call_from_any_callback_is_harmless(family: str) -> None:
    by_collector = "gc:pairs" if family in every_method.IN_PAIRS else "gc"
    assert run(EVERY_METHOD, family, by_collector, "drop", "trace").endswith(" calls")


@pytest.mark.parametrize("family", every_method.BLOCKING)
def test_reentrant_call_from_signal_handler_in_wait_is_harmless(family: str) -> None:
    assert run(EVERY_METHOD, family, "signal").endswith(" calls")


@pytest.mark.parametrize("family", every_method.SHARED)
def test_concurrent_call_from_other_threads_is_harmless(family: str) -> None:
    assert run(EVERY_METHOD, family, "threads").endswith(" calls")
