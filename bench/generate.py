# SPDX-License-Identifier: MIT
"""What streaming adds to the time of ``model.generate``.

The shipped model generates a fixed number of tokens greedily in a thread, while an event loop runs
in the main thread: without a streamer, with each of transformers' three classes and of burble's,
with ``burble.stream()``, also with an interval, and with the ``DirectStreamer`` of transformers'
server. Each is read as its users do: by a task of the loop, by a thread that blocks, or not at all
where the text is printed (to the null device). The clock runs around ``generate`` alone.

Each round runs all of them in a random order, and a streamer's time is divided by that of the run
without one in the same round. A round has a second run without one: its time over the first run's
should be 1, and shows the noise. Torch computes in one thread, so that the consumer has a core to
itself.

transformers itself pays for having a streamer: it copies each id to it. So the cost of
``burble.stream``, by its interval, is given over a streamer that does nothing, in rounds of their
own: shorter ones, and each runs all of them twice, the second time in the opposite order, so that
what changes steadily on the machine cancels out. Some other programs change a model's time by more
than streaming does. So the CPU time that streaming takes is also measured directly: of the thread
that generates, within ``put``, and of the loop's thread. It lacks what the two threads do to each
other: caches, and waiting for the GIL. These rounds also have the latency: from the ``put`` of a
token to the arrival of its text. ``burble.Server`` is one of their ways: its client is another
process (``served.py``), and the CPU time of the server's threads is added to that of ``put``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter, process_time, thread_time
from typing import Any

import served
import torch
import transformers
from benchmark import (
    MODEL,
    Measured,
    Options,
    Report,
    Table,
    collect,
    micros,
    shuffled,
    three_digits,
)
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
WHY_NOISE = (
    "other programs, and other tenants of the machine, change the time of a model by more than"
    " streaming does; the goal before this is of the time that streaming itself takes"
)
BOUND_NOISE = 1.12
WHY_SERVED = (
    "a token wakes the server's thread, which sends it at once, beside the model on the other"
    " processor: a small model's token takes only 3 ms"
)
BOUND_SERVED = 1.06
WITHOUT, AGAIN, NOTHING = "without", "without, again", "a streamer that does nothing"
SERVED = "burble.Server"
# Seconds; and the one that has the goal.
INTERVALS, INTERVAL = (0.01, 0.02, 0.03, 0.05), 0.03
DECODING = {"skip_prompt": True, "skip_special_tokens": True}


@dataclass(frozen=True)
class Run:
    """One generation: seconds of generate, CPU seconds of the process, chunks of text, CPU seconds
    within `put` and in the threads of the loop and of the server, and, where `put` is noted, the
    latency of each token."""

    wall: float
    cpu: float
    chunks: int
    direct: float
    took: list[float]


class DoesNothing:
    """The least that transformers takes for a streamer."""

    def put(self, value: Any) -> None:
        """Take ids."""

    def end(self) -> None:
        """Take the end."""


class Noting:
    """Hands everything to a streamer, and notes when, and the CPU seconds that it took."""

    def __init__(self, streamer: Any) -> None:
        self._streamer = streamer
        self.times: list[float] = []
        self.cpu = 0.0

    def put(self, value: Any) -> None:
        """Hand ids on."""
        self.times.append(perf_counter())
        begin = thread_time()
        self._streamer.put(value)
        self.cpu += thread_time() - begin

    def end(self) -> None:
        """Hand the end on."""
        self._streamer.end()


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
        self.noting: Noting | None = None
        self.served: served.Served | None = None
        self.arrived: list[float] = []  # the chunks of burble.stream
        self._lengths: list[int] = []

    def noted(self, streamer: Any) -> tuple[float, Any]:
        """The same as `timed`, with notes about the streamer."""
        self.noting = Noting(streamer)
        return self.timed(self.noting)

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
        self.noting, self.arrived = None, []
        loop, server, cpu = thread_time(), served.cpu_seconds(), process_time()
        wall, ids, chunks = await way(self)
        cpu, loop = process_time() - cpu, thread_time() - loop
        server = served.cpu_seconds() - server
        new = ids[0, self.options["input_ids"].shape[1] :]
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        if chunks is not None and "".join(chunks) != text:
            raise RuntimeError("the text that arrived is not the text that was generated")
        n_chunks = sum(1 for chunk in chunks or () if chunk)
        direct = server + loop + (self.noting.cpu if self.noting is not None else 0.0)
        return Run(wall, cpu, n_chunks, direct, self._latencies(new, chunks))

    def _latencies(self, new: Any, chunks: list[str] | None) -> list[float]:
        """Return the seconds from the put of each token that adds text to the text's arrival."""
        if self.noting is None or not chunks:
            return []
        if not self._lengths:  # in each run the same: the choice is greedy
            texts = (
                self.tokenizer.decode(new[:n], skip_special_tokens=True)
                for n in range(1, len(new) + 1)
            )
            self._lengths = [len(text.removesuffix("\N{REPLACEMENT CHARACTER}")) for text in texts]
        took, here, at = [], 0, 0
        there = len(chunks[0])  # up to chunk `at`
        for length, put in zip(self._lengths, self.noting.times[1:], strict=True):  # 0: the prompt
            if length <= here:
                continue
            here = length
            while there < length:
                at += 1
                there += len(chunks[at])
            took.append(self.arrived[at] - put)
        return took


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


def _stream(interval: float | None, *, noted: bool = False) -> Way:
    async def run(generator: Generator) -> Seen:
        generate = generator.noted if noted else generator.timed
        chunks = []
        async with burble.stream(
            generate, tokenizer=generator.tokenizer, interval=interval
        ) as stream:
            async for text in stream:
                chunks.append(text)
                generator.arrived.append(perf_counter())
        return *stream.result, chunks

    return run


async def _nothing_noted(generator: Generator) -> Seen:
    loop = asyncio.get_running_loop()
    return *await loop.run_in_executor(generator.pool, generator.noted, DoesNothing()), None


async def _served(generator: Generator) -> Seen:
    assert generator.served is not None
    loop = asyncio.get_running_loop()
    ask = generator.served.ask
    chunks, generator.arrived = await loop.run_in_executor(generator.reader, ask)
    return *generator.served.stream.result, chunks


def with_interval(seconds: float) -> str:
    """Return the name of ``burble.stream`` with an interval."""
    return f"burble.stream, interval={seconds:g}"


OURS = {
    "burble, TextStreamer": _printed(burble),
    "burble, TextIteratorStreamer": _blocking(burble),
    "burble, AsyncTextIteratorStreamer": _awaiting(burble),
    "burble.stream": _stream(None),
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
# Those of the rounds for the interval.
PAIRED: dict[str, Way] = {
    NOTHING: _nothing_noted,
    "burble.stream": _stream(None, noted=True),
    **{with_interval(seconds): _stream(seconds, noted=True) for seconds in INTERVALS},
    SERVED: _served,
}


def measure(options: Options) -> Measured:
    """Measure."""
    tokens = options.choose(full=256, quick=64, smoke=4)
    generator = Generator(tokens)
    paired = Generator(options.choose(full=128, quick=64, smoke=4))
    chunks: dict[str, int] = {}
    answers = served.Served(lambda: burble.stream(paired.noted, tokenizer=paired.tokenizer))
    with (
        asyncio.Runner() as runner,
        generator.pool,
        generator.reader,
        paired.pool,
        paired.reader,
        answers as paired.served,
    ):

        def one_round() -> dict[str, float]:
            found = {}
            for name in shuffled(WAYS):
                run = runner.run(generator.run(WAYS[name]))
                found[f"{name}, wall"] = run.wall / tokens
                found[f"{name}, CPU"] = run.cpu / tokens
                if run.chunks:
                    chunks[name] = run.chunks
            return found

        samples = collect("generate", options.choose(full=15, quick=6, smoke=1), one_round)
        rounds = options.choose(full=51, quick=6, smoke=1)
        samples.update(
            collect("generate, interval", rounds, lambda: _one_paired_round(runner, paired))
        )
    return Measured(samples, {"tokens": tokens, "chunks": chunks})


def _one_paired_round(runner: asyncio.Runner, generator: Generator) -> dict[str, float]:
    """Run all of PAIRED in a random order, and then in the opposite one."""
    order = shuffled(PAIRED)
    runs: dict[str, list[Run]] = {name: [] for name in PAIRED}
    for name in (*order, *reversed(order)):
        runs[name].append(runner.run(generator.run(PAIRED[name])))
    per_token = 1 / (2 * generator.options["max_new_tokens"])
    found = {}
    for name, both in runs.items():
        found[key(name, "wall")] = per_token * sum(run.wall for run in both)
        found[key(name, "CPU")] = per_token * sum(run.cpu for run in both)
        found[key(name, "direct")] = per_token * sum(run.direct for run in both)
        took = sorted(seconds for run in both for seconds in run.took)
        if took:
            found[key(name, "p50")] = took[len(took) // 2]
            found[key(name, "p99")] = took[len(took) * 99 // 100]
    return found


def key(name: str, what: str) -> str:
    """Return the name of the values of a way of the rounds for the interval."""
    return f"interval, {name}, {what}"


def measured_ways(measured: Measured) -> list[str]:
    """Return the ways that were measured: older results lack some."""
    return [name for name in WAYS if f"{name}, wall" in measured.samples]


def has_intervals(measured: Measured) -> bool:
    """Whether the rounds for the interval were measured: older results lack them."""
    return key(NOTHING, "direct") in measured.samples


def _percent(values: Sequence[float]) -> str:
    return "{:+.1f} % [{:+.1f} to {:+.1f}]".format(*values)


def intervals() -> dict[float, str]:
    """Return the ways to read with each interval, by their milliseconds; 0: none."""
    return {0.0: "burble.stream", **{1e3 * s: with_interval(s) for s in INTERVALS}}


def share(measured: Measured, name: str) -> list[float]:
    """Return the CPU time that streaming takes itself, beyond what a streamer that does nothing
    takes, as a part of the time of a token with that, and 1: round by round."""
    samples = measured.samples
    taken, nothing, token = (
        samples[key(*one)] for one in ((name, "direct"), (NOTHING, "direct"), (NOTHING, "wall"))
    )
    return [1 + (t - n) / all_ for t, n, all_ in zip(taken, nothing, token, strict=True)]


def _row(label: str, measured: Measured, name: str) -> list[str]:
    samples = measured.samples
    return [
        label,
        *(three_digits(1e3 * median(samples[key(name, p)])) for p in ("p50", "p99")),
        three_digits(1e6 * median(samples[key(name, "direct")])),
        _percent(summary(share(measured, name))),
        *(_percent(summary(over_nothing(measured, name, c))) for c in ("wall", "CPU")),
    ]


def _report_over_nothing(measured: Measured, report: Report) -> None:
    """The cost of reading, by how late text may be, and its goal."""
    samples = measured.samples
    rows = []
    for waits, name in intervals().items():
        rows.append(_row(f"{waits:.0f}" if waits else "none", measured, name))
    if key(SERVED, "direct") in samples:  # older results lack it
        rows.append(_row("none, served", measured, SERVED))
    nothing = key(NOTHING, "direct")
    header = [
        *("interval, ms", "latency ms: p50", "p99"),
        *("put and loop or server, CPU µs/token", f"beyond {NOTHING}"),
        *("wall of all, beyond it", "CPU of all, beyond it"),
    ]
    report.tables.append(Table(header, rows))
    report.notes.append(
        f"by interval: {len(samples[nothing])} rounds; {NOTHING}:"
        f" {micros(samples[key(NOTHING, 'wall')])} µs a token, of these"
        f" {micros(samples[nothing])} CPU µs in put and loop"
    )
    whose = {with_interval(INTERVAL): "loop", SERVED: "the server's threads"}
    for name, threads in whose.items():
        if key(name, "direct") not in samples:
            continue
        what = f"{name}, CPU time of put and {threads}"
        goal = at_most(what, GOAL, share(measured, name), "percent")
        report.goals.append(known(goal, WHY_SERVED, BOUND_SERVED) if name == SERVED else goal)
        over = over_nothing(measured, name, "wall")
        goal = at_most(f"{name}, time over {NOTHING}", GOAL, over, "percent")
        report.goals.append(known(goal, WHY_NOISE, BOUND_NOISE))


def over_nothing(measured: Measured, name: str, clock: str) -> list[float]:
    """Return the time of a way of the rounds for the interval over that of doing nothing."""
    return ratios(measured.samples[key(name, clock)], measured.samples[key(NOTHING, clock)])


def summary(paired: Sequence[float]) -> list[float]:
    """Return by how many percent ratios exceed 1: their median, and its interval."""
    return [100 * (ratio - 1) for ratio in (median(paired), *median_interval(paired))]


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
    if has_intervals(measured):
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


def added(measured: Measured, name: str, clock: str) -> list[float]:
    """Return the time with a streamer over that without one, round by round."""
    return ratios(measured.samples[f"{name}, {clock}"], measured.samples[f"{WITHOUT}, {clock}"])


def added_percent(measured: Measured, name: str, clock: str) -> list[float]:
    """Return by how many percent a streamer lengthens it: the median, and its interval."""
    return summary(added(measured, name, clock))
