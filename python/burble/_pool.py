# SPDX-License-Identifier: MIT
"""The pool that users make: threads, and the streams that begin in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _start
from ._threads import WORKERS, Threads


class Pool(Threads):
    """Threads in which generations run: at most ``workers`` at once; other generations wait.

    ::

        with burble.Pool(workers=2) as pool:
            with pool.stream(model.generate, **inputs, tokenizer=tokenizer) as stream:
                for text in stream:
                    print(text, end="", flush=True)

    Jobs run in the order of the calls; a job that is cancelled while it waits never runs. A thread
    is started when there is work for it, and ends after ``idle_timeout`` seconds without work. A
    pool is also a :class:`concurrent.futures.Executor`, for functions of any kind.

    Each job runs in a copy of the context (``contextvars``) in which it was started, as with
    ``asyncio.to_thread``. If no reference to the pool is left, its threads end when no job waits.

    When the interpreter exits, running jobs are cancelled, and the exit waits for them, at most
    five seconds: so no generation goes on without readers, and a generation that hangs does not
    keep the program from exiting. In a forked child, the pool has no jobs and no threads.

    All methods may be called from any thread.

    :param workers: the most threads; at least 1.
    :param idle_timeout: how many seconds a thread without work stays.
    """

    if TYPE_CHECKING:

        def __init__(self, workers: int = WORKERS, *, idle_timeout: float = 30.0) -> None:
            super().__init__(workers, idle_timeout=idle_timeout)
            # (An attribute keeps the overloads, which staticmethod would lose.)
            self.stream = _start.stream

        iterate = staticmethod(_start.iterate)
    else:

        def stream(self, generate, /, *args, **kwargs):
            """:func:`burble.stream` in this pool."""
            return _start.stream(generate, *args, pool=self, **kwargs)

        def iterate(self, source, /, **kwargs):
            """:func:`burble.iterate` in this pool."""
            return _start.iterate(source, pool=self, **kwargs)
