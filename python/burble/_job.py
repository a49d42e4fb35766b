# SPDX-License-Identifier: MIT
"""A generation in a thread of a pool, and waiting for it.

A job refers to what it writes, never to its readers: deleting all readers ends it. What a
generation is given to write to is a sink, which forgets its log when the generation is over: an
exception keeps the frames of a ``generate`` that raised, and those would keep the log, which keeps
the exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Callable, Protocol

from . import _core
from ._failure import clear_frames

# What a job has for a result before there is one.
_NOTHING: Any = object()

LOST = "an exception from outside (Ctrl-C, MemoryError) has ended the thread of the generation"


class Sink(Protocol):
    """Where a generation goes."""

    @property
    def over(self) -> bool:
        """Whether no reader could read further text."""

    def begin(self) -> None:
        """Begin the generation in this thread, which must not wait for its log from now on."""

    def cancel(self) -> None:
        """Say that no more text is wanted. Any thread may call it; takes no lock."""

    def finish(self, result: Any) -> None:
        """The generation has returned: write the rest of the text, then end the log."""

    def fail(self, exception: BaseException) -> None:
        """The generation has raised: write the rest of the text, then fail the log."""

    def close(self) -> None:
        """Forget the log."""


class Job:
    """One call of ``function``, for a :class:`Pool` to run.

    :param name: what ``function`` is called in messages.
    :param function: writes to ``sink``; or None, if other code writes, and calls
        :meth:`settle`.
    """

    __slots__ = (
        "_function",
        "_process",
        "_result",
        "_settled",
        "_sink",
        "_telling",
        "_thread",
        "_traceback",
        "_turn",
        "_watching",
        "error",
        "name",
    )

    def __init__(self, name: str, function: Callable[[], Any] | None, sink: Sink) -> None:
        self.name = name
        self.error: BaseException | None = None
        self._traceback: Any = None
        self._result: Any = _NOTHING
        self._function = function
        self._sink: Sink | None = sink
        # Whoever takes this out decides what becomes of the job: the thread that runs it, or the
        # first cancel() before that. (Taking from a list is atomic.) None: nothing is to run.
        self._turn = None if function is None else [None]
        self._settled = False
        self._process = _core.forks()
        self._thread: int | None = None  # that it runs in
        self._watching: list[_core.Log] = []
        # Its one function is taken out by whoever calls it.
        self._telling: list[Callable[[BaseException], object]] | None = None

    # ---- running -----------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        sink = self._sink
        return sink is None or sink.over

    def run(self) -> None:
        sink = self._sink
        try:
            if sink is not None and self._take_turn():
                self._thread = threading.get_ident()
                sink.begin()
                self._run(sink)
                self.settle()
        finally:
            del self, sink  # frames that an exception keeps have this one behind them

    def _run(self, sink: Sink) -> None:
        function, self._function = self._function, None
        if sink.over or function is None:
            return
        try:
            try:
                self._result = function()
            except _core.Stopped:  # raised by put, to end a function that cannot be told
                self._result = None
            sink.finish(self._result)
        except BaseException as exception:
            trace = sys.exc_info()[2]
            trace = trace and trace.tb_next  # without this frame
            # Not by assignment, which a class may refuse: dataclasses that are frozen do.
            BaseException.with_traceback(exception, trace)
            clear_frames(exception)
            failure = _core.as_failure(exception)
            if self._result is _NOTHING:
                self.error, self._traceback = failure, trace if failure is exception else None
            sink.fail(failure)
            self._tell(failure)
            del trace, failure
        finally:
            del self, sink, function

    def cancel(self) -> None:
        """End it at its next token, or before it begins. Any thread may call it. Idempotent."""
        sink = self._sink
        if sink is not None:
            sink.cancel()
        if self._take_turn():
            self.settle()

    def dropped(self) -> None:
        """The job will never run (again): if it has not ended yet, it fails."""
        sink = self._sink
        if sink is not None:
            sink.fail(_core.ProducerDied(LOST))
        self.settle()

    def _take_turn(self) -> bool:
        if self._turn is None:
            return True
        try:
            self._turn.pop()
        except IndexError:
            return False
        return True

    def settle(self, result: Any = _NOTHING) -> None:
        """The job is over: nothing runs any more. Wakes its waiters. Idempotent: it is called
        again where an exception came in between."""
        if result is not _NOTHING and self._result is _NOTHING:
            self._result = result
        sink = self._sink
        if sink is not None:
            sink.close()
        self._sink = self._function = self._thread = None
        # Pairs with _watch, which appends and looks: one of the two sees the other.
        self._settled = True
        for log in tuple(self._watching):
            log.end()

    # ---- its outcome -------------------------------------------------------------------------

    def result(self, log: _core.Log) -> Any:
        """What it returned; or raise what ended it or ``log``."""
        if log.state == "failed":
            log.reader(-2).take()  # raises it, with the traceback with which it came
        if self._result is not _NOTHING:
            return self._result
        if self.error is not None:
            raise BaseException.with_traceback(self.error, self._traceback)
        if log.state == "cancelled" or self._settled:
            raise _core.Cancelled(f"{self.name} was cancelled")
        raise RuntimeError(f"{self.name} has not returned yet")

    @property
    def _over(self) -> bool:
        """Whether nothing runs any more in this process."""
        return self._settled or self._process != _core.forks()

    def tell(self, function: Callable[[BaseException], object]) -> None:
        """Have ``function`` called with the exception if the job fails, or has failed: where no
        reader is in Python."""
        self._telling = [function]
        if self.error is not None:
            self._tell(self.error)

    def _tell(self, error: BaseException) -> None:
        telling = self._telling
        if telling:
            with contextlib.suppress(IndexError):
                telling.pop()(error)

    # ---- waiting for it ----------------------------------------------------------------------

    def _watch(self, timeout: float | None) -> tuple[_core.Log, _core.Reader]:
        """A log that ends with the job, and fails after ``timeout`` seconds."""
        log = _core.Log(objects=True)
        reader = log.reader()
        log.deadlines(None, None, timeout)
        self._watching.append(log)
        if self._over:
            log.end()
        return log, reader

    def _unwatch(self, log: _core.Log) -> None:
        with contextlib.suppress(ValueError):
            self._watching.remove(log)

    def check_outside(self) -> None:
        """Refuse to wait in the thread that generates, which would wait for itself."""
        if self._thread == threading.get_ident():
            raise RuntimeError(
                f"{self.name} would wait for itself: read, join and leave its stream in "
                "another thread or task than the one that generates"
            )

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is over, at most ``timeout`` seconds (None: without a bound); whether it
        is."""
        if self._over:
            return True
        self.check_outside()
        log, reader = self._watch(timeout)
        try:
            for _ in reader:
                pass
        except _core.TotalTimeout:
            return False
        finally:
            self._unwatch(log)
        return True

    async def wait_async(self, timeout: float | None) -> bool:
        """The same for a task."""
        if self._over:
            return True
        self.check_outside()
        log, reader = self._watch(timeout)
        try:
            async for _ in reader:
                pass
        except _core.TotalTimeout:
            return False
        finally:
            self._unwatch(log)
        return True

    def join(self, timeout: float, stacklevel: int = 2) -> None:
        """Wait for a job that was cancelled, with a warning where it does not end in time."""
        if timeout > 0 and not self.wait(timeout):
            self._warn(timeout, stacklevel + 1)

    async def join_async(self, timeout: float) -> None:
        """The same for a task, also for one that was cancelled itself."""
        if timeout > 0 and not self._over:
            with shield():
                ended = await self.wait_async(timeout)
            if not ended:
                self._warn(timeout, 2)

    def _warn(self, timeout: float, stacklevel: int) -> None:
        warnings.warn(
            f"{self.name} is still running {timeout:g} s after it was cancelled: it has not called "
            "put() since then, or does not return; its thread keeps running",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )


class ExternalSink:
    """The sink of a job that runs nothing: other code writes this log."""

    __slots__ = ("_log",)  # every channel has one

    def __init__(self, log: _core.Log) -> None:
        self._log = log

    @property
    def over(self) -> bool:
        return self._log.state != "open"

    def begin(self) -> None:
        """Do nothing: no generation runs here."""

    def cancel(self) -> None:
        self._log.cancel()

    def finish(self, result: Any) -> None:
        """Do nothing: the writer ends the log."""

    def fail(self, exception: BaseException) -> None:
        self._log.fail(exception)

    def close(self) -> None:
        """Do nothing: the writer may still write, and is then told that the log is over."""


class ExternalSinks:
    """The same for several logs."""

    __slots__ = ("_logs",)

    def __init__(self, logs: Sequence[_core.Log]) -> None:
        self._logs = logs

    @property
    def over(self) -> bool:
        return all(log.state != "open" for log in self._logs)

    def begin(self) -> None:
        """As for one log."""

    def cancel(self) -> None:
        for log in self._logs:
            log.cancel()

    def finish(self, result: Any) -> None:
        """As for one log."""

    def fail(self, exception: BaseException) -> None:
        for log in self._logs:
            log.fail(exception)

    def close(self) -> None:
        """As for one log."""


class External(Job):
    """The work of a thread of a C library, which writes and ends the log of one stream."""

    __slots__ = ()

    def __init__(self, name: str, log: _core.Log) -> None:
        super().__init__(name, None, ExternalSink(log))

    def result(self, log: _core.Log) -> Any:
        return None if log.state == "ended" else super().result(log)


def shield() -> AbstractContextManager[object]:
    """Where cancellation is a state rather than an event, as in trio and anyio, every wait of a
    cancelled task would end at once: a scope that lets it wait."""
    if asyncio._get_running_loop() is None:
        trio = sys.modules.get("trio")
        return contextlib.nullcontext() if trio is None else trio.CancelScope(shield=True)
    anyio = sys.modules.get("anyio")
    if anyio is None or asyncio.current_task() is None:
        return contextlib.nullcontext()
    scope: AbstractContextManager[object] = anyio.CancelScope(shield=True)
    return scope
