# SPDX-License-Identifier: MIT
"""How fast a stream was."""

from __future__ import annotations

from typing import Callable, NamedTuple, Union

from . import _core


class Stats(NamedTuple):
    """Counts and times of a stream so far. Times are in seconds; None if there is not enough data.

    ::

        print(f"{stream.stats.tokens_per_second:.1f} tokens/s")
    """

    tokens: int
    """How many tokens were generated (of :func:`burble.iterate`: items)."""
    chunks: int
    """In how many chunks their text (items) came."""
    first_token: float | None
    """From the call to the first token: with the time in which it waited for a free thread."""
    inter_token_p50: float | None
    """From one token to the next: half of the times were shorter. Within 3 %."""
    inter_token_p99: float | None
    """The same for 99 % of them."""
    tokens_per_second: float | None
    """From the first token to the last one, :attr:`blocked` time included; tokens that were put
    together with the first one do not count."""
    blocked: float
    """How long the generation has waited for readers that were behind."""
    prompt_tokens: int | None = None
    """How many tokens the prompt has: of :func:`burble.stream`, if it was given ``input_ids`` (or
    ``inputs``); of :class:`burble.llama.Engine`, once the first token has come."""
    reused_tokens: int | None = None
    """How many of these did not have to be computed, since another prompt began with the same ones:
    of :class:`burble.llama.Engine`."""


def rate(
    tokens: int, first: float | None, last: float | None, first_tokens: int = 1
) -> float | None:
    """Tokens a second, where so many came first, together, at ``first``, and the rest until
    ``last``; None where no others came."""
    if first is None or last is None or tokens <= first_tokens or last <= first:
        return None
    return (tokens - first_tokens) / (last - first)


#: Where a stream's statistics come from: a function of its log; or the writer that counts them.
Source = Union[Callable[[_core.Log], Stats], _core.Writer]


def of_writer(writer: _core.Writer, log: _core.Log, prompt_tokens: int | None = None) -> Stats:
    """The statistics of what it has written to ``log``."""
    tokens, chunks, first, last, p50, p99 = writer.stats
    speed = rate(tokens, first, last, writer.first_tokens)
    return Stats(tokens, chunks, first, p50, p99, speed, log.blocked, prompt_tokens)
