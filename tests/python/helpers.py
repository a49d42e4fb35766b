# SPDX-License-Identifier: MIT
"""What tests share: threads that are joined, loops of every kind, waits with a bound."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
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


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to bring about."""
    end = time.monotonic() + SOON
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
