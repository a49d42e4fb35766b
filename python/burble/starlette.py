# SPDX-License-Identifier: MIT
"""Streams as responses of Starlette and FastAPI. Imported only where Starlette is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import anyio
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from . import openai
from ._sse import SSE_HEADERS, EventStream, Source, respond
from ._tasks import when_task_ends


class _Body(Protocol):
    """What is sent, and then closed."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class EventResponse(StreamingResponse):
    """Sends events until they end or the client disconnects, and closes them in both cases, even if
    the client disconnects while there is nothing to send. Then it runs its background task."""

    def __init__(self, events: _Body, background: BackgroundTask | None = None) -> None:
        super().__init__(events, headers=SSE_HEADERS, background=background)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:

                async def listen() -> None:
                    await self.listen_for_disconnect(receive)
                    tasks.cancel_scope.cancel()

                tasks.start_soon(listen)
                try:
                    await self.stream_response(send)
                except OSError:
                    pass  # the client has gone
                except Exception as raised:  # not from within the group, which would wrap it
                    error = raised
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._events.aclose()
        if error is not None:
            raise error
        if self.background is not None:
            await self.background()


def sse_response(
    request: Request,
    source: Source,
    /,
    *,
    background: BackgroundTask | None = None,
    **options: Any,
) -> Response:
    """Return the response to ``request`` that sends ``source`` as server-sent events::

        @app.get("/generate")
        async def generate(request: Request, prompt: str):
            stream = burble.stream(model.generate, **tokenize(prompt), tokenizer=tokenizer)
            return burble.starlette.sse_response(request, stream)

    The client's ``Last-Event-ID`` is honoured. The status is 204 if the client has already received
    the last event, of this stream or another; 400 if the id is not one of this stream's events; 410
    if the text that follows is no longer kept. A browser does not reconnect after these. For them,
    and for HEAD, no text is generated: the stream is cancelled, unless it keeps its text.

    :param background: runs after the response, as with any response of Starlette's.
    :param options: those of :func:`burble.sse`.
    """
    last = request.headers.get("last-event-id")
    answer = respond(source, request.method, last, **options)
    if isinstance(answer, EventStream):
        # An exception, say of a middleware, may come before the response is begun.
        when_task_ends(answer._made)
        return EventResponse(answer, background)
    if answer.status == 200:
        return StreamingResponse(_empty_body(), headers=SSE_HEADERS, background=background)
    if answer.status == 204:
        return Response(status_code=204, background=background)
    return PlainTextResponse(answer.message, answer.status, background=background)


class AnswerResponse(EventResponse):
    """The same for an answer, whose status comes with its first text."""

    def __init__(self, answer: openai.Answer, background: BackgroundTask | None = None) -> None:
        super().__init__(answer, background)
        self._answer = answer

    async def stream_response(self, send: Send) -> None:
        await self._answer.begin()
        self.status_code = self._answer.status
        for name in SSE_HEADERS:
            del self.headers[name]
        self.headers.update(self._answer.headers)
        await super().stream_response(send)


def openai_response(
    request: Request,
    source: openai.Source,
    body: Any,
    /,
    *,
    background: BackgroundTask | None = None,
    **options: Any,
) -> Response:
    """Return the response to ``request``, one of OpenAI's API, that sends ``source``, streamed or
    whole as ``body`` asks::

        @app.post("/v1/chat/completions")
        async def chat(request: Request, body: dict):
            stream = burble.stream(
                model.generate, **tokenize(body["messages"]), tokenizer=tokenizer
            )
            return burble.starlette.openai_response(request, stream, body)

    If the client disconnects, the stream is cancelled, unless it keeps its text.

    :param body: the request's, as ``await request.json()`` returns it.
    :param background: runs after the response, as with any response of Starlette's.
    :param options: those of :func:`burble.openai.answer`.
    """
    return AnswerResponse(openai.answer(source, body, **options), background)


async def _empty_body() -> Any:
    return
    yield
