# SPDX-License-Identifier: MIT
"""What goes wrong: threads that die, tasks and streams that are cancelled, programs that end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import queue
import subprocess
import sys
import textwrap
import threading
import traceback
import weakref
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, Union

import pytest
from helpers import SOON, in_thread
from shipped import MODEL, ids, speak, tokenizer

import burble

T = TypeVar("T")
Streamer = Union[burble.TextIteratorStreamer, burble.AsyncTextIteratorStreamer]

pytestmark = pytest.mark.timeout(60)


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, SOON)


async def turns(n: int = 5) -> None:
    """Lets every task that can run do so, until it waits."""
    for _ in range(n):
        await asyncio.sleep(0)


async def until(event: threading.Event) -> None:
    """Waits for another thread's event."""
    assert await asyncio.get_running_loop().run_in_executor(None, event.wait, SOON)


async def listen(
    streamer: burble.AsyncTextIteratorStreamer,
) -> tuple[str, BaseException | None]:
    """The text, and what ended the iteration, if it was an exception."""
    found = []
    try:
        async for text in streamer:
            found.append(text)
    except Exception as error:
        return "".join(found), error
    return "".join(found), None


def read(streamer: Streamer) -> tuple[str, BaseException | None]:
    """The same in a thread, or in a loop of its own."""
    if isinstance(streamer, burble.AsyncTextIteratorStreamer):
        return asyncio.run(soon(listen(streamer)))
    found = []
    try:
        for text in streamer:
            found.append(text)
    except Exception as error:
        return "".join(found), error
    return "".join(found), None


BOTH: list[Any] = [burble.TextIteratorStreamer, burble.AsyncTextIteratorStreamer]


@pytest.fixture(params=BOTH, ids=["thread", "asyncio"])
def streamer(request: pytest.FixtureRequest) -> Streamer:
    made: Streamer = request.param(tokenizer())
    return made


@pytest.fixture
def own() -> burble.AsyncTextIteratorStreamer:
    """For run()."""
    return burble.AsyncTextIteratorStreamer(tokenizer())


class OutOfMemory(Exception):
    pass


# ---- the generation thread dies ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_raises_leaves_text_then_producer_died(streamer: Streamer) -> None:
    def generate() -> None:
        speak(streamer, "The rest is sil")
        raise OutOfMemory

    with in_thread(generate):
        text, error = read(streamer)
    assert text == "The rest is sil"  # with the word that was held back
    assert isinstance(error, burble.ProducerDied)
    assert isinstance(error, burble.Error)
    assert "without ending" in str(error)


def test_thread_that_returns_without_end_raises_producer_died(streamer: Streamer) -> None:
    with in_thread(speak, streamer, "The rest is sil"):
        text, error = read(streamer)
    assert text == "The rest is sil"
    assert isinstance(error, burble.ProducerDied)


def test_incomplete_character_of_dead_thread_becomes_replacement(streamer: Streamer) -> None:
    with in_thread(streamer.put, ids("€")[:1]):
        text, error = read(streamer)
    assert text == "\N{REPLACEMENT CHARACTER}"
    assert isinstance(error, burble.ProducerDied)


def test_reader_after_death_of_thread_raises_producer_died(streamer: Streamer) -> None:
    with in_thread(speak, streamer, "Too late"):
        pass
    text, error = read(streamer)
    assert text == "Too late"
    assert isinstance(error, burble.ProducerDied)


def test_thread_dead_before_first_text_raises_producer_died(streamer: Streamer) -> None:
    with in_thread(streamer.put, [0]):  # the prompt
        text, error = read(streamer)
    assert text == ""
    assert isinstance(error, burble.ProducerDied)


def test_generation_after_dead_one_is_read(streamer: Streamer) -> None:
    with in_thread(speak, streamer, "one two thr"):
        text, error = read(streamer)
    assert text == "one two thr"
    assert isinstance(error, burble.ProducerDied)

    def generate() -> None:
        speak(streamer, "four five")
        streamer.end()

    with in_thread(generate):
        assert read(streamer) == ("four five", None)


def test_generation_after_dead_one_does_not_lose_its_text(streamer: Streamer) -> None:
    for n in range(3):
        with in_thread(speak, streamer, f"round {n} is unfin"):
            pass
    speak(streamer, "the last one")
    streamer.end()
    for n in range(3):
        text, error = read(streamer)
        assert text == f"round {n} is unfin"
        assert isinstance(error, burble.ProducerDied)
    assert read(streamer) == ("the last one", None)


def test_dead_thread_replaced_by_another_is_no_death(streamer: Streamer) -> None:
    written, gone = threading.Event(), threading.Event()

    def begin() -> None:
        speak(streamer, "begun ")
        written.set()
        assert gone.wait(SOON)

    with in_thread(begin):
        assert written.wait(SOON)
        speak(streamer, "and finished ")  # this thread has taken over
        gone.set()
    speak(streamer, "elsewhere")
    streamer.end()
    assert read(streamer) == ("begun and finished elsewhere", None)


class SlowTokenizer:
    """Decodes by itself, and waits in the midst of it once it is told to."""

    def __init__(self) -> None:
        self.slow = False
        self.inside, self.leave = threading.Event(), threading.Event()

    def decode(self, ids: list[int], **_: Any) -> str:
        if self.slow:
            self.slow = False
            self.inside.set()
            assert self.leave.wait(SOON)
        text: str = tokenizer().decode(ids)
        return text


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_generation_and_reader_at_dead_one_at_once_lose_nothing(first: str) -> None:
    slow = SlowTokenizer()
    streamer = burble.TextIteratorStreamer(slow)
    with in_thread(speak, streamer, "one two thr"):
        pass
    assert [next(streamer), next(streamer)] == ["one ", "two "]
    results: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
    written = threading.Event()

    def generate() -> None:
        speak(streamer, "four five")
        streamer.end()
        written.set()

    def reading() -> None:
        for _ in range(2):
            results.put(read(streamer))

    slow.slow = True
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_thread(reading if first == "reader" else generate))
        assert slow.inside.wait(SOON)
        stack.enter_context(in_thread(generate if first == "reader" else reading))
        # The second one is not let through, or it is: then this gives it the time to do harm.
        written.wait(0.1)
        slow.leave.set()
        text, error = results.get(timeout=SOON)
        assert text == "thr"
        assert isinstance(error, burble.ProducerDied)
        assert results.get(timeout=SOON) == ("four five", None)


def test_generation_after_dead_one_skips_its_prompt() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), skip_prompt=True)

    def generate() -> None:
        streamer.put([ids("the prompt ")])
        speak(streamer, "the text")

    for _ in range(2):
        with in_thread(generate):
            pass
    for _ in range(2):
        text, error = read(streamer)
        assert text == "the text"
        assert isinstance(error, burble.ProducerDied)


def test_many_threads_dying_at_once_all_raise_producer_died() -> None:
    streamers: list[Streamer] = [BOTH[n % 2](tokenizer()) for n in range(50)]
    with contextlib.ExitStack() as stack:
        for streamer in streamers:
            stack.enter_context(in_thread(speak, streamer, "dying wor"))
    for streamer in streamers:
        text, error = read(streamer)
        assert text == "dying wor"
        assert isinstance(error, burble.ProducerDied)


# ---- run() -------------------------------------------------------------------------------------


def talk(text: str, *, streamer: Any) -> str:
    """A generate of the usual kind."""
    speak(streamer, text)
    streamer.end()
    return text.upper()


def test_run_returns_result_of_generate(own: burble.AsyncTextIteratorStreamer) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(own.run(talk, "to be or not"))
        assert await soon(listen(own)) == ("to be or not", None)
        assert await soon(task) == "TO BE OR NOT"

    asyncio.run(main())


def test_exception_of_generate_reaches_consumer_after_text(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    def deep_in_the_model() -> None:
        raise OutOfMemory("CUDA")

    def generate(*, streamer: Any) -> None:
        speak(streamer, "The rest is sil")
        deep_in_the_model()

    async def main() -> None:
        task = asyncio.ensure_future(own.run(generate))
        text, error = await soon(listen(own))
        assert text == "The rest is sil"
        assert isinstance(error, OutOfMemory)
        assert error.args == ("CUDA",)
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert "generate" in frames
        assert "deep_in_the_model" in frames
        with pytest.raises(OutOfMemory, match="CUDA"):
            await soon(task)

    asyncio.run(main())


def test_exception_of_generate_before_first_put_reaches_consumer(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    def generate(*, streamer: Any) -> None:
        raise OutOfMemory

    async def main() -> None:
        task = asyncio.ensure_future(own.run(generate))
        text, error = await soon(listen(own))
        assert text == ""
        assert isinstance(error, OutOfMemory)
        with pytest.raises(OutOfMemory):
            await soon(task)

    asyncio.run(main())


def test_exception_of_override_reaches_consumer() -> None:
    class Picky(burble.AsyncTextIteratorStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if "not" in text:
                raise OutOfMemory(text)
            super().on_finalized_text(text, stream_end=stream_end)

    streamer = Picky(tokenizer())

    async def main() -> None:
        task = asyncio.ensure_future(streamer.run(talk, "to be or not to be"))
        text, error = await soon(listen(streamer))
        assert text.startswith("to be or ")
        assert isinstance(error, OutOfMemory)
        with pytest.raises(OutOfMemory):
            await soon(task)

    asyncio.run(main())


class FaultyTokenizer:
    """Decodes by itself, and no longer once it is broken."""

    broken = False

    def decode(self, ids: list[int], **_: Any) -> str:
        if self.broken:
            raise OutOfMemory("decode")
        text: str = tokenizer().decode(ids)
        return text


def test_exception_of_tokenizer_reaches_consumer() -> None:
    faulty = FaultyTokenizer()
    streamer = burble.AsyncTextIteratorStreamer(faulty)

    def generate(*, streamer: Any) -> None:
        speak(streamer, "to be or not ")
        faulty.broken = True
        speak(streamer, "to be")

    async def main() -> None:
        task = asyncio.ensure_future(streamer.run(generate))
        text, error = await soon(listen(streamer))
        assert text == "to be or not "
        assert isinstance(error, OutOfMemory)
        with pytest.raises(OutOfMemory):
            await soon(task)

    asyncio.run(main())


def test_exception_delivered_to_consumer_is_not_reported_by_task(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    noise: list[dict[str, Any]] = []

    def generate(*, streamer: Any) -> None:
        speak(streamer, "The rest is sil")
        raise OutOfMemory

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: noise.append(context))
        task = asyncio.ensure_future(own.run(generate))
        _, error = await soon(listen(own))
        assert isinstance(error, OutOfMemory)
        await asyncio.wait({task}, timeout=SOON)
        assert task.done()
        del task
        await turns()
        gc.collect()
        await turns()

    asyncio.run(main())
    gc.collect()
    assert noise == []


def test_exception_delivered_to_nobody_is_reported() -> None:
    noise: list[dict[str, Any]] = []

    def generate(*, streamer: Any) -> None:
        raise OutOfMemory

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: noise.append(context))
        streamer = burble.AsyncTextIteratorStreamer(tokenizer())
        task = asyncio.ensure_future(streamer.run(generate))
        await asyncio.wait({task}, timeout=SOON)
        assert task.done()
        del streamer, task
        await turns()
        gc.collect()
        await turns()

    asyncio.run(main())
    gc.collect()
    assert [type(context["exception"]) for context in noise] == [OutOfMemory]


def test_run_ends_stream_that_generate_left_open(own: burble.AsyncTextIteratorStreamer) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(own.run(lambda streamer: speak(streamer, "no end in sig")))
        assert await soon(listen(own)) == ("no end in sig", None)
        await soon(task)

    asyncio.run(main())


def test_run_ends_stream_without_text(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    async def main() -> None:
        for _ in range(3):  # the second time, there is an ended round already
            task = asyncio.ensure_future(own.run(lambda streamer: None))
            assert await soon(listen(own)) == ("", None)
            await soon(task)

    asyncio.run(main())


def test_exception_of_generate_after_end_does_not_fail_next_generation(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    def generate(*, streamer: Any) -> None:
        talk("first", streamer=streamer)
        raise OutOfMemory

    async def main() -> None:
        task = asyncio.ensure_future(own.run(generate))
        assert await soon(listen(own)) == ("first", None)
        with pytest.raises(OutOfMemory):
            await soon(task)
        second = asyncio.ensure_future(own.run(talk, "second"))
        assert await soon(listen(own)) == ("second", None)
        assert await soon(second) == "SECOND"

    asyncio.run(main())


def test_run_after_failed_run_works(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    def fail(*, streamer: Any) -> None:
        speak(streamer, "half a wo")
        raise OutOfMemory

    async def main() -> None:
        for n in range(3):
            failing = asyncio.ensure_future(own.run(fail))
            text, error = await soon(listen(own))
            assert text == "half a wo"
            assert isinstance(error, OutOfMemory)
            with pytest.raises(OutOfMemory):
                await soon(failing)
            task = asyncio.ensure_future(own.run(talk, f"round {n}"))
            assert await soon(listen(own)) == (f"round {n}", None)
            await soon(task)

    asyncio.run(main())


def test_run_feeds_reader_in_thread() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer())

    def fail(*, streamer: Any) -> None:
        speak(streamer, "half a wo")
        raise OutOfMemory

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for generate in (functools.partial(talk, "whole words"), fail):
            task = asyncio.ensure_future(streamer.run(generate))
            reader = loop.run_in_executor(None, read, streamer)
            text, error = await soon(reader)
            if generate is fail:
                assert text == "half a wo"
                assert isinstance(error, OutOfMemory)
                with pytest.raises(OutOfMemory):
                    await soon(task)
            else:
                assert (text, error) == ("whole words", None)
                assert await soon(task) == "WHOLE WORDS"

    asyncio.run(main())


def test_run_serves_text_streamer(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*, streamer: Any) -> None:
        raise OutOfMemory

    streamer = burble.TextStreamer(tokenizer())
    assert asyncio.run(soon(streamer.run(talk, "to be"))) == "TO BE"
    assert capsys.readouterr().out == "to be\n"
    with pytest.raises(OutOfMemory):
        asyncio.run(soon(streamer.run(fail)))


def test_run_uses_given_executor(own: burble.AsyncTextIteratorStreamer) -> None:
    names: list[str] = []

    def generate(*, streamer: Any) -> None:
        names.append(threading.current_thread().name)
        streamer.end()

    async def main() -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="mine") as mine:
            await soon(own.run(generate, executor=mine))
        await soon(own.run(generate))

    asyncio.run(main())
    assert names[0].startswith("mine")
    assert names[1].startswith("burble")


def test_run_that_cannot_begin_fails_consumer(own: burble.AsyncTextIteratorStreamer) -> None:
    mine = ThreadPoolExecutor(1)
    mine.shutdown()

    async def main() -> None:
        task = asyncio.ensure_future(own.run(talk, "never", executor=mine))
        text, error = await soon(listen(own))
        assert text == ""
        assert isinstance(error, RuntimeError)
        with pytest.raises(RuntimeError, match="shutdown"):
            await soon(task)

    asyncio.run(main())


def test_seventy_runs_at_once_finish() -> None:
    streamers = [burble.AsyncTextIteratorStreamer(tokenizer()) for _ in range(70)]
    begun, gate = threading.Semaphore(0), threading.Event()

    def generate(n: int, *, streamer: Any) -> int:
        begun.release()
        assert gate.wait(SOON)
        speak(streamer, f"number {n}")
        streamer.end()
        return n

    def wait_for_64() -> None:
        for _ in range(64):
            assert begun.acquire(timeout=SOON)

    async def main() -> None:
        tasks = [asyncio.ensure_future(s.run(generate, n)) for n, s in enumerate(streamers)]
        readers = [asyncio.ensure_future(listen(streamer)) for streamer in streamers]
        await asyncio.get_running_loop().run_in_executor(None, wait_for_64)
        assert not begun.acquire(blocking=False)  # the other six wait for their turn
        gate.set()
        assert await soon(asyncio.gather(*readers)) == [(f"number {n}", None) for n in range(70)]
        assert await soon(asyncio.gather(*tasks)) == list(range(70))

    asyncio.run(main())


# ---- the consumer walks away -------------------------------------------------------------------


def test_consumer_that_leaves_blocks_nobody(streamer: Streamer) -> None:
    def generate() -> None:
        for _ in range(200):
            speak(streamer, "on and on and on\n")
        streamer.end()

    async def look_once() -> str:
        assert isinstance(streamer, burble.AsyncTextIteratorStreamer)
        async for text in streamer:
            return text
        return ""

    with in_thread(generate) as thread:
        if isinstance(streamer, burble.TextIteratorStreamer):
            first = next(streamer)
        else:
            first = asyncio.run(soon(look_once()))
        thread.join(SOON)
        assert not thread.is_alive()
    assert first == "on "
    text, error = read(streamer)  # and what was not read is still there
    assert first + text == "on and on and on\n" * 200
    assert error is None


class Endless:
    """Generates until it is stopped; notes what stopped it."""

    def __init__(self) -> None:
        self.stopped_by: BaseException | None = None
        self.begun = threading.Event()
        self.stopped = threading.Event()

    def __call__(self, *, streamer: Any) -> None:
        pace = threading.Event()
        try:
            while True:
                speak(streamer, "on and ")
                self.begun.set()
                pace.wait(0.001)
        except BaseException as error:
            self.stopped_by = error
            raise
        finally:
            self.stopped.set()


def test_run_cancelled_stops_generation(own: burble.AsyncTextIteratorStreamer) -> None:
    endless = Endless()

    async def main() -> None:
        task = asyncio.ensure_future(own.run(endless))
        reader = asyncio.ensure_future(listen(own))
        await until(endless.begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        await until(endless.stopped)
        text, error = await soon(reader)
        assert text.startswith("on and ")
        assert isinstance(error, burble.Cancelled)

    asyncio.run(main())
    assert isinstance(endless.stopped_by, burble.Cancelled)


def test_run_cancelled_in_queue_ends_stream(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    gate = threading.Event()

    async def main() -> None:
        with ThreadPoolExecutor(1) as busy:
            busy.submit(gate.wait, SOON)
            task = asyncio.ensure_future(own.run(talk, "never", executor=busy))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await soon(task)
            gate.set()
            text, error = await soon(listen(own))
            assert text == ""
            assert isinstance(error, burble.Cancelled)

    asyncio.run(main())


def test_run_cancelled_before_first_step_ends_stream(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    async def main() -> None:
        task = asyncio.get_running_loop().create_task(own.run(talk, "never"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        text, error = await soon(listen(own))
        assert text == ""
        assert isinstance(error, burble.Cancelled)

    asyncio.run(main())


# ---- cancel() ----------------------------------------------------------------------------------


def test_cancel_stops_writer_and_ends_reading_after_text(streamer: Streamer) -> None:
    speak(streamer, "so far so ")
    streamer.cancel()
    with pytest.raises(burble.Cancelled):
        streamer.put(ids("good"))
    with pytest.raises(burble.Cancelled):
        streamer.end()
    for text in ("so far so ", ""):  # it stays that way
        found, error = read(streamer)
        assert found == text
        assert isinstance(error, burble.Cancelled)


def test_cancel_wakes_waiting_reader(streamer: Streamer) -> None:
    results: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
    speak(streamer, "so far ")
    with in_thread(lambda: results.put(read(streamer))):
        with in_thread(streamer.cancel):
            pass
        text, error = results.get(timeout=SOON)
    assert text == "so far "
    assert isinstance(error, burble.Cancelled)


def test_cancel_before_first_put_and_again_works(streamer: Streamer) -> None:
    for _ in range(3):
        streamer.cancel()
    with in_thread(streamer.cancel):
        pass
    with pytest.raises(burble.Cancelled):
        streamer.put([1])
    text, error = read(streamer)
    assert text == ""
    assert isinstance(error, burble.Cancelled)


def test_cancel_after_end_keeps_text_and_stops_next_generation(
    streamer: Streamer,
) -> None:
    speak(streamer, "the whole text")
    streamer.end()
    streamer.cancel()
    assert read(streamer) == ("the whole text", None)
    with pytest.raises(burble.Cancelled):
        streamer.put([1])
    assert isinstance(read(streamer)[1], burble.Cancelled)


def test_cancel_after_death_of_thread_ends_wait(streamer: Streamer) -> None:
    streamer.timeout = SOON  # what it must not come to
    with in_thread(speak, streamer, "last wor"):
        pass
    streamer.cancel()
    text, error = read(streamer)
    assert text == "last wor"
    assert isinstance(error, burble.ProducerDied)
    text, error = read(streamer)
    assert text == ""
    assert isinstance(error, burble.Cancelled)


def test_cancel_from_many_threads_while_written_and_read_ends_stream(streamer: Streamer) -> None:
    endless = Endless()

    def generate() -> None:
        with pytest.raises(burble.Cancelled):
            endless(streamer=streamer)

    results: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
    with in_thread(generate), in_thread(lambda: results.put(read(streamer))):
        assert endless.begun.wait(SOON)
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(in_thread(streamer.cancel))
        text, error = results.get(timeout=SOON)
    assert text.startswith("on and ")
    assert isinstance(error, burble.Cancelled)


def test_run_cancelled_reports_no_error() -> None:
    noise: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: noise.append(context))
        streamer, endless = burble.AsyncTextIteratorStreamer(tokenizer()), Endless()
        task = asyncio.ensure_future(streamer.run(endless))
        await until(endless.begun)
        streamer.cancel()
        _, error = await soon(listen(streamer))
        assert isinstance(error, burble.Cancelled)
        await asyncio.wait({task}, timeout=SOON)
        assert task.done()
        del streamer, task, error
        await turns()
        gc.collect()
        await turns()

    asyncio.run(main())
    gc.collect()
    assert noise == []


class Cache:
    """What a generation holds: gigabytes, where the model is a large one."""


GENERATE = """
def generate(streamer, cache):
    while True:
        streamer.put([0])
        streamer.cancel()
"""


def test_generation_cancelled_frees_its_memory(streamer: Streamer) -> None:
    # By this name a streamer knows transformers' own generate, and remembers the call.
    module: dict[str, Any] = {}
    exec(compile(GENERATE, "transformers/generation/utils.py", "exec"), module)
    caches = [Cache()]
    reference = weakref.ref(caches[0])

    def generate() -> None:
        with contextlib.suppress(burble.Cancelled):
            module["generate"](streamer, caches.pop())

    gc.disable()
    try:
        with in_thread(generate):
            pass
        assert reference() is None
    finally:
        gc.enable()


def test_cancel_of_text_streamer_stops_generation() -> None:
    streamer = burble.TextStreamer(tokenizer())
    streamer.cancel()
    with pytest.raises(burble.Cancelled):
        streamer.put([1])


# ---- misuse ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["put", "end"])
def test_second_writer_at_once_raises(method: str) -> None:
    inside, leave = threading.Event(), threading.Event()

    class Slow(burble.TextIteratorStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if not leave.is_set():
                inside.set()
                assert leave.wait(SOON)
            super().on_finalized_text(text, stream_end=stream_end)

    streamer = Slow(tokenizer(), chunk="token")

    def generate() -> None:
        speak(streamer, "mine ")
        streamer.end()

    with in_thread(generate):
        assert inside.wait(SOON)
        try:
            with pytest.raises(RuntimeError, match="written by another thread"):
                streamer.put(ids("yours")) if method == "put" else streamer.end()
        finally:
            leave.set()
    assert read(streamer) == ("mine ", None)


def test_override_that_writes_to_its_own_streamer_raises() -> None:
    class Recursive(burble.TextIteratorStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            self.put([1])

    with pytest.raises(RuntimeError, match="its own on_finalized_text"):
        Recursive(tokenizer()).put([1])


def test_put_that_fails_leaves_streamer_unchanged(streamer: Streamer) -> None:
    speak(streamer, "to be or ")
    for wrong in (1.5, "text", None, [1, "x"], -1, 2**40, [[1], [2]]):
        with pytest.raises((TypeError, ValueError)):
            streamer.put(wrong)
    speak(streamer, "not to be")
    streamer.end()
    assert read(streamer) == ("to be or not to be", None)


def test_streamer_serves_many_generations(streamer: Streamer) -> None:
    for n in range(200):
        speak(streamer, f"generation {n}")
        streamer.end()
        if n % 3 == 2:
            for m in range(n - 2, n + 1):
                assert read(streamer) == (f"generation {m}", None)


# ---- the program ends --------------------------------------------------------------------------

PREAMBLE = """
import asyncio, sys, threading, time
import burble
import burble._pool
from tokenizers import Tokenizer

burble._pool._EXIT_TIMEOUT = 3600  # what it must not come to
tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
token = tokenizer.encode("word ").ids
streamer = burble.AsyncTextIteratorStreamer(tokenizer)

def generate(*, streamer):
    pace = threading.Event()
    while True:
        streamer.put(token)
        pace.wait(0.001)

def leaving():
    print("leaving", flush=True)

async def read_three():
    count = 0
    async for text in streamer:
        count += 1
        if count == 3:
            return
"""


def check_that_it_leaves(program: str) -> None:
    """Runs the program, which is to call leaving() and then to exit with 0."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), str(MODEL)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        if first:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2 * SOON)
        ended = process.poll()
        process.kill()
        _, errors = process.communicate()
        assert (first, ended, errors) == ("leaving\n", 0, "")
    finally:
        process.kill()
        process.wait()


def test_asyncio_run_with_running_generation_returns() -> None:
    program = """
    async def main():
        task = asyncio.create_task(streamer.run(generate))
        await read_three()
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)


def test_asyncio_run_with_running_generation_and_consumer_returns() -> None:
    program = """
    async def forever(begun):
        async for text in streamer:
            begun.set()

    async def main():
        begun = asyncio.Event()
        tasks = [asyncio.create_task(t) for t in (streamer.run(generate), forever(begun))]
        await begun.wait()
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)


def test_interpreter_with_running_generation_exits() -> None:
    # The loop is left without a word: nobody cancels the task.
    program = """
    loop = asyncio.new_event_loop()
    task = loop.create_task(streamer.run(generate))
    loop.run_until_complete(read_three())
    task._log_destroy_pending = False
    leaving()
    """
    check_that_it_leaves(program)


def test_interpreter_with_many_running_generations_exits() -> None:
    program = """
    async def main():
        streamers = [burble.AsyncTextIteratorStreamer(tokenizer) for _ in range(40)]
        tasks = [asyncio.create_task(each.run(generate)) for each in streamers]
        async for text in streamers[1]:
            break
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)


def test_interpreter_with_thread_waiting_for_text_exits() -> None:
    program = """
    reader = burble.TextIteratorStreamer(tokenizer)
    begun = threading.Event()

    def wait():
        begun.set()
        list(reader)

    threading.Thread(target=wait, daemon=True).start()
    begun.wait()
    leaving()
    """
    check_that_it_leaves(program)


@pytest.mark.no_asan
@pytest.mark.slow
def test_real_model_stops_with_its_program() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    program = """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()

    auto = AutoTokenizer.from_pretrained(sys.argv[1])
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    streamer = burble.AsyncTextIteratorStreamer(auto, skip_prompt=True)

    def one_after_the_other(**options):
        while True:
            model.generate(**options)

    async def main():
        inputs = auto("ROMEO:", return_tensors="pt")
        task = asyncio.create_task(streamer.run(
            one_after_the_other, **inputs, max_new_tokens=480, do_sample=True))
        await read_three()
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)


class Forgetful(burble.TextIteratorStreamer):
    """Its on_finalized_text is not found the next time that it is looked for, as CPython says it
    where there is no memory for looking."""

    forgets = False

    def __getattribute__(self, name: str) -> Any:
        if name == "on_finalized_text" and self.forgets:
            self.forgets = False
            raise AttributeError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("chunk", ["word", "token"])
def test_put_that_cannot_find_its_method_can_be_repeated(chunk: str) -> None:
    streamer = Forgetful(tokenizer(), chunk=chunk)
    for token in ids("To be, or not"):
        streamer.forgets = True
        with pytest.raises(AttributeError):
            streamer.put([token])
        streamer.put([token])
    streamer.forgets = True
    with pytest.raises(AttributeError):
        streamer.end()
    streamer.end()
    assert "".join(streamer) == "To be, or not"


WRONG = [[[1, 2], [3, 4]], "no ids", [-1], 1.5]


@pytest.mark.parametrize("kind", ["TextIteratorStreamer", "AsyncTextIteratorStreamer"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_thread_dead_after_first_put_raises_producer_died(kind: str, wrong: Any) -> None:
    streamer = getattr(burble, kind)(tokenizer())

    def generate() -> None:
        with pytest.raises((TypeError, ValueError)):
            streamer.put(wrong)

    async def read() -> None:
        async for _ in streamer:
            pass

    def wait() -> None:
        if kind == "TextIteratorStreamer":
            list(streamer)
        else:
            asyncio.run(soon(read()))

    with in_thread(generate), pytest.raises(burble.ProducerDied):
        wait()


def test_put_refused_does_not_block_other_writers() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), chunk="token")
    with pytest.raises(TypeError):
        streamer.put("no ids")

    def generate() -> None:
        speak(streamer, "To be")
        streamer.end()

    with in_thread(generate):
        assert "".join(streamer) == "To be"
    streamer = burble.TextIteratorStreamer(tokenizer(), chunk="token")
    streamer.cancel()
    with pytest.raises(TypeError, match="token ids are"):  # and not that it was cancelled
        streamer.put("no ids")
