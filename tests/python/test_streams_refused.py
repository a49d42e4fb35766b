# SPDX-License-Identifier: MIT
"""burble.stream, iterate and channel: arguments that are refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from generating import TEXT, say, stream

import burble

pytestmark = pytest.mark.timeout(60)


def generator(streamer: Any) -> Iterator[int]:
    yield 1


async def asynchronous() -> Any:
    yield 1


async def coroutine(streamer: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_lag": 0}, ValueError, "max_lag: expected at least 1 or None, found 0"),
        ({"max_lag": 2**63}, ValueError, "max_lag: expected at most 9223372036854775807 or None"),
        ({"max_lag": "x"}, TypeError, "max_lag: expected an int or None, found 'x'"),
        ({"keep": -1}, ValueError, "keep: expected at least 0, 'all' or None, found -1"),
        ({"keep": 2**63}, ValueError, "keep: expected at most 9223372036854775807, 'all' or None"),
        ({"keep": "some"}, ValueError, "keep: expected None, a number or 'all', found 'some'"),
        ({"keep": 1.5}, TypeError, "keep: expected an int, 'all' or None, found 1.5"),
        (
            {"lag_unit": "words"},
            ValueError,
            "lag_unit: expected 'characters', 'tokens' or 'bytes', found 'words'",
        ),
        ({"chunk": "line"}, ValueError, "chunk: expected 'word' or 'token', found 'line'"),
        ({"total_timeout": 0}, ValueError, "total_timeout: expected seconds, more than 0, found 0"),
        ({"token_timeout": "1"}, TypeError, "token_timeout: expected seconds, found '1'"),
        (
            {"first_token_timeout": float("nan")},
            ValueError,
            "first_token_timeout: expected seconds, more than 0, found nan",
        ),
        ({"join_timeout": -1}, ValueError, "join_timeout: expected seconds, 0 or more, found -1"),
        ({"join_timeout": None}, TypeError, "join_timeout: expected seconds, found None"),
        ({"tokenizer": None}, TypeError, "tokenizer: expected a tokenizer"),
        ({"tokenizer": 5}, TypeError, "tokenizer: expected a tokenizer"),
        ({"stop": ""}, ValueError, "stop"),
        ({"stop": 7}, TypeError, None),
        ({"batch": 0}, ValueError, "batch: expected at least 1, found 0"),
        ({"batch": "2"}, TypeError, "batch: expected an int, found '2'"),
        ({"pool": 3}, TypeError, "pool: expected a burble.Pool or None, found int"),
        ({"streamer": 3}, TypeError, "streamer: expected none"),
        ({"no_such": 3}, TypeError, "say: got an unexpected keyword argument 'no_such'"),
        ({"text": 3}, TypeError, "say: multiple values for argument 'text'"),
    ],
)
def test_invalid_stream_options_are_refused_at_call(
    options: dict[str, Any], error: type[Exception], message: str | None
) -> None:
    threads = threading.active_count()
    with pytest.raises(error, match=message):
        stream(say, TEXT, **options)
    assert threading.active_count() <= threads


@pytest.mark.parametrize(
    ("generate", "message"),
    [
        (None, "generate: expected a function that is called with streamer=, found NoneType"),
        (coroutine, "generate: expected a blocking function, found an asynchronous one"),
        (asynchronous, "generate: expected a blocking function, found an asynchronous one"),
        (
            generator,
            "found the generator generator: burble.iterate streams what a generator yields",
        ),
        (lambda: None, "got an unexpected keyword argument 'streamer'"),
        (say, "say: missing a required argument: 'text'"),
    ],
)
def test_object_that_cannot_generate_is_refused(generate: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        stream(generate)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "source: expected an iterable or a function that returns one, found int$"),
        (asynchronous, "found asynchronous, which is asynchronous: iterate it with `async for`"),
        (asynchronous(), "found asynchronous, which is asynchronous"),
        (coroutine, "found coroutine, which is asynchronous"),
    ],
)
def test_source_that_cannot_be_iterated_in_thread_is_refused(source: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        burble.iterate(source)


def test_model_instead_of_its_generate_is_refused(shakespeare: Any, shakespeare_model: Any) -> None:
    # It can be called with any argument, and would end without a word.
    inputs = shakespeare("ROMEO:", return_tensors="pt")
    message = "found GPT2LMHeadModel: pass its method generate"
    with pytest.raises(TypeError, match=message):
        burble.stream(shakespeare_model, **inputs, tokenizer=shakespeare)
    streamer = burble.AsyncTextIteratorStreamer(shakespeare)
    with pytest.raises(TypeError, match=message):
        asyncio.run(streamer.run(shakespeare_model, **inputs))


def test_function_that_returns_no_iterable_fails_stream() -> None:
    with pytest.raises(TypeError, match="what it returned: expected an iterable, found int"):
        list(burble.iterate(lambda: 3))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"start": "end"},
            ValueError,
            "start: expected a position, 'oldest' or 'tail', found 'end'",
        ),
        ({"start": -1}, ValueError, "start: expected at least 0, 'oldest' or 'tail', found -1"),
        ({"start": 2**63}, ValueError, "start: expected at most 9223372036854775807"),
        (
            {"start": 2**63 - 1},
            ValueError,
            r"start: expected at most \d+, .*, found 9223372036854775807",
        ),
        ({"max_lag": 0}, ValueError, "max_lag: expected at least 1, 'stream' or None, found 0"),
        ({"on_lag": "wait"}, ValueError, "on_lag: expected 'block' or 'drop_reader', found 'wait'"),
    ],
)
def test_invalid_reader_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    handle = stream(say, TEXT, max_lag=8)
    with pytest.raises(error, match=message):
        handle.reader(**options)
    assert "".join(handle) == TEXT


def test_batch_not_announced_is_refused_with_hint() -> None:
    def generate(*, streamer: Any) -> None:
        streamer.put(np.zeros((2, 5), int))

    np = pytest.importorskip("numpy")
    with pytest.raises(ValueError, match=r"found those of 2: .*batch=2"):
        list(stream(generate))


@pytest.mark.parametrize(
    "option", [{"skip_prompt": True}, {"skip_special_tokens": False}, {"decode_kwargs": {"x": 1}}]
)
def test_channel_decoding_options_without_tokenizer_are_refused(option: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} needs tokenizer="):
        burble.channel(**option)
