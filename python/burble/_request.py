# SPDX-License-Identifier: MIT
"""A request to a server, as its handler sees it, and how a handler refuses it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from . import _core


class RequestError(_core.Error):
    """Raise it in a handler to refuse a request: the client gets the message.

    :param status: 400; 429, for a server that has too much to do; or 503.
    :param param: the parameter of the request that is wrong.
    """

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        if status not in (400, 429, 503):
            raise ValueError(f"status: expected 400, 429 or 503, found {status!r}")
        super().__init__(message if param is None else f"{param}: {message}")
        self.status = status


class Request:
    """What a client asks for. The server has checked it: types, ranges and names are right."""

    __slots__ = (
        "_answer",
        "_body",
        "_raw_body",
        "chat",
        "headers",
        "id",
        "ids",
        "messages",
        "model",
        "n",
        "parameters",
        "prompt",
        "prompt_tokens",
        "request_id",
        "resumable",
        "streamed",
    )

    id: str
    """Of the answer: ``"chatcmpl-…"`` or ``"cmpl-…"``."""
    chat: bool
    """Whether it has messages; else it has a prompt."""
    model: str
    """The name of the model."""
    messages: list[dict[str, str]]
    """Of a chat: ``{"role": …, "content": …}``, and ``"name"`` if there is one."""
    prompt: str | None
    """Of a completion; None: the client has sent ``ids``."""
    ids: list[int] | None
    """The prompt as token ids, if the client has sent these."""
    parameters: dict[str, Any]
    """The other parameters that the request has: ``max_tokens``, ``temperature``, ``stop`` …"""
    n: int
    """The number of choices."""
    streamed: bool
    """Whether the client wants the text as it comes."""
    resumable: bool
    """Whether the answer outlives its connection."""
    headers: dict[str, str]
    """By their names in lower case; without those that carry keys."""
    request_id: str
    """The client's ``X-Request-Id``, or one that the server has made."""
    prompt_tokens: int | None
    """How many tokens the prompt has, for the usage. The handler may set it; None: as
    :attr:`Stream.stats` of the answer says."""

    def __init__(self, answer: _core.Answer, facts: dict[str, Any]) -> None:
        self._answer = answer
        self._body: Any = None
        self._raw_body: bytes = facts.pop("raw_body")
        self.prompt_tokens = None
        for name, value in facts.items():
            setattr(self, name, value)

    @property
    def body(self) -> dict[str, Any]:
        """The whole body of the request, as ``json.loads`` returns it."""
        if self._body is None:
            self._body = json.loads(self._raw_body)
        found: dict[str, Any] = self._body
        return found

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more: the client has gone, or the server stops."""
        return self._answer.cancelled

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Wait until nobody wants the answer any more, at most ``timeout`` seconds. Whether that is
        so."""
        reader = self._answer.left.reader()
        reader.give_up(timeout)
        with contextlib.suppress(_core.Timeout):
            for _ in reader:
                pass
        return self.cancelled

    async def until_cancelled(self) -> None:
        """As :meth:`wait_cancelled`, for tasks, without a bound. (An ``async def`` handler whose
        answer nobody wants any more is cancelled anyway.)"""
        async for _ in self._answer.left.reader():
            pass

    def __repr__(self) -> str:
        kind = "chat" if self.chat else "completion"
        return f"<burble.Request {self.request_id}: {kind} for {self.model!r}>"
