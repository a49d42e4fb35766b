# SPDX-License-Identifier: MIT
"""The ways from an engine's thread to tasks on an event loop: burble's, its peers', and the floor.

A queue carries one stream. It is created on the loop of its reader. The engine calls ``put`` and
``end`` from its thread, a task awaits ``read``; ``close`` comes after that and is not measured.
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


class Queue(Protocol):
    """One stream: ``put`` and ``end`` for the engine's thread, ``read`` and ``close`` for a task.

    ``read`` calls ``arrived`` for each text.
    """

    def put(self, text: str) -> None: ...
    def end(self) -> None: ...
    async def read(self, arrived: Callable[[], object]) -> None: ...
    async def close(self) -> None: ...


class _NoClose:
    """A queue that need not be closed."""

    async def close(self) -> None:
        pass


class Streamer(_NoClose):
    """A streamer with transformers' interface; nothing is decoded."""

    def __init__(self, streamer: Any) -> None:
        self.put = streamer.on_finalized_text
        self._streamer: AsyncIterator[str] = streamer

    def end(self) -> None:
        self.put("", stream_end=True)

    async def read(self, arrived: Callable[[], object]) -> None:
        async for text in self._streamer:
            if text:  # transformers delivers the empty last text, burble does not
                arrived()


class Channel(_NoClose):
    """A ``burble.channel()``."""

    def __init__(self) -> None:
        writer, self.stream = burble.channel()
        self.put = writer.put_text
        self.end = writer.end

    async def read(self, arrived: Callable[[], object]) -> None:
        async for _ in self.stream:
            arrived()


class AsyncioQueue(_NoClose):
    """An ``asyncio.Queue``, as transformers' ``AsyncTextIteratorStreamer`` has one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, text: str) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, text)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    async def read(self, arrived: Callable[[], object]) -> None:
        while await self._queue.get() is not None:
            arrived()


class Janus:
    """A ``janus.Queue``: its synchronous side for the engine, its asynchronous one for the task."""

    make: Callable[[], Any] = janus.Queue

    def __init__(self) -> None:
        self._queue = type(self).make()
        self.put = self._queue.sync_q.put

    def end(self) -> None:
        self.put(None)

    async def read(self, arrived: Callable[[], object]) -> None:
        get = self._queue.async_q.get
        while await get() is not None:
            arrived()

    async def close(self) -> None:
        await self._queue.aclose()


class Culsans(Janus):
    """A ``culsans.Queue``, used in the same way."""

    make = culsans.Queue


class Aiologic(_NoClose):
    """An ``aiologic.SimpleQueue``, which has no bound."""

    def __init__(self) -> None:
        self._queue: aiologic.SimpleQueue[str | None] = aiologic.SimpleQueue()
        self.put = self._queue.green_put

    def end(self) -> None:
        self.put(None)

    async def read(self, arrived: Callable[[], object]) -> None:
        get = self._queue.async_get
        while await get() is not None:
            arrived()


class _Step:
    """What all bare deques of a loop share: those with new text, and whether the loop was woken."""

    _of: ClassVar[weakref.WeakValueDictionary[int, _Step]] = weakref.WeakValueDictionary()

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Step:
        """Return the loop's own, which lives as long as its deques."""
        return cls._of.setdefault(id(loop), cls(loop))

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = loop.call_soon_threadsafe
        self._moved: deque[Bare] = deque()
        self._woken = False

    def moved(self, queue: Bare) -> None:
        self._moved.append(queue)
        if not self._woken:
            self._woken = True
            self._wake(self._resume)

    def _resume(self) -> None:
        self._woken = False  # first, so that later puts wake the loop again
        while self._moved:
            self._moved.popleft().resume()


class Bare(_NoClose):
    """A deque for each stream, and one wake-up of the loop for all of a step: the least that Python
    can do. It has no errors, no limit, no cancelling, one reader and one engine."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._step = _Step.of(loop)
        self._loop = loop
        self._texts: deque[str | None] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, text: str | None) -> None:
        self._texts.append(text)
        if self._waiting is not None:
            self._step.moved(self)

    def end(self) -> None:
        self.put(None)

    def resume(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set_result(None)

    async def read(self, arrived: Callable[[], object]) -> None:
        texts = self._texts
        while True:
            while texts:
                if texts.popleft() is None:
                    return
                arrived()
            self._waiting = waiting = self._loop.create_future()
            if texts:  # put after the check above, by an engine that saw no waiting reader
                self._waiting = None
            else:
                await waiting


# In the order of the tables.
QUEUES: dict[str, Callable[[], Queue]] = {
    "asyncio.Queue": AsyncioQueue,
    "janus": Janus,
    "culsans": Culsans,
    "aiologic": Aiologic,
    FLOOR: Bare,
}
