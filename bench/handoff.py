# SPDX-License-Identifier: MIT
"""The cost of an item on its way from a thread at full speed to ``async for``.

A thread puts five bytes of text over and over without a pause, and a task counts what arrives:
nothing is decoded. The peers get fewer items, because they are slower; their cost of an item does
not depend on that. Time runs from the start of the thread until the task has seen the end. CPU time
is that of the whole process, both threads. If the system runs both threads on one core,
transformers' figure is about half of that on two: it may have two values on the same machine.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import transformers
from benchmark import Measured, Options, Report, Table, collect, micros, shuffled
from goals import Comparison, at_least, median, ratios
from queues import FLOOR, QUEUES, Channel, Queue, Streamer

import burble

TEXT = "five "
GOAL_LESS = 40.0
CLOCKS = ("wall", "CPU")
# These need so little that they get more items, for the resolution of the clock.
MORE_ITEMS = ("burble", "burble.channel", FLOOR)


async def hand_over(make: Callable[[], Queue], items: int) -> tuple[float, float]:
    """Hand over ``items`` items; return wall and CPU seconds of each."""
    queue = make()

    def produce() -> None:
        put = queue.put
        for _ in range(items):
            put(TEXT)
        queue.end()

    arrived = itertools.count()  # in C, so that counting costs little
    thread = threading.Thread(target=produce)
    gc.collect()
    wall, cpu = perf_counter(), process_time()
    thread.start()
    await queue.read(arrived.__next__)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    thread.join()
    if (found := next(arrived)) != items:
        raise RuntimeError(f"expected {items} items, found {found}")
    return wall / items, cpu / items


def loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return how to make a loop of each kind that is installed."""
    kinds: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        return kinds
    return {**kinds, "uvloop": uvloop.new_event_loop}


def makers(tokenizer: Any) -> dict[str, Callable[[], Queue]]:
    """Return how to make each queue, in the order of the table."""
    return {
        "burble": lambda: Streamer(burble.AsyncTextIteratorStreamer(tokenizer)),
        "burble.channel": Channel,
        "transformers": lambda: Streamer(transformers.AsyncTextIteratorStreamer(tokenizer)),
        **QUEUES,
    }


def measure(options: Options) -> Measured:
    """Measure."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer, local_files_only=True)
    queues, kinds = makers(tokenizer), loops()
    ours = options.choose(full=200_000, quick=100_000, smoke=100)
    theirs = options.choose(full=20_000, quick=10_000, smoke=100)

    def one_round() -> dict[str, float]:
        found = {}
        for loop, loop_factory in kinds.items():
            for name in shuffled(queues):
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    items = ours if name in MORE_ITEMS else theirs
                    each = runner.run(hand_over(queues[name], items))
                for clock, value in zip(CLOCKS, each, strict=True):
                    found[f"{name}, {loop}, {clock}"] = value
        return found

    samples = collect("handoff", options.choose(full=21, quick=6, smoke=1), one_round)
    return Measured(
        samples, {"loops": list(kinds), "names": list(queues), "ours": ours, "theirs": theirs}
    )


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    samples, facts = measured
    kinds, names = facts["loops"], facts["names"]
    report = Report(
        "handoff",
        "microseconds an item, from a thread at full speed to `async for`; median [quartiles]",
    )
    report.notes.append(
        f"{facts['ours']:,} items for burble and the {FLOOR}, {facts['theirs']:,} for the others,"
        " each round"
    )
    rows = [
        [f"{name}, {loop}", *[micros(samples[f"{name}, {loop}, {clock}"]) for clock in CLOCKS]]
        for loop in kinds
        for name in names
    ]
    report.tables.append(Table(["", *CLOCKS], rows))
    for clock in CLOCKS:
        peer, own = (samples[f"{name}, asyncio, {clock}"] for name in ("transformers", "burble"))
        what = f"asyncio, transformers' {clock} time over burble's"
        report.goals.append(at_least(what, GOAL_LESS, ratios(peer, own)))
    for loop in kinds:
        for clock in CLOCKS:
            peers = {
                name: samples[f"{name}, {loop}, {clock}"]
                for name in names
                if name not in MORE_ITEMS
            }
            own = samples[f"burble, {loop}, {clock}"]
            report.comparisons.append(Comparison(f"{clock} time of an item, {loop}", own, peers))
    if "uvloop" in kinds:
        # uvloop makes transformers' way three times cheaper; burble's hardly depends on the loop.
        peer, own = (samples[f"{name}, uvloop, wall"] for name in ("transformers", "burble"))
        report.notes.append(
            "on uvloop (no goal was set for it), transformers' wall time over burble's:"
            f" {median(ratios(peer, own)):.0f} times"
        )
    else:
        report.notes.append("uvloop is not installed")
    return report
