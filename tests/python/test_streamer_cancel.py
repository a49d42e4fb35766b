# SPDX-License-Identifier: MIT
"""Drop-in streamers: a consumer that goes, and cancel()."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from drop_in import Streamer, read_out, talk
from helpers import SOON, in_thread, listen_to_error, set_by_thread, soon, turns
from shipped import ids, speak, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)


# ---- the consumer walks away ---------------------------------------------------------------------


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
    text, error = read_out(streamer)  # and what was not read is still there
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
        reader = asyncio.ensure_future(listen_to_error(own))
        await set_by_thread(endless.begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        await set_by_thread(endless.stopped)
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
            text, error = await soon(listen_to_error(own))
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
        text, error = await soon(listen_to_error(own))
        assert text == ""
        assert isinstance(error, burble.Cancelled)

    asyncio.run(main())


# ---- cancel() ------------------------------------------------------------------------------------


def test_cancel_stops_writer_and_ends_reading_after_text(streamer: Streamer) -> None:
    speak(streamer, "so far so ")
    streamer.cancel()
    with pytest.raises(burble.Cancelled):
        streamer.put(ids("good"))
    with pytest.raises(burble.Cancelled):
        streamer.end()
    for text in ("so far so ", ""):  # it stays that way
        found, error = read_out(streamer)
        assert found == text
        assert isinstance(error, burble.Cancelled)


def test_cancel_wakes_waiting_reader(streamer: Streamer) -> None:
    results: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
    speak(streamer, "so far ")
    with in_thread(lambda: results.put(read_out(streamer))):
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
    text, error = read_out(streamer)
    assert text == ""
    assert isinstance(error, burble.Cancelled)


def test_cancel_after_end_keeps_text_and_stops_next_generation(
    streamer: Streamer,
) -> None:
    speak(streamer, "the whole text")
    streamer.end()
    streamer.cancel()
    assert read_out(streamer) == ("the whole text", None)
    with pytest.raises(burble.Cancelled):
        streamer.put([1])
    assert isinstance(read_out(streamer)[1], burble.Cancelled)


def test_cancel_after_death_of_thread_ends_wait(streamer: Streamer) -> None:
    streamer.timeout = SOON  # what it must not come to
    with in_thread(speak, streamer, "last wor"):
        pass
    streamer.cancel()
    text, error = read_out(streamer)
    assert text == "last wor"
    assert isinstance(error, burble.ProducerDied)
    text, error = read_out(streamer)
    assert text == ""
    assert isinstance(error, burble.Cancelled)


def test_cancel_from_many_threads_during_writes_ends_stream(streamer: Streamer) -> None:
    endless = Endless()

    def generate() -> None:
        with pytest.raises(burble.Cancelled):
            endless(streamer=streamer)

    results: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
    with in_thread(generate), in_thread(lambda: results.put(read_out(streamer))):
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
        await set_by_thread(endless.begun)
        streamer.cancel()
        _, error = await soon(listen_to_error(streamer))
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
