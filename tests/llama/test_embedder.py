# SPDX-License-Identifier: MIT
"""burble.llama.Embedder: vectors of texts are those of transformers. And burble.llama.memory."""

from __future__ import annotations

import gc
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_llama import PROMPTS, SHIPPED
from test_llama import model as model  # fixtures
from test_llama import tokenizer as tokenizer

import burble

try:
    from burble import llama
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def embedder() -> Iterator[llama.Embedder]:
    with llama.Embedder(SHIPPED, threads=1) as embedder:
        yield embedder


def cosine(a: Any, b: Any) -> float:
    size = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return float(sum(x * y for x, y in zip(a, b)) / size)


def vector_of(model: Any, tokenizer: Any, text: str, pooling: str) -> list[float]:
    """What transformers' last hidden states are pooled to."""
    ids = tokenizer(text, return_tensors="pt")
    states = model(**ids, output_hidden_states=True).hidden_states[-1][0].detach()
    pooled = {"mean": states.mean(0), "first": states[0], "last": states[-1]}[pooling]
    return [float(x) for x in pooled]


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_vector_equals_that_of_transformers(pooling: str, model: Any, tokenizer: Any) -> None:
    with llama.Embedder(SHIPPED, threads=1, pooling=pooling) as embedder:
        for text, found in zip(PROMPTS, embedder.embed(PROMPTS)):
            assert len(found) == embedder.length == 192
            assert math.isclose(sum(x * x for x in found), 1, rel_tol=1e-5)
            assert cosine(found, vector_of(model, tokenizer, text, pooling)) >= 0.999, text


def test_default_pooling_is_mean(embedder: llama.Embedder) -> None:
    with llama.Embedder(SHIPPED, threads=1, pooling="mean") as other:
        assert cosine(embedder.embed(["ROMEO:"])[0], other.embed(["ROMEO:"])[0]) > 0.9999


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", ""], ValueError, "text 1: expected 1 to 512 tokens, found none"),
        (["a " * 5000], ValueError, "text 0: expected 1 to 512 tokens, found more"),
        (["a", b"a"], TypeError, "text 1: expected a str, found bytes"),
        (["\ud800"], UnicodeEncodeError, "surrogates"),
        ("a", TypeError, "expected several texts, found a str"),
    ],
)
def test_invalid_texts_are_refused(
    embedder: llama.Embedder, texts: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        embedder.embed(texts)
    assert embedder.embed([]) == []


def test_invalid_embedder_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pooling"):
        llama.Embedder(SHIPPED, pooling="median")
    with pytest.raises(ValueError, match="context: expected 2 to 512"):
        llama.Embedder(SHIPPED, context=513)
    with pytest.raises(FileNotFoundError):
        llama.Embedder(tmp_path / "none.gguf")


def test_closed_embedder_raises(embedder: llama.Embedder) -> None:
    embedder.close()
    embedder.close()
    assert embedder.closed
    assert "closed" in repr(embedder)
    with pytest.raises(burble.Error, match="the embedder is closed"):
        embedder.embed(["a"])


def test_close_ends_call_of_another_thread(embedder: llama.Embedder) -> None:
    errors: list[BaseException] = []
    began = threading.Event()

    def embed() -> None:
        try:
            while True:
                embedder.embed(PROMPTS * 20)
                began.set()
        except burble.Error as error:
            errors.append(error)

    thread = threading.Thread(target=embed)
    thread.start()
    began.wait()
    embedder.close()
    thread.join()
    assert len(errors) == 1


def test_ctrl_c_ends_call_and_no_other(embedder: llama.Embedder) -> None:
    """In the middle of a computation of minutes, beside a call that goes on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(embedder.embed(PROMPTS * 20)))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    try:
        other.start()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            embedder.embed(["ROMEO: " * 100] * 20000)
        ended = time.monotonic()
        other.join()
        assert found == [embedder.embed(PROMPTS * 20)]
        assert time.monotonic() - ended < 60
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_signal_handler_may_close_embedder(embedder: llama.Embedder) -> None:
    before = signal.signal(signal.SIGINT, lambda *_: embedder.close())
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        with pytest.raises(burble.Error, match="the embedder is closed"):
            embedder.embed(["ROMEO: " * 100] * 20000)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_embedder_in_forked_child_is_closed(embedder: llama.Embedder) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert embedder.closed
            embedder.embed(["a"])
        except burble.Error:
            embedder.close()
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert len(embedder.embed(["a"])) == 1


# ---- memory ------------------------------------------------------------------------------------


def test_memory_is_that_of_slots_and_cache_type() -> None:
    one = llama.memory(SHIPPED, slots=1, context=512, batch=64)
    four = llama.memory(SHIPPED, slots=4, context=512, batch=64)
    exact = llama.memory(SHIPPED, slots=4, context=512, batch=64, cache_k="f32", cache_v="f32")
    size = os.path.getsize(SHIPPED)
    assert 0.9 * size < one.weights < size
    assert four.cache == pytest.approx(4 * one.cache, rel=0.01)
    assert exact.cache == pytest.approx(2 * four.cache, rel=0.01)
    assert one.compute > 0
    assert one.available is None or one.available > 0


def test_memory_of_invalid_options_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="slots: expected 1 to 256, found 257"):
        llama.memory(SHIPPED, slots=257)
    with pytest.raises(ValueError, match="cache_k: expected f16, f32 or bf16"):
        llama.memory(SHIPPED, cache_k="q8_0")
    with pytest.raises(FileNotFoundError):
        llama.memory(tmp_path / "none.gguf")
