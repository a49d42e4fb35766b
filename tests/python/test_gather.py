# SPDX-License-Identifier: MIT
"""burble.gather: many streams, read by one task or thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from helpers import KINDS, SOON, in_thread, listen, run

import burble
from burble._loops import hub_of

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


def gathered(kind: str, streams: Any) -> list[Any]:
    source = burble.gather(streams)
    return list(source) if kind == "thread" else run(kind, listen, source)


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_gather_gives_text_of_each_stream_in_order_and_its_end(kind: str) -> None:
    pairs = [burble.channel() for _ in range(50)]

    def write() -> None:
        for step in range(100):
            for i, (writer, _) in enumerate(pairs):
                if step < 2 * i:
                    writer.put_text(str(step))
                elif step == 2 * i:
                    writer.end()

    with in_thread(write):
        got = gathered(kind, [stream for _, stream in pairs])
    for i in range(50):
        assert [text for row, text in got if row == i] == [*map(str, range(2 * i)), None]


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_gather_error_of_stream_is_its_last_value_and_others_go_on(kind: str) -> None:
    (failing, first), (_, second), (late, third), (going_on, fourth) = (
        burble.channel(),
        burble.channel(),
        burble.channel(first_token_timeout=0.05),
        burble.channel(),
    )
    wrong = KeyError("wrong")
    failing.put_text("a")
    failing.fail(wrong)
    second.cancel()
    going_on.put_text("b")
    over = threading.Event()

    def write() -> None:
        assert over.wait(SOON)
        going_on.put_text("c")
        going_on.end()

    def note(pair: tuple[int, Any]) -> tuple[int, Any]:
        if isinstance(pair[1], burble.FirstTokenTimeout):
            over.set()
        return pair

    async def read(source: Any) -> list[Any]:
        return [note(pair) async for pair in source]

    source = burble.gather([first, second, third, fourth])
    with in_thread(write):
        got = [note(pair) for pair in source] if kind == "thread" else run(kind, read, source)
    last = {i: [value for row, value in got if row == i] for i in range(4)}
    assert last[0] == ["a", wrong]
    assert [type(value) for value in last[1]] == [burble.Cancelled]
    assert [type(value) for value in last[2]] == [burble.FirstTokenTimeout]
    assert last[3] == ["b", "c", None]
    assert late.cancelled


def test_gather_task_is_resumed_once_for_step_of_many_streams() -> None:
    pairs = [burble.channel() for _ in range(300)]
    resumed = 0

    class Counting:
        """An awaitable's steps, counted."""

        def __init__(self, awaitable: Any) -> None:
            self._steps = awaitable.__await__()

        def __await__(self) -> Any:
            return self

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            nonlocal resumed
            resumed += 1
            return next(self._steps)

    async def main() -> None:
        nonlocal resumed
        source = burble.gather([stream for _, stream in pairs])
        waiting = asyncio.ensure_future(_first(Counting(source.__anext__())))
        await asyncio.sleep(0)
        before = resumed
        signals = hub_of(asyncio.get_running_loop()).signals
        for writer, _ in pairs:  # the loop does not run meanwhile
            writer.put_text("text")
        seen = [await waiting]
        while len(seen) < len(pairs):
            seen.append(await Counting(source.__anext__()))
        assert {i for i, _ in seen} == set(range(len(pairs)))
        # A step for each value, and now and then one that gives way to the loop; but not one more
        # for each stream, as if the task were resumed for each alone.
        assert resumed - before < 1.5 * len(pairs)
        assert hub_of(asyncio.get_running_loop()).signals - signals == 1

    asyncio.run(main())


async def _first(awaitable: Any) -> Any:
    return await awaitable


def test_gather_takes_readers_and_items() -> None:
    writer, stream = burble.channel(keep="all")
    items = burble.iterate(iter([(1,), (2,)]))
    writer.put_text("text")
    writer.end()
    got = list(burble.gather([stream.reader("oldest"), items]))
    assert sorted(got, key=repr) == sorted(
        [(0, "text"), (0, None), (1, (1,)), (1, (2,)), (1, None)], key=repr
    )
    assert list(burble.gather([])) == []


def test_gather_refuses_what_is_no_stream_or_is_being_read() -> None:
    with pytest.raises(TypeError, match="gather: expected streams and readers, found list"):
        burble.gather([[]])  # type: ignore[list-item]
    _, stream = burble.channel()
    kept = burble.gather([stream])
    with pytest.raises(RuntimeError, match="is read by a gather or a batch"):
        burble.gather([stream])
    with pytest.raises(RuntimeError, match="is read by a gather or a batch"):
        next(iter(stream))
    del kept


@pytest.mark.parametrize("read_before", [False, True])
def test_gather_that_fails_leaves_streams_as_they_were(read_before: bool) -> None:
    """Streams that nobody iterates do not hold up their writers while others read them."""
    writer, stream = burble.channel(max_lag=10)
    busy = burble.channel()[1]
    blocked = burble.gather([busy])
    if read_before:
        earlier = stream.reader()
    with pytest.raises(RuntimeError, match="is read by a gather or a batch"):
        burble.gather([stream, busy])
    reader = earlier if read_before else stream.reader()

    def write() -> None:
        for _ in range(50):
            writer.put_text("0123456789")
        writer.end()

    with in_thread(write):
        assert "".join(reader) == 50 * "0123456789"
    del blocked


def test_gather_that_fails_keeps_the_iteration_of_a_stream() -> None:
    writer, stream = burble.channel()
    busy = burble.channel()[1]
    blocked = burble.gather([busy])
    writer.put_text("a")
    assert next(stream) == "a"
    with pytest.raises(RuntimeError):
        burble.gather([stream, busy])
    writer.put_text("b")
    writer.end()
    assert list(stream) == ["b"]
    del blocked


@pytest.mark.parametrize("iterating", [False, True])
def test_gather_keeps_streams_that_nothing_else_refers_to(iterating: bool) -> None:
    writer, stream = burble.channel()
    kept = weakref.ref(stream)
    source: Any = burble.gather([stream])
    if iterating:
        source = iter(source)
    del stream
    gc.collect()
    writer.put_text("text")
    assert next(source) == (0, "text")
    assert kept() is not None
    del source
    gc.collect()
    assert writer.cancelled
    assert kept() is None


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_gather_timeouts_of_silent_streams_come_while_another_one_goes_on(kind: str) -> None:
    silent = [burble.channel(first_token_timeout=0.03 * i) for i in (3, 1, 2)]
    writer, moving = burble.channel(token_timeout=SOON)
    more = threading.Semaphore(1)
    over = threading.Event()

    def write() -> None:
        while more.acquire(timeout=SOON) and not over.is_set():
            writer.put_text("text")
        writer.end()

    timeouts = []

    def note(pair: tuple[int, Any]) -> None:
        i, value = pair
        if isinstance(value, burble.FirstTokenTimeout):
            timeouts.append(i)
            if len(timeouts) == len(silent):
                over.set()
        else:
            assert (i, value) in ((3, "text"), (3, None))
        more.release()

    async def read(source: Any) -> None:
        async for pair in source:
            note(pair)

    source = burble.gather([*(stream for _, stream in silent), moving])
    with in_thread(write):
        if kind == "thread":
            for pair in source:
                note(pair)
        else:
            run(kind, read, source)
    assert sorted(timeouts) == [0, 1, 2]
