# SPDX-License-Identifier: MIT
"""How early text is handed out: for every kind of decoder, no later than by others that are right.

The others are the tokenizers library's ``DecodeStream`` and vLLM's rule of prefix and read offsets.
The counts do not depend on the machine; docs/performance.md has the table, which is checked here.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, SAMPLE_TEXT, SHARED_FAMILIES
from test_exactness import ACROSS, FAMILIES, PANICS, subject

import burble

tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.no_asan

PAGE = ROOT / "docs" / "performance.md"


class PrefixAndReadOffsets:
    """vLLM's rule (detokenize_incrementally in vllm/transformers_utils/detokenizer_utils.py): the
    text of the ids from the prefix offset on, less the text of those before the read offset."""

    def __init__(self, backend: Any) -> None:
        self._decode = functools.partial(backend.decode, skip_special_tokens=False)
        self._ids: list[int] = []
        self._prefix = 0
        self._read = 0

    def push(self, i: int) -> str:
        self._ids.append(i)
        before = self._decode(self._ids[self._prefix : self._read])
        after = self._decode(self._ids[self._prefix :])
        if len(after) <= len(before) or after.endswith("\ufffd"):
            return ""
        self._prefix, self._read = self._read, len(self._ids)
        return str(after[len(before) :])


class InvalidPrefix(Exception):
    """DecodeStream gave up: the text that it has handed out is not what decode returns."""


class DecodeStream:
    """That of the tokenizers library."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._stream = tokenizers.decoders.DecodeStream(skip_special_tokens=False)

    def push(self, i: int) -> str:
        try:
            return self._stream.step(self._backend, i) or ""
        except Exception as error:
            if "Invalid prefix" not in str(error):
                raise
            raise InvalidPrefix from error


class Held(NamedTuple):
    """Characters held back after each id, on average; None for text that decode does not return."""

    burble: float
    decode_stream: float | None
    offsets: float | None


@functools.cache
def held_back(name: str) -> Held:
    """Count what each holds back of the sample text, by the tokenizer of this name."""
    backend = subject(name).backend
    ids = backend.encode(SAMPLE_TEXT).ids
    whole = backend.decode(ids, skip_special_tokens=False)
    # How many characters the ids so far determine. (In a run of byte tokens, an incomplete
    # character makes decode return less than before, until it is complete.)
    determined: list[int] = []
    for n in range(1, len(ids) + 1):
        so_far = backend.decode(ids[:n], skip_special_tokens=False)
        while not whole.startswith(so_far):
            so_far = so_far[:-1]
        determined.append(max([len(so_far), *determined[-1:]]))

    def count(push: Callable[[int], str]) -> float | None:
        text, held = "", 0
        try:
            for i, n in zip(ids, determined):
                text += push(i)
                held += n - len(text)
        except InvalidPrefix:
            return None
        return held / len(ids) if whole.startswith(text) else None

    own = count(burble.Detokenizer(backend, skip_special_tokens=False).push)
    assert own is not None
    return Held(own, count(DecodeStream(backend).push), count(PrefixAndReadOffsets(backend).push))


NAMES = [*(name for name in FAMILIES if name != PANICS), *SHARED_FAMILIES]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ACROSS])
def test_detokenizer_holds_back_no_more_than_peers(name: str) -> None:
    found = held_back(name)
    for theirs in (found.decode_stream, found.offsets):
        assert theirs is None or found.burble <= theirs


@pytest.mark.parametrize("name", SHARED_FAMILIES)
def test_decode_stream_is_correct_for_real_tokenizers(name: str) -> None:
    assert held_back(name).decode_stream is not None


@pytest.mark.parametrize("name", ACROSS)
def test_peers_fail_if_tokens_are_replaced_together(name: str) -> None:
    """They hold nothing back, and are the earlier for it."""
    backend = subject(name).backend
    ids = [backend.token_to_id(token) for token in "aba"]
    whole = backend.decode(ids)
    detokenizer = burble.Detokenizer(backend)
    assert "".join(map(detokenizer.push, ids)) + detokenizer.finish() == whole
    assert not whole.startswith("".join(map(PrefixAndReadOffsets(backend).push, ids)))
    with contextlib.suppress(InvalidPrefix):
        assert not whole.startswith("".join(map(DecodeStream(backend).push, ids)))


@pytest.mark.parametrize("name", NAMES)
def test_page_table_equals_counts(name: str) -> None:
    found = ["wrong" if held is None else f"{held:.3f}" for held in held_back(name)]
    row = f"| {name} | {' | '.join(found)} |"
    assert row in PAGE.read_text(encoding="utf-8").splitlines()
