# SPDX-License-Identifier: MIT
"""What each process has for itself: a forked child takes no lock that is older than it.

A child has none of its parent's threads, one of which may hold a lock, or have left half changed
what it guards. So the child makes its own, when it first asks for it. (Handlers of
``os.register_at_fork`` would come too late: other handlers, and what the collector finalizes, run
before them.)
"""

from __future__ import annotations

from typing import Callable, Generic, TypeVar

from . import _core

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Called, it returns what ``make`` has made in this process, once."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # The parent's objects are never deleted: only the parent may finalize them.
        self._made: dict[int, T] = {}

    def __call__(self) -> T:
        process = _core.forks()
        try:
            return self._made[process]
        except KeyError:
            # In one step: of several threads that come here at once, all get the first one's.
            return self._made.setdefault(process, self._make())
