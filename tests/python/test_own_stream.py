# SPDX-License-Identifier: MIT
"""A generation cannot wait for its own stream, in whatever way it reads it, nor end the loop of a
server that sends it as events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import until

import burble

pytestmark = pytest.mark.timeout(60)

PIECES = [bytes([i]) for i in range(128)]


async def read_async(source: Any) -> list[str]:
    return [text async for text in source]


async def read_events(stream: Any) -> list[bytes]:
    return [data async for data in burble.sse(stream, close=False)]


READS: dict[str, Callable[[Any], Any]] = {
    "next": lambda stream: [next(stream), next(stream)],
    "list": list,
    "async": lambda stream: asyncio.run(read_async(stream)),
    "reader": lambda stream: list(stream.reader("tail")),
    "reader, async": lambda stream: asyncio.run(read_async(stream.reader("tail"))),
    "events": lambda stream: asyncio.run(read_events(stream)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_generation_reading_its_own_stream_is_refused(read: Callable[[Any], Any]) -> None:
    go, seen = threading.Event(), []

    def generate(streamer: Any) -> None:
        streamer.put([65])
        go.wait()
        try:
            seen.append(read(stream))
        except RuntimeError as error:
            seen.append(str(error))
            raise

    stream = burble.stream(generate, tokenizer=PIECES, keep="all")
    assert next(stream) == "A"  # so that it is being read already
    go.set()
    with pytest.raises(RuntimeError, match="wait for itself"):
        stream.join(30)
    assert len(seen) == 1
    assert "wait for itself" in str(seen[0]) or b"RuntimeError" in b"".join(seen[0])


def test_generation_reading_its_own_batch_is_refused() -> None:
    go = threading.Event()

    def generate(streamer: Any) -> None:
        streamer.put([65, 66])
        go.wait()
        list(stream)

    stream = burble.stream(generate, tokenizer=PIECES, batch=2, keep="all")
    assert next(stream)[1] in "AB"
    go.set()
    with pytest.raises(RuntimeError, match="wait for itself"):
        stream.join(30)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("way", ["stream", "kept", "reader", "batch"])
@pytest.mark.parametrize("waits", [True, False])
def test_generation_that_exits_sends_failed_event(
    kind: type[BaseException], way: str, waits: bool
) -> None:
    async def main() -> bytes:
        go = threading.Event()

        def generate(streamer: Any) -> None:
            streamer.put([65] if way != "batch" else [65, 66])
            go.wait()
            raise kind("the engine ends")

        options: dict[str, Any] = {"batch": 2} if way == "batch" else {}
        stream = burble.stream(
            generate, tokenizer=PIECES, keep="all" if way == "kept" else None, **options
        )
        events = burble.sse(stream.reader(0) if way == "reader" else stream, keep_alive=None)
        if waits:
            asyncio.get_running_loop().call_later(0.05, go.set)
        else:
            go.set()
            until(lambda: (stream[0] if way == "batch" else stream).state != "open")
        return b"".join([data async for data in events])

    sent = asyncio.run(main())
    assert b"event: failed" in sent
    assert kind.__name__.encode() in sent
    assert b"the engine ends" not in sent


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, StopIteration])
def test_encode_raising_control_exception_sends_failed_event(
    kind: type[BaseException],
) -> None:
    def encode(item: Any) -> Any:
        raise kind

    async def main() -> bytes:
        stream = burble.iterate(["a"])
        return b"".join([data async for data in burble.sse(stream, encode=encode)])

    assert b"event: failed" in asyncio.run(main())


@pytest.mark.parametrize("wrong", ["66", 66.0, [[66]], True, -66, [66, None]])
def test_eos_token_id_of_wrong_type_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="eos_token_id: expected token ids"):
        burble.stream(lambda streamer: None, tokenizer=PIECES, eos_token_id=wrong)
    with pytest.raises((TypeError, ValueError), match="eos_token_id: expected token ids"):
        burble.BatchStreamer(PIECES, 2, eos_token_id=wrong)
