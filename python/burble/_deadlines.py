# SPDX-License-Identifier: MIT
"""The timeouts of streams that only C code reads.

A reader that waits in Python notices that a timeout of its stream has passed. The server does not
wait in Python, so one thread looks after all streams that have timeouts.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import weakref
from queue import Empty, SimpleQueue
from typing import Any

from . import _core


class Deadlines:
    """Fails logs whose timeouts have passed. It keeps none of them."""

    def __init__(self) -> None:
        # Of C, so that finalizers and signal handlers may call what puts into it.
        self._new: SimpleQueue[weakref.ref[_core.Log] | None] = SimpleQueue()
        # The thread that takes it out of the list starts it.
        self._thread = [
            threading.Thread(target=_look, args=(self._new,), name="burble-deadlines", daemon=True)
        ]

    def watch(self, log: _core.Log) -> None:
        """Look after ``log`` from now on, if it has timeouts. Any thread may call it."""
        if log.check_deadlines() is None:
            return
        self._new.put(weakref.ref(log))
        while self._thread:
            try:
                thread = self._thread.pop()
            except IndexError:  # another thread was faster
                return
            try:
                thread.start()
            except BaseException:
                self._thread.append(thread)
                raise

    def stop(self) -> None:
        """Look after nothing any more. Idempotent."""
        self._new.put(None)


def _look(new: SimpleQueue[weakref.ref[_core.Log] | None]) -> None:
    due: list[tuple[float, int, weakref.ref[_core.Log]]] = []
    numbers = itertools.count()

    def check(reference: weakref.ref[Any]) -> None:
        log = reference()
        try:
            seconds = None if log is None else log.check_deadlines()
        except MemoryError:
            seconds = 1.0  # until then there may be some
        if seconds is not None:
            heapq.heappush(due, (time.monotonic() + seconds, next(numbers), reference))

    while True:
        timeout = None
        if due:
            timeout = min(max(0.0, due[0][0] - time.monotonic()), threading.TIMEOUT_MAX)
        try:
            reference = new.get(timeout=timeout)
        except Empty:
            reference = heapq.heappop(due)[2]
        if reference is None:
            return
        check(reference)
