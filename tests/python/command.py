# SPDX-License-Identifier: MIT
"""Shared by the tests that run the command `burble`."""

from __future__ import annotations

import functools
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def command() -> str:
    """The built command: what BURBLE_COMMAND names, or what `make` has built."""
    given = os.environ.get("BURBLE_COMMAND")
    if given:
        return given
    for kind in ("plain", "release", "asan"):
        path = ROOT / "build" / kind / "tools" / "burble"
        if path.exists():
            return str(path)
    pytest.skip("no burble command: `make` builds it, or BURBLE_COMMAND says where it is")


def environment() -> dict[str, str]:
    """Without a sanitizer that is meant for Python."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def burble(
    *args: str, data: bytes | str = b"", **kwargs: Any
) -> subprocess.CompletedProcess[bytes]:
    if isinstance(data, str):
        data = data.encode()
    if "stdin" not in kwargs:
        kwargs["input"] = data
    kwargs.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(
        [command(), *args], stderr=subprocess.PIPE, env=environment(), timeout=30, **kwargs
    )


def start(*args: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [command(), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        bufsize=0,
        **kwargs,
    )


def in_text(numbers: list[int]) -> bytes:
    return " ".join(map(str, numbers)).encode()


def in_binary(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def succeed(*args: str, data: bytes | str = b"", **kwargs: Any) -> str:
    result = burble(*args, data=data, **kwargs)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode()
