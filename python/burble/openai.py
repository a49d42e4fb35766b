# SPDX-License-Identifier: MIT
"""Answers in the form of OpenAI's API, for a web framework of your own.

``burble.starlette.openai_response`` and ``burble.aiohttp.openai_response`` make a response of a
stream; :func:`answer` is what both are made of. (:func:`burble.serve` needs no framework.)

::

    @app.post("/v1/chat/completions")
    async def chat(request: Request, body: dict):
        stream = burble.stream(model.generate, **tokenize(body["messages"]), tokenizer=tokenizer)
        return openai_response(request, stream, body)
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Union

from . import _core
from ._batch import BatchStream
from ._generate import name_of
from ._options import seconds
from ._sse import KEEP_ALIVE, SSE_HEADERS, Event, EventStream, Hooks, release, to_json
from ._stats import Stats
from ._stream import Stream

__all__ = ["Answer", "answer", "error"]

Source = Union[Stream[str], BatchStream]

_JSON_HEADERS = {"Content-Type": "application/json"}

# What the API calls burble's reasons. A reason of your own that the API has is passed on.
_REASONS = {
    **{name: name for name in ("content_filter", "function_call", "length", "stop", "tool_calls")},
    "time": "length",
}


class _Problem(NamedTuple):
    """An error, as its HTTP status and what its body says."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None

    @property
    def told(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return error(self.message, type=kind, param=self.param, code=self.code)


def error(
    message: str,
    *,
    type: str = "invalid_request_error",  # noqa: A002
    param: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """The body of an error response::

        return JSONResponse(burble.openai.error("no such model", code="model_not_found"), 404)

    :param type: ``"invalid_request_error"``, ``"authentication_error"``, ``"server_error"`` …
    :param param: the parameter of the request that is wrong.
    """
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def answer(
    source: Source,
    body: Any,
    /,
    *,
    model: str | None = None,
    chat: bool | None = None,
    prompt_tokens: int | None = None,
    keep_alive: float | None = 15.0,
    first_timeout: float | None = 10.0,
    close: bool | None = None,
) -> Answer:
    """Convert a stream to the answer to a request of OpenAI's API, streamed or whole.

    ::

        answer = burble.openai.answer(stream, body)
        try:
            await answer.begin()
            response = await start_response(answer.status, answer.headers)
            async for data in answer:
                await response.write(data)
        finally:
            await answer.aclose()

    :param source: a stream of text, or a batch: each row is a choice.
    :param body: of the request, as ``json.loads`` returns it. Of it, this reads ``model``,
        ``stream``, ``stream_options``, and ``n``, which must be the number of choices; your own
        code has read the rest.
    :param model: the name of the model in the answer; None: that of the request.
    :param chat: the form: True: ``/v1/chat/completions``, False: ``/v1/completions``; None: what
        has ``messages`` is a chat.
    :param prompt_tokens: how many tokens the prompt has, for the usage; None: as
        :attr:`burble.Stream.stats` says, or 0.
    :param keep_alive: seconds without text after which a streamed answer gets a comment; None:
        never.
    :param first_timeout: a streamed answer has no status before its first text, so that an error
        before that has a status of its own. After so many seconds without text, it gets status 200
        nevertheless, and comments, since proxies give up on what is silent. None: it waits.
    :param close: whether closing the answer closes the source; None: unless the source keeps its
        text.
    :raises TypeError: for arguments of other types. What is wrong with the request is the answer's
        status 400.
    """
    if not isinstance(source, (Stream, BatchStream)):
        raise TypeError(f"source: expected a stream or a batch of burble, found {name_of(source)}")
    if keep_alive is not None:
        keep_alive = seconds("keep_alive", keep_alive)
    if first_timeout is not None:
        first_timeout = seconds("first_timeout", first_timeout, 0.0)
    choices = len(source) if isinstance(source, BatchStream) else 1
    asked = _read(body, choices, model, chat)
    return Answer(source, asked, choices, prompt_tokens, keep_alive, first_timeout, close)


# ---- what the request says ---------------------------------------------------------------------


class _Request(NamedTuple):
    model: str
    chat: bool
    streamed: bool
    usage: bool  # wanted in a stream


def _read(body: Any, choices: int, model: str | None, chat: bool | None) -> _Request | _Problem:
    if not isinstance(body, Mapping):
        return _Problem(400, f"the body of the request: expected an object, found {_kind(body)}")
    if chat is None:
        chat = "messages" in body
    options = body.get("stream_options") or {}
    if not isinstance(options, Mapping):
        return _expected("stream_options", "an object", options)
    if model is None:
        model = body.get("model")
    streamed, usage, n = body.get("stream"), options.get("include_usage"), body.get("n")
    if not isinstance(model, str):
        return _expected("model", "a string", model)
    for name, value in (("stream", streamed), ("stream_options.include_usage", usage)):
        if not (value is None or isinstance(value, bool)):
            return _expected(name, "true or false", value)
    if n is not None and (isinstance(n, bool) or n != choices):
        return _expected("n", str(choices), n)
    return _Request(model, bool(chat), bool(streamed), bool(usage))


def _expected(name: str, what: str, found: Any) -> _Problem:
    shown = found if isinstance(found, int) and not isinstance(found, bool) else _kind(found)
    return _Problem(400, f"{name}: expected {what}, found {shown}", name)


_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


# ---- the answer --------------------------------------------------------------------------------


class Answer(AsyncIterator[bytes]):
    """The result of :func:`answer`: its status and headers, and then, iterated, its body.

    One task at a time, of asyncio or trio.
    """

    def __init__(
        self,
        source: Source,
        asked: _Request | _Problem,
        choices: int,
        prompt_tokens: int | None,
        keep_alive: float | None,
        first_timeout: float | None,
        close: bool | None,
    ) -> None:
        self._source = source
        self._choices = choices
        self._prompt_tokens = prompt_tokens
        self._keep_alive = keep_alive
        self._close = close
        self._status: int | None = None
        self._ready: list[bytes] = []  # parts of the body that are there already
        self._texts: list[list[str]] = [[] for _ in range(choices)]  # of a whole answer
        self._wrote = False  # some text
        self._problem: _Problem | None = None
        self._reasons: tuple[str | None, ...] = ()
        self._events: EventStream | None = None
        self._first_by: float | None = None
        self._asked = asked if isinstance(asked, _Request) else None
        if isinstance(asked, _Problem):
            self._refuse(asked)
            release(source, close)
            return
        encode = self._chunk if asked.streamed else self._keep
        hooks = Hooks(encode, None, self._end, self._failed, False)
        self._events = EventStream(source, 0, keep_alive, hooks, close)
        if asked.streamed and first_timeout is not None:
            self._first_by = time.monotonic() + first_timeout
        prefix = "chatcmpl" if asked.chat else "cmpl"
        kind = "chat.completion" if asked.chat else "text_completion"
        self._head: dict[str, Any] = {
            "id": f"{prefix}-{source.id}",
            "object": f"{kind}.chunk" if asked.chat and asked.streamed else kind,
            "created": int(time.time()),
            "model": asked.model,
        }

    # ---- its beginning -----------------------------------------------------------------------

    async def begin(self, timeout: float | None = None) -> bool:
        """Wait until the status is known, at most ``timeout`` seconds; whether it is. A streamed
        answer has one with its first text; a whole answer at its end."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._status is None:
            now = time.monotonic()
            if self._first_by is not None and now >= self._first_by:
                self._begin_stream()
                break
            if until is not None and now >= until:
                return False
            left = min((t - now for t in (until, self._first_by) if t is not None), default=None)
            assert self._events is not None
            assert self._asked is not None
            data = await self._events.next(left)
            if self._problem is not None and not self._wrote:
                self._refuse(self._problem)
            elif self._asked.streamed:
                if data:
                    self._begin_stream()
                    self._ready.append(data)
            elif self._events.over:
                self._finish_whole()
        return True

    @property
    def status(self) -> int:
        """The HTTP status, once :meth:`begin` has returned True."""
        if self._status is None:
            raise RuntimeError("status: it is not known yet: await begin()")
        return self._status

    @property
    def headers(self) -> dict[str, str]:
        """The headers, once :meth:`begin` has returned True."""
        if self.status == 200:
            streamed = self._asked is not None and self._asked.streamed
            return dict(SSE_HEADERS if streamed else _JSON_HEADERS)
        return {**_JSON_HEADERS, **({"Retry-After": "1"} if self.status == 503 else {})}

    def _refuse(self, problem: _Problem) -> None:
        self._status = problem.status
        self._ready = [_json(problem.told).encode()]

    def _begin_stream(self) -> None:
        self._status = 200
        if self._asked is not None and self._asked.chat:
            first = {"role": "assistant", "content": ""}
            chunks = [self._chunk_of(row, {"delta": first}, None) for row in range(self._choices)]
            self._ready = [f"data: {_json(chunk)}\n\n".encode() for chunk in chunks]

    # ---- its body ----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.next(self._keep_alive)
        return KEEP_ALIVE if data is None else data

    async def next(self, timeout: float | None) -> bytes | None:
        """The next part of the body. Waits at most ``timeout`` seconds; then None. Raises
        StopAsyncIteration after the last one."""
        if self._status is None and not await self.begin(timeout):
            return None
        if self._ready:
            ready, self._ready = self._ready, []
            return b"".join(ready)
        if self._events is None or self._events.over:
            raise StopAsyncIteration
        return await self._events.next(timeout)

    async def aclose(self) -> None:
        """Stop reading, and close the source if ``close`` says so. Idempotent."""
        if self._events is not None:
            await self._events.aclose()

    @property
    def over(self) -> bool:
        """Whether no part of the body follows."""
        return (
            self._status is not None
            and not self._ready
            and (self._events is None or self._events.over)
        )

    # ---- what the events say -----------------------------------------------------------------

    def _take(self, item: Any) -> tuple[int, str]:
        row, text = item if isinstance(self._source, BatchStream) else (0, item)
        if not isinstance(text, str):
            raise TypeError(f"source: expected a stream of text, found {type(text).__name__} in it")
        return row, text

    def _chunk(self, item: Any) -> Event:
        row, text = self._take(item)
        chat = self._asked is not None and self._asked.chat
        said = {"delta": {"content": text}} if chat else {"text": text}
        event = Event(_json(self._chunk_of(row, said, None)))
        self._wrote = True
        return event

    def _keep(self, item: Any) -> str:
        row, text = self._take(item)
        self._texts[row].append(text)
        return ""

    def _chunk_of(self, row: int, said: dict[str, Any], reason: str | None) -> dict[str, Any]:
        """A chunk of a stream; ``reason``: it is the last one of this choice."""
        choice = {"index": row, **said, "logprobs": None, "finish_reason": reason}
        wants_usage = self._asked is not None and self._asked.usage
        return {**self._head, "choices": [choice], **({"usage": None} if wants_usage else {})}

    def _end(self, reason: Any) -> Any:
        reasons = reason if isinstance(reason, tuple) else (reason,)
        self._reasons = tuple(_REASONS.get(str(found), "stop") for found in reasons)
        asked = self._asked
        if asked is None or not asked.streamed:
            return ""
        said: dict[str, Any] = {"delta": {}} if asked.chat else {"text": ""}
        chunks = [self._chunk_of(row, said, reason) for row, reason in enumerate(self._reasons)]
        if asked.usage:
            chunks.append({**self._head, "choices": [], "usage": self._usage()})
        return [*(Event(_json(chunk)) for chunk in chunks), Event("[DONE]")]

    def _failed(self, raised: BaseException) -> Any:
        """The error: a status of its own if nothing was written, else the last event, which no
        ``[DONE]`` follows."""
        self._problem = problem = _problem_of(raised)
        return Event(_json(problem.told))

    def _usage(self) -> dict[str, Any]:
        found = self._source.stats
        stats: tuple[Stats, ...] = (found,) if isinstance(found, Stats) else found
        prompt = self._prompt_tokens
        if prompt is None:
            prompt = stats[0].prompt_tokens or 0
        completion = sum(row.tokens for row in stats)
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if stats[0].reused_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": stats[0].reused_tokens}
        return usage

    def _finish_whole(self) -> None:
        chat = self._asked is not None and self._asked.chat
        choices = []
        for row, (parts, reason) in enumerate(zip(self._texts, self._reasons)):
            text = "".join(parts)
            said: dict[str, Any] = (
                {"message": {"role": "assistant", "content": text, "refusal": None}}
                if chat
                else {"text": text}
            )
            choices.append({"index": row, **said, "logprobs": None, "finish_reason": reason})
        whole = {**self._head, "choices": choices, "usage": self._usage()}
        self._ready = [_json(whole).encode()]
        self._status = 200


def _problem_of(raised: BaseException) -> _Problem:
    """What a client is told of an exception: not what the program's own ones say."""
    if isinstance(raised, _core.Timeout):
        return _Problem(504, str(raised), code="timeout")
    if isinstance(raised, _core.Cancelled):
        return _Problem(503, "the generation was cancelled", code="cancelled")
    if isinstance(raised, _core.Error):
        return _Problem(500, str(raised))
    return _Problem(500, f"the generation failed: {type(raised).__name__}")


def _json(data: Any) -> str:
    return to_json(data, (",", ":"))
