# SPDX-License-Identifier: MIT
"""burble.iterate: items of a source that is iterated in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from generating import TEXT
from helpers import SOON, read, until

import burble

pytestmark = pytest.mark.timeout(60)


def test_items_of_any_type_are_streamed(kind: str) -> None:
    items = [1, "two", None, [3], {"four": 4}, object()]
    handle = burble.iterate(items)
    found = read(kind, handle)
    assert found == items
    assert found[3] is items[3]
    assert (handle.finish_reason, handle.result, handle.stats.tokens) == ("end", None, 6)


def test_source_made_in_thread_has_result(kind: str) -> None:
    def count(n: int) -> Iterator[str]:
        for _ in range(n):
            yield threading.current_thread().name
        return "counted"

    handle = burble.iterate(lambda: count(3))
    names = read(kind, handle)
    assert len(names) == 3
    assert names[0].startswith("burble-")
    assert handle.result == "counted"


def test_timers_of_finished_waits_in_trio_do_not_accumulate() -> None:
    trio = pytest.importorskip("trio")

    from burble import _trio

    async def main() -> None:
        ended = []
        for n in range(2000):
            writer, stream = burble.channel(total_timeout=0.4 if n == 0 else 3600)
            with trio.move_on_after(0):
                await stream.__anext__()
            ended.append((writer, stream))
        run = _trio.current_run()
        assert run is not None
        for writer, stream in ended[1:]:
            writer.end()
            assert [text async for text in stream] == []
        assert len(run._timers) < 100
        with pytest.raises(burble.TotalTimeout):  # whose timer has stayed
            await ended[0][1].__anext__()

    trio.run(main)


def test_source_waits_for_its_reader() -> None:
    taken = []

    def source() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    handle = burble.iterate(source, max_lag=10)
    until(lambda: handle.stats.blocked > 0)
    assert len(taken) == 11
    assert list(handle) == list(range(100))


def test_generator_of_cancelled_stream_is_closed_in_its_thread() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    with burble.iterate(source()) as handle:
        assert next(handle) == 0
    assert [name.startswith("burble-") for name in closed] == [True]


class Response:
    """As the streams of HTTP clients are: it has a connection, which lives until it is closed."""

    def __init__(self) -> None:
        self.closed_in: list[str] = []
        self.items = iter(range(10**9))

    def __iter__(self) -> Iterator[int]:
        yield from self.items

    def __next__(self) -> int:
        return next(self.items)

    def close(self) -> None:
        self.closed_in.append(threading.current_thread().name)


@pytest.mark.parametrize("made", [True, False])
def test_response_of_cancelled_stream_is_closed_in_its_thread(made: bool) -> None:
    response = Response()
    with burble.iterate((lambda: response) if made else response) as handle:
        assert next(handle) == 0
    assert [name.startswith("burble-") for name in response.closed_in] == [True]


def test_response_is_closed_after_error() -> None:
    response = Response()
    response.items = (1 // n for n in (1, 0))
    with pytest.raises(ZeroDivisionError):
        list(burble.iterate(lambda: response))
    assert len(response.closed_in) == 1


def test_file_given_stays_open_and_file_made_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("line\n" * 10_000)
    files = []

    def opened() -> Any:
        files.append(path.open())
        return files[-1]

    with opened() as file:
        with burble.iterate(file) as handle:
            assert next(handle) == "line\n"
        assert not file.closed
    with burble.iterate(opened) as handle:
        assert next(handle) == "line\n"
    assert files[-1].closed
    assert len(list(burble.iterate(opened))) == 10_000
    until(lambda: files[-1].closed)


def test_items_of_str_with_coalesce_are_joined() -> None:
    handle = burble.iterate(iter(TEXT), coalesce=True)
    handle._job.wait(SOON)
    assert list(handle) == [TEXT]
    with pytest.raises(TypeError, match=r"coalesce= and stop= need items .* str, found int"):
        list(burble.iterate([1], coalesce=True))


def test_kept_items_can_be_read_again() -> None:
    handle = burble.iterate(range(100), keep=10)
    assert list(handle) == list(range(100))
    last = list(handle.reader("oldest"))
    assert len(last) >= 10
    assert last == list(range(100))[-len(last) :]


def test_exception_of_source_reaches_reader(kind: str) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the connection is gone")

    handle = burble.iterate(source)
    assert next(handle) == 1
    with pytest.raises(OSError, match="the connection is gone"):
        read(kind, handle)
