# SPDX-License-Identifier: MIT
"""Workers that the network cuts off: each has a namespace of its own, whose link goes down."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet import LEASE, Fleet, free_port, needs_fleet
from readers import EXHAUSTED, Crowd

SEED = int(os.environ.get("SEED", "20261129"))
LONG = float(os.environ.get("BURBLE_TEST_LONG") or 0)


def ip(*words: str) -> None:
    """The command `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@contextmanager
def namespace(n: int) -> Iterator[tuple[str, str]]:
    """A network namespace with one link to this machine: its name, and the name of the link."""
    name = f"burble{secrets.token_hex(3)}"
    here, there = f"{name}h", f"{name}t"
    ip("netns", "add", name)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("addr", "add", f"{address(n)}/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", f"{address(n, 2)}/30", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        yield name, here
    finally:
        ip("netns", "del", name)


# A net that hardly anybody uses (RFC 5737), and a part of it that other runs hardly have.
PART = secrets.randbelow(28) * 8


def address(n: int, host: int = 1) -> str:
    """An address of link n."""
    return f"192.0.2.{PART + 4 * n + host}"


def may_have_namespaces() -> bool:
    """Whether this process may make network namespaces."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"burble{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode != 0:
        return False
    subprocess.run(["ip", "netns", "del", name], check=True)
    return True


@contextmanager
def cut_fleet() -> Iterator[tuple[Fleet, list[str]]]:
    """Workers in namespaces, the rest here; and the links."""
    with tempfile.TemporaryDirectory(prefix="burble") as folder:
        with namespace(0) as (first, link0), namespace(1) as (second, link1):
            made = Fleet(Path(folder), fronts=2, workers=2)
            port = free_port()
            made.redis.options += ["--port", str(port), "--protected-mode", "no"]
            made.redis.options += ["--bind", "127.0.0.1", address(0), address(1)]
            for n, (name, worker) in enumerate(zip((first, second), made.workers)):
                at = worker.command.index("--redis") + 1
                worker.command[at] = f"redis://{address(n)}:{port}"
                worker.command[:0] = ["ip", "netns", "exec", name]
            try:
                made.start()
                yield made, [link0, link1]
            finally:
                print(made.logs())
                made.stop()


@needs_fleet
@pytest.mark.timeout(3600 if LONG else 120)
@pytest.mark.skipif(not may_have_namespaces(), reason="needs root, ip, and network namespaces")
def test_partitioned_workers_show_no_stale_byte_once_healed() -> None:
    rng = random.Random(SEED)
    with cut_fleet() as (made, links):
        crowd = Crowd(made.ports, SEED)
        for i in range(max(2, round(200 * LONG))):
            time.sleep(rng.uniform(0.3, 1.0))
            link = links[i % 2]
            ip("link", "set", link, "down")
            time.sleep(rng.uniform(0.2, 2 * LEASE / 1000 + 2))
            ip("link", "set", link, "up")
            time.sleep(1.0)
        crowd.stop()
        context = f"seed {SEED}\n{crowd.failed[:5]}\n{made.logs()}"
        assert crowd.broken == [], context
        assert [error for error in crowd.failed if EXHAUSTED not in error] == [], context
        assert len(crowd.finished) >= crowd.size, context
        assert all(worker.starts == 1 for worker in made.workers), made.crashes()
        print(f"{len(crowd.finished)} answers were read whole")
