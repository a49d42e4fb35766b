# SPDX-License-Identifier: MIT
"""Shared by the tests: threads that are joined, loops of every kind, waits with a bound, and
reading to the end."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import queue
import threading
import time
from collections.abc import Awaitable, Iterator
from typing import Any, Callable, TypeVar

import pytest

T = TypeVar("T")

# tokenizers spells added tokens that are normalized as its version 0.23 does, and so does burble.
try:
    _TOKENIZERS = tuple(map(int, importlib.metadata.version("tokenizers").split(".")[:2]))
except importlib.metadata.PackageNotFoundError:
    _TOKENIZERS = (0, 0)
NORMALIZED = pytest.mark.skipif(_TOKENIZERS < (0, 23), reason="needs tokenizers 0.23 or above")

# What bounds a wait that should end at once, and only then.
SOON = 20.0

# Where a coroutine can run.
KINDS = ("asyncio", "uvloop", "trio")


@contextlib.contextmanager
def in_thread(target: Callable[..., object], *args: Any) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=target, args=args)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(SOON)
        assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = SOON) -> None:
    """Wait for what another thread is about to bring about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.0005)


def at_some_pace(attempt: Callable[[float], object], seconds: float = 0.2) -> None:
    """Attempt something with this timeout, and with longer ones where the machine was too busy for
    it. What is wrong fails with all of them."""
    for longer in (1, 10):
        with contextlib.suppress(AssertionError, TimeoutError, queue.Empty):
            attempt(longer * seconds)
            return
    attempt(50 * seconds)


def run(kind: str, main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``main(*args)`` to its end in a loop, or run, of that kind."""
    if kind == "trio":
        trio = pytest.importorskip("trio")
        result: T = trio.run(main, *args)
        return result
    loop = asyncio.new_event_loop()
    if kind == "uvloop":
        loop.close()
        loop = pytest.importorskip("uvloop").new_event_loop()
    try:
        return loop.run_until_complete(main(*args))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def all_wait(kind: str) -> None:
    """Let every other task of this loop run until it waits."""
    if kind == "trio":
        import trio.testing

        await trio.testing.wait_all_tasks_blocked()
    else:
        for _ in range(5):
            await asyncio.sleep(0)


async def together(kind: str, *functions: Callable[[], Awaitable[object]]) -> None:
    """Run coroutine functions as tasks, to the end of all."""
    if kind == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)
    else:
        await asyncio.gather(*(function() for function in functions))


async def soon(awaitable: Awaitable[T]) -> T:
    """What comes of it, within a bound."""
    return await asyncio.wait_for(awaitable, SOON)


async def turns(n: int = 5) -> None:
    """Let every task that can run do so, until it waits."""
    for _ in range(n):
        await asyncio.sleep(0)


async def until_in_loop(condition: Callable[[], object]) -> None:
    """Let the loop turn until it is so."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SOON
    while not condition():
        assert loop.time() < end, "it never was so"
        await asyncio.sleep(0)


async def set_by_thread(event: threading.Event) -> None:
    """Wait in a task for another thread's event."""
    assert await asyncio.get_running_loop().run_in_executor(None, event.wait, SOON)


# ---- reading -------------------------------------------------------------------------------------


async def listen(source: Any) -> list[Any]:
    return [item async for item in source]


async def listen_to_text(source: Any) -> str:
    return "".join(await listen(source))


async def listen_to_error(source: Any) -> tuple[str, BaseException | None]:
    """The text, and what ended the iteration, if it was an exception."""
    text = ""
    try:
        async for more in source:
            text += more
    except Exception as error:
        return text, error
    return text, None


def read(kind: str, source: Any, found: list[Any] | None = None) -> list[Any]:
    """All that there is to read, in a loop of that kind or in this thread; also left in ``found``,
    where it ends in an error."""
    items = [] if found is None else found

    async def main() -> None:
        async for item in source:
            items.append(item)

    if kind == "threads":
        items.extend(source)
    else:
        run(kind, main)
    return items


def read_to_error(kind: str, source: Any) -> tuple[list[Any], BaseException | None]:
    """The same, and the error that comes last: it is caught where it is read, since some loops let
    no exception through as it is."""
    found: list[Any] = []

    async def main() -> BaseException | None:
        try:
            async for item in source:
                found.append(item)
        except BaseException as error:
            return error
        return None

    if kind != "threads":
        return found, run(kind, main)
    try:
        for item in source:
            found.append(item)
    except BaseException as error:
        return found, error
    return found, None


def text_to_error(kind: str, source: Any) -> tuple[str, BaseException | None]:
    found, error = read_to_error(kind, source)
    return "".join(found), error


# ---- the process ---------------------------------------------------------------------------------


def descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        pytest.skip("needs /proc")


# ---- what goes wrong, or is not known ------------------------------------------------------------


class OutOfMemory(Exception):
    """As a model raises it."""


class Slow:
    """A tokenizer that burble does not know, so that its text comes through a window."""

    bad = -1  # an id that decode raises for

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        if self.bad in ids:
            raise KeyError(self.bad)
        text: str = self._backend.decode(ids, **kwargs)
        return text
