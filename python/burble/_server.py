# SPDX-License-Identifier: MIT
"""A server of OpenAI's API whose answers are streams.

The network is the C library's (libburble-serve, in the extension); ``_handlers.py`` answers the
requests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from . import _core
from ._handlers import Handler
from ._host import Host, numbers_of, strings
from ._options import count
from ._typing import Unpack

if TYPE_CHECKING:
    CoreServer = _core.Server

_access_logger = logging.getLogger("burble.access")

_WITHOUT = (
    "this burble was built without the libraries of its server. With libuv, jansson and llhttp "
    "installed where pkg-config finds them (pkg-config --exists libuv jansson libllhttp; "
    "requirements/llhttp.sh FOLDER builds llhttp), build burble from its sources: "
    "pip install . --config-settings=setup-args=-Dserve=enabled"
)


class ServerOptions(TypedDict, total=False):
    """The bounds of a server, and other numbers; times are in seconds. What is not given is as in
    ``burble/serve.h``."""

    listen_fd: int
    loops: int
    backlog: int
    backend_threads: int
    expected_models: int
    max_connections: int
    max_connections_key: int
    max_header: int
    max_body: int
    max_bodies: int
    max_output: int
    socket_buffer: int
    max_answer: int
    max_lag: int
    retain: int
    max_ignored: int
    max_json_depth: int
    body_rate: int
    output_rate: int
    header_timeout: float
    body_timeout: float
    idle_timeout: float
    stall_timeout: float
    first_timeout: float
    ping_interval: float
    resume_time: float
    drain_delay: float


_TIMES = frozenset(
    name for name in ServerOptions.__annotations__ if name.endswith(("_timeout", "_time"))
) | {"ping_interval", "drain_delay"}


class ServerStats(NamedTuple):
    """Counts of a server."""

    connections: int
    """Connections, now."""
    accepted: int
    """Connections so far."""
    refused: int
    """Connections above a bound."""
    requests: int
    """Requests so far, of all routes."""
    running: int
    """Answers that have not ended."""
    streaming: int
    """Clients that read an answer."""
    queued_bytes: int
    """Bytes that wait for clients."""
    retained: int
    """Bytes of finished answers that clients may still ask for."""
    resumed: int
    """Clients that came back to an answer."""
    stalled: int
    """Clients that were cut, since they took nothing."""


class Server(Host):
    """A server of OpenAI's API, in threads of its own, beside any loop.

    ::

        def handler(request):
            inputs = tokenizer.apply_chat_template(request.messages, ...)
            return burble.stream(model.generate, **inputs, tokenizer=tokenizer)

        with burble.Server(handler, port=0) as server:
            print(server.url)
            ...

    Entering the block starts it, leaving closes it; ``async with`` does the same in a task. All
    servers are closed when the interpreter exits; in a forked child, a server is closed. All
    methods may be called from any thread.

    The handler is called once for each request, with a :class:`Request`, in a thread of a pool; or,
    if it is ``async def``, in the loop of asyncio that has entered the server (else in one of its
    own), where it is cancelled once nobody wants the answer. It returns a :class:`Stream`, which
    nobody else reads; for ``n`` choices a :class:`BatchStream` or a list of streams; or a generator
    of text, or a str. From then on, no Python runs for the tokens: the server reads the stream
    without the GIL, and cancels it when the client has gone. An exception of the handler is logged,
    and the client gets status 500 with its type; :exc:`RequestError` refuses a request.

    If a timeout of the stream passes (``first_token_timeout``, ``token_timeout``,
    ``total_timeout``), the client gets status 504, or an error event after the text so far.

    A :class:`burble.llama.Engine` in place of a handler is served without Python: see
    ``docs/serve.md`` for what requests may ask of it.

    :param handler: the only model's, of the name ``model``.
    :param models: handlers by the names of their models.
    :param port: 0: any free one; see :attr:`port`.
    :param workers: how many handlers may run at once, in threads.
    :param max_answers: how many answers may run, or wait for a thread, at once: further requests
        get status 429.
    :param parameters: the parameters of requests that handlers honour (``"max_tokens"``, ``"stop"``
        …): requests that have others are refused. None: any is let through.
    :param chat: whether handlers answer chats; else only prompts.
    :param context: the most tokens of prompt and answer, which clients are told.
    :param api_keys: clients must send one of them; none: nobody is asked.
    :param allowed_hosts: the hosts that requests may be for, by their header ``Host``:
        ``"example.com"``, without a port, or ``"*"``. None are given: if the server listens on a
        loopback address and has no keys, ``localhost``, ``127.0.0.1``, ``[::1]`` and ``host``, so
        that a page whose name leads to this machine gets nothing; else any.
    :param cors: origins whose pages may ask: ``"https://example.com"``, or ``"*"``.
    :param page: whether there is a page for browsers at ``/``.
    :param access_log: whether the logger ``burble.access`` gets a line for each request.
    :param options: see :class:`burble._server.ServerOptions`; ``drain_delay`` is 0.
    :raises ImportError: if burble was built without the server's libraries.
    """

    _core: CoreServer

    def __init__(
        self,
        handler: Handler | None = None,
        /,
        *,
        models: Mapping[str, Handler] | None = None,
        model: str = "default",
        host: str = "127.0.0.1",
        port: int = 8080,
        workers: int = 8,
        max_answers: int = 1024,
        parameters: Iterable[str] | None = None,
        chat: bool = True,
        context: int | None = None,
        api_keys: Iterable[str] = (),
        cors: Iterable[str] = (),
        allowed_hosts: Iterable[str] = (),
        page: bool = True,
        access_log: bool = False,
        **options: Unpack[ServerOptions],
    ) -> None:
        if not hasattr(_core, "Server"):
            raise ImportError(_WITHOUT, name="burble._core.Server")
        if handler is None and not models:
            raise TypeError("Server() needs a handler, or models=")
        given = {"drain_delay": 0.0, **options}
        numbers = numbers_of("Server", given, ServerOptions.__annotations__, _TIMES)
        numbers["port"] = count("port", port, 0)
        numbers["page"] = bool(page)
        super().__init__(workers)
        self._host = host
        self._access: _core.Log | None = _core.Log(watch_producer=False) if access_log else None
        self._core = _core.Server(
            host,
            numbers,
            strings("api_keys", api_keys),
            strings("cors", cors),
            strings("allowed_hosts", allowed_hosts),
            count("max_answers", max_answers, 1),
            self._access,
        )
        try:
            names = None if parameters is None else strings("parameters", parameters)
            named = {} if handler is None else {model: handler}
            for name, found in {**named, **(models or {})}.items():
                self.add_model(name, found, parameters=names, chat=chat, context=context)
        except BaseException:
            self.close()
            raise

    # ---- models ------------------------------------------------------------------------------

    def add_model(
        self,
        name: str,
        handler: Handler,
        *,
        parameters: Iterable[str] | None = None,
        chat: bool = True,
        context: int | None = None,
    ) -> None:
        """Add a model, also while the server runs.

        :param context: the most tokens of prompt and answer, which clients are told.
        """
        self._add_model(name, handler, parameters, chat, context)

    def remove_model(self, name: str) -> None:
        """Remove a model: further requests get status 404; what runs goes on. KeyError: there is no
        such model."""
        self._core.remove_model(name)
        self._backends.pop(name, None)
        self._engines.pop(name, None)

    # ---- running -----------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. :raises OSError: if the address cannot be had."""
        super().start()
        if self._access is not None:
            reader = self._access.reader(0, 1_048_576)
            threading.Thread(
                target=_write_access_log, args=(reader,), name="burble-access", daemon=True
            ).start()

    def _stop(self) -> None:
        super()._stop()
        if self._access is not None and _core.forks() == self._process:
            self._access.end()

    def set_keys(self, api_keys: Iterable[str]) -> None:
        """Replace the API keys. ValueError: one is not 1 to 512 visible ASCII characters; the old
        keys stay."""
        self._core.set_keys(strings("api_keys", api_keys))

    @property
    def port(self) -> int:
        """The port on which it listens; 0: it does not."""
        return self._core.port

    @property
    def url(self) -> str:
        """Where it is: ``http://127.0.0.1:8080``. Clients want ``f"{server.url}/v1"``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def stats(self) -> ServerStats:
        """Counts; all are 0 once it is closed."""
        return ServerStats(*self._core.stats)

    def __repr__(self) -> str:
        names = ", ".join(self.models)
        state = "closed" if self.closed else self.url if self.port else "not started"
        return f"<burble.Server of {names}: {state}>"


_NAMES = ("request_id", "client", "method", "path", "model", "id", "status", "result")
_COUNTS = ("prompt_tokens", "reused_tokens", "tokens", "queue", "prompt", "answer", "total", "sent")


def _write_access_log(reader: _core.Reader) -> None:
    for line in reader:
        values = line.split("\x1f")
        fields: dict[str, Any] = dict(zip(_NAMES, values))
        fields.update(zip(_COUNTS, map(int, values[len(_NAMES) :])))
        fields["status"] = int(fields["status"])
        for name in ("queue", "prompt", "answer", "total"):
            fields[name] /= 1e9  # seconds
        _access_logger.info(
            '%s "%s %s" %d %s %s: %d + %d tokens in %.3f s',
            *(fields[name] for name in ("client", "method", "path", "status", "result")),
            fields["request_id"],
            fields["prompt_tokens"],
            fields["tokens"],
            fields["total"],
            extra={"request": fields},
        )
