# SPDX-License-Identifier: MIT
"""The threads in which generations run.

An exception can come between any two lines: Ctrl-C in the main thread, MemoryError,
PyThreadState_SetAsyncExc. The collector, too, can run anywhere, and what it finalizes can start,
cancel and join generations. So there is no lock to release and no counter to restore here.

* Each step is one operation of a container, which CPython does atomically: a job is in the queue
  or held by its thread.
* A thread is a :class:`_Worker`, to which only the thread itself refers. The pool's registries
  refer to it weakly: however the thread ends, they forget it.
* A job is held by a :class:`_Ticket`. If a ticket is deleted before its job has ended, the
  job's readers are told.
* After each change, both sides look again: a thread that becomes free looks for jobs, and a caller
  that adds a job looks for free threads. At least one of the two sees the other.
"""

from __future__ import annotations

import atexit
import contextvars
import itertools
import threading
import time
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Executor, Future, InvalidStateError
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Callable, Protocol, TypeVar

from . import _core
from ._forks import PerProcess
from ._job import LOST
from ._options import count, seconds

T = TypeVar("T")
K = TypeVar("K")
P = TypeVar("P", bound="Threads")

WORKERS = 64

# How long the interpreter waits for generations that it has cancelled when it exits, in seconds.
_EXIT_TIMEOUT = 5.0


class Job(Protocol):
    """What a pool runs."""

    @property
    def gone(self) -> bool:
        """Whether its result is no longer wanted, so that it need not run."""

    def run(self) -> None:
        """In a thread of the pool; raises nothing."""

    def cancel(self) -> None:
        """End soon, or, where it waits for its turn, never run. From any thread; takes no lock."""

    def dropped(self) -> None:
        """The pool has dropped it. If it has not ended yet, it never will: its readers are told.
        Idempotent."""


class _Call:
    """A job of ``submit``."""

    def __init__(
        self, function: Callable[[], Any], cancel: Callable[[], object] | None = None
    ) -> None:
        self.future: Future[Any] = Future()
        self._function: Callable[[], Any] | None = function
        self._cancel = cancel
        # Whoever takes this out moves the future on from its first state, which is done once.
        self._turn = [None]

    @property
    def gone(self) -> bool:
        return self.future.cancelled()

    def run(self) -> None:
        function, self._function = self._function, None
        if function is None or not self._begin():
            return
        try:
            result = function()
        except BaseException as exception:
            self.future.set_exception(_core.as_failure(exception))
            del self  # or the exception, which has this frame, and the future refer to each other
        else:
            self.future.set_result(result)

    def _begin(self) -> bool:
        """Whether it must run; if it was cancelled, its waiters are told."""
        try:
            self._turn.pop()
        except IndexError:
            return False
        return self.future.set_running_or_notify_cancel()

    def cancel(self) -> None:
        if self.future.cancel():
            self._begin()
        elif self._cancel is not None:
            self._cancel()

    def dropped(self) -> None:
        if not self.future.done():
            try:
                self.future.set_exception(_core.ProducerDied(LOST))
            except InvalidStateError:  # it was cancelled just now
                self.cancel()


class _Ticket:
    """A job that a pool holds, with the context in which it was started."""

    __slots__ = ("context", "job", "process")

    def __init__(self, job: Job) -> None:
        self.process = _core.forks()
        self.context = contextvars.copy_context()
        self.job: Job | None = job  # last: what is not whole drops nothing

    @property
    def gone(self) -> bool:
        job = self.job
        return job is None or job.gone

    def cancel(self) -> None:
        job = self.job
        if job is not None:
            job.cancel()

    def __del__(self) -> None:
        job = getattr(self, "job", None)
        if job is not None and self.process == _core.forks():  # else it is the parent's job
            job.dropped()


def _dead() -> None:
    """A weak reference to an object that no longer exists, or never has."""


class _Worker:
    """A thread of a pool, which alone refers to it."""

    __slots__ = ("__weakref__", "number", "pool", "thread", "ticket")

    def __init__(self, number: int, pool: weakref.ref[Threads]) -> None:
        self.number = number
        self.pool: Callable[[], Threads | None] = pool
        self.thread: Callable[[], threading.Thread | None] = _dead
        self.ticket: _Ticket | None = None  # what it runs

    def enter(self, registry: dict[int, weakref.ref[_Worker]]) -> None:
        """Stay there until somebody takes it out, or it is no more. (What takes it out then is a
        function written in C, which nothing interrupts.)"""
        registry[self.number] = weakref.ref(self, partial(registry.pop, self.number))

    def leave(self) -> None:
        """The thread ends. Idempotent."""
        self.ticket = None
        pool = self.pool()
        if pool is not None:
            pool._remove(self)
            pool._staff()  # for what has come meanwhile
            self.pool = _dead

    def __del__(self) -> None:
        if hasattr(self, "pool"):
            self.leave()


def _serve(worker: _Worker) -> None:
    """The loop of a pool's thread. While it is free, it does not refer to the pool: a pool
    without references is deleted, and its threads end."""
    pool = None
    called = True
    try:
        process = _core.forks()
        while True:
            pool = worker.pool()
            served = False
            while pool is not None and pool._take(worker):
                served = True
                ticket = worker.ticket
                if ticket is not None and ticket.job is not None:
                    run, context = ticket.job.run, ticket.context
                    del ticket  # this frame may live on, in an exception of the job's
                    context.run(run)
                    del run, context
                worker.ticket = None
                if process != _core.forks():  # a job has forked, and this is the child
                    return
            if pool is None or pool._closed or not (served or called):
                return
            worker.enter(pool._free)
            called = bool(pool._waiting) or pool._closed
            bell, timeout = pool._bell, min(pool.idle_timeout, threading.TIMEOUT_MAX)
            del pool
            if not called:
                called = _wait(bell, timeout)
    finally:
        pool = None
        worker.leave()
        del worker


def _wait(bell: SimpleQueue[Any], timeout: float) -> bool:
    """Wait for an item; whether one came."""
    try:
        bell.get(timeout=timeout)
    except Empty:
        return False
    return True


class _Parts:
    """What a pool has in one process: a forked child has none of its parent's jobs and threads."""

    __slots__ = ("bell", "free", "waiting", "workers")

    def __init__(self) -> None:
        self.waiting: OrderedDict[_Ticket, None] = OrderedDict()
        # The threads, and those of them that are free: that have begun just now, or wait.
        self.workers: dict[int, weakref.ref[_Worker]] = {}
        self.free: dict[int, weakref.ref[_Worker]] = {}
        # Where they wait: each item makes one of them look for jobs. One too many does no harm.
        self.bell: SimpleQueue[Any] = SimpleQueue()


class Threads(Executor):
    """A :class:`Pool`, but for the streams that begin in it."""

    def __init__(self, workers: int = WORKERS, *, idle_timeout: float = 30.0) -> None:
        self.workers = count("workers", workers, 1)
        self.idle_timeout = seconds("idle_timeout", idle_timeout, 0.0)
        self._closed = False
        self._numbers = itertools.count(1)
        self._parts = PerProcess(_Parts)
        self._tidy_at = 8  # how many wait
        _pools.add(self)

    @property
    def _waiting(self) -> OrderedDict[_Ticket, None]:
        return self._parts().waiting

    @property
    def _workers(self) -> dict[int, weakref.ref[_Worker]]:
        return self._parts().workers

    @property
    def _free(self) -> dict[int, weakref.ref[_Worker]]:
        return self._parts().free

    @property
    def _bell(self) -> SimpleQueue[Any]:
        return self._parts().bell

    def _living(self) -> list[_Worker]:
        workers = (reference() for reference in self._workers.copy().values())
        return [worker for worker in workers if worker is not None]

    @property
    def _threads(self) -> set[threading.Thread]:
        threads = (worker.thread() for worker in self._living())
        return {thread for thread in threads if thread is not None and thread.ident is not None}

    def _tickets(self) -> list[_Ticket]:
        """What runs."""
        tickets = (worker.ticket for worker in self._living())
        return [ticket for ticket in tickets if ticket is not None]

    @property
    def running(self) -> int:
        """The number of jobs that are running."""
        return len(self._tickets())

    @property
    def waiting(self) -> int:
        """The number of jobs that wait for a thread."""
        return sum(not ticket.gone for ticket in _copy(self._waiting))

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.running} running, {self.waiting} waiting"
        return f"<burble.Pool of {self.workers}: {state}>"

    # ---- what runs ---------------------------------------------------------------------------

    def start(self, job: Job) -> None:
        """Run ``job`` when its turn comes, in a copy of the caller's context
        (``contextvars``). Raises RuntimeError where the pool is closed."""
        if len(self._waiting) >= self._tidy_at:
            self._tidy()
        self._check_open()
        ticket = _Ticket(job)
        try:
            self._waiting[ticket] = None
            self._check_open()  # pairs with _refuse: who closes it looks at what waits after that
            self._staff()
        except BaseException:
            self._waiting.pop(ticket, None)
            ticket.cancel()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the pool is closed")

    def _tidy(self) -> None:
        """Drop the jobs that are no longer wanted, with everything that they refer to."""
        for ticket in _copy(self._waiting):
            if ticket.gone:
                self._waiting.pop(ticket, None)
                ticket.cancel()
        # Not before there are twice as many: so it costs each job a few looks at most.
        self._tidy_at = 2 * len(self._waiting) + 8

    def _staff(self) -> None:
        """Make a thread look at the waiting jobs: a free one, or a new one."""
        if not self._waiting:
            return
        if self._bell.qsize() < len(self._free):
            self._bell.put(None)
        while len(self._waiting) > len(self._free) and len(self._workers) < self.workers:
            if self._begin_thread():
                return

    def _begin_thread(self) -> bool:
        """One more thread. False: other threads have begun some at the same time, and it is to be
        looked anew whether one is needed."""
        worker = _Worker(next(self._numbers), weakref.ref(self, self._bell.put))
        thread = threading.Thread(
            target=_serve, args=(worker,), name=f"burble-{worker.number}", daemon=True
        )
        worker.thread = weakref.ref(thread)
        try:
            worker.enter(self._workers)
            if worker.number not in _copy(self._workers)[: self.workers]:  # whichever came first
                self._dismiss(worker)
                return False
            worker.enter(self._free)
            thread.start()
        except BaseException as exception:
            if thread.ident is None:
                self._dismiss(worker)
            # Where the system has no thread left, those that there are do the work.
            if not isinstance(exception, Exception) or not self._workers:
                raise
        return True

    def _dismiss(self, worker: _Worker) -> None:
        """The worker has not begun to work, and is removed."""
        self._remove(worker)
        worker.pool = _dead

    def _remove(self, worker: _Worker) -> None:
        self._free.pop(worker.number, None)
        self._workers.pop(worker.number, None)

    def _take(self, worker: _Worker) -> bool:
        """The next job, into the worker's hands; whether there was one."""
        self._free.pop(worker.number, None)
        while self._waiting:
            try:
                worker.ticket = self._waiting.popitem(last=False)[0]
            except KeyError:  # another one was faster
                continue
            if not worker.ticket.gone:
                return True
            worker.ticket.cancel()
            worker.ticket = None
        return False

    # ---- as an executor ----------------------------------------------------------------------

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call ``fn(*args, **kwargs)`` when a thread is free, in a copy of the caller's context.
        Raises RuntimeError after ``close``.

        An exception of ``fn`` becomes the exception of the future; a StopIteration,
        StopAsyncIteration, GeneratorExit or cancellation becomes the cause of a RuntimeError.
        """
        return self.call(lambda: fn(*args, **kwargs))

    def call(
        self, function: Callable[[], T], cancel: Callable[[], object] | None = None
    ) -> Future[T]:
        """As ``submit``, and say how the function is told to end while it runs."""
        call = _Call(function, cancel)
        self.start(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more work, and wait, without a bound, until all jobs are done."""
        self._refuse()
        threads = self._threads
        if cancel_futures:
            for ticket in _copy(self._waiting):
                ticket.cancel()
        if wait:
            for thread in threads:
                thread.join()

    def _refuse(self) -> None:
        """Take no more work. The threads that are free end."""
        self._closed = True
        for _ in range(len(self._free)):
            self._bell.put(None)

    def close(self, timeout: float = 10.0) -> None:
        """Accept no more work, cancel all waiting and running jobs, and wait until they end.

        Idempotent. If a thread is still running after ``timeout`` seconds, this returns with a
        :exc:`RuntimeWarning`, and the thread keeps running.
        """
        timeout = seconds("timeout", timeout, 0.0)
        left = self._end(time.monotonic() + timeout)
        if left:
            warnings.warn(
                f"{left} of the pool's threads did not end within {timeout:g} s: the functions "
                "that they run have not called put() since then, or do not return",
                RuntimeWarning,
                stacklevel=2,
            )

    def _end(self, deadline: float) -> int:
        """Cancel all, and join the threads until ``deadline``; how many are left."""
        self._refuse()
        threads = self._threads - {threading.current_thread()}
        for ticket in [*_copy(self._waiting), *self._tickets()]:
            ticket.cancel()
        for thread in threads:
            thread.join(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))
        return sum(thread.is_alive() for thread in threads)

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _copy(items: Iterable[K]) -> list[K]:
    """What is there now. The collector may run meanwhile, and what it finalizes change that."""
    while True:
        try:
            return list(items)
        except RuntimeError:  # changed while it was iterated
            continue


# ---- the pool that there is anyway, and the end of the process ---------------------------------

_pools: weakref.WeakSet[Threads] = weakref.WeakSet()
_default: dict[str, Threads] = {}


def default_pool() -> Threads:
    """The default pool, of 64 workers."""
    return _default.get("pool") or _default.setdefault("pool", Threads())


def pool_of(pool: Threads | None) -> Threads:
    """``pool``, or the default one. Raises TypeError for what is no pool."""
    if pool is None:
        return default_pool()
    if not isinstance(pool, Threads):
        raise TypeError(f"pool: expected a burble.Pool or None, found {type(pool).__name__}")
    return pool


def _at_exit() -> None:
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for pool in list(_pools):
        pool._end(deadline)


atexit.register(_at_exit)
