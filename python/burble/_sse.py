# SPDX-License-Identifier: MIT
"""Streams as server-sent events, which a browser's EventSource reads, and its reconnections.

The format is that of the HTML standard, section 9.2, "Server-sent events".

Each event has an id, ``STREAM:NUMBER``: the stream's own id and the position of the chunk, or
``STREAM:end`` for the last event. A client that reconnects sends the id of its last event. So it
never gets the text of another stream as the rest of its own, and gets nothing after the last event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, Callable, NamedTuple, Union

from . import _core
from ._batch import BatchStream
from ._collect import collect_after_cancellation, collect_soon
from ._generate import name_of
from ._options import seconds
from ._running import in_trio
from ._stream import Reader, Stream
from ._tasks import give_way

Source = Union[Stream[Any], BatchStream, Reader[Any]]

# What goes with a response that carries events.
SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx keeps back what it passes on, unless it is told not to
}

# How many bytes of events are put together where so much text is there: some hundred, which take
# about a millisecond.
_ENOUGH = 16_384

_logger = logging.getLogger("burble")

# A comment, which says nothing. No empty line follows: some clients take that for an event without
# data once there was an id.
KEEP_ALIVE = b": keep-alive\n"

# An event's id. Numbers have 10 digits at least, so that the ids of a stream sort as its events do.
_ID = re.compile(r"([0-9a-f]{32}):([0-9]{10,18}|end)")
_END = "end"


class Event:
    """One event, as the functions that are given to :func:`sse` may return it.

    :param data: as ``encode`` returns it: a str, or what ``json.dumps`` takes.
    :param name: of the event; None: it has none, which a browser calls ``message``.
    """

    __slots__ = ("data", "name")

    def __init__(self, data: Any, name: str | None = None) -> None:
        if name is not None and re.search(r"[\r\n]", name):
            raise ValueError(f"name: expected a str without line breaks or None, found {name!r}")
        self.data = data
        self.name = name

    def __repr__(self) -> str:
        return f"burble.Event({self.data!r}, {self.name!r})"


class Hooks(NamedTuple):
    """What a program says of its events; see :func:`sse`."""

    encode: Callable[[Any], Any] | None
    first: Any
    end: Callable[[Any], Any] | None
    failed: Callable[[BaseException], Any] | None
    ids: bool


def sse(
    source: Source,
    /,
    *,
    last_event_id: str | None = None,
    keep_alive: float | None = 15.0,
    encode: Callable[[Any], Any] | None = None,
    first: Any = None,
    end: Callable[[Any], Any] | None = None,
    failed: Callable[[BaseException], Any] | None = None,
    ids: bool = True,
    close: bool | None = None,
) -> EventStream:
    """Convert a stream to server-sent events: an asynchronous iterator of bytes.

    ::

        events = burble.sse(stream)
        try:
            async for data in events:
                await response.write(data)
        finally:
            await events.aclose()

    Each chunk is an event whose data is JSON: ``{"text": "…"}``, for other items ``{"item": …}``,
    and in a batch with ``"row": i`` before it. The last event is named ``end``, with
    ``{"finish_reason": …}`` (in a batch, a list with that of each row), or ``failed``, with
    ``{"type": …, "message": …}``, if the generation has failed or an item cannot be encoded. If the
    exception is not one of burble's, the client gets only its type, and the logger ``burble`` gets
    the exception.

    Each event has an id. A client that reconnects sends the id of its last event in the header
    ``Last-Event-ID``. It continues there if it is given the same stream (:attr:`Stream.id`) and the
    stream has kept the text that follows (``keep=``). If it has already received the last event,
    there are no more: ``over`` of the returned object is then True, and the response should have
    status 204, which tells a browser to stop.

    Closing the iterator closes the stream, unless the stream keeps its text for clients that
    reconnect. Close it when the client disconnects, as ``burble.starlette.sse_response`` and
    ``burble.aiohttp.sse_response`` do; Starlette's ``StreamingResponse`` does not close it. Works
    with asyncio, uvloop and trio; one task at a time.

    :param source: a stream, a batch or a reader. For a stream that keeps its text, each call makes
        a separate reader, so many clients can read it. None of them delays the others: a client
        that is further behind than the kept text plus the stream's ``max_lag`` is dropped, with an
        event ``failed`` of type ``Lagged``. (To avoid that, pass a ``stream.reader``.)
    :param last_event_id: the header, if the client has sent it; None or empty: it has not.
    :param keep_alive: seconds without text after which a comment is sent, so that no proxy closes
        the connection; None: never.
    :param encode: converts an item (in a batch, ``(i, text)``) to the data of an event: a str,
        which is sent as it is (except that a carriage return becomes a newline, because the format
        has no other line break, and a lone surrogate becomes U+FFFD), or anything else that
        ``json.dumps`` takes. In JSON, a lone surrogate is escaped. To name the event, return an
        :class:`Event`; to send several, a list of them.
    :param first: the data of an event, or an ``Event`` (or a list of them), which is sent at once,
        before the text. It has no id; a client that continues does not get it. None: none is sent.
    :param end: called with the finish reason; returns what is sent instead of the event ``end``:
        data for that event, an ``Event`` or a list of them.
    :param failed: called with the exception; the same for the event ``failed``. (burble logs
        exceptions as without it.)
    :param ids: whether events have ids, by which a client continues.
    :param close: whether closing the iterator closes the source; None: it closes a stream, unless
        that keeps its text, and a reader.
    :raises ValueError: if ``last_event_id`` is not the id of an event of this stream, or the source
        is a batch or a reader, which cannot continue at an event.
    :raises Gone: if the text that follows is no longer kept; its ``oldest`` is the oldest position
        that is.
    :raises TypeError: for arguments of other types.
    """
    if not isinstance(source, (Stream, BatchStream, Reader)):
        raise TypeError(
            f"source: expected a stream, a batch or a reader of burble, found {name_of(source)}"
        )
    if keep_alive is not None:
        keep_alive = seconds("keep_alive", keep_alive)
    hooks = Hooks(encode, first, end, failed, bool(ids))
    return EventStream(source, _position(source, last_event_id), keep_alive, hooks, close)


class _EventIdError(ValueError):
    """A client has sent a Last-Event-ID that is no event's of the stream."""


def _position(source: Source, last_event_id: str | None) -> int | None:
    """Where a client goes on: at a chunk, or, None, nowhere: it has got all."""
    if last_event_id is not None and not isinstance(last_event_id, str):
        raise TypeError(f"last_event_id: expected a str or None, found {last_event_id!r}")
    if not last_event_id:
        return 0
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise _EventIdError(
            f"Last-Event-ID: expected an event id of burble, found {last_event_id[:60]!a}"
        )
    stream, number = found.groups()
    if number == _END:
        return None
    if not isinstance(source, Stream):
        kind = "a batch" if isinstance(source, BatchStream) else "a reader"
        raise _EventIdError(f"Last-Event-ID: expected none, because {kind} cannot be resumed")
    if stream != source.id:
        raise _EventIdError("Last-Event-ID: expected an event of this stream, found one of another")
    position = int(number) + 1
    written = source._log.position
    if position > written:
        raise _EventIdError(
            f"Last-Event-ID: expected an event number below {written}, the number of events so "
            f"far, found {int(number)}"
        )
    if not source.keeps:  # although its own reader may still have what follows
        gone = _core.Gone("Last-Event-ID: this stream keeps nothing for a client that comes back")
        gone.oldest = written
        raise gone
    return position


class Refusal(NamedTuple):
    """The response to a request that gets no events."""

    status: int
    message: str


def respond(
    source: Source, method: str, last_event_id: str | None, **options: Any
) -> EventStream | Refusal:
    """The answer to a request; arguments as for :func:`sse`. Where it is not the events, nobody
    reads the source: it is closed if its events would close it."""
    answer: EventStream | Refusal | None = None
    try:
        events = sse(source, last_event_id=last_event_id, **options)
        if events.over:
            answer = Refusal(204, "")
        elif method == "HEAD":
            answer = Refusal(200, "")
        else:
            answer = events
    except _core.Gone as error:
        answer = Refusal(410, str(error))
    except _EventIdError as error:
        answer = Refusal(400, str(error))
    finally:
        if not isinstance(answer, EventStream):
            release(source, options.get("close"))
    return answer


def _closes(source: Any, close: bool | None) -> bool:
    if close is not None:
        return close
    return not (isinstance(source, Stream) and source.keeps)


def release(source: Any, close: bool | None) -> None:
    if not _closes(source, close):
        return
    if isinstance(source, Reader):
        source.close()
    elif isinstance(source, (Stream, BatchStream)):
        source.cancel()


class EventStream(AsyncIterator[bytes]):
    """The result of :func:`burble.sse`."""

    def __init__(
        self,
        source: Source,
        position: int | None,
        keep_alive: float | None,
        hooks: Hooks,
        close: bool | None,
    ) -> None:
        self._source: Source | None = source
        self._keep_alive = keep_alive
        self._hooks = hooks
        self._encode = hooks.encode or (_row_of_batch if isinstance(source, BatchStream) else _item)
        self._first = hooks.first if position == 0 else None
        self._over = position is None
        self._unencoded = False  # no event could be made of an item
        self._begun = False
        self._events = 0  # so far
        self._busy = False  # the last call did not have to wait
        self._error: BaseException | None = None  # what comes after the events handed out last
        self._waiting: asyncio.Task[Any] | None = None
        # Set where this reads with a reader that was made for it.
        self._own: Reader[Any] | None = None
        if isinstance(source, Stream) and source.keeps and position is not None:
            self._own = source.reader(
                position, max_lag=source._lag_of_followers, on_lag="drop_reader"
            )
        self._closes = _closes(source, close)
        # (To iterate a stream itself would let its own reader hold up the generation again.)
        self._reader: Any = None if position is None else (self._own or source).__aiter__()
        self._id = source.id

    @property
    def over(self) -> bool:
        """Whether no event follows: the last one was returned, or the client already has it."""
        return self._over and self._error is None

    def _made(self) -> None:
        """The task that has made it has ended. Where nobody has asked for an event, an exception
        may be all that keeps it."""
        if not self._begun:
            collect_soon(asyncio.get_running_loop())

    # ---- reading -----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        collect_after_cancellation()
        return self

    async def __anext__(self) -> bytes:
        events = await self.next(self._keep_alive)
        return KEEP_ALIVE if events is None else events

    async def next(self, timeout: float | None) -> bytes | None:
        """Return the available events, one or more. Wait for the first one at most ``timeout``
        seconds; then return None. Raise StopAsyncIteration after the last event."""
        self._begun = True
        if self.over:
            raise StopAsyncIteration
        if self._first is not None:
            first, self._first = self._first, None
            return _events(None, first, None)
        if self._busy:  # before anything is taken, which a cancelled task would lose
            await give_way()
        events: list[bytes] = []
        error, self._error = self._error, None
        if error is None:
            try:
                self._busy = self._waiting is None and self._take(events)
                if not self._busy:
                    item = await self._wait(timeout)
                    if item is _NOTHING:
                        return None
                    events.append(self._event_of(item, getattr(self._reader, "last", None)))
                    self._take(events)
            except BaseException as raised:
                error = raised
        if error is not None:
            try:
                events.append(self._last_event(error))
            except BaseException:
                if not events:
                    raise
                self._error = error  # after what came before it
            finally:
                del error  # it has this frame
        return b"".join(events)

    def _take(self, events: list[bytes]) -> bool:
        """Append the available events, without waiting. Whether there were any."""
        take = getattr(self._reader, "take", None)  # a batch has none
        size = 0
        while take is not None and size < _ENOUGH:
            found = take()
            if found is None:
                break
            events.append(self._event_of(found[1], found[0]))
            size += len(events[-1])
        return bool(events)

    def _event_of(self, item: Any, position: int | None) -> bytes:
        """``position`` is None in a batch, whose events are counted."""
        number = self._events if position is None else position
        self._events += 1
        try:
            return _events(self._id_of(f"{number:010}"), self._encode(item), None)
        except (Exception, asyncio.CancelledError, GeneratorExit):
            # (Nothing is awaited here: a cancellation is one that `encode` has raised.)
            self._unencoded = True
            raise

    async def _wait(self, timeout: float | None) -> Any:
        """The next item, or _NOTHING."""
        if in_trio():
            import trio

            with trio.move_on_after(float("inf") if timeout is None else timeout):
                return await self._reader.__anext__()
            return _NOTHING
        # Not asyncio.wait_for, which would give up the wait with the time: this one goes on.
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(_step(self._reader))
        task = self._waiting
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout)
        except BaseException:
            if not task.done():  # else it has an item, which the next call returns
                self._waiting = None
                task.cancel()
            raise
        if not done:
            return _NOTHING
        self._waiting = None
        item, error = task.result()
        if error is None:
            return item
        try:
            raise error
        finally:
            del error  # it has this frame

    # ---- the end -----------------------------------------------------------------------------

    def _id_of(self, event: str) -> str | None:
        return f"{self._id}:{event}" if self._hooks.ids else None

    def _last_event(self, error: BaseException) -> bytes:
        """The last event for ``error``; or raise it, if it does not come from the stream."""
        if self._unencoded:
            self._over = True
            _logger.error("%r: cannot encode an item as an event", self._source, exc_info=error)
            return self._last("failed", self._hooks.failed, error, _unencodable(error))
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self._over = True
            reason = getattr(self._source, "finish_reason", None)
            return self._last("end", self._hooks.end, reason, {"finish_reason": reason})
        of_source = None if self._source is None else self._source.error
        if not isinstance(error, _core.Error) and error is not of_source:
            self._over = self._over or isinstance(error, Exception)
            raise error  # not the generation's
        self._over = True
        if not isinstance(error, _core.Error):  # the client is not told the message, so log it
            _logger.error("%r failed while its events were sent", self._source, exc_info=error)
        return self._last("failed", self._hooks.failed, error, _describe(error))

    def _last(self, name: str, hook: Callable[[Any], Any] | None, said: Any, default: Any) -> bytes:
        """The last event: what ``hook`` makes of ``said``, else ``default``."""
        id_ = self._id_of(_END)
        if hook is not None:
            try:
                return _events(id_, hook(said), name)
            except Exception as error:
                _logger.error("%r: cannot encode its last event", self._source, exc_info=error)
                name, default = "failed", _unencodable(error)
        return _event(id_, default, name)

    async def aclose(self) -> None:
        """Stop reading, and close the source if ``close`` says so. Idempotent."""
        source, self._source = self._source, None
        self._over = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if source is None:
            return
        if self._own is not None:
            self._own.close()
        if not self._closes:
            return
        if isinstance(source, Reader):
            source.close()
        else:
            await source.aclose()

    def __del__(self) -> None:
        # A pending wait would take the next item, and lose it.
        waiting = getattr(self, "_waiting", None)
        if waiting is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                waiting.cancel()


async def _step(reader: Any) -> tuple[Any, BaseException | None]:
    """The next item, or the exception: a task that raises SystemExit would end its loop."""
    try:
        return await reader.__anext__(), None
    except asyncio.CancelledError:
        raise  # this task is cancelled: what generations raise comes as a RuntimeError
    except BaseException as error:
        return None, error


_NOTHING = object()


def _item(item: Any) -> Any:
    return {"text": item} if isinstance(item, str) else {"item": item}


def _row_of_batch(item: Any) -> Any:
    return {"row": item[0], "text": item[1]}


def _events(id_: str | None, data: Any, name: str | None) -> bytes:
    """What a hook has returned: an Event, some, or data for an event of this name. Only the last
    one has the id: a client that has got a part of them gets all again."""
    if isinstance(data, Event):
        return _event(id_, data.data, data.name)
    if isinstance(data, list) and data and all(isinstance(event, Event) for event in data):
        parts = [_event(None, event.data, event.name) for event in data[:-1]]
        return b"".join([*parts, _event(id_, data[-1].data, data[-1].name)])
    return _event(id_, data, name)


def _event(id_: str | None, data: Any, name: str | None) -> bytes:
    """One event. JSON has no line breaks, so that its data is a single line."""
    if isinstance(data, str):
        text = data if data.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", data)
    else:
        text = to_json(data)
    head = "" if id_ is None else f"id: {id_}\n"
    if name is not None:
        head += f"event: {name}\n"
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode()


def to_json(data: Any, separators: tuple[str, str] | None = None) -> str:
    """JSON of which every client makes one line of valid UTF-8."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=separators)
    return text if text.isascii() else _ESCAPED.sub(_escape, text)


# Lone surrogates, for which UTF-8 has no bytes.
_SURROGATE = re.compile("[\ud800-\udfff]")
# What JSON escapes: these, and what some clients take for the end of a line.
_ESCAPED = re.compile("[\ud800-\udfff\x85\u2028\u2029]")


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _unencodable(error: BaseException) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": "an event could not be encoded"}


def _describe(error: BaseException) -> dict[str, Any]:
    """What a client is told of an error: not what the program's own exceptions say, which may be
    none of its business."""
    own = isinstance(error, _core.Error)
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error) if own else "the generation failed",
    }
    if isinstance(error, _core.Gone):
        told["oldest"] = error.oldest
    return told
