# SPDX-License-Identifier: MIT
"""A stream, as its readers see it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, Generic, Literal, TypeVar, cast

from . import _core
from ._collect import collect_after_cancellation
from ._job import Job
from ._options import (
    MOST,
    OnLag,
    Options,
    Start,
    limit,
    one_of,
    optional_seconds,
    start_position,
)
from ._stats import Source, Stats, of_writer
from .detokenizer import StopMatch

T = TypeVar("T")
H = TypeVar("H", bound="Handle")
R = TypeVar("R", bound="Reader[Any]")

# How far a reader that is not iterated, or whose text is not needed, may be behind, if the stream
# has no limit of its own: it must not keep everything.
_MAX_LAG = 1_048_576


class Handle:
    """What holds a generation: leaving its block ends it."""

    # A server has many of these: they are kept small.
    __slots__ = ("__weakref__", "_job", "_options")

    def __init__(self, job: Job, options: Options) -> None:
        self._job = job
        self._options = options

    def cancel(self) -> None:
        """Stop generating at the next token, or before the first one. Readers get the text so far,
        then :exc:`Cancelled`. Any thread may call it. Idempotent; does not wait."""
        self._job.cancel()

    def close(self) -> None:
        """Cancel the generation if it still runs, and wait until it has ended, at most
        ``join_timeout`` seconds; then a :exc:`RuntimeWarning` names the function that does not
        return. Idempotent. For threads; tasks use :meth:`aclose`."""
        self.cancel()
        self._join(3)

    async def aclose(self) -> None:
        """As :meth:`close`, for tasks of asyncio and trio."""
        self.cancel()
        await self._join_async()

    def _join(self, stacklevel: int) -> None:
        self._job.join(self._options.join_timeout, stacklevel)

    async def _join_async(self) -> None:
        await self._job.join_async(self._options.join_timeout)

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel()
        self._join(3)

    async def __aenter__(self: H) -> H:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()


class Stream(Handle, Generic[T]):
    """Text (or items) while they are generated; made by :func:`burble.stream`,
    :func:`burble.iterate` and :func:`burble.channel`.

    ::

        async with burble.stream(model.generate, **inputs, tokenizer=tokenizer) as stream:
            async for text in stream:
                print(text, end="", flush=True)
        print(stream.finish_reason, stream.stats.tokens_per_second)

    Read it with ``async for`` in a task (asyncio, uvloop or trio) or with ``for`` in a thread: one
    consumer at a time. A new iteration continues where the last one stopped. For more consumers,
    make a :meth:`reader` for each. If the generation raises an exception, each reader gets it after
    the text before it.

    Leaving the block, :meth:`aclose`, cancelling the task that reads, and deleting the last
    reference to the stream each end the generation at its next token; the first two also wait for
    the generation.

    Only one thread at a time may read; all other methods may be called from any thread.
    """

    __slots__ = ("_iterated", "_log", "_passed_over", "_reader", "_stats")

    def __init__(self, job: Job, log: _core.Log, options: Options, stats: Source) -> None:
        super().__init__(job, options)
        self._log = log
        self._stats = stats
        self._reader = options.new_reader(log)
        self._iterated = False
        self._passed_over = False

    # ---- reading -----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[T]:
        collect_after_cancellation()
        return cast("AsyncIterator[T]", self._own())

    def __iter__(self) -> Iterator[T]:
        return cast("Iterator[T]", self._own())

    def __anext__(self) -> Awaitable[T]:
        return self._own().__anext__()

    def __next__(self) -> T:
        return cast("T", next(self._own()))

    def _own(self) -> _core.Reader:
        """The stream's own reader: iterating goes straight to it."""
        if self._passed_over or not self._iterated:
            self._job.check_outside()
            self._iterated = True
            if self._passed_over:
                self._return()
                self._passed_over = False
        return self._reader

    def _iteration(self) -> tuple[bool, bool]:
        """Before _own(), for _disown()."""
        return self._iterated, self._passed_over

    def _disown(self, iteration: tuple[bool, bool]) -> None:
        """After _own(): nothing was read by it, so the stream is as before."""
        self._iterated, passed_over = iteration
        if passed_over:
            self._pass_over()

    def _pass_over(self) -> None:
        """Other readers read: while the stream itself is not iterated, it delays nothing."""
        if not self._iterated and not self._passed_over:
            self._reader.limit(self._options.max_lag or _MAX_LAG, "drop_reader")
            self._passed_over = True

    def _return(self) -> None:
        """Somebody iterates it after all. Where its reader was dropped but the text is kept, it
        begins anew there; where it is not kept, reading says Lagged."""
        position = self._reader.position
        self._reader.limit(self._options.max_lag, "block")
        if self._options.keep != 0 and self._log.oldest <= position:
            with contextlib.suppress(_core.Gone):  # it went just now
                self._reader = self._options.new_reader_at(position, self._log)

    def reader(
        self,
        start: Start = 0,
        *,
        max_lag: int | Literal["stream"] | None = "stream",
        on_lag: OnLag = "block",
        coalesce: bool = False,
        interval: float | Literal["stream"] | None = "stream",
    ) -> Reader[T]:
        """Make one more reader, with its own position.

        From now on, while the stream itself is not iterated, its own reader no longer makes the
        generation wait: if it falls behind by more than the stream's ``max_lag`` (None: 1,048,576),
        it is dropped. The readers make the generation wait instead, each at its own ``max_lag``:
        close a reader that you no longer read.

        :param start: ``"tail"`` (the next chunk to be written), ``"oldest"`` (the oldest chunk that
            is kept), or the position of a chunk, counted from 0, as in :attr:`position`.
        :param max_lag: how far the reader may be behind, in ``lag_unit`` of the stream.
            ``"stream"``: the ``max_lag`` of the stream, not counting the text that is kept anyway
            (``keep``). None: any distance; all text that the reader has not read stays in memory.
        :param on_lag: what happens at this limit: ``"block"``: the generation waits;
            ``"drop_reader"``: the generation goes on, and this reader gets :exc:`Lagged`.
        :param coalesce: return all available text in one piece.
        :param interval: seconds between two pieces of text, as for :func:`burble.stream`;
            ``"stream"``: the ``interval`` of the stream. None: each piece at once.
        :raises Gone: if that position is no longer kept (``keep``); its ``oldest`` is the first
            position that is.
        :raises ValueError: for a position beyond the present end.
        """
        one_of("on_lag", on_lag, ("block", "drop_reader"))
        if max_lag == "stream":
            max_lag = self._lag_beside_kept(self._options.max_lag)
        if interval == "stream":
            interval = self._options.interval
        seconds_between = optional_seconds("interval", interval)
        reader = self._log.reader(
            start_position(start), limit(max_lag, ", 'stream' or None"), on_lag
        )
        reader.coalesce = bool(coalesce)
        reader.set_interval(seconds_between)
        self._pass_over()
        return Reader(reader)

    # ---- its outcome -------------------------------------------------------------------------

    async def wait(self) -> Any:
        """Wait until the generation has returned, without reading its text. Return what it
        returned, or raise what it raised. As with :meth:`reader`, the stream's own reader then no
        longer makes the generation wait, unless the stream is iterated."""
        self._job.check_outside()
        self._pass_over()
        with contextlib.suppress(_core.Cancelled):
            while not await self._follow_async():
                pass
        await self._job_ended_async()
        return self.result

    def join(self, timeout: float | None = None) -> Any:
        """As :meth:`wait`, for threads.

        :param timeout: seconds; then :exc:`Timeout` is raised, and the generation goes on.
        """
        self._job.check_outside()
        self._pass_over()
        until = None if timeout is None else time.monotonic() + timeout
        returned = True
        try:
            while not self._follow(until):
                pass
        except _core.Cancelled:
            left = self._options.join_timeout if until is None else _seconds_to(until)
            returned = self._job.wait(left) or timeout is None
        except _core.Timeout:  # our own, where the stream has none
            returned = self.state != "open"
        if not returned:
            raise _core.Timeout(f"{self._job.name} has not returned within {timeout:g} s")
        return self.result

    def _follower(self) -> _core.Reader:
        """A reader that only waits for the end: so it notices timeouts, too. It holds up nothing,
        and keeps no more than the stream's own reader does."""
        reader = self._log.reader(-2, self._options.max_lag or _MAX_LAG, "drop_reader")
        with contextlib.suppress(ValueError):  # items cannot be put together
            reader.coalesce = True
        return reader

    def _follow(self, until: float | None) -> bool:
        """Wait for the end; whether it has come, or the follower fell behind and another one is
        to follow."""
        follower = self._follower()
        follower.give_up(None if until is None else _seconds_to(until))
        try:
            for _ in follower:
                pass
        except _core.Lagged as error:
            if error is self.error:  # not the follower's: what the generation raised
                raise
            return False
        return True

    async def _follow_async(self) -> bool:
        """As _follow, for tasks."""
        try:
            async for _ in self._follower():
                pass
        except _core.Lagged as error:
            if error is self.error:
                raise
            return False
        return True

    async def _job_ended_async(self) -> None:
        if self.state == "cancelled":
            await self._job.wait_async(self._options.join_timeout)

    @property
    def result(self) -> Any:
        """The return value of the generation; available once the iteration has ended. (None if
        burble had to end the function by an exception, at a stop string or an end of sequence.)

        Raises the exception that ended the generation; :exc:`Cancelled` if it was cancelled and has
        not returned; RuntimeError while it runs.
        """
        return self._job.result(self._log)

    @property
    def stats(self) -> Stats:
        """The number of tokens so far, and the speed."""
        source = self._stats
        if isinstance(source, _core.Writer):
            return of_writer(source, self._log)
        return source(self._log)

    @property
    def finish_reason(self) -> str | None:
        """Why the text ended. ``"stop"``: a stop string; ``"eos"``: an end-of-sequence token;
        ``"length"``: the limit on tokens that you set, or that of transformers; ``"time"``:
        ``max_time``; ``"end"``: the function returned, for an unknown reason. None: it has not
        ended, has failed or was cancelled."""
        return self._log.reason or ("end" if self.state == "ended" else None)

    @property
    def stopped(self) -> StopMatch | None:
        """The stop string that ended the text, with its position in characters of the generated
        text; None: none did."""
        match = self._log.match
        return None if match is None else StopMatch(*match)

    @property
    def state(self) -> str:
        """``"open"``, ``"ended"``, ``"failed"`` or ``"cancelled"``: the state of the writing side,
        which may be ahead of the readers."""
        return self._log.state

    @property
    def error(self) -> BaseException | None:
        """The exception with which the stream failed; else None."""
        return self._log.error

    @property
    def position(self) -> int:
        """The position of the next chunk that iterating gives: where :meth:`reader` resumes."""
        return self._reader.position

    @property
    def id(self) -> str:
        """The id of the stream in its server-sent events: 128 random bits, as text."""
        return self._log.id

    @property
    def keeps(self) -> bool:
        """Whether it keeps text (``keep=``) for readers that come later."""
        return self._options.keep != 0

    @property
    def _lag_of_followers(self) -> int | None:
        """How far a reader that never makes the generation wait may be behind."""
        return self._lag_beside_kept(max(self._options.max_lag, 65_536))

    def _lag_beside_kept(self, max_lag: int) -> int | None:
        """How far a reader may be behind for which no more than ``max_lag`` is to be kept that is
        not kept anyway: as far beyond what is kept (in bytes, which are no fewer than characters or
        tokens). None, for any distance, where all is kept or the stream itself has no limit."""
        keep = self._options.keep
        return None if keep < 0 or self._options.max_lag == 0 else min(keep + max_lag, MOST)

    def __repr__(self) -> str:
        return f"<burble.Stream of {self._job.name}: {self.state}, {self._log.position} chunks>"


def _seconds_to(until: float) -> float:
    return max(0.0, until - time.monotonic())


class Reader(Generic[T]):
    """One more reader of a :class:`Stream`, made by its ``reader``.

    ::

        async with stream.reader("tail") as reader:
            async for text in reader:
                ...

    It is iterated like a stream, with the same errors. One consumer at a time. A generation ends if
    its stream and all its readers have been deleted.
    """

    def __init__(self, reader: _core.Reader) -> None:
        self._reader = reader

    def _own(self) -> _core.Reader:
        return self._reader

    def _iteration(self) -> tuple[bool, bool]:
        return True, False

    def _disown(self, iteration: tuple[bool, bool]) -> None:
        """It has no state to restore."""

    def __aiter__(self) -> AsyncIterator[T]:
        collect_after_cancellation()
        return cast("AsyncIterator[T]", self._reader)

    def __iter__(self) -> Iterator[T]:
        return cast("Iterator[T]", self._reader)

    def __anext__(self) -> Awaitable[T]:
        return self._reader.__anext__()

    def __next__(self) -> T:
        return cast("T", next(self._reader))

    def take(self) -> tuple[int, T] | None:
        """The next chunk and its position, without waiting; None: no chunk is available yet. At the
        end, StopIteration; errors are raised as in iteration."""
        return self._reader.take()

    @property
    def position(self) -> int:
        """The position of the next chunk."""
        return self._reader.position

    @property
    def error(self) -> BaseException | None:
        """The exception with which its stream failed; else None."""
        return self._reader.error

    @property
    def id(self) -> str:
        """The id of its stream."""
        return self._reader.id

    @property
    def last(self) -> int | None:
        """The position of the last chunk that was returned; None: none was."""
        return self._reader.last

    def close(self) -> None:
        """Stop reading: the reader no longer makes the generation wait, and keeps no text. A thread
        or task that waits for this reader stops waiting. Idempotent."""
        self._reader.close()

    def __repr__(self) -> str:
        return f"<burble.Reader at {self.position}>"

    def __enter__(self: R) -> R:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self: R) -> R:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()
