# SPDX-License-Identifier: MIT
"""What runs the caller: trio, or a task of asyncio."""

from __future__ import annotations

import asyncio
import sys
from typing import Any


def current_task() -> asyncio.Task[Any] | None:
    return None if asyncio._get_running_loop() is None else asyncio.current_task()


def in_trio() -> bool:
    """Whether the caller awaits in a run of trio. sniffio is asked, whose convention trio follows:
    where trio runs inside another loop, only that says who it is that awaits."""
    sniffio = sys.modules.get("sniffio")
    if sniffio is None:
        return False
    try:
        return bool(sniffio.current_async_library() == "trio")
    except sniffio.AsyncLibraryNotFoundError:
        return False
