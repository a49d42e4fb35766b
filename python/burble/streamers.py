# SPDX-License-Identifier: MIT
"""Streamers with the names, arguments and protocol of transformers' streamers.

They differ where transformers' streamers fail:

* Empty chunks are not delivered to the consumer; but each one restarts the timeout.
* The text, joined, equals ``tokenizer.decode`` of all ids at once.
* A consumer never waits for a generation thread that has died: it gets :exc:`ProducerDied` after
  the text so far, or, with :meth:`run`, the exception itself.
* The asynchronous class can be created anywhere, not only in a running loop.
* ``cancel()`` stops the generation at its next token.
* ``stop`` strings end the text; see :class:`TextStreamer` for how they end the generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Coroutine, Generator
from concurrent.futures import Executor
from typing import Any, Callable, Literal, TypeVar

from . import _core
from ._failure import clear_frames
from ._generate import Call, name_of, with_criteria
from ._options import NAMES as OPTION_NAMES
from ._text import warn_unused
from ._threads import Threads, default_pool
from ._tokenizers import decoding_of, enders_of
from .detokenizer import Stop, StopMatch, stop_strings

T = TypeVar("T")
Chunk = Literal["word", "token"]
OnTimeout = Literal["raise", "stop"]


# What a streamer would otherwise pass on to the tokenizer's decode, which may take anything.
_OF_STREAMS = OPTION_NAMES | {"batch", "decode_kwargs", "eos_token_id", "pool"}


def _mark_exception_retrieved(task: asyncio.Task[Any]) -> None:
    """Tell a finished task that its exception was seen."""
    if not task.cancelled():
        task.exception()


def _check(name: str, value: Any, allowed: tuple[str, str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected {allowed[0]!r} or {allowed[1]!r}, found {value!r}")


class _Run(Coroutine[Any, Any, T]):
    """The coroutine of run(), which also hears of a cancellation before its first step.

    A coroutine that is cancelled before it has begun ends without running a line of its own, and
    the consumer would wait for a generation that never comes.
    """

    def __init__(self, streamer: TextStreamer, running: Coroutine[Any, Any, T]) -> None:
        self._streamer = streamer
        self._running = running
        self._begun = False
        self.__name__ = "run"
        self.__qualname__ = f"{type(streamer).__qualname__}.run"

    def send(self, value: Any) -> Any:
        self._begun = True
        return self._running.send(value)

    def throw(self, *exception: Any) -> Any:
        if not self._begun:
            self._streamer.cancel()
        return self._running.throw(*exception)

    def close(self) -> None:
        if not self._begun:
            self._streamer.cancel()
        self._running.close()

    def __await__(self) -> Generator[Any, Any, T]:
        self._begun = True
        return (yield from self._running.__await__())


class TextStreamer(_core.Streamer):
    """Prints the text to standard output, in whole words, as it is generated.

    :param tokenizer: any tokenizer of transformers (fast or slow), or a ``tokenizers.Tokenizer``.
    :param skip_prompt: leave out the first ``put`` of a sequence, which is the prompt.
    :param chunk: ``"word"``: chunks as transformers' streamers cut them; ``"token"``: text as early
        as possible.
    :param stop: one or several stop strings, at which the text ends, as for :class:`Detokenizer`.
        The prompt is not searched: that is the first ``put`` of a sequence, if it has the shape
        ``[1, n]``, as that of ``generate`` has.
    :param include_stop: whether the text includes the stop string.
    :param decode_kwargs: passed to the tokenizer's ``decode``.

    A stop string ends the text at once: the reader sees the end, and ``finish_reason`` is
    ``"stop"``. There are three ways to end the generation, too: use :meth:`run`; pass
    ``stopping_criteria=[streamer.stopping_criteria]`` to transformers' ``generate`` in your own
    thread; or check ``should_stop`` in your own loop. Otherwise the generation goes on to its own
    end, and its tokens are ignored.
    """

    def __init__(
        self,
        tokenizer: Any,
        skip_prompt: bool = False,
        *,
        chunk: Chunk = "word",
        stop: Stop = (),
        include_stop: bool = False,
        **decode_kwargs: Any,
    ) -> None:
        self._init(tokenizer, skip_prompt, chunk, stop, include_stop, decode_kwargs)

    def _init(
        self,
        tokenizer: Any,
        skip_prompt: bool,
        chunk: Chunk,
        stop: Stop,
        include_stop: bool,
        decode_kwargs: dict[str, Any],
        timeout: float | None = None,
        on_timeout: OnTimeout = "raise",
    ) -> None:
        _check("chunk", chunk, ("word", "token"))
        _check("on_timeout", on_timeout, ("raise", "stop"))
        for name in sorted(decode_kwargs.keys() & _OF_STREAMS):
            raise TypeError(
                f"{name}: {type(self).__name__} has no such option, but burble.stream has"
            )
        source, skip_special = decoding_of(tokenizer, decode_kwargs)
        strings = stop_strings(stop)
        detokenizer = _core.Detokenizer(
            source,
            skip_special,
            strings,
            include_stop,
            enders=enders_of(source, skip_special, strings),
        )
        _core.Streamer.__init__(
            self, detokenizer, skip_prompt, chunk, timeout, on_timeout == "stop"
        )
        self.tokenizer = tokenizer
        self.decode_kwargs = decode_kwargs
        self._has_stop_strings = bool(strings)
        self._run_task: asyncio.Task[Any] | None = None
        self._run_in = 0  # the process whose task that is

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print ``text``, and a newline at the end of the stream. To be overridden."""
        print(text, flush=True, end=None if stream_end else "")

    @property
    def stopped(self) -> StopMatch | None:
        """The stop string that ended the last text that was read, if ``finish_reason`` is
        ``"stop"``; its position is in characters of the generated text."""
        match = self._match
        return None if match is None else StopMatch(*match)

    def stopping_criteria(self, input_ids: Any, scores: Any = None, **kwargs: Any) -> Any:
        """Tells transformers' ``generate`` to end after a stop string (or after ``cancel()``). Pass
        it as ``stopping_criteria=[streamer.stopping_criteria]``.

        ``generate`` then returns as usual. It may have generated one token more than the text has,
        because it checks the criterion before it puts a token. :meth:`run` passes it itself.
        """
        import torch

        return torch.full(
            (input_ids.shape[0],), self.should_stop, dtype=torch.bool, device=input_ids.device
        )

    def run(
        self,
        generate: Callable[..., T],
        /,
        *args: Any,
        executor: Executor | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, T | Any]:  # Any: None where a stop string ended another function
        """Run ``generate(*args, streamer=self, **kwargs)`` in a thread; return what it returns.

        Usually called as ``asyncio.create_task(streamer.run(model.generate, **inputs))``. An
        exception of ``generate`` is raised in the consumer, after the text so far, and in the task
        that awaits this. Cancelling the task stops the generation at its next token. ``generate``
        runs in a copy of the task's context.

        A stop string ends the generation, too. If ``generate`` has a parameter
        ``stopping_criteria``, as that of transformers has, it is used, and this returns the result
        of ``generate``. Any other function gets :exc:`Stopped` from its ``put``, and this returns
        None.

        :param generate: any function that calls ``put`` and ``end`` of its ``streamer``.
        :param executor: where ``generate`` runs; default: burble's own :class:`Pool`, of 64
            threads.
        """
        return _Run(self, self._run(generate, args, executor, kwargs))

    async def _run(
        self,
        generate: Callable[..., T],
        args: tuple[Any, ...],
        executor: Executor | None,
        kwargs: dict[str, Any],
    ) -> T | None:
        self._run_task = asyncio.current_task()
        self._run_in = _core.forks()
        self._begin()
        try:
            Call(generate, args, kwargs).refuse_beams()
            pool = default_pool() if executor is None else executor
            call = functools.partial(self._generate, generate, args, kwargs)
            if isinstance(pool, Threads):
                future = pool.call(call, self.cancel)
            else:
                future = pool.submit(contextvars.copy_context().run, call)
        except Exception as exception:
            self._fail(exception)
            raise
        except BaseException:  # from outside: it may have begun
            self.cancel()
            raise
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            del self, generate, args, kwargs, call, future  # an exception keeps this frame

    def _error_delivered(self) -> None:
        """The consumer has got the exception of run(): its task need not report it as well."""
        task = self._run_task
        if task is None or self._run_in != _core.forks():  # the parent's loop is not to be woken
            return
        if task.done():
            _mark_exception_retrieved(task)
            return
        # The consumer may be in another thread than the task, and that one's loop may be closed.
        with contextlib.suppress(RuntimeError):
            task.get_loop().call_soon_threadsafe(task.add_done_callback, _mark_exception_retrieved)

    def _generate(
        self, generate: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T | None:
        """What run() runs in the thread."""
        try:
            if self._has_stop_strings:
                told = with_criteria(generate, args, kwargs, self.stopping_criteria)
                if told is not None:
                    args, kwargs = told
                self._raise_stopped = told is None
            result = generate(*args, streamer=self, **kwargs)
            if not self._used and not self.should_stop:
                warn_unused(name_of(generate))
            if not self._written:
                # generate may have caught it, and thought nothing of it.
                with contextlib.suppress(_core.Cancelled):
                    self.end()
            return result
        except BaseException as exception:
            if isinstance(exception, _core.Stopped) and self._stopped:
                self.end()
                return None
            clear_frames(exception)
            failure = _core.as_failure(exception)
            self._fail(failure)
            if failure is exception:
                raise
            raise failure from exception
        finally:
            self._raise_stopped = False
            del self, generate, args, kwargs  # an exception keeps this frame


class _Timed(TextStreamer):
    """A streamer that is read, with a timeout."""

    def __init__(
        self,
        tokenizer: Any,
        skip_prompt: bool = False,
        timeout: float | None = None,
        *,
        chunk: Chunk = "word",
        on_timeout: OnTimeout = "raise",
        stop: Stop = (),
        include_stop: bool = False,
        **decode_kwargs: Any,
    ) -> None:
        self._init(
            tokenizer, skip_prompt, chunk, stop, include_stop, decode_kwargs, timeout, on_timeout
        )


class TextIteratorStreamer(_core.IteratorStreamer, _Timed):
    """Gives the text to a thread that iterates: ``for new_text in streamer``.

    :param timeout: how many seconds to wait for a token, counted from the last one; None: without
        a bound (but not for a generation thread that has died).
    :param on_timeout: ``"raise"`` raises ``queue.Empty``, as transformers does; ``"stop"`` ends the
        iteration without an exception.

    The other parameters are those of :class:`TextStreamer`. One consumer; it may iterate again for
    the next generation.
    """


class AsyncTextIteratorStreamer(_core.AsyncIteratorStreamer, _Timed):
    """Gives the text to a task that iterates: ``async for new_text in streamer``.

    Works with asyncio and uvloop. All streamers of a loop share one file descriptor, and no wake-up
    is sent while the consumer is already running. It may be created anywhere, and read in any loop.

    :param timeout: how many seconds to wait for a token, counted from the last one; None: without
        a bound (but not for a generation thread that has died).
    :param on_timeout: ``"raise"`` raises ``TimeoutError``, as transformers does; ``"stop"`` ends
        the iteration without an exception.

    The other parameters are those of :class:`TextStreamer`. One consumer; it may iterate again for
    the next generation.
    """
