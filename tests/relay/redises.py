# SPDX-License-Identifier: MIT
"""Redis servers for tests: each a process of its own, with a socket and a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = shutil.which(os.environ.get("BURBLE_TEST_REDIS", "redis-server"))

needs_redis = pytest.mark.skipif(PROGRAM is None, reason="needs redis-server")

# What bounds a wait, in seconds; nothing is measured by it.
PATIENCE = 30.0


class RedisServer:
    """A Redis on a unix socket. ``folder`` is short: the path of a socket has 107 bytes at most."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.data = folder / "data"
        self.options = [str(option) for option in options]
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What `--redis` takes."""
        return f"unix://{self.socket}"

    def client(self, user: str | None = None, password: str | None = None) -> redis.Redis:
        """A connection, which waits no longer than PATIENCE."""
        return redis.Redis(
            unix_socket_path=str(self.socket),
            socket_timeout=PATIENCE,
            username=user,
            password=password,
        )

    def add_user(self) -> redis.Redis:
        """A connection of the user that packaging/redis-users.acl has for burble."""
        lines = (ROOT / "packaging/redis-users.acl").read_text().splitlines()
        (rights,) = (line.split()[2:] for line in lines if line.startswith("user burble "))
        self.client().execute_command("ACL", "SETUSER", "burble", "reset", *rights)
        return self.client("burble", "change-this")

    def start(self) -> None:
        """Start it, with the data of its folder, and wait until it answers."""
        assert PROGRAM is not None
        self.data.mkdir(parents=True, exist_ok=True)
        command = [PROGRAM, "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self.data), "--save", "", "--maxmemory-policy", "noeviction"]
        with open(self.folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                command + self.options,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client().ping()
                return
            except (redis.ConnectionError, redis.BusyLoadingError):
                log_text = (self.folder / "redis.log").read_text()
                assert self.process.poll() is None, log_text
                assert time.monotonic() < deadline, log_text
                time.sleep(0.01)  # (nothing tells when a server listens)

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def forget(self) -> None:
        """Remove its data, while it does not run."""
        assert self.process is None
        shutil.rmtree(self.data)

    def snapshot(self, name: str) -> None:
        """Keep a copy of its present data, for `roll_back`."""
        self.client().save()
        shutil.copy(self.data / "dump.rdb", self.folder / name)

    def roll_back(self, name: str) -> None:
        """Crash, and come back with the data of a snapshot: later writes are lost."""
        self.kill()
        self.forget()
        self.data.mkdir()
        shutil.copy(self.folder / name, self.data / "dump.rdb")
        self.start()


@contextmanager
def redis_server(folder: Path, *options: object) -> Iterator[RedisServer]:
    """A Redis, until the test has ended."""
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None:
            server.signal(signal.SIGCONT)
        server.kill()
