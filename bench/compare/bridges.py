# SPDX-License-Identifier: MIT
"""The peers, each as its users put it between ``generate`` in a thread and an event loop.

A bridge is made where its consumer runs, and entered; that starts the generation. What its users
do at the end, it does when it is left. Where a peer has a setting for what a situation asks, the
bridge uses it; where it has none, it does without.
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

# The kinds of timeouts, as a situation asks for them.
FIRST, EACH, WHOLE = "first token", "each token", "whole text"


class Bridge:
    """What every column has.

    :param lag: how much the generation may be ahead of its reader, where that can be chosen.
    :param timeouts: seconds by kind; ``own_timeouts`` says which kinds the bridge looks after.
    :param stop: a stop string.
    :param replay: whether the text is to be kept for readers who come later.
    """

    own_timeouts: frozenset[str] = frozenset()

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
        """Read what comes; again, for a second reader."""
        raise NotImplementedError

    def queued(self) -> int:
        """How many chunks are there that nobody has read."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """The options of ``generate``, and its own look for a stop string."""
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


class Asynchronous(Bridge):
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


class Synchronous(Bridge):
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
    """Stands for a ``_StreamError`` in the queue, which is no exception and holds a message."""


class Direct(Bridge):
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
    """The streamer that people write around a queue for threads and tasks; None is the end."""

    def __init__(self, queue: Any, tokenizer: Any) -> None:
        super().__init__(tokenizer, **DECODING)
        self.queue = queue

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.queue.sync_q.put(text)
        if stream_end:
            self.queue.sync_q.put(None)


class _Queue(Bridge):
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
