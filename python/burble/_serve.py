# SPDX-License-Identifier: MIT
"""``burble.serve``: a server until a signal ends it."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import Any

from . import _core
from ._handlers import Handler
from ._options import seconds
from ._server import Server
from ._signals import until_signal

_logger = logging.getLogger("burble")


def serve(
    handler: Handler | None = None,
    /,
    *,
    grace: float = 30.0,
    api_key_file: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **options: Any,
) -> None:
    """Serve a model by OpenAI's API until Ctrl-C or SIGTERM::

        def handler(request):
            inputs = tokenizer.apply_chat_template(request.messages, ...)
            return burble.stream(model.generate, **inputs, tokenizer=tokenizer)

        burble.serve(handler, port=8080)

    At the first signal, the server refuses new requests, and running answers may end; a second one
    stops it at once. Outside the main thread, where there are no signals, it runs until the process
    ends.

    :param grace: how many seconds running answers may go on after the first signal.
    :param api_key_file: a file of API keys, one a line, read again at SIGHUP; lines that begin with
        ``#`` are comments.
    :param quiet: do not say on stderr where it serves.
    :param options: those of :class:`Server`.
    """
    grace = seconds("grace", grace, 0.0)
    keys = list(options.get("api_keys", ()))  # they stay when the file is read again
    if api_key_file is not None:
        options["api_keys"] = [*keys, *read_keys(api_key_file)]
    with Server(handler, **options) as server:
        read_again = None
        if api_key_file is not None:
            read_again = partial(_set_keys, server, keys, api_key_file)
        with until_signal(server, grace, read_again):
            if not quiet:  # from this line on, signals are handled
                place = f"{', '.join(server.models)} at {server.url}"
                print(f"burble: {place} (Ctrl-C ends it)", file=sys.stderr, flush=True)
            server.wait()


def read_keys(path: str | os.PathLike[str]) -> list[str]:
    """The keys of a file. ValueError: it has none, so that anybody could ask."""
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError(f"{os.fspath(path)}: expected API keys, one a line, found none")
    return keys


def _set_keys(server: Server, keys: list[str], path: str | os.PathLike[str]) -> None:
    try:
        server.set_keys([*keys, *read_keys(path)])
    except (OSError, ValueError, _core.Error) as error:  # the last one: it is closed
        _logger.error("the API keys stay as they are: %s", error)
