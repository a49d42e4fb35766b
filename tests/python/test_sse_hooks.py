# SPDX-License-Identifier: MIT
"""What a program says of the events of burble.sse: first=, end=, failed=, ids=, and events with
names."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from test_sse import body_of, ended_channel, parse

import burble

pytest.importorskip("httpx_sse")


def events_of(source: Any, **options: Any) -> list[Any]:
    return parse(asyncio.run(body_of(burble.sse(source, **options))))


def shown(events: list[Any]) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in events]


def failed_channel(error: BaseException) -> burble.Stream[str]:
    writer, stream = burble.channel()
    writer.put_text("a")
    writer.fail(error)
    return stream


def test_first_event_comes_before_text_without_id() -> None:
    stream = ended_channel(["a"], keep="all")
    events = events_of(stream, first=burble.Event({"model": "m"}, "begin"))
    assert shown(events)[:2] == [("begin", '{"model": "m"}'), ("message", '{"text": "a"}')]
    assert events[0].id == ""
    again = events_of(stream, first={"model": "m"}, last_event_id=events[1].id)
    assert [event.event for event in again] == ["end"]


def test_first_event_is_sent_before_there_is_text() -> None:
    async def main() -> bytes:
        _, stream = burble.channel()
        events = burble.sse(stream, first="hello")
        try:
            return await events.__anext__()
        finally:
            await events.aclose()

    assert asyncio.run(main()) == b"data: hello\n\n"


def test_encode_names_events_or_makes_several() -> None:
    def encode(text: str) -> Any:
        if text == "a":
            return burble.Event({"t": text}, "token")
        return [burble.Event("1"), burble.Event("2", "two")]

    stream = ended_channel(["a", "b"])
    events = events_of(stream, encode=encode)
    assert shown(events)[:3] == [("token", '{"t": "a"}'), ("message", "1"), ("two", "2")]
    # The decoder remembers an id for later events: only the last one of "b" has its own.
    assert [event.id[-10:] for event in events[:3]] == ["0000000000", "0000000000", "0000000001"]


def test_list_of_other_items_is_json() -> None:
    assert shown(events_of(ended_channel(["a"]), encode=lambda text: [text]))[0][1] == '["a"]'
    assert shown(events_of(ended_channel(["a"]), encode=lambda text: []))[0][1] == "[]"


def test_end_replaces_last_event() -> None:
    said: list[Any] = []

    def end(reason: str) -> Any:
        said.append(reason)
        return {"why": reason}

    assert shown(events_of(ended_channel(["a"]), end=end))[-1] == ("end", '{"why": "stop"}')
    assert said == ["stop"]
    events = events_of(ended_channel(["a"]), end=lambda _: burble.Event("[DONE]"))
    assert shown(events)[-1] == ("message", "[DONE]")


def test_failed_gets_exception_and_replaces_last_event(caplog: pytest.LogCaptureFixture) -> None:
    said: list[BaseException] = []

    def failed(error: BaseException) -> Any:
        said.append(error)
        return burble.Event({"oops": 1}, "broken")

    error = OSError("secret")
    events = events_of(failed_channel(error), failed=failed)
    assert shown(events) == [("message", '{"text": "a"}'), ("broken", '{"oops": 1}')]
    assert said == [error]
    assert [record.name for record in caplog.records] == ["burble"]


def test_failed_gets_exception_of_encode() -> None:
    def failed(error: BaseException) -> Any:
        return {"type": type(error).__name__}

    events = events_of(ended_channel(["a"]), encode=lambda text: text[9], failed=failed)
    assert shown(events) == [("failed", '{"type": "IndexError"}')]


@pytest.mark.parametrize("hook", ["end", "failed"])
def test_hook_that_raises_is_logged_and_client_gets_failed(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = ended_channel([]) if hook == "end" else failed_channel(burble.TotalTimeout("late"))
    hooks: dict[str, Any] = {hook: lambda _: 1 / 0}
    events = events_of(stream, **hooks)
    assert events[-1].event == "failed"
    assert json.loads(events[-1].data)["type"] == "ZeroDivisionError"
    assert "cannot encode its last event" in caplog.text


def test_without_ids_no_event_has_one() -> None:
    body = asyncio.run(body_of(burble.sse(ended_channel(["a"]), ids=False)))
    assert b"id:" not in body


@pytest.mark.parametrize("name", ["a\nb", "a\rb"])
def test_event_name_with_line_break_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name: expected a str without line breaks"):
        burble.Event("data", name)
