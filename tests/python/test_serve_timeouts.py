# SPDX-License-Identifier: MIT
"""The timeouts of streams that burble.Server reads: no thread and no task waits for them."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from typing import Any

import pytest
from helpers import until

import burble
from burble import _core

pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

if not hasattr(_core, "Server"):
    pytest.skip("this burble was built without a server", allow_module_level=True)

from test_serve import serving, text_of  # noqa: E402

from burble._deadlines import Deadlines  # noqa: E402

FIRST = r"timed out after [0-9.]+ s waiting for the first token \(first_token_timeout\)"
NEXT = r"timed out after [0-9.]+ s waiting for the next token \(token_timeout\)"
TOTAL = r"timed out after [0-9.]+ s: the generation has not ended \(total_timeout\)"


class Slow:
    """A handler whose streams stop after some text; it keeps what it has."""

    def __init__(self, *pieces: str, **options: Any) -> None:
        self.pieces, self.options = pieces, options
        self.kept: list[tuple[burble.ChannelWriter, burble.Stream[str]]] = []

    def __call__(self, request: burble.Request) -> Any:
        writer, stream = burble.channel(**self.options)
        for piece in self.pieces:
            writer.put_text(piece)
        self.kept.append((writer, stream))
        return stream


@pytest.mark.parametrize(
    ("option", "message"), [("first_token_timeout", FIRST), ("total_timeout", TOTAL)]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_timeout_before_first_text_is_504(option: str, message: str, streamed: bool) -> None:
    handler = Slow(**{option: 0.05})
    with serving(handler) as (_, client):
        with pytest.raises(openai.InternalServerError, match=message) as caught:
            client.chat(stream=streamed)
        assert caught.value.status_code == 504


@pytest.mark.parametrize(("option", "message"), [("token_timeout", NEXT), ("total_timeout", TOTAL)])
def test_timeout_after_text_is_error_event(option: str, message: str) -> None:
    handler = Slow("one", **{option: 1.0})  # in which the text is sent
    with serving(handler) as (_, client):
        chunks: list[Any] = []
        with pytest.raises(openai.APIError, match=message):
            chunks.extend(client.chat(stream=True))
        assert text_of(chunks) == "one"
        writer, stream = handler.kept[0]
        assert isinstance(stream.error, burble.Timeout)
        with pytest.raises(type(stream.error)):
            writer.put_text("two")


def test_timeout_of_one_choice_fails_answer() -> None:
    streams = [Slow("one"), Slow("one", token_timeout=0.05)]
    with serving(lambda request: [handler(request) for handler in streams]) as (_, client):
        with pytest.raises(openai.InternalServerError, match=NEXT):
            client.chat(n=2)


def test_tokens_in_time_are_all_sent() -> None:
    """Tokens come for longer than the timeout, each in time."""
    handler = Slow("one", token_timeout=2.0, first_token_timeout=2.0)
    with serving(handler) as (_, client):
        texts = (text for chunk in client.chat(stream=True) if (text := text_of([chunk])))
        assert next(texts) == "one"
        writer, _ = handler.kept[0]
        for _ in range(3):
            assert not threading.Event().wait(0.1)
            writer.put_text("more")
            assert next(texts) == "more"
        writer.end()
        assert list(texts) == []


def test_wait_for_slow_client_is_no_timeout() -> None:
    """The writer stands still, since its reader is behind: the token is not late."""
    log = _core.Log()
    reader = log.reader(0, 4, "block")
    log.append("four")
    writer = threading.Thread(target=log.append, args=("more",))
    writer.start()
    until(lambda: log.blocked > 0.0)
    log.deadlines(None, 0.02, None)
    deadlines = Deadlines()
    deadlines.watch(log)
    blocked = log.blocked
    until(lambda: log.blocked > blocked + 0.1)
    assert log.state == "open"
    assert next(reader) == "four"
    writer.join()
    until(lambda: log.state == "failed")
    deadlines.stop()


def test_watched_log_is_not_kept() -> None:
    log = _core.Log()
    log.deadlines(None, None, 1000.0)
    deadlines, reference = Deadlines(), weakref.ref(log)
    deadlines.watch(log)
    del log
    until(lambda: gc.collect() >= 0 and reference() is None)
    deadlines.stop()


def test_stream_without_timeouts_starts_no_thread() -> None:
    deadlines = Deadlines()
    deadlines.watch(_core.Log())
    (thread,) = deadlines._thread
    assert thread.ident is None


def test_thread_ends_with_server() -> None:
    handler = Slow(total_timeout=1000.0)
    with serving(handler) as (server, client):
        (thread,) = server._deadlines._thread

        def ask() -> None:
            with contextlib.suppress(openai.APIError):
                client.chat()

        asking = threading.Thread(target=ask)
        asking.start()
        until(thread.is_alive)
    asking.join()
    until(lambda: not thread.is_alive())
