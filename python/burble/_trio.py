# SPDX-License-Identifier: MIT
"""What waits for text in a run of trio. Imported only where trio is."""

from __future__ import annotations

import heapq
import itertools
import math
from functools import partial
from typing import Any, Callable

import trio

from . import _core
from ._running import in_trio


class _Timer:
    """Without its function, it was cancelled or is over."""

    def __init__(self, run: Run, function: Callable[..., Any]) -> None:
        self.run = run
        self.function: Callable[..., Any] | None = function

    def cancel(self) -> None:
        if self.function is not None:
            self.function = None
            self.run.tidy()


class Run:
    """One run of trio, with what the extension asks of an event loop.

    A system task of the run waits for the hub's descriptor, and for the timers.
    """

    def __init__(self) -> None:
        clock = type(trio.lowlevel.current_clock()).__name__
        self.hub = _core.Hub(self, trio=True, own_clock=clock != "SystemClock")
        self._token = trio.lowlevel.current_trio_token()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._cancelled = 0  # of these
        self._number = itertools.count()
        self._scope = trio.CancelScope()
        self._closed = False
        trio.lowlevel.spawn_system_task(self._serve)

    def is_closed(self) -> bool:
        return self._closed

    def time(self) -> float:
        return trio.current_time()

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> _Timer:
        timer = _Timer(self, partial(function, *args))
        heapq.heappush(self._timers, (trio.current_time() + seconds, next(self._number), timer))
        self._scope.deadline = self._timers[0][0]
        return timer

    def call_soon(self, function: Callable[..., Any], *args: Any, context: Any = None) -> None:
        self._token.run_sync_soon(partial(function, *args))

    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        self._token.run_sync_soon(function)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]

    def tidy(self) -> None:
        """One more timer is cancelled. Once half of them are, they are dropped: most are cancelled
        long before they are due."""
        self._cancelled += 1
        if 2 * self._cancelled > len(self._timers) + 32:
            self._timers = [entry for entry in self._timers if entry[2].function is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _run_timers(self) -> None:
        now = trio.current_time()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            function, timer.function = timer.function, None
            if function is None:
                self._cancelled -= 1
            else:
                function()

    async def _serve(self) -> None:
        try:
            while True:
                deadline = self._timers[0][0] if self._timers else math.inf
                with trio.CancelScope(deadline=deadline) as self._scope:
                    await trio.lowlevel.wait_readable(self.hub.fileno())
                    self.hub.drain()
                self._run_timers()
        finally:
            self._closed = True
            self.hub.close()


_run: trio.lowlevel.RunVar[Run] = trio.lowlevel.RunVar("burble")


def current_run() -> Run | None:
    """Return the run that the caller is in, or None."""
    if not in_trio():
        return None
    try:
        return _run.get()
    except LookupError:
        run = Run()
        _run.set(run)
        return run


async def wait(future: Any) -> None:
    """Suspend the task until ``future`` is done."""
    task = trio.lowlevel.current_task()

    def resume(_: Any) -> None:
        trio.lowlevel.reschedule(task)

    def abort(_: Any) -> trio.lowlevel.Abort:
        future.remove_done_callback(resume)
        return trio.lowlevel.Abort.SUCCEEDED

    future.add_done_callback(resume)
    await trio.lowlevel.wait_task_rescheduled(abort)


async def checkpoint() -> None:
    """Give way to the other tasks."""
    await trio.lowlevel.checkpoint()
