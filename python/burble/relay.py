# SPDX-License-Identifier: MIT
"""Answers across machines, over Redis: workers whose models are functions, and answers as streams.

A worker, whose answers any front (``burble serve --redis``) shows::

    def handler(request):
        inputs = tokenizer.apply_chat_template(request.messages, ...)
        return burble.stream(model.generate, **inputs, tokenizer=tokenizer)

    burble.relay.work("redis://10.0.0.1", models={"assistant": handler})

An answer that is computed anywhere, in a program that has its own front::

    async for text in burble.relay.attach("redis://10.0.0.1", stream_id):
        ...

``docs/relay.md`` describes what survives which death. It is available if burble was built with
hiredis, beside the libraries of its server.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict
from urllib.parse import urlsplit

from . import _core
from ._forks import PerProcess
from ._handlers import Handler
from ._host import H, Host, numbers_of, strings
from ._job import External, shield
from ._options import Keep, LagUnit, OptionSet, seconds, uint32
from ._running import in_trio
from ._signals import until_signal
from ._stats import Stats
from ._stream import Stream
from ._threads import default_pool
from ._typing import Unpack

if not hasattr(_core, "Relay"):
    raise ImportError(
        "this burble was built without the libraries of its relay. With libuv, jansson, llhttp and "
        "hiredis installed where pkg-config finds them (pkg-config --exists libuv jansson "
        "libllhttp hiredis; requirements/llhttp.sh FOLDER builds llhttp), build burble from its "
        "sources: pip install . --config-settings=setup-args=-Drelay=enabled",
        name=__name__,
    )

if TYPE_CHECKING:
    CoreRelay = _core.Relay

__all__ = ["NotFound", "Worker", "WorkerStats", "attach", "cancel", "work"]

_logger = logging.getLogger("burble.relay")

# After the grace of a drain, wait() gives Redis so many seconds to confirm that the answers ended.
_LATE = 5.0

# Bytes of its log that wait to be written; lines for which there is no room are left out.
_MAX_LINES = 65_536


class NotFound(_core.Error, LookupError):
    """The answer does not exist, or is not kept any more."""


class WorkerOptions(TypedDict, total=False):
    """Bounds and times of a worker; times are in seconds. The defaults are those of
    ``burble/relay.h``."""

    lease: float
    stall: float
    away: float
    resume_time: float
    max_pending: int
    retain: int
    attempts: int
    idle_attempts: int


_TIMES = frozenset(("lease", "stall", "away", "resume_time"))


class WorkerStats(NamedTuple):
    """Counts of a worker."""

    connected: bool
    """Whether the worker is connected to Redis."""
    computing: int
    """Answers that it computes now."""
    sent: int
    """Pieces of text, and other frames, that Redis has confirmed."""
    pending: int
    """Bytes that Redis has not confirmed yet."""
    fenced: int
    """How often its answers went to other workers, because its lease was over."""
    resumed: int
    """Answers that it has taken over from another worker."""


class _RelayHost(Host):
    """A host whose start waits for Redis."""

    def start(self) -> None:
        """Connect. In the main thread, a signal is handled at once: if its handler raises an
        exception, as that of Ctrl-C does, the host is closed."""
        if threading.current_thread() is not threading.main_thread():
            super().start()
            return
        # (The connecting thread may be in a name look-up, which nothing interrupts.)
        started = threading.Event()
        failed: list[BaseException] = []
        start = super().start

        def run() -> None:
            try:
                start()
            except BaseException as error:
                failed.append(error)
            finally:
                started.set()

        try:
            threading.Thread(target=run, name="burble-relay-start", daemon=True).start()
            started.wait()
        except BaseException:
            self.close()
            raise
        if failed:
            raise failed.pop()

    async def __aenter__(self: H) -> H:
        if not in_trio():
            self._loop.use(asyncio.get_running_loop())
        started = _core.Log(objects=True)
        reader = started.reader()

        def run() -> None:
            try:
                self.start()
            except BaseException as error:
                started.fail(error)
            else:
                started.end()

        try:
            threading.Thread(target=run, name="burble-relay-start", daemon=True).start()
            async for _ in reader:
                pass
        except BaseException:  # it has failed, the task was cancelled, or there is no thread
            with shield():
                await self.aclose()
            raise
        return self


class Worker(_RelayHost):
    """A worker: computes the answers of models for fronts on any machine.

    ::

        with burble.relay.Worker("redis://10.0.0.1", {"assistant": handler}) as worker:
            ...

    Entering the block connects it, leaving closes it; ``async with`` does the same in a task, whose
    event loop goes on meanwhile.
    Handlers are those of :class:`burble.Server`; a :class:`burble.llama.Engine` in place of a
    handler is computed without Python. A worker claims no more answers than it has ``slots``.

    When a worker dies, another one computes its answers that have no text yet. A handler's answer
    that has text fails, because another worker cannot go on after that text. Answers of an engine
    go on in any worker with the same model.

    All workers are closed when the interpreter exits; in a forked child, a worker is closed. All
    methods may be called from any thread.

    :param url: ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`` or ``unix:///PATH``.
    :param models: handlers by the names of their models.
    :param slots: how many answers of each model it computes at once. Handlers run in as many
        threads, which all models share.
    :param parameters: the parameters of requests that handlers honour (``"max_tokens"``, ``"stop"``
        …): fronts refuse requests that have others. None: any is let through.
    :param chat: whether the models answer chats; False: only completions.
    :param context: the most tokens of prompt and answer together, as clients see it in the list of
        models.
    :param prefix: what all keys in Redis begin with, in braces.
    :param name: its name in ``burble relay status``; None: host name and process id.
    :param options: see :class:`burble.relay.WorkerOptions`.
    :raises ValueError: if the URL or an option is wrong.
    """

    _core: CoreRelay

    def __init__(
        self,
        url: str,
        models: Mapping[str, Handler],
        *,
        slots: int = 8,
        parameters: Iterable[str] | None = None,
        chat: bool = True,
        context: int | None = None,
        prefix: str = "burble",
        name: str | None = None,
        **options: Unpack[WorkerOptions],
    ) -> None:
        numbers = numbers_of("Worker", options, WorkerOptions.__annotations__, _TIMES)
        if "resume_time" in numbers:
            numbers["ttl"] = numbers["linger"] = numbers.pop("resume_time")
        super().__init__(uint32("slots", slots, 1))
        self._url = url
        self._over_at: float | None = None
        lines = _core.Log(watch_producer=False)
        self._lines = lines.reader(0, _MAX_LINES)
        self._core = _core.Relay(url, prefix, numbers, slots, name, lines)
        try:
            names = None if parameters is None else strings("parameters", parameters)
            for model, handler in models.items():
                self._add_model(model, handler, names, chat, context)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Connect, and begin to compute answers.

        :raises ConnectionError: if Redis cannot be reached.
        :raises ValueError: if it is no Redis that a relay can use: its version, its settings, or
            the rights of the user.
        """
        super().start()
        try:
            threading.Thread(
                target=_write_lines, args=(self._lines,), name="burble-relay-log", daemon=True
            ).start()
        except BaseException:
            self.close()
            raise

    def drain(self, grace: float = 30.0) -> None:
        """Begin to stop, and return at once: the worker takes no new answer, and hands on the
        answers that other workers can go on with; the rest may end within ``grace`` seconds. A
        second call stops the worker at once."""
        if self._over_at is None:
            super().drain(grace)
            self._over_at = time.monotonic() + grace + _LATE
        else:
            self._over_at = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds until the worker has stopped: all of its answers have
        ended, and Redis has confirmed it, or was away for too long. Returns whether it has."""
        until = None if timeout is None else time.monotonic() + seconds("timeout", timeout, 0.0)
        while True:
            now = time.monotonic()
            if self._over_at is not None and now >= self._over_at:
                return True
            left = 0.25 if until is None else min(0.25, until - now)
            if self._core.wait(max(0.0, left)):
                return True
            if until is not None and time.monotonic() >= until:
                return False

    @property
    def stats(self) -> WorkerStats:
        """Counts; all are 0 once it is closed."""
        return WorkerStats(*self._core.stats)

    def __repr__(self) -> str:
        state = "closed" if self.closed else _place(self._url) if self._started else "not started"
        return f"<burble.relay.Worker of {', '.join(self.models)}: {state}>"


def work(
    url: str,
    models: Mapping[str, Handler],
    *,
    grace: float = 30.0,
    quiet: bool = False,
    **options: Any,
) -> None:
    """Compute the answers of models until Ctrl-C or SIGTERM::

        burble.relay.work("redis://10.0.0.1", models={"assistant": handler})

    At the first signal, the worker takes no new answer, and running ones may end; a second one
    stops it at once. Outside the main thread, where there are no signals, it runs until the process
    ends.

    :param grace: how many seconds running answers may go on after the first signal.
    :param quiet: do not say on stderr what it computes.
    :param options: those of :class:`Worker`.
    """
    grace = seconds("grace", grace, 0.0)
    with Worker(url, models, **options) as worker, until_signal(worker, grace):
        if not quiet:  # from this line on, signals are handled
            print(
                f"burble: computing {', '.join(worker.models)} for the fronts at {_place(url)} "
                "(Ctrl-C ends it)",
                file=sys.stderr,
                flush=True,
            )
        worker.wait()


def _place(url: str) -> str:
    """The URL without user and password, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _write_lines(reader: _core.Reader) -> None:
    for line in reader:
        _logger.info("%s", line)


# ---- reading -----------------------------------------------------------------------------------

# Without timeouts of tokens: the relay writes the log, and does not note when tokens come.
_ATTACH = OptionSet(
    ("keep", "max_lag", "lag_unit", "coalesce", "interval", "total_timeout"), join_timeout=0.0
)


class AttachOptions(TypedDict, total=False):
    """The options of :func:`burble.stream` that :func:`attach` has."""

    keep: Keep
    max_lag: int | None
    lag_unit: LagUnit
    coalesce: bool
    interval: float | None
    total_timeout: float | None


@_ATTACH.shown_in
def attach(
    url: str,
    id: str,  # noqa: A002
    *,
    choice: int = 0,
    prefix: str = "burble",
    timeout: float = 10.0,
    **given: Unpack[AttachOptions],
) -> Stream[str]:
    """Stream the text of an answer, from its beginning, wherever it is computed.

    ::

        @app.get("/answers/{stream_id}")
        async def answer(request: Request, stream_id: str):
            return sse_response(request, burble.relay.attach(REDIS, stream_id))

    Returns at once. The first call for a URL opens a connection, which later calls share, until the
    process ends. Anybody who knows an id can read its answer: check the caller's API key or token
    first.

    Cancelling or deleting the stream only ends the reading: the answer goes on.
    :attr:`~burble.Stream.finish_reason` is that of the answer. Statistics count pieces of text as
    tokens.

    Reading raises :exc:`NotFound` if there is no such answer (any more), :exc:`burble.Timeout` if
    Redis does not answer in time or is away for too long, :exc:`ConnectionError` if it cannot be
    reached, and :exc:`burble.Error` if the answer fails.

    :param id: of the stream: 32 hexadecimal digits, which fronts send as ``Burble-Stream``.
    :param choice: which one of the choices of the answer (``n``).
    :param prefix: as of :class:`Worker`.
    :param timeout: how many seconds Redis may take to find the answer.

    The other parameters are those of :func:`burble.stream`.
    """
    flow = _ATTACH.check(given)
    wait = seconds("timeout", timeout, 0.0)
    choice = uint32("choice", choice, 0)
    log = flow.new_log()
    stream: Stream[str] = Stream(External("the answer", log), log, flow, _stats)
    default_pool().start(_Attaching(url, prefix, id, choice, log, wait))
    return stream


def cancel(
    url: str,
    id: str,  # noqa: A002
    *,
    prefix: str = "burble",
    timeout: float = 10.0,
) -> bool:
    """Cancel an answer, wherever it is computed, or waits to be. Its clients see that it was
    cancelled; reading what :func:`attach` has returned raises :exc:`burble.Cancelled`.

    Returns whether there was such an answer; False: it is over, or not kept any more. It ends a
    moment later, when its worker hears of it.

    Blocks until Redis has answered: in a task, call it by ``asyncio.to_thread``. The first call
    for a URL opens a connection, as :func:`attach` does. Anybody who knows an id can cancel its
    answer: check the caller's API key or token first.

    :param id: of the stream: 32 hexadecimal digits, which fronts send as ``Burble-Stream``.
    :param prefix: as of :class:`Worker`.
    :param timeout: how many seconds Redis may take to answer.
    :raises burble.Timeout: if Redis does not answer in time. If it answers later, while this
        process lives, the answer is cancelled.
    :raises ConnectionError: if Redis cannot be reached.
    :raises ValueError: if the id or the URL is wrong.
    """
    wait = seconds("timeout", timeout, 0.0)
    return _readers().open(url, prefix).cancel(id, wait)


def _stats(log: _core.Log) -> Stats:
    return Stats(log.position, log.position, None, None, None, None, log.blocked)


class _Reader(_RelayHost):
    """The relay of this process that reads the answers of one Redis."""

    _core: CoreRelay

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(1)
        self._core = _core.Relay(url, prefix, {}, 1)


class _Opening:
    """The first that asks for a reader connects it; those that ask meanwhile share what comes of
    it. If a signal interrupts the first one, the next one connects it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may come here while its thread connects
        self._reader: _Reader | None = None
        self.error: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.error is not None or (self._reader is not None and self._reader.closed)

    def wait(self, url: str, prefix: str) -> _core.Relay:
        with self._lock:
            if self.error is not None:
                raise self.error
            if self._reader is None:
                try:
                    reader = _Reader(url, prefix)
                    reader.start()
                except Exception as error:
                    self.error = error
                    raise
                if self._reader is None:  # else a signal's handler was faster
                    self._reader = reader
            return self._reader._core


class _Readers:
    """The readers of a process. After one could not be started, the next call makes another."""

    def __init__(self) -> None:
        self._openings: dict[tuple[str, str], _Opening] = {}
        self._lock = threading.RLock()  # as that of an opening

    def open(self, url: str, prefix: str) -> _core.Relay:
        """Blocks while it connects; calls for another Redis do not wait for that."""
        key = (url, prefix)
        with self._lock:
            opening = self._openings.get(key)
            if opening is not None and opening.is_over:
                self._openings.pop(key, None)
            opening = self._openings.setdefault(key, _Opening())
        try:
            return opening.wait(url, prefix)
        except Exception:
            with self._lock:
                if self._openings.get(key) is opening:
                    del self._openings[key]
            raise


_readers = PerProcess(_Readers)


class _Attaching:
    """A job of the pool: asks the relay to write the text of an answer into a log."""

    def __init__(
        self, url: str, prefix: str, name: str, choice: int, log: _core.Log, timeout: float
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._id = name
        self._choice = choice
        self._log: _core.Log | None = log  # None: it is attached, or has failed
        self._timeout = timeout

    @property
    def gone(self) -> bool:
        log = self._log
        return log is None or log.state != "open"

    def run(self) -> None:
        log = self._log
        if log is None:
            return
        try:
            relay = _readers().open(self._url, self._prefix)
            try:
                relay.play(self._id, self._choice, log, self._timeout)
            except LookupError as error:
                raise NotFound(str(error)) from None
            self._log = None
        except BaseException as error:
            log.fail(error)

    def cancel(self) -> None:
        log = self._log
        if log is not None:
            log.cancel()

    def dropped(self) -> None:
        log = self._log
        if log is not None:
            log.fail(_core.ProducerDied("the thread that attached to the answer has ended"))
