# SPDX-License-Identifier: MIT
"""A task beside its reading: it yields to others, and it ends."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, Callable

from ._running import current_task, in_trio


def when_task_ends(method: Callable[[], None]) -> None:
    """Call a method of an object that is still there when the current task of asyncio ends. Nothing
    is called where there is none."""
    task = current_task()
    if task is None:
        return
    reference = weakref.WeakMethod(method)

    def call(task: asyncio.Task[Any]) -> None:
        method = reference()
        if method is not None:
            method()

    task.add_done_callback(call)


async def give_way() -> None:
    """Let the other tasks of the loop run."""
    if in_trio():
        from ._trio import checkpoint

        await checkpoint()
    else:
        await asyncio.sleep(0)
