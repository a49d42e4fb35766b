# SPDX-License-Identifier: MIT
"""Streaming a tokenizer through its own ``decode``, over a short sliding window of ids."""

from __future__ import annotations

from itertools import takewhile
from typing import Callable

# How many ids of context the window keeps before the text that is new. A decoder looks at its
# neighbours (is this the first token? the same as the last one?), seldom further.
_CONTEXT = 16
# At how many ids the window is cut down to its context, so that a push decodes 24 of them on
# average.
_LIMIT = 2 * _CONTEXT
# Where the window cannot be cut without changing its text, it may grow to this, and no further.
_HARD_LIMIT = 32 * _LIMIT

# What an incomplete character looks like until it is complete: one U+FFFD or, where a decoder
# replaces byte by byte, up to three.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_INCOMPLETE = 3

# What transformers' clean_up_tokenization replaces. Text that may be the beginning of one of these
# is not final.
_CLEANED_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
_UNSETTLED = tuple(sorted({p[:n] for p in _CLEANED_UP for n in range(1, len(p))}, key=len)[::-1])


def _equal(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


class Window:
    """Text from a tokenizer whose rule is not known, a few ids at a time.

    :param decode: the tokenizer's own decode: a list of ids in, text out.
    :param dropped: ids that decode leaves out, so that they need not be in the window.
    :param cleans_up: whether decode cleans up spaces, as transformers does for WordPiece.
    """

    __slots__ = ("_cleans_up", "_decode", "_dropped", "_ids", "_limit", "_shown", "holds")

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        *,
        dropped: frozenset[int] = frozenset(),
        cleans_up: bool = False,
    ) -> None:
        self._decode = decode
        self._dropped = dropped
        self._cleans_up = cleans_up
        self.reset()

    def reset(self) -> None:
        """Begin a new sequence."""
        self._ids: list[int] = []
        self._shown = 0  # how many characters of the window's text were handed out
        self._limit = _LIMIT
        self.holds = False  # whether some of it was held back

    def push(self, ids: list[int]) -> str:
        """Take the next ids; return the text that has become final."""
        window = self._ids + [i for i in ids if i not in self._dropped]
        if len(window) == len(self._ids):
            return ""
        text = self._decode(window)  # may raise: then nothing has changed
        self._ids = window
        final = self._final(text)
        self.holds = final < len(text)
        new = text[self._shown : final]
        self._shown = max(self._shown, final)
        if len(window) >= self._limit:
            self._cut(text)
        return new

    def finish(self) -> str:
        """End the sequence; return what was held back."""
        rest = self._decode(self._ids)[self._shown :] if self._ids else ""
        self.reset()
        return rest

    def _final(self, text: str) -> int:
        """How much of the window's text no later id can change."""
        final = len(text)
        if text.endswith(_REPLACEMENT):
            final = max(len(text.rstrip(_REPLACEMENT)), len(text) - _INCOMPLETE)
        if self._cleans_up:
            for beginning in _UNSETTLED:
                if text.endswith(beginning, 0, final):
                    return final - len(beginning)
        return final

    def _cut(self, text: str) -> None:
        """Let go of the oldest ids, if the rest still says the same."""
        ids = self._ids[-_CONTEXT:]
        shorter = self._decode(ids)
        unshown = len(text) - self._shown
        # Its beginning may differ, having lost its own context. Its end must not: all that is yet
        # to be shown, and half of it in any case.
        same = sum(1 for _ in takewhile(_equal, zip(reversed(text), reversed(shorter))))
        if shorter.strip() and same >= unshown and 2 * same >= len(shorter):
            self._ids = ids
            self._shown = len(shorter) - unshown
            self._limit = _LIMIT
        elif len(self._ids) < _HARD_LIMIT:
            self._limit = 2 * len(self._ids)
        else:
            self._ids = ids
            self._shown = max(0, len(shorter) - unshown)
            self._limit = _LIMIT
