# SPDX-License-Identifier: MIT
"""AsyncTextIteratorStreamer: what it promises the tasks, loops and drivers that wait for text."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import contextlib
import contextvars
import gc
import inspect
import os
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Awaitable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import pytest
from helpers import SOON, at_some_pace, in_thread
from shipped import ids, tokenizer

import burble
from burble._loops import hub_of

T = TypeVar("T")

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]

UNDER_ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")


def make(**options: Any) -> burble.AsyncTextIteratorStreamer:
    """A streamer whose every put() of a whole text is one chunk."""
    options.setdefault("chunk", "token")
    return burble.AsyncTextIteratorStreamer(tokenizer(), **options)


def say(streamer: burble.AsyncTextIteratorStreamer, *texts: str) -> None:
    for text in texts:
        streamer.put(ids(text))


async def listen(streamer: burble.AsyncTextIteratorStreamer) -> list[str]:
    return [text async for text in streamer]


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, SOON)


async def turns(n: int = 5) -> None:
    """Lets every task that can run do so, until it waits."""
    for _ in range(n):
        await asyncio.sleep(0)


@pytest.fixture
def writer() -> Iterator[ThreadPoolExecutor]:
    """One thread that writes and lives on: a stream fails when the thread that writes it exits."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


# ---- loops -------------------------------------------------------------------------------------


class Run(Protocol):
    """Like asyncio.run, in a loop of the kind that the test is run for."""

    def __call__(self, main: Coroutine[Any, Any, T], *, debug: bool = False) -> T: ...


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "asyncio":
        return asyncio.new_event_loop()
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def run_in(kind: str, main: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    loop = new_loop(kind)
    loop.set_debug(debug)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True) if left else turns(1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    name: str = request.param
    return name


@pytest.fixture
def run(kind: str) -> Run:
    def run(main: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
        return run_in(kind, main, debug=debug)

    return run


def descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        pytest.skip("needs /proc")


# ---- text --------------------------------------------------------------------------------------


def test_text_put_by_thread_arrives_in_order(run: Run) -> None:
    texts = [f"line {n}\n" for n in range(3000)]
    streamer = make()

    def generate() -> None:
        say(streamer, *texts)
        streamer.end()

    async def main() -> list[str]:
        with in_thread(generate):
            return await soon(listen(streamer))

    assert run(main()) == texts


def test_many_streamers_in_one_loop_get_their_own_text(run: Run) -> None:
    streamers = [make() for _ in range(40)]

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
    streamer = make()
    say(streamer, "To be, ", "or not")
    streamer.end()
    assert run(listen(streamer)) == ["To be, ", "or not"]


def test_iteration_after_break_resumes_where_it_stopped(run: Run) -> None:
    streamer = make()
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
    streamer = make()

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


# ---- loops and descriptors ---------------------------------------------------------------------


def test_loop_with_many_streamers_has_one_descriptor(run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        streamers = [make() for _ in range(100)]
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
    streamer = make()

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
    streamer = make()

    async def main() -> list[str]:
        task = asyncio.ensure_future(listen(streamer))
        await turns()
        say(streamer, "Who's ", "there?")
        streamer.end()
        return await soon(task)

    assert run(main()) == ["Who's ", "there?"]


def test_streamer_read_in_successive_loops_gives_all_text(run: Run) -> None:
    streamer = make(timeout=SOON)

    async def next_one(text: str) -> str:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, text)
        return await soon(task)

    for n in range(4):
        assert run(next_one(f"{n} ")) == f"{n} "


def test_streamer_read_in_two_alternating_loops_gives_all_text(kind: str) -> None:
    streamer = make()
    loops = [new_loop(kind), new_loop(kind)]

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


def test_wait_cancelled_with_its_loop_leaves_streamer_to_next_loop(run: Run) -> None:
    streamer = make()

    async def leave_a_task_waiting() -> None:
        streamer.reader = asyncio.ensure_future(listen(streamer))  # type: ignore[attr-defined]
        await turns()

    async def read() -> list[str]:
        say(streamer, "Stay, ")
        streamer.end()
        return await soon(listen(streamer))

    run(leave_a_task_waiting())
    assert run(read()) == ["Stay, "]


def test_task_dropped_with_closed_loop_leaves_streamer_to_next_loop(kind: str) -> None:
    streamer = make()

    async def leave_a_task_waiting() -> None:
        task = asyncio.ensure_future(listen(streamer))
        await turns()
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    loop = new_loop(kind)
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

    assert run_in(kind, read()) == ["Stay, "]


def test_many_loops_in_threads_get_their_streamers_text(kind: str) -> None:
    loops, each, steps = 8, 6, 50
    streamers = [[make() for _ in range(each)] for _ in range(loops)]
    found: dict[int, list[list[str]]] = {}

    async def main(mine: list[burble.AsyncTextIteratorStreamer]) -> list[list[str]]:
        return await soon(asyncio.gather(*map(listen, mine)))

    def read(n: int) -> None:
        found[n] = run_in(kind, main(streamers[n]))

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


# ---- fairness and wake-ups ---------------------------------------------------------------------


def test_consumer_that_never_waits_lets_other_tasks_run(run: Run) -> None:
    streamer = make()
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
    streamer = make()

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
    streamers = [make() for _ in range(200)]
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


# ---- time and cancellation ---------------------------------------------------------------------


def test_wait_for_timeout_loses_no_text(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        for n in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(streamer.__anext__(), 0.005)
            say(streamer, f"{n} ")
            assert await soon(streamer.__anext__()) == f"{n} "

    run(main())


def test_wait_for_timeout_while_text_arrives_loses_no_text(run: Run) -> None:
    streamer = make()
    texts = [f"{n} " for n in range(400)]
    pace = threading.Event()

    def generate() -> None:
        for text in texts:
            pace.wait(0.0005)
            say(streamer, text)
        streamer.end()

    async def main() -> list[str]:
        found = []
        while True:
            try:
                found.append(await asyncio.wait_for(streamer.__anext__(), 0.0007))
            except asyncio.TimeoutError:
                continue
            except StopAsyncIteration:
                return found

    with in_thread(generate):
        assert run(main()) == texts


def test_cancelled_wait_loses_no_text(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        say(streamer, "after ")
        assert await soon(streamer.__anext__()) == "after "

    run(main())


def test_wait_cancelled_after_text_arrived_leaves_it_to_next_wait(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "too ", "late ")  # the hub is signalled, the loop has not looked yet
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await soon(streamer.__anext__()) == "too "
        assert await soon(streamer.__anext__()) == "late "
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        assert not task.done()
        say(streamer, "again ")
        assert await soon(task) == "again "

    run(main())


def test_task_that_catches_its_cancellation_reads_on(run: Run) -> None:
    streamer = make()
    seen: list[object] = []

    async def stubborn() -> None:
        for _ in range(3):
            try:
                seen.append(await streamer.__anext__())
            except asyncio.CancelledError as error:
                seen.append(error.args)

    async def main() -> None:
        task = asyncio.ensure_future(stubborn())
        await turns()
        task.cancel("because")
        await turns()
        say(streamer, "and yet ")
        await turns()
        task.cancel()
        task.cancel()  # counts as one
        await turns()
        await soon(task)

    run(main())
    assert seen == [("because",), "and yet ", ()]


def test_task_cancelled_before_it_waits_does_not_wait(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        async def cancel_oneself() -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return await streamer.__anext__()

        task = asyncio.ensure_future(cancel_oneself())
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        say(streamer, "still here ")
        assert await soon(streamer.__anext__()) == "still here "

    run(main())


def test_timeout_raises_and_next_wait_reads_on(run: Run) -> None:
    streamer = make(timeout=0.05)

    async def main() -> None:
        say(streamer, "first ")
        assert await streamer.__anext__() == "first "
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            await streamer.__anext__()
        assert time.monotonic() - began > 0.045
        say(streamer, "second ")
        assert await streamer.__anext__() == "second "
        streamer.timeout = SOON
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "third ")
        assert await soon(task) == "third "

    run(main())


def test_timeout_with_stop_iteration_ends_iteration(run: Run) -> None:
    streamer = make(timeout=0.02, on_timeout="stop")
    say(streamer, "all ", "there is ")

    async def main() -> None:
        assert await listen(streamer) == ["all ", "there is "]
        say(streamer, "more ")
        assert await listen(streamer) == ["more "]

    run(main())


def test_timeout_counts_from_last_token_without_text(run: Run) -> None:
    def attempt(timeout: float) -> None:
        streamer = make(timeout=timeout)
        pace = threading.Event()

        def generate() -> None:
            for _ in range(12):
                pace.wait(timeout / 8)
                streamer.put([0])  # <|endoftext|>, which is skipped
            say(streamer, "at last")
            streamer.end()

        with in_thread(generate):
            assert run(listen(streamer)) == ["at last"]

    at_some_pace(attempt)


def test_timeout_shortened_applies_to_next_wait(run: Run) -> None:
    streamer = make(timeout=SOON)

    async def main() -> None:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "first ")
        assert await soon(task) == "first "
        streamer.timeout = 0.05
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            await asyncio.wait_for(streamer.__anext__(), SOON / 4)

    run(main())


def test_timeout_of_abandoned_loop_does_not_affect_current_loop(kind: str) -> None:
    def attempt(timeout: float) -> None:
        streamer = make(timeout=timeout)
        parked, done = threading.Event(), threading.Event()
        errors: list[dict[str, Any]] = []
        found: list[str] = []

        async def leave_a_timer() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: errors.append(context))
            task = asyncio.ensure_future(streamer.__anext__())
            await turns()
            say(streamer, "here ")
            with contextlib.suppress(TimeoutError):
                found.append(await task)
            parked.set()
            await loop.run_in_executor(None, done.wait, SOON)  # this loop is still running

        async def wait_there() -> None:
            # So that the timer of the other loop fires in the midst of the next wait.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(streamer.__anext__(), timeout / 3)
            with pytest.raises(TimeoutError, match=rf"{timeout:g} s"):
                await streamer.__anext__()
            streamer.timeout = None
            task = asyncio.ensure_future(streamer.__anext__())
            await turns()
            say(streamer, "there ")
            assert await soon(task) == "there "

        with in_thread(lambda: run_in(kind, leave_a_timer(), debug=True)):
            assert parked.wait(SOON)
            try:
                assert found == ["here "]
                run_in(kind, wait_there(), debug=True)
            finally:
                done.set()
        assert errors == []

    at_some_pace(attempt)


# ---- the ways of asyncio -----------------------------------------------------------------------


def test_anext_works_in_every_asyncio_wait(run: Run) -> None:
    a, b = make(), make()

    async def main() -> None:
        tasks = {asyncio.ensure_future(a.__anext__()), asyncio.ensure_future(b.__anext__())}
        await turns()
        say(a, "a ")
        done, pending = await asyncio.wait(tasks, return_when="FIRST_COMPLETED", timeout=SOON)
        assert [task.result() for task in done] == ["a "]
        say(b, "b ")
        done, pending = await asyncio.wait(pending, timeout=SOON)
        assert [task.result() for task in done] == ["b "]
        assert not pending

        both = asyncio.ensure_future(asyncio.gather(a.__anext__(), b.__anext__()))
        await turns()
        say(b, "d ")
        say(a, "c ")
        assert list(await soon(both)) == ["c ", "d "]

        step: Any = a.__anext__()
        task: asyncio.Task[str] = asyncio.get_running_loop().create_task(step)
        assert repr(task)
        await turns()
        assert repr(task)
        say(a, "e ")
        assert await soon(task) == "e "

        shielded = asyncio.ensure_future(a.__anext__())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(shielded), 0.005)
        say(a, "f ")
        assert await soon(shielded) == "f "

    run(main())


def test_anext_is_coroutine_as_in_transformers() -> None:
    step = make().__anext__()
    assert inspect.isawaitable(step)
    assert asyncio.iscoroutine(step)
    step.close()


@pytest.mark.skipif(sys.version_info < (3, 10), reason="anext() came with Python 3.10")
def test_builtin_anext_works_with_and_without_default(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        async def read(*default: str) -> str:
            return await anext(streamer, *default)  # noqa: F821

        for default in ((), ("nothing",)):
            task = asyncio.ensure_future(read(*default))
            await turns()
            say(streamer, "text ")
            assert await soon(task) == "text "
            say(streamer, "there ")
            assert await read(*default) == "there "
        streamer.end()
        assert await read("nothing") == "nothing"

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11")
def test_asyncio_timeout_ends_wait(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):  # type: ignore[attr-defined]
                await streamer.__anext__()
        say(streamer, "after ")
        assert await soon(streamer.__anext__()) == "after "

    run(main())


def test_resumed_task_has_its_context_and_is_current(run: Run) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")
    streamers = [make() for _ in range(5)]
    seen: list[tuple[str, bool]] = []

    async def read(n: int) -> None:
        me = asyncio.current_task()
        name.set(f"task {n}")
        async for _ in streamers[n]:
            seen.append((name.get(), asyncio.current_task() is me))
            name.set(f"task {n}")

    async def main() -> None:
        tasks = [asyncio.ensure_future(read(n)) for n in range(5)]
        name.set("main")
        await turns()
        for _ in range(2):
            for streamer in streamers:
                say(streamer, "x ")
            await turns()
        for streamer in streamers:
            streamer.end()
        await soon(asyncio.gather(*tasks))
        assert name.get() == "main"

    run(main())
    assert sorted(seen) == [(f"task {n}", True) for n in range(5) for _ in range(2)]


def test_second_consumer_at_once_raises(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        first = asyncio.ensure_future(streamer.__anext__())
        await turns()
        with pytest.raises(RuntimeError, match="another task is already waiting"):
            await streamer.__anext__()
        say(streamer, "for the first ")
        assert await soon(first) == "for the first "

    run(main())


def test_anext_awaited_twice_raises(run: Run) -> None:
    streamer = make()
    say(streamer, "one ", "two ", "three ")

    async def main() -> None:
        step = streamer.__anext__()
        assert await step == "one "
        for _ in range(2):
            with pytest.raises(RuntimeError, match="already awaited"):
                await step
        assert await streamer.__anext__() == "two "
        with pytest.raises(RuntimeError, match="already awaited"):
            await step
        assert await streamer.__anext__() == "three "

    run(main())


def test_anext_awaited_by_two_tasks_serves_one_and_fails_other(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        step = streamer.__anext__()

        async def wait() -> str:
            return await step

        tasks = [asyncio.ensure_future(wait()) for _ in range(2)]
        await turns()
        say(streamer, "once ")
        streamer.end()
        results = await soon(asyncio.gather(*tasks, return_exceptions=True))
        assert [type(result) for result in results if result != "once "] == [RuntimeError]
        assert "once " in results

    run(main())


def test_anext_without_loop_raises() -> None:
    streamer = make()
    step = streamer.__anext__()
    with pytest.raises(RuntimeError, match="no asyncio event loop is running"):
        step.send(None)  # type: ignore[attr-defined]
    # Text that is there needs no loop.
    say(streamer, "there ")
    with pytest.raises(StopIteration) as stop:
        streamer.__anext__().send(None)  # type: ignore[attr-defined]
    assert stop.value.value == "there "


# ---- other drivers -----------------------------------------------------------------------------


class Driver:
    """Runs a coroutine by the future protocol alone, without a task."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.waits = 0
        self.loop = asyncio.get_running_loop()
        self.result: asyncio.Future[Any] = self.loop.create_future()
        self.step()

    def step(self, future: Any = None) -> None:
        try:
            if future is not None:
                future.result()
            waits_for = self.coroutine.send(None)
        except StopIteration as stop:
            self.result.set_result(stop.value)
        except BaseException as error:
            self.result.set_exception(error)
        else:
            if waits_for is None:
                self.loop.call_soon(self.step)
                return
            self.waits += 1
            assert waits_for.get_loop() is self.loop
            assert waits_for._asyncio_future_blocking
            assert not waits_for.done()
            with pytest.raises(RuntimeError):
                waits_for.result()
            waits_for._asyncio_future_blocking = False
            waits_for.add_done_callback(print)
            assert waits_for.remove_done_callback(print) == 1
            waits_for.add_done_callback(self.step)


def test_anext_driven_without_task_works(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        driver = Driver(listen(streamer))
        for text in ("one ", "two "):
            await turns()
            say(streamer, text)
            await turns()
        streamer.end()
        assert await soon(driver.result) == ["one ", "two "]
        assert 1 <= driver.waits <= 3  # texts that come together need one wait

    run(main())


def test_coroutine_closed_while_it_waits_leaves_streamer_to_others(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        coroutine = listen(streamer)
        coroutine.send(None)
        coroutine.close()
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "next ")
        assert await soon(task) == "next "

    run(main())


def test_wait_resumed_spuriously_waits_on(run: Run) -> None:
    streamer = make()

    async def main() -> None:
        coroutine = listen(streamer)
        first = coroutine.send(None)
        assert coroutine.send(None) is first
        assert first._asyncio_future_blocking
        say(streamer, "now ")
        streamer.end()
        await turns()  # the hub looks
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        assert stop.value.value == ["now "]

    run(main())


def test_exception_of_consumer_is_not_changed(run: Run) -> None:
    streamers = [make() for _ in range(5)]
    handled: list[dict[str, Any]] = []

    async def read(n: int) -> list[str]:
        found = []
        async for text in streamers[n]:
            if n == 2:
                raise KeyError(text)
            found.append(text)
        return found

    async def main() -> list[object]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: handled.append(context))
        tasks = [asyncio.ensure_future(read(n)) for n in range(5)]
        await turns()
        for streamer in streamers:
            say(streamer, "x ")
        await turns()
        for streamer in streamers:
            streamer.end()
        return list(await soon(asyncio.gather(*tasks, return_exceptions=True)))

    results = run(main())
    assert [type(result) for result in results] == [list, list, KeyError, list, list]
    assert handled == []


@pytest.mark.parametrize("deadly", [KeyboardInterrupt, SystemExit])
def test_exit_raised_by_consumer_ends_program(kind: str, deadly: type[BaseException]) -> None:
    streamers = [make() for _ in range(3)]

    async def read(n: int) -> list[str]:
        found = []
        async for text in streamers[n]:
            if n == 1:
                raise deadly
            found.append(text)
        return found

    loop = new_loop(kind)
    tasks = [loop.create_task(read(n)) for n in range(3)]
    try:
        loop.run_until_complete(turns())
        for streamer in streamers:
            say(streamer, "x ")
            streamer.end()
        with pytest.raises(deadly):
            loop.run_until_complete(asyncio.wait({tasks[1]}, timeout=SOON))
        # And the others lost nothing by it.
        assert loop.run_until_complete(tasks[0]) == ["x "]
        assert loop.run_until_complete(tasks[2]) == ["x "]
        assert isinstance(tasks[1].exception(), deadly)
    finally:
        loop.close()


def python_tasks(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    return asyncio.tasks._PyTask(coroutine, loop=loop, **options)  # type: ignore[attr-defined]


def eager_tasks(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    # Not asyncio.eager_task_factory: on Python 3.13, uvloop passes it one argument too many.
    return asyncio.Task(coroutine, loop=loop, **{**options, "eager_start": True})


TASK_FACTORIES: dict[str, Any] = {
    "usual": None,
    "pure Python": python_tasks,
    "eager": eager_tasks,
}


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("factory", TASK_FACTORIES)
def test_task_of_every_factory_reads_all_text(run: Run, factory: str, debug: bool) -> None:
    if factory == "eager" and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    streamers = [make(timeout=SOON) for _ in range(3)]

    async def read(streamer: burble.AsyncTextIteratorStreamer) -> list[str]:
        me = asyncio.current_task()
        found = []
        async for text in streamer:
            assert asyncio.current_task() is me
            found.append(text)
        return found

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(TASK_FACTORIES[factory])
        say(streamers[0], "early ")
        tasks = [loop.create_task(read(streamer)) for streamer in streamers]
        step: Any = make().__anext__()
        direct: asyncio.Task[str] = loop.create_task(step)
        await turns()
        for streamer in streamers:
            say(streamer, "x ")
        await turns()
        tasks[2].cancel()
        direct.cancel()
        for streamer in streamers:
            say(streamer, "y ")
            streamer.end()
        results = await soon(asyncio.gather(*tasks, direct, return_exceptions=True))
        assert results[0] == ["early ", "x ", "y "]
        assert results[1] == ["x ", "y "]
        assert isinstance(results[2], asyncio.CancelledError)
        assert isinstance(results[3], asyncio.CancelledError)
        assert await soon(listen(streamers[2])) == ["y "]

    run(main(), debug=debug)


# ---- what is left behind -----------------------------------------------------------------------


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def park_and_abandon(count: int) -> None:
    """Half of the waiting tasks are cancelled, half are just dropped."""

    async def read(streamer: burble.AsyncTextIteratorStreamer) -> None:
        async for _ in streamer:
            pass

    streamers = [make() for _ in range(count)]
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
    streamer = make()
    reference = weakref.ref(streamer)
    tie(streamer)
    del streamer
    gc.collect()
    assert reference() is None


def test_streamer_without_references_is_freed_at_once(run: Run) -> None:
    async def main() -> None:
        streamer = make()
        reference = weakref.ref(streamer)
        task = asyncio.ensure_future(listen(streamer))
        await turns()
        say(streamer, "text ")
        streamer.end()
        assert await soon(task) == ["text "]
        del task, streamer
        await turns()
        gc.disable()
        try:
            assert reference() is None
        finally:
            gc.enable()

    run(main())


def test_timeout_does_not_keep_ended_streamer_alive(run: Run) -> None:
    async def main() -> None:
        streamer = make(timeout=3600)
        reference = weakref.ref(streamer)
        task = asyncio.ensure_future(listen(streamer))
        await turns()
        say(streamer, "text ")
        streamer.end()
        assert await soon(task) == ["text "]
        del task, streamer
        await turns()
        gc.collect()
        assert reference() is None

    run(main())


def test_loop_known_to_streamer_is_freed(kind: str) -> None:
    streamer = make()

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "text ")
        assert await soon(task) == "text "
        return weakref.ref(asyncio.get_running_loop())

    reference = run_in(kind, main())
    gc.collect()
    assert reference() is None
