# SPDX-License-Identifier: MIT
"""Log and Reader: one waits at a time, in a thread or a loop, and another may be next."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from typing import Any

import pytest
from helpers import (
    KINDS,
    SOON,
    all_wait,
    in_thread,
    listen,
    run,
    together,
    until,
)
from logs import Waiting, is_waited_at

import burble
from burble._core import Log, Merged, Reader

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


def test_second_reading_thread_raises() -> None:
    log = Log()
    reader = log.reader()
    waiting = Waiting(reader)
    with in_thread(waiting):
        until(lambda: is_waited_at(reader))
        with pytest.raises(RuntimeError, match="is already being read"):
            next(reader)
        with pytest.raises(RuntimeError, match="is already being read"):
            asyncio.run(reader.__anext__())  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="is already being read"):
            reader.limit(1, "block")
        log.append("a")
        log.end()
    assert waiting.values == ["a"]


@pytest.mark.parametrize("kind", KINDS)
def test_second_waiting_task_raises(kind: str) -> None:
    log = Log()
    reader = log.reader()
    got = []

    async def first() -> None:
        got.extend(await listen(reader))

    async def second() -> None:
        await all_wait(kind)
        with pytest.raises(RuntimeError, match="another task is already waiting"):
            await reader.__anext__()
        with pytest.raises(RuntimeError, match="another task is already waiting"):
            next(reader)
        log.append("a")
        log.end()

    run(kind, together, kind, first, second)
    assert got == ["a"]


def test_reader_moved_between_threads_and_loops_gives_all_text() -> None:
    log = Log(keep=0)
    reader = log.reader()

    async def two() -> list[str]:
        return [await reader.__anext__(), await reader.__anext__()]

    # One thread writes all the time, since a log fails when the thread that writes it exits.
    turn = threading.Semaphore(0)

    def write() -> None:
        for _ in range(8):
            assert turn.acquire(timeout=SOON)
            log.append("a")
            log.append("b")
        log.end()

    with in_thread(write):
        for kind in ("asyncio", "uvloop", "trio", "asyncio"):
            turn.release()
            assert run(kind, two) == ["a", "b"]
            turn.release()
            assert [next(reader), next(reader)] == ["a", "b"]
    assert list(reader) == []


def test_task_left_in_closed_loop_does_not_block_reader() -> None:
    log = Log()
    reader = log.reader()
    loop = asyncio.new_event_loop()
    left = loop.create_task(listen(reader))
    loop.run_until_complete(all_wait("asyncio"))
    with pytest.raises(RuntimeError, match="another task"):
        next(reader)
    left_behind = weakref.ref(left)
    loop.close()
    log.append("a")
    log.end()
    assert next(reader) == "a"
    assert asyncio.run(listen(reader)) == []
    left._log_destroy_pending = False  # type: ignore[attr-defined]
    del left
    gc.collect()
    assert left_behind() is None


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_close_of_reader_ends_its_wait(kind: str) -> None:
    log = Log()
    reader = log.reader()
    other = log.reader()
    log.append("a")

    if kind == "thread":
        waiting = Waiting(reader)
        with in_thread(waiting):
            until(lambda: reader.position == 1 and is_waited_at(reader))
            reader.close()
        assert (waiting.values, waiting.error) == (["a"], None)
    else:
        got: list[Any] = []

        async def read() -> None:
            got.extend(await listen(reader))

        async def close() -> None:
            await all_wait(kind)
            with in_thread(reader.close):
                pass

        run(kind, together, kind, read, close)
        assert got == ["a"]
    reader.close()
    assert list(reader) == []
    assert reader.position == 1
    assert log.state == "open"
    other.close()
    assert log.state == "cancelled"


class Meanwhile(asyncio.SelectorEventLoop):
    """Does something in another thread whenever a wait begins: it is asked for what it takes."""

    where = ""

    def meanwhile(self, where: str) -> None:
        if where == self.where:
            self.where = ""
            with in_thread(self.what):
                pass

    def add_reader(self, *args: Any) -> None:
        self.meanwhile("add_reader")
        super().add_reader(*args)

    def call_later(self, *args: Any, **options: Any) -> Any:
        self.meanwhile("call_later")
        return super().call_later(*args, **options)


@pytest.mark.parametrize("where", ["add_reader", "call_later"])
@pytest.mark.parametrize("what", ["close", "read"])
def test_change_by_thread_as_task_begins_to_wait_is_seen(where: str, what: str) -> None:
    log = Log()
    log.deadlines(SOON, None, None)
    reader, other = log.reader(), log.reader()
    errors: list[BaseException] = []

    def read_on() -> None:
        try:
            next(reader)
        except RuntimeError as error:
            errors.append(error)
        log.append("a")
        log.end()

    loop = Meanwhile()
    loop.what = reader.close if what == "close" else read_on  # type: ignore[attr-defined]
    loop.where = where
    try:
        got = loop.run_until_complete(listen(reader))
    finally:
        loop.close()
    assert loop.where == ""
    if what == "close":
        assert got == []
        assert log.state == "open"
    else:
        assert got == ["a"]
        assert [str(error)[:28] for error in errors] == ["another task is already wait"]
    other.close()


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("how", ["busy", "closed"])
def test_close_reader_on_blocked_loop_does_not_stall_writer(how: str, merged: bool) -> None:
    log = Log()
    other = log.reader()
    reader = log.reader(0, 2, "block")
    source = Merged([reader]) if merged else reader
    loop = asyncio.new_event_loop()

    async def read() -> list[Any]:
        return [value async for value in source]

    def close_and_write() -> None:
        reader.close()
        for _ in range(10):
            log.append("abc")

    async def main() -> None:
        await all_wait("asyncio")
        if how == "busy":
            with in_thread(close_and_write):
                pass

    task = loop.create_task(read())
    loop.run_until_complete(main())
    if how == "busy":
        assert loop.run_until_complete(task) == []
        loop.close()
    else:
        loop.close()
        with in_thread(close_and_write):
            pass
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    assert len([other.take() for _ in range(10)]) == log.position == 10
    log.cancel()


def test_last_reader_closed_cancels_log() -> None:
    log = Log()
    readers = [log.reader() for _ in range(3)]
    while readers:
        assert log.state == "open"
        readers.pop()
    assert log.state == "cancelled"
    with pytest.raises(burble.Cancelled):
        log.append("a")


def test_cancelled_task_can_read_on() -> None:
    log = Log()
    reader = log.reader()

    async def main() -> list[Any]:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.__anext__(), 0.01)
        log.append("a")
        log.end()
        return await listen(reader)

    assert asyncio.run(main()) == ["a"]


@pytest.mark.parametrize("kind", KINDS)
def test_reader_that_never_waits_yields_to_loop(kind: str) -> None:
    log = Log(keep=-1)
    for _ in range(200_000):
        log.append("a")
    log.end()
    turns = 0
    done = False

    async def read() -> None:
        nonlocal done
        while turns <= 5:  # however fast this machine is
            assert len(await listen(log.reader())) == 200_000
        done = True

    async def count() -> None:
        nonlocal turns
        while not done:
            turns += 1
            if kind == "trio":
                import trio

                await trio.lowlevel.checkpoint()
            else:
                await asyncio.sleep(0)

    run(kind, together, kind, count, read)


def test_many_readers_in_threads_and_loops_get_all_text() -> None:
    log = Log(keep=-1)
    texts = [str(i) for i in range(500)]
    got: list[list[str]] = []

    def in_loop(kind: str) -> None:
        readers = [log.reader() for _ in range(20)]

        async def read(reader: Reader) -> None:
            got.append(await listen(reader))

        def task(reader: Reader) -> Any:
            return lambda: read(reader)

        run(kind, together, kind, *map(task, readers))

    def write() -> None:
        for text in texts:
            log.append(text)
        log.end()

    with contextlib.ExitStack() as stack:
        for kind in KINDS * 2:
            stack.enter_context(in_thread(in_loop, kind))
        for _ in range(10):
            reader = log.reader()
            stack.enter_context(in_thread(lambda reader=reader: got.append(list(reader))))
        stack.enter_context(in_thread(write))
    assert len(got) == 6 * 20 + 10
    assert all(values == texts for values in got)
