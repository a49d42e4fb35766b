# SPDX-License-Identifier: MIT
"""The detokenizer for Python."""

from __future__ import annotations

from typing import Any

from . import _core
from ._tokenizers import decoding_of


class Detokenizer(_core.Detokenizer):
    """Turns token ids into text, a few at a time, for one sequence.

    What ``push`` and ``finish`` return, joined, is what the tokenizer's own ``decode`` makes of all
    the ids at once. Text comes as early as that allows, at a constant cost per token.

    :param tokenizer: any tokenizer of transformers, or a ``tokenizers.Tokenizer``.
    :param skip_special_tokens: leave special tokens out, as ``decode`` does.

    One thread at a time. ``path`` says ``"compiled"`` where the tokenizer's rule runs in C, and
    ``"windowed"`` where the text comes from its own ``decode`` over a short window of ids.
    """

    def __init__(self, tokenizer: Any, *, skip_special_tokens: bool = False) -> None:
        source, skip = decoding_of(tokenizer, {"skip_special_tokens": skip_special_tokens})
        super().__init__(source, skip)
