# SPDX-License-Identifier: MIT
"""One hub per event loop: made at the first wait, gone with the loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from asyncio import AbstractEventLoop, Future
from typing import Any, cast

from . import _core

try:
    from _asyncio import Task as CTask
except ImportError:  # a Python whose asyncio is all Python
    CTask = None  # type: ignore[assignment,misc]


class _NoLoop:
    """What the future below is told that it belongs to: a loop would never go, if it did."""

    def get_debug(self) -> bool:
        """All that a future asks of a loop which has nobody to call."""
        return False


#: What a task of C's is given that is woken: it asks for the result of what has come to its end,
#: of a future of its own kind by far the cheapest.
finished: Future[None] = Future(loop=cast("AbstractEventLoop", _NoLoop()))
finished.set_result(None)


def on_timer(reference: weakref.ref[Any]) -> None:
    """What a loop's timer calls for a streamer or reader that waits with a timeout."""
    consumer = reference()
    if consumer is not None:
        consumer._on_timer()


_hubs: weakref.WeakKeyDictionary[AbstractEventLoop, _core.Hub] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _after_fork() -> None:
    """A child has the parent's loops, but none of its threads, one of which may hold the lock."""
    global _hubs, _lock
    _hubs = weakref.WeakKeyDictionary()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def hub_of(loop: AbstractEventLoop) -> _core.Hub:
    """Return the hub of ``loop``, which must be running in this thread."""
    with _lock:
        hub = _hubs.get(loop)
        if hub is not None:
            return hub
        for other in [known for known in _hubs if known.is_closed()]:
            _hubs.pop(other).close()
        hub = _core.Hub(loop)
        try:
            loop.add_reader(hub.fileno(), hub.drain)
        except BaseException:
            hub.close()
            raise
        _hubs[loop] = hub
    # Streamers remember their hub, so it may outlive the loop: its descriptor must not.
    weakref.finalize(loop, hub.close).atexit = False
    return hub


def in_trio() -> bool:
    """Whether the caller awaits in a run of trio. sniffio is asked, whose convention trio follows:
    where trio runs inside another loop, only that says who it is that awaits."""
    sniffio = sys.modules.get("sniffio")
    if sniffio is None:
        return False
    try:
        return bool(sniffio.current_async_library() == "trio")
    except sniffio.AsyncLibraryNotFoundError:
        return False


async def give_way() -> None:
    """Let the other tasks of the loop run."""
    if in_trio():
        from ._trio import checkpoint

        await checkpoint()
    else:
        await asyncio.sleep(0)
