# SPDX-License-Identifier: MIT
"""Log, Reader and Merged: what they promise the writer, and whoever reads, in threads and loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import KINDS, SOON, all_wait, at_some_pace, in_thread, run, together, until

import burble
from burble import _core
from burble._core import Gone, Lagged, Log, Merged, Reader

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


async def listen(reader: Any) -> list[Any]:
    return [value async for value in reader]


def read_on(reader: Any) -> tuple[list[Any], BaseException | None]:
    """All that comes, and the error that comes last."""
    values = []
    try:
        for value in reader:
            values.append(value)
    except BaseException as error:
        return values, error
    return values, None


def is_waited_at(reader: Reader) -> bool:
    try:
        assert reader.take() is None
    except RuntimeError:
        return True
    return False


class Waiting:
    """A thread that reads on."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.values: list[Any] = []
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.values, self.error = read_on(self.reader)


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


class Broken(Exception):
    pass


def break_down() -> None:
    raise Broken("it broke")


def failed_log(readers: int = 1) -> tuple[Log, list[Reader]]:
    log = Log()
    found = [log.reader() for _ in range(readers)]
    log.append("a")
    with pytest.raises(Broken) as caught:
        break_down()
    assert log.fail(caught.value)
    return log, found


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
        assert read_on(reader)[0] == ["a"]
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


# ---- limits --------------------------------------------------------------------------------------


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


# ---- objects -------------------------------------------------------------------------------------


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
    assert sum(thing() is not None for thing in things) < 200  # the last block's
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


# ---- timeouts ------------------------------------------------------------------------------------


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
    assert read_on(other) == (["a"] if which != "first" else [], log.error)
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
    values, error = read_on(reader)
    assert values == ["a"]
    assert isinstance(error, _core.TotalTimeout)


def test_timeout_that_is_no_number_from_zero_on_is_refused() -> None:
    log = Log()
    with pytest.raises(ValueError, match="token_timeout"):
        log.deadlines(None, -1, None)
    with pytest.raises(TypeError, match="total_timeout"):
        log.deadlines(None, None, "1")  # type: ignore[arg-type]
    log.deadlines(0, None, None)
    with pytest.raises(_core.FirstTokenTimeout):
        next(log.reader())


# ---- who waits -----------------------------------------------------------------------------------


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


# ---- trio ----------------------------------------------------------------------------------------


def test_trio_cancellation_and_deadline_end_wait() -> None:
    trio = pytest.importorskip("trio")
    log = Log()
    reader = log.reader()

    async def main() -> None:
        for _ in range(3):
            with trio.move_on_after(0.01) as scope:
                await reader.__anext__()
            assert scope.cancelled_caught
        with trio.move_on_after(SOON) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, reader)
                await all_wait("trio")
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught
        log.append("a")
        log.end()
        assert await listen(reader) == ["a"]

    trio.run(main)


def test_trio_cancellation_as_text_arrives_loses_no_text() -> None:
    trio = pytest.importorskip("trio")
    log = Log()
    reader = log.reader()
    got: list[str] = []

    async def main() -> None:
        async def read() -> None:
            async for text in reader:
                got.append(text)

        for i in range(200):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await all_wait("trio")
                log.append(str(i))
                if i % 2:
                    await trio.sleep(0)
                nursery.cancel_scope.cancel()
        log.end()
        await read()

    trio.run(main)
    assert got == [str(i) for i in range(200)]


def test_trio_guest_in_asyncio_loop_reads() -> None:
    """Who awaits is then said by sniffio's convention alone."""
    trio = pytest.importorskip("trio")

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        logs = [Log(), Log()]
        readers = [log.reader() for log in logs]

        async def guest() -> list[Any]:
            return await listen(readers[0])

        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        host = asyncio.ensure_future(listen(readers[1]))

        def write() -> None:
            for text in "abc":
                for log in logs:
                    log.append(text)
                time.sleep(0.01)
            for log in logs:
                log.end()

        with in_thread(write):
            outcome = await done
        return [outcome.unwrap(), await host]

    assert asyncio.run(main()) == [["a", "b", "c"]] * 2


def test_trio_reads_drop_in_streamer() -> None:
    trio = pytest.importorskip("trio")
    tokenizers = pytest.importorskip("tokenizers")
    from conftest import SHAKESPEARE

    tokenizer = tokenizers.Tokenizer.from_file(str(SHAKESPEARE / "tokenizer.json"))
    streamer = burble.AsyncTextIteratorStreamer(tokenizer, chunk="token", timeout=SOON)
    words = "Now is the winter of our discontent"

    def write() -> None:
        for i in tokenizer.encode(words).ids:
            streamer.put([i])
        streamer.end()

    async def main() -> str:
        with in_thread(write):
            text = "".join([text async for text in streamer])
        streamer.timeout = 0.02
        with pytest.raises(TimeoutError):
            await streamer.__anext__()
        return text

    assert trio.run(main) == words


def test_anext_without_loop_says_what_to_do() -> None:
    step = Log().reader().__anext__()
    with pytest.raises(RuntimeError, match="no asyncio event loop is running here"):
        step.__await__().send(None)  # type: ignore[attr-defined]


# ---- what is left behind -------------------------------------------------------------------------


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


# ---- merged --------------------------------------------------------------------------------------


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
        got, error = read_on(merged) if kind == "thread" else run(kind, read)
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
        with pytest.raises(RuntimeError, match="belongs to a Merged"):
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
