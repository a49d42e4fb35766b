# SPDX-License-Identifier: MIT
"""Log and Reader: nothing is left of them when they go, and an idle one is small."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref

import pytest
from helpers import (
    all_wait,
    listen,
)
from logs import Broken, failed_log

from burble._core import Log

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


def test_error_that_refers_to_its_reader_is_collected() -> None:
    gone = []

    class Local:
        pass

    def read() -> None:
        local = Local()
        gone.append(weakref.ref(local))
        log, readers = failed_log()
        reader = readers[0]
        with contextlib.suppress(Broken):
            list(reader)
        gone.append(weakref.ref(reader))
        kept = (local, log)
        assert kept

    read()
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_waiting_task_dropped_with_its_loop_is_collected() -> None:
    gone = []

    def leave() -> None:
        log = Log()
        reader = log.reader()
        gone.append(weakref.ref(reader))
        loop = asyncio.new_event_loop()
        task = loop.create_task(listen(reader))
        loop.run_until_complete(all_wait("asyncio"))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()

    leave()
    gc.collect()
    assert gone[0]() is None


@pytest.mark.no_asan
def test_ten_thousand_abandoned_logs_are_freed() -> None:
    async def main() -> tuple[int, int]:
        async def abandon(n: int) -> None:
            for i in range(n):
                log = Log(objects=i % 3 == 0)
                reader = log.reader(0, max_lag=100)
                log.deadlines(60.0, None, None)
                step = reader.__anext__()
                iterator = step.__await__()
                iterator.send(None)  # type: ignore[attr-defined]
                log.append("a")
                del log, reader, step, iterator
                if i % 500 == 0:
                    await asyncio.sleep(0)

        await abandon(1000)
        gc.collect()
        before = len(gc.get_objects())
        await abandon(10_000)
        gc.collect()
        return before, len(gc.get_objects())

    before, after = asyncio.run(main())
    assert after - before < 2000


@pytest.mark.no_asan
def test_idle_stream_is_small() -> None:
    size = sys.getsizeof(Log()) + sys.getsizeof(Log().reader())
    assert size < 700
