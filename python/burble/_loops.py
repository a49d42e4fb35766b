# SPDX-License-Identifier: MIT
"""One hub per event loop: made at the first wait, gone with the loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
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


def _current_task() -> asyncio.Task[Any] | None:
    return None if asyncio._get_running_loop() is None else asyncio.current_task()


def when_task_ends(method: Callable[[], None]) -> None:
    """Call a method of an object that is still there when the current task of asyncio ends. Nothing
    is called where there is none."""
    task = _current_task()
    if task is None:
        return
    reference = weakref.WeakMethod(method)

    def call(task: asyncio.Task[Any]) -> None:
        method = reference()
        if method is not None:
            method()

    task.add_done_callback(call)


# Tasks that are watched, and loops that are about to collect.
_watched: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
_collecting: weakref.WeakSet[AbstractEventLoop] = weakref.WeakSet()

# After how many seconds: whoever waits for a task that has ended lets go of it first.
_COLLECT_AFTER = 0.05


def collect_soon(loop: AbstractEventLoop) -> None:
    """Collect the young garbage. The traceback of an exception may be part of a cycle (one of
    anyio's is), and then keeps what the frames had: a stream that has been let go would generate
    until Python happens to collect."""
    if loop not in _collecting and not loop.is_closed():
        _collecting.add(loop)
        loop.call_later(_COLLECT_AFTER, _collect, loop)


def _collect(loop: AbstractEventLoop) -> None:
    _collecting.discard(loop)
    gc.collect(1)


def collect_after_cancellation() -> None:
    """Called where a task begins to read: collect if it ends cancelled, as a web server's does when
    its client has gone."""
    task = _current_task()
    if task is not None and task not in _watched:
        _watched.add(task)
        task.add_done_callback(_collect_if_cancelled)


def _collect_if_cancelled(task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        collect_soon(task.get_loop())


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
