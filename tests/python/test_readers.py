# SPDX-License-Identifier: MIT
"""burble.stream with several readers: where they begin, what is kept, and lag."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from generating import TEXT, Steps, say, stream
from helpers import KINDS, read, run, until
from shipped import ids

import burble

pytestmark = pytest.mark.timeout(60)


# ---- several readers -----------------------------------------------------------------------------


def test_each_reader_gets_all_text(kind: str) -> None:
    steps = Steps()
    handle = stream(steps)
    readers = [handle.reader() for _ in range(5)]
    steps.go(100)
    for reader in readers:
        assert "".join(read(kind, reader)) == TEXT
    assert "".join(read(kind, handle)) == TEXT


def test_reader_begins_at_given_position() -> None:
    steps = Steps()
    handle = stream(steps, keep="all")
    steps.go(4)
    until(lambda: steps.put == 4)
    tail, third = handle.reader("tail"), handle.reader(2)
    with pytest.raises(ValueError, match=r"start: expected at most 4, .*, found 5"):
        handle.reader(5)
    steps.go(100)
    chunks = list(handle)
    assert list(tail) == chunks[4:]
    assert list(third) == chunks[2:]
    assert (third.position, third.last) == (len(chunks), len(chunks) - 1)
    assert list(handle.reader(handle.position - 1)) == chunks[-1:]


def test_kept_text_can_be_read_again_after_end() -> None:
    handle = stream(say, TEXT, keep="all")
    assert "".join(handle) == TEXT
    with handle.reader() as reader:
        assert reader.take() == (0, "To")
        assert repr(reader) == "<burble.Reader at 1>"
        assert "".join(reader) == TEXT[2:]
        with pytest.raises(StopIteration):
            reader.take()


def test_text_not_kept_is_gone() -> None:
    text = TEXT * 200
    handle = stream(say, text, keep=100)
    assert "".join(handle) == text
    with pytest.raises(burble.Gone) as gone:
        handle.reader(0)
    assert "".join(handle.reader(gone.value.oldest)) == "".join(handle.reader("oldest"))
    assert text.endswith("".join(handle.reader("oldest")))


@pytest.mark.parametrize("loop", KINDS)
def test_reader_block_closes_reader_only(loop: str) -> None:
    async def main() -> list[str]:
        async with stream(say, TEXT) as handle, handle.reader() as reader:
            return [await reader.__anext__(), *[text async for text in reader]]

    assert "".join(run(loop, main)) == TEXT


def test_closed_reader_does_not_block_generation() -> None:
    steps = Steps()
    handle = stream(steps)
    reader = handle.reader(max_lag=4)
    steps.go(100)
    until(lambda: handle.stats.blocked > 0)
    reader.close()
    reader.close()
    assert list(reader) == []
    assert "".join(handle) == TEXT


# ---- readers that are behind ---------------------------------------------------------------------


def test_generation_waits_for_lagging_reader(kind: str) -> None:
    text = TEXT * 20
    handle = stream(say, text, max_lag=100)
    until(lambda: handle.stats.blocked > 0)
    assert handle._log.position < len(ids(text)) / 2
    assert "".join(read(kind, handle)) == text
    assert handle.stats.blocked > 0


def test_max_lag_in_tokens_counts_tokens() -> None:
    handle = stream(say, TEXT * 20, max_lag=7, lag_unit="tokens")
    until(lambda: handle.stats.blocked > 0)
    assert handle._log.position == 7
    assert "".join(handle) == TEXT * 20


def test_uniterated_stream_beside_reader_does_not_block_and_lags() -> None:
    text = TEXT * 20
    steps = Steps(text)
    handle = stream(steps, max_lag=100)
    reader = handle.reader(max_lag=None)
    steps.go(1000)
    assert "".join(reader) == text
    with pytest.raises(burble.Lagged):
        list(handle)
    assert handle.stats.blocked == 0
    assert handle.result == "all"


def test_uniterated_stream_unlimited_keeps_a_million_characters() -> None:
    writer, handle = burble.channel(max_lag=None)
    reader = handle.reader()
    for _ in range(1200):
        writer.put_text("x" * 1000)
        next(reader)
    writer.end()
    assert list(reader) == []
    with pytest.raises(burble.Lagged):
        next(handle)


def test_position_still_held_by_a_reader_can_be_read() -> None:
    writer, handle = burble.channel(keep=100)
    for n in range(3000):
        writer.put_text(f"{n:05} ")
    assert next(handle) == "00000 "
    with pytest.raises(burble.Gone):
        handle.reader(0)
    first, second = handle.reader(1), handle.reader(1500)
    with pytest.raises(ValueError, match="at most 3000, the present end"):
        handle.reader(3001)
    writer.end()
    expected = [f"{n:05} " for n in range(3000)]
    assert list(second) == expected[1500:]
    assert list(first) == expected[1:]
    assert list(handle) == expected[1:]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_anext_never_awaited_keeps_nothing_alive(n: int) -> None:
    async def main() -> None:
        writer, handle = burble.channel()
        writer.put_text("one")
        assert await handle.__anext__() == "one"
        for _ in range(n):
            handle.__anext__()
        held = weakref.ref(handle)
        gc.disable()
        try:
            del handle
            assert held() is None
            assert writer.cancelled
        finally:
            gc.enable()

    asyncio.run(main())


def test_uniterated_stream_with_keep_is_read_from_beginning() -> None:
    text = TEXT * 20
    steps = Steps(text)
    handle = stream(steps, max_lag=100, keep="all")
    reader = handle.reader()
    steps.go(1000)
    assert "".join(reader) == text
    assert "".join(handle) == text


def test_iterated_stream_beside_reader_keeps_its_position() -> None:
    text = TEXT * 20
    steps = Steps(text)
    handle = stream(steps, max_lag=100)
    steps.go(1000)
    first = next(handle)
    reader = handle.reader("oldest", max_lag=None)
    until(lambda: handle.stats.blocked > 0)
    assert first + "".join(handle) == text
    assert "".join(reader) in text


def test_reader_with_drop_policy_is_dropped_at_limit() -> None:
    steps = Steps()
    handle = stream(steps, max_lag=None)
    reader = handle.reader("tail", max_lag=10, on_lag="drop_reader")  # before there is any text
    steps.go(100)
    assert "".join(handle) == TEXT
    with pytest.raises(burble.Lagged):
        list(reader)
