# SPDX-License-Identifier: MIT
"""The files of packaging/ for many machines: Redis's settings and user, a worker's unit."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from fleet import COMMAND, ROOT, Process
from redises import PATIENCE, PROGRAM, needs_redis

PACKAGING = ROOT / "packaging"


def replaced(name: str, *pairs: tuple[str, str]) -> str:
    """The text of a file, with some of it replaced."""
    text = (PACKAGING / name).read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


@needs_redis
@pytest.mark.skipif(not COMMAND, reason="needs BURBLE_COMMAND")
def test_redis_and_worker_take_their_files(short_folder: Path) -> None:
    users = short_folder / "users.acl"
    users.write_text((PACKAGING / "redis-users.acl").read_text())
    settings = short_folder / "redis.conf"
    settings.write_text(
        replaced(
            "redis.conf", ("/etc/redis/redis-users.acl", str(users)), ("bind 10.0.0.1", "port 0")
        )
        + f"\nunixsocket {short_folder}/redis.sock\ndir {short_folder}\n"
    )
    options = short_folder / "worker.conf"
    options.write_text(
        replaced(
            "burble-worker.conf",
            (
                "redis://burble:change-this@10.0.0.1:6379",
                f"unix://burble:change-this@{short_folder}/redis.sock",
            ),
            ("/srv/burble/model.gguf", str(ROOT / "models/shakespeare.gguf")),
        )
    )
    assert PROGRAM is not None
    server = Process(short_folder / "redis.log", PROGRAM, settings)
    worker = Process(short_folder / "worker.log", COMMAND, "work", f"--config={options}")
    url = f"unix://burble:change-this@{short_folder}/redis.sock"
    try:
        server.start()
        deadline = time.monotonic() + PATIENCE
        while "ready: computing for the fronts" not in (
            worker.log.read_text() if worker.starts else ""
        ):
            assert time.monotonic() < deadline, worker.log.read_text() + server.log.read_text()
            if not worker.is_running():
                worker.start()  # as systemd does while Redis is not there yet
            time.sleep(0.02)
        shown = subprocess.run(
            [COMMAND, "relay", "status", url], capture_output=True, text=True, timeout=PATIENCE
        )
        assert shown.returncode == 0, shown
        assert "assistant" in shown.stdout
        server.kill()
        assert worker.end() == 0, "a worker without answers waits for no Redis"
    finally:
        worker.kill()
        server.kill()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_unit_of_worker_is_what_systemd_expects(short_folder: Path) -> None:
    unit = short_folder / "burble-worker.service"
    unit.write_text(replaced("burble-worker.service", ("/usr/local/bin/burble", "/bin/true")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if "burble-worker" in line]
    assert complaints == []


def test_unit_gives_answers_the_time_of_grace() -> None:
    assert "TimeoutStopSec=45\n" in (PACKAGING / "burble-worker.service").read_text()
