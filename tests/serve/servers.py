# SPDX-License-Identifier: MIT
"""The servers that the tests of libburble-serve talk to, each a process of its own.

`numbers_server` has a backend of numbered text (numbers_server.c), `model_server` is `burble serve`
with the shipped model.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from resuming import fetch, request_bytes

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "shakespeare.gguf"
# The programs, which `make` names.
NUMBERS = Path(
    os.environ.get("BURBLE_TEST_NUMBERS", ROOT / "build/plain/tests/serve/numbers_server")
)
COMMAND = os.environ.get("BURBLE_COMMAND", "")

needs_numbers = pytest.mark.skipif(not NUMBERS.exists(), reason=f"needs {NUMBERS}")
needs_command = pytest.mark.skipif(
    not COMMAND, reason="needs the command with llama.cpp: BURBLE_COMMAND"
)


@contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[str]]:
    """A server, until the test has ended."""
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def numbers_server(*options: object) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server of numbered text; yields its port."""
    with started(NUMBERS, *options) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline()), process
        process.stdin.close()
        # (Under a sanitizer, this says what was leaked, too.)
        assert process.wait(60) == 0


@contextmanager
def model_server(*options: object) -> Iterator[int]:
    """A server of the shipped model; yields its port."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    command = (COMMAND, "serve", "-m", f"shakespeare={SHIPPED}", "--port", port, *options)
    with started(*command) as process:
        wait_until_ready(port, process)
        yield port


def wait_until_ready(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until the server has its model."""
    while process.poll() is None:
        try:
            if fetch(port, request_bytes("GET", "/ready", {})).status == 200:
                return
        except OSError:
            pass
    pytest.fail(f"the server ended with status {process.returncode}")


def without_number(text: str) -> tuple[int, str]:
    """The number of the generation that made a text, and the rest."""
    number, _, rest = text.partition(" ")
    assert number.startswith("#"), text[:80]
    return int(number[1:]), rest
