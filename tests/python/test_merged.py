# SPDX-License-Identifier: MIT
"""Merged: several readers read as one."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest
from helpers import (
    KINDS,
    SOON,
    all_wait,
    in_thread,
    listen,
    read_to_error,
    run,
    together,
)
from logs import Broken, Waiting

from burble import _core
from burble._core import Log, Merged

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


def make_rows(n: int, **options: Any) -> tuple[list[Log], Merged]:
    logs = [Log(**options) for _ in range(n)]
    return logs, Merged([log.reader() for log in logs])


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_merged_gives_values_of_each_row_in_order(kind: str) -> None:
    logs, merged = make_rows(17)

    def write() -> None:
        for i in range(200):
            for log in logs:
                log.append(str(i))
            if i % 50 == 0:
                time.sleep(0.01)
        for log in logs:
            log.end()

    with in_thread(write):
        got = list(merged) if kind == "thread" else run(kind, listen, merged)
    for row in range(17):
        assert [text for i, text in got if i == row] == [str(i) for i in range(200)]
    assert list(merged) == []


def test_merged_takes_turns_between_rows() -> None:
    logs, merged = make_rows(3)
    for log in logs:
        log.append("a")
        log.append("b")
        log.end()
    assert list(merged) == [(0, "a"), (1, "a"), (2, "a"), (0, "b"), (1, "b"), (2, "b")]


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_merged_error_of_row_comes_after_text_of_all(kind: str) -> None:
    logs, merged = make_rows(3)
    logs[0].fail(Broken())
    logs[1].append("b")
    logs[1].cancel()

    def write() -> None:
        for _ in range(3):
            logs[2].append("c")
            time.sleep(0.01)
        logs[2].end()

    async def read() -> tuple[list[Any], BaseException | None]:
        got = []
        try:
            async for pair in merged:
                got.append(pair)
        except Broken as error:
            return got, error
        return got, None

    with in_thread(write):
        got, error = read_to_error("threads", merged) if kind == "thread" else run(kind, read)
    assert isinstance(error, Broken)
    assert got == [(1, "b"), (2, "c"), (2, "c"), (2, "c")]
    with pytest.raises(Broken):  # and whoever asks once more
        list(merged)


def test_merged_moved_from_thread_to_loop_gives_all_text() -> None:
    logs, merged = make_rows(4)
    turn = threading.Semaphore(0)

    def write() -> None:
        for i in range(8):
            assert turn.acquire(timeout=SOON)
            logs[i % 4].append(str(i))
        for log in logs:
            log.end()

    got = []
    with in_thread(write):
        for kind in KINDS:
            turn.release()
            got.append(run(kind, merged.__anext__))
            turn.release()
            got.append(next(merged))
        turn.release(2)
        got += list(merged)
    assert sorted(got) == [(i % 4, str(i)) for i in (0, 4, 1, 5, 2, 6, 3, 7)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_merged_is_woken_by_readers_that_waited_in_the_same_loop(kind: str) -> None:
    logs = [Log() for _ in range(3)]
    readers = [log.reader() for log in logs]

    async def wait_at(source: Any, log: Log) -> list[Any]:
        """The outcome of text that is written once a task waits there."""
        found = []

        async def read() -> None:
            found.append(await source.__anext__())

        async def write() -> None:
            await all_wait(kind)
            log.append("text")

        await together(kind, read, write)
        return found

    async def main() -> None:
        for log, reader in zip(logs, readers):  # now they are attached to the hub of the loop
            assert await wait_at(reader, log) == ["text"]
        merged = Merged(readers)
        for i, log in enumerate(logs):
            assert await wait_at(merged, log) == [(i, "text")]
        del merged
        for log, reader in zip(logs, readers):
            assert await wait_at(reader, log) == ["text"]

    run(kind, main)


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_merged_timeout_of_row_reaches_reader_of_all(kind: str) -> None:
    logs, merged = make_rows(3)
    others = [log.reader() for log in logs]
    for log in logs:
        log.deadlines(0.05, None, None)
    with pytest.raises(_core.FirstTokenTimeout):
        list(merged) if kind == "thread" else run(kind, listen, merged)
    for log, other in zip(logs, others):  # each by itself, a little later perhaps
        with pytest.raises(_core.FirstTokenTimeout):
            next(other)
        assert log.state == "failed"


def test_merged_row_closed_ends() -> None:
    logs = [Log() for _ in range(3)]
    readers = [log.reader() for log in logs]
    merged = Merged(readers)
    waiting = Waiting(merged)
    with in_thread(waiting):
        logs[0].append("a")
        for reader in readers:
            reader.close()
    assert waiting.error is None
    assert waiting.values in ([], [(0, "a")])
    assert [log.state for log in logs] == ["cancelled"] * 3


def test_merged_reader_cannot_be_read_by_itself() -> None:
    log = Log()
    reader = log.reader()
    merged = Merged([reader])
    for read in (reader.take, reader.__next__, reader.__anext__, lambda: Merged([reader])):
        with pytest.raises(RuntimeError, match="is read by a gather or a batch"):
            read()
    log.append("a")
    assert next(merged) == (0, "a")
    del merged
    log.append("b")
    log.end()
    assert list(reader) == ["b"]
    with pytest.raises(RuntimeError):
        Merged([reader, reader])
    with pytest.raises(TypeError):
        Merged([log])  # type: ignore[list-item]
    assert list(Merged([])) == []


def test_merged_readers_of_objects_and_coalesced_text_give_all() -> None:
    objects, text = Log(objects=True), Log()
    readers = [objects.reader(), text.reader()]
    readers[1].coalesce = True
    for i in range(3):
        objects.append((i,))
        text.append(str(i))
    objects.end()
    text.end()
    assert sorted(Merged(readers), key=str) == [(0, (0,)), (0, (1,)), (0, (2,)), (1, "012")]


def test_merged_without_references_frees_its_logs() -> None:
    logs, merged = make_rows(5)
    del merged
    assert [log.state for log in logs] == ["cancelled"] * 5


def test_merged_keeps_an_object_until_it_is_freed() -> None:
    class Kept:
        merged: Merged

    kept = Kept()
    gone = weakref.ref(kept)
    log = Log()
    merged = Merged([log.reader()], keep=kept)
    kept.merged = merged  # a cycle
    del kept
    gc.collect()
    assert gone() is not None
    del merged
    gc.collect()
    assert gone() is None
    assert log.state == "cancelled"
