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
    """A stop string that was found."""

    which: int
    """Which of the stop strings, counted from 0."""
    text: str
    """That stop string."""
    begin: int
    """Where it begins, in characters from the beginning of the text."""
    end: int
    """Where it ends: ``begin + len(text)``."""


class Span(NamedTuple):
    """The tokens that a part of the text came from."""

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
    """Converts the token ids of one sequence to text, a few at a time.

    The results of ``push`` and ``finish``, joined, equal the tokenizer's own ``decode`` of all ids
    at once. Text is returned as early as that allows, at a constant cost per token.

    :param tokenizer: any tokenizer of transformers, a ``tokenizers.Tokenizer``, a tiktoken
        ``Encoding``, a ``SentencePieceProcessor``, a tokenizer of mistral-common; the path of a
        ``tokenizer.json``, a GGUF file, a tiktoken rank file, a SentencePiece model or a
        ``tekken.json``; or a list with the bytes of each token (None where there is none).
    :param skip_special_tokens: leave special tokens out, as ``decode`` does.
    :param stop: one or several stop strings, at which the text ends: at the first one that is
        complete; if several are complete at the same character, at the longest. They are found
        across token boundaries. The only text held back is the longest suffix with which a stop
        string could begin. If special tokens are left out, a stop string that is the text of such a
        token ends the text at that token.
    :param include_stop: whether the text includes the stop string.
    :param rewind: how many tokens :meth:`rewind` can go back, up to 65,536, in one call or in
        several calls without a ``push`` between them; it takes memory for that many states.
    :param offsets: whether to record which tokens text came from; see :attr:`offsets`.

    After a stop string, ``push`` returns ``""``, and :attr:`stopped` is the stop string.

    One thread at a time. ``path`` is ``"compiled"`` if the tokenizer's rule runs in C, and
    ``"windowed"`` if the text comes from the tokenizer's ``decode`` over a short window of ids.
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
        """The stop string that was found; None: none yet. ``finish`` may find one, too. It stays
        until the next ``push``."""
        match = self._match
        return None if match is None else StopMatch(*match)

    @property
    def offsets(self) -> list[Span]:
        """The tokens that the text of the last ``push`` or ``finish`` came from: in order and
        without gaps, even if text was held back for stop strings.

        On the compiled path, a character has the tokens that its bytes came from. On the windowed
        path, text has the token with which it became final, and the tokens before it while their
        text was held back. Raises RuntimeError without ``offsets=True``.
        """
        return [Span(*span) for span in self._offsets]

    def copy(self: D) -> D:
        """Return an independent detokenizer of the same class and in the same state, including its
        stop strings, the states for :meth:`rewind`, and attributes that were set on it."""
        other = super().copy()
        other.__dict__.update(self.__dict__)
        return other

    def __copy__(self: D) -> D:
        return self.copy()

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        return self.copy()
