# SPDX-License-Identifier: MIT
"""The options of burble.llama.Engine: each works or is refused, as docs/python/options.md says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_llama import SHIPPED

import burble

try:
    from burble import llama
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
import option_table

pytestmark = pytest.mark.timeout(120)

SPECIAL = "<|endoftext|>"


@pytest.fixture(scope="module")
def engine() -> Iterator[llama.Engine]:
    with llama.Engine(SHIPPED, threads=1) as engine:
        yield engine


@pytest.mark.parametrize("option", option_table.OPTIONS)
def test_option_of_engine_works_or_is_refused(option: str, engine: llama.Engine) -> None:
    way = option_table.Way("`Engine.generate`", option_table.engine(engine), is_engine=True)
    option_table.check_cell(option, way)


def sampled(engine: llama.Engine, seed: int, **options: Any) -> burble.Stream[str]:
    return engine.generate(
        "Exeunt.\n\n", temperature=1.5, seed=seed, max_new_tokens=200, keep="all", **options
    )


@pytest.fixture(scope="module")
def seed(engine: llama.Engine) -> int:
    """One with which a text comes to the model's own end."""
    for seed in range(200):
        stream = sampled(engine, seed)
        if "".join(stream) and stream.finish_reason == "eos":
            return seed
    pytest.skip("no seed of 200 leads to the model's end")


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("chunk", ["token", "word"])
def test_stop_string_of_special_token_ends_text_at_that_token(
    engine: llama.Engine, seed: int, include: bool, skips: bool, chunk: Any
) -> None:
    """The token is the model's own end, which no prompt is needed for: it is met as a stop string
    before it is an end, and also where ends are ignored."""
    options: dict[str, Any] = {"skip_special_tokens": skips, "chunk": chunk}
    plain = sampled(engine, seed, **options)
    text = "".join(plain).removesuffix(SPECIAL)
    for more in ({}, {"ignore_eos": True}):
        stream = sampled(
            engine, seed, stop=["\x00", SPECIAL], include_stop=include, **options, **more
        )
        assert "".join(stream) == text + SPECIAL * include
        assert stream.finish_reason == "stop"
        assert stream.stopped == (1, SPECIAL, len(text), len(text) + len(SPECIAL))
        assert stream.stats.tokens == plain.stats.tokens
