# SPDX-License-Identifier: MIT
"""A host calls handlers: it is a server (``_server.py``) or a worker of a relay (``relay.py``).

References go one way, so that a Host that is deleted is closed: a Host has the extension's host,
which has the backends, which have the handlers.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Union

from . import _core
from ._deadlines import Deadlines
from ._generate import name_of
from ._handlers import Backend, Handler, HandlerLoop, is_async
from ._options import count, seconds, uint32
from ._running import in_trio
from ._threads import Threads

H = TypeVar("H", bound="Host")

if TYPE_CHECKING:
    CoreHost = Union[_core.Server, _core.Relay]

# How long a host that is closed waits for handlers in a loop of its own, in seconds.
_HANDLER_TIMEOUT = 5.0


class Host:
    """The common part of a server and a worker. A derived class sets ``_core``."""

    _core: CoreHost

    def __init__(self, workers: int) -> None:
        self._process = _core.forks()
        self._pool = Threads(count("workers", workers, 1))
        self._loop = HandlerLoop()
        self._deadlines = Deadlines()
        self._backends: dict[str, Backend] = {}
        self._engines: dict[str, Any] = {}
        self._started = False
        _hosts.add(self)

    def _add_model(
        self,
        name: str,
        handler: Handler,
        parameters: Iterable[str] | None,
        chat: bool,
        context: int | None,
    ) -> None:
        engine = _engine_of(handler)
        if engine is not None:
            self._core.add_engine(name, engine)
            self._engines[name] = handler  # it must not be deleted before the host
            return
        if not callable(handler):
            raise TypeError(f"model {name!r}: expected a function, found {name_of(handler)}")
        if is_async(handler) and self._started:
            self._loop.need()
        backend = Backend(name, handler, self._pool, self._loop, self._deadlines)
        names = None if parameters is None else strings("parameters", parameters)
        context = 0 if context is None else uint32("context", context, 1)
        self._core.add_handler(name, backend.take, names, bool(chat), context)
        self._backends[name] = backend

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return (*self._backends, *self._engines)

    def start(self) -> None:
        self._started = True  # before requests come
        if any(backend._loop is not None for backend in self._backends.values()):
            self._loop.need()
        self._core.start()

    def drain(self, grace: float = 30.0) -> None:
        """Begin to stop, and return at once: new requests are refused, and running answers may go
        on for ``grace`` seconds. A second call stops at once."""
        self._core.drain(int(seconds("grace", grace, 0.0) * 1e9))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds until it has stopped. Returns whether it has."""
        return self._core.wait(timeout)

    def close(self) -> None:
        """Stop at once: running answers are cancelled. Idempotent."""
        self._stop()
        self._loop.join(_HANDLER_TIMEOUT)

    def _stop(self) -> None:
        """As close(), but does not wait for handlers."""
        if hasattr(self, "_core"):
            self._core.close()
        if _core.forks() != self._process:
            return
        for backend in self._backends.values():
            backend.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loop.stop()
        self._deadlines.stop()

    def __del__(self) -> None:
        # A Request may live longer, and keeps `_core` alive: the threads would wait for ever.
        if hasattr(self, "_core"):
            self._stop()

    async def aclose(self) -> None:
        """As :meth:`close`, for tasks of asyncio and trio."""
        if in_trio():
            import trio

            await trio.to_thread.run_sync(self.close)
        else:
            await asyncio.get_running_loop().run_in_executor(None, self.close)

    @property
    def closed(self) -> bool:
        """Whether it is closed, or is being closed."""
        return self._core.closed

    def __enter__(self: H) -> H:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self: H) -> H:
        if not in_trio():
            self._loop.use(asyncio.get_running_loop())
        self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()


def numbers_of(
    what: str, options: Mapping[str, Any], names: Mapping[str, Any], times: frozenset[str]
) -> dict[str, int]:
    """The given options as the extension takes them: times in nanoseconds."""
    numbers: dict[str, int] = {}
    for name, value in options.items():
        if name not in names:
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}")
        if name in times:
            numbers[name] = int(seconds(name, value, 0.0) * 1e9)
        else:
            numbers[name] = count(name, value, 0)
    return numbers


def _engine_of(handler: Any) -> _core.LlamaEngine | None:
    """The extension's part of a burble.llama.Engine; None for anything else."""
    kind = getattr(_core, "LlamaEngine", None)
    found = getattr(handler, "_core", None)
    return found if kind is not None and isinstance(found, kind) else None


def strings(name: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"{name}: expected a list of strings, found a str")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise TypeError(f"{name}: expected strings, found {value!r}")
    return found


# ---- the end of the process --------------------------------------------------------------------

_hosts: weakref.WeakSet[Host] = weakref.WeakSet()


def _close_all() -> None:
    hosts = list(_hosts)
    for host in hosts:
        host._stop()
    deadline = time.monotonic() + _HANDLER_TIMEOUT
    for host in hosts:
        host._loop.join(max(0.0, deadline - time.monotonic()))


def _close_in_child() -> None:
    """Close the child's copies of the sockets: with these open, clients would not see that the
    parent closes a connection."""
    _core.after_fork()
    for host in list(_hosts):
        if hasattr(host, "_core"):
            host._core.close()


atexit.register(_close_all)
if hasattr(_core, "Server"):
    os.register_at_fork(
        before=_core.before_fork,
        after_in_parent=_core.after_fork,
        after_in_child=_close_in_child,
    )
