# SPDX-License-Identifier: MIT
"""What streaming adds to ``model.generate``.

The shipped model generates a fixed number of tokens greedily, in a thread, while an event loop runs
in the main thread: without a streamer, with each of transformers' three classes and burble's, with
``burble.stream()``, and with the ``DirectStreamer`` of transformers' server. Each is read as its
users do: by a task of the loop, by a thread that blocks, or not at all, where the text is printed
(to the null device). The clock runs around ``generate`` alone.

Each round runs all of them in an order of its own, and a streamer's time is divided by that of the
run without one in the same round. The run without one happens twice in each round: the second over
the first has to be 1, and how far it is from that is what the machine's noise does to the others.
Torch computes in one thread, so that the consumer has a core to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import goal
import torch
import transformers
from contest import Contest
from progress import rounds
from report import Measured, Outcome, Table, micros
from spread import median_interval, ratios, spread

import burble
import models

PROMPT = "ROMEO:"
GOAL_ADDS = 1.02
WITHOUT, AGAIN = "without", "without, again"
DECODING = {"skip_prompt": True, "skip_special_tokens": True}


@dataclass(frozen=True)
class Run:
    """One generation: seconds of generate, CPU seconds of the process, and chunks of text."""

    wall: float
    cpu: float
    chunks: int


class Generator:
    """The model, its prompt, and the thread in which it generates."""

    def __init__(self, tokens: int) -> None:
        self.tokenizer = models.load_tokenizer(models.SHAKESPEARE)
        self.model = models.load_model()
        self.options = {
            **self.tokenizer(PROMPT, return_tensors="pt"),
            "do_sample": False,
            "max_new_tokens": tokens,
            "min_new_tokens": tokens,
        }
        self.pool = ThreadPoolExecutor(1)
        self.reader = ThreadPoolExecutor(1)

    def timed(self, streamer: Any) -> tuple[float, Any]:
        """Generate; return the seconds that took, and the ids."""
        torch.set_num_threads(1)  # of this thread
        begin = perf_counter()
        ids = self.model.generate(**self.options, streamer=streamer)
        return perf_counter() - begin, ids

    def start(self, streamer: Any) -> Awaitable[tuple[float, Any]]:
        """Generate in the thread."""
        return asyncio.get_running_loop().run_in_executor(self.pool, self.timed, streamer)

    async def run(self, way: Way) -> Run:
        """Generate and read; the text that arrives has to be the text that was generated."""
        gc.collect()
        cpu = process_time()
        wall, ids, chunks = await way(self)
        cpu = process_time() - cpu
        if chunks is not None:
            new = ids[0, self.options["input_ids"].shape[1] :]
            if "".join(chunks) != self.tokenizer.decode(new, skip_special_tokens=True):
                raise RuntimeError("the text that arrived is not the text that was generated")
        return Run(wall, cpu, sum(1 for chunk in chunks or () if chunk))


# ---- the ways to read: seconds of generate, the ids, the chunks where somebody has them ----------

Seen = tuple[float, Any, "list[str] | None"]
Way = Callable[[Generator], Awaitable[Seen]]


async def _without(generator: Generator) -> Seen:
    return *await generator.start(None), None


def _printed(library: Any) -> Way:
    async def run(generator: Generator) -> Seen:
        streamer = library.TextStreamer(generator.tokenizer, **DECODING)
        with open(os.devnull, "w", encoding="utf-8") as null, contextlib.redirect_stdout(null):  # noqa: ASYNC230
            return *await generator.start(streamer), None

    return run


def _blocking(library: Any) -> Way:
    async def run(generator: Generator) -> Seen:
        streamer = library.TextIteratorStreamer(generator.tokenizer, **DECODING)
        done = generator.start(streamer)
        loop = asyncio.get_running_loop()
        chunks = await loop.run_in_executor(generator.reader, list, streamer)
        return *await done, chunks

    return run


def _awaiting(library: Any) -> Way:
    async def run(generator: Generator) -> Seen:
        streamer = library.AsyncTextIteratorStreamer(generator.tokenizer, **DECODING)
        done = generator.start(streamer)
        chunks = [text async for text in streamer]
        return *await done, chunks

    return run


async def _direct(generator: Generator) -> Seen:
    from transformers.cli.serving.utils import DirectStreamer

    queue: asyncio.Queue[str | None] = asyncio.Queue()
    loop, backend = asyncio.get_running_loop(), generator.tokenizer.backend_tokenizer
    done = generator.start(DirectStreamer(backend, loop, queue))
    chunks = []
    while (text := await queue.get()) is not None:
        chunks.append(text)
    return *await done, chunks


async def _stream(generator: Generator) -> Seen:
    async with burble.stream(generator.timed, tokenizer=generator.tokenizer) as stream:
        chunks = [text async for text in stream]
    return *stream.result, chunks


OURS = {
    "burble, TextStreamer": _printed(burble),
    "burble, TextIteratorStreamer": _blocking(burble),
    "burble, AsyncTextIteratorStreamer": _awaiting(burble),
    "burble.stream": _stream,
}
THEIRS = {
    "TextStreamer": _printed(transformers),
    "TextIteratorStreamer": _blocking(transformers),
    "AsyncTextIteratorStreamer": _awaiting(transformers),
    "DirectStreamer": _direct,
}
WAYS: dict[str, Way] = {WITHOUT: _without, AGAIN: _without, **OURS, **THEIRS}


async def _collect(generator: Generator, n_rounds: int) -> dict[str, list[Run]]:
    rng = random.Random(1)
    runs: dict[str, list[Run]] = {name: [] for name in WAYS}
    for n in rounds(n_rounds + 1, "generate"):
        for name in rng.sample(list(WAYS), k=len(WAYS)):
            run = await generator.run(WAYS[name])
            if n > 0:
                runs[name].append(run)
    return runs


def measure(n_rounds: int, tokens: int) -> Measured:
    """Measure ``n_rounds`` rounds of ``tokens`` new tokens, after one that does not count."""
    generator = Generator(tokens)
    runs = asyncio.run(_collect(generator, n_rounds))
    generator.pool.shutdown()
    generator.reader.shutdown()
    samples = {}
    for name, each in runs.items():
        samples[f"{name}, wall"] = [run.wall / tokens for run in each]
        samples[f"{name}, CPU"] = [run.cpu / tokens for run in each]
    chunks = {name: each[0].chunks for name, each in runs.items() if each[0].chunks}
    return Measured(samples, {"tokens": tokens, "chunks": chunks})


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""
    samples, facts = found
    outcome = Outcome(
        "generate",
        f"3. generate: what streaming adds to {facts['tokens']} tokens of models/shakespeare;"
        " median [quartiles]",
    )
    outcome.notes.append(
        f"{len(samples[f'{WITHOUT}, wall'])} rounds, torch on one thread; added: paired in each"
        " round, with its 95 % interval"
    )
    rows = []
    for name in WAYS:
        row = [name, str(facts["chunks"].get(name, ""))]
        for clock in ("wall", "CPU"):
            row.append(micros(spread(samples[f"{name}, {clock}"])))
            row.append("" if name == WITHOUT else _say_added(found, name, clock))
        rows.append(row)
    header = ["", "chunks", "wall µs/token", "added", "CPU µs/token", "added"]
    outcome.tables.append(Table(header, rows))
    for what, name in (
        ("burble", "burble, AsyncTextIteratorStreamer"),
        ("burble.stream", "burble.stream"),
    ):
        outcome.goals.append(
            goal.adds(f"{what}, time added to generate", GOAL_ADDS, added(found, name, "wall"))
        )
    for clock in ("wall", "CPU"):
        for name in OURS:
            # Who reads on a loop is compared with who does, too.
            peers = [name.removeprefix("burble, ")]
            if name not in ("burble, TextStreamer", "burble, TextIteratorStreamer"):
                peers = ["AsyncTextIteratorStreamer", "DirectStreamer"]
            outcome.contests.append(
                Contest(
                    f"{clock} time of a generation with {name}",
                    samples[f"{name}, {clock}"],
                    {peer: samples[f"{peer}, {clock}"] for peer in peers},
                )
            )
    return outcome


def added(found: Measured, name: str, clock: str) -> list[float]:
    """Return how many times as long it takes as without a streamer, round by round."""
    return ratios(found.samples[f"{name}, {clock}"], found.samples[f"{WITHOUT}, {clock}"])


def _say_added(found: Measured, name: str, clock: str) -> str:
    paired = added(found, name, clock)
    values = [100 * (ratio - 1) for ratio in (spread(paired).median, *median_interval(paired))]
    return "{:+.1f} % [{:+.1f} to {:+.1f}]".format(*values)
