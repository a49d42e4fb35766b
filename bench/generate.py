# SPDX-License-Identifier: MIT
"""What streaming adds to the time of ``model.generate``.

The shipped model generates a fixed number of tokens greedily in a thread, while an event loop runs
in the main thread: without a streamer, with each of transformers' three classes and of burble's,
with ``burble.stream()``, also with an interval, and with the ``DirectStreamer`` of transformers'
server. Each is read as its users do: by a task of the loop, by a thread that blocks, or not at all
where the text is printed (to the null device). The clock runs around ``generate`` alone.

Each round runs all of them in a random order, and a streamer's time is divided by that of the run
without one in the same round. A round has a second run without one: its time over the first run's
should be 1, and shows the noise. transformers itself pays for having a streamer: it copies each id
to it. So a round has a run with a streamer that does nothing, and the cost of ``burble.stream`` is
also given over that. Torch computes in one thread, so that the consumer has a core to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import torch
import transformers
from benchmark import MODEL, Measured, Options, Report, Table, collect, micros, shuffled
from goals import Comparison, at_most, known, median, median_interval, ratios

import burble

PROMPT = "ROMEO:"
# With a streamer over without, and with an interval over a streamer that does nothing; and what is
# reached at any rate.
GOAL, BOUNDS = 1.02, {"burble": 1.10, "burble.stream": 1.12}
WHY = (
    "two threads of one Python process wake each other, and waking an event loop alone takes some"
    " hundredths of what this small model takes for a token"
)
WITHOUT, AGAIN, NOTHING = "without", "without, again", "a streamer that does nothing"
# Seconds; and the one that has the goal.
INTERVALS, INTERVAL = (0.01, 0.02, 0.03, 0.05), 0.03
DECODING = {"skip_prompt": True, "skip_special_tokens": True}


@dataclass(frozen=True)
class Run:
    """One generation: seconds of generate, CPU seconds of the process, chunks of text."""

    wall: float
    cpu: float
    chunks: int


class DoesNothing:
    """The least that transformers takes for a streamer."""

    def put(self, value: Any) -> None:
        """Take ids."""

    def end(self) -> None:
        """Take the end."""


class Generator:
    """The model, its prompt, and the thread in which it generates."""

    def __init__(self, tokens: int) -> None:
        transformers.logging.disable_progress_bar()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(MODEL).eval()
        self.options = {
            **self.tokenizer(PROMPT, return_tensors="pt"),
            "do_sample": False,
            "max_new_tokens": tokens,
            "min_new_tokens": tokens,
        }
        self.pool = ThreadPoolExecutor(1)
        self.reader = ThreadPoolExecutor(1)

    def timed(self, streamer: Any) -> tuple[float, Any]:
        """Generate; return the seconds and the ids."""
        torch.set_num_threads(1)  # of this thread
        begin = perf_counter()
        ids = self.model.generate(**self.options, streamer=streamer)
        return perf_counter() - begin, ids

    def start(self, streamer: Any) -> Awaitable[tuple[float, Any]]:
        """Generate in the thread."""
        return asyncio.get_running_loop().run_in_executor(self.pool, self.timed, streamer)

    async def run(self, way: Way) -> Run:
        """Generate and read; the text that arrives must be the generated text."""
        gc.collect()
        cpu = process_time()
        wall, ids, chunks = await way(self)
        cpu = process_time() - cpu
        if chunks is not None:
            new = ids[0, self.options["input_ids"].shape[1] :]
            if "".join(chunks) != self.tokenizer.decode(new, skip_special_tokens=True):
                raise RuntimeError("the text that arrived is not the text that was generated")
        return Run(wall, cpu, sum(1 for chunk in chunks or () if chunk))


# ---- the ways to read: seconds of generate, the ids, the chunks unless they are printed ----------

Seen = tuple[float, Any, "list[str] | None"]
Way = Callable[[Generator], Awaitable[Seen]]


async def _without(generator: Generator) -> Seen:
    return *await generator.start(None), None


async def _for_nothing(generator: Generator) -> Seen:
    return *await generator.start(DoesNothing()), None


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


def _stream(interval: float | None) -> Way:
    async def run(generator: Generator) -> Seen:
        async with burble.stream(
            generator.timed, tokenizer=generator.tokenizer, interval=interval
        ) as stream:
            chunks = [text async for text in stream]
        return *stream.result, chunks

    return run


def with_interval(seconds: float) -> str:
    """Return the name of ``burble.stream`` with an interval."""
    return f"burble.stream, interval={seconds:g}"


OURS = {
    "burble, TextStreamer": _printed(burble),
    "burble, TextIteratorStreamer": _blocking(burble),
    "burble, AsyncTextIteratorStreamer": _awaiting(burble),
    "burble.stream": _stream(None),
    **{with_interval(seconds): _stream(seconds) for seconds in INTERVALS},
}
THEIRS = {
    "TextStreamer": _printed(transformers),
    "TextIteratorStreamer": _blocking(transformers),
    "AsyncTextIteratorStreamer": _awaiting(transformers),
    "DirectStreamer": _direct,
}
WAYS: dict[str, Way] = {
    WITHOUT: _without,
    AGAIN: _without,
    NOTHING: _for_nothing,
    **OURS,
    **THEIRS,
}


def measure(options: Options) -> Measured:
    """Measure."""
    tokens = options.choose(full=256, quick=64, smoke=4)
    generator = Generator(tokens)
    chunks: dict[str, int] = {}
    with asyncio.Runner() as runner, generator.pool, generator.reader:

        def one_round() -> dict[str, float]:
            found = {}
            for name in shuffled(WAYS):
                run = runner.run(generator.run(WAYS[name]))
                found[f"{name}, wall"] = run.wall / tokens
                found[f"{name}, CPU"] = run.cpu / tokens
                if run.chunks:
                    chunks[name] = run.chunks
            return found

        samples = collect("generate", options.choose(full=31, quick=6, smoke=1), one_round)
    return Measured(samples, {"tokens": tokens, "chunks": chunks})


def measured_ways(measured: Measured) -> list[str]:
    """Return the ways that were measured: older results lack some."""
    return [name for name in WAYS if f"{name}, wall" in measured.samples]


def _percent(values: list[float]) -> str:
    return "{:+.1f} % [{:+.1f} to {:+.1f}]".format(*values)


def _report_over_nothing(measured: Measured, report: Report) -> None:
    """The cost of reading, by how late text may be, and its goal."""
    rows = []
    for seconds in (0.0, *INTERVALS):
        name = with_interval(seconds) if seconds else "burble.stream"
        costs = (added_percent(measured, name, clock, NOTHING) for clock in ("wall", "CPU"))
        rows.append([name, f"{1e3 * seconds:.0f}", *map(_percent, costs)])
    header = [f"over {NOTHING}", "ms that text may wait", "wall", "CPU"]
    report.tables.append(Table(header, rows))
    name = with_interval(INTERVAL)
    over = added(measured, name, "wall", NOTHING)
    report.goals.append(at_most(f"{name}, time over {NOTHING}", GOAL, over, "percent"))


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples, facts = measured
    report = Report(
        "generate",
        f"what streaming adds to {facts['tokens']} tokens of models/shakespeare;"
        " median [quartiles]",
    )
    report.notes.append(
        f"{len(samples[f'{WITHOUT}, wall'])} rounds, torch on one thread; added: paired in each"
        " round, with its 95 % interval"
    )
    names = measured_ways(measured)
    rows = []
    for name in names:
        row = [name, str(facts["chunks"].get(name, ""))]
        for clock in ("wall", "CPU"):
            row.append(micros(samples[f"{name}, {clock}"]))
            row.append("" if name == WITHOUT else _percent(added_percent(measured, name, clock)))
        rows.append(row)
    header = ["", "chunks", "wall µs/token", "added", "CPU µs/token", "added"]
    report.tables.append(Table(header, rows))
    if NOTHING in names:
        _report_over_nothing(measured, report)
    for what, name in (
        ("burble", "burble, AsyncTextIteratorStreamer"),
        ("burble.stream", "burble.stream"),
    ):
        paired = added(measured, name, "wall")
        goal = at_most(f"{what}, time added to generate", GOAL, paired, "percent")
        report.goals.append(known(goal, WHY, BOUNDS[what]))
    for clock in ("wall", "CPU"):
        for name in (name for name in names if name in OURS):
            # What is read on a loop is compared with what is read on a loop.
            peers = [name.removeprefix("burble, ")]
            if name not in ("burble, TextStreamer", "burble, TextIteratorStreamer"):
                peers = ["AsyncTextIteratorStreamer", "DirectStreamer"]
            report.comparisons.append(
                Comparison(
                    f"{clock} time of a generation with {name}",
                    samples[f"{name}, {clock}"],
                    {peer: samples[f"{peer}, {clock}"] for peer in peers},
                )
            )
    return report


def added(measured: Measured, name: str, clock: str, over: str = WITHOUT) -> list[float]:
    """Return the time with a streamer over that without one (or another one), round by round."""
    return ratios(measured.samples[f"{name}, {clock}"], measured.samples[f"{over}, {clock}"])


def added_percent(measured: Measured, name: str, clock: str, over: str = WITHOUT) -> list[float]:
    """Return by how many percent a streamer lengthens it: the median, and its interval."""
    paired = added(measured, name, clock, over)
    return [100 * (ratio - 1) for ratio in (median(paired), *median_interval(paired))]
