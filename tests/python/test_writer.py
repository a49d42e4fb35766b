# SPDX-License-Identifier: MIT
"""burble._core.Writer: ids and text into a log."""

from __future__ import annotations

import functools
import math
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

import pytest
from conftest import LONG, SAMPLE_TEXT, Family, documented_decode, train_byte_level
from helpers import Slow, text_to_error

from burble import _core
from burble._tokenizers import decoding_of

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.timeout(120)

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
SEQUENCES = 300 if LONG else 60


def detokenizer(tokenizer: Any, *, skip: bool = False, **kwargs: Any) -> _core.Detokenizer:
    source, skip = decoding_of(tokenizer, {"skip_special_tokens": skip})
    return _core.Detokenizer(source, skip, **kwargs)


class Gate(Slow):
    """The same, and a thread stays in its ``decode`` until it is let through."""

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self.closed = False
        self.inside = threading.Event()
        self.opened = threading.Event()

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        if self.closed:
            self.inside.set()
            assert self.opened.wait(60)
        return super().decode(ids, **kwargs)


@functools.cache
def backend() -> Any:
    return train_byte_level()


def ids_of(text: str) -> list[int]:
    found: list[int] = backend().encode(text).ids
    return found


class Output:
    """A log, its writer and its reader."""

    def __init__(self, detokenizer: _core.Detokenizer | None = None, **kwargs: Any) -> None:
        self.log = _core.Log()
        self.reader = self.log.reader()
        skip_prompt = kwargs.pop("skip_prompt", True)
        self.writer = _core.Writer(self.log, detokenizer, skip_prompt=skip_prompt, **kwargs)
        self.writer.has_prompt = True

    def put(self, ids: Sequence[int]) -> None:
        """One by one, as generate does."""
        for i in ids:
            self.writer.put([i])

    def prompt(self, ids: Sequence[int]) -> None:
        self.writer.put([list(ids)])

    def so_far(self) -> str:
        """The text that was appended since the last look."""
        text = ""
        while (taken := self.reader.take()) is not None:
            text += taken[1]
        return text

    def to_the_end(self) -> str:
        self.writer.end()
        return "".join(self.reader)


def plain(**kwargs: Any) -> Output:
    """One with a byte-level tokenizer, compiled."""
    stop = {k: kwargs.pop(k) for k in ("stop", "include_stop") if k in kwargs}
    return Output(detokenizer(backend(), **stop), **kwargs)


# ---- the text ------------------------------------------------------------------------------------


def decoder(family: Family, skip: bool) -> Callable[[list[int]], str]:
    """The tokenizer's own decode; of a byte-fallback tokenizer, by the documented rule."""
    if family.byte_fallback:
        return lambda ids: documented_decode(family, ids, skip)[0]
    return lambda ids: str(family.tokenizer.decode(ids, skip_special_tokens=skip))


@pytest.mark.parametrize("chunk", ["token", "word"])
def test_ids_one_by_one_equal_decode(family: Family, chunk: str) -> None:
    rng = random.Random(family.name)
    for n in range(SEQUENCES):
        skip = n % 2 == 0
        ids = family.random_ids(rng, rng.randint(1, 40))
        output = Output(detokenizer(family.tokenizer, skip=skip), chunk=chunk)
        output.put(ids)
        assert output.to_the_end() == decoder(family, skip)(ids), (ids, skip)


def test_ids_of_any_shape_give_same_text() -> None:
    numpy = pytest.importorskip("numpy")
    ids = ids_of(SAMPLE_TEXT)
    for put in (
        lambda writer: [writer.put(i) for i in ids],
        lambda writer: writer.put(ids),
        lambda writer: writer.put(torch.tensor(ids)),
        lambda writer: [writer.put(i) for i in torch.tensor(ids)],
        lambda writer: writer.put(torch.tensor([ids])),
        lambda writer: writer.put(numpy.array(ids)),
    ):
        output = plain(skip_prompt=False)
        put(output.writer)
        assert output.to_the_end() == SAMPLE_TEXT


def text_behind(decode: Callable[[list[int]], str], prompt: list[int], ids: list[int]) -> str:
    """The text after a prompt, including the rest of a character that the prompt has begun."""
    return decode(prompt + ids)[len(decode(prompt).rstrip(REPLACEMENT)) :]


@pytest.mark.parametrize("skip", [False, True])
def test_primed_writer_continues_after_prompt(family: Family, skip: bool) -> None:
    decode = decoder(family, skip)
    ids = family.tokenizer.encode(SAMPLE_TEXT)
    cuts = range(1, len(ids), 1 if LONG else 7)
    for at in cuts:
        prompt, rest = ids[:at], ids[at : at + 40]
        output = Output(detokenizer(family.tokenizer, skip=skip))
        output.prompt(prompt)
        assert output.so_far() == ""
        output.put(rest)
        assert output.to_the_end() == text_behind(decode, prompt, rest), at


def test_primed_writer_continues_after_any_ids(family: Family) -> None:
    rng = random.Random(family.name)
    compared = 0
    while compared < SEQUENCES:
        ids = family.random_ids(rng, 60)
        prompt, rest = ids[:40], ids[40:]
        skip = compared % 2 == 0
        decode = decoder(family, skip)
        if decode(prompt).endswith(REPLACEMENT):
            continue  # a character may be complete as that, or not yet
        output = Output(detokenizer(family.tokenizer, skip=skip))
        output.prompt(prompt)
        output.put(rest)
        assert output.to_the_end() == text_behind(decode, prompt, rest), (ids, skip)
        compared += 1


def test_prompt_that_ends_inside_character_is_completed(family: Family) -> None:
    before = family.tokenizer.encode("x", add_special_tokens=False)
    for character in "é中👍":
        spelt = family.spell(character)
        if len(spelt) < len(character.encode()):
            continue  # this tokenizer has not all bytes
        for n in range(1, len(spelt)):
            output = Output(detokenizer(family.tokenizer))
            output.prompt(before + spelt[:n])
            output.put(spelt[n:])
            assert output.so_far() == character
            assert output.to_the_end() == ""


@pytest.mark.parametrize("length", [1, 30, 200])
def test_primed_writer_decoding_by_window_continues_after_prompt(
    own_family: Family, length: int
) -> None:
    ids = own_family.tokenizer.encode(SAMPLE_TEXT, add_special_tokens=False)
    decode = decoder(own_family, False)
    compared = 0
    for at in range(length, len(ids), 7):
        prompt, rest = ids[at - length : at], ids[at : at + 60]
        if own_family.byte_fallback and REPLACEMENT in decode(prompt) + decode(prompt + rest):
            continue  # malformed byte tokens: the documented exception
        compared += 1
        windowed = detokenizer(Slow(own_family.backend))
        assert windowed.path == "windowed"
        output = Output(windowed)
        output.prompt(prompt)
        output.put(rest)
        assert output.to_the_end() == text_behind(decode, prompt, rest), at
    assert compared > 0


def test_writer_without_priming_begins_anew(own_family: Family) -> None:
    ids = own_family.tokenizer.encode("to be, or not to be", add_special_tokens=False)
    for at in range(1, len(ids)):
        output = Output(detokenizer(own_family.tokenizer), prime=False)
        output.prompt(ids[:at])
        output.put(ids[at:])
        assert output.to_the_end() == decoder(own_family, False)(ids[at:])


def test_shown_prompt_is_text() -> None:
    ids = ids_of(SAMPLE_TEXT)
    output = plain(skip_prompt=False)
    output.prompt(ids[:20])
    output.put(ids[20:])
    assert output.to_the_end() == SAMPLE_TEXT


def test_only_first_ids_of_sequence_are_a_prompt() -> None:
    ids = ids_of("To be, or not to be")
    output = plain()
    for i in ids:
        output.writer.put([[i]])  # the first of them
    output.writer.flush()
    assert output.so_far() == backend().decode(ids)[len(backend().decode(ids[:1])) :]
    output.prompt(ids[:2])  # another sequence
    output.put(ids[2:])
    assert output.to_the_end() == backend().decode(ids)[len(backend().decode(ids[:2])) :]
    output = plain()
    output.put(ids[:1])
    output.prompt(ids[1:])  # several at once, as with assisted generation
    assert output.to_the_end() == "To be, or not to be"


def test_first_ids_of_batch_shape_are_text_by_default() -> None:
    log = _core.Log()
    reader = log.reader()
    writer = _core.Writer(log, detokenizer(backend(), stop=("or",)))
    ids = ids_of("To be, or not to be")
    assert not writer.has_prompt
    for i in ids:
        writer.put([[i]])
    writer.end()
    assert "".join(reader) == "To be, "
    assert (log.reason, log.match) == ("stop", (0, "or", 7, 9))
    assert writer.stats[0] == len(ids_of("To be, or"))


def test_record_counts_its_tokens() -> None:
    """Seen in the unit of a reader's limit: a writer with room for so many does not wait."""
    ids = ids_of("To be, or not to be: that is the question")
    log = _core.Log(lag_unit="tokens")
    reader = log.reader(0, len(ids))
    writer = _core.Writer(log, detokenizer(backend()), "word")
    for i in ids:
        writer.put(i)
    writer.end()
    assert log.blocked == 0.0
    assert "".join(reader) == "To be, or not to be: that is the question"


# ---- text as such --------------------------------------------------------------------------------


def test_put_text_without_detokenizer_works() -> None:
    output = Output()
    for text in ("To be", "", ", or not\n", "中😀"):
        output.writer.put_text(text)
    assert output.to_the_end() == "To be, or not\n中😀"
    with pytest.raises(TypeError, match="without a detokenizer"):
        output.writer.put([1])


def test_text_and_ids_join_into_words() -> None:
    output = plain(chunk="word")
    output.put(ids_of("To be"))
    assert output.so_far() == "To "
    output.writer.put_text("<tool>")
    assert output.so_far() == ""
    output.writer.put_text(" or ")
    assert output.so_far() == "be<tool> or "
    output.put(ids_of("not"))
    assert output.to_the_end() == "not"
    tokens = len(ids_of("To be")) + 2 + len(ids_of("not"))
    assert output.writer.stats[:2] == (tokens, output.log.position)


@pytest.mark.parametrize("value", [b"x", None, 1, ["x"]])
def test_put_text_of_wrong_type_is_refused(value: Any) -> None:
    output = Output()
    with pytest.raises(TypeError, match="expected a str"):
        output.writer.put_text(value)
    output.writer.put_text("still there")
    assert output.to_the_end() == "still there"


# ---- stop strings --------------------------------------------------------------------------------


def test_stop_string_ends_text_but_not_log() -> None:
    output = plain(stop=("User:",))
    output.prompt(ids_of("User: hello\n"))  # none is looked for in a prompt
    assert not output.writer.stopped
    assert output.writer.match is None
    output.put(ids_of("Hi there\nUser: and"))
    assert output.so_far() == "Hi there\n"
    assert output.writer.stopped
    assert output.writer.match == (0, "User:", 9, 14)
    assert output.log.state == "open"
    assert not output.writer.cancelled
    output.put(ids_of(" more"))  # not heard
    output.writer.flush()
    assert output.writer.stopped
    assert output.to_the_end() == ""
    assert (output.log.reason, output.log.match) == ("stop", (0, "User:", 9, 14))


def test_put_after_stop_raises_stopped_if_asked() -> None:
    output = plain(stop=("be",), include_stop=True, chunk="word")
    output.writer.raise_stopped = True
    with pytest.raises(_core.Stopped):
        output.put(ids_of("To be or not"))
    assert output.so_far() == "To be"
    with pytest.raises(_core.Stopped):
        output.writer.put(1)
    output.writer.end("eos")
    assert output.log.reason == "eos"
    assert output.log.match == (0, "be", 3, 5)


def test_stop_string_completed_at_end_matches() -> None:
    """When the clean-up of a window, or an incomplete character, gives its last text."""
    output = plain(stop=(REPLACEMENT,))
    output.put(ids_of("x中")[:-1])
    assert not output.writer.stopped
    assert output.to_the_end() == "x"
    assert output.writer.stopped
    assert output.log.reason == "stop"
    assert output.log.match == (0, REPLACEMENT, 1, 2)


def test_sequence_after_stop_begins_unstopped() -> None:
    output = plain(stop=("be",))
    for _ in range(2):
        output.prompt(ids_of("To"))
        assert not output.writer.stopped
        output.put(ids_of(" be"))
        assert output.writer.stopped
        output.writer.flush()
        assert output.so_far() == " "
    assert output.to_the_end() == ""


def test_partial_stop_string_is_released_at_end() -> None:
    output = plain(stop=("beware",))
    output.put(ids_of("To be"))
    assert output.so_far() == "To "
    assert output.to_the_end() == "be"
    assert output.log.reason is None


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.zeros(2, 5, dtype=torch.long), ValueError, "one sequence.*found 2 rows"),
        ([[1], [2], [3]], ValueError, "one sequence.*found 3 rows"),
        ([-1], ValueError, "from 0"),
        ([1 << 40], ValueError, "from 0"),
        ([1, 2.5], TypeError, "token id"),
        ("text", TypeError, "token ids"),
        (None, TypeError, "token ids"),
    ],
)
def test_put_of_bad_ids_changes_nothing(value: Any, error: type[Exception], message: str) -> None:
    ids = ids_of(SAMPLE_TEXT)
    output = plain()

    def refused() -> None:
        with pytest.raises(error, match=message):
            output.writer.put(value)

    refused()
    output.prompt(ids[:10])
    refused()
    for i in ids[10:]:
        refused()
        output.writer.put(i)
    assert output.log.state == "open"
    assert output.to_the_end() == text_behind(backend().decode, ids[:10], ids[10:])


def test_put_with_tokenizer_that_raises_changes_nothing() -> None:
    class Picky(Slow):
        def decode(self, ids: list[int], **kwargs: Any) -> str:
            if 17 in ids:
                raise KeyError(17)
            return super().decode(ids, **kwargs)

    ids = [i for i in ids_of("To be, or not to be") if i != 17]
    output = Output(detokenizer(Picky(backend())))
    with pytest.raises(KeyError):
        output.prompt([*ids, 17])
    output.prompt(ids[:3])
    for i in ids[3:]:
        with pytest.raises(KeyError):
            output.writer.put(17)
        output.writer.put(i)
    assert output.to_the_end() == text_behind(backend().decode, ids[:3], ids[3:])


def test_writer_arguments_of_wrong_type_are_refused() -> None:
    log, keep = _core.Log(), detokenizer(backend())
    with pytest.raises(TypeError):
        _core.Writer(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Detokenizer or None, found dict"):
        _core.Writer(log, {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'word' or 'token', found 'line'"):
        _core.Writer(log, keep, "line")
    with pytest.raises(ValueError, match="log of text"):
        _core.Writer(_core.Log(objects=True))
    writer = _core.Writer(log, keep)
    with pytest.raises(RuntimeError, match="once"):
        writer.__init__(log, keep)  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="__init__ was not called"):
        _core.Writer.__new__(_core.Writer).put(1)
    with pytest.raises(TypeError, match="str or None"):
        writer.end(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an exception"):
        writer.fail("failed")  # type: ignore[arg-type]
    assert log.state == "open"


# ---- ends ----------------------------------------------------------------------------------------


def test_put_after_end_is_refused() -> None:
    output = plain()
    output.put(ids_of("To be"))
    output.writer.end("length")
    assert output.writer.cancelled
    for write in (
        lambda: output.writer.put(1),
        lambda: output.prompt([1, 2]),
        lambda: output.writer.put_text("x"),
        output.writer.flush,
    ):
        with pytest.raises(_core.Error) as caught:
            write()
        assert type(caught.value) is _core.Error
    output.writer.end("stop")  # the first decides
    output.writer.fail(ValueError())
    assert "".join(output.reader) == "To be"
    assert (output.log.state, output.log.reason) == ("ended", "length")


def test_put_after_cancel_raises_cancelled() -> None:
    output = plain(stop=("be",))
    output.put(ids_of("To"))
    assert not output.writer.cancelled
    output.log.cancel()
    assert output.writer.cancelled
    for _ in range(2):
        with pytest.raises(_core.Cancelled):
            output.writer.put(ids_of(" be"))
    with pytest.raises(_core.Cancelled):
        output.writer.put_text("x")
    output.writer.end()
    output.writer.fail(ValueError())
    assert output.log.state == "cancelled"
    text, error = text_to_error("threads", output.reader)
    assert text == "To"
    assert isinstance(error, _core.Cancelled)


def test_cancel_after_stop_raises_cancelled() -> None:
    output = plain(stop=("be",))
    output.put(ids_of("To be"))
    assert output.writer.stopped
    output.log.cancel()
    with pytest.raises(_core.Cancelled):
        output.writer.put(1)


def test_failure_comes_after_all_text() -> None:
    output = plain(chunk="word", stop=("beware",))
    output.put(ids_of("To be"))
    error = ValueError("no memory on the device")
    output.writer.fail(error)
    assert text_to_error("threads", output.reader) == ("To be", error)
    output.writer.end()
    assert output.log.state == "failed"


@pytest.mark.parametrize("end", ["end", "fail"])
def test_end_with_tokenizer_that_raises_still_ends_log(end: str) -> None:
    class Broken(Slow):
        broken = False

        def decode(self, ids: list[int], **kwargs: Any) -> str:
            if self.broken:
                raise KeyError("vocabulary")
            return super().decode(ids, **kwargs)

    tokenizer = Broken(backend())
    output = Output(detokenizer(tokenizer))
    output.put(ids_of("x中")[:-1])  # an incomplete character is held back
    tokenizer.broken = True
    with pytest.raises(KeyError):
        output.writer.end() if end == "end" else output.writer.fail(OSError("first"))
    assert output.log.state == "failed"
    text, error = text_to_error("threads", output.reader)
    assert text == "x"
    assert isinstance(error, KeyError if end == "end" else OSError)


# ---- threads -------------------------------------------------------------------------------------


class Inside:
    """A thread that is inside ``put``, and ends the log after it."""

    def __init__(self) -> None:
        self.gate = Gate(backend())
        self.output = Output(detokenizer(self.gate))
        self.output.put(ids_of("To"))
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._put)

    def _put(self) -> None:
        try:
            self.output.put(ids_of(" be"))
            self.output.writer.end()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Output:
        self.gate.closed = True
        self.thread.start()
        assert self.gate.inside.wait(60)
        return self.output

    def __exit__(self, *_: object) -> None:
        self.gate.closed = False
        self.gate.opened.set()
        self.thread.join()


def test_second_writing_thread_raises_and_harms_nothing() -> None:
    inside = Inside()
    with inside as output:
        for write in (
            lambda: output.writer.put(1),
            lambda: output.writer.put_text("x"),
            output.writer.flush,
            output.writer.end,
            lambda: output.writer.fail(ValueError()),
        ):
            with pytest.raises(RuntimeError, match="another thread"):
                write()
        assert output.log.state == "open"
        assert output.writer.stats[0] == len(ids_of("To"))
    assert inside.error is None
    assert "".join(output.reader) == "To be"


@pytest.mark.parametrize("end", ["end", "fail", "cancel"])
def test_log_ended_under_writing_thread_loses_nothing(end: str) -> None:
    inside = Inside()
    with inside as output:
        if end == "end":
            assert output.log.end("length")
        elif end == "fail":
            assert output.log.fail(TimeoutError("too late"))
        else:
            assert output.log.cancel()
        assert output.writer.cancelled
    assert type(inside.error) is (_core.Cancelled if end == "cancel" else _core.Error)
    output.writer.end()  # the first end has decided
    assert output.log.state == {"end": "ended", "fail": "failed", "cancel": "cancelled"}[end]
    text, error = text_to_error("threads", output.reader)
    assert text == "To"
    expected = {"end": type(None), "fail": TimeoutError, "cancel": _core.Cancelled}
    assert type(error) is expected[end]


def full() -> Output:
    """One whose reader is at its limit."""
    output = Output()
    output.reader.limit(1, "block")
    output.writer.put_text("a")
    return output


def test_log_ended_under_writer_waiting_for_reader_wakes_it() -> None:
    output = full()
    errors = []

    def write() -> None:
        with pytest.raises(_core.Error) as caught:
            output.writer.put_text("b")
        errors.append(type(caught.value))

    thread = threading.Thread(target=write)
    thread.start()
    while output.log.blocked == 0:
        threading.Event().wait(0.001)
    with pytest.raises(RuntimeError, match="another thread"):
        output.writer.fail(OSError())
    with pytest.raises(RuntimeError, match="another thread"):
        output.writer.end()
    assert output.log.fail(OSError("shut down"))
    thread.join()
    assert errors == [_core.Error]
    assert output.reader.take() == (0, "a")
    with pytest.raises(OSError, match="shut down"):
        output.reader.take()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals for threads")
def test_signal_in_append_leaves_no_gap_for_readers() -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    output = full()
    main = threading.get_ident()

    def send() -> None:
        while output.log.blocked == 0:
            threading.Event().wait(0.001)
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pytest.raises(Interrupted):
            output.writer.put_text("b")
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(_core.Error):
        output.writer.put_text("c")
    assert output.reader.take() == (0, "a")
    with pytest.raises(Interrupted):
        output.reader.take()


def test_tokenizer_writing_to_its_own_writer_raises() -> None:
    class Talkative(Slow):
        output: Output

        def decode(self, ids: list[int], **kwargs: Any) -> str:
            with pytest.raises(RuntimeError, match="its own tokenizer"):
                self.output.writer.put_text("x")
            return super().decode(ids, **kwargs)

    tokenizer = Talkative(backend())
    tokenizer.output = output = Output(detokenizer(tokenizer))
    output.put(ids_of("To be"))
    assert output.to_the_end() == "To be"


class Yielding(Slow):
    """Other threads run while it decodes."""

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        threading.Event().wait(0)
        return super().decode(ids, **kwargs)


def race(output: Output, letter: list[int], ends: Sequence[Callable[[], bool]]) -> tuple[int, int]:
    """Two threads put a letter until they are told to stop, others end the log meanwhile; return
    how many letters were put, and how many of the ends were the log's."""
    put: list[None] = []
    ended: list[bool] = []
    start = threading.Barrier(2 + len(ends))

    def write() -> None:
        start.wait()
        while True:
            try:
                output.writer.put(letter)
            except _core.Error:
                return
            except RuntimeError:  # the other one is inside
                continue
            put.append(None)

    def end(how: Callable[[], bool]) -> None:
        start.wait()
        while not put:
            threading.Event().wait(0)
        ended.append(how())

    threads = [threading.Thread(target=write) for _ in range(2)]
    threads += [threading.Thread(target=end, args=(how,)) for how in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(put), sum(ended)


def test_concurrent_writes_and_ends_leave_one_text_and_one_end() -> None:
    for _ in range(20):
        output = Output(detokenizer(Yielding(backend())))
        ends = [functools.partial(output.log.fail, OSError()), output.log.cancel]
        put, ended = race(output, ids_of("a"), ends)
        assert ended == 1
        text, error = text_to_error("threads", output.reader)
        assert text == "a" * put
        assert isinstance(error, (OSError, _core.Cancelled))


# ---- figures -------------------------------------------------------------------------------------


def percentile(values: Sequence[float], of: float) -> float:
    """The least that a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(of * len(values)) - 1)]


@pytest.mark.parametrize("together", [1, 3])
def test_stats_have_times_between_tokens(together: int) -> None:
    """To within 3 % of what the clock says outside: before and after each put."""
    ids = ids_of("abc" * 100)[:together]
    rng = random.Random(together)
    output = plain()
    begins, ends = [], []
    for _ in range(2000):
        until = perf_counter_ns() + int(math.exp(rng.gauss(math.log(100_000), 1)))
        while perf_counter_ns() < until:
            pass
        begins.append(perf_counter_ns())
        output.writer.put(ids)
        ends.append(perf_counter_ns())
    tokens, _, first, last, p50, p99 = output.writer.stats
    assert tokens == 2000 * together
    assert first < last
    assert (begins[-1] - ends[0]) * 1e-9 <= last - first <= (ends[-1] - begins[0]) * 1e-9
    least = [(b - a) * 1e-9 / together for a, b in zip(ends, begins[1:])]
    most = [(b - a) * 1e-9 / together for a, b in zip(begins, ends[1:])]
    for found, of in ((p50, 0.5), (p99, 0.99)):
        # A microsecond more: below that a bucket is as wide as that.
        assert 0.97 * percentile(least, of) - 1e-6 <= found <= 1.03 * percentile(most, of) + 1e-6


def test_stats_before_tokens_are_none() -> None:
    output = plain()
    assert output.writer.stats == (0, 0, None, None, None, None)
    output.prompt(ids_of("To be"))
    assert output.writer.stats == (0, 0, None, None, None, None)
    output.put(ids_of("a"))
    tokens, chunks, first, last, p50, p99 = output.writer.stats
    assert (tokens, chunks, p50, p99) == (1, 1, None, None)
    assert first == last > 0
    output.put(ids_of("a"))
    assert None not in output.writer.stats


def test_stats_count_pieces_and_tokens() -> None:
    output = plain(chunk="word", stop=("question",))
    ids = ids_of("To be, or not to be: that is the question")
    output.put(ids)
    after = len(ids)
    assert output.writer.stopped
    output.put(ids)  # not heard
    tokens, chunks, *_ = output.writer.stats
    assert tokens == after
    assert chunks == output.log.position
    output.writer.put_text("x")  # the same
    assert output.writer.stats[:2] == (after, chunks)
    output.writer.flush()
    output.writer.put_text("")
    output.writer.put_text("x ")
    assert output.writer.stats[:2] == (after + 1, chunks + 1)


def test_stats_do_not_count_put_waiting_for_reader() -> None:
    """One token is put; the next waits, until this thread has seen that it does and reads."""
    log = _core.Log(lag_unit="tokens")
    reader = log.reader(0, 1)
    writer = _core.Writer(log)
    writer.put_text("a")

    def write() -> None:
        writer.put_text("b")
        writer.put_text("c")
        writer.end()

    thread = threading.Thread(target=write)
    thread.start()
    while log.blocked < 0.05:
        threading.Event().wait(0.001)
    assert "".join(reader) == "abc"
    thread.join()
    p99 = writer.stats[5]
    assert p99 is not None
    assert p99 <= 1.03 * (writer.stats[3] - writer.stats[2] - 0.05)


MEMORY = """
import gc, sys
from burble import _core
from burble._tokenizers import decoding_of
from tokenizers import Tokenizer

source, skip = decoding_of(Tokenizer.from_file(sys.argv[1]), {})
detokenizer = lambda: _core.Detokenizer(source, skip)
N = 20_000
keep = []  # of all, so that none gets the memory of another

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def each(make):
    keep.extend(make() for _ in range(2000))  # what is allocated once
    before = resident()
    keep.extend(make() for _ in range(N))
    return (resident() - before) // N

def both(*detokenizer):
    log = _core.Log()
    return _core.Writer(log, *(make() for make in detokenizer)), log.reader()

gc.disable()
print(each(both), each(lambda: both(detokenizer)))
"""


@pytest.mark.no_asan
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_idle_log_with_writer_and_reader_is_small() -> None:
    from conftest import SHAKESPEARE

    command = [sys.executable, "-c", MEMORY, str(SHAKESPEARE / "tokenizer.json")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    text, ids = map(int, done.stdout.split())
    assert text < 2048
    assert ids < 2048 + 1024  # with a detokenizer of its own
