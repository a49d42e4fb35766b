# SPDX-License-Identifier: MIT
"""Many streams, read by one task or thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from typing import Generic, TypeVar

from . import _core
from ._collect import collect_after_cancellation
from ._stream import Reader, Stream

T = TypeVar("T")


class Gathered(Generic[T]):
    """Streams that are read as one; made by :func:`burble.gather`."""

    __slots__ = ("_merged", "_streams")

    def __init__(self, streams: tuple[Stream[T] | Reader[T], ...]) -> None:
        self._streams = streams
        before = [stream._iteration() for stream in streams]
        try:
            readers = [stream._own() for stream in streams]
            # Iterating goes straight to it, and it keeps the streams: one that is deleted cancels
            # its generation.
            self._merged = _core.Merged(readers, says_ends=True, keep=streams)
        except BaseException:
            for stream, iteration in zip(streams, before):
                stream._disown(iteration)
            raise

    def __aiter__(self) -> AsyncIterator[tuple[int, T | Exception | None]]:
        collect_after_cancellation()
        return self._merged

    def __iter__(self) -> Iterator[tuple[int, T | Exception | None]]:
        return self._merged

    def __anext__(self) -> Awaitable[tuple[int, T | Exception | None]]:
        return self._merged.__anext__()

    def __next__(self) -> tuple[int, T | Exception | None]:
        return next(self._merged)

    def __repr__(self) -> str:
        return f"<burble.gather of {len(self._streams)} streams>"


def gather(streams: Iterable[Stream[T] | Reader[T]]) -> Gathered[T]:
    """Read many streams in one task or thread, as one iteration.

    ::

        async for i, text in burble.gather(streams):
            if text is None:
                print(streams[i].finish_reason)
            elif isinstance(text, Exception):
                print("failed:", text)
            else:
                texts[i] += text

    Each value is a pair: the number of a stream, and its next text (or item). The streams take
    turns, each with its text in order. The last value of a stream is None if it has ended; if it
    failed, timed out or was cancelled, it is the exception that reading it alone would raise. The
    other streams go on. The iteration ends when all streams have ended.

    One task for a thousand streams costs less than a task for each, because asyncio resumes tasks
    one by one (``docs/performance.md``). Code in the loop must not take long: it holds up all
    streams.

    Cancelling the task that iterates does not cancel the streams; leaving their own ``async with``
    blocks does. While this iteration exists, nothing else can iterate the streams; make a
    :meth:`Stream.reader` for that.

    :param streams: streams and readers, in the order of their numbers.
    :raises TypeError: for anything else.
    :raises RuntimeError: if one of them is being read. All streams are then as before.
    """
    given = tuple(streams)
    for stream in given:
        if not isinstance(stream, (Stream, Reader)):
            raise TypeError(f"gather: expected streams and readers, found {type(stream).__name__}")
    return Gathered(given)
