# SPDX-License-Identifier: MIT
"""Ways to begin a stream: from ``generate``, from what can be iterated, by hand."""

from __future__ import annotations

import inspect
import io
import time
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from typing import Any, Callable, TypeVar, overload

from . import _core
from ._batch import BatchStream, Rows
from ._failure import clear_frames
from ._generate import Call, Prompts, name_of
from ._job import ExternalSink, Job
from ._options import (
    ItemOptions,
    Keep,
    LagUnit,
    Options,
    OptionSet,
    TextOptions,
    count,
    one_of,
)
from ._stats import Stats, rate
from ._stream import Stream
from ._text import Chunk, Text, TextSink, fail, stats_of, text_writer
from ._threads import Threads, pool_of
from ._typing import Unpack
from .detokenizer import Stop, StopMatch, stop_strings

T = TypeVar("T")
W = TypeVar("W", bound="ChannelWriter")


# ---- generate ----------------------------------------------------------------------------------


_STREAM = OptionSet()


@overload
def stream(
    generate: Callable[..., Any],
    /,
    *args: Any,
    tokenizer: Any,
    skip_prompt: bool | None = ...,
    skip_special_tokens: bool = ...,
    decode_kwargs: dict[str, Any] | None = ...,
    chunk: Chunk = ...,
    stop: Stop = ...,
    include_stop: bool = ...,
    batch: None = ...,
    eos_token_id: int | Sequence[int] | None = ...,
    keep: Keep = ...,
    max_lag: int | None = ...,
    lag_unit: LagUnit = ...,
    coalesce: bool = ...,
    interval: float | None = ...,
    first_token_timeout: float | None = ...,
    token_timeout: float | None = ...,
    total_timeout: float | None = ...,
    join_timeout: float = ...,
    pool: Threads | None = ...,
    **kwargs: Any,
) -> Stream[str]: ...


@overload
def stream(
    generate: Callable[..., Any],
    /,
    *args: Any,
    tokenizer: Any,
    batch: int,
    skip_prompt: bool | None = ...,
    skip_special_tokens: bool = ...,
    decode_kwargs: dict[str, Any] | None = ...,
    chunk: Chunk = ...,
    stop: Stop = ...,
    include_stop: bool = ...,
    eos_token_id: int | Sequence[int] | None = ...,
    keep: Keep = ...,
    max_lag: int | None = ...,
    lag_unit: LagUnit = ...,
    coalesce: bool = ...,
    interval: float | None = ...,
    first_token_timeout: float | None = ...,
    token_timeout: float | None = ...,
    total_timeout: float | None = ...,
    join_timeout: float = ...,
    pool: Threads | None = ...,
    **kwargs: Any,
) -> BatchStream: ...


@_STREAM.shown_in
def stream(
    generate: Callable[..., Any],
    /,
    *args: Any,
    tokenizer: Any,
    skip_prompt: bool | None = None,
    skip_special_tokens: bool = True,
    decode_kwargs: dict[str, Any] | None = None,
    chunk: Chunk = "token",
    stop: Stop = (),
    include_stop: bool = False,
    batch: int | None = None,
    eos_token_id: int | Sequence[int] | None = None,
    pool: Threads | None = None,
    **kwargs: Any,
) -> Stream[str] | BatchStream:
    """Call ``generate(*args, streamer=..., **kwargs)`` in a thread, and stream its text.

    ::

        async with burble.stream(
            model.generate, **inputs, tokenizer=tokenizer, max_new_tokens=200
        ) as stream:
            async for text in stream:
                print(text, end="", flush=True)

    The generation begins at the call, as soon as a thread of the pool is free. A generation that no
    reader wants any more ends at its next token: see :class:`Stream`.

    ``generate`` may be that of transformers or any blocking function that calls ``streamer.put``
    with token ids (or ``streamer.put_text`` with text); the stream ends when it returns. If the
    function has a parameter ``tokenizer`` or ``eos_token_id``, or takes any keyword, burble passes
    these, too, if the function needs them.

    If ``input_ids`` (or ``inputs``) have several rows, or ``num_return_sequences`` is above 1, the
    result is a :class:`BatchStream`. ``batch`` gives the number of rows if the arguments do not
    show it, and tells a type checker. (If ``**inputs`` has no precise type, mypy cannot know which
    of the two types the result has, and uses Any: ``s: burble.Stream[str] = burble.stream(...)``
    helps.)

    :param tokenizer: a tokenizer of transformers (fast or slow), a ``tokenizers.Tokenizer``, or
        anything else that :class:`Detokenizer` takes.
    :param skip_prompt: whether to leave out the prompt; it is left out by default. The prompt is
        the first ``put``, if it has the shape ``[1, n]`` and either comes from transformers'
        ``generate`` (also if another function calls that), or equals the ``input_ids`` (or
        ``inputs``) that the function was given. True: the first ``put`` of any function, if it has
        that shape.
    :param decode_kwargs: more options of the tokenizer's ``decode``.
    :param chunk: ``"token"``: text as early as possible; ``"word"``: whole words (a word of more
        than 16 KiB is cut).
    :param stop: stop strings, at which the text and the generation end; burble looks for them in
        the generated text, including that of ``put_text``. If special tokens are left out, a stop
        string that is the text of such a token (``"<|eot_id|>"``) ends the text at that token.
    :param include_stop: whether the text includes the stop string.
    :param batch: the number of sequences, including ``num_return_sequences``; may be 1.
    :param eos_token_id: the ids that end a sequence; default: those of ``generate``'s model, or
        else of the tokenizer; ``[]``: none.
    :param keep: how much text stays readable for later readers after all present readers have read
        it: a number of bytes, ``"all"``, or None.
    :param max_lag: how far a reader may be behind before the generation waits for it, in
        ``lag_unit``: ``"characters"``, ``"tokens"`` or ``"bytes"``; None: any distance. Readers of
        :meth:`Stream.reader` have the same limit, unless they get their own.
    :param coalesce: return all available text in one piece (at most 1 MiB).
    :param interval: the least time between two deliveries of text, in seconds; each delivery is
        one piece. The first text is delivered at once, the last text when the stream ends. Tokens
        in between do not wake the reader, so reading hardly slows the generation down; a person
        does not notice 0.03. None: each token at once.
    :param first_token_timeout: seconds from the call to the first token; then reading raises
        :exc:`FirstTokenTimeout`, and the generation ends.
    :param token_timeout: seconds from one token to the next, without the time in which the
        generation waits for readers; then :exc:`TokenTimeout`.
    :param total_timeout: seconds from the call to the end; then :exc:`TotalTimeout`.
    :param join_timeout: how many seconds leaving the block waits for a generation that does not
        end; 0: it does not wait.
    :param pool: the pool in which the generation runs; default: burble's own :class:`Pool`, of 64
        threads.
    :raises TypeError, ValueError: for invalid arguments, including those of ``generate``. May be
        called from any thread.
    """
    flow = _STREAM.check(_STREAM.take(kwargs))
    text = Text(
        tokenizer, skip_prompt, skip_special_tokens, decode_kwargs, chunk, stop, include_stop
    )
    threads = pool_of(pool)
    call = Call(generate, args, kwargs)
    call.prepare(tokenizer, eos_token_id)
    prompts = Prompts(skip_prompt, call)
    rows = call.rows() if batch is None else count("batch", batch, 1)
    if batch is None and rows == 1:
        return _single(call, tokenizer, text, flow, threads, prompts)
    return _batch(call, tokenizer, text, flow, threads, prompts, rows)


def _single(
    call: Call, tokenizer: Any, text: Text, flow: Options, pool: Threads, prompts: Prompts
) -> Stream[str]:
    log = flow.new_log()
    ending = call.ending()
    (writer,) = text.writers([log], call.eos_ids(tokenizer))
    sink = TextSink(call.name, log, writer, ending, prompts)
    writer.raise_stopped = not (
        call.tell(sink.criterion) if text.stop else call.is_like_transformers
    )
    job = Job(call.name, ending.timed(call.bind(sink)), sink)
    (prompt,) = call.prompt_tokens(1)
    handle: Stream[str] = Stream(job, log, flow, stats_of(writer, prompt))
    pool.start(job)
    return handle


def _batch(
    call: Call,
    tokenizer: Any,
    text: Text,
    flow: Options,
    pool: Threads,
    prompts: Prompts,
    rows: int,
) -> BatchStream:
    logs = [flow.new_log() for _ in range(rows)]
    ending = call.ending()
    eos = call.eos_ids(tokenizer)
    writers = text.writers(logs, eos)
    sink = Rows(
        call.name,
        logs,
        writers,
        ending,
        prompts,
        eos,
        call.pad_id(tokenizer),
        call.padding(rows),
    )
    sink.told = call.tell(sink.criterion)
    job = Job(call.name, ending.timed(call.bind(sink)), sink)
    handle = BatchStream(job, logs, writers, flow, call.prompt_tokens(rows))
    pool.start(job)
    return handle


# ---- what can be iterated ----------------------------------------------------------------------


class _ItemSink:
    """Takes the items of a source: as they are, or, with a writer, as one text."""

    def __init__(self, log: _core.Log, writer: _core.Writer | None, source: Any) -> None:
        self._log: _core.Log | None = log
        self._writer = writer
        self._source = source
        self._began = time.monotonic()
        self._first: float | None = None
        self._last: float | None = None

    def run(self) -> Any:
        """Iterate the source; what a generator returns is the result."""
        log, source, self._source = self._log, self._source, None
        if log is None:
            return None
        put = log.append if self._writer is None else self._put_text
        made = not isinstance(source, Iterable)
        if made:
            source = source()
            _check_source(source, "what it returned")
        iterator = iter(source)
        whole = False
        try:
            while True:
                try:
                    item = next(iterator)
                except StopIteration as stop:
                    whole = True
                    return stop.value
                if self._first is None:
                    self._first = time.monotonic()
                put(item)
        except BaseException as exception:
            if getattr(iterator, "gi_frame", self) is None:  # a generator, which is over
                clear_frames(exception, iterator.gi_code)
            raise
        finally:
            self._last = time.monotonic()
            del log, put  # a traceback keeps this frame, and the log keeps the traceback
            if made or not whole:
                _close(iterator, source, made)

    def _put_text(self, item: Any) -> None:
        if not isinstance(item, str):
            raise TypeError(
                f"coalesce= and stop= need items of type str, found {type(item).__name__}"
            )
        if self._writer is not None:
            self._writer.put_text(item)

    def stats(self, log: _core.Log) -> Stats:
        items = log.position
        first = None if self._first is None else self._first - self._began
        last = None if self._last is None else self._last - self._began
        if last is None and first is not None:
            last = time.monotonic() - self._began
        return Stats(items, items, first, None, None, rate(items, first, last), log.blocked)

    @property
    def over(self) -> bool:
        log = self._log
        return log is None or log.state != "open"

    def begin(self) -> None:
        log = self._log
        if log is not None:
            log.generate_here()

    def cancel(self) -> None:
        log = self._log
        if log is not None:
            log.cancel()

    def finish(self, result: Any) -> None:
        if self._writer is not None:
            self._writer.end()
        elif self._log is not None:
            self._log.end()

    def fail(self, exception: BaseException) -> None:
        if self._writer is not None:
            fail(self._log, self._writer, exception)
        elif self._log is not None:
            self._log.fail(exception)

    def close(self) -> None:
        self._log = self._writer = None


_ITERATE = OptionSet(ItemOptions.__annotations__, max_lag=1024, lag_unit="tokens")


@_ITERATE.shown_in
def iterate(
    source: Iterable[T] | Callable[[], Iterable[T]],
    /,
    *,
    stop: Stop = (),
    include_stop: bool = False,
    pool: Threads | None = None,
    **given: Unpack[ItemOptions],
) -> Stream[T]:
    """Iterate ``source`` in a thread, and stream its items.

    ::

        async with burble.iterate(lambda: client.blocking_stream(prompt)) as stream:
            async for item in stream:
                ...

    :param source: a blocking iterable (its items may be of any type), or a function that returns
        one and is called in the thread. If no reader wants more, an iterator that has a ``close``,
        such as a generator or a client's response, is closed in that thread at its next item. A
        source that you pass open and that is read to its end stays open; so does a file that you
        pass. A source that the function has returned is closed in any case. The return value of a
        generator is :attr:`Stream.result`.
    :param stop: for items of type str: stop strings, at which their text ends, as for
        :func:`burble.stream`; the source is then closed. An item of another type raises TypeError.
    :param include_stop: whether the text includes the stop string.
    :param keep: how many items stay readable for later readers, ``"all"``, or None; with
        ``stop`` or ``coalesce``, a number of bytes.
    :param max_lag: how many items the reader may be behind before the source waits; None: any.
    :param coalesce: for items of type str: return all available text in one piece. An item of
        another type raises TypeError.
    :param interval: as for :func:`burble.stream`, but a delivery is one piece only with ``stop`` or
        ``coalesce``; otherwise, it is the items that have come, one by one.

    The other parameters are those of :func:`burble.stream`, with items instead of tokens.

    :raises TypeError: if the source cannot be iterated, or only asynchronously.
    """
    flow = _ITERATE.check(given)
    _check_source(source, "source", "or a function that returns one")
    threads = pool_of(pool)
    is_text = bool(flow.coalesce or stop_strings(stop))
    log = flow.new_log(objects=not is_text)
    writer = text_writer(log, "token", stop, include_stop) if is_text else None
    if writer is not None:
        writer.raise_stopped = True
    sink = _ItemSink(log, writer, source)
    job = Job(name_of(source), sink.run, sink)
    handle: Stream[T] = Stream(job, log, flow, sink.stats if writer is None else stats_of(writer))
    threads.start(job)
    return handle


def _close(iterator: Any, source: Any, made: bool) -> None:
    """Close what was iterated: so that a model behind a connection, too, stops talking."""
    if made or not isinstance(iterator, io.IOBase):
        _close_one(iterator)
    if source is not iterator and (made or isinstance(source, Iterator)):
        _close_one(source)


def _close_one(thing: Any) -> None:
    close = getattr(thing, "close", None)
    if callable(close):
        close()


def _check_source(source: Any, name: str, other: str = "") -> None:
    if isinstance(source, Iterable):
        return
    asynchronous = (
        isinstance(source, AsyncIterable)
        or inspect.isasyncgenfunction(source)
        or inspect.iscoroutinefunction(source)
    )
    if asynchronous or not other or not callable(source):
        found = ", which is asynchronous: iterate it with `async for`" if asynchronous else ""
        expected = f"an iterable {other}".rstrip()
        raise TypeError(f"{name}: expected {expected}, found {name_of(source)}{found}")


# ---- by hand -----------------------------------------------------------------------------------


class ChannelWriter:
    """The writing end of :func:`burble.channel`.

    ::

        with writer:
            for token in engine:
                writer.put(token)

    Leaving its block ends the stream, with the exception if there was one. The stream fails with
    :exc:`ProducerDied` if the writer is deleted without ending it, or if the thread of the last
    ``put`` exits; so no reader waits for ever. Any thread may write, but only one at a time.
    """

    __slots__ = ("__weakref__", "_job", "_log", "_writer")

    def __init__(self, log: _core.Log, writer: _core.Writer) -> None:
        self._job = Job("the channel", None, ExternalSink(log))
        self._writer = writer
        self._log = log

    def put(self, value: Any, /) -> None:
        """Take the next token ids: an int, a list, or a tensor or array of shape ``[n]`` or
        ``[1, n]``; with ``skip_prompt``, a first one of shape ``[1, n]`` is the prompt.

        Waits while a reader is behind by ``max_lag``. Raises :exc:`Cancelled` if no reader is left,
        the timeout if one has passed, :exc:`Error` after the end, and TypeError without a
        tokenizer. Ignored after a stop string.
        """
        self._writer.put(value)

    def put_text(self, text: str, /) -> None:
        """Take the next text, which follows that of the ids before it; else as :meth:`put`."""
        self._writer.put_text(text)

    def flush(self) -> None:
        """End the sequence and write the text that was held back. The next ``put`` begins another
        sequence in the same stream."""
        self._writer.flush()

    def end(self, reason: str | None = None, result: Any = None) -> None:
        """Write the rest of the text, then end the stream. Idempotent.

        :param reason: :attr:`Stream.finish_reason`; default: ``"stop"`` after a stop string, else
            ``"end"``.
        :param result: :attr:`Stream.result`.
        """
        if not self.cancelled:
            self._writer.end(reason)
            self._job.settle(result)
        elif self._log.state == "ended":  # where an exception came in between
            self._job.settle(result)
        else:
            self._job.settle()

    def fail(self, exception: BaseException, /) -> None:
        """Write the rest of the text, then fail the stream: each reader gets the exception."""
        fail(self._log, self._writer, exception)
        self._job.settle()

    @property
    def stopped(self) -> StopMatch | None:
        """The stop string that was found: no more text is needed. None: none yet."""
        match = self._writer.match if self._writer.stopped else None
        return None if match is None else StopMatch(*match)

    @property
    def cancelled(self) -> bool:
        """Whether no more text is wanted: the stream was cancelled, has timed out, or has ended."""
        return self._log.state != "open"

    def __enter__(self: W) -> W:
        return self

    def __exit__(self, kind: Any, exception: BaseException | None, traceback: Any) -> bool:
        if exception is None:
            self.end()
            return False
        self.fail(exception)
        # Whoever reads has cancelled it, and knows.
        return isinstance(exception, _core.Cancelled) and self._log.state == "cancelled"

    def __del__(self) -> None:
        log: _core.Log | None = getattr(self, "_log", None)
        if log is None:
            return
        try:
            if log.state == "open":
                # Not by way of the writer, which might have to wait for a reader.
                log.fail(_core.ProducerDied("the channel's writer was deleted without ending it"))
            self._job.settle()
        except MemoryError:
            log.cancel()  # which needs no memory, so no reader waits for ever


_CHANNEL = OptionSet(TextOptions.__annotations__, join_timeout=0.0)


@_CHANNEL.shown_in
def channel(
    tokenizer: Any = None,
    *,
    skip_prompt: bool = False,
    skip_special_tokens: bool = True,
    decode_kwargs: dict[str, Any] | None = None,
    chunk: Chunk = "token",
    stop: Stop = (),
    include_stop: bool = False,
    **given: Unpack[TextOptions],
) -> tuple[ChannelWriter, Stream[str]]:
    """A stream that is written by hand: for an engine of your own, in a thread of your own.

    ::

        writer, stream = burble.channel(tokenizer)
        threading.Thread(target=engine, args=(writer,)).start()
        async for text in stream:
            ...

    :param tokenizer: for token ids; None: the channel takes only text (``put_text``), and refuses
        the options of decoding.
    :param skip_prompt: leave out the first ``put``, if it has the shape ``[1, n]``: the prompt.

    The other parameters are those of :func:`burble.stream`. Leaving the stream's block cancels it,
    but does not wait for your thread.
    """
    flow = _CHANNEL.check(given)
    log = flow.new_log(of_job=False)
    if tokenizer is None:
        needs = {
            "skip_prompt": bool(skip_prompt),
            "skip_special_tokens": not skip_special_tokens,
            "decode_kwargs": bool(decode_kwargs),
        }
        for name, needed in needs.items():
            if needed:
                raise ValueError(f"{name} needs tokenizer=: a channel without one takes only text")
        one_of("chunk", chunk, ("word", "token"))
        writer = text_writer(log, chunk, stop, include_stop)
    else:
        text = Text(
            tokenizer, skip_prompt, skip_special_tokens, decode_kwargs, chunk, stop, include_stop
        )
        (writer,) = text.writers([log])
        writer.has_prompt = bool(skip_prompt)
    end = ChannelWriter(log, writer)
    return end, Stream(end._job, log, flow, stats_of(writer))
