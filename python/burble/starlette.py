# SPDX-License-Identifier: MIT
"""Streams as responses of Starlette and FastAPI. Imported only where Starlette is."""

from __future__ import annotations

from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from . import _core
from ._sse import SSE_HEADERS, EventStream, Source, sse


class EventResponse(StreamingResponse):
    """Sends events until they end or the client goes away; closes them in either case, also where
    the client goes while there is nothing to send."""

    def __init__(self, events: EventStream) -> None:
        super().__init__(events, headers=SSE_HEADERS)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as tasks:

                async def listen() -> None:
                    await self.listen_for_disconnect(receive)
                    tasks.cancel_scope.cancel()

                tasks.start_soon(listen)
                await self.stream_response(send)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._events.aclose()


def sse_response(request: Request, source: Source, /, **options: Any) -> Response:
    """Return the response to ``request`` that sends ``source`` as server-sent events::

        @app.get("/generate")
        async def generate(request: Request, prompt: str):
            stream = burble.stream(model.generate, **tokenize(prompt), tokenizer=tokenizer)
            return burble.starlette.sse_response(request, stream)

    The client's ``Last-Event-ID`` is honoured. One that makes no sense is answered with 400; one
    whose successor is not kept any more with 410, after which a browser does not try again.

    :param options: those of :func:`burble.sse`.
    """
    try:
        events = sse(source, last_event_id=request.headers.get("last-event-id"), **options)
    except _core.Gone as error:
        return PlainTextResponse(str(error), 410)
    except ValueError as error:
        if "last-event-id" not in request.headers:
            raise
        return PlainTextResponse(str(error), 400)
    return EventResponse(events)
