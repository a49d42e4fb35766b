# SPDX-License-Identifier: MIT
"""The ways from an engine's thread to tasks on an event loop: burble's, its peers', and the floor.

A feed is one stream. It is made on the loop that reads it; the engine calls ``put`` and ``end``
from its thread; ``read`` is what the task awaits; ``close`` comes after that, and is not measured.
Each peer is used as its documentation does it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar, Protocol

import aiologic
import culsans
import janus

import burble

FLOOR = "bare deque"


class Feed(Protocol):
    """One stream: what the engine calls, and what the task does."""

    def put(self, text: str) -> None: ...
    def end(self) -> None: ...
    async def read(self, arrived: Callable[[], object]) -> None: ...
    async def close(self) -> None: ...


class _Open:
    """A feed that need not be closed."""

    async def close(self) -> None:
        """Do nothing."""


class Streamer(_Open):
    """A streamer with transformers' interface, without decoding."""

    def __init__(self, streamer: Any) -> None:
        self.put = streamer.on_finalized_text
        self._streamer: AsyncIterator[str] = streamer

    def end(self) -> None:
        """From the engine's thread."""
        self.put("", stream_end=True)

    async def read(self, arrived: Callable[[], object]) -> None:
        """Read to the end."""
        async for text in self._streamer:
            if text:  # transformers delivers the empty last text, burble does not
                arrived()


class Channel(_Open):
    """A ``burble.channel()``."""

    def __init__(self) -> None:
        writer, self._stream = burble.channel()
        self.put = writer.put_text
        self.end = writer.end

    async def read(self, arrived: Callable[[], object]) -> None:
        """Read to the end."""
        async for _ in self._stream:
            arrived()


class Queue(_Open):
    """An ``asyncio.Queue``, as transformers' ``AsyncTextIteratorStreamer`` has one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, text: str) -> None:
        """From the engine's thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, text)

    def end(self) -> None:
        """From the engine's thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    async def read(self, arrived: Callable[[], object]) -> None:
        """Read to the end."""
        while await self._queue.get() is not None:
            arrived()


class Janus:
    """A ``janus.Queue``: its synchronous side for the engine, its asynchronous one for the task."""

    make: Callable[[], Any] = janus.Queue

    def __init__(self) -> None:
        self._queue = type(self).make()
        self.put = self._queue.sync_q.put

    def end(self) -> None:
        """From the engine's thread."""
        self.put(None)

    async def read(self, arrived: Callable[[], object]) -> None:
        """Read to the end."""
        get = self._queue.async_q.get
        while await get() is not None:
            arrived()

    async def close(self) -> None:
        """As its documentation wants it."""
        await self._queue.aclose()


class Culsans(Janus):
    """A ``culsans.Queue``, used in the same way."""

    make = culsans.Queue


class Aiologic(_Open):
    """An ``aiologic.SimpleQueue``, which has no bound."""

    def __init__(self) -> None:
        self._queue: aiologic.SimpleQueue[str | None] = aiologic.SimpleQueue()
        self.put = self._queue.green_put

    def end(self) -> None:
        """From the engine's thread."""
        self.put(None)

    async def read(self, arrived: Callable[[], object]) -> None:
        """Read to the end."""
        get = self._queue.async_get
        while await get() is not None:
            arrived()


class _Step:
    """What all bare deques of a loop share: who has something new, and whether the loop knows."""

    _of: ClassVar[weakref.WeakValueDictionary[int, _Step]] = weakref.WeakValueDictionary()

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Step:
        """Return the loop's, which lives as long as its deques, and the loop with it."""
        return cls._of.setdefault(id(loop), cls(loop))

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = loop.call_soon_threadsafe
        self._moved: deque[Bare] = deque()
        self._woken = False

    def moved(self, feed: Bare) -> None:
        """From the engine's thread."""
        self._moved.append(feed)
        if not self._woken:
            self._woken = True
            self._wake(self._resume)

    def _resume(self) -> None:
        self._woken = False  # first: what is put from here on wakes the loop again
        while self._moved:
            self._moved.popleft().resume()


class Bare(_Open):
    """A deque for each stream, and one wake-up for all that was put until the loop comes: the least
    that Python can do. It has no errors, no limits, no cancelling, one reader, one engine."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._step = _Step.of(loop)
        self._loop = loop
        self._texts: deque[str | None] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, text: str | None) -> None:
        """From the engine's thread."""
        self._texts.append(text)
        if self._waiting is not None:
            self._step.moved(self)

    def end(self) -> None:
        """From the engine's thread."""
        self.put(None)

    def resume(self) -> None:
        """From the loop."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set_result(None)

    async def read(self, arrived: Callable[[], object]) -> None:
        """Read to the end."""
        texts = self._texts
        while True:
            while texts:
                if texts.popleft() is None:
                    return
                arrived()
            self._waiting = waiting = self._loop.create_future()
            if texts:  # put after the look above, by an engine that saw nobody wait
                self._waiting = None
            else:
                await waiting


# In the order of the tables.
QUEUES: dict[str, Callable[[], Feed]] = {
    "asyncio.Queue": Queue,
    "janus": Janus,
    "culsans": Culsans,
    "aiologic": Aiologic,
    FLOOR: Bare,
}
