# SPDX-License-Identifier: MIT
"""The detokenizer for Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar, Union

from . import _core
from ._tokenizers import decoding_of, enders_of

Stop = Union[str, Iterable[str], None]
D = TypeVar("D", bound="Detokenizer")


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


class Span(NamedTuple):
    """Where a part of the text came from."""

    begin: int
    """Where it begins, in characters of the text that was returned last."""
    end: int
    """Where it ends: the part is ``text[begin:end]``."""
    first: int
    """The first token that it came from, counted from 0 over all ids pushed and primed."""
    last: int
    """The last one, itself included."""


def stop_strings(stop: Stop) -> tuple[str, ...]:
    """The stop strings of a ``stop`` argument."""
    if stop is None:
        return ()
    if isinstance(stop, str):
        return (stop,)
    if not isinstance(stop, Iterable):
        raise TypeError(f"stop: expected a str, or any number of them, found {type(stop).__name__}")
    strings = tuple(stop)
    for i, string in enumerate(strings):
        if not isinstance(string, str):
            raise TypeError(
                f"stop string {i + 1} of {len(strings)}: expected a str, found "
                f"{type(string).__name__}"
            )
    return strings


class Detokenizer(_core.Detokenizer):
    """Turns token ids into text, a few at a time, for one sequence.

    What ``push`` and ``finish`` return, joined, is what the tokenizer's own ``decode`` makes of all
    the ids at once. Text comes as early as that allows, at a constant cost per token.

    :param tokenizer: any tokenizer of transformers, a ``tokenizers.Tokenizer``, a tiktoken
        ``Encoding``, a ``SentencePieceProcessor``, a tokenizer of mistral-common; the path of a
        ``tokenizer.json``, a GGUF file, a tiktoken rank file, a SentencePiece model or a
        ``tekken.json``; or a list with the bytes of each token (None where there is none).
    :param skip_special_tokens: leave special tokens out, as ``decode`` does.
    :param stop: a string, or any number of them, with which the text ends: the one that is complete
        first, and of those that are complete with the same character the longest. They are met
        wherever tokens begin and end. No more text is held back for them than the longest end of it
        with which one of them could begin. Where special tokens are left out, one that is the text
        of such a token is met at that token.
    :param include_stop: whether the text ends with the stop string or before it.
    :param rewind: how many tokens :meth:`rewind` can go back, up to 65,536, in one call or in
        several without a ``push`` in between; it costs the memory of so many states.
    :param offsets: whether to know where text came from; see :attr:`offsets`.

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
        rewind: int = 0,
        offsets: bool = False,
    ) -> None:
        source, skip = decoding_of(tokenizer, {"skip_special_tokens": skip_special_tokens})
        strings = stop_strings(stop)
        enders = enders_of(source, skip, strings)
        super().__init__(source, skip, strings, include_stop, rewind, offsets, enders)

    @property
    def stopped(self) -> StopMatch | None:
        """The stop string that was met; None: none yet. Stays after ``finish``, which may meet one,
        too, until the next ``push``."""
        match = self._match
        return None if match is None else StopMatch(*match)

    @property
    def offsets(self) -> list[Span]:
        """Where the text came from that ``push`` or ``finish`` returned last: in order and without
        gaps, also behind stop strings.

        On the compiled path, a character has the tokens that its bytes came from. On the windowed
        path, text has the token with which it became final, and those before it as long as they
        had left something held back. Raises RuntimeError without ``offsets=True``.
        """
        return [Span(*span) for span in self._offsets]

    def copy(self: D) -> D:
        """A detokenizer of the same class and in the same state, independent from now on: its stop
        strings, how far it can go back and the attributes that were set on it included."""
        other = super().copy()
        other.__dict__.update(self.__dict__)
        return other

    def __copy__(self: D) -> D:
        return self.copy()

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        return self.copy()
