# SPDX-License-Identifier: MIT
"""Stop strings: where the text ends, and how the generation does."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import threading
from typing import Any

import pytest
from helpers import Slow, listen_to_text
from shipped import MODEL, ids, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)

TEXT = "To be, or not to be: that is the question.\n\nWhether 'tis nobler, naïve 中文 😀, to die.\n"


@functools.cache
def model() -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(MODEL)


@functools.cache
def fast_tokenizer() -> Any:
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(MODEL)


def first_match(text: str, strings: list[str]) -> tuple[int, int, int] | None:
    """Where the first match ends, where it begins, and which it is: naively."""
    for end in range(1, len(text) + 1):
        found = [(len(s), -i) for i, s in enumerate(strings) if text[:end].endswith(s)]
        if found:
            length, which = max(found)
            return end, end - length, -which
    return None


# ---- Detokenizer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source", [tokenizer, lambda: Slow(tokenizer())], ids=["compiled", "windowed"]
)
@pytest.mark.parametrize("include", [False, True])
def test_detokenizer_ends_text_at_first_stop_string(source: Any, include: bool) -> None:
    rng = random.Random(7)
    sequence = ids(TEXT)
    for _ in range(150):
        strings = []
        for _ in range(rng.randrange(1, 4)):
            begin = rng.randrange(len(TEXT))
            strings.append(TEXT[begin : begin + rng.randrange(1, 9)] + rng.choice(["", "", "#"]))
        match = first_match(TEXT, strings)
        detokenizer = burble.Detokenizer(source(), stop=strings, include_stop=include)
        for _ in range(2):  # the second is a new sequence
            text = "".join(detokenizer.push(i) for i in sequence) + detokenizer.finish()
            if match is None:
                assert text == TEXT
                assert detokenizer.stopped is None
            else:
                end, begin, which = match
                assert text == TEXT[: end if include else begin]
                stopped = detokenizer.stopped
                assert stopped is not None
                assert (stopped.begin, stopped.end, stopped.which) == (begin, end, which)
                assert stopped.text == strings[which]


def test_text_that_cannot_begin_stop_string_is_not_held_back() -> None:
    detokenizer = burble.Detokenizer(tokenizer(), stop=["\n\nUser:", "###"])
    assert detokenizer.push(ids("Hello #")) == "Hello "
    assert detokenizer.push(ids("x")) == "#x"
    assert detokenizer.push(ids("\n")) == ""
    assert detokenizer.push(ids("y")) == "\ny"
    assert detokenizer.push(ids("##")) == ""
    assert detokenizer.finish() == "##"


def test_push_after_match_gives_nothing_until_finish() -> None:
    detokenizer = burble.Detokenizer(tokenizer(), stop="stop")
    assert detokenizer.stopped is None
    assert detokenizer.push(ids("a stop b")) == "a "
    assert detokenizer.push(ids("c")) == ""
    assert detokenizer.stopped == (0, "stop", 2, 6)
    assert detokenizer.finish() == ""
    assert detokenizer.stopped == burble.StopMatch(which=0, text="stop", begin=2, end=6)
    assert detokenizer.push(ids("next")) == "next"
    assert detokenizer.stopped is None


def test_stop_string_in_text_of_finish_matches() -> None:
    detokenizer = burble.Detokenizer(tokenizer(), stop="\N{REPLACEMENT CHARACTER}")
    half = ids("中")[:1]
    if tokenizer().decode(half) != "\N{REPLACEMENT CHARACTER}":
        pytest.skip("the tokenizer has this character as one token")
    assert detokenizer.push(ids("ab") + half) == "ab"
    assert detokenizer.finish() == ""
    assert detokenizer.stopped == (0, "\N{REPLACEMENT CHARACTER}", 2, 3)
    assert detokenizer.push(ids("c")) == "c"


def test_position_of_match_is_in_characters() -> None:
    detokenizer = burble.Detokenizer(tokenizer(), stop=["文 😀", "x"], include_stop=True)
    assert detokenizer.push(ids("naïve 中文 😀.")) == "naïve 中文 😀"
    assert detokenizer.stopped == (0, "文 😀", 7, 10)


@pytest.mark.parametrize("stop", [None, (), []])
def test_empty_stop_strings_stop_nothing(stop: Any) -> None:
    detokenizer = burble.Detokenizer(tokenizer(), stop=stop)
    assert detokenizer.push(ids(TEXT)) + detokenizer.finish() == TEXT
    assert detokenizer.stopped is None


@pytest.mark.parametrize(
    ("stop", "error", "message"),
    [
        ("", ValueError, "stop string 1 of 1: expected some text, found none"),
        (["a", ""], ValueError, "stop string 2 of 2: expected some text, found none"),
        (["a", b"b"], TypeError, "stop string 2 of 2: expected a str, found bytes"),
        (["a", 3], TypeError, "stop string 2 of 2: expected a str, found int"),
        (["\ud800"], UnicodeEncodeError, "surrogates"),
        (["a"] * 4097, ValueError, "expected at most 4096 stop strings, found 4097"),
        (3, TypeError, "stop: expected a str, or any number of them, found int"),
    ],
)
def test_invalid_stop_string_is_refused(stop: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        burble.Detokenizer(tokenizer(), stop=stop)
    with pytest.raises(error, match=message):
        burble.TextIteratorStreamer(tokenizer(), stop=stop)


# ---- streamers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", ["word", "token"])
@pytest.mark.parametrize("include", [False, True])
def test_stop_string_ends_text(chunk: Any, include: bool) -> None:
    streamer = burble.TextIteratorStreamer(
        tokenizer(), chunk=chunk, stop=["\n\n", ": that"], include_stop=include
    )
    for i in ids(TEXT):
        streamer.put(i)
    assert streamer.should_stop
    assert streamer.finish_reason is None  # nobody has read it
    assert "".join(streamer) == "To be, or not to be" + (": that" if include else "")
    assert streamer.finish_reason == "stop"
    assert streamer.stopped == (1, ": that", 19, 25)
    streamer.end()
    assert not streamer.should_stop


def test_generation_after_stop_begins_after_end() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), stop="stop")
    for text in ("one stop two", "three", "four stop"):
        for i in ids(text):
            streamer.put(i)
        streamer.end()
    assert "".join(streamer) == "one "
    assert (streamer.finish_reason, streamer.stopped) == ("stop", (0, "stop", 4, 8))
    assert "".join(streamer) == "three"
    assert (streamer.finish_reason, streamer.stopped) == ("end", None)
    streamer.timeout = 0
    assert next(streamer) == "four "
    assert (streamer.finish_reason, streamer.stopped) == (None, None)
    assert "".join(streamer) == ""
    assert (streamer.finish_reason, streamer.stopped) == ("stop", (0, "stop", 5, 9))


def test_stop_string_in_prompt_is_not_matched() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), stop="User:")
    streamer.put([ids("User: hi\nBot: Us")])
    for i in ids("er: hello User: x"):
        streamer.put(i)
    streamer.end()
    assert "".join(streamer) == "User: hi\nBot: User: hello "
    assert streamer.stopped == (0, "User:", 10, 15)


def test_stop_string_in_text_of_end_matches() -> None:
    half = ids("中")[:1]
    streamer = burble.TextIteratorStreamer(tokenizer(), stop="\N{REPLACEMENT CHARACTER}")
    streamer.put(ids("ab") + half)
    streamer.end()
    assert "".join(streamer) == "ab"
    assert streamer.finish_reason == "stop"


def test_text_streamer_prints_up_to_stop_string(capsys: pytest.CaptureFixture[str]) -> None:
    streamer = burble.TextStreamer(tokenizer(), stop=["\n\n"])
    for text in (TEXT, "again"):
        for i in ids(text):
            streamer.put(i)
        assert streamer.finish_reason == ("stop" if text is TEXT else None)
        streamer.end()
    assert streamer.finish_reason == "end"
    assert capsys.readouterr().out == TEXT.split("\n\n")[0] + "\nagain\n"


def test_override_after_stop_string_gets_end_once() -> None:
    calls = []

    class Mine(burble.TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            calls.append((text, stream_end))

    streamer = Mine(tokenizer(), stop="not")
    for i in ids(TEXT):
        streamer.put(i)
    streamer.end()
    assert "".join(text for text, _ in calls) == "To be, or "
    assert [end for _, end in calls] == [False] * (len(calls) - 1) + [True]


def test_generation_dead_after_stop_does_not_disturb_next() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), stop="stop", timeout=20)

    def generate(*texts: str) -> None:
        for text in texts:
            streamer.put(ids(text))
        # without end(), as when generate raises

    for name in ("one ", "two "):
        thread = threading.Thread(target=generate, args=(name, "stop", "ignored"))
        thread.start()
        assert "".join(streamer) == name
        thread.join()
    streamer.put(ids("three"))
    streamer.end()
    assert "".join(streamer) == "three"


def test_cancel_after_stop_ends_generation() -> None:
    streamer = burble.TextIteratorStreamer(tokenizer(), stop="stop")
    streamer.put(ids("go stop"))
    streamer.cancel()
    with pytest.raises(burble.Cancelled):
        streamer.put(ids("x"))
    assert "".join(streamer) == "go "
    assert streamer.finish_reason == "stop"


def test_stopped_streamer_is_collected() -> None:
    class Marked(str):
        pass

    streamer = burble.TextIteratorStreamer(tokenizer(), stop=[Marked("stop")])
    streamer.put(ids("go stop"))
    assert "".join(streamer) == "go "
    streamer.stopped.text.streamer = streamer  # type: ignore[union-attr,attr-defined]
    gone = threading.Event()

    class Flag:
        def __del__(self) -> None:
            gone.set()

    streamer.flag = Flag()  # type: ignore[attr-defined]
    del streamer
    gc.collect()
    assert gone.is_set()


# ---- run() ---------------------------------------------------------------------------------------


def test_run_at_stop_string_ends_own_function_and_returns_none() -> None:
    put = []

    def generate(streamer: Any) -> str:
        for text in ("one ", "stop", "two ", "three"):
            put.append(text)
            streamer.put(ids(text))
        streamer.end()
        return "all of it"

    async def main() -> None:
        streamer = burble.AsyncTextIteratorStreamer(tokenizer(), stop=["stop"])
        for _ in range(2):
            put.clear()
            task = asyncio.create_task(streamer.run(generate))
            assert await listen_to_text(streamer) == "one "
            assert await task is None
            assert put == ["one ", "stop"]
            assert streamer.finish_reason == "stop"
            assert not streamer.should_stop
        unstopped = burble.AsyncTextIteratorStreamer(tokenizer(), stop=["nothing"])
        task = asyncio.create_task(unstopped.run(generate))
        assert await listen_to_text(unstopped) == "one stoptwo three"
        assert await task == "all of it"

    asyncio.run(main())


def test_exception_after_stop_reaches_task_only() -> None:
    def generate(streamer: Any, stopping_criteria: Any) -> None:
        streamer.put(ids("one stop"))
        raise KeyError("later")

    async def main() -> None:
        streamer = burble.AsyncTextIteratorStreamer(tokenizer(), stop=["stop"])
        for _ in range(2):
            task = asyncio.create_task(streamer.run(generate))
            assert await listen_to_text(streamer) == "one "
            with pytest.raises(KeyError):
                await task

    asyncio.run(main())


def test_stop_adds_its_criterion_to_given_ones() -> None:
    seen: list[Any] = []

    def generate(inputs: Any, stopping_criteria: Any = None, *, streamer: Any) -> int:
        seen.append(stopping_criteria)
        streamer.put(ids("a stop"))
        streamer.put(ids("b"))
        streamer.end()
        return 7

    async def main() -> None:
        streamer = burble.AsyncTextIteratorStreamer(tokenizer(), stop=["stop"])
        for args, kwargs in (
            ((1,), {}),
            ((1, ["mine"]), {}),
            ((1,), {"stopping_criteria": ["mine"]}),
        ):
            assert await streamer.run(generate, *args, **kwargs) == 7
        partial = functools.partial(generate, stopping_criteria=("mine",))
        assert await streamer.run(partial, 1) == 7
        ours = [streamer.stopping_criteria]
        assert seen == [ours, ["mine", *ours], ["mine", *ours], ["mine", *ours]]

    asyncio.run(main())


# ---- a real generate -----------------------------------------------------------------------------

PROMPT = "ROMEO:"
NEW = 120


@functools.cache
def plain_text() -> str:
    """What the model says without stop strings."""
    inputs = fast_tokenizer()(PROMPT, return_tensors="pt")
    out = model().generate(**inputs, max_new_tokens=NEW, do_sample=False)
    text: str = fast_tokenizer().decode(out[0, inputs["input_ids"].shape[1] :])
    return text


def some_stop() -> tuple[str, str]:
    """A piece from the middle of what the model says, and the text before it."""
    text = plain_text()
    piece = text[len(text) // 2 : len(text) // 2 + 7]
    return piece, text[: text.index(piece)]


def test_run_at_stop_string_ends_generate_and_returns_tokens() -> None:
    stop, before = some_stop()
    inputs = fast_tokenizer()(PROMPT, return_tensors="pt")

    async def main() -> None:
        streamer = burble.AsyncTextIteratorStreamer(
            fast_tokenizer(), skip_prompt=True, stop=[stop], chunk="token"
        )
        for _ in range(2):
            task = asyncio.create_task(
                streamer.run(model().generate, **inputs, max_new_tokens=NEW, do_sample=False)
            )
            assert await listen_to_text(streamer) == before
            out = await task
            assert streamer.finish_reason == "stop"
            assert streamer.stopped == (0, stop, len(before), len(before) + len(stop))
            tokens = out[0, inputs["input_ids"].shape[1] :].tolist()
            assert len(tokens) < NEW
            # Not more than one token after the one that completed the stop string.
            assert stop not in fast_tokenizer().decode(tokens[:-2])
            assert fast_tokenizer().decode(tokens).startswith(before + stop)

    asyncio.run(main())


@pytest.mark.parametrize("told", [True, False])
def test_own_thread_after_stop_ends_without_exception(told: bool) -> None:
    stop, before = some_stop()
    inputs = fast_tokenizer()(PROMPT, return_tensors="pt")
    streamer = burble.TextIteratorStreamer(
        fast_tokenizer(), skip_prompt=True, timeout=20, stop=stop, include_stop=True
    )
    results: list[Any] = []

    def generate() -> None:
        criteria = [streamer.stopping_criteria] if told else None
        results.append(
            model().generate(
                **inputs,
                max_new_tokens=NEW,
                do_sample=False,
                streamer=streamer,
                stopping_criteria=criteria,
            )
        )

    for _ in range(2):
        thread = threading.Thread(target=generate)
        thread.start()
        assert "".join(streamer) == before + stop
        assert streamer.finish_reason == "stop"
        thread.join()
        length = results.pop().shape[1] - inputs["input_ids"].shape[1]
        assert length < NEW if told else length == NEW
