# SPDX-License-Identifier: MIT
"""What a type checker makes of a program that uses burble."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_asan

pytest.importorskip("mypy")

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


def test_a_strict_checker_knows_what_is_read(tmp_path: Path) -> None:
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
