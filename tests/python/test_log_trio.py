# SPDX-License-Identifier: MIT
"""Log and Reader in trio."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from helpers import (
    SOON,
    all_wait,
    in_thread,
    listen,
)

import burble
from burble._core import Log

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


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
