# SPDX-License-Identifier: MIT
"""Log and Reader: a writer that waits for a reader at its limit, and readers that are dropped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import (
    KINDS,
    in_thread,
    run,
    until,
)

import burble
from burble._core import Lagged, Log, Merged

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


def test_writer_waits_for_reader_at_its_limit() -> None:
    log = Log()
    reader = log.reader(0, max_lag=10)
    written = []

    def write() -> None:
        for i in range(100):
            log.append(f"{i:05}")
            written.append(i)
        log.end()

    with in_thread(write):
        until(lambda: log.blocked > 0)
        assert len(written) == 2
        got = list(reader)
    assert got == [f"{i:05}" for i in range(100)]
    assert log.blocked > 0


@pytest.mark.parametrize("how", ["cancel", "end", "close", "gone", "limit"])
def test_wait_for_reader_ends_when_log_or_reader_ends(how: str) -> None:
    log = Log()
    reader = [log.reader(0, max_lag=1)]
    raised = []

    def write() -> None:
        log.append("a")
        try:
            log.append("b")
            while how in ("close", "gone"):  # what makes room comes before the cancellation
                log.append("b")
        except burble.Error as error:
            raised.append(type(error))

    with in_thread(write):
        until(lambda: log.blocked > 0)
        if how == "cancel":
            log.cancel()
        elif how == "end":
            log.end()
        elif how == "close":
            reader[0].close()
        elif how == "gone":
            reader.clear()
        else:
            reader[0].limit(0, "block")
    expected: list[Any] = [] if how == "limit" else [burble.Cancelled]
    assert raised == ([burble.Error] if how == "end" else expected)


class Alarm(Exception):
    pass


@pytest.fixture
def alarm() -> Iterator[Callable[..., None]]:
    """Calls a function, to which a signal comes in a moment, whose handler raises Alarm."""

    def ring(*_: Any) -> None:
        raise Alarm

    def call(function: Callable[..., object], *args: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        function(*args)

    before = signal.signal(signal.SIGALRM, ring)
    yield call
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_signal_reaches_waiting_writer(alarm: Callable[..., None]) -> None:
    log = Log()
    reader = log.reader(0, max_lag=1)
    log.append("a")
    with pytest.raises(Alarm):
        alarm(log.append, "b")
    assert reader.take() == (0, "a")
    log.append("c")  # the log goes on
    assert reader.take() == (1, "c")


@pytest.mark.parametrize("merged", [False, True])
def test_signal_reaches_waiting_reader(merged: bool, alarm: Callable[..., None]) -> None:
    log = Log()
    reader: Any = Merged([log.reader()]) if merged else log.reader()
    with pytest.raises(Alarm):
        alarm(next, reader)
    log.append("a")
    assert next(reader) == ((0, "a") if merged else "a")


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_dropped_reader_raises_lagged(kind: str) -> None:
    log = Log(lag_unit="tokens")
    slow, fast = log.reader(0, max_lag=8, on_lag="drop_reader"), log.reader()
    assert (slow.position, log.append("a"), next(slow)) == (0, None, "a")
    for _ in range(20):
        log.append("b")
    log.end()
    for _ in range(2):
        with pytest.raises(Lagged, match="position 1"):
            next(slow) if kind == "thread" else run(kind, slow.__anext__)
    assert slow.position == 1
    assert len(list(fast)) == 21
