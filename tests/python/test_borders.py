# SPDX-License-Identifier: MIT
"""What crosses from one thread, loop or coroutine to another: exceptions, the caller's context, and
the memory that an exception keeps."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import traceback
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from helpers import SOON, run

import burble

pytestmark = pytest.mark.timeout(60)

PIECES = [bytes([i]) for i in range(128)]


class TokenIds:
    """As much of a tokenizer as a streamer wants."""

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        return "".join(map(chr, ids))


# ---- exceptions with a meaning for the waiting side ----------------------------------------------


class OfStopIteration(StopIteration):
    pass


def trio_cancelled() -> BaseException:
    """What trio.from_thread raises in a thread whose task was cancelled."""
    trio = pytest.importorskip("trio")

    async def main() -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                return error.with_traceback(None)
        raise AssertionError

    error: BaseException = trio.run(main)
    return error


# Each is handed over as the cause of a RuntimeError ...
MISLEADING: dict[str, Callable[[], BaseException]] = {
    "StopIteration": lambda: StopIteration(1),
    "subclass of StopIteration": OfStopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "GeneratorExit": GeneratorExit,
    "asyncio.CancelledError": asyncio.CancelledError,
    "concurrent.futures.CancelledError": concurrent.futures.CancelledError,
    "trio.Cancelled": trio_cancelled,
}
# ... and each of these as it is.
PLAIN: dict[str, Callable[[], BaseException]] = {
    "ValueError": ValueError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "MemoryError": MemoryError,
}


def raising(error: BaseException) -> Callable[..., Any]:
    def generate(streamer: Any) -> None:
        streamer.put([65])
        raise error

    return generate


def source_of(error: BaseException) -> Callable[[], Iterator[str]]:
    def source() -> Iterator[str]:
        raise error

    return source


def stream_for(error: BaseException) -> Any:
    return list(burble.stream(raising(error), tokenizer=PIECES, total_timeout=SOON))


def stream_join(error: BaseException) -> Any:
    return burble.stream(raising(error), tokenizer=PIECES).join(SOON)


def stream_result(error: BaseException) -> Any:
    handle = burble.stream(raising(error), tokenizer=PIECES)
    assert handle._job.wait(SOON)
    return handle.result


def stream_take(error: BaseException) -> Any:
    handle = burble.stream(raising(error), tokenizer=PIECES)
    assert handle._job.wait(SOON)
    reader = handle.reader("tail")
    return reader.take()


def batch_for(error: BaseException) -> Any:
    def generate(streamer: Any) -> None:
        raise error

    return list(burble.stream(generate, tokenizer=PIECES, batch=2, total_timeout=SOON))


def batch_join(error: BaseException) -> Any:
    return burble.stream(raising(error), tokenizer=PIECES, batch=1).join(SOON)


def iterate_for(error: BaseException) -> Any:
    return list(burble.iterate(source_of(error), total_timeout=SOON))


def channel_fail(error: BaseException) -> Any:
    writer, stream = burble.channel(PIECES, total_timeout=SOON)
    writer.fail(error)
    return list(stream)


def channel_block(error: BaseException) -> Any:
    writer, stream = burble.channel(PIECES, total_timeout=SOON)
    with pytest.raises(type(error)), writer:
        raise error
    return list(stream)


def pool_submit(error: BaseException) -> Any:
    with burble.Pool(1) as pool:
        return pool.submit(lambda: throw(error)).result(SOON)


def pool_map(error: BaseException) -> Any:
    with burble.Pool(1) as pool:
        return list(pool.map(lambda _: throw(error), range(2), timeout=SOON))


def pool_wait(error: BaseException) -> Any:
    with burble.Pool(1) as pool:
        future = pool.submit(lambda: throw(error))
        assert concurrent.futures.wait([future], SOON).done == {future}
        raise future.exception() or AssertionError


def throw(error: BaseException) -> None:
    raise error


async def stream_async_for(error: BaseException) -> Any:
    return [x async for x in burble.stream(raising(error), tokenizer=PIECES, total_timeout=SOON)]


async def stream_wait(error: BaseException) -> Any:
    return await burble.stream(raising(error), tokenizer=PIECES, total_timeout=SOON).wait()


async def batch_async_for(error: BaseException) -> Any:
    batch = burble.stream(raising(error), tokenizer=PIECES, batch=1, total_timeout=SOON)
    return [x async for x in batch]


async def reader_async_for(error: BaseException) -> Any:
    stream = burble.stream(raising(error), tokenizer=PIECES, keep="all", total_timeout=SOON)
    return [x async for x in stream.reader(0)]


async def iterate_async_for(error: BaseException) -> Any:
    return [x async for x in burble.iterate(source_of(error), total_timeout=SOON)]


async def channel_async_for(error: BaseException) -> Any:
    writer, stream = burble.channel(PIECES, total_timeout=SOON)
    writer.fail(error)
    return [x async for x in stream]


async def run_awaited(error: BaseException) -> Any:
    streamer = burble.AsyncTextIteratorStreamer(TokenIds())
    return await asyncio.wait_for(streamer.run(raising(error)), SOON)


async def run_awaited_executor(error: BaseException) -> Any:
    streamer = burble.AsyncTextIteratorStreamer(TokenIds())
    with ThreadPoolExecutor(1) as executor:
        return await asyncio.wait_for(streamer.run(raising(error), executor=executor), SOON)


async def run_read(error: BaseException) -> Any:
    streamer = burble.AsyncTextIteratorStreamer(TokenIds(), timeout=SOON)
    task = asyncio.ensure_future(streamer.run(raising(error)))
    try:
        return [x async for x in streamer]
    finally:
        await asyncio.wait([task], timeout=SOON)
        assert task.done()


async def run_read_in_thread(error: BaseException) -> Any:
    streamer = burble.TextIteratorStreamer(TokenIds(), timeout=SOON)
    found: list[BaseException] = []

    def read() -> None:
        try:
            list(streamer)
        except BaseException as raised:
            found.append(raised)

    thread = threading.Thread(target=read)
    thread.start()
    task = asyncio.ensure_future(streamer.run(raising(error)))
    await asyncio.wait([task], timeout=SOON)
    thread.join(SOON)
    task.exception()
    raise found[0]


async def pool_wrap_future(error: BaseException) -> Any:
    with burble.Pool(1) as pool:
        future = asyncio.wrap_future(pool.submit(lambda: throw(error)))
        return await asyncio.wait_for(future, SOON)


async def pool_run_in_executor(error: BaseException) -> Any:
    with burble.Pool(1) as pool:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(pool, throw, error), SOON)


THREADS = (
    stream_for,
    stream_join,
    stream_result,
    stream_take,
    batch_for,
    batch_join,
    iterate_for,
    channel_fail,
    channel_block,
    pool_submit,
    pool_map,
    pool_wait,
)
TASKS = (
    stream_async_for,
    stream_wait,
    batch_async_for,
    reader_async_for,
    iterate_async_for,
    channel_async_for,
)
ASYNCIO = (
    run_awaited,
    run_awaited_executor,
    run_read,
    run_read_in_thread,
    pool_wrap_future,
    pool_run_in_executor,
)
BORDERS = [
    *(("thread", border) for border in THREADS),
    *((kind, border) for kind in ("asyncio", "trio") for border in TASKS),
    *(("asyncio", border) for border in ASYNCIO),
]


def cross(kind: str, border: Callable[[BaseException], Any], error: BaseException) -> BaseException:
    """What comes out on the other side."""
    if kind == "trio":
        pytest.importorskip("trio")
    try:
        found = border(error) if kind == "thread" else run(kind, caught, border, error)
    except BaseException as raised:
        return raised
    if kind == "thread":
        raise AssertionError(f"no exception, but {found!r}")
    assert isinstance(found, BaseException)
    return found


async def caught(border: Callable[[BaseException], Any], error: BaseException) -> Any:
    """Within the task: a loop treats some exceptions that leave a task in its own way."""
    try:
        found = await border(error)
    except BaseException as raised:
        return raised
    raise AssertionError(f"no exception, but {found!r}")


@pytest.mark.parametrize("name", MISLEADING)
@pytest.mark.parametrize(("kind", "border"), BORDERS, ids=lambda p: getattr(p, "__name__", p))
def test_generate_raising_end_or_cancellation_fails_stream(
    kind: str, border: Callable[[BaseException], Any], name: str
) -> None:
    error = MISLEADING[name]()
    found = cross(kind, border, error)
    assert type(found) is RuntimeError, repr(found)
    assert found.__cause__ is error
    assert str(found) == f"the producer raised {type(error).__name__}"


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(("kind", "border"), BORDERS, ids=lambda p: getattr(p, "__name__", p))
def test_generate_raising_any_other_exception_keeps_it(
    kind: str, border: Callable[[BaseException], Any], name: str
) -> None:
    if name in ("KeyboardInterrupt", "SystemExit") and border in ASYNCIO:
        pytest.skip("asyncio lets these out of its loop, whoever raises them")
    error = PLAIN[name]()
    assert cross(kind, border, error) is error


@pytest.mark.parametrize("name", [*MISLEADING, "ValueError"])
def test_sse_of_any_exception_sends_failed_event(name: str) -> None:
    async def main() -> bytes:
        stream = burble.stream(raising({**MISLEADING, **PLAIN}[name]()), tokenizer=PIECES)
        return b"".join([data async for data in burble.sse(stream)])

    events = run("asyncio", main).decode()
    assert '"A"' in events
    assert "the generation failed" in events


@pytest.mark.parametrize("name", [*MISLEADING, "ValueError"])
@pytest.mark.parametrize("kind", ["thread", "asyncio", "trio"])
def test_tokenizer_raising_stop_iteration_at_end_fails_iteration(kind: str, name: str) -> None:
    """The producer has died, and the reader's thread decodes what it left."""
    error = {**MISLEADING, **PLAIN}[name]()

    class Tokenizer(TokenIds):
        dead = False

        def decode(self, ids: list[int], **kwargs: Any) -> str:
            if self.dead:
                raise error
            return super().decode(ids)

    tokenizer = Tokenizer()

    def in_thread(unused: BaseException) -> Any:
        return list(dead(burble.TextIteratorStreamer(tokenizer)))

    async def in_task(unused: BaseException) -> Any:
        return [x async for x in dead(burble.AsyncTextIteratorStreamer(tokenizer))]

    def dead(streamer: Any) -> Any:
        thread = threading.Thread(target=streamer.put, args=([65, 66],))
        thread.start()
        thread.join(SOON)
        tokenizer.dead = True
        return streamer

    found = cross(kind, in_thread if kind == "thread" else in_task, error)
    if name == "ValueError":
        assert found is error
    else:
        assert type(found) is RuntimeError
        assert found.__cause__ is error


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit"])
def test_run_with_generate_raising_control_exception_returns(name: str) -> None:
    async def main() -> None:
        await burble.AsyncTextIteratorStreamer(TokenIds()).run(raising(PLAIN[name]()))

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        asyncio.run(main())


# ---- the caller's context ------------------------------------------------------------------------

TRACE: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")


def test_generation_sees_context_of_its_call() -> None:
    seen: list[str] = []

    def generate(streamer: Any) -> None:
        seen.append(TRACE.get())
        TRACE.set("changed within")
        streamer.put_text("x")

    def note(streamer: Any) -> None:
        seen.append(TRACE.get())
        streamer.put([65, 66])

    def source() -> Iterator[int]:
        seen.append(TRACE.get())
        yield 1

    with burble.Pool(1) as pool:
        for n in range(3):
            TRACE.set(f"call {n}")
            "".join(burble.stream(generate, tokenizer=PIECES))
            "".join(pool.stream(generate, tokenizer=PIECES))
            list(pool.iterate(source))
            list(burble.iterate(source))
            list(pool.stream(note, tokenizer=PIECES, batch=2))
            seen.append(pool.submit(TRACE.get).result(SOON))
            seen += pool.map(lambda _: TRACE.get(), range(1))
            assert seen == [f"call {n}"] * 7
            assert TRACE.get() == f"call {n}"
            seen.clear()


def test_generation_queued_in_pool_sees_context_of_its_call() -> None:
    gate = threading.Event()
    with burble.Pool(1) as pool:
        pool.submit(gate.wait, SOON)
        futures = []
        for n in range(10):
            TRACE.set(f"call {n}")
            futures.append(pool.submit(TRACE.get))
        gate.set()
        assert [future.result(SOON) for future in futures] == [f"call {n}" for n in range(10)]


@pytest.mark.parametrize("own", [True, False])
def test_run_sees_context_of_its_task(own: bool) -> None:
    seen: list[str] = []

    def generate(streamer: Any) -> None:
        seen.append(TRACE.get())
        streamer.end()

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            for n in range(3):
                TRACE.set(f"task {n}")
                streamer = burble.AsyncTextIteratorStreamer(TokenIds())
                given = {} if own else {"executor": executor}
                await asyncio.create_task(streamer.run(generate, **given))

    asyncio.run(main())
    assert seen == ["task 0", "task 1", "task 2"]


# ---- waiting for oneself -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait",
    [
        lambda stream: stream.join(),
        lambda stream: stream.join(0.1),
        lambda stream: stream.close(),
        lambda stream: stream.__exit__(None, None, None),
        lambda stream: asyncio.run(stream.wait()),
        lambda stream: asyncio.run(stream.aclose()),
        lambda stream: list(stream),
        lambda stream: next(stream),
    ],
    ids=["join", "join_timeout", "close", "exit", "wait", "aclose", "for", "next"],
)
@pytest.mark.parametrize("batch", [None, 1])
def test_wait_for_stream_in_its_own_generate_raises(
    wait: Callable[[Any], Any], batch: int | None
) -> None:
    streams: list[Any] = []
    made = threading.Event()

    def generate(streamer: Any) -> str:
        assert made.wait(SOON)
        with pytest.raises(RuntimeError, match="generate would wait for itself"):
            wait(streams[0])
        assert isinstance(streamer.should_stop, bool)
        return "went on"

    with burble.Pool(1) as pool:
        streams.append(pool.stream(generate, tokenizer=PIECES, batch=batch))
        made.set()
        assert streams[0]._job.wait(SOON)
        assert streams[0]._job._result == "went on"


# ---- what an exception keeps ---------------------------------------------------------------------


class Tensor:
    """Something large."""


class OutOfMemory(RuntimeError):
    pass


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def hungry(tensors: weakref.WeakSet[Tensor]) -> Callable[..., Any]:
    """Runs out of memory some calls deep, within an exception handler."""

    def forward(streamer: Any) -> None:
        activation = Tensor()
        tensors.add(activation)
        streamer.put([65])
        try:
            raise OutOfMemory("tried to allocate 20 GiB")
        except OutOfMemory:
            retried = Tensor()
            tensors.add(retried)
            raise MemoryError("nor the second time") from None

    def generate(streamer: Any, **kwargs: Any) -> None:
        cache = [Tensor()]
        tensors.update(cache)
        forward(streamer)

    return generate


def read_stream(tensors: weakref.WeakSet[Tensor]) -> burble.Stream[str]:
    stream = burble.stream(hungry(tensors), tokenizer=PIECES)
    try:
        for _ in stream:
            pass
    except MemoryError as error:
        frames = traceback.extract_tb(error.__traceback__)
        assert [frame.name for frame in frames][-2:] == ["generate", "forward"]
        assert frames[-1].line == 'raise MemoryError("nor the second time") from None'
    return stream


@pytest.mark.usefixtures("no_collection")
def test_failed_stream_frees_tensors_without_collector() -> None:
    tensors: weakref.WeakSet[Tensor] = weakref.WeakSet()
    stream = read_stream(tensors)
    assert len(tensors) == 0
    assert isinstance(stream.error, MemoryError)  # which can be read again


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("own", [True, False])
def test_failed_run_frees_tensors_without_collector(own: bool) -> None:
    tensors: weakref.WeakSet[Tensor] = weakref.WeakSet()

    async def read(executor: ThreadPoolExecutor) -> None:
        streamer = burble.AsyncTextIteratorStreamer(TokenIds())
        given = {} if own else {"executor": executor}
        task = asyncio.ensure_future(streamer.run(hungry(tensors), **given))
        with pytest.raises(MemoryError):
            async for _ in streamer:
                pass
        await asyncio.wait([task])

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            await read(executor)

    asyncio.run(main())
    assert len(tensors) == 0


@pytest.mark.usefixtures("no_collection")
def test_failed_generator_frees_items_without_collector() -> None:
    tensors: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def source() -> Iterator[int]:
        large = Tensor()
        tensors.add(large)
        yield 1
        raise OutOfMemory

    def read() -> None:
        stream = burble.iterate(source)
        with pytest.raises(OutOfMemory):
            for _ in stream:
                pass

    read()
    assert len(tensors) == 0


def test_failed_call_still_running_keeps_variables() -> None:
    """An exception that one thread raises again for another has frames of both."""
    stored: list[BaseException] = []

    async def server() -> str:
        mine = "still here"
        try:
            raise ValueError
        except ValueError as error:
            stored.append(error)
        await asyncio.sleep(0)
        return mine

    coroutine = server()
    coroutine.send(None)
    with pytest.raises(ValueError):
        list(burble.stream(raising(stored[0]), tokenizer=PIECES))
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == "still here"
