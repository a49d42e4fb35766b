# SPDX-License-Identifier: MIT
"""Collects the garbage of a cancelled task: a deleted stream that is in a reference cycle."""

from __future__ import annotations

import asyncio
import gc
import weakref
from asyncio import AbstractEventLoop
from typing import Any

from ._running import current_task

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
    task = current_task()
    if task is not None and task not in _watched:
        _watched.add(task)
        task.add_done_callback(_collect_if_cancelled)


def _collect_if_cancelled(task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        collect_soon(task.get_loop())
