# SPDX-License-Identifier: MIT
"""A worker in Python for test_python.py: what a request's prompt says is what its handler does.

python_worker.py URL FOLDER: what a handler has begun, or seen, is a line of FOLDER/seen.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import burble
import burble.relay

FOLDER = Path(sys.argv[2])


def note(what: str) -> None:
    """Add a line, whole, with this process's number."""
    with open(FOLDER / "seen", "ab", buffering=0) as file:
        file.write(f"{what} {os.getpid()}\n".encode())


def first(what: str) -> bool:
    """Whether nobody was here before."""
    try:
        (FOLDER / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def numbers(n: int) -> Iterator[str]:
    for i in range(n):
        yield f"{i} "


def held(request: burble.Request, n: int) -> Iterator[str]:
    """Text that does not end before the answer is cancelled, or FOLDER/release is there."""
    yield from numbers(n)
    while not (FOLDER / "release").exists():
        if request.wait_cancelled(0.02):
            note("cancelled")
            return
    yield "end"


def handler(request: burble.Request) -> burble.Stream[str] | Iterator[str] | str:
    assert request.prompt is not None
    word, _, n = request.prompt.partition(" ")
    note(word)
    if word == "numbers":
        writer, stream = burble.channel()
        for piece in numbers(int(n)):
            writer.put_text(piece)
        writer.end("length")
        request.prompt_tokens = 3
        return stream
    if word == "held":
        return held(request, int(n))
    if word == "patient" and first("patient"):  # no text, until this process is killed
        request.wait_cancelled()
    if word == "refuse":
        raise burble.RequestError("there is no such word", param="prompt")
    if word == "raise":
        raise KeyError("a secret")
    if word == "choices":
        return [burble.iterate(numbers(i + 1), coalesce=True) for i in range(request.n)]  # type: ignore[return-value]
    return f"{request.parameters['max_tokens']} tokens for {word}"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    burble.relay.work(sys.argv[1], {"fake": handler}, lease=0.5, away=20, grace=20, chat=False)
    print("done")
