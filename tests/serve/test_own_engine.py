# SPDX-License-Identifier: MIT
"""The example of an engine of one's own: a server in C with libburble-serve alone."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "c" / "serve_own_engine.c"
NUMBERS = os.environ.get("BURBLE_TEST_NUMBERS", ROOT / "build/plain/tests/serve/numbers_server")
PROGRAM = Path(NUMBERS).parents[2] / "examples" / "c" / "serve_own_engine"  # of the same build
LONG = 60.0

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} was not built: a library of the server is missing")
    with subprocess.Popen(
        [PROGRAM, "0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(":")[2])
            process.terminate()
            process.communicate(timeout=LONG)
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_example_is_cpp_too() -> None:
    flags = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only")
    words = ["c++", "-x", "c++", *flags, f"-I{ROOT / 'include'}", SOURCE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stderr


def ask(port: int, **members: Any) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    body = json.dumps({"model": "counter", "prompt": "", **members})
    connection.request("POST", "/v1/completions", body)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_engine_of_example_answers(port: int) -> None:
    status, text = ask(port, max_tokens=4)
    answer = json.loads(text)
    assert (status, answer["choices"][0]["text"]) == (200, "1 2 3 4 ")
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 4


def test_engine_of_example_streams(port: int) -> None:
    status, text = ask(port, max_tokens=3, stream=True)
    assert status == 200
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    pieces = [choice["text"] for line in data[:-1] for choice in json.loads(line)["choices"]]
    assert "".join(pieces) == "1 2 3 "


def test_parameter_that_engine_of_example_lacks_is_refused(port: int) -> None:
    status, text = ask(port, temperature=0.5)
    assert (status, json.loads(text)["error"]["param"]) == (400, "temperature")


def test_source_of_example_fits_a_page() -> None:
    assert len(SOURCE.read_text().splitlines()) < 100
