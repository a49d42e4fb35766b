# SPDX-License-Identifier: MIT
"""One hub per event loop: made at the first wait, gone with the loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from asyncio import AbstractEventLoop, Future
from typing import Any, Callable, cast

from . import _core
from ._forks import PerProcess

try:
    from _asyncio import Task as CTask
except ImportError:  # a Python whose asyncio is all Python
    CTask = None  # type: ignore[assignment,misc]


class _NoLoop:
    """The loop of the future below: a real loop would never be freed."""

    def get_debug(self) -> bool:
        """The only method that a future without callbacks needs from its loop."""
        return False


#: What a woken task of asyncio gets: the task asks the awaited object for its result, and this is
#: cheapest by far for a finished future of asyncio's own class.
finished: Future[None] = Future(loop=cast("AbstractEventLoop", _NoLoop()))
finished.set_result(None)


def on_timer(reference: weakref.ref[Any]) -> None:
    """Called by a loop's timer for a streamer or reader that waits with a timeout."""
    consumer = reference()
    if consumer is not None:
        consumer._on_timer()


def call_later(loop: Any, seconds: float, function: Callable[[], object]) -> None:
    """What ``loop.call_later`` does, by the system's clock, for a loop that has a clock of its own
    (a test's, which stands still or jumps)."""

    def soon() -> None:
        with contextlib.suppress(RuntimeError):  # it is over
            loop.call_soon_threadsafe(function)

    timer = threading.Timer(seconds, soon)
    timer.daemon = True
    timer.start()


def _has_own_clock(loop: AbstractEventLoop) -> bool:
    time = getattr(loop.time, "__func__", None)
    return isinstance(loop, asyncio.BaseEventLoop) and time is not asyncio.BaseEventLoop.time


# No lock guards it: what runs while a hub is made, a loop's own code or a finalizer, may want one,
# too. Each operation on it is a single step of a dict's; only a loop's own thread makes its hub.
_hubs: PerProcess[weakref.WeakKeyDictionary[AbstractEventLoop, _core.Hub]] = PerProcess(
    weakref.WeakKeyDictionary
)


def hub_of(loop: AbstractEventLoop) -> _core.Hub:
    """Return the hub of ``loop``, which must be running in this thread."""
    hubs = _hubs()
    hub = hubs.get(loop)
    if hub is not None:
        return hub
    _close_hubs_of_closed_loops(hubs)
    hub = _core.Hub(loop, own_clock=_has_own_clock(loop))
    # Streamers remember their hub, so it may outlive the loop: its descriptor must not.
    weakref.finalize(loop, hub.close).atexit = False
    try:
        loop.add_reader(hub.fileno(), hub.drain)
        first = hubs.setdefault(loop, hub)
    except BaseException:
        if not loop.is_closed():
            loop.remove_reader(hub.fileno())
        hub.close()
        raise
    if first is not hub:  # made by what add_reader has called, or a finalizer
        loop.remove_reader(hub.fileno())
        hub.close()
    return first


def _close_hubs_of_closed_loops(
    hubs: weakref.WeakKeyDictionary[AbstractEventLoop, _core.Hub],
) -> None:
    for reference in hubs.keyrefs():
        loop = reference()
        if loop is not None and loop.is_closed():
            hub = hubs.pop(loop, None)
            if hub is not None:
                hub.close()
