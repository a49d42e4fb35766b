# SPDX-License-Identifier: MIT
"""AsyncTextIteratorStreamer: waits that are cancelled or time out."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import contextlib
import threading
import time
from typing import Any

import pytest
from drop_in import make_async, say
from helpers import SOON, at_some_pace, in_thread, listen, soon, turns
from loops import Run, run_in

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


def test_wait_for_timeout_loses_no_text(run: Run) -> None:
    streamer = make_async()

    async def main() -> None:
        for n in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(streamer.__anext__(), 0.005)
            say(streamer, f"{n} ")
            assert await soon(streamer.__anext__()) == f"{n} "

    run(main())


def test_wait_for_timeout_while_text_arrives_loses_no_text(run: Run) -> None:
    streamer = make_async()
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
    streamer = make_async()

    async def main() -> None:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        say(streamer, "after ")
        assert await soon(streamer.__anext__()) == "after "

    run(main())


def test_wait_cancelled_after_text_keeps_it_for_next_wait(run: Run) -> None:
    streamer = make_async()

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
    streamer = make_async()
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
    streamer = make_async()

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
    streamer = make_async(timeout=0.05)

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
    streamer = make_async(timeout=0.02, on_timeout="stop")
    say(streamer, "all ", "there is ")

    async def main() -> None:
        assert await listen(streamer) == ["all ", "there is "]
        say(streamer, "more ")
        assert await listen(streamer) == ["more "]

    run(main())


def test_timeout_counts_from_last_token_without_text(run: Run) -> None:
    def attempt(timeout: float) -> None:
        streamer = make_async(timeout=timeout)
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
    streamer = make_async(timeout=SOON)

    async def main() -> None:
        task = asyncio.ensure_future(streamer.__anext__())
        await turns()
        say(streamer, "first ")
        assert await soon(task) == "first "
        streamer.timeout = 0.05
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            await asyncio.wait_for(streamer.__anext__(), SOON / 4)

    run(main())


def test_timeout_of_abandoned_loop_does_not_affect_current_loop(loop_kind: str) -> None:
    def attempt(timeout: float) -> None:
        streamer = make_async(timeout=timeout)
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
            # So that the timer of the other loop fires in the middle of the next wait.
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(streamer.__anext__(), timeout / 3)
            with pytest.raises(TimeoutError, match=rf"{timeout:g} s"):
                await streamer.__anext__()
            streamer.timeout = None
            task = asyncio.ensure_future(streamer.__anext__())
            await turns()
            say(streamer, "there ")
            assert await soon(task) == "there "

        with in_thread(lambda: run_in(loop_kind, leave_a_timer(), debug=True)):
            assert parked.wait(SOON)
            try:
                assert found == ["here "]
                run_in(loop_kind, wait_there(), debug=True)
            finally:
                done.set()
        assert errors == []

    at_some_pace(attempt)
