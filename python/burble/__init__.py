# SPDX-License-Identifier: MIT
"""burble: carries a language model's text from the thread that generates it to its readers.

Drop-in classes for transformers' streamers, without their defects::

    streamer = burble.AsyncTextIteratorStreamer(tokenizer)
    task = asyncio.create_task(streamer.run(model.generate, **inputs, max_new_tokens=200))
    async for new_text in streamer:
        print(new_text, end="", flush=True)

Streams that own their generation, from any ``generate`` or any other blocking source::

    async with burble.stream(model.generate, **inputs, tokenizer=tokenizer) as stream:
        async for text in stream:
            print(text, end="", flush=True)

And :class:`Detokenizer`, which converts token ids to text as they come.
"""

from ._batch import BatchStream, BatchStreamer
from ._core import (
    Cancelled,
    Error,
    FirstTokenTimeout,
    Gone,
    Lagged,
    ProducerDied,
    Stopped,
    Timeout,
    TokenTimeout,
    TotalTimeout,
    __version__,
)
from ._gather import gather
from ._pool import Pool
from ._request import Request, RequestError
from ._serve import serve
from ._server import Server, ServerStats
from ._sse import SSE_HEADERS, Event, EventStream, sse
from ._start import ChannelWriter, channel, iterate, stream
from ._stats import Stats
from ._stream import Reader, Stream
from .detokenizer import Detokenizer, Span, StopMatch
from .streamers import AsyncTextIteratorStreamer, TextIteratorStreamer, TextStreamer

__all__ = [
    "SSE_HEADERS",
    "AsyncTextIteratorStreamer",
    "BatchStream",
    "BatchStreamer",
    "Cancelled",
    "ChannelWriter",
    "Detokenizer",
    "Error",
    "Event",
    "EventStream",
    "FirstTokenTimeout",
    "Gone",
    "Lagged",
    "Pool",
    "ProducerDied",
    "Reader",
    "Request",
    "RequestError",
    "Server",
    "ServerStats",
    "Span",
    "Stats",
    "StopMatch",
    "Stopped",
    "Stream",
    "TextIteratorStreamer",
    "TextStreamer",
    "Timeout",
    "TokenTimeout",
    "TotalTimeout",
    "__version__",
    "channel",
    "gather",
    "iterate",
    "serve",
    "sse",
    "stream",
]
