# SPDX-License-Identifier: MIT
"""AsyncTextIteratorStreamer.run(): results, exceptions, executors and cancellation of the task."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from drop_in import read_out, talk
from helpers import SOON, OutOfMemory, listen_to_error, soon, turns, until_in_loop
from shipped import speak, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)


def test_run_returns_result_of_generate(own: burble.AsyncTextIteratorStreamer) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(own.run(talk, "to be or not"))
        assert await soon(listen_to_error(own)) == ("to be or not", None)
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
        text, error = await soon(listen_to_error(own))
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
        text, error = await soon(listen_to_error(own))
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
        text, error = await soon(listen_to_error(streamer))
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
        text, error = await soon(listen_to_error(streamer))
        assert text == "to be or not "
        assert isinstance(error, OutOfMemory)
        with pytest.raises(OutOfMemory):
            await soon(task)

    asyncio.run(main())


def test_exception_read_by_consumer_is_not_reported_by_task(
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
        _, error = await soon(listen_to_error(own))
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
        # (The pool's thread may let go of the exception's frames after the task has ended.)
        await until_in_loop(lambda: gc.collect() >= 0 and noise)

    asyncio.run(main())
    assert [type(context["exception"]) for context in noise] == [OutOfMemory]


def test_run_ends_stream_that_generate_left_open(own: burble.AsyncTextIteratorStreamer) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(own.run(lambda streamer: speak(streamer, "no end in sig")))
        assert await soon(listen_to_error(own)) == ("no end in sig", None)
        await soon(task)

    asyncio.run(main())


def test_run_ends_stream_without_text(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    async def main() -> None:
        for _ in range(3):  # the second time, there is an ended round already
            task = asyncio.ensure_future(own.run(lambda streamer: None))
            assert await soon(listen_to_error(own)) == ("", None)
            await soon(task)

    asyncio.run(main())


def test_exception_of_generate_after_end_spares_next_generation(
    own: burble.AsyncTextIteratorStreamer,
) -> None:
    def generate(*, streamer: Any) -> None:
        talk("first", streamer=streamer)
        raise OutOfMemory

    async def main() -> None:
        task = asyncio.ensure_future(own.run(generate))
        assert await soon(listen_to_error(own)) == ("first", None)
        with pytest.raises(OutOfMemory):
            await soon(task)
        second = asyncio.ensure_future(own.run(talk, "second"))
        assert await soon(listen_to_error(own)) == ("second", None)
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
            text, error = await soon(listen_to_error(own))
            assert text == "half a wo"
            assert isinstance(error, OutOfMemory)
            with pytest.raises(OutOfMemory):
                await soon(failing)
            task = asyncio.ensure_future(own.run(talk, f"round {n}"))
            assert await soon(listen_to_error(own)) == (f"round {n}", None)
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
            reader = loop.run_in_executor(None, read_out, streamer)
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
        text, error = await soon(listen_to_error(own))
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
        readers = [asyncio.ensure_future(listen_to_error(streamer)) for streamer in streamers]
        await asyncio.get_running_loop().run_in_executor(None, wait_for_64)
        assert not begun.acquire(blocking=False)  # the other six wait for their turn
        gate.set()
        assert await soon(asyncio.gather(*readers)) == [(f"number {n}", None) for n in range(70)]
        assert await soon(asyncio.gather(*tasks)) == list(range(70))

    asyncio.run(main())
