# SPDX-License-Identifier: MIT
"""A server of burble's in this process, and a client of it in another one.

The client is this file as a program: for each line of its input, it asks for one answer, and prints
the chunks of text and when each one arrived.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

# The server's threads, by the beginnings of their names.
THREADS = ("burble-loop", "burble-work", "burble-serve")


class Served:
    """A context manager: ``start`` makes the stream of an answer, a client elsewhere reads it."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._stack = ExitStack()
        self.stream: Any = None  # of the last answer

    def __enter__(self) -> Served:
        import burble  # the client does without

        with ExitStack() as stack:
            server = stack.enter_context(burble.Server(self._handle, port=0))
            self._client = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, __file__, str(server.port)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _handle(self, _: Any) -> Any:
        self.stream = self._start()
        return self.stream

    def ask(self) -> tuple[list[str], list[float]]:
        """Let the client read an answer; return its chunks of text, and when each one came."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write("\n")
        self._client.stdin.flush()
        chunks, arrived = json.loads(self._client.stdout.readline())
        return chunks, arrived


def cpu_seconds() -> float:
    """Return the CPU time that the server's threads have had; 0 where the system does not say."""
    total = 0
    for task in Path("/proc/self/task").glob("*"):
        try:
            if (task / "comm").read_text().startswith(THREADS):
                total += int((task / "schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):  # it has just ended, or there is no such file
            continue
    return 1e-9 * total


def _read(connection: http.client.HTTPConnection) -> tuple[list[str], list[float]]:
    body = json.dumps({"prompt": "ROMEO:", "stream": True})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{response.status}: {response.read()!r}")
    chunks, arrived = [], []
    for line in response:
        if line.startswith(b"data: {"):
            text = json.loads(line[6:])["choices"][0]["text"]
            if text:
                chunks.append(text)
                arrived.append(perf_counter())
    return chunks, arrived


def main() -> None:
    """Read an answer for each line of the input."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    for _ in sys.stdin:
        print(json.dumps(_read(connection)), flush=True)


if __name__ == "__main__":
    main()
