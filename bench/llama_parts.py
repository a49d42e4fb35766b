# SPDX-License-Identifier: MIT
"""The parts of the work that burble's engine does for a token outside of llama_decode.

The shipped model in one thread; as many answers at once as slots. `outside` is the processor time
of the engine's process but its reader's thread, without llama_decode. The parts are measured in
runs of their own: a preloaded library (llama_parts.c) looks at the clock between them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import llama_weights
from benchmark import Measured, Options, Report, Table, collect, shuffled, three_digits
from goals import quartiles
from llama_server import BATCH, CONTEXT, THREADS, Client

# As `enum part` in llama_parts.h counts them; the second one is llama_decode.
PARTS = {
    "the step": 0,
    "choosing": 2,
    "text": 3,
    "frames": 4,
    "stream": 5,
    "waking": 6,
}
STEPS = 7  # behind the parts
SLOTS = (1, 16, 64)
KINDS = {
    "text": (),
    "frames": ("frames",),
    "sampled": ("sampled",),
    "frames, logprobs": ("frames", "logprobs"),
}
TOKENS = {1: 256, 16: 64, 64: 32}


class Run:
    """The engine with one kind of request, and what is counted of it."""

    def __init__(self, client: Client, counts: Path | None) -> None:
        self._client = client
        self._counts = counts

    def _parts(self) -> list[int]:
        assert self._counts is not None
        data = self._counts.read_bytes()
        return [int.from_bytes(data[8 * i : 8 * i + 8], sys.byteorder) for i in range(STEPS + 1)]

    def outside(self, slots: int) -> float:
        """Return the microseconds of processor time for a token."""
        figures = self._client.run(f"speed {slots} {TOKENS[slots]}")
        return figures["cpu"] - figures["decode"]

    def parts(self, slots: int) -> dict[str, float]:
        """Return the microseconds of each part for a token."""
        before = self._parts()
        self._client.run(f"speed {slots} {TOKENS[slots]}")
        after = self._parts()
        tokens = slots * TOKENS[slots]
        return {name: (after[i] - before[i]) / 1000 / tokens for name, i in PARTS.items()}


@contextmanager
def _run(slots: int, kind: str, in_parts: bool, options: Options) -> Iterator[Run]:
    with tempfile.NamedTemporaryFile() as decode, tempfile.NamedTemporaryFile() as counts:
        for file in (decode, counts):
            file.write(bytes(8 * (STEPS + 1)))
            file.flush()
        library = options.program("llama_parts.so" if in_parts else "llama_decode_time.so")
        environment = {"LD_PRELOAD": str(library)}
        environment |= {"LLAMA_DECODE_TIME": decode.name, "LLAMA_PARTS": counts.name}
        program = options.program("llama_load_engine")
        command = [program, llama_weights.SHIPPED, slots, CONTEXT, BATCH, THREADS, *KINDS[kind]]
        with subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Run(Client(process), Path(counts.name))
            finally:
                process.kill()


def measure(options: Options) -> Measured:
    """Measure."""
    samples: dict[str, list[float]] = {}
    for slots in SLOTS:
        samples |= _measure(slots, options)
    return Measured(samples, {"threads": THREADS})


def _measure(slots: int, options: Options) -> dict[str, list[float]]:
    with ExitStack() as stack:
        enter = stack.enter_context
        runs = {kind: enter(_run(slots, kind, False, options)) for kind in KINDS}
        in_parts = {kind: enter(_run(slots, kind, True, options)) for kind in KINDS}

        def one_round() -> dict[str, float]:
            found = {}
            for kind in shuffled(KINDS):
                found[f"{slots}, {kind}, outside"] = runs[kind].outside(slots)
                for name, us in in_parts[kind].parts(slots).items():
                    found[f"{slots}, {kind}, {name}"] = us
            return found

        rounds = options.choose(full=9, quick=5, smoke=1)
        return collect(f"parts, {slots} slots", rounds, one_round)


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples = measured.samples
    report = Report("llama_parts", "µs of CPU a token outside llama_decode, and its parts; median")
    report.notes.append(f"{THREADS} thread; the parts are measured apart from the first column")
    for slots in SLOTS:
        rows = []
        for kind in KINDS:
            outside = quartiles(samples[f"{slots}, {kind}, outside"])
            cells = [
                f"{three_digits(outside.median)} "
                f"[{three_digits(outside.lower)}-{three_digits(outside.upper)}]"
            ]
            cells += [three_digits(median(samples[f"{slots}, {kind}, {name}"])) for name in PARTS]
            rows.append([kind, *cells])
        report.tables.append(Table([f"{slots} slots", "outside", *PARTS], rows))
    return report
