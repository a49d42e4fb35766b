# SPDX-License-Identifier: MIT
"""Fronts, workers and a Redis, each a process that a test may kill, stop and start again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redises import PATIENCE, RedisServer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "serve"))

from resuming import fetch, request_bytes  # noqa: E402

COMMAND = os.environ.get("BURBLE_COMMAND", "")
ENGINE = Path(
    os.environ.get("BURBLE_TEST_FAKE_ENGINE", ROOT / "build/llama-plain/tests/relay/fake_engine")
)

needs_fleet = pytest.mark.skipif(
    not COMMAND or not ENGINE.exists() or shutil.which("redis-server") is None,
    reason="needs redis-server, BURBLE_COMMAND and fake_engine",
)

LEASE = 200  # ms: the shortest that burble takes
# The least time between the two passes of reaping, in ms (relay.c: LEAST_PAUSE).
REAP_PAUSE = 1000


def free_port() -> int:
    """A port that nobody has, for a server that is started again and again."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
        assert isinstance(port, int)
        return port


class Process:
    """A program that can be started again. Its output goes to a file."""

    def __init__(self, log: Path, *command: object) -> None:
        self.log = log
        self.command = [str(word) for word in command]
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.RLock()  # of `process`
        self.starts = 0
        self.crash: int | None = None  # the status of an end that nobody has asked for

    def start(self) -> None:
        """Start it; does not wait until it is ready."""
        with self.lock, open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.starts += 1

    def revive(self) -> None:
        """Start it again, as a service manager does, if it has ended since there was no Redis."""
        with self.lock:
            status = None if self.process is None else self.process.poll()
            if status == 1:
                self.start()
            elif status is not None and self.crash is None:
                self.crash = status

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, also while it is stopped."""
        with self.lock:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
                self.process = None

    def end(self) -> int:
        """End it as a service manager does; its exit status."""
        with self.lock:
            process, self.process = self.process, None
        assert process is not None
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process is not None and self.process.poll() is None


class Fleet:
    """Processes that belong together."""

    def __init__(self, folder: Path, fronts: int, workers: int, **of_worker: object) -> None:
        self.folder = folder
        self.stopping = threading.Event()
        self.manager = threading.Thread(target=self._manage)
        self.redis = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "everysec")
        self.ports = [free_port() for _ in range(fronts)]
        self.fronts = [
            Process(
                folder / f"front{i}.log",
                *(COMMAND, "serve", "--redis", self.redis.url, "--port", port),
                *("--lease", f"{LEASE}ms", "--name", f"front{i}", "--drain-delay", 0),
                *("--away", "20s"),
            )
            for i, port in enumerate(self.ports)
        ]
        options = {"lease": LEASE, "away": 20_000, **of_worker}
        self.workers = [
            Process(
                folder / f"worker{i}.log",
                *(ENGINE, "--redis", self.redis.url, "--name", f"worker{i}"),
                *(word for name, value in options.items() for word in (f"--{name}", value)),
            )
            for i in range(workers)
        ]

    def _manage(self) -> None:
        while not self.stopping.wait(0.05):
            for process in (*self.fronts, *self.workers):
                process.revive()

    def start(self) -> None:
        """Start all of it, and wait until the fronts have the model."""
        self.redis.start()
        self.manager.start()
        for process in (*self.workers, *self.fronts):
            process.start()
        for port in self.ports:
            self.wait_for_front(port)

    def wait_for_front(self, port: int) -> None:
        """Wait until a front answers, and has a model."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if b'"fake"' in fetch(port, request_bytes("GET", "/v1/models", {})).body:
                    return
            time.sleep(0.02)  # (nothing tells when a server listens)
        pytest.fail(f"the front at {port} is not ready:\n{self.logs()}")

    def crashes(self) -> list[str]:
        """Processes that have ended by themselves."""
        processes = (*self.fronts, *self.workers)
        return [f"{p.log.name}: {p.crash}" for p in processes if p.crash is not None]

    def logs(self, most: int = 3000) -> str:
        """The last words of each process."""
        texts = []
        for path in sorted(self.folder.glob("*.log")):
            texts.append(f"---- {path.name}\n{path.read_text(errors='replace')[-most:]}")
        return "\n".join(texts)

    def stop(self) -> None:
        """End all of it."""
        self.stopping.set()
        if self.manager.is_alive():
            self.manager.join()
        for process in (*self.fronts, *self.workers):
            process.kill()
        if self.redis.process is not None:
            self.redis.signal(signal.SIGCONT)
        self.redis.kill()

    def slow_the_disk(self) -> None:
        """From its next start on, Redis waits for each fsync, and keeps entries back meanwhile."""
        library = ENGINE.parent / "libslow_fsync.so"
        assert library.exists(), library
        self.redis.environment["LD_PRELOAD"] = str(library)

    # ---- an older state of Redis ----

    def snapshot(self, name: str) -> None:
        """Copy Redis's file as it is now; its last entry may be half."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.redis.data, target)

    def roll_back(self, name: str) -> None:
        """Crash Redis, and start it with the data of a copy."""
        self.redis.kill()
        shutil.rmtree(self.redis.data)
        shutil.copytree(self.folder / name, self.redis.data)
        self.redis.start()


@contextmanager
def fleet(
    fronts: int = 2, workers: int = 2, disk_is_slow: bool = False, **of_worker: object
) -> Iterator[Fleet]:
    """Fronts, workers and a Redis, until the test has ended."""
    with tempfile.TemporaryDirectory(prefix="burble") as name:
        made = Fleet(Path(name), fronts, workers, **of_worker)
        try:
            if disk_is_slow:
                made.slow_the_disk()
            made.start()
            yield made
        except BaseException:
            print(made.logs())
            raise
        finally:
            made.stop()
