# SPDX-License-Identifier: MIT
"""Streams as responses of aiohttp's server. Imported only where aiohttp is."""

from __future__ import annotations

from time import monotonic
from typing import Any

from aiohttp import web

from . import _core
from ._sse import KEEP_ALIVE, SSE_HEADERS, Source, sse

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

    The client's ``Last-Event-ID`` is honoured. One that makes no sense is answered with 400; one
    whose successor is not kept any more with 410, after which a browser does not try again.

    :param keep_alive: seconds, in steps of half a second.
    :param options: those of :func:`burble.sse`.
    """
    last = request.headers.get("Last-Event-ID")
    # Returned, not raised: what an exception's traceback holds, the source among it, stays until
    # garbage is collected.
    try:
        events = sse(source, last_event_id=last, keep_alive=keep_alive, **options)
    except _core.Gone as error:
        return web.Response(status=410, text=str(error))
    except ValueError as error:
        if last is None:
            raise
        return web.Response(status=400, text=str(error))
    response = web.StreamResponse(headers=SSE_HEADERS)
    try:
        await response.prepare(request)
        quiet_since = monotonic()
        while True:
            try:
                data = await events.next(_LOOK)
            except StopAsyncIteration:
                break
            if request.transport is None or request.transport.is_closing():
                return response
            if data is None:
                if keep_alive is None or monotonic() - quiet_since < keep_alive:
                    continue
                data = KEEP_ALIVE
            quiet_since = monotonic()
            await response.write(data)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has gone
    finally:
        await events.aclose()
    return response
