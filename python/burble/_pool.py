# SPDX-License-Identifier: MIT
"""The pool that users make: threads, and the streams that begin in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _start
from ._threads import WORKERS, Threads


class Pool(Threads):
    """Threads in which generations run: at most ``workers`` at once, others wait for their turn.

    ::

        with burble.Pool(workers=2) as pool:
            with pool.stream(model.generate, **inputs, tokenizer=tokenizer) as stream:
                for text in stream:
                    print(text, end="", flush=True)

    First come, first served. A thread begins when there is work for it, and ends when there was
    none for ``idle_timeout`` seconds. What is cancelled before its turn never runs. It is a
    :class:`concurrent.futures.Executor`, too, for functions of any kind.

    Each job runs in a copy of the context (``contextvars``) in which it was started, as with
    ``asyncio.to_thread``. The threads of a pool that nobody refers to any more end once nothing
    waits.

    When the interpreter exits, what runs is cancelled and waited for, but no longer than five
    seconds: a model does not go on talking to nobody, and one that hangs keeps no program from
    ending. A forked child has the pool without the jobs and threads.

    All methods may be called from any thread.

    :param workers: how many threads there may be; at least 1.
    :param idle_timeout: seconds for which a thread stays without work.
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
