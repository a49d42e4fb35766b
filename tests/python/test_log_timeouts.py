# SPDX-License-Identifier: MIT
"""Log and Reader: timeouts of the log."""

from __future__ import annotations

import contextlib
import time

import pytest
from helpers import (
    KINDS,
    at_some_pace,
    in_thread,
    listen,
    read_to_error,
    run,
    until,
)
from logs import Waiting, is_waited_at

import burble
from burble import _core
from burble._core import Log

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


@pytest.mark.parametrize("kind", ["thread", *KINDS])
@pytest.mark.parametrize("which", ["first", "token", "total"])
def test_timeout_fails_log_for_all_readers(kind: str, which: str) -> None:
    log = Log()
    reader, other = log.reader(), log.reader()
    seconds = [0.05 if which == name else None for name in ("first", "token", "total")]
    error = getattr(burble._core, {"first": "FirstToken"}.get(which, which.title()) + "Timeout")
    if which != "first":
        log.append("a")
    log.deadlines(*seconds)
    with pytest.raises(error, match=r"0\.05 s"):
        list(reader) if kind == "thread" else run(kind, listen, reader)
    assert isinstance(log.error, TimeoutError)
    assert log.state == "failed"
    assert read_to_error("threads", other) == (["a"] if which != "first" else [], log.error)
    with pytest.raises(error):
        log.append("b")
    assert not log.end()


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_token_without_text_starts_token_timeout(kind: str) -> None:
    """For a reader that waits already."""
    log = Log()
    reader = log.reader()
    log.deadlines(None, 0.1, None)

    def write() -> None:
        if kind == "thread":
            until(lambda: is_waited_at(reader))
        log.append("", 1)
        until(lambda: log.state != "open")

    with in_thread(write):
        with pytest.raises(_core.TokenTimeout):
            list(reader) if kind == "thread" else run(kind, listen, reader)


def test_tokens_without_text_move_token_timeout() -> None:
    def attempt(timeout: float) -> None:
        log = Log()
        reader = log.reader()
        log.deadlines(30.0, timeout, None)

        def write() -> None:
            end = time.monotonic() + 2 * timeout
            with contextlib.suppress(_core.TokenTimeout):
                while time.monotonic() < end:
                    log.append("", 1)
                    time.sleep(timeout / 50)
                log.append("text")
                log.end()

        with in_thread(write):
            assert list(reader) == ["text"]

    at_some_pace(attempt)


def test_writer_waiting_for_reader_does_not_count_for_timeout() -> None:
    def attempt(timeout: float) -> None:
        log = Log()
        slow, fast = log.reader(0, max_lag=1), log.reader()
        log.deadlines(None, timeout, None)

        def write() -> None:
            with contextlib.suppress(_core.TokenTimeout):
                log.append("a")
                log.append("b")  # waits for `slow`, for longer than the timeout
                log.end()

        waiting = Waiting(fast)
        with in_thread(write), in_thread(waiting):
            until(lambda: log.blocked > 1.5 * timeout or log.state != "open")
            assert list(slow) == ["a", "b"]
        assert (waiting.values, waiting.error) == (["a", "b"], None)

    at_some_pace(attempt)


def test_total_timeout_ends_wait_of_writer() -> None:
    log = Log()
    reader = log.reader(0, max_lag=1)
    log.append("a")
    log.deadlines(None, None, 0.1)
    with pytest.raises(_core.TotalTimeout):
        log.append("b")
    values, error = read_to_error("threads", reader)
    assert values == ["a"]
    assert isinstance(error, _core.TotalTimeout)


def test_timeout_negative_or_not_a_number_is_refused() -> None:
    log = Log()
    with pytest.raises(ValueError, match="token_timeout"):
        log.deadlines(None, -1, None)
    with pytest.raises(TypeError, match="total_timeout"):
        log.deadlines(None, None, "1")  # type: ignore[arg-type]
    log.deadlines(0, None, None)
    with pytest.raises(_core.FirstTokenTimeout):
        next(log.reader())
