# SPDX-License-Identifier: MIT
"""The Redis of relay.py, and what it does for steps of any number of frames.

The steps come from here, without libburble-relay, as fast as Redis takes them: so Redis is what is
measured. Its client is a socket and bytes that were made before, since redis-py would be slower.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis
from benchmark import ROOT

SCRIPTS = ROOT / "src" / "relay" / "scripts"
PREFIX = "{burble}:"
TTL = 600_000
LEASE = 2_000
# Sessions that send steps, each with one in flight, as a worker has.
SESSIONS = 4
# A frame as the backend of serve_numbers.c writes it: the hash, the head, an id, a piece of text.
FRAME = bytes(4) + b"\x01\x01\x00\x02\x01\x00\x08\x00" + b"12345678"
PATIENCE = 30


class Usage(NamedTuple):
    """What Redis has used so far."""

    cpu: float  # seconds
    memory: int  # bytes of data, without what connections take
    steps: int  # scripts that were called
    at: float  # on the wall, seconds


class Redis:
    """A Redis of its own, on a unix socket, without a file."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--dir", str(folder), "--save", "", "--maxmemory-policy", "noeviction"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("redis-server does not start") from None
                time.sleep(0.01)  # (nothing tells when a server listens)

    @property
    def url(self) -> str:
        """The address in the form that burble takes."""
        return f"unix://{self.socket}"

    def usage(self) -> Usage:
        """Its counts up to now."""
        info: Any = self.client.info("everything")
        steps = info.get("cmdstat_evalsha", {}).get("calls", 0)
        cpu = info["used_cpu_user"] + info["used_cpu_sys"]
        return Usage(cpu, info["used_memory_dataset"], steps, time.perf_counter())


@contextmanager
def running() -> Iterator[Redis]:
    """A Redis, for a while."""
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is missing")
    with tempfile.TemporaryDirectory(prefix="burble") as folder:
        made = Redis(Path(folder))
        try:
            yield made
        finally:
            made.process.kill()
            made.process.wait()


def packed(*words: object) -> bytes:
    """Return a command as bytes."""
    each = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    parts = [b"*%d\r\n" % len(each), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in each)]
    return b"".join(parts)


class Scripts:
    """The scripts, by their names."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        prelude = (SCRIPTS / "prelude.lua").read_text()
        self.sha = {
            name: str(client.script_load(prelude + (SCRIPTS / f"{name}.lua").read_text()))
            for name in ("open", "submit", "claim", "step")
        }

    def __call__(self, name: str, *arguments: object) -> Any:
        """The reply of a script."""
        return self.client.evalsha(self.sha[name], 1, PREFIX, *arguments)  # type: ignore[arg-type]


class Session:
    """A worker's session with answers, and a connection that carries its steps."""

    def __init__(self, scripts: Scripts, path: Path, front: str, answers: int) -> None:
        self.sha = scripts.sha["step"]
        self.name = secrets.token_hex(16)
        model = f"m{self.name}"
        scripts("open", self.name, "worker", LEASE, "", model, "{}")
        for _ in range(answers):
            answer = secrets.token_hex(16)
            submitted = (front, answer, model, "{}", FRAME, "key", "", "body", answers, TTL)
            if scripts("submit", *submitted)[0] != b"ok":
                raise SystemExit("an answer was not taken")
        claimed = scripts("claim", self.name, 1, answers, TTL, model)
        self.answers = [entry[0] for entry in claimed[1:]]
        if len(self.answers) != answers:
            raise SystemExit(f"expected {answers} answers, claimed {len(self.answers)}")
        self.n, self.frames = 1, 1  # commands; frames of each answer
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(PATIENCE)
        self.connection.connect(str(path))

    def make_steps(self, count: int, lease_every: int) -> list[bytes]:
        """The next steps: a frame for each answer in each."""
        steps = []
        for i in range(count):
            self.n += 1
            # A worker renews its lease with a step each quarter of it.
            words: list[object] = ["EVALSHA", self.sha, 1, PREFIX, self.name, self.n]
            words += [0 if i % lease_every else LEASE, 0, TTL]
            self.frames += 1
            entry = f"{self.frames}-0".encode()
            head, length = bytes([len(entry)]) + entry, len(FRAME).to_bytes(4, "little")
            words.append(b"".join(answer + head + length + FRAME for answer in self.answers))
            steps.append(packed(*words))
        return steps

    def take_reply(self) -> None:
        """Wait for the reply of a step."""
        if not (reply := self.connection.recv(4096)).startswith(b"*2\r\n$2\r\nok\r\n*0\r\n"):
            raise SystemExit(f"a step was not done: {reply!r}")


def _drain(connection: socket.socket) -> None:
    try:
        while connection.recv(1 << 20):
            pass
    except OSError:
        pass


@contextmanager
def _front(path: Path) -> Iterator[str]:
    """The channel of a front, whose messages are read and let go."""
    name = secrets.token_hex(16)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(packed("SUBSCRIBE", f"{PREFIX}c:{name}"))
        connection.recv(4096)
        reader = threading.Thread(target=_drain, args=(connection,))
        reader.start()
        try:
            yield name
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            reader.join()


def send_steps(frames: int, steps: int) -> dict[str, float]:
    """Redis's part for a token, in steps of `frames` frames, each of another answer."""
    with ExitStack() as stack:
        server = stack.enter_context(running())
        front = stack.enter_context(_front(server.socket))
        scripts = Scripts(server.client)
        sessions = [Session(scripts, server.socket, front, frames) for _ in range(SESSIONS)]
        made: Sequence[list[bytes]] = [s.make_steps(steps // SESSIONS, 100) for s in sessions]
        before = server.usage()
        for step in zip(*made, strict=True):
            for session, command in zip(sessions, step, strict=True):
                session.connection.sendall(command)
            for session in sessions:
                session.take_reply()
        after = server.usage()
        for session in sessions:
            session.connection.close()
    tokens = len(made[0]) * SESSIONS * frames
    return {
        "cpu": (after.cpu - before.cpu) / tokens * 1e6,
        "memory": (after.memory - before.memory) / tokens,
        "tokens": tokens / (after.at - before.at),
        "busy": (after.cpu - before.cpu) / (after.at - before.at),
    }


def add_frames(frames: int, steps: int) -> float:
    """Redis's CPU for a frame, in microseconds, where XADDs without a script come `frames` at once:
    what the scripts cannot go below."""
    with running() as server, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.socket))
        answers = [secrets.token_hex(16) for _ in range(frames)]
        commands = [
            b"".join(packed("XADD", f"{PREFIX}s:{a}", f"{n}-0", "f", FRAME) for a in answers)
            for n in range(1, steps + 1)
        ]
        before = server.usage()
        for command in commands:
            connection.sendall(command)
            replies = 0
            while replies < frames:
                replies += connection.recv(1 << 16).count(b"$")
        after = server.usage()
    return (after.cpu - before.cpu) / (steps * frames) * 1e6
