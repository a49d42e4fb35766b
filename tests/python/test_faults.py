# SPDX-License-Identifier: MIT
"""Drop-in streamers: threads that die before the end of their text, and misuse."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import Any

import pytest
from drop_in import BOTH, Streamer, read_out
from helpers import SOON, OutOfMemory, in_thread, soon
from shipped import ids, speak, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)


# ---- the generation thread dies ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_raises_leaves_text_then_producer_died(streamer: Streamer) -> None:
    def generate() -> None:
        speak(streamer, "The rest is sil")
        raise OutOfMemory

    with in_thread(generate):
        text, error = read_out(streamer)
    assert text == "The rest is sil"  # with the word that was held back
    assert isinstance(error, burble.ProducerDied)
    assert isinstance(error, burble.Error)
    assert "without ending" in str(error)


def test_thread_that_returns_without_end_raises_producer_died(streamer: Streamer) -> None:
    with in_thread(speak, streamer, "The rest is sil"):
        text, error = read_out(streamer)
    assert text == "The rest is sil"
    assert isinstance(error, burble.ProducerDied)


def test_dead_thread_leaves_incomplete_character_as_replacement(streamer: Streamer) -> None:
    with in_thread(streamer.put, ids("€")[:1]):
        text, error = read_out(streamer)
    assert text == "\N{REPLACEMENT CHARACTER}"
    assert isinstance(error, burble.ProducerDied)


def test_reader_after_death_of_thread_raises_producer_died(streamer: Streamer) -> None:
    with in_thread(speak, streamer, "Too late"):
        pass
    text, error = read_out(streamer)
    assert text == "Too late"
    assert isinstance(error, burble.ProducerDied)


def test_thread_dead_before_first_text_raises_producer_died(streamer: Streamer) -> None:
    with in_thread(streamer.put, [0]):  # the prompt
        text, error = read_out(streamer)
    assert text == ""
    assert isinstance(error, burble.ProducerDied)


def test_generation_after_dead_one_is_read(streamer: Streamer) -> None:
    with in_thread(speak, streamer, "one two thr"):
        text, error = read_out(streamer)
    assert text == "one two thr"
    assert isinstance(error, burble.ProducerDied)

    def generate() -> None:
        speak(streamer, "four five")
        streamer.end()

    with in_thread(generate):
        assert read_out(streamer) == ("four five", None)


def test_generation_after_dead_one_does_not_lose_its_text(streamer: Streamer) -> None:
    for n in range(3):
        with in_thread(speak, streamer, f"round {n} is unfin"):
            pass
    speak(streamer, "the last one")
    streamer.end()
    for n in range(3):
        text, error = read_out(streamer)
        assert text == f"round {n} is unfin"
        assert isinstance(error, burble.ProducerDied)
    assert read_out(streamer) == ("the last one", None)


def test_dead_thread_replaced_by_another_is_no_death(streamer: Streamer) -> None:
    written, gone = threading.Event(), threading.Event()

    def begin() -> None:
        speak(streamer, "begun ")
        written.set()
        assert gone.wait(SOON)

    with in_thread(begin):
        assert written.wait(SOON)
        speak(streamer, "and finished ")  # this thread has taken over
        gone.set()
    speak(streamer, "elsewhere")
    streamer.end()
    assert read_out(streamer) == ("begun and finished elsewhere", None)


class SlowTokenizer:
    """Decodes by itself, and waits in the middle of it once it is told to."""

    def __init__(self) -> None:
        self.slow = False
        self.inside, self.leave = threading.Event(), threading.Event()

    def decode(self, ids: list[int], **_: Any) -> str:
        if self.slow:
            self.slow = False
            self.inside.set()
            assert self.leave.wait(SOON)
        text: str = tokenizer().decode(ids)
        return text


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_generation_begun_while_dead_one_is_read_loses_no_text(first: str) -> None:
    slow = SlowTokenizer()
    streamer = burble.TextIteratorStreamer(slow)
    with in_thread(speak, streamer, "one two thr"):
        pass
    assert [next(streamer), next(streamer)] == ["one ", "two "]
    results: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
    written = threading.Event()

    def generate() -> None:
        speak(streamer, "four five")
        streamer.end()
        written.set()

    def reading() -> None:
        for _ in range(2):
            results.put(read_out(streamer))

    slow.slow = True
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_thread(reading if first == "reader" else generate))
        assert slow.inside.wait(SOON)
        stack.enter_context(in_thread(generate if first == "reader" else reading))
        # The second one is not let through, or it is: then this gives it the time to do harm.
        written.wait(0.1)
        slow.leave.set()
        text, error = results.get(timeout=SOON)
        assert text == "thr"
        assert isinstance(error, burble.ProducerDied)
        assert results.get(timeout=SOON) == ("four five", None)


def test_generation_after_dead_one_skips_its_prompt() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), skip_prompt=True)

    def generate() -> None:
        streamer.put([ids("the prompt ")])
        speak(streamer, "the text")

    for _ in range(2):
        with in_thread(generate):
            pass
    for _ in range(2):
        text, error = read_out(streamer)
        assert text == "the text"
        assert isinstance(error, burble.ProducerDied)


def test_many_threads_dying_at_once_all_raise_producer_died() -> None:
    streamers: list[Streamer] = [BOTH[n % 2](tokenizer()) for n in range(50)]
    with contextlib.ExitStack() as stack:
        for streamer in streamers:
            stack.enter_context(in_thread(speak, streamer, "dying wor"))
    for streamer in streamers:
        text, error = read_out(streamer)
        assert text == "dying wor"
        assert isinstance(error, burble.ProducerDied)


# ---- misuse --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["put", "end"])
def test_second_writer_at_once_raises(method: str) -> None:
    inside, leave = threading.Event(), threading.Event()

    class Slow(burble.TextIteratorStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if not leave.is_set():
                inside.set()
                assert leave.wait(SOON)
            super().on_finalized_text(text, stream_end=stream_end)

    streamer = Slow(tokenizer(), chunk="token")

    def generate() -> None:
        speak(streamer, "mine ")
        streamer.end()

    with in_thread(generate):
        assert inside.wait(SOON)
        try:
            with pytest.raises(RuntimeError, match="written by another thread"):
                streamer.put(ids("yours")) if method == "put" else streamer.end()
        finally:
            leave.set()
    assert read_out(streamer) == ("mine ", None)


def test_override_that_writes_to_its_own_streamer_raises() -> None:
    class Recursive(burble.TextIteratorStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            self.put([1])

    with pytest.raises(RuntimeError, match="its own on_finalized_text"):
        Recursive(tokenizer()).put([1])


def test_put_that_fails_leaves_streamer_unchanged(streamer: Streamer) -> None:
    speak(streamer, "to be or ")
    for wrong in (1.5, "text", None, [1, "x"], -1, 2**40, [[1], [2]]):
        with pytest.raises((TypeError, ValueError)):
            streamer.put(wrong)
    speak(streamer, "not to be")
    streamer.end()
    assert read_out(streamer) == ("to be or not to be", None)


def test_streamer_serves_many_generations(streamer: Streamer) -> None:
    for n in range(200):
        speak(streamer, f"generation {n}")
        streamer.end()
        if n % 3 == 2:
            for m in range(n - 2, n + 1):
                assert read_out(streamer) == (f"generation {m}", None)


class Forgetful(burble.TextIteratorStreamer):
    """Its on_finalized_text is not found the next time that it is looked for, as CPython says it
    where there is no memory for looking."""

    forgets = False

    def __getattribute__(self, name: str) -> Any:
        if name == "on_finalized_text" and self.forgets:
            self.forgets = False
            raise AttributeError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("chunk", ["word", "token"])
def test_put_that_cannot_find_its_method_can_be_repeated(chunk: str) -> None:
    streamer = Forgetful(tokenizer(), chunk=chunk)
    for token in ids("To be, or not"):
        streamer.forgets = True
        with pytest.raises(AttributeError):
            streamer.put([token])
        streamer.put([token])
    streamer.forgets = True
    with pytest.raises(AttributeError):
        streamer.end()
    streamer.end()
    assert "".join(streamer) == "To be, or not"


WRONG = [[[1, 2], [3, 4]], "no ids", [-1], 1.5]


@pytest.mark.parametrize("kind", ["TextIteratorStreamer", "AsyncTextIteratorStreamer"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_thread_dead_after_first_put_raises_producer_died(kind: str, wrong: Any) -> None:
    streamer = getattr(burble, kind)(tokenizer())

    def generate() -> None:
        with pytest.raises((TypeError, ValueError)):
            streamer.put(wrong)

    async def read() -> None:
        async for _ in streamer:
            pass

    def wait() -> None:
        if kind == "TextIteratorStreamer":
            list(streamer)
        else:
            asyncio.run(soon(read()))

    with in_thread(generate), pytest.raises(burble.ProducerDied):
        wait()


def test_put_refused_does_not_block_other_writers() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), chunk="token")
    with pytest.raises(TypeError):
        streamer.put("no ids")

    def generate() -> None:
        speak(streamer, "To be")
        streamer.end()

    with in_thread(generate):
        assert "".join(streamer) == "To be"
    streamer = burble.TextIteratorStreamer(tokenizer(), chunk="token")
    streamer.cancel()
    with pytest.raises(TypeError, match="token ids must be"):  # and not that it was cancelled
        streamer.put("no ids")
