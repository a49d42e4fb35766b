# SPDX-License-Identifier: MIT
"""Streams that fail, or that are abandoned: nothing hangs, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    KINDS,
    SOON,
    OutOfMemory,
    all_wait,
    descriptors,
    in_thread,
    run,
    text_to_error,
    until,
)
from shipped import MODEL, ids, tokenizer

import burble
from burble._threads import default_pool

pytestmark = pytest.mark.timeout(60)

TEXT = "To be, or not to be"
LOOPS = pytest.mark.parametrize("loop", KINDS)


class Endless:
    """Talks until it is stopped, and says whether it was."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()

    def __call__(self, *, streamer: Any) -> None:
        pace = threading.Event()
        try:
            while True:
                streamer.put(ids("word "))
                self.begun.set()
                pace.wait(0.001)
        finally:
            self.stopped.set()


class Stuck:
    """Puts one token, and returns when it is let: cancelling does not reach it."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, *, streamer: Any) -> str:
        streamer.put(ids("one"))
        self.begun.set()
        assert self.go.wait(SOON)
        return "late"


def stream(generate: Any, *args: Any, **options: Any) -> burble.Stream[str]:
    return burble.stream(generate, *args, tokenizer=tokenizer(), **options)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Every warning is an error, and when a test is over, nothing of it runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    until(lambda: default_pool().running == 0)


@pytest.fixture
def busy() -> Iterator[burble.Pool]:
    """A pool whose only thread has something else to do."""
    gate = threading.Event()
    with burble.Pool(1) as pool:
        pool.submit(gate.wait, SOON)
        until(lambda: pool.running == 1)
        yield pool
        gate.set()


# ---- generate raises -----------------------------------------------------------------------------


def raises(before: str, error: BaseException, in_end: bool = False, *, streamer: Any) -> None:
    for token in ids(before):
        streamer.put(token)
    if in_end:
        streamer.end()
    raise error


@pytest.mark.parametrize("before", ["", TEXT])
@pytest.mark.parametrize("in_end", [False, True])
@pytest.mark.parametrize(
    "error", [OutOfMemory("gone"), KeyboardInterrupt(), SystemExit(3), MemoryError()], ids=repr
)
def test_exception_of_generate_comes_after_its_text(
    kind: str, before: str, in_end: bool, error: BaseException
) -> None:
    handle = stream(raises, before, error, in_end)
    text, found = text_to_error(kind, handle)
    assert text == before
    assert found is error
    frames = traceback.extract_tb(found.__traceback__)
    assert "raises" in [frame.name for frame in frames]
    assert handle.state == "failed"
    assert handle.error is error
    assert handle.finish_reason is None
    with pytest.raises(type(error)):
        _ = handle.result


@pytest.mark.parametrize(
    "error", [StopIteration, StopAsyncIteration, GeneratorExit, asyncio.CancelledError]
)
def test_exception_of_control_class_fails_stream(kind: str, error: type[BaseException]) -> None:
    text, found = text_to_error(kind, stream(raises, TEXT, error("pretended")))
    assert text == TEXT
    assert isinstance(found, RuntimeError)
    assert isinstance(found.__cause__, error)


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Refuses a new traceback, as it refuses every other attribute."""

    code: int = 7


class Opaque(Exception):
    """Has no message, and hides its traceback."""

    @property
    def __traceback__(self) -> Any:
        raise AttributeError

    @__traceback__.setter
    def __traceback__(self, value: Any) -> None:
        raise AttributeError

    def __str__(self) -> str:
        raise AttributeError


@pytest.mark.parametrize("before", ["", TEXT])
@pytest.mark.parametrize("error", [Frozen(), Opaque()], ids=lambda error: type(error).__name__)
def test_immutable_exception_costs_no_thread(kind: str, before: str, error: Exception) -> None:
    with burble.Pool(1) as pool:
        handle = stream(raises, before, error, pool=pool, total_timeout=SOON)
        text, found = text_to_error(kind, handle)
        assert text == before
        assert found is error
        with pytest.raises(type(error)):
            _ = handle.result
        assert pool.submit(lambda: 3).result(SOON) == 3


def test_exception_for_many_readers_keeps_traceback_length(kind: str) -> None:
    gate = threading.Event()

    def generate(*, streamer: Any) -> None:
        streamer.put(ids(TEXT))
        assert gate.wait(SOON)
        raise OutOfMemory

    handle = stream(generate)
    readers = [handle.reader() for _ in range(5)]
    gate.set()
    lengths = set()
    for reader in (*readers, *readers, handle):
        _, found = text_to_error(kind, reader)
        assert isinstance(found, OutOfMemory)
        lengths.add(len(traceback.extract_tb(found.__traceback__)))
    for _ in range(3):
        try:
            _ = handle.result
        except OutOfMemory as error:
            lengths.add(len(traceback.extract_tb(error.__traceback__)))
    assert max(lengths) - min(lengths) <= 2  # the reader has frames, too, always the same
    assert len(lengths) <= 3


def test_exception_that_nobody_reads_is_not_reported(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        handle = stream(raises, TEXT, OutOfMemory())
        await asyncio.sleep(0) if kind != "trio" else None
        handle._job.wait(SOON)
        del handle
        gc.collect()

    if kind == "threads":
        stream(raises, TEXT, OutOfMemory())._job.wait(SOON)
    else:
        run(kind, main)
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_failed_generation_is_freed_without_collector() -> None:
    class Memory:
        pass

    seen = []

    def generate(*, streamer: Any) -> None:
        memory = Memory()
        seen.append(weakref.ref(memory))
        streamer.put(ids(TEXT))
        raise OutOfMemory

    gc.collect()
    gc.disable()
    try:
        handle = stream(generate, stop="no such text")
        with pytest.raises(OutOfMemory):
            list(handle)
        assert handle._job.wait(SOON)
        del handle
        until(lambda: seen[0]() is None)
    finally:
        gc.enable()


def test_exception_of_tokenizer_fails_stream() -> None:
    class Faulty:
        def decode(self, tokens: list[int], **options: Any) -> str:
            if len(tokens) > 2:
                raise OutOfMemory
            return "a" * len(tokens)

    handle = burble.stream(lambda streamer: [streamer.put(n) for n in range(9)], tokenizer=Faulty())
    with pytest.raises(OutOfMemory):
        list(handle)


def test_second_writer_at_once_raises() -> None:
    found: list[BaseException] = []

    def generate(*, streamer: Any) -> None:
        def put() -> None:
            try:
                while not found:
                    streamer.put(ids("word "))
            except RuntimeError as error:
                found.append(error)
            except burble.Error:
                pass  # the first of the threads that wrote it has exited

        threads = [threading.Thread(target=put) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)

    handle = stream(generate, max_lag=16)
    with contextlib.suppress(burble.ProducerDied):
        list(handle)
    assert handle._job.wait(SOON)
    assert found
    assert "another thread" in str(found[0])


def test_streamer_used_after_its_generation_raises() -> None:
    kept: list[Any] = []

    def keep(streamer: Any) -> None:
        kept.append(streamer)
        streamer.end()

    handle = stream(keep)
    assert list(handle) == []
    until(lambda: handle._job._settled)
    with pytest.raises(burble.Error, match="generation of this streamer has ended"):
        kept[0].put(ids(TEXT))
    kept[0].end()
    assert kept[0].should_stop


# ---- it is never started -------------------------------------------------------------------------


@LOOPS
def test_stream_cancelled_in_queue_never_runs(loop: str, busy: burble.Pool) -> None:
    ran: list[int] = []

    async def main() -> None:
        async with stream(lambda streamer: ran.append(1), pool=busy) as handle:
            pass
        with pytest.raises(burble.Cancelled):
            _ = handle.result
        with pytest.raises(burble.Cancelled):
            await handle.wait()

    run(loop, main)
    assert busy.waiting == 0
    assert ran == []


def test_stream_unreferenced_in_queue_never_runs(busy: burble.Pool) -> None:
    ran: list[int] = []
    stream(lambda streamer: ran.append(1), pool=busy)
    assert busy.waiting == 0
    assert ran == []


@LOOPS
def test_wait_for_queued_stream_ends_on_cancel(loop: str, busy: burble.Pool) -> None:
    handle = stream(lambda streamer: None, pool=busy)
    with in_thread(handle.cancel):
        assert isinstance(text_to_error(loop, handle)[1], burble.Cancelled)


# ---- it does not return --------------------------------------------------------------------------


@LOOPS
def test_function_never_returning_is_left_with_warning(loop: str) -> None:
    stuck = Stuck()

    async def main() -> None:
        async with stream(stuck, join_timeout=0.05) as handle:
            async for _ in handle:
                break
        assert handle.state == "cancelled"

    with pytest.warns(RuntimeWarning, match=r"^Stuck is still running 0.05 s after"):
        run(loop, main)
    stuck.go.set()


def test_warning_names_line_that_left_block() -> None:
    stuck = Stuck()
    with pytest.warns(RuntimeWarning) as caught, stream(stuck, join_timeout=0.01) as handle:
        next(handle)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    handle = stream(stuck, join_timeout=0.01)
    next(handle)
    with pytest.warns(RuntimeWarning) as caught:
        handle.close()
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    stuck.go.set()


def test_block_with_join_timeout_zero_does_not_wait() -> None:
    stuck = Stuck()
    with stream(stuck, join_timeout=0):
        pass
    stuck.go.set()


# ---- the consumer goes ---------------------------------------------------------------------------


@LOOPS
def test_block_left_early_stops_and_joins_generation(loop: str) -> None:
    endless = Endless()

    async def main() -> None:
        async with stream(endless) as handle:
            async for _ in handle:
                break
        assert endless.stopped.is_set()
        await handle.aclose()

    run(loop, main)


@LOOPS
def test_exception_in_block_is_not_changed(loop: str) -> None:
    endless = Endless()

    async def main() -> None:
        async with stream(endless) as handle:
            async for _ in handle:
                raise OutOfMemory

    with pytest.raises(OutOfMemory):
        run(loop, main)
    assert endless.stopped.is_set()


def test_stream_without_references_stops_generation() -> None:
    endless = Endless()
    handle = stream(endless)
    next(handle)
    del handle
    assert endless.stopped.wait(SOON)


@LOOPS
def test_iteration_keeps_its_stream_alive(loop: str) -> None:
    async def main() -> str:
        return "".join([text async for text in stream(raises, TEXT, ValueError())])

    with pytest.raises(ValueError):
        run(loop, main)
    text = ""
    endless = Endless()
    for more in stream(endless):
        gc.collect()
        text += more
        if len(text) > 20:
            break
    del more
    assert endless.stopped.wait(SOON)


def test_stream_in_cycle_is_collected() -> None:
    class Tied:
        pass

    endless = Endless()
    tied = Tied()
    tied.me, tied.stream = tied, stream(endless)  # type: ignore[attr-defined]
    assert endless.begun.wait(SOON)
    del tied
    gc.collect()
    assert endless.stopped.wait(SOON)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("waiting", [True, False])
def test_cancelled_task_joins_and_stays_cancelled(loop: str, waiting: bool) -> None:
    generate: Any = Stuck() if waiting else Endless()

    async def consume(read: asyncio.Event) -> None:
        async with stream(generate, join_timeout=SOON) as handle:
            async for _ in handle:
                read.set()
                if not waiting:
                    await asyncio.sleep(SOON)

    async def main() -> None:
        read = asyncio.Event()
        task = asyncio.ensure_future(consume(read))
        await read.wait()
        await all_wait(loop)
        task.cancel()
        if waiting:
            await all_wait(loop)
            assert not task.done()  # it joins
            generate.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(loop, main)
    if not waiting:
        assert generate.stopped.is_set()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_task_cancelled_twice_stops_joining(loop: str) -> None:
    stuck = Stuck()

    async def consume(read: asyncio.Event) -> None:
        async with stream(stuck, join_timeout=SOON) as handle:
            async for _ in handle:
                read.set()

    async def main() -> None:
        read = asyncio.Event()
        task = asyncio.ensure_future(consume(read))
        await read.wait()
        for _ in range(2):
            await all_wait(loop)
            assert not task.done()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(loop, main)
    stuck.go.set()


def test_cancelled_trio_scope_joins() -> None:
    trio = pytest.importorskip("trio")
    endless = Endless()

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with stream(endless, join_timeout=SOON) as handle:
                async for _ in handle:
                    scope.cancel()
        assert scope.cancelled_caught
        assert endless.stopped.is_set()

    trio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelled_anyio_scope_joins(backend: str) -> None:
    """As when a client of starlette goes away."""
    anyio = pytest.importorskip("anyio")
    endless = Endless()

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with stream(endless, join_timeout=SOON) as handle:
                async for _ in handle:
                    scope.cancel()
        assert scope.cancel_called
        assert endless.stopped.is_set()

    anyio.run(main, backend=backend)


@LOOPS
def test_async_generator_closed_stops_generation(loop: str) -> None:
    """As frameworks do it: the generator is closed where it yields."""
    endless = Endless()

    async def texts() -> Any:
        async with stream(endless) as handle:
            async for text in handle:
                yield text

    async def main() -> None:
        generator = texts()
        assert await generator.__anext__() == "word "
        await generator.aclose()
        assert endless.stopped.is_set()

    run(loop, main)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_loop_closed_under_consumer_leaves_stream_to_another(loop: str) -> None:
    stuck = Stuck()
    handle = stream(stuck)

    async def main() -> None:
        read = asyncio.Event()
        task = asyncio.ensure_future(collect(read))
        await read.wait()
        await all_wait(loop)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    found: list[str] = []

    async def collect(read: asyncio.Event) -> None:
        async for text in handle:
            found.append(text)
            read.set()

    run(loop, main)
    stuck.go.set()
    assert text_to_error(loop, handle) == ("", None)
    assert found == ["one"]


def test_cancel_from_many_threads_while_read_ends_stream() -> None:
    endless = Endless()
    handle = stream(endless)
    threads = [threading.Thread(target=handle.cancel) for _ in range(20)]
    next(handle)
    for thread in threads:
        thread.start()
    assert isinstance(text_to_error("threads", handle)[1], burble.Cancelled)
    for thread in threads:
        thread.join()
    handle.close()
    handle.close()
    assert endless.stopped.is_set()


def test_cancel_after_end_changes_nothing() -> None:
    handle = stream(lambda streamer: streamer.end() or "all")
    assert list(handle) == []
    handle.cancel()
    handle.close()
    assert (handle.state, handle.result) == ("ended", "all")


def test_cancel_of_generation_blocked_by_reader_ends_it() -> None:
    endless = Endless()
    with stream(endless, max_lag=8) as handle:
        until(lambda: handle.stats.blocked > 0)
    assert endless.stopped.is_set()


def test_join_with_timeout_ends_at_deadline_and_at_death() -> None:
    stuck = Stuck()
    handle = stream(stuck, token_timeout=0.05, join_timeout=0)
    assert stuck.begun.wait(SOON)
    late = 3600  # which is longer than this test may take
    with pytest.raises(burble.TokenTimeout):
        handle.join(late)
    stuck.go.set()

    writer, channel = burble.channel()
    with in_thread(writer.put_text, "a"):
        pass
    with pytest.raises(burble.ProducerDied):
        channel.join(late)
    batch = burble.BatchStreamer(tokenizer(), 2)
    with in_thread(batch.put, [1, 2]):
        pass
    with pytest.raises(burble.ProducerDied):
        batch.join(late)


def test_resources_of_reading_thread_are_freed_with_stream() -> None:
    endless = Endless()
    handle = stream(endless)
    found: list[BaseException | None] = []
    with in_thread(lambda: found.append(text_to_error("threads", handle)[1])):
        assert endless.begun.wait(SOON)
        handle.close()
    assert isinstance(found[0], burble.Cancelled)


# ---- nothing is left behind ----------------------------------------------------------------------


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_put_by_threads_that_exit_does_not_fail_stream() -> None:
    def generate(*, streamer: Any) -> None:
        for word in ("one ", "two ", "three"):
            thread = threading.Thread(target=streamer.put, args=(ids(word),))
            thread.start()
            thread.join()

    assert "".join(stream(generate)) == "one two three"


def foreign_threads() -> int:
    """How many threads there are but for those of burble's own pool, of which there may be 64."""
    own = default_pool()._threads
    assert len(own) <= 64
    return len(set(threading.enumerate()) - own)


async def open_and_abandon(n: int) -> None:
    """Streams in every state: waited for, running, ended, failed."""

    async def four() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stream(until_cancelled).__anext__(), 0)
        await stream(until_cancelled).__anext__()
        await stream(lambda streamer: streamer.put(1)).__anext__()
        with contextlib.suppress(OutOfMemory):
            await stream(raises, "", OutOfMemory()).__anext__()

    for _ in range(n // 200):
        await asyncio.gather(*(four() for _ in range(50)))


def until_cancelled(*, streamer: Any) -> None:
    while True:
        streamer.put(ids("word "))
        time.sleep(0.001)  # as a step of a model: threads that spin would only fight for the GIL


@pytest.mark.no_asan
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")
def test_ten_thousand_abandoned_streams_are_freed(measured: list[str]) -> None:
    async def main() -> tuple[int, ...]:
        before = await after(2000)  # what is kept for good is there now, or most of it
        for _ in range(3):  # threads that come late have memory and objects, but not each time
            now = await after(10_000)
            more = tuple(b - a for a, b in zip(before, now))
            if more[3] < memory_at_most and more[4] < objects_at_most:
                break
            before = now
        return more

    async def after(n: int) -> tuple[int, ...]:
        await open_and_abandon(n)
        until(lambda: default_pool().running == 0)
        gc.collect()
        return left()

    def left() -> tuple[int, ...]:
        tasks = len(asyncio.all_tasks()) - 1  # without this one
        return (foreign_threads(), descriptors(), tasks, resident(), len(gc.get_objects()))

    memory_at_most, objects_at_most = 4 << 20, 200
    threads, files, tasks, memory, objects = asyncio.run(main())
    measured.append(
        f"10,000 streams opened and abandoned left {threads} threads, {files} descriptors, {tasks} "
        f"tasks, {memory:,} bytes and {objects} objects"
    )
    assert threads <= 0
    assert files <= 0
    assert tasks == 0
    assert objects < objects_at_most  # threads of the pool, of which some may have come
    assert memory < memory_at_most


# ---- the end of the process, and a second one ----------------------------------------------------

PREAMBLE = """
import asyncio, os, sys, threading, time
import burble
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")

def endless(*, streamer):
    while True:
        streamer.put(tokenizer.encode("word ").ids)
        time.sleep(0.001)

def stuck(*, streamer):
    streamer.put(tokenizer.encode("word ").ids)
    while True:
        time.sleep(60)
"""


def program(text: str) -> tuple[int, str, str]:
    """Runs a separate program."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(text), str(MODEL)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_interpreter_with_running_streams_exits() -> None:
    text = """
    streams = [burble.stream(endless, tokenizer=tokenizer) for _ in range(20)]
    for stream in streams:
        next(stream)

    def read():
        try:
            list(streams[0])
        except burble.Cancelled:
            pass

    threading.Thread(target=read, daemon=True).start()
    items = burble.iterate(lambda: (time.sleep(0.001) for _ in range(10**9)))
    next(items)
    writer, channel = burble.channel()
    writer.put_text("text")
    loop = asyncio.new_event_loop()
    task = loop.create_task(streams[1].wait())
    loop.run_until_complete(asyncio.sleep(0.01))
    task._log_destroy_pending = False
    print("leaving", flush=True)
    """
    assert program(text) == (0, "leaving\n", "")


def test_interpreter_with_generation_that_never_returns_exits() -> None:
    text = """
    import burble._pool
    burble._pool._EXIT_TIMEOUT = 0.2
    stream = burble.stream(stuck, tokenizer=tokenizer)
    next(stream)
    print("leaving", flush=True)
    """
    assert program(text) == (0, "leaving\n", "")


def test_program_interrupted_in_block_stops_generation() -> None:
    text = """
    import signal
    with burble.stream(endless, tokenizer=tokenizer) as stream:
        for n, text in enumerate(stream):
            if n == 3:
                os.kill(os.getpid(), signal.SIGINT)
    """
    code, _, errors = program(text)
    assert code != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_reading_parents_stream_raises() -> None:
    text = """
    import warnings
    warnings.simplefilter("ignore")  # of forking with threads, which is the point
    stream = burble.stream(endless, tokenizer=tokenizer, keep="all")
    next(stream)
    child = os.fork()
    if child == 0:
        try:
            list(stream)
        except burble.ProducerDied:
            with burble.stream(endless, tokenizer=tokenizer) as another:
                next(another)
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    next(stream)
    stream.close()
    print("both")
    """
    assert program(text) == (0, "both\n", "")


def test_channel_writer_dead_after_first_put_fails_channel() -> None:
    writer, stream = burble.channel(tokenizer=tokenizer())

    def write() -> None:
        with pytest.raises(TypeError):
            writer.put("no ids")

    with in_thread(write):
        with pytest.raises(burble.ProducerDied):
            list(stream)
