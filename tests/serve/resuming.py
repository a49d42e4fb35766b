# SPDX-License-Identifier: MIT
"""A client whose connections are cut at any byte, and that resumes its answer: for test_cuts.py.

It reads some number of bytes of each response and leaves. Only complete events count.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

# What bounds a wait for bytes, in seconds; nothing is measured by it.
PATIENCE = 60.0


class Broken(AssertionError):
    """An answer that is not what was promised."""


@dataclass
class Response:
    """The bytes of a response, as far as they came, and what is in them."""

    raw: bytes
    ended: bool  # the server has closed the connection
    status: int = 0  # 0: the head has not come whole
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False  # the body has come to its end
    where: str = "head"  # the part of the response that the last byte belongs to

    def __post_init__(self) -> None:
        head, blank, rest = self.raw.partition(b"\r\n\r\n")
        if not blank:
            return
        self.where = ""
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        if self.headers.get("transfer-encoding") == "chunked":
            self._read_chunks(rest)
        else:
            length = self.headers.get("content-length")
            self.body = rest
            self.whole = self.ended if length is None else len(rest) >= int(length)
        self.where = self.where or self._where_in_body()

    def _read_chunks(self, rest: bytes) -> None:
        while rest:
            line, newline, rest = rest.partition(b"\r\n")
            if not newline:
                self.where = "chunk"
                return
            size = int(line, 16)
            self.body += rest[:size]
            if size == 0:
                self.whole = rest == b"\r\n"
                return
            if len(rest) < size + 2:
                self.where = "chunk" if len(rest) > size else ""
                return
            if rest[size : size + 2] != b"\r\n":
                raise Broken(f"expected the end of a chunk, found {rest[size : size + 2]!r}")
            rest = rest[size + 2 :]

    def _where_in_body(self) -> str:
        try:
            self.body.decode()
        except UnicodeDecodeError:
            return "character"
        return "event" if self.body and not self.body.endswith(b"\n\n") else "between"

    def events(self) -> list[dict[str, str]]:
        """The events that have come whole."""
        found = []
        *blocks, _ = self.body.replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            event: dict[str, str] = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                if name:
                    value = value.removeprefix(" ")
                    event[name] = event[name] + "\n" + value if name == "data" in event else value
            if event:
                found.append(event)
        return found


def request_bytes(
    method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None = None
) -> bytes:
    """A request, on a connection of its own."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def leave(connection: socket.socket, how: str) -> None:
    """Cut a connection."""
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "half":
        connection.shutdown(socket.SHUT_WR)
        connection.setblocking(False)
    connection.close()


def fetch(port: int, request: bytes, most: int | None = None, how: str = "close") -> Response:
    """Send a request; read ``most`` bytes of the response, or all, and leave."""
    raw = b""
    ended = False
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(request)
        while most is None or len(raw) < most:
            data = connection.recv(65536 if most is None else min(65536, most - len(raw)))
            if not data:
                ended = True
                break
            raw += data
        leave(connection, how)
    return Response(raw, ended)


@dataclass
class Answer:
    """An answer that is read through as many connections as it takes."""

    port: int
    path: str
    body: dict[str, Any]
    key: str  # the Idempotency-Key
    random: random.Random
    cut_at: Callable[[random.Random], int]
    stream: str = ""
    position: str | None = None
    texts: dict[int, str] = field(default_factory=dict)  # by the number of the choice
    positions: list[str] = field(default_factory=list)
    cuts: Counter[str] = field(default_factory=Counter)
    over: bool = False

    def read(self, most_cuts: int) -> None:
        """Read it to its end; the connections are cut ``most_cuts`` times at most."""
        deadline = time.monotonic() + PATIENCE
        while not self.over:
            if time.monotonic() > deadline:
                raise Broken(f"not at its end after {PATIENCE} s: {self}")
            cut = sum(self.cuts.values()) < most_cuts
            most = self.cut_at(self.random) if cut else None
            how = self.random.choice(("close", "reset", "half"))
            response = fetch(self.port, self._request(), most, how)
            self._take(response)
            if not self.over and not response.whole:
                self.cuts[response.where] += 1

    def _request(self) -> bytes:
        if not self.stream:
            headers = {"Burble-Resumable": "true", "Idempotency-Key": self.key}
            return request_bytes("POST", self.path, headers, {**self.body, "stream": True})
        headers = {} if self.position is None else {"Last-Event-ID": self.position}
        return request_bytes("GET", f"/v1/streams/{self.stream}", headers)

    def _take(self, response: Response) -> None:
        if response.status == 0:
            return
        if response.status == 204:
            self.over = True
            return
        if response.status != 200:
            raise Broken(
                f"status {response.status}: {response.body!r}; asked for {self._request()!r}"
            )
        stream = response.headers["burble-stream"]
        if self.stream not in ("", stream):
            raise Broken(f"asked for the stream {self.stream}, found {stream}")
        self.stream = stream
        for event in response.events():
            self._take_event(event)
        if response.whole and not self.over:
            raise Broken(f"the response ended without the answer's end: {response.body[-200:]!r}")

    def _take_event(self, event: dict[str, str]) -> None:
        if "id" in event:
            if not event["id"].startswith(self.stream + ":"):
                raise Broken(f"a position of another stream than {self.stream}: {event}")
            if event["id"] != self.position:
                self.positions.append(event["id"])
            self.position = event["id"]
        kind = event.get("event", "message")
        data = event.get("data", "")
        if kind == "end" or data == "[DONE]":
            self.over = True
        elif kind == "failed":
            raise Broken(f"the answer failed: {event}")
        elif data:
            for index, text in texts_of(json.loads(data)):
                self.texts[index] = self.texts.get(index, "") + text


def texts_of(data: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """The choices and texts of an event, in any of the three forms."""
    if "error" in data:
        raise Broken(f"the answer failed: {data}")
    for choice in data.get("choices", [data]):
        text = choice["delta"].get("content") if "delta" in choice else choice.get("text")
        if text:
            yield choice["index"], text
