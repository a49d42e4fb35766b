# SPDX-License-Identifier: MIT
"""Clients that read answers through any front, come back after each loss, and check every byte."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import fleet as _fleet  # noqa: F401 (puts tests/serve onto the path)
from fake_text import text_of
from resuming import Answer, Broken, Response, leave, request_bytes

# How long a client waits for bytes before it tries another front: a front may be stopped.
SILENCE = 3.0
# How soon it tries again.
AGAIN = 0.03
# How long an answer may take; nothing is measured by it.
PATIENCE = 90.0

# The error of an answer whose workers have died one after the other, each before its next frame.
EXHAUSTED = "the workers that computed this answer have died"


class Failed(Exception):
    """An answer that has ended with a typed error."""


@dataclass
class Reading(Answer):
    """An answer that is read through any of the fronts."""

    ports: list[int] = field(default_factory=list)
    seed: int = 0
    pieces: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    heard: float = 0.0  # when its last event came; 0: none has
    silence: float = 0.0  # the longest time between two events, in seconds

    def read(self, most_cuts: int) -> None:
        """Read it to its end; ``most_cuts`` connections are cut by the client itself."""
        deadline = time.monotonic() + PATIENCE
        while not self.over:
            if time.monotonic() > deadline:
                raise Broken(f"not at its end after {PATIENCE} s: {self}")
            cut = sum(self.cuts.values()) < most_cuts
            most = self.cut_at(self.random) if cut else None
            response = self._fetch(self.random.choice(self.ports), most)
            if response is None or response.status in (0, 429, 503):
                self.retries[str(response.status if response else "lost")] += 1
                time.sleep(AGAIN)
                continue
            self._take(response)
            self.check()
            if not self.over and cut:
                self.cuts[response.where] += 1

    def check(self) -> None:
        """What was shown is a prefix of the answer, or all of it."""
        expected = text_of(self.seed, self.pieces)
        text = self.texts.get(0, "")
        if self.over and text != expected:
            raise Broken(f"expected {len(expected)} characters, found {len(text)}: {self}")
        if not expected.startswith(text):
            raise Broken(f"expected a beginning of {expected!r}, found {text!r}: {self}")

    def _fetch(self, port: int, most: int | None) -> Response | None:
        """The response, as far as it came. None: there was no connection."""
        raw = b""
        ended = False
        try:
            with socket.create_connection(("127.0.0.1", port), SILENCE) as connection:
                connection.sendall(self._request())
                while most is None or len(raw) < most:
                    size = 65536 if most is None else min(65536, most - len(raw))
                    data = connection.recv(size)
                    if not data:
                        ended = True
                        break
                    raw += data
                    self._hear(data)
                leave(connection, "close")
        except OSError:
            if not raw:
                return None
        # (A front that was killed closes its connections: that is a cut, too.)
        return Response(raw, ended)

    def _hear(self, data: bytes) -> None:
        if b"data:" not in data:  # the head, or a keep-alive
            return
        now = time.monotonic()
        if self.heard:
            self.silence = max(self.silence, now - self.heard)
        self.heard = now

    def _take(self, response: Response) -> None:
        if response.status == 200 and not response.whole and response.headers == {}:
            return
        if response.status in (404, 410):
            raise Failed(f"{response.status}: {response.body!r}")
        super()._take(response)

    def _take_event(self, event: dict[str, str]) -> None:
        if event.get("event") == "failed" or '"error"' in event.get("data", "")[:10]:
            raise Failed(event.get("data", ""))
        super()._take_event(event)


@dataclass
class Unknown(Reading):
    """An answer whose text depends on its workers.

    After Redis has lost its tail, and its worker has died, a later reader may see another text than
    one that has seen the end; but a position, which has the hash of all before it, stands for one
    text, and nobody sees a part of the one text after a part of the other.
    """

    again: bool = False
    marks: dict[str, int] = field(default_factory=dict)  # position → characters up to there

    def _take_event(self, event: dict[str, str]) -> None:
        super()._take_event(event)
        if "id" in event:
            self.marks[event["id"].partition(":")[2]] = len(self.texts.get(0, ""))

    def check(self) -> None:
        """The pieces are there in order; at the end, another reader reads it."""
        numbers = [int(n) for n in re.findall(r"(\d+):[0-9a-f]{8}", self.texts.get(0, ""))]
        if numbers != list(range(len(numbers))):
            raise Broken(f"expected pieces in order, found {numbers}: {self}")
        if self.over and len(numbers) != self.pieces:
            raise Broken(f"expected {self.pieces} pieces, found {len(numbers)}: {self}")
        if self.over and not self.again:
            other = replace(
                self, texts={}, positions=[], position=None, over=False, again=True, marks={}
            )
            other.read(0)
            self.compare(other)

    def compare(self, other: Unknown) -> None:
        """Another reader's text is the same as far as the hashes are."""
        mine, others = self.texts.get(0, ""), other.texts.get(0, "")
        common = self.marks.keys() & other.marks.keys()
        for position in common:
            if mine[: self.marks[position]] != others[: other.marks[position]]:
                raise Broken(f"{position}: one reader saw {mine!r}, another one {others!r}")
        # (Frames have other hashes from the first one on that differs.)
        numbers = {position.partition("_")[0] for position in common}
        parted = {p.partition("_")[0] for p in self.marks.keys() - common}
        parted &= {p.partition("_")[0] for p in other.marks.keys() - common}
        if (mine != others) != bool(parted) or (parted and max(numbers, default="") > min(parted)):
            raise Broken(f"{min(parted, default='')}: saw {mine!r}, another one {others!r}")


@dataclass
class Crowd:
    """Clients that read one answer after the other until they are told to stop."""

    ports: list[int]
    seed: int
    size: int = 8
    most_pieces: int = 150
    most_cuts: int = 3
    least_pieces: int = 1
    kind: type[Reading] = Reading
    finished: list[Reading] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(self.size)]
        for thread in self.threads:
            thread.start()

    def _run(self, i: int) -> None:
        rng = random.Random(f"{self.seed} {i}")
        n = 0
        while not self.stopping.is_set() and not self.broken:
            n += 1
            reading = self._new(rng, f"{self.seed}-{i}-{n}")
            try:
                reading.read(self.most_cuts)
                with self.lock:
                    self.finished.append(reading)
            except Failed as error:
                with self.lock:
                    self.failed.append(f"{reading.stream}: {error}")
            except BaseException as error:
                with self.lock:
                    self.broken.append(f"{type(error).__name__}: {error}")

    def _new(self, rng: random.Random, key: str) -> Reading:
        path = rng.choice(("/v1/chat/completions", "/v1/completions"))
        pieces = rng.randrange(self.least_pieces, self.most_pieces)
        body: dict[str, Any] = {"model": "fake", "max_tokens": pieces, "seed": rng.randrange(2**32)}
        if "chat" in path:
            body["messages"] = [{"role": "user", "content": key}]
        else:
            body["prompt"] = key
        return self.kind(
            0,
            path,
            body,
            key,
            random.Random(rng.random()),
            lambda r: r.randrange(1, 700 if r.random() < 0.5 else 8000),
            ports=self.ports,
            seed=body["seed"],
            pieces=pieces,
        )

    def stop(self) -> None:
        """Let the answers end that are being read."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE + 10)
            assert not thread.is_alive(), "a client hangs"


def request(port: int, path: str, method: str = "GET") -> Response:
    """A request of its own."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request_bytes(method, path, {}))
        raw = b""
        while data := connection.recv(65536):
            raw += data
    return Response(raw, True)


def metric(port: int, name: str) -> float:
    """A figure of /metrics."""
    for line in request(port, "/metrics").body.decode().splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            return float(line.rpartition(" ")[2])
    raise Broken(f"expected {name} in /metrics, found none")
