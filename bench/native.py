# SPDX-License-Identifier: MIT
"""The C side of the benchmarks: detokenize.c, a process that measures what it is told to."""

from __future__ import annotations

import array
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import models

PROGRAM = models.ROOT / "build" / "bench" / "bench" / "detokenize"


class Native:
    """The program, with a vocabulary file and ids for each number that it is asked for."""

    def __init__(self, pairs: Sequence[tuple[Path, Sequence[int]]]) -> None:
        if not PROGRAM.exists():
            raise SystemExit(f"{PROGRAM} is not there; `make bench` builds it")
        self._folder = TemporaryDirectory()
        arguments: list[str] = []
        for n, (vocabulary, ids) in enumerate(pairs):
            path = Path(self._folder.name) / str(n)
            path.write_bytes(array.array("i", ids).tobytes())
            arguments += [str(vocabulary), str(path)]
        self._process = subprocess.Popen(
            [PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Native:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def push(self, n: int) -> tuple[float, int]:
        """Push all ids of pair ``n``; return the CPU seconds, and the bytes of text."""
        seconds, size = self._ask(f"push {n}")
        return float(seconds), int(size)

    def copy(self, n: int) -> float:
        """Copy the text that each id of pair ``n`` gives; return the CPU seconds."""
        return float(self._ask(f"copy {n}")[0])

    def load(self, n: int) -> tuple[float, int, int]:
        """Load the vocabulary of pair ``n``; return the CPU seconds, its ids and its memory."""
        seconds, size, memory = self._ask(f"load {n}")
        return float(seconds), int(size), int(memory)

    def _ask(self, what: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(what, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{PROGRAM.name} has ended at {what!r}")
        return answer.split()
