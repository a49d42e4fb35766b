# SPDX-License-Identifier: MIT
"""burble.channel: a writer in place of a function."""

from __future__ import annotations

import pytest
from generating import TEXT
from helpers import in_thread, read
from shipped import ids, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)


def test_channel_carries_ids_and_text(kind: str) -> None:
    writer, handle = burble.channel(tokenizer())

    def write() -> None:
        with writer:
            writer.put([ids("Some text")])
            writer.put(ids(" that goes on"))
            writer.flush()
            writer.put_text(" and text")

    with in_thread(write):
        assert "".join(read(kind, handle)) == "Some text that goes on and text"
    assert (handle.finish_reason, handle.result) == ("end", None)


def test_channel_writer_sets_finish_reason() -> None:
    writer, handle = burble.channel()
    writer.put_text("text")
    writer.end("length", result=7)
    writer.end()
    assert list(handle) == ["text"]
    assert (handle.finish_reason, handle.result, handle.join()) == ("length", 7, 7)
    with pytest.raises(burble.Error):
        writer.put_text("more")
    with pytest.raises(TypeError, match="put_text"):
        burble.channel()[0].put(3)


def test_channel_stops_at_stop_string() -> None:
    writer, handle = burble.channel(tokenizer(), stop="not")
    for token in ids(TEXT):
        writer.put(token)
        if writer.stopped:
            break
    assert writer.stopped == burble.StopMatch(0, "not", 10, 13)
    writer.end()
    assert "".join(handle) == "To be, or "
    assert handle.finish_reason == "stop"
    assert handle.stopped == writer.stopped


def test_channel_writer_without_readers_is_cancelled() -> None:
    writer, handle = burble.channel()
    assert not writer.cancelled
    handle.close()
    assert writer.cancelled
    with writer:
        writer.put_text("nobody")
        pytest.fail("not reached")
    writer, handle = burble.channel()
    del handle
    with pytest.raises(burble.Cancelled):
        writer.put_text("nobody")


def test_channel_fails_with_its_writer() -> None:
    writer, handle = burble.channel()

    def write() -> None:
        with writer:
            writer.put_text("so far")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        write()
    assert next(handle) == "so far"
    for read_on in (lambda: next(handle), lambda: handle.result, handle.join):
        with pytest.raises(ZeroDivisionError):
            read_on()


def test_channel_writer_without_references_ends_wait(kind: str) -> None:
    writer, handle = burble.channel()
    writer.put_text("so far")
    del writer
    with pytest.raises(burble.ProducerDied, match="deleted without ending it"):
        read(kind, handle)
