# SPDX-License-Identifier: MIT
"""Streaming a tokenizer through its own ``decode``, over a short sliding window of ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Callable, NamedTuple

# How many ids of context the window keeps before the text that is new. A decoder looks at its
# neighbours (is this the first token? the same as the last one?), seldom further.
_CONTEXT = 16
# At how many ids the window is cut down to its context. So ids that come one by one cost the
# decoding of 24 on average, and of the context once in 16.
_LIMIT = 2 * _CONTEXT
# Where the window cannot be cut without changing its text, it may grow to this, and no further.
_HARD_LIMIT = 32 * _LIMIT
# To how many a run of one id is shortened where the ids at the end say nothing by themselves.
_RUN = 4

# What an incomplete character looks like until it is complete: one U+FFFD or, where a decoder
# replaces byte by byte, up to three, and one more for each byte token before it that was not shown
# (a space that is stripped, another U+FFFD).
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_INCOMPLETE = 8

# What transformers' clean_up_tokenization replaces, one after the other. Text that may be the
# beginning of one of these is not final; nor is an apostrophe, since the space that was cleaned
# away behind it is there again once a full stop follows.
_CLEANED_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
_BEGINNINGS = {"'", *(p[:n] for p in _CLEANED_UP for n in range(1, len(p)))}
_UNSETTLED = tuple(sorted(_BEGINNINGS, key=len, reverse=True))
# An apostrophe that comes of one replacement may complete another, as in " n ' t".
_PASSES = 2


class _State(NamedTuple):
    ids: list[int]
    shown: str  # the part of their text that was handed out
    limit: int  # at how many ids to cut


_EMPTY = _State([], "", _LIMIT)


class Window:
    """Text from a tokenizer whose rule is not known, a few ids at a time.

    :param decode: the tokenizer's own decode: a list of ids in, text out.
    :param dropped: ids that decode leaves out, so that they need not be in the window.
    :param special: the texts of special tokens that decode leaves out, by their ids.
    :param cleans_up: whether decode cleans up spaces, as transformers does for WordPiece.
    """

    __slots__ = ("_cleans_up", "_decode", "_dropped", "_special", "_state", "holds")

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        *,
        dropped: frozenset[int] = frozenset(),
        special: Mapping[int, str] = MappingProxyType({}),
        cleans_up: bool = False,
    ) -> None:
        self._decode = decode
        self._dropped = dropped
        self._special = special
        self._cleans_up = cleans_up
        self.reset()

    def reset(self) -> None:
        """Begin a new sequence."""
        self._state = _EMPTY
        self.holds = False  # whether some of it was held back

    def copy(self) -> Window:
        """Another one in the same state."""
        other = Window(
            self._decode, dropped=self._dropped, special=self._special, cleans_up=self._cleans_up
        )
        other._state = self._state
        other.holds = self.holds
        return other

    def stop_tokens(self, strings: tuple[str, ...]) -> list[tuple[int, int]]:
        """The id of each special token whose text is one of ``strings``, and which one."""
        return [(i, strings.index(text)) for i, text in self._special.items() if text in strings]

    def push(self, ids: list[int]) -> str:
        """Take the next ids; return the text that has become final."""
        new = [i for i in ids if i not in self._dropped]
        before = self._state, self.holds
        try:
            pieces = (new[i : i + _CONTEXT] for i in range(0, len(new), _CONTEXT))
            return "".join([self._take(piece) for piece in pieces])
        except BaseException:  # decode raised: then nothing has changed
            self._state, self.holds = before
            raise

    def finish(self) -> str:
        """End the sequence; return what was held back."""
        ids, shown, _ = self._state
        rest = self._decode(ids)[len(shown) :] if ids else ""
        self.reset()
        return rest

    def _take(self, new: list[int]) -> str:
        """Take a few ids, not more than the context."""
        ids, shown, limit = self._state
        ids = ids + new
        text = self._decode(ids)
        if text.endswith(_REPLACEMENT):
            if len(new) > 1:  # what was complete before the incomplete character?
                return "".join([self._take([i]) for i in new])
            if not text.startswith(shown) and len(ids) < _HARD_LIMIT:
                # A run of byte tokens is replaced as a whole while its last character is
                # incomplete.
                self._state = _State(ids, shown, limit)
                self.holds = True
                return ""
        final = max(len(shown), self._final(text))
        state = _State(ids, text[:final], limit)
        if len(ids) >= limit:
            state = self._cut(state, text[final:])
        self._state = state
        self.holds = final < len(text)
        return text[len(shown) : final]

    def _final(self, text: str) -> int:
        """How much of the window's text no later id can change."""
        final = len(text)
        if text.endswith(_REPLACEMENT):
            final = max(len(text.rstrip(_REPLACEMENT)), len(text) - _INCOMPLETE)
        if self._cleans_up:
            for _ in range(_PASSES):
                unsettled = (b for b in _UNSETTLED if text.endswith(b, 0, final))
                final -= len(next(unsettled, ""))
        return final

    def _cut(self, state: _State, held: str) -> _State:
        """Let go of what is not needed of the ids, if the rest still says the same."""
        text = state.shown + held
        for ids in _shortened(state.ids):
            shorter = self._decode(ids)
            # Its beginning may differ, having lost its own context. Its end must not: all that is
            # yet to be shown, and half of it in any case. And it must not be blank, or the next
            # text would be taken for the first.
            same = _common_end(text, shorter)
            if shorter.strip() and same >= len(held) and 2 * same >= len(shorter):
                return _State(ids, shorter[: len(shorter) - len(held)], max(_LIMIT, 2 * len(ids)))
        if len(state.ids) < _HARD_LIMIT:
            return state._replace(limit=2 * len(state.ids))
        ids = state.ids[:_CONTEXT] + state.ids[-_CONTEXT:]
        shorter = self._decode(ids)
        return _State(ids, shorter[: max(0, len(shorter) - len(held))], 2 * len(ids))


def _shortened(ids: list[int]) -> Iterator[list[int]]:
    """What might do instead of ``ids``, the best first."""
    # A character may take four ids, and only before its first one may be cut.
    for n in range(_CONTEXT, _CONTEXT + 4):
        yield ids[-n:]
    short = [i for _, run in groupby(ids) for i in list(run)[:_RUN]]
    if 4 * len(short) <= 3 * len(ids):
        yield short


def _common_end(a: str, b: str) -> int:
    """How many characters both end with."""
    n = 0
    for x, y in zip(reversed(a), reversed(b)):
        if x != y:
            break
        n += 1
    return n
