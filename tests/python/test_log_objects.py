# SPDX-License-Identifier: MIT
"""Log and Reader: objects in place of text."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest
from helpers import (
    KINDS,
    in_thread,
    listen,
    run,
    until,
)

import burble
from burble._core import Log

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


class Thing:
    """Can be weakly referred to."""


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_objects_are_read_as_same_objects(kind: str) -> None:
    values = [None, 1, (1, 2), "text", StopIteration(3), ValueError(), Thing(), [], ""]
    log = Log(objects=True)
    reader = log.reader()
    for value in values:
        log.append(value)
    log.end()
    got = list(reader) if kind == "thread" else run(kind, listen, reader)
    assert len(got) == len(values)
    assert all(a is b for a, b in zip(got, values))
    with pytest.raises(ValueError):
        reader.coalesce = True


def test_objects_no_reader_can_read_are_freed() -> None:
    log = Log(objects=True)
    reader = log.reader()
    things = [weakref.ref(thing) for thing in self_made(log, 1000)]
    for _ in range(1000):
        next(reader)
    assert sum(thing() is not None for thing in things) < 400  # the last block's
    del reader, log
    assert all(thing() is None for thing in things)


def self_made(log: Log, n: int) -> list[Thing]:
    things = [Thing() for _ in range(n)]
    for thing in things:
        log.append(thing)
    return things


def test_objects_never_read_are_freed_with_log() -> None:
    log = Log(objects=True, keep=-1)
    things = [weakref.ref(thing) for thing in self_made(log, 500)]
    assert all(thing() is not None for thing in things)
    del log
    assert all(thing() is None for thing in things)


def test_finalizer_of_object_may_use_its_log() -> None:
    seen = []

    class Last:
        def __del__(self) -> None:
            seen.append(log.position)
            log.reader(-2).close()
            with contextlib.suppress(RuntimeError, burble.Error):
                log.append(None)

    log = Log(objects=True)
    reader = log.reader()
    for _ in range(300):
        log.append(Last())
        reader.take()
        gc.collect(0)
    reader.close()
    assert len(seen) > 100


def test_writer_of_objects_waits_at_limit_in_items() -> None:
    log = Log(objects=True)
    reader = log.reader(0, max_lag=4)
    written = []

    def write() -> None:
        for i in range(50):
            log.append(i)
            written.append(i)
        log.end()

    with in_thread(write):
        until(lambda: log.blocked > 0)
        assert len(written) == 4
        assert list(reader) == list(range(50))
