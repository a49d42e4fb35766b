# SPDX-License-Identifier: MIT
"""llama.cpp as an engine: many texts at once of a GGUF model, with neither transformers nor torch.

::

    with burble.llama.Engine("model.gguf") as engine:
        async with engine.generate("ROMEO:", max_new_tokens=200) as stream:
            async for text in stream:
                print(text, end="", flush=True)

It is there where burble was built with it: ``-Dllama=enabled``.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple, TypeVar

from . import _core
from ._job import ExternalSink, Job
from ._options import OptionSet, TextOptions, count, one_of
from ._stats import Stats, rate
from ._stream import Stream
from ._text import Chunk
from ._typing import Unpack
from .detokenizer import Stop, stop_strings

if not hasattr(_core, "LlamaEngine"):
    raise ImportError(
        "this burble was built without llama.cpp. With llama.cpp installed where pkg-config finds "
        "it (pkg-config --exists llama), build burble from its sources: "
        "pip install . --config-settings=setup-args=-Dllama=enabled",
        name=__name__,
    )

__all__ = ["Engine", "EngineStats"]

E = TypeVar("E", bound="Engine")

_UINT32_MAX = 0xFFFFFFFF

_GENERATE = OptionSet(TextOptions.__annotations__, join_timeout=0.0)


class EngineStats(NamedTuple):
    """What an engine does, and has done so far."""

    active: int
    """Requests that are being computed: each has a slot."""
    waiting: int
    """Requests that wait for a slot."""
    requests: int
    """Requests that came in."""
    steps: int
    """Steps: each computes a token for every request that has a slot."""
    prompt_tokens: int
    """Tokens of prompts that were computed."""
    tokens: int
    """Tokens that were generated."""


class _Request(Job):
    """What the engine's thread does for one stream."""

    __slots__ = ()

    def __init__(self, log: _core.Log) -> None:
        super().__init__("the engine", None, ExternalSink((log,)))

    def result(self, log: _core.Log) -> Any:
        return None if log.state == "ended" else super().result(log)


class Engine:
    """A model in llama.cpp, and the thread that generates with it, for many requests at once.

    Each step of the thread computes the next token of every request that has a slot; requests come
    and go between steps. It writes their streams without the GIL, whatever Python does meanwhile.

    Constructing it loads the model, which blocks: in a task,
    ``await asyncio.to_thread(Engine, path)``. An engine is closed when its block is left or by
    :meth:`close`, which cancels its streams; one that is let go is closed when the last of its
    streams and their readers is let go, too, and all are when the interpreter exits. A forked child
    has none: there, streams of before raise :exc:`burble.ProducerDied`.

    All methods may be called from any thread.

    :param path: a GGUF file.
    :param slots: how many requests are computed at once: 1 to 256.
    :param context: how many tokens one request may have, prompt and text together; each slot has
        memory for that many. None: what the model was trained with, at most 4,096.
    :param queue: how many requests may wait for a slot.
    :param batch: how many tokens of prompts a step takes at most: smaller ones let text flow more
        evenly while long prompts come in, larger ones take those in faster.
    :param threads: how many threads compute; None: one for each processor that the process may use.
        Small models are fastest with one.
    :param gpu_layers: how many layers a GPU takes, if llama.cpp was built for one; None: all.
    :param check_tensors: look through all weights for values that cannot be, which takes long.
    :param cache_f32: remember texts in 32 bits rather than in 16.
    :param progress: called, in this thread, with how much is loaded, from 0.0 to 1.0; what it
        raises ends the loading.
    :raises OSError: where the file cannot be read, or the threads not be started.
    :raises ValueError: where it is not a GGUF file or not a model that continues texts, or an
        option is out of its range.
    :raises MemoryError: for more slots, or a longer context, than there is memory for.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        slots: int = 8,
        context: int | None = None,
        queue: int = 1024,
        batch: int = 512,
        threads: int | None = None,
        gpu_layers: int | None = None,
        check_tensors: bool = False,
        cache_f32: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> None:
        if progress is not None and not callable(progress):
            raise TypeError(f"progress: expected a function or None, found {progress!r}")
        self._path = os.fspath(path)
        self._core = _core.LlamaEngine(
            path,
            progress,
            slots=_number("slots", slots, 1),
            context=0 if context is None else _number("context", context, 1),
            queue=_number("queue", queue, 0),
            batch=_number("batch", batch, 1),
            threads=0 if threads is None else _number("threads", threads, 1),
            gpu_layers=-1 if gpu_layers is None else _number("gpu_layers", gpu_layers, 0, 1 << 30),
            check_tensors=check_tensors,
            cache_f32=cache_f32,
        )
        _engines.add(self)

    # ---- generating --------------------------------------------------------------------------

    @_GENERATE.shown_in
    def generate(
        self,
        prompt: str | Iterable[int] | None = None,
        *,
        messages: Iterable[Mapping[str, str]] | None = None,
        template: str | None = None,
        specials: bool = False,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        ignore_eos: bool = False,
        skip_special_tokens: bool = True,
        chunk: Chunk = "token",
        stop: Stop = (),
        include_stop: bool = False,
        **given: Unpack[TextOptions],
    ) -> Stream[str]:
        """Generate a text, and stream it. Returns at once; the text begins when there is a slot.

        A text that is not wanted any more (its block was left, it was cancelled or let go) leaves
        its slot before the next step. While its reader is behind by ``max_lag`` it keeps the slot,
        and is left out of the steps. :attr:`burble.Stream.result` is None.

        :param prompt: text, or token ids.
        :param messages: in its place, a conversation: ``{"role": ..., "content": ...}`` each, which
            becomes a prompt by the model's chat template. llama.cpp recognises the usual ones. The
            text of a special token in a message stands for that token, as in the template: take it
            out of what a stranger wrote, or he may begin a message in another role.
        :param template: the name of a template that llama.cpp has (``"chatml"``, ``"llama3"`` …).
        :param specials: the text of a special token in ``prompt`` stands for that token; not for
            what a stranger wrote.
        :param max_new_tokens: None: as many as the context has room for.
        :param temperature: 0: always the likeliest token. Else one is drawn: of the ``top_k``
            likeliest (0: all), the likeliest that make up ``top_p``, those at least ``min_p`` times
            as likely as the first, by the random numbers that ``seed`` begins (None: others each
            time).
        :param ignore_eos: go on after the model's own end.

        The other parameters are those of :func:`burble.stream`.

        :raises ValueError: for a prompt without a token or too long for the context, an id that the
            model does not have, a template that llama.cpp does not know, and options out of their
            range.
        :raises burble.Error: where the engine is closed, or the queue full.
        """
        one_of("chunk", chunk, ("word", "token"))
        flow = _GENERATE.check(given)
        if messages is not None:
            if prompt is not None:
                raise TypeError("expected a prompt or messages, found both")
            prompt, specials = self.chat(messages, template), True
        elif prompt is None:
            raise TypeError("expected a prompt or messages, found neither")
        elif template is not None:
            raise TypeError("template= needs messages=: it is not applied to a prompt")
        elif isinstance(prompt, (bytes, bytearray)):  # whose items are numbers, and no ids
            raise TypeError(f"prompt: expected text or token ids, found {type(prompt).__name__}")
        log = flow.new_log()
        stream: Stream[str] = Stream(_Request(log), log, flow, _stats)
        self._core.submit(
            log,
            self,  # which every reader of the log keeps
            prompt if isinstance(prompt, str) else list(prompt),
            specials=specials,
            max_tokens=0
            if max_new_tokens is None
            else _number("max_new_tokens", max_new_tokens, 1),
            temperature=temperature,
            top_k=_number("top_k", top_k, 0),
            top_p=top_p,
            min_p=min_p,
            seed=_UINT32_MAX if seed is None else _number("seed", seed, 0, _UINT32_MAX - 1),
            stop=stop_strings(stop),
            include_stop=include_stop,
            words=chunk == "word",
            skip_special=skip_special_tokens,
            ignore_end=ignore_eos,
        )
        return stream

    def tokenize(self, text: str, *, specials: bool = False) -> list[int]:
        """The token ids of a text, with what the model wants at the beginning (such as BOS).

        :param specials: as for :meth:`generate`.
        """
        return self._core.tokenize(text, specials)

    def chat(self, messages: Iterable[Mapping[str, str]], template: str | None = None) -> str:
        """The prompt of a conversation, which ends where the assistant's answer begins; for
        ``generate(..., specials=True)``. Parameters and errors as there."""
        pairs = []
        for i, message in enumerate(messages):
            try:
                pairs.append((message["role"], message["content"]))
            except (KeyError, TypeError):
                raise ValueError(
                    f"messages: expected a dict with 'role' and 'content', found {message!r} at {i}"
                ) from None
        return self._core.chat(tuple(pairs), template)

    # ---- the engine --------------------------------------------------------------------------

    @property
    def stats(self) -> EngineStats:
        """What it does, and has done so far. Raises :exc:`burble.Error` once it is closed."""
        return EngineStats(*self._core.stats)

    @property
    def context(self) -> int:
        """How many tokens a request may have, prompt and text together."""
        return self._core.context

    @property
    def closed(self) -> bool:
        return self._core.closed

    def close(self) -> None:
        """Cancel all its streams, also in the midst of a step, and free what the engine has.
        Idempotent. Streams can be read on, to their :exc:`burble.Cancelled`."""
        self._core.close()

    def __enter__(self: E) -> E:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self: E) -> E:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        try:
            stats = self.stats
        except _core.Error:
            return f"<burble.llama.Engine of {self._path!r}: closed>"
        return (
            f"<burble.llama.Engine of {self._path!r}: "
            f"{stats.active} running, {stats.waiting} waiting>"
        )


def _number(name: str, value: Any, least: int, most: int = _UINT32_MAX) -> int:
    if count(name, value, least) > most:
        raise ValueError(f"{name}: expected at most {most}, found {value}")
    return int(value)


def _stats(log: _core.Log) -> Stats:
    stats = log.stats
    assert stats is not None  # the engine writes it
    tokens, *times = stats
    first, last, p50, p99 = (time if time >= 0 else None for time in times)
    return Stats(tokens, log.position, first, p50, p99, rate(tokens, first, last), log.blocked)


# ---- the end of the process --------------------------------------------------------------------

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _at_exit() -> None:
    for engine in list(_engines):
        engine.close()


atexit.register(_at_exit)
