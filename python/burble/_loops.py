# SPDX-License-Identifier: MIT
"""One hub per event loop: made at the first wait, gone with the loop."""

from __future__ import annotations

import asyncio
import threading
import weakref
from asyncio import AbstractEventLoop

from . import _core


def on_timer(reference: weakref.ref[_core.AsyncIteratorStreamer]) -> None:
    """What a loop's timer calls for a streamer that waits with a timeout."""
    streamer = reference()
    if streamer is not None:
        streamer._on_timer(asyncio.get_running_loop())


_hubs: weakref.WeakKeyDictionary[AbstractEventLoop, _core.Hub] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def hub_of(loop: AbstractEventLoop) -> _core.Hub:
    """Return the hub of ``loop``, which must be running in this thread."""
    with _lock:
        hub = _hubs.get(loop)
        if hub is not None:
            return hub
        for other in [known for known in _hubs if known.is_closed()]:
            _hubs.pop(other).close()
        hub = _hubs[loop] = _core.Hub(loop)
    loop.add_reader(hub.fileno(), hub.drain)
    # Streamers remember their hub, so it may outlive the loop: its descriptor must not.
    weakref.finalize(loop, hub.close).atexit = False
    return hub
