# SPDX-License-Identifier: MIT
"""The shipped model's tokenizer, and the ids of texts, for tests that need no model."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

MODEL = Path(__file__).resolve().parents[2] / "models" / "shakespeare"


@functools.cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


@functools.cache
def ids(text: str) -> list[int]:
    found: list[int] = tokenizer().encode(text).ids
    return found


def speak(streamer: Any, text: str) -> None:
    """As a model does: token by token."""
    for token in ids(text):
        streamer.put([token])
