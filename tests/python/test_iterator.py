# SPDX-License-Identifier: MIT
"""TextIteratorStreamer: what it promises the thread that reads it."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, Callable

import pytest
from drop_in import make_blocking, say
from helpers import SOON, at_some_pace, in_thread, until
from shipped import MODEL, ids, tokenizer

import burble
from burble import _core

pytestmark = [pytest.mark.extension, pytest.mark.timeout(60)]


# ---- text and rounds ---------------------------------------------------------------------------


def test_text_arrives_in_order_and_iteration_ends() -> None:
    streamer = make_blocking()
    texts = [f"line {n}\n" for n in range(5000)]

    def generate() -> None:
        say(streamer, *texts)
        streamer.end()

    with in_thread(generate):
        assert list(streamer) == texts


def test_text_put_before_first_read_is_read() -> None:
    streamer = make_blocking()
    say(streamer, "To be, ", "or not")
    streamer.end()
    assert list(streamer) == ["To be, ", "or not"]


def test_last_word_comes_with_end() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer())
    for token in ids("Alas, poor Yorick"):
        streamer.put([token])
    streamer.end()
    assert list(streamer) == ["Alas, ", "poor ", "Yorick"]


def test_incomplete_character_at_end_becomes_replacement() -> None:
    streamer = make_blocking()
    streamer.put(ids("€")[:1])
    streamer.end()
    assert list(streamer) == ["\N{REPLACEMENT CHARACTER}"]


def test_generation_without_text_ends_iteration() -> None:
    streamer = make_blocking()
    streamer.put([0])
    streamer.end()
    streamer.end()
    assert [list(streamer), list(streamer)] == [[], []]


def test_iteration_after_break_resumes_where_it_stopped() -> None:
    streamer = make_blocking()
    say(streamer, "a ", "b ", "c ")
    streamer.end()
    for text in streamer:
        assert text == "a "
        break
    assert next(streamer) == "b "
    assert list(streamer) == ["c "]


def test_second_iteration_waits_for_second_generation() -> None:
    streamer = make_blocking()
    first_is_read = threading.Event()

    def generate() -> None:
        say(streamer, "first ")
        streamer.end()
        assert first_is_read.wait(SOON)
        say(streamer, "second ")
        streamer.end()

    with in_thread(generate):
        assert list(streamer) == ["first "]
        first_is_read.set()
        assert list(streamer) == ["second "]


def test_generations_ahead_of_reader_are_read_in_order() -> None:
    streamer = make_blocking()
    for n in range(100):
        say(streamer, *[f"{n}.{m} " for m in range(n % 4)])
        streamer.end()
    for n in range(100):
        assert list(streamer) == [f"{n}.{m} " for m in range(n % 4)]


def test_each_generation_skips_its_own_prompt() -> None:
    streamer = make_blocking(skip_prompt=True)
    for _ in range(3):
        say(streamer, "the prompt", "the text")
        streamer.end()
        assert list(streamer) == ["the text"]


def test_many_threads_read_own_streamers_at_once() -> None:
    streamers = [make_blocking() for _ in range(32)]
    found: dict[int, list[str]] = {}

    def read(n: int) -> None:
        found[n] = list(streamers[n])

    with contextlib.ExitStack() as stack:
        for n in range(len(streamers)):
            stack.enter_context(in_thread(read, n))
        for step in range(100):
            for streamer in streamers:
                say(streamer, f"{step} ")
        for streamer in streamers:
            streamer.end()
    assert found == {n: [f"{step} " for step in range(100)] for n in range(len(streamers))}


def test_streamer_read_by_successive_threads_gives_all_text() -> None:
    streamer = make_blocking()
    found: list[str] = []
    for n in range(10):
        with in_thread(lambda: found.append(next(streamer))):
            say(streamer, f"{n} ")
    assert found == [f"{n} " for n in range(10)]


def test_second_reader_at_once_raises() -> None:
    streamer = make_blocking()
    refused, served = queue.Queue[str](), queue.Queue[str]()

    def read() -> None:
        try:
            served.put(next(streamer))
        except RuntimeError as error:
            refused.put(str(error))

    with in_thread(read), in_thread(read):
        # Whichever came second.
        message = refused.get(timeout=SOON)
        say(streamer, "for the other ")
        assert served.get(timeout=SOON) == "for the other "
    assert "is already being read" in message
    assert refused.empty()
    assert served.empty()


def test_streamer_without_references_is_freed_at_once() -> None:
    streamer = make_blocking(timeout=3600)
    reference = weakref.ref(streamer)
    say(streamer, "text ")
    streamer.end()
    assert list(streamer) == ["text "]
    gc.disable()
    try:
        del streamer
        assert reference() is None
    finally:
        gc.enable()


def test_failed_streamer_in_cycle_with_its_error_is_collected() -> None:
    streamer = make_blocking()
    reference = weakref.ref(streamer)
    say(streamer, "text ")
    error = KeyError(streamer)
    streamer._fail(error)
    del streamer, error
    gc.collect()
    assert reference() is None


def test_logs_of_streamer_are_not_found_by_collector() -> None:
    kinds = (_core.Log, _core.Reader)
    others = [each for each in gc.get_objects() if isinstance(each, kinds)]  # of other tests
    streamer = make_blocking()
    say(streamer, "one ")
    streamer.end()
    say(streamer, "two ")  # another generation, while the first one is not read
    found = [each for each in gc.get_objects() if isinstance(each, kinds)]
    assert {id(each) for each in found} <= {id(each) for each in others}
    assert not any(isinstance(each, kinds) for each in gc.get_referents(streamer))
    assert list(streamer) == ["one "]


# ---- timeouts ----------------------------------------------------------------------------------


@pytest.fixture(params=["main thread", "other thread"])
def call(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Calls a function in the main thread, which also looks after signals, or in another one."""

    def elsewhere(function: Callable[[], Any]) -> Any:
        results: list[Any] = []

        def run() -> None:
            try:
                results.append(function())
            except BaseException as error:
                results.append(error)

        with in_thread(run):
            pass
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    return elsewhere if request.param == "other thread" else lambda function: function()


def test_timeout_raises_empty_and_next_read_continues(
    call: Callable[[Callable[[], Any]], Any],
) -> None:
    streamer = make_blocking(timeout=0.08)
    say(streamer, "first ")
    assert call(lambda: next(streamer)) == "first "
    began = time.monotonic()
    with pytest.raises(queue.Empty, match=r"0\.08 s"):
        call(lambda: next(streamer))
    assert time.monotonic() - began > 0.075
    say(streamer, "second ")
    assert call(lambda: next(streamer)) == "second "


def test_timeout_with_stop_iteration_ends_iteration(
    call: Callable[[Callable[[], Any]], Any],
) -> None:
    streamer = make_blocking(timeout=0.02, on_timeout="stop")
    say(streamer, "all ", "there is ")
    assert call(lambda: list(streamer)) == ["all ", "there is "]
    say(streamer, "more ")
    assert call(lambda: list(streamer)) == ["more "]


def test_timeout_of_zero_reads_without_waiting() -> None:
    streamer = make_blocking(timeout=0)
    with pytest.raises(queue.Empty):
        next(streamer)
    say(streamer, "here ")
    assert next(streamer) == "here "


def test_timeout_applies_to_first_token() -> None:
    with pytest.raises(queue.Empty):
        next(make_blocking(timeout=0.02))


@pytest.mark.parametrize("what", ["special", "the middle of a word", "half a character"])
def test_timeout_counts_from_last_token_without_text(what: str) -> None:
    quiet = {"special": [0], "the middle of a word": ids("a")}

    def attempt(timeout: float) -> None:
        chunk = "word" if what == "the middle of a word" else "token"
        streamer = make_blocking(timeout=timeout, chunk=chunk)
        pace = threading.Event()

        def generate() -> None:
            if what == "half a character":
                for token in ids("€" * 2):  # three tokens each, and text with every third one
                    pace.wait(timeout * 0.4)
                    streamer.put([token])
            else:
                for _ in range(12):
                    pace.wait(timeout / 8)
                    streamer.put(quiet[what])
            streamer.put(ids(" end "))
            streamer.end()

        with in_thread(generate):
            text = "".join(streamer)
        assert text.endswith(" end ")

    at_some_pace(attempt)


def test_timeout_changed_between_reads_applies() -> None:
    streamer = make_blocking(timeout=SOON)
    streamer.timeout = 0.02
    with pytest.raises(queue.Empty, match=r"0\.02 s"):
        next(streamer)
    streamer.timeout = None
    with in_thread(say, streamer, "text "):
        assert next(streamer) == "text "


def test_timeout_removed_during_wait_no_longer_ends_it() -> None:
    def attempt(timeout: float) -> None:
        streamer = make_blocking(timeout=timeout)
        found: queue.Queue[Any] = queue.Queue()

        def read() -> None:
            try:
                found.put(next(streamer))
            except (queue.Empty, RuntimeError) as error:
                found.put(error)

        with in_thread(read), in_thread(read):
            first = found.get(timeout=SOON)
            streamer.timeout = None
            try:
                # Whichever came second is refused, so that the other one waits.
                assert isinstance(first, RuntimeError)
                with contextlib.suppress(queue.Empty):
                    assert not found.get(timeout=1.5 * timeout)
            finally:
                say(streamer, "text ")
                streamer.end()
            assert found.get(timeout=SOON) == "text "

    at_some_pace(attempt)


# ---- Ctrl-C ------------------------------------------------------------------------------------

CTRL_C = """
import sys, time
import burble
from tokenizers import Tokenizer

streamer = burble.TextIteratorStreamer(Tokenizer.from_file(sys.argv[1]), timeout={timeout})
print("waiting", flush=True)
try:
    next(streamer)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def is_asleep(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("timeout", [None, 3600])
def test_ctrl_c_interrupts_waiting_main_thread(timeout: float | None) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C.format(timeout=timeout), str(MODEL / "tokenizer.json")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "waiting\n"
        until(lambda: is_asleep(process.pid))
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(SOON) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_signal_handler_that_returns_does_not_end_wait() -> None:
    streamer = make_blocking()
    handled = threading.Event()

    def generate() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        assert handled.wait(SOON)
        say(streamer, "after ")

    before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    try:
        with in_thread(generate):
            assert next(streamer) == "after "
    finally:
        signal.signal(signal.SIGUSR1, before)
