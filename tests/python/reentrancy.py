# SPDX-License-Identifier: MIT
"""What test_reentrancy.py runs in separate processes: an object of the extension is in the midst
of a call, and what runs there calls the same object.

``python reentrancy.py SCENARIO ARGUMENT...``; a scenario that is wrong crashes, hangs or raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import burble
from burble import _core

PIECES = [bytes([i]) for i in range(128)]
TEXT = b"to be, or not to be "


class Tokenizer:
    """Decodes in Python, and calls ``hook`` in the middle of it."""

    hook: Callable[[], object] | None = None

    def decode(self, ids: list[int], **_: Any) -> str:
        hook, Tokenizer.hook = Tokenizer.hook, None
        if hook is not None:
            hook()
        return " ".join(chr(97 + i % 26) * 3 for i in ids)


class Finalized:
    """Calls ``function`` when it is collected, which only the collector can do."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.me = self
        self.function = function

    def __del__(self) -> None:
        self.function()


def run_in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


# ---- a dead producer's text is taken, and the tokenizer calls the streamer -----------------------


def left_alone() -> burble.TextIteratorStreamer:
    """A streamer whose producer has died with text in the tokenizer's window."""
    streamer = burble.TextIteratorStreamer(Tokenizer())

    def generate() -> None:
        streamer.put([1, 2, 3])
        streamer.put([4])

    run_in_thread(generate)
    return streamer


def read_to_death(streamer: burble.TextIteratorStreamer) -> str:
    text = ""
    try:
        for piece in streamer:
            text += piece
    except burble.ProducerDied:
        return text
    raise AssertionError("the death was not told")


def abandon(how: str) -> None:
    streamer = left_alone()
    seen: list[str] = []

    def cancel() -> None:
        streamer.cancel()
        seen.append("cancelled")

    def read() -> None:
        try:
            next(streamer)
        except RuntimeError as error:
            seen.append(str(error))

    def put() -> None:
        streamer.put([5])
        streamer.end()
        seen.append("put")

    def by_signal() -> None:
        signal.signal(signal.SIGINT, lambda *_: cancel())
        os.kill(os.getpid(), signal.SIGINT)
        while not seen:
            time.sleep(0.001)

    def by_collector() -> None:
        Finalized(cancel)
        gc.collect()

    def in_another_thread() -> None:
        run_in_thread(put)

    def generation_fails() -> None:
        streamer._fail(KeyError("late"))
        seen.append("failed")

    hooks = {
        "cancel": cancel,
        "next": read,
        "put": put,
        "signal": by_signal,
        "gc": by_collector,
        "thread": in_another_thread,
        "fail": generation_fails,
    }
    Tokenizer.hook = hooks[how]
    assert read_to_death(streamer) == "bbb ccc ddd eee"
    assert len(seen) == 1, seen
    if how == "next":
        assert "already being read" in seen[0]
    if how in ("put", "thread"):
        assert "".join(streamer) == "fff"
    if how in ("cancel", "signal", "gc"):
        try:
            next(streamer)
        except burble.Cancelled:
            return
        raise AssertionError("the cancellation was not told")


def abandon_with_an_error(kind: str) -> None:
    """What the tokenizer raises is told, and the text that had left it comes."""
    streamer = left_alone()
    errors: dict[str, type[BaseException]] = {"error": KeyError, "interrupt": KeyboardInterrupt}

    def hook() -> None:
        raise errors[kind]

    text = next(streamer) + next(streamer)
    Tokenizer.hook = hook
    try:
        next(streamer)
    except errors[kind]:
        text += read_to_death(streamer)
    # A whole word was in the chunker; the interrupt has cost nothing at all.
    assert text == "bbb ccc ddd eee", text


def two_abandon(first: str) -> None:
    """A reader and a new generation find a dead one at once: neither waits for the other."""
    streamer = left_alone()
    inside, leave = threading.Event(), threading.Event()
    text: list[str] = []

    def hook() -> None:
        inside.set()
        assert leave.wait(60)

    def generate() -> None:
        streamer.put([5])
        streamer.end()

    Tokenizer.hook = hook
    if first == "reader":
        thread = threading.Thread(target=lambda: text.append(read_to_death(streamer)))
        thread.start()
        assert inside.wait(60)
        run_in_thread(generate)  # while the tokenizer is in the middle of the reader's call
        leave.set()
        thread.join()
    else:
        thread = threading.Thread(target=generate)
        thread.start()
        assert inside.wait(60)
        text.append(read_to_death(streamer))
        leave.set()
        thread.join()
    assert text == ["bbb ccc ddd eee"]
    assert "".join(streamer) == "fff"


# ---- offsets are made, and a finalizer changes them ----------------------------------------------


def offsets(how: str) -> None:
    detokenizer = burble.Detokenizer(PIECES, offsets=True)
    ids = list(range(65, 91)) * 100
    changes: dict[str, Callable[[], object]] = {
        "grow": lambda: detokenizer.push(ids * 4),
        "shrink": lambda: detokenizer.push(65),
        "finish": detokenizer.finish,
        "init": lambda: detokenizer.__init__(PIECES, offsets=True),  # type: ignore[misc]
    }
    gc.collect()
    gc.disable()
    detokenizer.push(ids)
    with exhausted_free_lists():
        Finalized(changes[how])
        gc.set_threshold(1)
        gc.enable()
        spans = detokenizer._offsets
    gc.set_threshold(700)
    assert spans == [(i, i + 1, i, i) for i in range(len(ids))]


@contextlib.contextmanager
def exhausted_free_lists() -> Iterator[None]:
    """CPython keeps objects to use them again, and those are had without a collection."""
    kept: list[Any] = [tuple(range(n % 20 + 1)) for n in range(50_000)]
    kept += [[] for _ in range(200)]
    kept += [{} for _ in range(200)]
    yield
    kept.clear()


# ---- other calls during which Python code runs ---------------------------------------------------


def detokenizer_in_two_hands() -> None:
    """What a writer or streamer was given is its own, and cannot be changed under it."""
    log = _core.Log()
    detokenizer = _core.Detokenizer(_core.Vocabulary.from_pieces(PIECES, []))
    writer = _core.Writer(log, detokenizer)
    for call in (
        lambda: detokenizer.push(65),
        detokenizer.finish,
        detokenizer.copy,
        lambda: _core.Writer(log, detokenizer),
        lambda: _core.IteratorStreamer(detokenizer),
    ):
        with pytest.raises(RuntimeError, match="belongs to"):
            call()
    del writer
    assert detokenizer.push(65) == "A"
    with pytest.raises(RuntimeError, match="__init__"):
        _core.Writer(log, _core.Detokenizer.__new__(_core.Detokenizer))


def hub_closed_by_what_it_resumes() -> None:
    from burble._loops import hub_of

    async def main() -> list[str]:
        log = _core.Log()
        readers = [log.reader() for _ in range(3)]

        async def read(reader: Any) -> str:
            text: str = await reader.__anext__()
            hub_of(asyncio.get_running_loop()).close()
            return text

        tasks = [asyncio.ensure_future(read(reader)) for reader in readers]
        await asyncio.sleep(0)
        log.append("text")
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == ["text"] * 3


def hub_in_hub_of() -> None:
    """A loop's add_reader, or a finalizer in it, waits for text itself."""
    from burble._loops import hub_of

    class Loop(asyncio.SelectorEventLoop):
        hubs: list[Any]

        def add_reader(self, *args: Any) -> None:
            if not hasattr(self, "hubs"):
                self.hubs = []
                self.hubs.append(hub_of(self))
            super().add_reader(*args)

    loop = Loop()

    async def main() -> None:
        hub = hub_of(loop)
        assert hub is loop.hubs[0]
        assert hub_of(loop) is hub
        log = _core.Log()
        reader = log.reader()
        log.append("text")
        assert await reader.__anext__() == "text"

    loop.run_until_complete(main())
    loop.close()


def merged_of_a_list_that_shrinks() -> None:
    log = _core.Log()
    readers = [log.reader() for _ in range(100)]
    armed = False

    class Loop(asyncio.SelectorEventLoop):
        def is_closed(self) -> bool:
            if armed:
                readers.clear()
            return super().is_closed()

    loop = Loop()
    parked = readers[0].__anext__()

    async def park() -> None:
        parked.send(None)  # type: ignore[attr-defined]

    loop.run_until_complete(park())
    loop.close()
    armed = True
    merged = _core.Merged(readers)
    assert not readers
    log.append("text")
    log.end()
    assert len(list(merged)) == 100


def reader_closed_by_what_it_lets_go() -> None:
    log = _core.Log(objects=True)
    first, second, third = log.reader(), log.reader(), log.reader()

    class Closes:
        def __del__(self) -> None:
            second.close()

    log.append(Closes())
    log.append(1)
    assert isinstance(first.take()[1], Closes)  # type: ignore[index]
    second.take()
    third.take()
    for reader in (first, second, third):
        with contextlib.suppress(StopIteration):
            reader.take()
    log.append(2)
    assert third.take() == (2, 2)
    log.end()


def callbacks_that_compare() -> None:
    """A callback's __eq__ cancels what waits."""

    async def main() -> None:
        reader = _core.Log().reader()
        step: Any = reader.__anext__()
        parked = step.send(None)

        class Callback:
            def __call__(self, _: object) -> None:
                called.append(self)

            def __eq__(self, other: object) -> bool:
                parked.cancel()
                return False

            __hash__ = object.__hash__

        called: list[object] = []
        parked._asyncio_future_blocking = False
        for _ in range(5):
            parked.add_done_callback(Callback())
        assert parked.remove_done_callback(Callback()) == 0
        await asyncio.sleep(0)
        assert len(called) == 5

    asyncio.run(main())


def awaitable_in_itself() -> None:
    """The tokenizer sends into the __anext__ that has called it."""
    streamer = burble.AsyncTextIteratorStreamer(Tokenizer())
    run_in_thread(lambda: streamer.put([1, 2]))
    refused: list[str] = []

    async def main() -> str:
        text = await streamer.__anext__()
        step: Any = streamer.__anext__()

        def hook() -> None:
            for call in (lambda: step.send(None), step.close, lambda: step.throw(KeyError())):
                try:
                    call()
                except RuntimeError as error:
                    refused.append(str(error))

        Tokenizer.hook = hook
        return text + str(await step)

    assert asyncio.run(main()) == "bbb ccc"
    assert len(refused) == 3, refused


def timeout_that_is_refused() -> None:
    streamer = burble.TextIteratorStreamer(Tokenizer(), timeout=3.0)
    for value in ("text", -1.0):
        with contextlib.suppress(TypeError, ValueError):
            streamer.timeout = value  # type: ignore[assignment]
        assert streamer.timeout == 3.0
    streamer.timeout = 0.01
    with contextlib.suppress(TypeError):
        streamer.timeout = "text"  # type: ignore[assignment]
    with pytest.raises(queue.Empty):
        next(streamer)


SCENARIOS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        abandon,
        abandon_with_an_error,
        two_abandon,
        offsets,
        detokenizer_in_two_hands,
        hub_closed_by_what_it_resumes,
        hub_in_hub_of,
        merged_of_a_list_that_shrinks,
        reader_closed_by_what_it_lets_go,
        callbacks_that_compare,
        awaitable_in_itself,
        timeout_that_is_refused,
    )
}

if __name__ == "__main__":
    faulthandler.enable()
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
    print("done")
