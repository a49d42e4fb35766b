# SPDX-License-Identifier: MIT
"""Timeouts in loops that go by a clock of their own: trio's MockClock, and asyncio's like it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers import SOON, in_thread

import burble

trio = pytest.importorskip("trio")
trio_testing = pytest.importorskip("trio.testing")

# Virtual seconds; no test is to take so long by the system's clock.
LONG = 10_000.0

BYTES = [bytes([i]) for i in range(128)]


def run(main: Callable[[], Any], **options: Any) -> Any:
    """In a run of trio whose clock jumps where nothing else is to be done."""
    began = time.monotonic()
    result = trio.run(main, clock=trio_testing.MockClock(autojump_threshold=0, **options))
    assert time.monotonic() - began < LONG / 10
    return result


async def text_of(stream: Any) -> tuple[str, type[BaseException] | None]:
    """The text, and what came after it."""
    text = ""
    try:
        async for piece in stream:
            text += piece
    except burble.Error as error:
        return text, type(error)
    return text, None


# ---- each timeout --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("first_token_timeout", burble.FirstTokenTimeout, ""),
        ("token_timeout", burble.TokenTimeout, "a"),
        ("total_timeout", burble.TotalTimeout, "a"),
    ],
)
def test_timeout_of_waiting_task_follows_trio_clock(
    name: str, error: type[Exception], text: str
) -> None:
    async def main() -> None:
        options: dict[str, Any] = {name: LONG}
        writer, stream = burble.channel(**options)
        if text:
            writer.put_text(text)
        began = trio.current_time()
        assert await text_of(stream) == (text, error)
        assert trio.current_time() - began == pytest.approx(LONG, rel=0.01)

    run(main)


def test_timeout_of_reader_follows_trio_clock() -> None:
    async def main() -> None:
        _, stream = burble.channel(total_timeout=LONG)
        assert await text_of(stream.reader()) == ("", burble.TotalTimeout)
        assert trio.current_time() == pytest.approx(LONG, rel=0.01)

    run(main)


def test_timeout_of_batch_follows_trio_clock() -> None:
    async def main() -> None:
        batch = burble.BatchStreamer(BYTES, 2, total_timeout=LONG)
        with pytest.raises(burble.TotalTimeout):
            await batch.__anext__()
        assert trio.current_time() == pytest.approx(LONG, rel=0.01)

    run(main)


def test_wait_timeout_follows_trio_clock() -> None:
    async def main() -> None:
        _, stream = burble.channel(total_timeout=LONG)
        with pytest.raises(burble.TotalTimeout):
            await stream.wait()
        assert trio.current_time() == pytest.approx(LONG, rel=0.01)

    run(main)


def test_timeout_of_drop_in_streamer_follows_trio_clock() -> None:
    async def main() -> None:
        streamer = burble.AsyncTextIteratorStreamer(_Decoder(), timeout=LONG, chunk="token")
        with pytest.raises(TimeoutError):
            await streamer.__anext__()
        assert trio.current_time() == pytest.approx(LONG, rel=0.01)

    run(main)


class _Decoder:
    def decode(self, ids: list[int], **options: Any) -> str:
        return "x" * len(ids)


# ---- what counts ---------------------------------------------------------------------------------


def test_total_timeout_counts_time_between_waits() -> None:
    async def main() -> None:
        await trio.sleep(3 * LONG)  # the clock is ahead before the stream is made
        writer, stream = burble.channel(total_timeout=LONG)
        began = trio.current_time()
        for letter in "abc":
            writer.put_text(letter)
            assert await stream.__anext__() == letter
            await trio.sleep(LONG / 4)
        assert await text_of(stream) == ("", burble.TotalTimeout)
        assert trio.current_time() - began == pytest.approx(LONG, rel=0.01)

    run(main)


def test_token_timeout_restarts_with_each_token() -> None:
    async def main() -> None:
        writer, stream = burble.channel(token_timeout=LONG)

        async def write() -> None:
            for letter in "abcdef":
                await trio.sleep(0.9 * LONG)
                writer.put_text(letter)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await text_of(stream) == ("abcdef", burble.TokenTimeout)
        assert trio.current_time() == pytest.approx(6.4 * LONG, rel=0.01)

    run(main)


def test_tokens_in_time_by_trio_clock_do_not_time_out() -> None:
    async def main() -> None:
        writer, stream = burble.channel(token_timeout=LONG, total_timeout=10 * LONG)

        async def write() -> None:
            with writer:
                for letter in "abcdef":
                    await trio.sleep(0.9 * LONG)
                    writer.put_text(letter)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await text_of(stream) == ("abcdef", None)

    run(main)


def test_clock_moved_by_hand_ends_wait() -> None:
    async def main() -> None:
        clock = trio.lowlevel.current_clock()
        writer, stream = burble.channel(token_timeout=LONG)
        writer.put_text("a")
        async with trio.open_nursery() as nursery:
            found = []

            async def read() -> None:
                found.append(await text_of(stream))

            nursery.start_soon(read)
            await trio_testing.wait_all_tasks_blocked()
            clock.jump(0.9 * LONG)
            await trio_testing.wait_all_tasks_blocked(0.01)
            assert stream.state == "open"
            clock.jump(0.2 * LONG)
        assert found == [("a", burble.TokenTimeout)]

    trio.run(main, clock=trio_testing.MockClock())


def test_clock_that_stands_still_delays_no_text() -> None:
    """The hub's own timers, which collect what comes fast, go by the system's clock."""

    async def main() -> None:
        writer, stream = burble.channel()

        def write() -> None:
            with writer:
                for _ in range(2000):
                    writer.put_text("x")
                    time.sleep(0.0001)

        with trio.fail_after(1), in_thread(write):
            assert await text_of(stream) == ("x" * 2000, None)

    trio.run(main, clock=trio_testing.MockClock())


def test_clock_that_stands_still_does_not_hide_dead_thread() -> None:
    """A generation that dies in a thread that lives on is looked for by the system's clock."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    del torch
    model = transformers.AutoModelForCausalLM.from_pretrained("models/shakespeare")
    tokenizer = transformers.AutoTokenizer.from_pretrained("models/shakespeare")
    done = threading.Event()

    def generate(streamer: Any) -> None:
        def fail(*_: Any) -> bool:
            raise ValueError("it fails")

        inputs = tokenizer("ROMEO:", return_tensors="pt")
        try:
            model.generate(**inputs, streamer=streamer, stopping_criteria=[fail])
        except ValueError:
            done.wait(SOON)

    async def main() -> None:
        streamer = burble.AsyncTextIteratorStreamer(tokenizer)
        with in_thread(generate, streamer):
            assert (await text_of(streamer))[1] is burble.ProducerDied
            done.set()

    trio.run(main, clock=trio_testing.MockClock())


def test_thread_reading_trio_stream_follows_system_clock() -> None:
    async def main() -> None:
        await trio.sleep(LONG)
        _, stream = burble.channel(total_timeout=0.1)
        with pytest.raises(burble.TotalTimeout):
            await trio.to_thread.run_sync(list, stream)

    trio.run(main, clock=trio_testing.MockClock(rate=1e6))


def test_writer_in_thread_follows_system_clock() -> None:
    async def main() -> None:
        writer, stream = burble.channel(total_timeout=LONG, max_lag=None)
        await trio.sleep(3 * LONG)
        writer.put_text("a")  # the writer does not ask the clock of trio
        assert stream.state == "open"
        assert await text_of(stream) == ("a", burble.TotalTimeout)

    run(main)


# ---- asyncio -------------------------------------------------------------------------------------


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next timer, where nothing else is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            at = self._scheduled[0].when()  # type: ignore[attr-defined]
            self.ahead += max(0.0, at - self.time())
        super()._run_once()  # type: ignore[misc]


def test_timeout_of_waiting_task_follows_clock_of_asyncio_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        _, stream = burble.channel(total_timeout=LONG)
        began = loop.time()
        assert await text_of(stream) == ("", burble.TotalTimeout)
        assert loop.time() - began == pytest.approx(LONG, rel=0.01)

    loop = JumpingLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
