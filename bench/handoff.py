# SPDX-License-Identifier: MIT
"""What an item costs on its way from a thread at full speed to ``async for``.

A thread puts five bytes of text, over and over without a pause, and a task counts what arrives: no
decoding, only the hand-over. Seconds run from the start of the thread until the task has seen the
end. CPU time is that of the whole process: both threads.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import threading
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import goal
import transformers
from contest import Contest
from feeds import FLOOR, QUEUES, Channel, Feed, Streamer
from progress import rounds
from report import Measured, Outcome, Table, micros
from spread import ratios, spread

import burble

TEXT = "five "
GOAL_LESS = 40.0
CLOCKS = ("wall", "CPU")
# Who needs so little that more items are taken, so that the clock sees enough of it.
QUICK = ("burble", "burble.channel", FLOOR)


async def hand_over(make: Callable[[], Feed], items: int) -> tuple[float, float]:
    """Hand over ``items`` items; return wall and CPU seconds of each."""
    feed = make()

    def produce() -> None:
        put = feed.put
        for _ in range(items):
            put(TEXT)
        feed.end()

    arrived = itertools.count()  # in C, so that counting is not what is measured
    thread = threading.Thread(target=produce)
    gc.collect()
    wall, cpu = perf_counter(), process_time()
    thread.start()
    await feed.read(arrived.__next__)
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


def makers(tokenizer: Any) -> dict[str, Callable[[], Feed]]:
    """Return everyone, in the order of the table."""
    return {
        "burble": lambda: Streamer(burble.AsyncTextIteratorStreamer(tokenizer)),
        "burble.channel": Channel,
        "transformers": lambda: Streamer(transformers.AsyncTextIteratorStreamer(tokenizer)),
        **QUEUES,
    }


def measure(tokenizer: Any, n_rounds: int, ours: int, theirs: int) -> Measured:
    """Measure ``n_rounds`` rounds: ``ours`` items through burble, ``theirs`` through a peer."""
    samples: dict[str, list[float]] = {}
    everyone, kinds, order = makers(tokenizer), loops(), random.Random(1)
    for n in rounds(n_rounds + 1, "handoff"):
        for loop, loop_factory in kinds.items():
            for name in order.sample(list(everyone), k=len(everyone)):
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    items = ours if name in QUICK else theirs
                    each = runner.run(hand_over(everyone[name], items))
                if n > 0:
                    for clock, value in zip(CLOCKS, each, strict=True):
                        samples.setdefault(f"{name}, {loop}, {clock}", []).append(value)
    return Measured(
        samples, {"loops": list(kinds), "names": list(everyone), "ours": ours, "theirs": theirs}
    )


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""
    samples, facts = found
    kinds, names = facts["loops"], facts["names"]
    outcome = Outcome(
        "handoff",
        "2. handoff: microseconds an item, from a thread at full speed to `async for`;"
        " median [quartiles]",
    )
    outcome.notes.append(
        f"{facts['ours']:,} items for burble and the {FLOOR}, {facts['theirs']:,} for the others,"
        " each round"
    )
    rows = [
        [f"{name}, {loop}", *[micros(spread(samples[f"{name}, {loop}, {c}"])) for c in CLOCKS]]
        for loop in kinds
        for name in names
    ]
    outcome.tables.append(Table(["", *CLOCKS], rows))
    for clock in CLOCKS:
        peer, own = (samples[f"{name}, asyncio, {clock}"] for name in ("transformers", "burble"))
        outcome.goals.append(
            goal.less(
                f"asyncio, transformers' {clock} time over burble's", GOAL_LESS, ratios(peer, own)
            )
        )
    for loop in kinds:
        for clock in CLOCKS:
            peers = {
                name: samples[f"{name}, {loop}, {clock}"]
                for name in names
                if name not in ("burble", "burble.channel", FLOOR)
            }
            own = samples[f"burble, {loop}, {clock}"]
            outcome.contests.append(Contest(f"{clock} time of an item, {loop}", own, peers))
    if "uvloop" in kinds:
        # uvloop makes transformers' way three times cheaper; burble's hardly depends on the loop.
        peer, own = (samples[f"{name}, uvloop, wall"] for name in ("transformers", "burble"))
        outcome.notes.append(
            "on uvloop (no goal was set for it), transformers' wall time over burble's:"
            f" {spread(ratios(peer, own)).median:.0f} times"
        )
    else:
        outcome.notes.append("uvloop is not installed")
    return outcome
