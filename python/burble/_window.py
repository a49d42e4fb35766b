# SPDX-License-Identifier: MIT
"""Streaming a tokenizer through its own ``decode``, over a short sliding window of ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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
# In how many random orders ids are tried behind a window that was cut; see _marks.
_ORDERS = 2
# With how many punctuation marks a decoder is tried for what it takes back.
_LOOKED_AT = 48
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


# What marks a word's parts in vocabularies; punctuation is no longer than this.
_END_OF_WORD = re.compile(r"</w>$|^##|@@$")
_MARK = 4


class _State(NamedTuple):
    ids: list[int]
    shown: str  # the part of their text that was returned
    limit: int  # at how many ids to cut
    marks: tuple[int, ...]  # of the ids, those that are only there for what the decoder counts


_EMPTY = _State([], "", _LIMIT, ())


class Window:
    """Text from a tokenizer whose rule is not known, a few ids at a time.

    :param decode: the tokenizer's own decode: a list of ids in, text out.
    :param dropped: ids that decode leaves out, so that they need not be in the window.
    :param special: the texts of special tokens that decode leaves out, by their ids.
    :param cleans_up: whether decode cleans up spaces, as transformers does for WordPiece.
    :param counts: whether decode may count something over the whole text.
    :param late: whether an id can change the text of the one before it, which is held back then.

    A decoder may count something over the whole text, as that of Moses does with quotation marks.
    So the window is cut only where its ids would become the same text once more behind what is left
    of it. Where they would not, those that make the difference stay at its beginning.
    """

    __slots__ = (
        "_cleans_up",
        "_counts",
        "_decode",
        "_dropped",
        "_late",
        "_special",
        "_state",
        "holds",
    )

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        *,
        dropped: frozenset[int] = frozenset(),
        special: Mapping[int, str] = MappingProxyType({}),
        cleans_up: bool = False,
        counts: bool = False,
        late: bool = False,
    ) -> None:
        self._decode = decode
        self._counts = counts
        self._late = late
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
            self._decode,
            dropped=self._dropped,
            special=self._special,
            cleans_up=self._cleans_up,
            counts=self._counts,
            late=self._late,
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
        ids, shown, _, _ = self._state
        rest = self._decode(ids)[len(shown) :] if ids else ""
        self.reset()
        return rest

    def _take(self, new: list[int]) -> str:
        """Take a few ids, not more than the context."""
        ids, shown, limit, marks = self._state
        ids = ids + new
        text = self._decode(ids)
        if text.endswith(_REPLACEMENT):
            if len(new) > 1:  # what was complete before the incomplete character?
                return "".join([self._take([i]) for i in new])
            if not text.startswith(shown) and len(ids) < _HARD_LIMIT:
                # A run of byte tokens is replaced as a whole while its last character is
                # incomplete.
                self._state = _State(ids, shown, limit, marks)
                self.holds = True
                return ""
        final = self._final(text)
        if self._late:
            final = min(final, _common_begin(text, self._decode(ids[:-1])))
        final = max(len(shown), final)
        state = _State(ids, text[:final], limit, marks)
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
        for ids in _shortened(state.ids[len(state.marks) :]):
            marks = self._marks(state, ids, text)
            if marks is None:
                continue
            ids = [*marks, *ids]
            shorter = self._decode(ids)
            # Its beginning may differ, having lost its own context. Its end must not: all that is
            # yet to be shown, and half of it in any case. And it must not be blank, or the next
            # text would be taken for the first.
            same = _common_end(text, shorter)
            if shorter.strip() and same >= len(held) and 2 * same >= len(shorter):
                shown = shorter[: len(shorter) - len(held)]
                return _State(ids, shown, max(_LIMIT, 2 * len(ids)), marks)
        if len(state.ids) < _HARD_LIMIT:
            return state._replace(limit=2 * len(state.ids))
        ids = state.ids[:_CONTEXT] + state.ids[-_CONTEXT:]
        shorter = self._decode(ids)
        return _State(ids, shorter[: max(0, len(shorter) - len(held))], 2 * len(ids), ())

    def _marks(self, state: _State, ids: list[int], text: str) -> tuple[int, ...] | None:
        """What has to stand before ``ids`` so that what follows becomes the same text behind them
        as behind all ids of the window; None where nothing helps."""
        if not self._counts:
            return ()
        # What a decoder counts in these ids, it counts in them again; in several orders, as some
        # have another meaning after one id than after another (such as in the middle of a word).
        once = [*dict.fromkeys(state.ids)]
        import random  # as in _tokenizers.py

        rng = random.Random(len(once))
        orders = [once, once[::-1], *(rng.sample(once, len(once)) for _ in range(_ORDERS))]

        def will_do(marks: Iterable[int]) -> bool:
            shorter = [*marks, *ids]
            return all(self._same_behind(state.ids, shorter, again, text) for again in orders)

        for marks in dict.fromkeys(((), state.marks)):
            if will_do(marks):
                return marks
        words = [i for i in once if self._decode([i]).strip().isalnum()] or ids[-1:]
        found: list[int] = []
        for i in once:
            # Between words, behind one and behind another.
            tries = ([words[0], i, words[-1]], [words[-1], i, words[0]])
            shorter = [*found, *ids]
            if i not in words and not all(
                self._same_behind(state.ids, shorter, following, text) for following in tries
            ):
                found.append(i)
                if len(found) == _CONTEXT // 2:
                    break
        return tuple(found) if will_do(found) else None

    def _same_behind(
        self, ids: list[int], shorter: list[int], following: list[int], text: str
    ) -> bool:
        longer = self._decode([*ids, *following])
        same = _common_end(longer, self._decode([*shorter, *following]))
        return same >= len(longer) - len(text)


def takes_back(decode: Callable[[list[int]], str], vocabulary: Mapping[str, int]) -> bool:
    """Whether an id can change the text of the one before it, other than by completing a character:
    tried with the vocabulary's punctuation, which is what decoders of words treat so."""
    words, marks = [], []
    for token, i in vocabulary.items():
        plain = _END_OF_WORD.sub("", token)
        if plain.isalpha():
            words.append(i)
        elif plain and len(plain) <= _MARK and not any(c.isalnum() for c in plain):
            marks.append(i)
    words, marks = words[:: max(1, len(words) // 4)][:4], marks[:_LOOKED_AT]
    plain_window = Window(decode)
    for first in words[:1]:
        for mark in marks:
            text = decode([first, mark])
            text = text[: plain_window._final(text)]
            for last in (*words, *marks[:: max(1, len(marks) // 8)]):
                if not decode([first, mark, last]).startswith(text):
                    return True
    return False


def _shortened(ids: list[int]) -> Iterator[list[int]]:
    """What might do instead of ``ids``, the best first."""
    # A character may take four ids, and only before its first one may be cut.
    for n in range(_CONTEXT, _CONTEXT + 4):
        yield ids[-n:]
    short = [i for _, run in groupby(ids) for i in list(run)[:_RUN]]
    if 4 * len(short) <= 3 * len(ids):
        yield short


def _common_begin(a: str, b: str) -> int:
    """How many characters both begin with."""
    return next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _common_end(a: str, b: str) -> int:
    """How many characters both end with."""
    n = 0
    for x, y in zip(reversed(a), reversed(b)):
        if x != y:
            break
        n += 1
    return n
