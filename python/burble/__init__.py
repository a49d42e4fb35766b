# SPDX-License-Identifier: MIT
"""burble: a language model's text, from the thread that generates it to whoever reads it.

Drop-in classes for those of transformers, without their defects::

    streamer = burble.AsyncTextIteratorStreamer(tokenizer)
    task = asyncio.create_task(streamer.run(model.generate, **inputs, max_new_tokens=200))
    async for new_text in streamer:
        print(new_text, end="", flush=True)

and :class:`Detokenizer`, which turns token ids into text as they come.
"""

from ._core import Cancelled, Error, ProducerDied, Stopped, __version__
from ._pool import Pool
from .detokenizer import Detokenizer, Span, StopMatch
from .streamers import AsyncTextIteratorStreamer, TextIteratorStreamer, TextStreamer

__all__ = [
    "AsyncTextIteratorStreamer",
    "Cancelled",
    "Detokenizer",
    "Error",
    "Pool",
    "ProducerDied",
    "Span",
    "StopMatch",
    "Stopped",
    "TextIteratorStreamer",
    "TextStreamer",
    "__version__",
]
