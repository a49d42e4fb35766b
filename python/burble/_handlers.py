# SPDX-License-Identifier: MIT
"""From a request to its stream: the functions of a program that answer the requests of a server.

A request comes to Python once: a thread of the server calls :meth:`Backend.take`, which hands it to
a thread of a pool, or to a loop, where the program's handler makes a stream. The C side then reads
the stream's log: no Python runs for its tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import operator
import threading
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Callable, Union

from . import _core
from ._batch import BatchStream
from ._deadlines import Deadlines
from ._generate import name_of
from ._options import uint32
from ._request import Request, RequestError
from ._start import channel, iterate
from ._stream import Stream
from ._threads import Threads

Answer = Union[Stream[str], BatchStream, Sequence[Stream[str]], Iterator[str], str]
Handler = Callable[[Request], Union[Answer, Coroutine[Any, Any, Answer]]]

_logger = logging.getLogger("burble")


def _streams_of(result: Any, n: int) -> list[Stream[str]]:
    """The result of a handler, as a stream for each choice."""
    if isinstance(result, BatchStream):
        return list(result.rows)
    if isinstance(result, Stream):
        return [result]
    if isinstance(result, str):
        writer, stream = channel()
        writer.put_text(result)
        writer.end()
        return [stream]
    if isinstance(result, (list, tuple)) and result:
        for item in result:
            if not isinstance(item, Stream):
                raise TypeError(f"expected a list of streams, found {name_of(item)} in it")
        return list(result)
    if inspect.isgenerator(result):
        texts: Any = result
        return [iterate(texts, coalesce=True)]
    raise TypeError(
        "expected a stream, a batch, a list of streams, a generator of text or a str, found "
        + name_of(result)
    )


class Backend:
    """What answers the requests for one model."""

    def __init__(
        self,
        name: str,
        handler: Handler,
        pool: Threads,
        loop: HandlerLoop,
        deadlines: Deadlines,
    ) -> None:
        self._name = name
        self._deadlines = deadlines
        self._handler = handler
        self._pool = pool
        self._loop = loop if is_async(handler) else None
        # A stream must live as long as the server reads its log.
        self._kept: dict[Stream[str], None] = {}

    def take(self, answer: _core.Answer, facts: dict[str, Any]) -> tuple[int, str] | None:
        """Called in a thread of the server, once for each request: None, or a refusal."""
        try:
            self._tidy()
            request = Request(answer, facts)
            if self._loop is None:
                self._pool.start(_Work(self, request))
            else:
                self._loop.begin(self.answer_async, request)
        except Exception as error:
            return self._told(error, "a request was not taken")
        return None

    def answer(self, request: Request) -> None:
        """In a thread of the pool."""
        try:
            self._give(request, self._handler(request))
        except BaseException as error:
            self._fail(request, error)

    async def answer_async(self, request: Request) -> None:
        """In the loop of the owner."""
        asked = gone = None
        try:
            asked = asyncio.ensure_future(self._handler(request))  # type: ignore[arg-type]
            gone = asyncio.ensure_future(request.until_cancelled())
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                asked.cancel()
                await asyncio.wait({asked})
            self._give(request, asked.result())
        except BaseException as error:
            self._fail(request, error)
        finally:
            for task in (asked, gone):
                if task is not None:
                    task.cancel()

    def _give(self, request: Request, result: Any) -> None:
        streams = _streams_of(result, request.n)
        for stream in streams:
            self._kept[stream] = None
        try:
            for stream in streams:
                self._deadlines.watch(stream._log)
            readers = tuple(stream._log.reader(stream.position) for stream in streams)
            prompt = request.prompt_tokens
            if prompt is None:
                prompt = streams[0].stats.prompt_tokens or 0
            else:
                prompt = uint32("prompt_tokens", operator.index(prompt), 0)
            request._answer.read(readers, prompt)
        except BaseException as error:
            for stream in streams:
                self._kept.pop(stream, None)
                stream.cancel()
            if isinstance(error, _core.Error) and request.cancelled:
                return  # the server was closed meanwhile
            raise
        for stream in streams:
            stream._reader.close()  # the server reads instead: this one would keep the text
        for job in {stream._job for stream in streams}:
            job.tell(self._log_failure)

    def _fail(self, request: Request, error: BaseException) -> None:
        request._answer.fail(*self._told(error, f"{request!r} failed"))

    def _told(self, error: BaseException, what: str) -> tuple[int, str]:
        """What a client is told of an exception, which is logged."""
        if isinstance(error, RequestError):
            # UTF-8, without the NUL at which C's strings end.
            message = str(error).replace("\0", "\N{REPLACEMENT CHARACTER}")
            return error.status, message.encode("utf-8", "replace").decode()
        if isinstance(error, (_core.Cancelled, asyncio.CancelledError)):
            return 503, "the request was cancelled"
        name = name_of(self._handler)
        _logger.error("model %r, %s: %s", self._name, name, what, exc_info=error)
        return 500, f"the handler failed: {type(error).__name__}"

    def _log_failure(self, error: BaseException) -> None:
        if not isinstance(error, _core.Error):
            _logger.error("model %r: a generation failed", self._name, exc_info=error)

    def _tidy(self) -> None:
        for stream in list(self._kept):
            if stream.state != "open":
                self._kept.pop(stream, None)

    def close(self) -> None:
        for stream in list(self._kept):
            stream.cancel()
        self._kept.clear()


class _Work:
    """A request that waits for a thread of the pool, or has one."""

    __slots__ = ("_backend", "_request")

    def __init__(self, backend: Backend, request: Request) -> None:
        self._backend = backend
        self._request: Request | None = request

    @property
    def gone(self) -> bool:
        request = self._request
        return request is None or request.cancelled

    def run(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            self._backend.answer(request)

    def cancel(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request._answer.fail(503, "the server stops")

    def dropped(self) -> None:
        self._request = None  # what is left of its answer fails


def is_async(handler: Any) -> bool:
    call = getattr(type(handler), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


class HandlerLoop:
    """Where ``async def`` handlers run: the loop of asyncio in which the server was entered, else
    one in a thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None:
            self._loop = loop

    def need(self) -> None:
        """Have a loop from now on."""
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_run_loop, args=(loop,), name="burble-handlers", daemon=True
            )
            self._thread.start()

    def begin(
        self, function: Callable[[Request], Coroutine[Any, Any, None]], request: Request
    ) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._create, function, request)

    def _create(
        self, function: Callable[[Request], Coroutine[Any, Any, None]], request: Request
    ) -> None:
        if not request.cancelled:
            task = asyncio.ensure_future(function(request))
            self._tasks.add(task)  # the loop itself refers to it weakly
            task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Cancel what runs, and end the thread soon. Idempotent."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):  # it has been closed just now
            loop.call_soon_threadsafe(self._cancel_all)
            if self._thread is not None:
                loop.call_soon_threadsafe(loop.stop)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended; not for ever, since a handler may block it."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt):
                continue  # a handler has raised it, and its client is told
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    finally:
        loop.close()
