# SPDX-License-Identifier: MIT
"""Signals for a program that serves until it gets one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Callable

from ._host import Host


@contextlib.contextmanager
def until_signal(
    host: Host, grace: float, read_again: Callable[[], None] | None = None
) -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM drain ``host``, and SIGHUP calls ``read_again``. Outside
    the main thread, which alone gets signals, the block changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def drain(number: int, frame: Any) -> None:
        host.drain(grace)

    wanted_again = [False]
    reading = [False]

    def reload(number: int, frame: Any) -> None:
        # A signal may interrupt the handler of the one before; many of them must not nest without
        # bound.
        wanted_again[0] = True
        if reading[0] or read_again is None:
            return
        reading[0] = True
        try:
            while wanted_again[0]:
                wanted_again[0] = False
                read_again()
        finally:
            reading[0] = False

    wanted: dict[int, Any] = {signal.SIGTERM: drain, signal.SIGINT: drain}
    if read_again is not None:
        wanted[signal.SIGHUP] = reload
    before = {number: signal.signal(number, function) for number, function in wanted.items()}
    try:
        yield
    finally:
        for number, function in before.items():
            signal.signal(number, signal.SIG_DFL if function is None else function)
