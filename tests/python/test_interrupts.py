# SPDX-License-Identifier: MIT
"""An exception between any two lines: Ctrl-C in the main thread, MemoryError,
PyThreadState_SetAsyncExc in a thread of a pool.

A tracer raises it at the first event in burble's Python code (a call, a line, a return), then at
the second, until none is left; with BURBLE_TEST_LONG, also at each of the interpreter's
instructions. After each, the pool is to be usable and no reader is to wait.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import LONG
from helpers import SOON, until

import burble

pytestmark = [
    pytest.mark.timeout(600 if LONG else 180),
    # The exception may come in a finalizer, or end a thread.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    # ... or come before the first step of a coroutine.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
]

PACKAGE = str(Path(burble.__file__).parent)
PIECES = [bytes([i]) for i in range(128)]


def letters(streamer: Any, n: int = 3) -> None:
    for i in range(n):
        streamer.put([65 + i % 26])


def endless(streamer: Any) -> None:
    while True:
        streamer.put([65])
        time.sleep(0.0002)  # it is to end at a put, not at a limit


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No trace function or handled exception, which would be the context of all that is raised."""
    yield
    assert sys.gettrace() is None or "coverage" in sys.modules
    assert threading._trace_hook is None  # type: ignore[attr-defined]
    assert sys.exc_info() == (None, None, None)


class Fault:
    """Raises ``error`` at the n-th event in burble's code, once."""

    def __init__(self, n: int, error: type[BaseException]) -> None:
        self._left = n
        self._error = error
        self.at: str | None = None

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = LONG
        self._left -= 1
        if self._left == 0:
            name = Path(frame.f_code.co_filename).name
            self.at = f"{name}:{frame.f_lineno} {frame.f_code.co_name} ({event})"
            raise self._error
        return self

    def disarm(self) -> None:
        self._left = 0


def faults(error: type[BaseException]) -> Iterator[Fault]:
    """One for each event, until there are no more."""
    for n in itertools.count(1):
        assert n < 50_000
        fault = Fault(n, error)
        yield fault
        if fault.at is None:
            assert n > 20  # it has looked at burble's code at all
            return


def check_usable(pool: burble.Pool, fault: Fault) -> None:
    stream = pool.stream(letters, tokenizer=PIECES, total_timeout=SOON)
    assert "".join(stream) == "ABC", fault.at
    assert stream.join(SOON) is None, fault.at


# ---- the caller's thread -------------------------------------------------------------------------


def read_to_the_end(pool: burble.Pool) -> None:
    assert "".join(pool.stream(letters, tokenizer=PIECES)) == "ABC"


def leave_early(pool: burble.Pool) -> None:
    with pool.stream(endless, tokenizer=PIECES, join_timeout=SOON) as stream:
        next(stream)


def join(pool: burble.Pool) -> None:
    pool.stream(letters, tokenizer=PIECES).join()


def iterate(pool: burble.Pool) -> None:
    with pool.iterate(range(5)) as stream:
        assert list(stream) == [0, 1, 2, 3, 4]


def batch(pool: burble.Pool) -> None:
    def generate(streamer: Any) -> None:
        for _ in range(3):
            streamer.put([65, 66])

    with pool.stream(generate, tokenizer=PIECES, batch=2) as stream:
        assert len(list(stream)) == 6


def channel(pool: burble.Pool) -> None:
    writer, stream = burble.channel(PIECES)
    writer.put([65])
    writer.end()
    assert "".join(stream) == "A"


def reader(pool: burble.Pool) -> None:
    stream = pool.stream(letters, tokenizer=PIECES, keep="all")
    with stream.reader(0) as reader:
        assert "".join(reader) == "ABC"


def read_in_a_task(pool: burble.Pool) -> None:
    async def main() -> str:
        async with pool.stream(letters, tokenizer=PIECES) as stream:
            return "".join([text async for text in stream])

    assert asyncio.run(main()) == "ABC"


def wait_in_a_task(pool: burble.Pool) -> None:
    async def main() -> None:
        await pool.stream(letters, tokenizer=PIECES).wait()

    asyncio.run(main())


def send_events(pool: burble.Pool) -> None:
    async def main() -> None:
        events = burble.sse(pool.stream(letters, tokenizer=PIECES))
        assert [data async for data in events]

    asyncio.run(main())


def run_a_streamer(pool: burble.Pool) -> None:
    class Tokenizer:
        def decode(self, ids: list[int], **kwargs: Any) -> str:
            return "".join(map(chr, ids))

    async def main() -> None:
        streamer = burble.AsyncTextIteratorStreamer(Tokenizer())
        task = asyncio.ensure_future(streamer.run(letters, executor=pool))
        assert "".join([text async for text in streamer]) == "ABC"
        await task

    asyncio.run(main())


def submit(pool: burble.Pool) -> None:
    assert pool.submit(int).result(SOON) == 0


def another_pool(pool: burble.Pool) -> None:
    with burble.Pool(2) as other:
        other.stream(letters, tokenizer=PIECES).join()


@pytest.mark.parametrize(
    "use",
    [
        read_to_the_end,
        leave_early,
        join,
        iterate,
        batch,
        channel,
        reader,
        read_in_a_task,
        wait_in_a_task,
        send_events,
        run_a_streamer,
        submit,
        another_pool,
    ],
    ids=lambda use: use.__name__,
)
def test_pool_after_exception_at_any_line_of_caller_is_usable(
    use: Callable[[burble.Pool], None],
) -> None:
    # In a separate thread: what is raised at the end of an `except` block leaves a thread of
    # CPython's with the exception that was handled there.
    with ThreadPoolExecutor(1) as executor:
        executor.submit(interrupt_everywhere, use).result()


def interrupt_everywhere(use: Callable[[burble.Pool], None]) -> None:
    for fault in faults(KeyboardInterrupt):
        pool = burble.Pool(1)
        kept = None  # as a notebook keeps it, with its frames
        sys.settrace(fault)
        try:
            use(pool)
        except KeyboardInterrupt as error:
            kept = error if use is not leave_early else None
        finally:
            sys.settrace(None)
        until(lambda: not pool.running)  # noqa: B023
        check_usable(pool, fault)
        pool.close(SOON)
        del kept
    gc.collect()  # tasks that were interrupted say so when they go: here, not in another test


# ---- a thread of the pool ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("kind", ["stream", "iterate", "batch", "submit", "wait"])
def test_reader_after_exception_at_any_line_of_pool_ends(
    kind: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    with ThreadPoolExecutor(1) as executor:  # as above
        executor.submit(interrupt_pool_threads, kind, error).result()


def interrupt_pool_threads(kind: str, error: type[BaseException]) -> None:
    for fault in faults(error):
        pool = burble.Pool(1, idle_timeout=SOON)
        threading.settrace(fault)
        try:
            outcomes = [
                outcome_of(pool, kind) for _ in range(2)
            ]  # the thread becomes free in between
        finally:
            threading.settrace(None)  # type: ignore[arg-type]
        assert not {"TotalTimeout", "Timeout", "TimeoutError"}.intersection(outcomes), fault.at
        if fault.at is None:
            assert outcomes == ["all", "all"]
        fault.disarm()
        check_usable(pool, fault)
        pool.close(SOON)


def outcome_of(pool: burble.Pool, kind: str) -> str:
    """What comes of it: all, or the name of an exception."""
    try:
        if kind == "stream":
            assert "".join(pool.stream(letters, tokenizer=PIECES, total_timeout=SOON)) == "ABC"
        elif kind == "iterate":
            assert list(pool.iterate(range(3), total_timeout=SOON)) == [0, 1, 2]
        elif kind == "batch":
            rows = pool.stream(letters, tokenizer=PIECES, batch=1, total_timeout=SOON)
            assert list(rows) == [(0, "A"), (0, "B"), (0, "C")]
        elif kind == "submit":
            assert pool.submit(int).result(SOON) == 0
        else:
            stream = pool.stream(letters, tokenizer=PIECES)
            assert stream.join(SOON) is None
            stream.close()
    except AssertionError:
        raise
    except BaseException as error:
        return type(error).__name__
    return "all"
