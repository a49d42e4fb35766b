# SPDX-License-Identifier: MIT
"""Log and Reader: records, positions and the end, in threads and loops."""

from __future__ import annotations

import traceback

import pytest
from helpers import (
    KINDS,
    in_thread,
    listen,
    read_to_error,
    run,
)
from logs import Broken, failed_log

import burble
from burble._core import Gone, Log

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


# ---- records and positions -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_records_are_read_in_order(kind: str) -> None:
    log = Log()
    reader = log.reader()
    texts = [f"{i} é中👍" for i in range(3000)]

    def write() -> None:
        for text in texts:
            log.append(text)
        log.end()

    with in_thread(write):
        got = list(reader) if kind == "thread" else run(kind, listen, reader)
    assert got == texts
    assert reader.position == len(texts) == log.position
    assert reader.last == len(texts) - 1


def test_empty_text_makes_no_record() -> None:
    log = Log()
    reader = log.reader()
    log.append("", 1)
    log.append("a")
    log.end()
    assert list(reader) == ["a"]
    assert log.position == 1


def test_reader_begins_at_given_position() -> None:
    log = Log(keep=-1)
    first = log.reader()
    for text in "abc":
        log.append(text)
    second, tail, last, oldest = log.reader(1), log.reader(-2), log.reader(3), log.reader(-1)
    log.append("d")
    log.end()
    assert list(first) == list(oldest) == ["a", "b", "c", "d"]
    assert list(second) == ["b", "c", "d"]
    assert list(tail) == list(last) == ["d"]
    assert list(log.reader()) == ["a", "b", "c", "d"]  # still there after all have read it
    with pytest.raises(ValueError, match="the present end of the stream"):
        log.reader(5)
    with pytest.raises(ValueError, match="found -3"):
        log.reader(-3)


def test_reader_before_oldest_record_raises_gone() -> None:
    log = Log()
    reader = log.reader()
    for _ in range(1000):
        log.append("x" * 100)
        next(reader)
    assert log.oldest > 0
    with pytest.raises(Gone) as caught:
        log.reader(0)
    assert caught.value.oldest == log.oldest
    assert log.reader(log.oldest).position == log.oldest


def test_reader_that_cannot_be_made_leaves_log_unchanged() -> None:
    log = Log()
    with pytest.raises(ValueError):
        log.reader(0, max_lag=1, on_lag="wait")
    with pytest.raises(ValueError):
        log.reader(0, max_lag=-1)
    with pytest.raises(ValueError):
        log.reader(7)
    assert log.state == "open"


def test_take_returns_available_text_without_waiting() -> None:
    log = Log()
    reader = log.reader()
    assert reader.take() is None
    log.append("a")
    log.append("b")
    assert (reader.position, reader.last) == (0, None)
    assert reader.take() == (0, "a")
    assert reader.take() == (1, "b")
    assert (reader.position, reader.last) == (2, 1)
    log.end()
    with pytest.raises(StopIteration):
        reader.take()


def test_coalesce_returns_all_available_text() -> None:
    log = Log()
    reader = log.reader()
    reader.coalesce = True
    for text in ("one ", "two ", "thrée"):
        log.append(text)
    assert next(reader) == "one two thrée"
    assert (reader.last, reader.position) == (2, 3)
    log.append("four")
    log.append("five")
    log.end()
    assert reader.take() == (4, "fourfive")
    assert list(reader) == []


def test_coalesce_is_bounded() -> None:
    log = Log()
    reader = log.reader()
    reader.coalesce = True
    for _ in range(40):
        log.append("é" * 32768)  # 64 KiB
    log.end()
    sizes = [len(text.encode()) for text in reader]
    assert sum(sizes) == 40 << 16
    assert sizes[0] == 1 << 20


def test_append_of_wrong_type_is_refused() -> None:
    log = Log()
    with pytest.raises(TypeError, match="expected a str, found int"):
        log.append(1)
    assert (log.position, log.state) == (0, "open")
    for options in ({"keep": -2}, {"lag_unit": "lines"}):
        with pytest.raises(ValueError):
            Log(**options)  # type: ignore[arg-type]


# ---- the end -------------------------------------------------------------------------------------


def test_first_end_of_log_decides() -> None:
    log = Log()
    log.append("a")
    assert (log.state, log.reason, log.match, log.error) == ("open", None, None, None)
    assert log.end("stop", (0, "x"))
    assert not log.end("length")
    assert not log.fail(ValueError())
    assert not log.cancel()
    assert (log.state, log.reason, log.match, log.error) == ("ended", "stop", (0, "x"), None)
    with pytest.raises(burble.Error, match="already ended"):
        log.append("b")
    assert list(log.reader()) == ["a"]


@pytest.mark.parametrize("kind", ["thread", *KINDS])
def test_cancelled_log_is_read_to_its_end_first(kind: str) -> None:
    log = Log()
    reader = log.reader()
    log.append("a")
    assert log.cancel()
    assert log.state == "cancelled"
    with pytest.raises(burble.Cancelled):
        log.append("b")
    assert (next(reader) if kind == "thread" else run(kind, reader.__anext__)) == "a"
    for _ in range(2):
        with pytest.raises(burble.Cancelled):
            next(reader) if kind == "thread" else run(kind, reader.__anext__)


def test_error_of_log_keeps_its_type_and_traceback() -> None:
    log, readers = failed_log(20)
    depths = set()
    for reader in readers:
        assert next(reader) == "a"
        for _ in range(3):
            try:
                raise KeyError("which each reader handles meanwhile")
            except KeyError:
                with pytest.raises(Broken, match="it broke") as caught:
                    next(reader)
            assert caught.value is log.error
            assert caught.value.__context__ is None
            frames = traceback.extract_tb(caught.value.__traceback__)
            assert frames[-1].name == "break_down"
            depths.add(len(frames))
    assert len(depths) == 1


def test_stop_iteration_as_error_is_not_taken_for_end() -> None:
    for error in (StopIteration(1), StopAsyncIteration()):
        log = Log()
        reader = log.reader()
        log.fail(error)
        with pytest.raises(RuntimeError, match=f"raised {type(error).__name__}") as caught:
            list(reader)
        assert caught.value.__cause__ is error


def test_thread_that_exits_without_end_fails_log() -> None:
    log = Log()
    reader = log.reader()
    with in_thread(log.append, "a"):
        assert read_to_error("threads", reader)[0] == ["a"]
    assert log.state == "failed"
    assert isinstance(log.error, burble.ProducerDied)
    with pytest.raises(burble.ProducerDied):
        next(reader)


def test_fail_without_exception_is_refused() -> None:
    log = Log()
    with pytest.raises(TypeError, match="found str"):
        log.fail("no")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        log.end(3)  # type: ignore[arg-type]
    assert log.state == "open"
