# SPDX-License-Identifier: MIT
"""Nothing that is done again and again leaves anything behind: no memory of Python's and, in a
debug build of CPython (``make test-python-debug``), no reference."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from shipped import ids, tokenizer

import burble
from burble import _core

tokenizers = pytest.importorskip("tokenizers")

pytestmark = [pytest.mark.extension, pytest.mark.no_asan]

TEXT = "To be, or not to be: that is the question"

# What is kept for good is there after the first round. From then on a round of so many calls may
# leave fewer objects than one in ten calls would.
CALLS = 50
ROUNDS = 5
NOISE = CALLS // 10

Operation = Callable[[], object]
OPERATIONS: dict[str, Operation] = {}


def operation(function: Operation) -> Operation:
    OPERATIONS[function.__name__] = function
    return function


def in_loop(function: Callable[[], Awaitable[object]]) -> Operation:
    @functools.wraps(function)
    def run() -> object:
        return loop().run_until_complete(function())  # type: ignore[arg-type]

    return operation(run)


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class Windowed:
    """A tokenizer that burble does not know, so that its text comes through a window."""

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        text: str = tokenizer().decode(ids, **kwargs)
        return text


@functools.cache
def pool() -> burble.Pool:
    return burble.Pool(workers=2)


def say(*, streamer: Any) -> str:
    streamer.put(ids(TEXT))
    return "said"


def fail(*, streamer: Any) -> str:
    streamer.put(ids(TEXT))
    raise KeyError("no more")


def stream(generate: Callable[..., Any] = say, **options: Any) -> burble.Stream[str]:
    return burble.stream(generate, tokenizer=tokenizer(), pool=pool(), **options)


def channel(*texts: str, **options: Any) -> tuple[burble.ChannelWriter, burble.Stream[str]]:
    writer, handle = burble.channel(**options)
    for text in texts:
        writer.put_text(text)
    return writer, handle


def expect(exception: type[BaseException], call: Callable[..., object], *args: Any) -> None:
    with contextlib.suppress(exception):
        call(*args)
        raise AssertionError(f"expected {exception.__name__}")


# ---- detokenizers --------------------------------------------------------------------------------


@operation
def detokenizer_pushes() -> None:
    detokenizer = burble.Detokenizer(tokenizer(), skip_special_tokens=True)
    detokenizer.prime(ids(TEXT)[:2])
    assert detokenizer.push(ids(TEXT)) + detokenizer.finish()


@operation
def detokenizer_through_a_window() -> None:
    detokenizer = burble.Detokenizer(Windowed())
    for token in ids(TEXT):
        detokenizer.push(token)
    assert detokenizer.finish() is not None


@operation
def detokenizer_is_copied_and_goes_back() -> None:
    detokenizer = burble.Detokenizer(tokenizer(), rewind=8, offsets=True)
    detokenizer.push(ids(TEXT))
    other = copy.copy(detokenizer)
    other.rewind(3)
    other.push(ids(TEXT)[-3:])
    assert other.offsets is not None
    detokenizer.finish()


@operation
def detokenizer_stops() -> None:
    detokenizer = burble.Detokenizer(tokenizer(), stop=["not", "question"])
    detokenizer.push(ids(TEXT))
    assert detokenizer.stopped is not None


@operation
def detokenizer_refuses() -> None:
    detokenizer = burble.Detokenizer(tokenizer())
    expect(TypeError, detokenizer.push, "text")
    expect(TypeError, detokenizer.push, [1, "two"])
    expect(ValueError, detokenizer.push, 1 << 80)
    expect(TypeError, burble.Detokenizer, object())
    expect(ValueError, lambda: burble.Detokenizer(tokenizer(), stop=[""]))


@operation
def vocabulary_is_made() -> None:
    _core.Vocabulary([("byte_fallback",), ("fuse",)], {0: "a", 1: "<0x62>", 2: "c"}, [2])
    _core.Vocabulary.from_pieces([b"a", None, b"\xff"], [0])
    expect(TypeError, _core.Vocabulary, [("fuse",)], {"a": "b"}, [])
    expect(ValueError, _core.Vocabulary, [("nothing",)], {0: "a"}, [])
    expect(OSError, _core.Vocabulary.load, "/nowhere")
    expect(ValueError, _core.Vocabulary.parse, b'{"model": {"vocab": {"a": true}}}', "name")


@operation
def vocabulary_asks_for_texts() -> None:
    steps = [("fuse",)]
    vocabulary = _core.Vocabulary.ask(steps, str, 100, frozenset(["7", "x"]), None)
    assert vocabulary is not None
    assert _core.Detokenizer(vocabulary, True).push([6, 7, 8]) == "68"
    assert _core.Vocabulary.ask(steps, {0: "a"}.get, 2, frozenset(), None) is None
    expect(ZeroDivisionError, _core.Vocabulary.ask, steps, lambda i: 1 // i, 2, frozenset(), None)
    expect(TypeError, _core.Vocabulary.ask, steps, lambda i: b"", 2, frozenset(), None)
    expect(ValueError, _core.Vocabulary.ask, steps, lambda i: "a" * 70000, 2, frozenset(), None)
    expect(ValueError, _core.Vocabulary.ask, steps, str, -1, frozenset(), None)
    expect(ValueError, _core.Vocabulary.ask, [("nothing",)], str, 1, frozenset(), None)


# ---- streamers -----------------------------------------------------------------------------------


@operation
def text_streamer() -> None:
    class Quiet(burble.TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            del text

    streamer = Quiet(tokenizer())
    streamer.put(ids(TEXT))
    streamer.end()


@operation
def iterator_streamer() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), timeout=60.0)
    for token in ids(TEXT):
        streamer.put([token])
    streamer.end()
    assert "".join(streamer)


@operation
def iterator_streamer_times_out() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), timeout=0.001)
    expect(Exception, next, streamer)


@operation
def iterator_streamer_is_cancelled() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer())
    streamer.put(ids(TEXT))
    streamer.cancel()
    expect(burble.Cancelled, streamer.put, ids(TEXT))
    expect(burble.Cancelled, list, streamer)


@operation
def iterator_streamer_whose_producer_dies() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer())
    thread = threading.Thread(target=streamer.put, args=(ids(TEXT),))
    thread.start()
    thread.join()
    expect(burble.ProducerDied, list, streamer)


@in_loop
async def async_streamer() -> None:
    streamer = burble.AsyncTextIteratorStreamer(tokenizer(), stop="question")
    running = asyncio.ensure_future(streamer.run(say))
    assert "".join([text async for text in streamer])
    await running


@in_loop
async def async_streamer_that_waits() -> None:
    streamer = burble.AsyncTextIteratorStreamer(tokenizer())
    reading = asyncio.ensure_future(anext_of(streamer))
    await asyncio.sleep(0)
    streamer.put(ids(TEXT))
    streamer.end()
    assert await reading
    async for _ in streamer:
        pass


@in_loop
async def async_streamer_whose_reader_is_cancelled() -> None:
    streamer = burble.AsyncTextIteratorStreamer(tokenizer())
    reading = asyncio.ensure_future(anext_of(streamer))
    await asyncio.sleep(0)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


async def anext_of(source: Any) -> Any:
    return await source.__anext__()


# ---- streams -------------------------------------------------------------------------------------


@operation
def stream_is_read_in_a_thread() -> None:
    with stream() as handle:
        assert "".join(handle) == TEXT
        assert handle.result == "said"
        assert handle.stats.tokens
        assert handle.finish_reason


@in_loop
async def stream_is_read_in_a_loop() -> None:
    async with stream() as handle:
        assert "".join([text async for text in handle]) == TEXT


@operation
def stream_fails() -> None:
    with stream(fail) as handle:
        expect(KeyError, list, handle)
        expect(KeyError, list, handle)


@in_loop
async def stream_fails_in_a_loop() -> None:
    async with stream(fail) as handle:
        with contextlib.suppress(KeyError):
            async for _ in handle:
                pass


@operation
def stream_is_left_early() -> None:
    with stream() as handle:
        next(handle)


@operation
def stream_is_cancelled() -> None:
    with stream() as handle:
        handle.cancel()


@operation
def stream_stops() -> None:
    with stream(stop=["not"]) as handle:
        list(handle)
        assert handle.stopped is not None


@operation
def stream_has_readers() -> None:
    with stream(keep="all") as handle:
        handle.join(60.0)
        for start in (0, "tail", 1):
            with handle.reader(start) as reader:  # type: ignore[arg-type]
                list(reader)
        expect(ValueError, handle.reader, -7)


@operation
def iterate_is_read() -> None:
    items = [object() for _ in range(5)]
    with burble.iterate(items, pool=pool()) as handle:
        assert len(list(handle)) == 5


@operation
def batch_is_read() -> None:
    def rows(*, streamer: Any) -> None:
        streamer.put([ids(TEXT)[:1], ids(TEXT)[:1]])
        for token in ids(TEXT):
            streamer.put([token, token])

    with burble.stream(rows, tokenizer=tokenizer(), batch=2, pool=pool()) as batch:
        assert {i for i, _ in batch} == {0, 1}
        assert len(batch.rows) == 2


@operation
def channel_is_written_and_read() -> None:
    writer, handle = channel("a", "b", keep="all")
    writer.end("stop")
    assert "".join(handle) == "ab"
    assert handle.finish_reason == "stop"
    assert "".join(handle.reader(0)) == "ab"


@operation
def channel_fails() -> None:
    writer, handle = channel("a")
    writer.fail(KeyError("no more"))
    expect(KeyError, list, handle)


@operation
def channel_is_abandoned_by_its_reader() -> None:
    writer, handle = channel("a")
    del handle
    expect(burble.Cancelled, writer.put_text, "b")


@operation
def channel_is_abandoned_by_its_writer() -> None:
    handle = channel("a")[1]
    expect(burble.ProducerDied, list, handle)


@operation
def channel_times_out() -> None:
    writer, handle = channel(first_token_timeout=0.001)
    expect(burble.FirstTokenTimeout, next, handle)
    del writer


@operation
def reader_lags_and_comes_too_late() -> None:
    log = _core.Log()
    reader = log.reader(0, 1, "drop_reader")
    for _ in range(1000):
        log.append("text")
    expect(burble.Lagged, list, reader)
    expect(burble.Gone, log.reader, 0)
    log.end()


@in_loop
async def merged_readers() -> None:
    logs = [_core.Log(objects=True) for _ in range(3)]
    merged = _core.Merged([log.reader() for log in logs])
    reading = asyncio.ensure_future(anext_of(merged))
    await asyncio.sleep(0)
    for log in logs:
        log.append({"any": "object"})
        log.end()
    await reading
    async for _ in merged:
        pass


@in_loop
async def server_sent_events() -> None:
    writer, handle = channel("a", "b", keep="all")
    writer.end("stop")
    assert [event async for event in burble.sse(handle)]
    assert [event async for event in burble.sse(handle, last_event_id=f"{handle.id}:0000000000")]


@in_loop
async def many_wait_at_once() -> None:
    channels = [channel() for _ in range(10)]
    reading = [asyncio.ensure_future(anext_of(handle)) for _, handle in channels]
    await asyncio.sleep(0)
    for writer, _ in channels:
        writer.put_text("x")
    assert await asyncio.gather(*reading) == ["x"] * 10
    for writer, _ in channels:
        writer.end()


# ---- counting ------------------------------------------------------------------------------------


def counts() -> list[int]:
    """Memory blocks of Python's and, where it counts them, references."""
    # What CPython keeps of names that were looked up (thousands) is not a leak.
    clear = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
    clear()
    for _ in range(3):
        gc.collect()
    counters = [sys.getallocatedblocks]
    if hasattr(sys, "gettotalrefcount"):
        counters.append(sys.gettotalrefcount)
    return [counter() for counter in counters]


def growth(call: Operation) -> list[int]:
    """What a round of calls leaves, of each count, where it leaves the least."""
    least: list[int] = []
    before: list[int] = []
    gc.collect()
    gc.freeze()  # what was there before need not be looked through each time
    for _ in range(ROUNDS):
        for _ in range(CALLS):
            call()
        now = counts()
        if before:
            left = [b - a for a, b in zip(before, now)]
            least = [min(pair) for pair in zip(least, left)] if least else left
        before = now
    gc.unfreeze()
    return least


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_leaves_no_references(name: str) -> None:
    assert max(growth(OPERATIONS[name])) < NOISE


def test_operation_that_leaks_is_noticed() -> None:
    kept: list[object] = []
    assert min(growth(lambda: kept.append(object()))) >= CALLS
