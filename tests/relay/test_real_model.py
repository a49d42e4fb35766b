# SPDX-License-Identifier: MIT
"""The shipped model through `burble work`: a text whose worker is killed is that of one process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fleet import COMMAND, LEASE, ROOT, Fleet, Process
from protocol import PREFIX
from readers import Reading
from servers import model_server

SEED = int(os.environ.get("SEED", "20261129"))
MODEL = ROOT / "models" / "shakespeare.gguf"
ENGINE = ("--slots", 4, "--context", 512, "--threads", 1)

pytestmark = [
    pytest.mark.skipif(
        not COMMAND or shutil.which("redis-server") is None,
        reason="needs redis-server and BURBLE_COMMAND",
    ),
    pytest.mark.timeout(180),
]

KINDS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 1, "seed": 7},
    "penalties": {"temperature": 1, "seed": 8, "repeat_penalty": 1.2, "top_k": 40},
    "stop": {"temperature": 1, "seed": 9, "stop": ["qzx"]},
}


class ModelFleet(Fleet):
    """Fronts, and workers with the shipped model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fronts=2, workers=0)
        self.workers = [
            Process(
                folder / f"worker{i}.log",
                *(COMMAND, "work", "--redis", self.redis.url, "-m", f"fake={MODEL}"),
                *("--name", f"worker{i}", "--lease", f"{LEASE}ms", *ENGINE),
            )
            for i in range(2)
        ]


@pytest.fixture(scope="module")
def model_fleet() -> Iterator[ModelFleet]:
    """Processes for all tests of this file."""
    with tempfile.TemporaryDirectory(prefix="burble") as name:
        made = ModelFleet(Path(name))
        try:
            made.start()
            yield made
        finally:
            print(made.logs())
            made.stop()


class Text(Reading):
    """An answer whose text is not known beforehand."""

    def check(self) -> None:
        """Nothing to compare with yet."""


def reading(ports: list[int], kind: str, path: str, key: str, model: str) -> Text:
    """An answer that is about to be read."""
    body = {"model": model, "max_tokens": 150, "ignore_eos": True, **KINDS[kind]}
    body["prompt"] = f"{kind.upper()}:\n"
    cut = random.Random(f"{SEED} {key}")
    return Text(0, path, body, key, cut, lambda r: r.randrange(1, 6000), ports=ports)


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """The texts of one undisturbed process."""
    texts = {}
    with model_server(*ENGINE) as port:
        for kind in KINDS:
            answer = reading([port], kind, "/v1/completions", kind, "shakespeare")
            answer.read(0)
            texts[kind] = answer.texts[0]
    return texts


def stop(worker: Process) -> None:
    """Returns once it stands still."""
    assert worker.process is not None
    worker.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.process.pid, os.WSTOPPED)


def frames_of_running(made: ModelFleet) -> int:
    """How many frames Redis has of the one answer that a worker computes; 0: none computes one."""
    client = made.redis.client()
    for key in client.keys(f"{PREFIX}own:*"):  # type: ignore[union-attr]
        for name in client.smembers(key):  # type: ignore[union-attr]
            return int(client.xlen(f"{PREFIX}s:{name.decode()}"))  # type: ignore[arg-type]
    return 0


def kill_in_midst(made: ModelFleet, is_read: Future[None]) -> bool:
    """Kill both workers while an answer has text, and is to have more. False: it was over before.

    They stand still while Redis is asked, so that the answer is not over when they are killed.
    """
    while not is_read.done():
        for worker in made.workers:
            stop(worker)
        frames_of_running(made)  # before the second time, Redis takes what they had sent
        if frames_of_running(made) >= 20:
            for worker in made.workers:
                worker.kill()
                worker.start()
            return True
        for worker in made.workers:
            worker.signal(signal.SIGCONT)
        time.sleep(0.001)  # for the next frames
    return False


@pytest.mark.parametrize("kind", list(KINDS))
def test_text_with_killed_workers_equals_that_of_one_process(
    model_fleet: ModelFleet, expected: dict[str, str], kind: str
) -> None:
    killed = False
    tries = 0
    while not killed:
        tries += 1
        assert tries <= 20, "the answers ended before their workers could be killed"
        key = f"killed {kind} {tries}"
        answer = reading(model_fleet.ports, kind, "/v1/completions", key, "fake")
        with ThreadPoolExecutor(1) as threads:
            is_read = threads.submit(answer.read, 3)
            killed = kill_in_midst(model_fleet, is_read)
            is_read.result()
        assert answer.texts[0] == expected[kind]
    logs = "".join(worker.log.read_text() for worker in model_fleet.workers)
    assert f"goes on with the answer {answer.stream} of another worker after " in logs
