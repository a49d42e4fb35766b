# SPDX-License-Identifier: MIT
"""AsyncTextIteratorStreamer: what waits for it: tasks of asyncio, and drivers that are none."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import contextvars
import inspect
import sys
from collections.abc import Coroutine
from typing import Any

import pytest
from drop_in import make_async, say
from helpers import SOON, listen, soon, turns
from loops import Run, new_loop

import burble

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


# ---- the ways of asyncio -------------------------------------------------------------------------


def test_anext_works_in_every_asyncio_wait(run: Run) -> None:
    a, b = make_async(), make_async()

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
    step = make_async().__anext__()
    assert inspect.isawaitable(step)
    assert asyncio.iscoroutine(step)
    step.close()


@pytest.mark.skipif(sys.version_info < (3, 10), reason="anext() came with Python 3.10")
def test_builtin_anext_works_with_and_without_default(run: Run) -> None:
    streamer = make_async()

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
    streamer = make_async()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):  # type: ignore[attr-defined]
                await streamer.__anext__()
        say(streamer, "after ")
        assert await soon(streamer.__anext__()) == "after "

    run(main())


def test_resumed_task_has_its_context_and_is_current(run: Run) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")
    streamers = [make_async() for _ in range(5)]
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
    streamer = make_async()

    async def main() -> None:
        first = asyncio.ensure_future(streamer.__anext__())
        await turns()
        with pytest.raises(RuntimeError, match="another task is already waiting"):
            await streamer.__anext__()
        say(streamer, "for the first ")
        assert await soon(first) == "for the first "

    run(main())


def test_anext_awaited_twice_raises(run: Run) -> None:
    streamer = make_async()
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
    streamer = make_async()

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
    streamer = make_async()
    step = streamer.__anext__()
    with pytest.raises(RuntimeError, match="no asyncio event loop is running"):
        step.send(None)  # type: ignore[attr-defined]
    # Text that is there needs no loop.
    say(streamer, "there ")
    with pytest.raises(StopIteration) as stop:
        streamer.__anext__().send(None)  # type: ignore[attr-defined]
    assert stop.value.value == "there "


# ---- other drivers -------------------------------------------------------------------------------


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
    streamer = make_async()

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


def test_coroutine_closed_in_wait_frees_streamer_for_others(run: Run) -> None:
    streamer = make_async()

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
    streamer = make_async()

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
    streamers = [make_async() for _ in range(5)]
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
def test_exit_raised_by_consumer_ends_program(loop_kind: str, deadly: type[BaseException]) -> None:
    streamers = [make_async() for _ in range(3)]

    async def read(n: int) -> list[str]:
        found = []
        async for text in streamers[n]:
            if n == 1:
                raise deadly
            found.append(text)
        return found

    loop = new_loop(loop_kind)
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
    streamers = [make_async(timeout=SOON) for _ in range(3)]

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
        step: Any = make_async().__anext__()
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
