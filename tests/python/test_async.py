# SPDX-License-Identifier: MIT
"""AsyncTextIteratorStreamer: text, the loops and descriptors that it is read with, and wake-ups."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import contextlib
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from drop_in import make_async, say
from helpers import SOON, descriptors, in_thread, listen, soon, turns
from loops import Run, new_loop, run_in
from shipped import ids

import burble
from burble._loops import hub_of

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


@pytest.fixture
def writer() -> Iterator[ThreadPoolExecutor]:
    """One thread that writes and lives on: a stream fails when the thread that writes it exits."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


# ---- text ----------------------------------------------------------------------------------------


def test_text_put_by_thread_arrives_in_order(run: Run) -> None:
    texts = [f"line {n}\n" for n in range(3000)]
    streamer = make_async()

    def generate() -> None:
        say(streamer, *texts)
        streamer.end()

    async def main() -> list[str]:
        with in_thread(generate):
            return await soon(listen(streamer))

    assert run(main()) == texts


def test_many_streamers_in_one_loop_get_their_own_text(run: Run) -> None:
    streamers = [make_async() for _ in range(40)]

    def generate() -> None:
        for step in range(30):
            for n, streamer in enumerate(streamers):
                say(streamer, f"{n}:{step} ")
        for streamer in streamers:
            streamer.end()

    async def main() -> list[list[str]]:
        with in_thread(generate):
            return await soon(asyncio.gather(*map(listen, streamers)))

    assert run(main()) == [[f"{n}:{step} " for step in range(30)] for n in range(40)]


def test_text_put_before_first_read_needs_no_wait(run: Run) -> None:
    streamer = make_async()
    say(streamer, "To be, ", "or not")
    streamer.end()
    assert run(listen(streamer)) == ["To be, ", "or not"]


def test_iteration_after_break_resumes_where_it_stopped(run: Run) -> None:
    streamer = make_async()
    say(streamer, "a ", "b ", "c ")
    streamer.end()

    async def main() -> tuple[str, list[str]]:
        found = []
        async for text in streamer:
            found.append(text)
            break
        return found[0], await listen(streamer)

    assert run(main()) == ("a ", ["b ", "c "])


def test_iteration_after_end_waits_for_next_generation(run: Run) -> None:
    streamer = make_async()

    async def main() -> None:
        say(streamer, "one ")
        streamer.end()
        assert await listen(streamer) == ["one "]
        second = asyncio.ensure_future(listen(streamer))
        await turns()
        assert not second.done()
        say(streamer, "two ")
        streamer.end()
        assert await soon(second) == ["two "]

    run(main())


# ---- loops and descriptors -----------------------------------------------------------------------


def test_loop_with_many_streamers_has_one_descriptor(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        streamers = [make_async() for _ in range(100)]
        assert descriptors() == before
        tasks = [asyncio.ensure_future(listen(streamer)) for streamer in streamers]
        await turns()
        during = descriptors()
        for streamer in streamers:
            say(streamer, "Speak, ")
            streamer.end()
        assert await soon(asyncio.gather(*tasks)) == [["Speak, "]] * 100
        assert during - before in (1, 2)  # an eventfd, or a pipe
        assert descriptors() == during

    run(main())


def test_descriptor_of_closed_loop_is_closed(run: Run) -> None:
    streamer = make_async()

    async def main() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(streamer.__anext__(), 0.001)

    run(main())  # whatever the loop's library opens once and for all
    gc.collect()
    before = descriptors()
    for _ in range(5):
        run(main())
    gc.collect()
    assert descriptors() == before


def test_streamer_made_outside_loop_is_read_in_loop(run: Run) -> None:
    streamer = make_async()

    async def main() -> list[str]:
        task = asyncio.ensure_future(listen(streamer))
        await turns()
        say(streamer, "Who's ", "there?")
        streamer.end()
        return await soon(task)

    assert run(main()) == ["Who's ", "there?"]


def test_streamer_read_in_successive_loops_gives_all_text(run: Run) -> None:
    streamer = make_async(timeout=SOON)

    async def next_one(text: str) -> str:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, text)
        return await soon(task)

    for n in range(4):
        assert run(next_one(f"{n} ")) == f"{n} "


def test_streamer_read_in_two_alternating_loops_gives_all_text(loop_kind: str) -> None:
    streamer = make_async()
    loops = [new_loop(loop_kind), new_loop(loop_kind)]

    async def next_one(text: str) -> str:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, text)
        return await soon(task)

    try:
        for n in range(6):
            assert loops[n % 2].run_until_complete(next_one(f"{n} ")) == f"{n} "
    finally:
        for loop in loops:
            loop.close()


def test_wait_cancelled_with_loop_frees_streamer_for_next_loop(run: Run) -> None:
    streamer = make_async()

    async def leave_a_task_waiting() -> None:
        streamer.reader = asyncio.ensure_future(listen(streamer))  # type: ignore[attr-defined]
        await turns()

    async def read() -> list[str]:
        say(streamer, "Stay, ")
        streamer.end()
        return await soon(listen(streamer))

    run(leave_a_task_waiting())
    assert run(read()) == ["Stay, "]


def test_task_dropped_with_loop_frees_streamer_for_next_loop(loop_kind: str) -> None:
    streamer = make_async()

    async def leave_a_task_waiting() -> None:
        task = asyncio.ensure_future(listen(streamer))
        await turns()
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    loop = new_loop(loop_kind)
    loop.run_until_complete(leave_a_task_waiting())
    loop.close()  # as programs do that know no better: the task is still there
    del loop
    gc.collect()

    async def read() -> list[str]:
        task = asyncio.ensure_future(listen(streamer))
        await turns()
        say(streamer, "Stay, ")
        streamer.end()
        return await soon(task)

    assert run_in(loop_kind, read()) == ["Stay, "]


def test_many_loops_in_threads_get_their_streamers_text(loop_kind: str) -> None:
    loops, each, steps = 8, 6, 50
    streamers = [[make_async() for _ in range(each)] for _ in range(loops)]
    found: dict[int, list[list[str]]] = {}

    async def main(mine: list[burble.AsyncTextIteratorStreamer]) -> list[list[str]]:
        return await soon(asyncio.gather(*map(listen, mine)))

    def read(n: int) -> None:
        found[n] = run_in(loop_kind, main(streamers[n]))

    readers = [threading.Thread(target=read, args=(n,)) for n in range(loops)]
    for reader in readers:
        reader.start()
    for step in range(steps):
        for mine in streamers:
            for streamer in mine:
                say(streamer, f"{step} ")
    for mine in streamers:
        for streamer in mine:
            streamer.end()
    for reader in readers:
        reader.join(SOON)
        assert not reader.is_alive()
    assert found == {n: [[f"{step} " for step in range(steps)]] * each for n in range(loops)}


# ---- fairness and wake-ups -----------------------------------------------------------------------


def test_consumer_that_never_waits_lets_other_tasks_run(run: Run) -> None:
    streamer = make_async()
    word = ids("word ")

    async def main() -> None:
        ticks = 0
        reading = True

        async def tick() -> None:
            nonlocal ticks
            while reading:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.ensure_future(tick())
        while ticks <= 5:  # however fast this machine is
            for _ in range(200_000):
                streamer.put(word)
            streamer.end()
            count = 0
            async for _ in streamer:
                count += 1
            assert count == 200_000
        reading = False
        await soon(ticker)

    run(main())


def test_put_for_awake_consumer_does_not_wake_loop(run: Run, writer: ThreadPoolExecutor) -> None:
    streamer = make_async()

    async def main() -> None:
        hub = hub_of(asyncio.get_running_loop())
        first = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "waited for ")
        assert await soon(first) == "waited for "
        signals = hub.signals
        for n in range(20):
            # Not awaited: the loop stands still meanwhile.
            writer.submit(say, streamer, *[f"{n}.{m} " for m in range(50)]).result(SOON)
            for m in range(50):
                assert await streamer.__anext__() == f"{n}.{m} "
        assert hub.signals == signals

    run(main())


def test_streams_put_in_one_step_cost_one_signal(run: Run, writer: ThreadPoolExecutor) -> None:
    streamers = [make_async() for _ in range(200)]
    found: list[list[str]] = [[] for _ in streamers]

    async def main() -> None:
        hub = hub_of(asyncio.get_running_loop())
        all_have_it = asyncio.Event()
        left = 0

        async def read(n: int) -> None:
            nonlocal left
            async for text in streamers[n]:
                found[n].append(text)
                left -= 1
                if left == 0:
                    all_have_it.set()

        def say_to_all(text: str) -> None:
            for streamer in streamers:
                say(streamer, text)

        tasks = [asyncio.ensure_future(read(n)) for n in range(len(streamers))]
        await turns()
        before = hub.signals
        for step in range(10):
            all_have_it.clear()
            left = len(streamers)
            writer.submit(say_to_all, f"{step} ").result(SOON)
            await soon(all_have_it.wait())
            await turns()
        # The first step for certain; those that follow within the hub's hold need none.
        assert 1 <= hub.signals - before <= 10
        for streamer in streamers:
            streamer.end()
        await soon(asyncio.gather(*tasks))

    run(main())
    assert found == [[f"{step} " for step in range(10)]] * 200
