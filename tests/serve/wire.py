# SPDX-License-Identifier: MIT
"""HTTP as bytes on a socket, and the server of numbers in a process of its own.

For tests of what a client library would not send.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(
    os.environ.get("BURBLE_TEST_NUMBERS", ROOT / "build/plain/tests/serve/numbers_server")
)

# How long, in seconds, a test waits for bytes. It is the bound of a test that fails.
PATIENCE = 30.0


class Closed(Exception):
    """The server has closed the connection in the middle of a response."""


@dataclass
class Response:
    """A response that was read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    raw_head: bytes = b""

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object."""
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error, dict)
        return error


@dataclass
class Client:
    """One connection."""

    port: int
    address: str = "127.0.0.1"
    socket: socket.socket = field(init=False)
    _read: bytes = b""

    def __post_init__(self) -> None:
        self.socket = socket.create_connection((self.address, self.port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def request(
        self, method: str, path: str, body: object = None, headers: str = "", version: str = "1.1"
    ) -> None:
        """Send a request; `body` is made JSON unless it is bytes."""
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        length = f"Content-Length: {len(data)}\r\n" if body is not None else ""
        head = f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n{length}{headers}\r\n"
        self.send(head.encode() + data)

    def more(self) -> bytes:
        """Some more bytes; none at the end."""
        return self.socket.recv(65536)

    def read_until(self, end: bytes) -> bytes:
        """The bytes up to and with `end`."""
        while end not in self._read:
            more = self.more()
            if not more:
                raise Closed(self._read)
            self._read += more
        at = self._read.index(end) + len(end)
        taken, self._read = self._read[:at], self._read[at:]
        return taken

    def read_exactly(self, n: int) -> bytes:
        """As many bytes."""
        while len(self._read) < n:
            more = self.more()
            if not more:
                raise Closed(self._read)
            self._read += more
        taken, self._read = self._read[:n], self._read[n:]
        return taken

    def head(self) -> Response:
        """The head of the next response."""
        raw = self.read_until(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1", lines[0]
        headers: dict[str, str] = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"two headers {name}"
            headers[name.lower()] = value
        return Response(int(status), headers, raw_head=raw)

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a body, up to the last one."""
        while size := int(self.read_until(b"\r\n"), 16):
            yield self.read_exactly(size)
            assert self.read_exactly(2) == b"\r\n"
        assert self.read_exactly(2) == b"\r\n"

    def broken(self) -> bytes:
        """A chunked body that is cut off: what comes before that."""
        body = b""
        chunks = self.chunks()
        with contextlib.suppress(Closed, ConnectionResetError):
            while True:
                body += next(chunks)
        return body

    def response(self, *, head_only: bool = False) -> Response:
        """The next response."""
        response = self.head()
        if head_only or response.status in (204, 304) or response.status < 200:
            return response
        if "content-length" in response.headers:
            assert "transfer-encoding" not in response.headers
            response.body = self.read_exactly(int(response.headers["content-length"]))
        elif response.headers.get("transfer-encoding") == "chunked":
            response.body = b"".join(self.chunks())
        else:
            response.body = self.rest()
        return response

    def response_body(self) -> bytes:
        """A chunked body whose head was read."""
        return b"".join(self.chunks())

    def rest(self) -> bytes:
        """All bytes until the server closes. A reset counts as the end."""
        data, self._read = self._read, b""
        with contextlib.suppress(ConnectionResetError):
            while more := self.more():
                data += more
        return data

    def ask(self, *args: Any, **keywords: Any) -> Response:
        """Send a request, and read its response."""
        self.request(*args, **keywords)
        return self.response(head_only=args[0] == "HEAD")

    def rest_or_ask_health(self) -> int:
        """The status of GET /health, or of a refusal of the connection."""
        try:
            return self.ask("GET", "/health").status
        except (Closed, ConnectionError):
            return 0


@dataclass
class Server:
    """The server of numbers, and what it logged."""

    process: subprocess.Popen[str]
    port: int
    address: str = "127.0.0.1"

    def connect(self) -> Client:
        """Open a connection."""
        return Client(self.port, self.address)

    def ask(self, *args: Any, **keywords: Any) -> Response:
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.ask(*args, **keywords)

    def connect_until_refused(self) -> bool:
        """Connect until the server does not listen any more."""
        with contextlib.suppress(ConnectionError):
            while True:
                self.connect().socket.close()
        return True

    def metric(self, name: str, labels: str = "") -> float:
        """A value of GET /metrics."""
        text = self.ask("GET", "/metrics").body.decode()
        start = f"burble_{name}{labels} "
        for line in text.splitlines():
            if line.startswith(start):
                return float(line[len(start) :])
        return 0.0

    def wait_for_metric(self, name: str, value: float, labels: str = "") -> None:
        """Wait until a value of GET /metrics is this; the test's time limit is the bound."""
        while self.metric(name, labels) != value:
            pass

    def log_line(self) -> list[str]:
        """The next line of the log, in words."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().split(" ")


@contextmanager
def serving(*options: object, log: bool = False, nofile: int = 0) -> Iterator[Server]:
    """A server with these options. It must end by itself, with status 0."""

    def limit() -> None:
        if nofile:
            resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

    process = subprocess.Popen(
        [str(word) for word in (PROGRAM, *options, *(("--log", 1) if log else ()))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if log else None,
        text=True,
        preexec_fn=limit,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server(process, int(process.stdout.readline()))
        if process.poll() is None:
            process.stdin.close()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def completion(prompt: str = "x", pieces: int = 3, **more: object) -> dict[str, object]:
    """The body of a request for numbers."""
    return {"model": "numbers", "prompt": prompt, "max_tokens": pieces, **more}


def chat(prompt: str = "x", pieces: int = 3, **more: object) -> dict[str, object]:
    """The same as a chat."""
    message = {"role": "user", "content": prompt}
    return {"model": "numbers", "messages": [message], "max_tokens": pieces, **more}


def numbered(prompt: str, pieces: int) -> str:
    """The text of an answer, after the generation's number."""
    return "".join(f"{prompt}·{k} é€😀 " for k in range(pieces))


def events(body: bytes) -> list[dict[str, str]]:
    """The server-sent events of a body: their fields. Comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append(dict(line.split(": ", 1) for line in lines))
    return found


def text_of(body: bytes) -> str:
    """The text of the events of a completion, or of burble's own."""
    text = ""
    for event in events(body):
        if event["data"] == "[DONE]" or event.get("event", "message") != "message":
            continue
        data = json.loads(event["data"])
        if "choices" in data:
            text += "".join(choice["text"] for choice in data["choices"])
        else:
            text += data["text"]
    return text
