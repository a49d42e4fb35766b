# SPDX-License-Identifier: MIT
"""The detokenizer for Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Union

from . import _core
from ._tokenizers import decoding_of

Stop = Union[str, Iterable[str], None]


class StopMatch(NamedTuple):
    """A stop string that was met."""

    which: int
    """Which of the stop strings, counted from 0."""
    text: str
    """That stop string."""
    begin: int
    """Where it begins, in characters from the beginning of the text."""
    end: int
    """Where it ends: ``begin + len(text)``."""


def stop_strings(stop: Stop) -> tuple[str, ...]:
    """The stop strings of a ``stop`` argument."""
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


class Detokenizer(_core.Detokenizer):
    """Turns token ids into text, a few at a time, for one sequence.

    What ``push`` and ``finish`` return, joined, is what the tokenizer's own ``decode`` makes of all
    the ids at once. Text comes as early as that allows, at a constant cost per token.

    :param tokenizer: any tokenizer of transformers, or a ``tokenizers.Tokenizer``.
    :param skip_special_tokens: leave special tokens out, as ``decode`` does.
    :param stop: a string, or any number of them, with which the text ends: the one that is complete
        first, and of those that are complete with the same character the longest. They are met
        wherever tokens begin and end. No more text is held back for them than the longest end of it
        with which one of them could begin.
    :param include_stop: whether the text ends with the stop string or before it.

    Once a stop string was met, ``push`` returns ``""``, and :attr:`stopped` says which.

    One thread at a time. ``path`` says ``"compiled"`` where the tokenizer's rule runs in C, and
    ``"windowed"`` where the text comes from its own ``decode`` over a short window of ids.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        skip_special_tokens: bool = False,
        stop: Stop = (),
        include_stop: bool = False,
    ) -> None:
        source, skip = decoding_of(tokenizer, {"skip_special_tokens": skip_special_tokens})
        super().__init__(source, skip, stop_strings(stop), include_stop)

    @property
    def stopped(self) -> StopMatch | None:
        """The stop string that was met; None: none yet. Stays after ``finish``, which may meet one,
        too, until the next ``push``."""
        match = self._match
        return None if match is None else StopMatch(*match)
