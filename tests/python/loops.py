# SPDX-License-Identifier: MIT
"""Loops of asyncio's kinds, in which a test runs a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import pytest
from helpers import turns

T = TypeVar("T")


class Run(Protocol):
    """Like asyncio.run, in a loop of the kind that the test is run for."""

    def __call__(self, main: Coroutine[Any, Any, T], *, debug: bool = False) -> T: ...


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "asyncio":
        return asyncio.new_event_loop()
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def run_in(kind: str, main: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    loop = new_loop(kind)
    loop.set_debug(debug)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True) if left else turns(1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
