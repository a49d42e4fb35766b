# SPDX-License-Identifier: MIT
"""`burble relay status`, on a Redis where scripts stand in for workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from protocol import Front, Scripts, Session
from redises import ROOT, needs_redis, redis_server

COMMAND = os.environ.get("BURBLE_COMMAND", "")
pytestmark = [
    needs_redis,
    pytest.mark.skipif(not COMMAND, reason="needs the command: BURBLE_COMMAND"),
]


def status(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `burble relay`."""
    done = subprocess.run(
        [COMMAND, "relay", *words], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_status_shows_workers_models_and_redis(short_folder: Path) -> None:
    with redis_server(short_folder, "--maxmemory", "100mb", "--appendonly", "yes") as server:
        scripts = Scripts(server.client())
        front = Front(scripts)
        living = Session(scripts, ("m", "other"), lease=60_000)
        Session(scripts, lease=1)
        for _ in range(3):
            front.submit()
        assert len(living.claimed(1)) == 1
        code, out, err = status("status", server.url)
        assert (code, err) == (0, "")
        lines = [line.split() for line in out.splitlines()]
        assert lines[0] == ["WORKER", "ANSWERS", "LEASE", "MODELS"]
        assert lines[2][:2] == ["worker", "1"]
        assert lines[2][3:] == ["m,", "other"]
        assert lines[1][:2] == ["worker", "0"]
        assert "lapsed: its answers go to others" in out
        assert ["m", "1", "2"] in lines
        assert ["other", "1", "0"] in lines
        assert "of 100.0 MiB" in out
        assert "No append-only file" not in out
        code, out, err = status("status", "--json", server.url)
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert [worker["answers"] for worker in found["workers"]] == [0, 1]
        assert found["workers"][1]["session"] == living.name
        assert 0 < found["workers"][1]["lease_ms"] <= 60_000
        assert found["models"] == [
            {"name": "m", "workers": 1, "waiting": 2},
            {"name": "other", "workers": 1, "waiting": 0},
        ]
        assert found["redis"]["max_memory"] == 100 << 20
        assert found["redis"]["persistent"] is True


def test_status_without_living_worker_fails(short_folder: Path) -> None:
    with redis_server(short_folder) as server:
        code, out, err = status("status", server.url)
        assert (code, err) == (1, "")
        assert "(none: start one by burble work" in out
        assert "No append-only file" in out
        Session(Scripts(server.client()), lease=1)
        assert status("status", server.url)[0] == 1


def test_status_of_other_prefix_is_apart(short_folder: Path) -> None:
    with redis_server(short_folder) as server:
        Session(Scripts(server.client()), lease=60_000)
        assert status("status", server.url)[0] == 0
        assert status("status", server.url, "--prefix", "other")[0] == 1


def test_status_as_user_with_least_rights(short_folder: Path) -> None:
    with redis_server(short_folder) as server:
        server.add_user()
        Session(Scripts(server.client()), lease=60_000)
        url = f"unix://burble:change-this@{server.socket}"
        assert status("status", url)[0] == 0, status("status", url)


def test_status_without_redis_says_why_and_no_password(short_folder: Path) -> None:
    code, out, err = status("status", f"unix://user:secret@{short_folder}/none.sock")
    assert (code, out) == (1, "")
    assert "none.sock" in err
    assert "secret" not in err


def test_worker_without_redis_ends_before_it_loads_models(short_folder: Path) -> None:
    url = f"unix://user:secret@{short_folder}/none.sock"
    model = ROOT / "models" / "shakespeare.gguf"
    done = subprocess.run(
        [COMMAND, "work", "--redis", url, "-m", model],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    said = f"error: unix://{short_folder}/none.sock: cannot connect to {short_folder}/none.sock: "
    assert said in done.stderr
    assert "loaded" not in done.stderr


def test_status_of_frozen_redis_ends_in_time(short_folder: Path) -> None:
    with redis_server(short_folder) as server:
        server.signal(signal.SIGSTOP)
        thaw = threading.Timer(30, server.signal, (signal.SIGCONT,))
        thaw.start()
        code, out, err = status("status", server.url)
        thaw.cancel()
        assert (code, out) == (1, "")
        assert "burble relay: " in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected 'status', found nothing"),
        (("stop",), "expected 'status', found 'stop'"),
        (("status",), "expected one URL after 'status', found 0"),
        (("status", "a", "b"), "expected one URL after 'status', found 2"),
        (("status", "http://x"), ""),
        (("status", "redis://h", "--prefix", "{x}"), ""),
    ],
)
def test_wrong_command_line_is_refused(words: tuple[str, ...], message: str) -> None:
    code, out, err = status(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("burble relay: ")


def test_status_of_manual_page() -> None:
    """What docs/relay.md shows has the columns of the command."""
    page = (ROOT / "docs/relay.md").read_text()
    assert "WORKER                            ANSWERS      LEASE  MODELS\n" in page
    assert "MODEL                             WORKERS    WAITING\n" in page
