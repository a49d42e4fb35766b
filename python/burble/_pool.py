# SPDX-License-Identifier: MIT
"""The threads in which generations run.

The lock guards who takes which job and when a thread begins or ends. The thread that has it may
enter it again, and neither the end of a job nor its cancellation needs it: the collector may run
anywhere, also here, and what it finalizes may start, cancel and join generations.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar

from ._options import count, seconds

if TYPE_CHECKING:
    from . import _start

T = TypeVar("T")
P = TypeVar("P", bound="Pool")

WORKERS = 64

# How long the interpreter waits for generations that it has cancelled when it exits, in seconds.
_EXIT_TIMEOUT = 5.0


class Job(Protocol):
    """What a pool runs."""

    @property
    def gone(self) -> bool:
        """Whether nobody wants it any more, so that it need not run."""

    def run(self) -> None:
        """In a thread of the pool; raises nothing."""

    def cancel(self) -> None:
        """End soon, or, where it waits for its turn, never run. From any thread; takes no lock."""

    def lost(self) -> None:
        """In a forked child, which has none of the parent's threads: the job will never end."""


class _Call:
    """A job of ``submit``."""

    def __init__(
        self, function: Callable[[], Any], cancel: Callable[[], object] | None = None
    ) -> None:
        self.future: Future[Any] = Future()
        self._function: Callable[[], Any] | None = function
        self._cancel = cancel

    @property
    def gone(self) -> bool:
        return self.future.cancelled()

    def run(self) -> None:
        function, self._function = self._function, None
        if function is None:
            return
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except BaseException as exception:
            self.future.set_exception(exception)
            del self  # or the exception, which has this frame, and the future refer to each other
        else:
            self.future.set_result(result)

    def cancel(self) -> None:
        if not self.future.cancel() and self._cancel is not None:
            self._cancel()

    def lost(self) -> None:
        """The future is the parent's: nobody waits for it in a child, whose loops are gone, too."""


class Pool(Executor):
    """Threads in which generations run: at most ``workers`` at once, others wait for their turn.

    ::

        with burble.Pool(workers=2) as pool:
            with pool.stream(model.generate, **inputs, tokenizer=tokenizer) as stream:
                for text in stream:
                    print(text, end="", flush=True)

    First come, first served. A thread begins when there is work for it, and ends when there was
    none for ``idle_timeout`` seconds. What is cancelled before its turn never runs. It is a
    :class:`concurrent.futures.Executor`, too, for functions of any kind.

    When the interpreter exits, what runs is cancelled and waited for, but no longer than five
    seconds: a model does not go on talking to nobody, and one that hangs keeps no program from
    ending. A forked child has the pool without the jobs.

    All methods may be called from any thread.

    :param workers: how many threads there may be; at least 1.
    :param idle_timeout: seconds for which a thread stays without work.
    """

    def __init__(self, workers: int = WORKERS, *, idle_timeout: float = 30.0) -> None:
        self.workers = count("workers", workers, 1)
        self.idle_timeout = seconds("idle_timeout", idle_timeout, 0.0)
        self._closed = False
        self._names = itertools.count(1)
        self._forget()
        _pools.add(self)
        if TYPE_CHECKING:  # an attribute keeps the overloads, which staticmethod would lose
            self.stream = _start.stream

    def _forget(self) -> None:
        """No jobs, and no threads."""
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._running: dict[Job, None] = {}
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._tidy_at = 8  # how many wait

    @property
    def running(self) -> int:
        """How many jobs are running now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return sum(not job.gone for job in list(self._waiting))

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.running} running, {self.waiting} waiting"
        return f"<burble.Pool of {self.workers}: {state}>"

    # ---- what runs ---------------------------------------------------------------------------

    def start(self, job: Job) -> None:
        """Run ``job`` when its turn comes. Raises RuntimeError where the pool is closed."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            if len(self._waiting) >= self._tidy_at:
                self._tidy()
            self._waiting.append(job)
            # A thread that was notified counts as idle until it has taken its job.
            if self._idle >= len(self._waiting):
                self._work.notify()
            elif len(self._threads) < self.workers:
                self._begin_thread(job)

    def _tidy(self) -> None:
        """Let go of the jobs that nobody wants any more, with all that they hold."""
        jobs = list(self._waiting)
        self._waiting.clear()
        self._waiting.extend(job for job in jobs if not job.gone)
        # Not before there are twice as many: so it costs each job a few looks at most.
        self._tidy_at = 2 * len(self._waiting) + 8
        for job in jobs:
            if job.gone:
                job.cancel()

    def _begin_thread(self, job: Job) -> None:
        thread = threading.Thread(
            target=self._serve, name=f"burble-{next(self._names)}", daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            if self._threads:
                return  # the system has no thread left: those that there are do the work
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
            raise

    def _serve(self) -> None:
        try:
            while True:
                job = self._take()
                if job is None:
                    return
                try:
                    job.run()
                finally:
                    del self._running[job]
                job = None  # it may be the last who refers to it, and will wait
        except BaseException:  # nothing that a job does: this thread was told to end
            self._replace()
            raise

    def _replace(self) -> None:
        """This thread ends although there may be work: another one is to do it."""
        with self._lock:
            self._threads.discard(threading.current_thread())
            if self._waiting and len(self._threads) < self.workers:
                self._begin_thread(self._waiting[0])

    def _take(self) -> Job | None:
        """The next job; None: this thread is to end."""
        with self._lock:
            while True:
                while self._waiting:
                    job = self._waiting.popleft()
                    if not job.gone:
                        self._running[job] = None
                        return job
                    job.cancel()
                    del job
                self._idle += 1
                try:
                    notified = not self._closed and self._work.wait(
                        min(self.idle_timeout, threading.TIMEOUT_MAX)
                    )
                finally:
                    self._idle -= 1
                if not notified and not self._waiting:
                    self._threads.discard(threading.current_thread())
                    return None

    # ---- streams -----------------------------------------------------------------------------

    if TYPE_CHECKING:
        iterate = staticmethod(_start.iterate)
    else:

        def stream(self, generate, /, *args, **kwargs):
            """:func:`burble.stream` in this pool."""
            from ._start import stream

            return stream(generate, *args, pool=self, **kwargs)

        def iterate(self, source, /, **kwargs):
            """:func:`burble.iterate` in this pool."""
            from ._start import iterate

            return iterate(source, pool=self, **kwargs)

    # ---- as an executor ----------------------------------------------------------------------

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call ``fn(*args, **kwargs)`` when its turn comes. Raises RuntimeError after ``close``."""
        return self.call(lambda: fn(*args, **kwargs))

    def call(
        self, function: Callable[[], T], cancel: Callable[[], object] | None = None
    ) -> Future[T]:
        """As ``submit``, and say how the function is told to end while it runs."""
        call = _Call(function, cancel)
        self.start(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work, and wait without a bound until all is done, as executors do."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            waiting = list(self._waiting) if cancel_futures else []
            threads = list(self._threads)
        for job in waiting:
            job.cancel()
        if wait:
            for thread in threads:
                thread.join()

    def close(self, timeout: float = 10.0) -> None:
        """Take no more work, cancel what waits and what runs, and wait for it.

        Idempotent. Where something is still running after ``timeout`` seconds, it is left to itself
        with a :exc:`RuntimeWarning`.
        """
        timeout = seconds("timeout", timeout, 0.0)
        left = self._end(time.monotonic() + timeout)
        if left:
            warnings.warn(
                f"{left} of the pool's threads did not end within {timeout:g} s: what they call "
                "has put no token since, or does not return",
                RuntimeWarning,
                stacklevel=2,
            )

    def _end(self, deadline: float) -> int:
        """Cancel all, and join the threads until ``deadline``; how many are left."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            jobs = [*self._waiting, *self._running]
            threads = [t for t in self._threads if t is not threading.current_thread()]
        for job in jobs:
            job.cancel()
        for thread in threads:
            thread.join(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))
        return sum(thread.is_alive() for thread in threads)

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# ---- the pool that there is anyway, and the end of the process ---------------------------------

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_default: Pool | None = None
_default_lock = threading.Lock()


def default_pool() -> Pool:
    """The pool of whoever names none, of 64 workers."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Pool()
        return _default


def pool_of(pool: Pool | None) -> Pool:
    """``pool``, or the default one. Raises TypeError for what is no pool."""
    if pool is None:
        return default_pool()
    if not isinstance(pool, Pool):
        raise TypeError(f"pool: expected a burble.Pool or None, found {type(pool).__name__}")
    return pool


def _at_exit() -> None:
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for pool in list(_pools):
        pool._end(deadline)


def _after_fork() -> None:
    """A child has the pools, but none of their threads, one of which may hold a lock."""
    global _default_lock
    _default_lock = threading.Lock()
    for pool in list(_pools):
        jobs: Iterable[Job] = [*pool._running, *pool._waiting]
        pool._forget()
        for job in jobs:
            job.lost()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
