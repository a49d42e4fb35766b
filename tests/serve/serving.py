# SPDX-License-Identifier: MIT
"""`burble serve` with the shipped model, as a process: what it says, and requests to it."""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "models" / "shakespeare.gguf")
LONG = 60.0  # what bounds a wait


@functools.cache
def command() -> str:
    """The command with `serve`: what BURBLE_COMMAND names, or any in build."""
    given = os.environ.get("BURBLE_COMMAND")
    for path in [Path(given)] if given else sorted(ROOT.glob("build/*/tools/burble")):
        done = subprocess.run([path, "serve", "--help"], capture_output=True, env=environment())
        if b"--slots" in done.stdout:
            return str(path.resolve())
    pytest.skip("no burble command with serve: build one with -Dllama=enabled -Dserve=enabled")


def environment(**more: str) -> dict[str, str]:
    """Without a sanitizer that is meant for Python, and without the service that runs the tests."""
    mine = ("LD_PRELOAD", "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID")
    return {**{name: value for name, value in os.environ.items() if name not in mine}, **more}


def refused(*args: str, code: int = 2, **kwargs: Any) -> str:
    """What the command says where it does not start."""
    done = subprocess.run(
        [command(), "serve", *args],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=LONG,
        **kwargs,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    return done.stderr


class Serving:
    """A server, until the end of the `with`."""

    def __init__(
        self,
        *args: str,
        model: tuple[str, ...] = ("-m", MODEL),
        port: tuple[str, ...] = ("--port=0",),
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        ready: bool = True,
        **kwargs: Any,
    ) -> None:
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._over = False
        self._ready = ready
        words = [*prefix, command(), "serve", *model, *port, "--threads=1", *args]
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**(env or {})),
            **kwargs,
        )
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Serving:
        self._reader.start()
        try:
            self.address = self.wait(r"listening on http://(\[?[^ \"]+?\]?:\d+)")[1]
            if self._ready:
                self.wait(r"\bready\b")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._over = True
            self._more.notify_all()

    def wait(self, pattern: str, after: int = 0) -> re.Match[str]:
        """The first line with the pattern, once it is there."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = [m for line in self.lines[after:] if (m := re.search(pattern, line))]
            return bool(found) or self._over

        with self._more:
            self._more.wait_for(look, LONG)
        if not found:
            pytest.fail(f"no line with {pattern!r} in:\n" + "\n".join(self.lines))
        return found[0]

    @property
    def port(self) -> int:
        return int(str(self.address).rpartition(":")[2])

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int | None = None) -> int:
        """The exit status, after a signal."""
        if number is not None:
            self.signal(number)
        status = self.process.wait(LONG)
        self._reader.join(LONG)
        return status

    def stop(self) -> list[str]:
        """All that it has said, once it has stopped."""
        assert self.end(signal.SIGTERM) == 0, self.text
        return self.lines

    # ---- requests ----

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)

    def begin(
        self, path: str, body: Any = None, method: str = "", **headers: str
    ) -> http.client.HTTPResponse:
        connection = self.connect()
        data = None if body is None else json.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        method = method or ("GET" if body is None else "POST")
        connection.request(method, path, data, {"Content-Type": "application/json", **names})
        return connection.getresponse()

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON, or text where it is none."""
        response = self.begin(path, body, **headers)
        data = response.read()
        is_json = "json" in (response.headers["Content-Type"] or "")
        return response.status, json.loads(data) if is_json else data.decode()


def events(response: http.client.HTTPResponse) -> Iterator[Any]:
    """The data of an event stream: JSON, or the text [DONE]."""
    for line in response:
        name, _, data = line.decode().strip().partition(":")
        if name == "data":
            data = data.strip()
            yield data if data == "[DONE]" else json.loads(data)


def long_answer(**more: Any) -> dict[str, Any]:
    """A request for 64 texts: one after another, if there is one slot."""
    return {
        "model": "shakespeare",
        "prompt": "ROMEO:",
        "max_tokens": 500,
        "ignore_eos": True,
        "n": 64,
        "stream": True,
        **more,
    }
