# SPDX-License-Identifier: MIT
"""What a GGUF file's metadata says of prompts and of the tokens that are chosen."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_llama import MODELS, SHIPPED

gguf = pytest.importorskip("gguf")

try:
    from burble import llama
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.timeout(120)

PROMPT = "ROMEO:"

Opened = Callable[..., "llama.Engine"]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """An engine of the shipped model with more in its file."""
    spec = importlib.util.spec_from_file_location("convert", MODELS / "convert.py")
    assert spec is not None
    assert spec.loader is not None
    convert: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(convert)
    write_tokenizer = convert.write_tokenizer

    def open_engine(add: Callable[[Any], None]) -> llama.Engine:
        def write(writer: Any, directory: Path) -> None:
            write_tokenizer(writer, directory)
            add(writer)

        monkeypatch.setattr(convert, "write_tokenizer", write)
        output = tmp_path / "changed.gguf"
        convert.write(MODELS / "shakespeare", output, half=True)
        return llama.Engine(output, threads=1, slots=1)

    return open_engine


def text(engine: llama.Engine, prompt: str = PROMPT, **options: Any) -> str:
    return "".join(engine.generate(prompt, max_new_tokens=30, **options))


def test_suppressed_tokens_are_never_chosen(opened: Opened) -> None:
    with llama.Engine(SHIPPED, threads=1) as plain:
        with plain.generate(PROMPT, max_new_tokens=30, logprobs=0) as stream:
            expected = "".join(stream)
            assert stream.logprobs is not None
            never = [stream.logprobs[0].id, stream.logprobs[3].id]

    def add(writer: Any) -> None:
        writer.add_array("tokenizer.ggml.suppress_tokens", never)

    with opened(add) as engine:
        for options in ({}, {"temperature": 1.0, "seed": 1}, {"json": True}):
            with engine.generate(PROMPT, max_new_tokens=30, logprobs=0, **options) as stream:
                assert "".join(stream) != expected
                assert stream.logprobs is not None
                assert not {token.id for token in stream.logprobs} & set(never)


def test_prompt_of_model_that_adds_eos_is_continued(opened: Opened) -> None:
    with llama.Engine(SHIPPED, threads=1) as plain:
        ids, expected = plain.tokenize(PROMPT), text(plain)

    def add(writer: Any) -> None:
        writer.add_add_eos_token(True)

    with opened(add) as engine:
        assert engine.tokenize(PROMPT) == ids
        assert text(engine) == expected


def test_each_end_of_generation_token_ends_text(opened: Opened) -> None:
    with llama.Engine(SHIPPED, threads=1) as plain:
        with plain.generate(PROMPT, max_new_tokens=30, logprobs=0) as stream:
            expected = "".join(stream)
            assert stream.logprobs is not None
            tokens = stream.logprobs
    end = tokens[5]

    def add(writer: Any) -> None:
        writer.add_eot_token_id(end.id)

    first = next(token for token in tokens if token.id == end.id)
    with opened(add) as engine, engine.generate(PROMPT, max_new_tokens=30) as stream:
        assert "".join(stream) == expected[: first.offset]
        assert stream.finish_reason == "eos"


def test_empty_text_is_continued_from_bos() -> None:
    """Also by a model that needs no BOS before other texts, as the shipped one."""
    with llama.Engine(SHIPPED, threads=1) as engine:
        assert engine.tokenize("") == []
        with engine.generate("", max_new_tokens=10) as stream:
            found = "".join(stream)
            assert stream.stats.prompt_tokens == 1
        with engine.generate([0], max_new_tokens=10) as stream:
            assert "".join(stream) == found != ""


def test_empty_text_without_bos_is_refused(opened: Opened) -> None:
    def remove(writer: Any) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.bos_token_id")

    with opened(remove) as engine:
        message = "prompt: expected at least 1 token, found none, and the model has no BOS"
        with pytest.raises(ValueError, match=message):
            engine.generate("")


def test_empty_prompt_with_bos_is_continued(opened: Opened) -> None:
    # (The converter has written add_bos_token as false, and a key may be there once.)
    def add(writer: Any) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.add_bos_token")
        writer.add_add_bos_token(True)

    with opened(add) as engine:
        assert len(engine.tokenize("")) == 1
        assert text(engine, "") != ""
