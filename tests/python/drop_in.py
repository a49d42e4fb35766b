# SPDX-License-Identifier: MIT
"""Shared by the tests of the drop-in streamers: making one, writing to it and reading it."""

from __future__ import annotations

from typing import Any, Union

from helpers import read, text_to_error
from shipped import ids, speak, tokenizer

import burble

Streamer = Union[burble.TextIteratorStreamer, burble.AsyncTextIteratorStreamer]
BOTH: list[Any] = [burble.TextIteratorStreamer, burble.AsyncTextIteratorStreamer]


def make_blocking(**options: Any) -> burble.TextIteratorStreamer:
    """A streamer whose every put() of a whole text is one chunk."""
    options.setdefault("chunk", "token")
    return burble.TextIteratorStreamer(tokenizer(), **options)


def make_async(**options: Any) -> burble.AsyncTextIteratorStreamer:
    """The same for asyncio."""
    options.setdefault("chunk", "token")
    return burble.AsyncTextIteratorStreamer(tokenizer(), **options)


def say(streamer: Streamer, *texts: str) -> None:
    for text in texts:
        streamer.put(ids(text))


def talk(text: str, *, streamer: Any) -> str:
    """A generate of the usual kind."""
    speak(streamer, text)
    streamer.end()
    return text.upper()


def read_out(streamer: Streamer) -> tuple[str, BaseException | None]:
    """All the text, in a thread or in a separate loop, and what ended it."""
    blocking = isinstance(streamer, burble.TextIteratorStreamer)
    return text_to_error("threads" if blocking else "asyncio", streamer)


def read_items(streamer: Streamer) -> list[str]:
    """All the chunks, in this thread or in a separate loop."""
    blocking = isinstance(streamer, burble.TextIteratorStreamer)
    return read("threads" if blocking else "asyncio", streamer)
