# SPDX-License-Identifier: MIT
"""An engine on llama.cpp: many texts at once from a GGUF model, without transformers and torch.

::

    with burble.llama.Engine("model.gguf") as engine:
        async with engine.generate("ROMEO:", max_new_tokens=200) as stream:
            async for text in stream:
                print(text, end="", flush=True)

It is available if burble was built with ``-Dllama=enabled``.
"""

from __future__ import annotations

import array
import atexit
import os
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple, TypeVar

from . import _core
from ._job import External
from ._options import UINT32_MAX, OptionSet, TextOptions, one_of, real, shown, uint32
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

__all__ = [
    "Embedder",
    "Engine",
    "EngineStats",
    "EngineStream",
    "Memory",
    "Place",
    "TokenLogprob",
    "memory",
]

E = TypeVar("E", bound="Engine")


_GENERATE = OptionSet(TextOptions.__annotations__, join_timeout=0.0)


class EngineStats(NamedTuple):
    """Counts of an engine."""

    active: int
    """Requests that are being computed: each has a slot."""
    waiting: int
    """Requests that wait for a slot."""
    paused: int
    """Requests that lost their slots to others, because their readers do not read."""
    requests: int
    """Requests that came in."""
    steps: int
    """Steps: each computes a token for every request that has a slot."""
    prompt_tokens: int
    """Tokens of prompts that were computed."""
    reused_tokens: int
    """Tokens of prompts that need not be computed: another prompt began with the same ones."""
    tokens: int
    """Tokens that were generated."""


class TokenLogprob(NamedTuple):
    """A token of a text, with log-probabilities (natural logarithms) of the model, before any
    parameter of sampling changes them."""

    id: int
    bytes: bytes
    """Its text, which may be a part of a character."""
    offset: int
    """Where its text begins: how many characters of the text come before it. If it completes a
    character, it is where that is. (Text of a stop string counts.)"""
    logprob: float
    top: tuple[tuple[int, float], ...]
    """The most likely tokens at its place, the likeliest first: ids and log-probabilities."""


class Place(NamedTuple):
    """Where a request is."""

    stage: str
    """``"queued"``; ``"prompt"``, which is being computed; ``"answer"``, which is being generated;
    ``"paused"``, without a slot until its reader reads; ``"over"``."""
    before: int
    """How many requests get a slot before this one, if it is queued."""
    prompt_tokens: int
    """Tokens of the prompt."""
    prompt_done: int
    """How many of these are computed or reused so far."""
    reused: int
    """How many of these were computed before."""


_STAGES = ("over", "queued", "prompt", "answer", "paused")  # as burble_llama_stage counts


class EngineStream(Stream[str]):
    """The stream of an engine's text."""

    __slots__ = ("_engine", "_tokens")
    _engine: _core.LlamaEngine
    _tokens: object

    @property
    def place(self) -> Place:
        """Where the request is at present: for a page that shows it, or a keep-alive."""
        stage, *counts = self._engine.find(self._log)
        return Place(_STAGES[stage], *counts)

    @property
    def logprobs(self) -> list[TokenLogprob] | None:
        """The tokens that were chosen so far, which may be ahead of the readers; None: ``logprobs``
        was not asked for."""
        if self._tokens is None:
            return None
        piece = self._engine.piece
        return [
            TokenLogprob(token, piece(token), offset, logprob, top)
            for token, offset, logprob, top in self._engine.logprobs(self._tokens)
        ]


def _bias(logit_bias: Mapping[int, float]) -> tuple[tuple[int, float], ...]:
    token: Any
    for token in logit_bias:
        if isinstance(token, int) and not -(1 << 31) <= token < 1 << 31:
            raise ValueError(f"logit_bias: expected token ids, found {shown(token)}")
    return tuple((token, real("logit_bias", number)) for token, number in logit_bias.items())


def _pairs(messages: Iterable[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for i, message in enumerate(messages):
        try:
            pairs.append((message["role"], message["content"]))
        except (KeyError, TypeError):
            raise ValueError(
                f"messages: expected a dict with 'role' and 'content', found {message!r} at {i}"
            ) from None
    return tuple(pairs)


class Engine:
    """A model in llama.cpp, and the thread that generates with it, for many requests at once.

    Each step of the thread computes the next token of every request that has a slot; requests start
    and end between steps. The thread writes the streams without the GIL.

    The constructor loads the model, which blocks: in a task, call
    ``await asyncio.to_thread(Engine, path)``. Leaving the block or :meth:`close` closes the engine
    and cancels its streams. If the engine is deleted, it is closed once its streams and their
    readers are deleted, too. All engines are closed when the interpreter exits. In a forked child,
    the engine is closed, and the parent's streams raise :exc:`burble.ProducerDied`.

    All methods may be called from any thread.

    :param path: a GGUF file.
    :param slots: the most requests that are computed at once: 1 to 256.
    :param context: the most tokens of one request, prompt and text together; each slot has memory
        for that many. None: the context that the model was trained with, but at most 4,096.
    :param queue: the most requests that may wait for a slot.
    :param batch: the most prompt tokens of one step, where no other request is being answered. A
        larger value computes prompts faster, and needs more memory.
    :param threads: the number of computing threads; None: one for each processor that the process
        may use. Small models are fastest with one.
    :param prompt_ms: by how many milliseconds prompts may prolong a step while other requests are
        being answered, or by as much as a step without prompts takes, if that is more. A smaller
        value keeps the text of the others more even; a larger value computes prompts faster.
    :param prompt_threads: the number of computing threads of steps that compute prompts, too; None:
        as many as ``threads``.
    :param gpu_layers: the number of layers that the GPU computes, if llama.cpp was built for one;
        None: all.
    :param check_tensors: check all weights for invalid values, which takes long.
    :param flash_attention: whether llama.cpp computes attention in one pass, which needs less
        memory, and on a processor is slower; None: on a GPU, and on a processor only where it must.
    :param cache_k: the type of the numbers in which llama.cpp keeps the keys of attention:
        ``"f16"``, ``"f32"``, ``"bf16"``, or, smaller and less accurate, ``"q8_0"``, ``"q5_1"``,
        ``"q5_0"``, ``"q4_1"``, ``"q4_0"``, for models whose heads have a multiple of 32 numbers.
    :param cache_v: the same for the values of attention; the smaller types need flash attention.
    :param unified: keep the tokens of all slots in one memory, as large as the separate ones
        together: requests with a common beginning share its tokens, but each step looks through the
        tokens of all.
    :param overcommit: load the model and create the engine even if they do not fit into the memory
        that is available (see :func:`memory`).
    :param progress: called in this thread with the part that is loaded, from 0.0 to 1.0; an
        exception from it ends the loading.
    :raises OSError: if the file cannot be read, or the threads cannot be started.
    :raises ValueError: if the file is not a GGUF file or its model cannot continue a text, or an
        option is out of its range.
    :raises MemoryError: if there is no memory for the model, or for that many slots of that
        context.
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
        prompt_ms: int = 12,
        prompt_threads: int | None = None,
        gpu_layers: int | None = None,
        check_tensors: bool = False,
        flash_attention: bool | None = None,
        cache_k: str = "f16",
        cache_v: str = "f16",
        unified: bool = False,
        overcommit: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> None:
        if progress is not None and not callable(progress):
            raise TypeError(f"progress: expected a function or None, found {progress!r}")
        self._path = os.fspath(path)
        self._core = _core.LlamaEngine(
            path,
            progress,
            slots=uint32("slots", slots, 1),
            context=0 if context is None else uint32("context", context, 1),
            queue=uint32("queue", queue, 0),
            batch=uint32("batch", batch, 1),
            threads=_threads("threads", threads),
            prompt_ms=uint32("prompt_ms", prompt_ms, 1),
            prompt_threads=_threads("prompt_threads", prompt_threads),
            gpu_layers=_layers(gpu_layers),
            check_tensors=check_tensors,
            flash=_flash(flash_attention),
            cache_k=cache_k,
            cache_v=cache_v,
            unified=unified,
            overcommit=overcommit,
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
        typical_p: float = 1.0,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        repeat_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_last_n: int = 64,
        dry_multiplier: float = 0.0,
        dry_base: float = 1.75,
        dry_allowed_length: int = 2,
        dry_last_n: int | None = None,
        dry_breakers: Iterable[str] = ("\n", ":", '"', "*"),
        mirostat: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        answered: int = 0,
        grammar: str | None = None,
        json: bool = False,
        logprobs: int | None = None,
        priority: int = 0,
        reuse: bool = True,
        ignore_eos: bool = False,
        skip_special_tokens: bool = True,
        chunk: Chunk = "token",
        stop: Stop = (),
        include_stop: bool = False,
        **given: Unpack[TextOptions],
    ) -> EngineStream:
        """Generate a text, and stream it. Returns at once; the text begins when a slot is free.

        A request whose stream was cancelled or deleted, or whose block was left, frees its slot
        before the next step. While a reader is behind by ``max_lag``, the request is left out of
        the steps; if another request needs its slot, it loses it until the reader reads. The
        engine keeps what it has computed until it needs the room, so that the next turn of a
        conversation computes only what is new. :attr:`burble.Stream.result` is None.

        :param prompt: text, or token ids.
        :param messages: instead of a prompt, a list of ``{"role": ..., "content": ...}``, which the
            model's chat template converts to a prompt. llama.cpp recognises common templates. No
            message becomes a special token, whatever its text is.
        :param template: with ``messages``, the name of a template that is built into llama.cpp
            (``"chatml"``, ``"llama3"`` …); None: the model's own.
        :param specials: whether the text of a special token in ``prompt`` becomes that token; not
            for text from untrusted sources.
        :param max_new_tokens: the most tokens to generate; None: as many as the context has room
            for.
        :param temperature: 0: always the most likely token. Otherwise a token is drawn: from the
            ``top_k`` most likely ones (0: all), of these the ones whose surprise is nearest to the
            expected one, up to a sum of ``typical_p`` of their probabilities, of these the most
            likely ones whose probabilities sum up to ``top_p``, of these the ones at least
            ``min_p`` times as likely as the most likely one.
        :param seed: the choice is a function of the probabilities, of the seed and of the token's
            position in prompt and text; None: another seed each time.
        :param logit_bias: numbers to be added to the logits of token ids before anything else;
            ``-math.inf``: never choose it.
        :param repeat_penalty: as in llama.cpp, for tokens among the last ``repeat_last_n`` of
            prompt and text: their logits are divided by it (multiplied, if negative); then
            ``presence_penalty``, and ``frequency_penalty`` for each time, are subtracted.
        :param dry_multiplier: DRY, llama.cpp's penalty for what would repeat a sequence of tokens
            of the last ``dry_last_n`` (None: all), with ``dry_base``, ``dry_allowed_length`` and
            ``dry_breakers``, the strings at which a sequence ends.
        :param mirostat: 1 or 2: Mirostat, with ``mirostat_tau`` and ``mirostat_eta``, instead of
            ``top_k``, ``typical_p``, ``top_p`` and ``min_p``.
        :param answered: to continue an answer: how many of the last ids of ``prompt`` are its
            tokens so far. Their text is not streamed again; the rest is what would have followed.
        :param grammar: generate only text of this grammar, in GBNF, llama.cpp's notation; it ends
            where the grammar's ``root`` does, unless ``max_new_tokens`` or a stop string ends it
            before.
        :param json: generate one JSON object.
        :param logprobs: record the tokens with their log-probabilities, and with those of the so
            many most likely ones (0 to 20) at each place: :attr:`EngineStream.logprobs`.
        :param priority: requests of a higher one get slots first, and their prompts are computed
            first.
        :param reuse: use what was computed before for a prompt that begins with the same tokens,
            and keep what is computed for this one. False for a prompt whose existence must stay
            secret: how soon an answer begins tells whether somebody has used a beginning before.
        :param ignore_eos: go on after the model's end-of-text token.

        The other parameters are those of :func:`burble.stream`.

        :raises ValueError: for a prompt without a token or too long for the context, an id that the
            model does not have, a template that llama.cpp does not know, and options out of their
            range.
        :raises burble.Error: if the engine is closed, or the queue is full.
        """
        one_of("chunk", chunk, ("word", "token"))
        flow = _GENERATE.check(given)
        if messages is not None:
            if prompt is not None:
                raise TypeError("expected a prompt or messages, found both")
            prompt = self._core.chat_ids(_pairs(messages), template)
        elif prompt is None:
            raise TypeError("expected a prompt or messages, found neither")
        elif template is not None:
            raise TypeError("template= needs messages=: it is not applied to a prompt")
        elif isinstance(prompt, (bytes, bytearray)):  # whose items are numbers, and no ids
            raise TypeError(f"prompt: expected text or token ids, found {type(prompt).__name__}")
        log = flow.new_log()
        stream = EngineStream(External("the engine", log), log, flow, _stats)
        stream._engine = self._core
        stream._tokens = self._core.submit(
            log,
            self,  # which every reader of the log keeps
            prompt if isinstance(prompt, str) else list(prompt),
            specials=specials,
            max_tokens=0 if max_new_tokens is None else uint32("max_new_tokens", max_new_tokens, 1),
            temperature=real("temperature", temperature),
            top_k=uint32("top_k", top_k, 0),
            top_p=real("top_p", top_p),
            min_p=real("min_p", min_p),
            seed=UINT32_MAX if seed is None else uint32("seed", seed, 0, UINT32_MAX - 1),
            stop=stop_strings(stop),
            include_stop=include_stop,
            words=chunk == "word",
            skip_special=skip_special_tokens,
            ignore_end=ignore_eos,
            typical_p=real("typical_p", typical_p),
            penalties=(
                uint32("repeat_last_n", repeat_last_n, 0),
                real("repeat_penalty", repeat_penalty),
                real("presence_penalty", presence_penalty),
                real("frequency_penalty", frequency_penalty),
            ),
            dry=(
                real("dry_multiplier", dry_multiplier),
                real("dry_base", dry_base),
                uint32("dry_allowed_length", dry_allowed_length, 0),
                UINT32_MAX if dry_last_n is None else uint32("dry_last_n", dry_last_n, 0),
                _strings("dry_breakers", dry_breakers),
            ),
            mirostat=(
                uint32("mirostat", mirostat, 0, 2),
                real("mirostat_tau", mirostat_tau),
                real("mirostat_eta", mirostat_eta),
            ),
            logit_bias=() if logit_bias is None else _bias(logit_bias),
            answered=uint32("answered", answered, 0),
            grammar=grammar,
            json=json,
            logprobs=-1 if logprobs is None else uint32("logprobs", logprobs, 0, 20),
            priority=uint32("priority", priority, -(1 << 31), (1 << 31) - 1),
            reuse=reuse,
        )
        return stream

    def tokenize(self, text: str, *, specials: bool = False) -> list[int]:
        """The token ids of a text, with the tokens that the model expects at the beginning (BOS).

        :param specials: as for :meth:`generate`.
        """
        return self._core.tokenize(text, specials)

    def chat(self, messages: Iterable[Mapping[str, str]], template: str | None = None) -> str:
        """The prompt of a conversation, up to the beginning of the assistant's answer, as text; for
        ``generate(..., specials=True)``. There, unlike with ``generate(messages=...)``, the text of
        a special token in a message becomes that token. Parameters and errors as for
        :meth:`generate`."""
        return self._core.chat(_pairs(messages), template)

    # ---- the engine --------------------------------------------------------------------------

    @property
    def stats(self) -> EngineStats:
        """The present counts. Raises :exc:`burble.Error` after the engine is closed."""
        return EngineStats(*self._core.stats)

    @property
    def context(self) -> int:
        """The most tokens of a request, prompt and text together."""
        return self._core.context

    @property
    def closed(self) -> bool:
        return self._core.closed

    def close(self) -> None:
        """Cancel all streams, even in the middle of a step, and free the model and its memory.
        Idempotent. The streams can still be read, up to their :exc:`burble.Cancelled`."""
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


def _strings(name: str, value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"{name}: expected an iterable of str, found a str")
    return tuple(value)


def _layers(gpu_layers: int | None) -> int:
    return -1 if gpu_layers is None else uint32("gpu_layers", gpu_layers, 0, 1 << 30)


def _threads(name: str, threads: int | None) -> int:
    return 0 if threads is None else uint32(name, threads, 1)


def _flash(wanted: bool | None) -> int:
    """As burble_llama_flash counts: auto, on, off."""
    return 0 if wanted is None else 1 if wanted else 2


def _stats(log: _core.Log) -> Stats:
    stats = log.stats
    assert stats is not None  # the engine writes it
    tokens, *times, (prompt, reused) = stats
    first, last, p50, p99 = (time if time >= 0 else None for time in times)
    speed = rate(tokens, first, last)
    known = (prompt, reused) if tokens > 0 else (None, None)
    return Stats(tokens, log.position, first, p50, p99, speed, log.blocked, *known)


# ---- memory ------------------------------------------------------------------------------------


class Memory(NamedTuple):
    """The memory that a model and an engine take, in bytes."""

    weights: int
    """The model's tensors. llama.cpp maps the file, so engines share them."""
    cache: int
    """The memory of attention and recurrent layers for the tokens of all slots."""
    compute: int
    """For intermediate results and logits."""
    available: int | None
    """What this process may still take: the least of the machine's available memory, what its
    control groups leave, and its limit of address space. None: unknown, as on systems without
    /proc."""


def memory(
    path: str | os.PathLike[str],
    *,
    slots: int = 8,
    context: int | None = None,
    batch: int = 512,
    gpu_layers: int | None = None,
    flash_attention: bool | None = None,
    cache_k: str = "f16",
    cache_v: str = "f16",
    unified: bool = False,
) -> Memory:
    """How much memory a model and an engine with these options would take, without loading the
    weights. The numbers come from llama.cpp, which simulates the engine. Parameters and errors as
    for :class:`Engine`."""
    weights, cache, compute, available = _core.LlamaEngine.memory(
        path,
        None,
        slots=uint32("slots", slots, 1),
        context=0 if context is None else uint32("context", context, 1),
        queue=0,
        batch=uint32("batch", batch, 1),
        threads=1,
        prompt_ms=1,
        prompt_threads=1,
        gpu_layers=_layers(gpu_layers),
        check_tensors=False,
        flash=_flash(flash_attention),
        cache_k=cache_k,
        cache_v=cache_v,
        unified=unified,
        overcommit=True,
    )
    return Memory(weights, cache, compute, None if available == (1 << 64) - 1 else available)


# ---- embeddings --------------------------------------------------------------------------------


class Embedder:
    """Vectors of whole texts, by a model in llama.cpp, for search and comparison: the nearer their
    directions, the more alike the model finds the texts.

    The constructor loads the model, which blocks, and so does :meth:`embed`: in a task, call them
    by ``asyncio.to_thread``. Leaving the block or :meth:`close` closes the embedder. In a forked
    child, it is closed. All methods may be called from any thread.

    :param path: a GGUF file.
    :param context: the most tokens of one text; so many are computed at once, of one or of several
        texts. None: the context that the model was trained with, but at most 4,096.
    :param threads: the number of computing threads; None: one for each processor that the process
        may use.
    :param pooling: how one vector is made of those of a text's tokens: ``"mean"``, ``"first"`` or
        ``"last"``; None: as the model's file says, or their mean if it says nothing.
    :param gpu_layers: as for :class:`Engine`, as are ``overcommit`` and the errors.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        context: int | None = None,
        threads: int | None = None,
        pooling: str | None = None,
        gpu_layers: int | None = None,
        overcommit: bool = False,
    ) -> None:
        if pooling is not None:
            one_of("pooling", pooling, _POOLING[1:])
        self._path = os.fspath(path)
        self._core = _core.LlamaEmbedder(
            path,
            context=0 if context is None else uint32("context", context, 1),
            threads=_threads("threads", threads),
            pooling=0 if pooling is None else _POOLING.index(pooling),
            gpu_layers=_layers(gpu_layers),
            overcommit=overcommit,
        )
        _engines.add(self)

    def embed(self, texts: Iterable[str]) -> list[array.array[float]]:
        """The vectors of texts, in their order: each is an array of :attr:`length` floats, and has
        the length 1. Blocks, without the GIL; calls of several threads wait for each other.
        In the main thread, Ctrl-C ends it, even in the middle of its computation.

        :raises ValueError: for a text without a token, or with more than ``context``.
        :raises burble.Error: if the embedder is closed, also by another thread meanwhile.
        """
        if isinstance(texts, str):
            raise TypeError("texts: expected several texts, found a str; pass [text]")
        numbers = memoryview(self._core.embed(tuple(texts))).cast("f")
        n = self.length
        return [array.array("f", numbers[i : i + n]) for i in range(0, len(numbers), n)]

    @property
    def length(self) -> int:
        """How many numbers a vector has."""
        return self._core.length

    @property
    def closed(self) -> bool:
        return self._core.closed

    def close(self) -> None:
        """Free the model and its memory; a call of :meth:`embed` in another thread raises
        :exc:`burble.Error`, even in the middle of its computation. Idempotent."""
        self._core.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.length} numbers"
        return f"<burble.llama.Embedder of {self._path!r}: {state}>"


_POOLING = ("", "mean", "first", "last")  # as burble_llama_pooling counts

# ---- the end of the process --------------------------------------------------------------------

_engines: weakref.WeakSet[Engine | Embedder] = weakref.WeakSet()


def _at_exit() -> None:
    for engine in list(_engines):
        engine.close()


atexit.register(_at_exit)
