# SPDX-License-Identifier: MIT
"""Streams as responses of aiohttp's server. Imported only where aiohttp is."""

from __future__ import annotations

from time import monotonic
from typing import Any, Protocol

from aiohttp import web

from . import openai
from ._sse import KEEP_ALIVE, SSE_HEADERS, Refusal, Source, respond

# How often a response that has nothing to send looks whether its client is still there, in seconds:
# aiohttp tells a handler only when it writes.
_LOOK = 0.5


async def sse_response(
    request: web.Request, source: Source, /, *, keep_alive: float | None = 15.0, **options: Any
) -> web.StreamResponse:
    """Answer ``request`` with ``source`` as server-sent events, and return when it has ended or the
    client has gone away::

        async def generate(request):
            stream = burble.stream(model.generate, **inputs, tokenizer=tokenizer)
            return await burble.aiohttp.sse_response(request, stream)

    The client's ``Last-Event-ID`` is honoured. The status is 204 if the client has already received
    the last event, of this stream or another; 400 if the id is not one of this stream's events; 410
    if the text that follows is no longer kept. A browser does not reconnect after these. For them,
    and for HEAD, no text is generated: the stream is cancelled, unless it keeps its text.

    :param keep_alive: seconds, in steps of half a second.
    :param options: those of :func:`burble.sse`.
    """
    last = request.headers.get("Last-Event-ID")
    events = respond(source, request.method, last, keep_alive=keep_alive, **options)
    if isinstance(events, Refusal):
        return await _refuse(request, events)
    response = web.StreamResponse(headers=SSE_HEADERS)
    try:
        await _send(request, response, events, keep_alive)
    finally:
        await events.aclose()
    return response


class _Parts(Protocol):
    """What is sent."""

    async def next(self, timeout: float | None) -> bytes | None: ...


def _has_left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _send(
    request: web.Request, response: web.StreamResponse, parts: _Parts, keep_alive: float | None
) -> None:
    """Send parts until they end or the client has gone."""
    try:
        await response.prepare(request)
        quiet_since = monotonic()
        while True:
            try:
                data = await parts.next(_LOOK)
            except StopAsyncIteration:
                break
            if _has_left(request):
                return
            if data is None:
                if keep_alive is None or monotonic() - quiet_since < keep_alive:
                    continue
                data = KEEP_ALIVE
            quiet_since = monotonic()
            await response.write(data)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has gone


async def openai_response(
    request: web.Request,
    source: openai.Source,
    body: Any,
    /,
    *,
    keep_alive: float | None = 15.0,
    **options: Any,
) -> web.StreamResponse:
    """Answer ``request``, one of OpenAI's API, with ``source``, streamed or whole as ``body`` asks;
    return when it has ended or the client has gone away::

        async def chat(request):
            body = await request.json()
            stream = burble.stream(
                model.generate, **tokenize(body["messages"]), tokenizer=tokenizer
            )
            return await burble.aiohttp.openai_response(request, stream, body)

    If the client disconnects, the stream is cancelled, unless it keeps its text.

    :param body: the request's, as ``await request.json()`` returns it.
    :param keep_alive: seconds, in steps of half a second.
    :param options: those of :func:`burble.openai.answer`.
    """
    answer = openai.answer(source, body, keep_alive=keep_alive, **options)
    try:
        while not await answer.begin(_LOOK):
            if _has_left(request):
                return web.StreamResponse(status=499)  # which nobody reads
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        await _send(request, response, answer, keep_alive)
    finally:
        await answer.aclose()
    return response


async def _refuse(request: web.Request, refusal: Refusal) -> web.StreamResponse:
    if refusal.status != 200:
        return web.Response(status=refusal.status, text=refusal.message or None)
    response = web.StreamResponse(headers=SSE_HEADERS)  # to HEAD: of no known length
    await response.prepare(request)
    await response.write_eof()
    return response
