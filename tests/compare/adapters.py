# SPDX-License-Identifier: MIT
"""How each peer carries text from ``generate`` in a thread to an event loop: as its users do it.

An adapter is created on the loop of its consumer. Entering it starts the generation; leaving it
does the peer's usual clean-up. An adapter uses a peer's own setting for a situation where there is
one, and does without where there is none.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from threading import Thread
from typing import Any, Self

import anyio.to_thread
import transformers
from generation import Generation

import burble

# The kinds of timeouts that a situation asks for.
FIRST, EACH, WHOLE = "first token", "each token", "whole text"


class Adapter:
    """What all adapters share.

    :param lag: the number of tokens that the generation may be ahead of its reader.
    :param timeouts: seconds by kind; only of the kinds in ``own_timeouts``.
    :param stop: a stop string.
    :param replay: keep the text for later readers.
    """

    own_timeouts: frozenset[str] = frozenset()  # the kinds for which the peer has a setting

    def __init__(
        self,
        generation: Generation,
        *,
        lag: int | None = None,
        timeouts: Mapping[str, float] | None = None,
        stop: str | None = None,
        replay: bool = False,
    ) -> None:
        self.generation = generation
        self.lag = lag
        self.timeouts = timeouts or {}
        self.stop = stop
        self.replay = replay

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(self, *exception: object) -> None:
        pass

    def read(self) -> AsyncIterator[Any]:
        """Read the text. A second call is a second reader."""
        raise NotImplementedError

    def queued(self) -> int:
        """Return the number of unread chunks."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Return the options of ``generate``, with its own ``stop_strings``."""
        stop = {} if self.stop is None else {"stop_strings": [self.stop]}
        return {**self.generation.options, **stop}

    def start(self, streamer: Any) -> None:
        """Generate in a thread, as the documentation of transformers does it."""
        arguments = {
            **self.generation.arguments,
            **self.options(),
            "tokenizer": self.generation.tokenizer,
            "streamer": streamer,
        }
        Thread(target=self.generation.model.generate, kwargs=arguments, daemon=True).start()


DECODING = {"skip_prompt": True, "skip_special_tokens": True}


class Asynchronous(Adapter):
    """transformers.AsyncTextIteratorStreamer: ``async for``."""

    own_timeouts = frozenset((FIRST, EACH))  # one setting for both

    async def __aenter__(self) -> Self:
        self.streamer = transformers.AsyncTextIteratorStreamer(
            self.generation.tokenizer, **DECODING, timeout=_item_timeout(self.timeouts)
        )
        self.start(self.streamer)
        return self

    def read(self) -> AsyncIterator[str]:
        return self.streamer

    def queued(self) -> int:
        return self.streamer.text_queue.qsize()


class Synchronous(Adapter):
    """transformers.TextIteratorStreamer, whose blocking ``next`` is called in a thread, as web
    frameworks do it."""

    own_timeouts = frozenset((FIRST, EACH))

    async def __aenter__(self) -> Self:
        self.streamer = transformers.TextIteratorStreamer(
            self.generation.tokenizer, **DECODING, timeout=_item_timeout(self.timeouts)
        )
        self.start(self.streamer)
        return self

    async def read(self) -> AsyncIterator[str]:
        while (text := await anyio.to_thread.run_sync(next, self.streamer, None)) is not None:
            yield text

    def queued(self) -> int:
        return self.streamer.text_queue.qsize()


def _item_timeout(timeouts: Mapping[str, float]) -> float | None:
    return timeouts.get(FIRST, timeouts.get(EACH))


class StreamError(Exception):
    """Raised for a ``_StreamError`` in the queue, which is a message and not an exception."""


class Direct(Adapter):
    """DirectStreamer, with the manager and the loop of transformers' server for chats."""

    async def __aenter__(self) -> Self:
        from transformers.cli.serving.utils import GenerateManager

        generation = self.generation
        config = copy.deepcopy(generation.model.generation_config)
        config.update(**self.options())
        self.queue, self.streamer = GenerateManager().generate_streaming(
            generation.model,
            generation.tokenizer,
            {**generation.inputs, **generation.watch},
            config,
            request_id="",
        )
        return self

    async def read(self) -> AsyncIterator[str]:
        from transformers.cli.serving.utils import _StreamError

        try:
            while (item := await self.queue.get()) is not None:
                if isinstance(item, _StreamError):
                    raise StreamError(item.msg)
                yield item
        except (GeneratorExit, asyncio.CancelledError):
            self.streamer.cancel()
            raise

    def queued(self) -> int:
        return self.queue.qsize()


class _IntoQueue(transformers.TextStreamer):
    """The usual streamer around a queue for threads and tasks; None marks the end."""

    def __init__(self, queue: Any, tokenizer: Any) -> None:
        super().__init__(tokenizer, **DECODING)
        self.queue = queue

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.queue.sync_q.put(text)
        if stream_end:
            self.queue.sync_q.put(None)


class _Queue(Adapter):
    def make_queue(self, size: int) -> Any:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self.queue = self.make_queue(self.lag or 0)
        self.start(_IntoQueue(self.queue, self.generation.tokenizer))
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.queue.aclose()

    async def read(self) -> AsyncIterator[str]:
        while (text := await self.queue.async_q.get()) is not None:
            yield text

    def queued(self) -> int:
        return self.queue.sync_q.qsize()


class Janus(_Queue):
    """janus.Queue, closed when its consumer leaves, as its documentation does it."""

    def make_queue(self, size: int) -> Any:
        import janus

        return janus.Queue(size)


class Culsans(_Queue):
    """culsans.Queue, used in the same way."""

    def make_queue(self, size: int) -> Any:
        import culsans

        return culsans.Queue(size)


class Burble(Adapter):
    """burble.stream, as an asynchronous context manager."""

    own_timeouts = frozenset((FIRST, EACH, WHOLE))

    async def __aenter__(self) -> Self:
        self.context = burble.stream(
            self.generation.model.generate,
            **self.generation.arguments,
            tokenizer=self.generation.tokenizer,
            **self._settings(),
        )
        self.stream = await self.context.__aenter__()
        self.has_reader = False
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.context.__aexit__(*exception)

    def read(self) -> AsyncIterator[Any]:
        if self.has_reader:
            return self.stream.reader(start=0).__aiter__()
        self.has_reader = True
        return self.stream.__aiter__()

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.lag is not None:
            settings.update(max_lag=self.lag, lag_unit="tokens")
        if self.stop is not None:
            settings.update(stop=[self.stop])
        if self.replay:
            settings.update(keep="all")
        names = {
            FIRST: "first_token_timeout",
            EACH: "token_timeout",
            WHOLE: "total_timeout",
        }
        settings.update({names[kind]: seconds for kind, seconds in self.timeouts.items()})
        return settings
