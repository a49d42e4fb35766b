# SPDX-License-Identifier: MIT
"""interval=: how often a reader is handed text. An interval is so long that a test would never see
its end, or is over before the test goes on: nothing here depends on how fast the machine is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers import KINDS, all_wait, in_thread, listen, read, run, soon, together, until
from logs import Waiting, is_waited_at

import burble
from burble import _core, _loops

pytestmark = pytest.mark.timeout(60)

HOUR = 3600.0
SHORT = 0.001
TABLE = [bytes([i]) for i in range(128)]


def resting(**options: Any) -> tuple[burble.ChannelWriter, burble.Stream[str]]:
    """A channel whose first text was read."""
    writer, stream = burble.channel(**{"interval": HOUR, **options})
    writer.put_text("a")
    assert next(stream) == "a"
    return writer, stream


# ---- tasks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", KINDS)
def test_first_text_comes_at_once_and_the_rest_with_the_end(loop: str) -> None:
    async def main() -> None:
        writer, stream = burble.channel(interval=HOUR)
        found: list[str] = []

        async def reader() -> None:
            found.extend([text async for text in stream])

        async def put() -> None:
            await all_wait(loop)
            writer.put_text("a")
            await all_wait(loop)
            for text in "bcd":
                writer.put_text(text)
                await all_wait(loop)
            writer.end()

        await together(loop, reader, put)
        assert found == ["a", "bcd"]

    run(loop, main)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_text_for_resting_task_signals_nothing(loop: str) -> None:
    async def main() -> None:
        writer, stream = resting()
        rest = asyncio.ensure_future(listen(stream))
        await all_wait(loop)
        hub = _loops.hub_of(asyncio.get_running_loop())
        before = hub.signals
        for _ in range(100):
            writer.put_text("b")
            await asyncio.sleep(0)
        assert hub.signals == before
        writer.end()
        assert await soon(rest) == [100 * "b"]

    run(loop, main)


@pytest.mark.parametrize("loop", KINDS)
def test_text_comes_when_it_is_due(loop: str) -> None:
    async def main() -> None:
        writer, stream = resting(interval=0.02)
        writer.put_text("b")
        writer.put_text("c")
        assert await stream.__anext__() == "bc"  # nothing else wakes the task

    run(loop, main)


def test_text_that_is_late_comes_at_once(kind: str) -> None:
    writer, stream = resting(interval=SHORT)

    def write() -> None:
        for text in "bcd":
            time.sleep(5 * SHORT)  # so that the task waits for text, not for the interval
            writer.put_text(text)
        writer.end()

    with in_thread(write):
        assert "".join(read(kind, stream)) == "bcd"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_failure_and_cancelling_end_rest(loop: str) -> None:
    async def main() -> None:
        writer, stream = resting()
        rest = asyncio.ensure_future(listen(stream))
        await all_wait(loop)
        writer.put_text("b")
        writer.fail(ValueError("it broke"))
        with pytest.raises(ValueError, match="it broke"):
            await soon(rest)

        _, stream = resting()
        step = asyncio.ensure_future(listen(stream))
        await all_wait(loop)
        stream.cancel()
        with pytest.raises(burble.Cancelled):
            await soon(step)

    run(loop, main)


def test_task_that_rests_can_be_cancelled_and_loses_no_text() -> None:
    async def main() -> None:
        writer, stream = resting()
        step = asyncio.ensure_future(listen(stream))
        await all_wait("asyncio")
        writer.put_text("b")
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        writer.end()
        assert await soon(listen(stream)) == ["b"]

    asyncio.run(main())


def test_loop_with_clock_of_its_own_is_handed_text_at_once() -> None:
    trio = pytest.importorskip("trio")
    clock = pytest.importorskip("trio.testing").MockClock()  # which stands still

    async def main() -> None:
        writer, stream = resting()
        writer.put_text("b")
        assert await stream.__anext__() == "b"

    trio.run(main, clock=clock)


# ---- threads -------------------------------------------------------------------------------------


def test_thread_that_rests_gets_rest_in_one_piece() -> None:
    writer, stream = resting()
    found: list[str] = []
    with in_thread(lambda: found.extend(stream)):
        for text in "bcd":
            writer.put_text(text)
        assert found == []
        writer.end()
    assert found == ["bcd"]


def test_thread_gets_text_when_it_is_due() -> None:
    writer, stream = resting(interval=0.02)
    writer.put_text("b")
    assert next(stream) == "b"


def test_limit_ends_rest(kind: str) -> None:
    def generate(*, streamer: Any) -> None:
        for _ in range(200):
            streamer.put_text("b")

    with burble.stream(generate, tokenizer=TABLE, interval=HOUR, max_lag=10) as stream:
        assert "".join(read(kind, stream)) == 200 * "b"


def test_timeout_of_token_comes_in_rest(kind: str) -> None:
    _, stream = resting(token_timeout=0.05)
    with pytest.raises(burble.TokenTimeout):
        read(kind, stream)


# ---- further readers, batches, items, events -----------------------------------------------------


def test_readers_have_interval_of_stream_unless_they_get_their_own() -> None:
    writer, stream = burble.channel(interval=HOUR, keep="all")
    same, own = stream.reader(), stream.reader(interval=None)
    for text in "abc":
        writer.put_text(text)
        assert own.take() is not None
    assert same.take() == (2, "abc")
    writer.put_text("d")
    assert (same.take(), own.take()) == (None, (3, "d"))
    writer.end()
    assert same.take() == (3, "d")


def test_rows_of_batch_are_handed_over_in_two_pieces_each(kind: str) -> None:
    def generate(*, streamer: Any) -> None:
        for i in range(30):
            streamer.put([65 + i, 66 + i])

    batch: Any = burble.stream(generate, tokenizer=TABLE, batch=2, interval=HOUR)
    with batch:
        pieces: list[list[str]] = [[], []]
        for row, text in read(kind, batch):
            pieces[row].append(text)
    for row in range(2):
        assert "".join(pieces[row]) == "".join(chr(65 + row + i) for i in range(30))
        assert len(pieces[row]) <= 2


def test_items_are_handed_over_one_by_one(kind: str) -> None:
    with burble.iterate(iter(range(50)), interval=SHORT) as stream:
        assert list(read(kind, stream)) == list(range(50))


def test_events_are_few() -> None:
    async def main() -> bytes:
        writer, stream = burble.channel(interval=HOUR)
        events = burble.sse(stream)
        writer.put_text("a")
        found = [await soon(events.__anext__())]
        for text in "bcd":
            writer.put_text(text)
        writer.end()
        found += [event async for event in events]
        return b"".join(found)

    assert asyncio.run(main()).count(b'"text"') == 2


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1.0, ValueError), (float("inf"), ValueError), ("1", TypeError)],
)
def test_interval_that_makes_no_sense_is_refused(value: Any, error: type[Exception]) -> None:
    _, stream = burble.channel()
    makers: list[Callable[[], object]] = [
        lambda: burble.channel(interval=value),
        lambda: stream.reader(interval=value),
    ]
    for make in makers:
        with pytest.raises(error, match="interval: expected seconds"):
            make()


def test_interval_is_not_changed_while_thread_waits() -> None:
    log = _core.Log()
    reader = log.reader()
    waiting = Waiting(reader)
    with in_thread(waiting):
        until(lambda: is_waited_at(reader))
        with pytest.raises(RuntimeError, match="already being read"):
            reader.set_interval(HOUR)
        log.end()
    assert (waiting.values, waiting.error) == ([], None)
