# SPDX-License-Identifier: MIT
"""Lone surrogates, which JSON can hold and UTF-8 cannot, are carried as any other text, and as
events they are escaped. An item of which no event can be made ends the events with ``failed``."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from typing import Any, Callable

import pytest
from helpers import SOON, in_thread

import burble

HALVES = ["Oh ", "\ud83d", "\ude00", " so\udfff", "\ud800", "né 😀"]
WHOLE = "".join(HALVES)


class Tokenizer:
    """Without a rule that burble knows: token 0 is the first of the pieces."""

    def __init__(self, pieces: list[str] = HALVES) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int], **options: Any) -> str:
        return "".join(self.pieces[i] for i in ids)


def body_of(source: Any, **options: Any) -> bytes:
    async def main() -> bytes:
        events = burble.sse(source, **options)
        try:
            return b"".join([part async for part in events])
        finally:
            await events.aclose()

    return asyncio.run(main())


def events_of(source: Any, **options: Any) -> list[tuple[str, str]]:
    """The name and the data of each event, whose bytes must be UTF-8."""
    blocks = body_of(source, **options).decode().split("\n\n")[:-1]
    found = []
    for block in blocks:
        name = re.findall(r"^event: (.*)$", block, re.MULTILINE)
        data = re.findall(r"^data: (.*)$", block, re.MULTILINE)
        found.append((name[0] if name else "message", "\n".join(data)))
    return found


def texts(events: list[tuple[str, str]]) -> str:
    return "".join(json.loads(data)["text"] for name, data in events if name == "message")


def joined(text: str) -> str:
    """As what joins UTF-16 has it: a browser, and json.loads of both halves in one string."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


# ---- ways of text ------------------------------------------------------------------------------


def by_put_text() -> burble.Stream[str]:
    writer, stream = burble.channel()
    for piece in HALVES:
        writer.put_text(piece)
    writer.end()
    return stream


def by_generate() -> burble.Stream[str]:
    def generate(streamer: Any) -> None:
        for piece in HALVES:
            streamer.put_text(piece)

    return burble.stream(generate, tokenizer=Tokenizer())


def by_window(**options: Any) -> burble.Stream[str]:
    def generate(streamer: Any) -> None:
        for i in range(len(HALVES)):
            streamer.put(i)

    return burble.stream(generate, tokenizer=Tokenizer(), **options)


def by_window_in_words() -> burble.Stream[str]:
    return by_window(chunk="word")


def by_window_with_stop_strings() -> burble.Stream[str]:
    return by_window(stop=["never", "né 😁"])


def by_batch_row() -> burble.Stream[str]:
    def generate(streamer: Any) -> None:
        for i in range(len(HALVES)):
            streamer.put([i])

    return burble.stream(generate, tokenizer=Tokenizer(), batch=1)[0]


def by_items() -> burble.Stream[str]:
    return burble.iterate(HALVES)


def by_items_put_together() -> burble.Stream[str]:
    return burble.iterate(HALVES, coalesce=True)


WAYS = (
    by_put_text,
    by_generate,
    by_window,
    by_window_in_words,
    by_window_with_stop_strings,
    by_batch_row,
    by_items,
    by_items_put_together,
)
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@ways
def test_lone_surrogates_in_text_are_unchanged(way: Callable[[], Any]) -> None:
    assert "".join(way()) == WHOLE


@ways
def test_lone_surrogates_in_events_are_escaped(way: Callable[[], Any]) -> None:
    events = events_of(way())
    assert events[-1][0] == "end"
    assert joined(texts(events)) == joined(WHOLE)


@ways
def test_lone_surrogates_in_reader_events_are_escaped(way: Callable[[], Any]) -> None:
    events = events_of(way().reader())
    assert events[-1][0] == "end"
    assert joined(texts(events)) == joined(WHOLE)


def test_lone_surrogates_in_batch_events_are_escaped() -> None:
    def generate(streamer: Any) -> None:
        for i in range(len(HALVES)):
            streamer.put([i, 0])

    events = events_of(burble.stream(generate, tokenizer=Tokenizer(), batch=2))
    rows = ["", ""]
    for _, data in events[:-1]:
        event = json.loads(data)
        rows[event["row"]] += event["text"]
    assert [joined(row) for row in rows] == [joined(WHOLE), "Oh " * len(HALVES)]
    assert events[-1][0] == "end"


def test_lone_surrogate_returned_by_encode_becomes_replacement() -> None:
    events = events_of(by_put_text(), encode=lambda text: f"> {text}")
    assert [data for _, data in events[:3]] == ["> Oh ", "> \ufffd", "> \ufffd"]
    assert events[-1][0] == "end"


def test_lone_surrogate_in_finish_reason_is_escaped() -> None:
    writer, stream = burble.channel()
    writer.end("\ud83d")
    assert json.loads(events_of(stream)[0][1]) == {"finish_reason": "\ud83d"}


@pytest.mark.parametrize("chunk", ["word", "token"])
def test_lone_surrogates_in_streamer_equal_decode(chunk: Any) -> None:
    streamer = burble.TextIteratorStreamer(Tokenizer(), chunk=chunk)

    def generate() -> None:
        for i in range(len(HALVES)):
            streamer.put([i])
        streamer.end()

    with in_thread(generate):
        assert "".join(streamer) == WHOLE


@pytest.mark.parametrize("stop", [(), "né 😀"])
def test_lone_surrogates_in_detokenizer_equal_decode(stop: Any) -> None:
    detokenizer = burble.Detokenizer(Tokenizer(), stop=stop, rewind=3, offsets=True)
    text = "".join([detokenizer.push(i) for i in range(len(HALVES))]) + detokenizer.finish()
    assert text == (WHOLE.removesuffix("né 😀") if stop else WHOLE)


def test_lone_surrogates_of_dead_thread_are_unchanged() -> None:
    """What the chunker held, too."""
    streamer = burble.TextIteratorStreamer(Tokenizer(["a ", "\ud83d"]), chunk="word")

    def generate() -> None:
        streamer.put([0])
        streamer.put([1])

    thread = threading.Thread(target=generate)
    thread.start()
    thread.join(SOON)
    found: list[str] = []
    with pytest.raises(burble.ProducerDied):
        found.extend(streamer)
    assert "".join(found) == "a \ud83d"


# ---- a tokenizer that fails at the end ---------------------------------------------------------


class FailingAtTheEnd(Tokenizer):
    """Whose text cannot be decoded any more, once all of it is there."""

    def __init__(self) -> None:
        super().__init__(["to be ", "or", "not"])
        self.broken = False

    def decode(self, ids: list[int], **options: Any) -> str:
        if self.broken:
            raise OSError("the tokenizer is gone")
        return super().decode(ids)


def test_tokenizer_that_fails_at_end_loses_no_held_word() -> None:
    tokenizer = FailingAtTheEnd()
    writer, stream = burble.channel(tokenizer, chunk="word")
    writer.put(0)
    writer.put(1)
    tokenizer.broken = True
    with pytest.raises(OSError, match="gone"):
        writer.end()
    found: list[str] = []
    with pytest.raises(OSError, match="gone"):
        found.extend(stream)
    assert "".join(found) == "to be or"


# ---- what cannot be an event -------------------------------------------------------------------


class NotJson:
    pass


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


BAD = {
    "not a number": float("nan"),
    "infinity": {"a": [float("inf")]},
    "object": NotJson(),
    "bytes": b"x",
    "set": {1},
    "cycle": cyclic(),
    "key": {(1, 2): 3},
}
bad = pytest.mark.parametrize("item", BAD.values(), ids=BAD.keys())


@bad
def test_item_not_json_sends_failed_event_after_earlier_ones(
    item: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stream = burble.iterate(["one", "two", item, "three"])
    events = events_of(stream)
    assert [name for name, _ in events] == ["message", "message", "failed"]
    assert texts(events) == "onetwo"
    told = json.loads(events[-1][1])
    assert told["message"] == "an event could not be encoded"
    assert told["type"] in ("ValueError", "TypeError")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("burble", logging.ERROR)
    assert record.exc_info is not None
    assert type(record.exc_info[1]).__name__ == told["type"]
    assert stream.state in ("cancelled", "ended")


@bad
def test_reader_item_not_json_sends_failed_event(item: Any) -> None:
    stream = burble.iterate([item], keep="all")
    assert [name for name, _ in events_of(stream.reader())] == ["failed"]
    assert [name for name, _ in events_of(stream)] == ["failed"]


@pytest.mark.parametrize(
    "error",
    [KeyError("mine"), StopIteration(), StopAsyncIteration(), burble.Cancelled(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("kind", ["stream", "kept", "reader", "batch"])
def test_encode_that_raises_sends_failed_event(
    kind: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def encode(item: Any) -> Any:
        raise error

    def generate(streamer: Any) -> None:
        streamer.put([0, 0])

    source: Any
    if kind == "batch":
        source = burble.stream(generate, tokenizer=Tokenizer(), batch=2)
    else:
        stream = burble.iterate(["a", "b"], keep="all" if kind == "kept" else None)
        source = stream.reader() if kind == "reader" else stream
    ((name, data),) = events_of(source, encode=encode)
    assert name == "failed"
    assert json.loads(data)["type"] == type(error).__name__
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


@pytest.mark.parametrize("result", [float("nan"), NotJson(), b"x"])
def test_encode_with_result_not_json_sends_failed_event(result: Any) -> None:
    ((name, _),) = events_of(burble.iterate(["a"]), encode=lambda text: result)
    assert name == "failed"
