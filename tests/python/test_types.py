# SPDX-License-Identifier: MIT
"""What a type checker makes of a program that uses burble."""

from __future__ import annotations

import inspect
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import burble

pytest.importorskip("mypy")
pytestmark = pytest.mark.no_asan

PROGRAM = """
from collections.abc import Iterator
from typing import Any

from typing_extensions import assert_type

import burble


def numbers() -> Iterator[int]:
    yield 1


async def main(model: Any, tokenizer: Any, ids: list[int], inputs: dict[str, Any]) -> None:
    stream = burble.stream(model.generate, ids, tokenizer=tokenizer, max_new_tokens=3)
    assert_type(stream, burble.Stream[str])
    async with stream as entered:
        async for text in entered:
            assert_type(text, str)
    batch = burble.stream(model.generate, **inputs, tokenizer=tokenizer, batch=2)
    assert_type(batch, burble.BatchStream)
    async for row, text in batch:
        assert_type(row, int)
    assert_type(burble.iterate(numbers()), burble.Stream[int])
    assert_type(burble.iterate(numbers), burble.Stream[int])
    pool = burble.Pool()
    assert_type(pool.stream(model.generate, ids, tokenizer=tokenizer), burble.Stream[str])
    assert_type(pool.stream(model.generate, ids, tokenizer=tokenizer, batch=2), burble.BatchStream)
    assert_type(pool.iterate(numbers()), burble.Stream[int])
    annotated: burble.Stream[str] = burble.stream(model.generate, **inputs, tokenizer=tokenizer)
    for text in annotated:
        assert_type(text, str)
"""


def test_types_of_read_values_pass_strict_checker(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", program],  # strict, as pyproject.toml says
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr


WRONG = """
import burble

burble.channel(keep=1.5)
burble.channel(lag_units="tokens")
burble.channel(join_timeout=1.0)
burble.iterate([1], lag_unit="tokens")
burble.iterate([1], total_timeout="1")
burble.BatchStreamer(None, 2, coalesce="yes")
burble.stream(print, tokenizer=None, max_lag="all")
burble.stream(print, tokenizer=None, batch=2, max_lag="all")
"""


def test_strict_checker_refuses_wrong_stream_options(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", program],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parents[2],
    )
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert lines == set(range(4, 12)), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("function", "left_out", "defaults"),
    [
        (burble.stream, set(), {}),
        (burble.iterate, {"lag_unit"}, {"max_lag": 1024}),
        (burble.channel, {"join_timeout"}, {}),
        (burble.BatchStreamer, {"join_timeout"}, {}),
    ],
)
def test_signature_shows_each_stream_option_with_its_default(
    function: Any, left_out: set[str], defaults: dict[str, Any]
) -> None:
    every = {
        "keep": None,
        "max_lag": 1_048_576,
        "lag_unit": "characters",
        "coalesce": False,
        "interval": None,
        "first_token_timeout": None,
        "token_timeout": None,
        "total_timeout": None,
        "join_timeout": 10.0,
        **defaults,
    }
    parameters = inspect.signature(function).parameters
    shown = {name: parameters[name].default for name in every if name in parameters}
    assert shown == {name: value for name, value in every.items() if name not in left_out}
    assert "given" not in parameters


@pytest.mark.parametrize("call", [burble.channel, partial(burble.iterate, [1])])
def test_option_that_a_function_does_not_take_is_refused(call: Any) -> None:
    with pytest.raises(TypeError, match=r"\(\) got an unexpected keyword argument 'lag_units'"):
        call(lag_units="tokens")
