# SPDX-License-Identifier: MIT
"""The memory of a stream: bounded by default, with or without readers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import KINDS, SOON, all_wait, in_thread, run, until

import burble

BYTES = [bytes([i]) for i in range(128)]
TEN = "0123456789"
LIMIT = 100


def endless(streamer: Any) -> None:
    while True:
        streamer.put_text(TEN)


def endless_rows(streamer: Any) -> None:
    while True:
        streamer.put([65, 66])


def write_on(writer: burble.Writer) -> None:
    with contextlib.suppress(burble.Cancelled):
        while True:
            writer.put_text(TEN)


def stream(**options: Any) -> burble.Stream[str]:
    return burble.stream(endless, tokenizer=BYTES, max_lag=LIMIT, **options)


def written(handle: burble.Stream[Any]) -> int:
    return handle._log.position


def until_blocked(handle: burble.Stream[Any]) -> None:
    until(lambda: handle.stats.blocked > 0)


def until_far_beyond(handle: burble.Stream[Any]) -> None:
    until(lambda: written(handle) > 100 * LIMIT)


class Item:
    """What is counted while it lives."""


class Items:
    """An endless source that knows how many of its items are still referenced."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Item] = weakref.WeakSet()
        self.made = 0

    def __iter__(self) -> Iterator[Item]:
        while True:
            yield self.item()

    def item(self) -> Item:
        item = Item()
        self.alive.add(item)
        self.made += 1
        return item


# ---- nothing is read -----------------------------------------------------------------------------


def test_unread_stream_stops_at_its_limit() -> None:
    with stream() as handle:
        until_blocked(handle)
        assert written(handle) == LIMIT / len(TEN)


def test_unread_batch_stops_at_its_limit() -> None:
    with burble.stream(endless_rows, tokenizer=BYTES, batch=2, max_lag=LIMIT) as batch:
        until(lambda: sum(stats.blocked for stats in batch.stats) > 0)
        assert [written(row) for row in batch.rows] in ([LIMIT, LIMIT], [LIMIT + 1, LIMIT])


def test_unread_channel_stops_at_its_limit() -> None:
    writer, handle = burble.channel(max_lag=LIMIT)

    with in_thread(write_on, writer):
        until_blocked(handle)
        assert written(handle) == LIMIT / len(TEN)
        handle.cancel()


def test_unread_items_stop_at_their_limit() -> None:
    items = Items()
    with burble.iterate(items, max_lag=LIMIT) as handle:
        until_blocked(handle)
        assert len(items.alive) <= LIMIT + 1


# ---- readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, "oldest", "tail"])
@pytest.mark.parametrize("unit", ["characters", "bytes", "tokens"])
def test_unread_reader_has_limit_of_its_stream(start: Any, unit: str) -> None:
    writer, handle = burble.channel(max_lag=LIMIT, lag_unit=unit)
    reader = handle.reader(start)

    with in_thread(write_on, writer):
        until_blocked(handle)
        assert written(handle) == (LIMIT if unit == "tokens" else LIMIT / len(TEN))
        handle.cancel()
    assert len(list_of_cancelled(reader)) == written(handle)


def list_of_cancelled(reader: Any) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(burble.Cancelled):
        found.extend(reader)
    return found


def test_unread_reader_does_not_lift_limit_of_iterated_stream() -> None:
    with stream() as handle:
        first = next(handle)
        reader = handle.reader("oldest")
        for _ in itertools.islice(handle, int(LIMIT / len(TEN)) // 2):
            pass
        until_blocked(handle)
        at = written(handle)
        assert at <= 1 + 2 * LIMIT / len(TEN)
        assert first == next(reader) == TEN


def test_slowest_of_several_readers_decides() -> None:
    with stream() as handle:
        readers = [handle.reader() for _ in range(3)]
        for reader in readers[1:]:
            next(reader)
        until_blocked(handle)
        assert written(handle) == LIMIT / len(TEN)


def test_reader_with_max_lag_none_does_not_block_stream() -> None:
    with stream() as handle:
        reader = handle.reader(max_lag=None)
        until_far_beyond(handle)
        assert next(reader) == TEN


def test_reader_of_unlimited_stream_has_no_limit() -> None:
    with burble.stream(endless, tokenizer=BYTES, max_lag=None) as handle:
        reader = handle.reader()
        until_far_beyond(handle)
        assert next(reader) == TEN


def test_reader_with_own_limit_keeps_it() -> None:
    with stream() as handle:
        # The generation may have been blocked before, by the limit of the stream.
        reader = handle.reader(max_lag=2 * LIMIT)
        until(lambda: written(handle) >= 2 * LIMIT / len(TEN))
        before = handle.stats.blocked
        until(lambda: handle.stats.blocked > before)
        assert written(handle) == 2 * LIMIT / len(TEN)
        assert next(reader) == TEN


def test_reader_of_kept_text_may_lag_by_keep_plus_limit() -> None:
    with stream(keep=10 * LIMIT) as handle:
        reader = handle.reader()
        until_blocked(handle)
        assert written(handle) == 11 * LIMIT / len(TEN)
        assert next(reader) == TEN


def test_reader_of_stream_that_keeps_all_does_not_block() -> None:
    with stream(keep="all") as handle:
        reader = handle.reader()
        until_far_beyond(handle)
        assert next(reader) == TEN


def test_reader_of_stream_with_largest_keep_does_not_block() -> None:
    with stream(keep=2**63 - 1) as handle:
        assert next(handle.reader()) == TEN


def test_items_of_unread_reader_are_bounded() -> None:
    items = Items()
    with burble.iterate(items, max_lag=LIMIT) as handle:
        reader = handle.reader()
        until_blocked(handle)
        assert len(items.alive) <= LIMIT + 1
        next(reader)


def test_items_of_uniterated_stream_once_read_are_freed() -> None:
    items = Items()
    with burble.iterate(items, max_lag=LIMIT) as handle:
        for _ in itertools.islice(handle.reader(), 50 * LIMIT):
            # What the reader has before it, what the stream itself is behind, and a block or two.
            assert len(items.alive) <= 2 * LIMIT + 400


def test_max_lag_of_reader_of_wrong_type_is_refused() -> None:
    _, handle = burble.channel()
    with pytest.raises(TypeError, match="max_lag: expected an int, 'stream' or None, found 'all'"):
        handle.reader(max_lag="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_lag: expected at least 1, 'stream' or None, found 0"):
        handle.reader(max_lag=0)


# ---- the result alone ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_wait_in_blocked_loop_keeps_no_items_and_does_not_block(kind: str) -> None:
    items = Items()
    go = threading.Event()

    def source() -> Iterator[Item]:
        go.wait(SOON)
        for _ in range(100 * LIMIT):
            yield items.item()

    async def main() -> None:
        handle = burble.iterate(source, max_lag=LIMIT)
        if kind == "trio":
            import trio

            async with trio.open_nursery() as nursery:
                nursery.start_soon(handle.wait)
                await block(handle)
        else:
            task = asyncio.ensure_future(handle.wait())
            await block(handle)
            await task

    async def block(handle: burble.Stream[Any]) -> None:
        await all_wait(kind)
        go.set()
        until(lambda: items.made == 100 * LIMIT)  # in the loop's thread, on purpose
        until(lambda: handle.state == "ended")
        assert len(items.alive) <= 2 * LIMIT + 400

    run(kind, main)


def test_join_raises_lagged_only_if_generation_did() -> None:
    def generate(streamer: Any) -> None:
        raise burble.Lagged("a stream of its own")

    handle = burble.stream(generate, tokenizer=BYTES)
    with pytest.raises(burble.Lagged, match="a stream of its own"):
        handle.join(SOON)
    with pytest.raises(burble.Lagged, match="a stream of its own"):
        asyncio.run(handle.wait())


@pytest.mark.parametrize("wait", [lambda b: b.join(SOON), lambda b: asyncio.run(b.wait())])
def test_unread_batch_can_be_awaited_beyond_its_limit(
    wait: Callable[[burble.BatchStream], Any],
) -> None:
    def generate(streamer: Any) -> str:
        for _ in range(10 * LIMIT):
            streamer.put([65, 66])
        return "done"

    batch = burble.stream(generate, tokenizer=BYTES, batch=2, max_lag=LIMIT)
    assert wait(batch) == "done"


# ---- server-sent events --------------------------------------------------------------------------


def test_sse_clients_that_read_nothing_keep_no_items() -> None:
    items = Items()

    async def main() -> None:
        handle = burble.iterate(items, keep=LIMIT, max_lag=LIMIT)
        clients = [burble.sse(handle, encode=id) for _ in range(10)]
        until(lambda: items.made > 65_536 + 100 * LIMIT)  # the followers' least, and well beyond
        assert len(items.alive) <= 65_536 + 2 * LIMIT + 1000
        for client in clients:
            await client.aclose()
        await handle.aclose()

    asyncio.run(main())


def test_sse_client_without_reading_blocks_stream_without_keep() -> None:
    async def main() -> None:
        handle = stream()
        events = burble.sse(handle)
        until_blocked(handle)
        assert written(handle) == LIMIT / len(TEN)
        await events.aclose()

    asyncio.run(main())


# ---- what is held before it is written -----------------------------------------------------------


def test_endless_word_is_delivered_and_reaches_limit() -> None:
    def generate(streamer: Any) -> None:
        while True:
            streamer.put([65] * 1000)

    options: dict[str, Any] = {"tokenizer": BYTES, "chunk": "word", "max_lag": 200_000}
    with burble.stream(generate, **options) as handle:
        until_blocked(handle)
        assert handle.stats.tokens <= 200_000 + 2 * 17_000
        text = next(handle)
        assert set(text) == {"A"}
        assert 16_384 < len(text) <= 17_384


def test_endless_word_in_drop_in_streamers_is_delivered_whole() -> None:
    streamer = burble.TextIteratorStreamer(_Decoder())
    for _ in range(20_000):
        streamer.put([0])  # two bytes each
    first = next(streamer)
    assert 16_384 < len(first.encode()) <= 16_386
    streamer.put([0])
    streamer.end()
    assert first + "".join(streamer) == "é" * 20_001


class _Decoder:
    """A tokenizer of one token, which is decoded in Python."""

    def decode(self, ids: list[int], **options: Any) -> str:
        return "é" * len(ids)


def test_unmatched_stop_string_holds_back_at_most_its_length() -> None:
    def generate(streamer: Any) -> None:
        while True:
            streamer.put([97] * 100)

    stop = "a" * 1000 + "b"
    with burble.stream(generate, tokenizer=BYTES, stop=stop, max_lag=LIMIT) as handle:
        until_blocked(handle)
        assert handle.stats.tokens <= LIMIT + len(stop) + 200


@pytest.mark.parametrize("unit", ["characters", "bytes", "tokens"])
def test_tokens_without_text_do_not_count_as_lag(unit: str) -> None:
    writer, handle = burble.channel(BYTES, max_lag=LIMIT, lag_unit=unit)
    for _ in range(100 * LIMIT):
        writer.put([500])  # an id that has no text
        writer.put_text("")
    assert written(handle) == 0
    assert handle.stats.blocked == 0
    writer.put([65])
    writer.end()
    assert list(handle) == ["A"]
