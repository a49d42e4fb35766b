# SPDX-License-Identifier: MIT
"""The examples in C: each event loop prints what `burble run` prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from test_run import MODEL, command, environment, succeed

pytestmark = pytest.mark.timeout(120)

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "c"
# (The server has tests of its own: tests/serve/test_own_engine.py.)
SOURCES = [path for path in sorted(FOLDER.glob("*.c")) if path.stem != "serve_own_engine"]
TOKENS = "64"  # what the examples generate


def run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    program = Path(command()).parents[1] / "examples" / "c" / name
    if not program.exists():
        pytest.skip(f"{name} was not built: the library of its loop is missing")
    return subprocess.run(
        [program, *args], capture_output=True, text=True, env=environment(), timeout=100
    )


def output(name: str, *args: str) -> str:
    done = run(name, *args)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("prompt", ["ROMEO:", "The king"])
@pytest.mark.parametrize("loop", ["epoll", "glib", "libevent", "libuv"])
def test_loop_example_prints_text(loop: str, prompt: str) -> None:
    assert output(f"loop_{loop}", MODEL, prompt) == succeed("-p", prompt, "-n", TOKENS)


def test_loop_example_with_two_prompts_prints_lines_as_they_come() -> None:
    prompts = ("ROMEO:", "The king")
    lines = output("two_prompts", MODEL, *prompts).splitlines()
    for i, prompt in enumerate(prompts, 1):
        mine = [line[3:] for line in lines if line.startswith(f"{i}| ")]
        assert "\n".join(mine) == succeed("-p", prompt, "-n", TOKENS)
    owners = [line[0] for line in lines]
    assert owners != sorted(owners)


def test_loop_example_with_error_prints_it() -> None:
    for source in SOURCES:
        assert run(source.stem).returncode == 2
        prompts = ["a"] * (2 if source.stem == "two_prompts" else 1)
        done = run(source.stem, "/nowhere.gguf", *prompts)
        assert done.returncode == 1
        assert "/nowhere.gguf: No such file or directory" in done.stderr


def test_loop_example_fits_a_page() -> None:
    assert len(SOURCES) == 5
    for source in SOURCES:
        assert len(source.read_text().splitlines()) < 100, source
