# SPDX-License-Identifier: MIT
"""AsyncTextIteratorStreamer: nothing is left of it when it goes."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import gc
import os
import threading
import tracemalloc
import weakref
from typing import Any, Protocol

import pytest
from drop_in import make_async, say
from helpers import descriptors, listen, soon, turns
from loops import Run, run_in

import burble

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


UNDER_ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def park_and_abandon(count: int) -> None:
    """Half of the waiting tasks are cancelled, half are just dropped."""

    async def read(streamer: burble.AsyncTextIteratorStreamer) -> None:
        async for _ in streamer:
            pass

    streamers = [make_async() for _ in range(count)]
    tasks = [asyncio.ensure_future(read(streamer)) for streamer in streamers]
    await turns()
    for streamer in streamers[::3]:
        say(streamer, "never read to its end ")
    await turns()
    for task in tasks[::2]:
        task.cancel()
    for task in tasks[1::2]:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    references = [weakref.ref(streamer) for streamer in streamers]
    del streamer, streamers, task, tasks
    await turns()
    gc.collect()
    assert not any(reference() for reference in references)


@pytest.mark.no_asan
@pytest.mark.timeout(300)
def test_ten_thousand_abandoned_streamers_are_freed(run: Run) -> None:
    async def main() -> None:
        await park_and_abandon(100)  # what is made once and for all
        gc.collect()
        open_before, threads = descriptors(), threading.active_count()
        await park_and_abandon(5_000)  # in all it makes ten thousand
        resident = resident_bytes()
        tracemalloc.start()
        try:
            await park_and_abandon(1_000)
            traced = tracemalloc.get_traced_memory()[0]
            await park_and_abandon(1_000)
            grown = tracemalloc.get_traced_memory()[0] - traced
        finally:
            tracemalloc.stop()
        await park_and_abandon(3_000)
        assert descriptors() == open_before
        assert threading.active_count() <= threads  # idle ones of a pool may have gone
        assert grown < 200 * 1_000  # a streamer takes more; tables of asyncio's come and go
        if not UNDER_ASAN:  # which keeps what was freed for a while
            assert resident_bytes() - resident < 4 << 20

    run(main())


class Finalized(Protocol):
    def __call__(self, streamer: burble.AsyncTextIteratorStreamer) -> object: ...


def holds_itself(streamer: burble.AsyncTextIteratorStreamer) -> object:
    streamer.me = streamer  # type: ignore[attr-defined]
    return None


def has_an_override(streamer: burble.AsyncTextIteratorStreamer) -> object:
    streamer.on_finalized_text = (  # type: ignore[method-assign]
        lambda text, stream_end=False: print(streamer, text)
    )
    return None


def has_failed(streamer: burble.AsyncTextIteratorStreamer) -> object:
    def generate() -> None:
        raise ValueError(streamer)

    say(streamer, "text ")
    try:
        generate()
    except ValueError as error:
        error.streamer = streamer  # type: ignore[attr-defined]
        streamer._fail(error)
    return None


def is_a_round_ahead(streamer: burble.AsyncTextIteratorStreamer) -> object:
    say(streamer, "one ")
    streamer.end()
    has_failed(streamer)
    say(streamer, "three ")
    return holds_itself(streamer)


def has_an_anext(streamer: burble.AsyncTextIteratorStreamer) -> object:
    streamer.step = streamer.__anext__()  # type: ignore[attr-defined]
    return None


def has_a_coroutine_of_its_own(streamer: burble.AsyncTextIteratorStreamer) -> object:
    async def main() -> None:
        async def read() -> None:
            async for _ in streamer:
                pass

        coroutine = read()
        coroutine.send(None)
        streamer.coroutine = coroutine  # type: ignore[attr-defined]

    run_in("asyncio", main())
    return None


@pytest.mark.parametrize(
    "tie",
    [
        holds_itself,
        has_an_override,
        has_failed,
        is_a_round_ahead,
        has_an_anext,
        has_a_coroutine_of_its_own,
    ],
)
def test_streamer_in_cycle_is_collected(tie: Finalized) -> None:
    streamer = make_async()
    reference = weakref.ref(streamer)
    tie(streamer)
    del streamer
    gc.collect()
    assert reference() is None


async def read_and_deleted(timeout: float | None = None) -> weakref.ref[Any]:
    """A reference to a streamer that was read to its end and then deleted."""
    streamer = make_async(timeout=timeout)
    reference = weakref.ref(streamer)
    task = asyncio.ensure_future(listen(streamer))
    await turns()
    say(streamer, "text ")
    streamer.end()
    assert await soon(task) == ["text "]
    del task, streamer
    await turns()
    return reference


def test_streamer_without_references_is_freed_at_once(run: Run) -> None:
    async def main() -> None:
        reference = await read_and_deleted()
        gc.disable()
        try:
            assert reference() is None
        finally:
            gc.enable()

    run(main())


def test_timeout_does_not_keep_ended_streamer_alive(run: Run) -> None:
    async def main() -> None:
        reference = await read_and_deleted(timeout=3600)
        gc.collect()
        assert reference() is None

    run(main())


def test_loop_known_to_streamer_is_freed(loop_kind: str) -> None:
    streamer = make_async()

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "text ")
        assert await soon(task) == "text "
        return weakref.ref(asyncio.get_running_loop())

    reference = run_in(loop_kind, main())
    gc.collect()
    assert reference() is None
