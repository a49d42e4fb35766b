# SPDX-License-Identifier: MIT
"""What an item costs on its way from a thread at full speed to ``async for``.

A thread calls ``on_finalized_text`` with five bytes of text, over and over without a pause, and a
task counts what arrives: no decoding, only the hand-over. Seconds run from the start of the thread
until the task has seen the end. CPU time is that of the whole process: both threads.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import threading
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import goal
import transformers
from progress import rounds
from report import Outcome, micros
from spread import ratios, spread

import burble

TEXT = "five "
GOAL_LESS = 40.0


async def hand_over(make: Callable[[], Any], items: int) -> tuple[float, float]:
    """Hand over ``items`` items; return wall and CPU seconds of each."""
    streamer = make()

    def produce() -> None:
        for _ in range(items):
            streamer.on_finalized_text(TEXT)
        streamer.on_finalized_text("", stream_end=True)

    thread = threading.Thread(target=produce)
    gc.collect()
    wall, cpu = perf_counter(), process_time()
    thread.start()
    arrived = 0
    async for text in streamer:
        if text:  # transformers delivers the empty last text, burble does not
            arrived += 1
    wall, cpu = perf_counter() - wall, process_time() - cpu
    thread.join()
    if arrived != items:
        raise RuntimeError(f"expected {items} items, found {arrived}")
    return wall / items, cpu / items


def loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return how to make a loop of each kind that is installed."""
    kinds: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        return kinds
    return {**kinds, "uvloop": uvloop.new_event_loop}


def measure(tokenizer: Any, n_rounds: int, ours: int, theirs: int) -> Outcome:
    """Measure ``n_rounds`` rounds: ``ours`` items through burble, ``theirs`` through the peer."""
    makers: dict[str, tuple[Callable[[], Any], int]] = {
        "burble": (lambda: burble.AsyncTextIteratorStreamer(tokenizer), ours),
        "transformers": (lambda: transformers.AsyncTextIteratorStreamer(tokenizer), theirs),
    }
    samples: dict[str, list[float]] = {}
    kinds = loops()
    for n in rounds(n_rounds + 1, "handoff"):
        for loop, loop_factory in kinds.items():
            for name, (make, items) in makers.items():
                with asyncio.Runner(loop_factory=loop_factory) as runner:
                    wall, cpu = runner.run(hand_over(make, items))
                if n > 0:
                    samples.setdefault(f"{name}, {loop}, wall", []).append(wall)
                    samples.setdefault(f"{name}, {loop}, CPU", []).append(cpu)

    outcome = Outcome(
        "handoff",
        "2. handoff: microseconds an item, from a thread at full speed to `async for`;"
        " median [quartiles]",
        samples=samples,
    )
    outcome.lines.append(f"  {ours:,} items for burble, {theirs:,} for transformers, each round")
    outcome.table(
        ["", "wall", "CPU"],
        [
            [
                f"{name}, {loop}",
                *[micros(spread(samples[f"{name}, {loop}, {clock}"])) for clock in ("wall", "CPU")],
            ]
            for loop in kinds
            for name in makers
        ],
    )
    for clock in ("wall", "CPU"):
        peer, own = (samples[f"{name}, asyncio, {clock}"] for name in ("transformers", "burble"))
        outcome.goals.append(
            goal.less(
                f"asyncio, transformers' {clock} time over burble's", GOAL_LESS, ratios(peer, own)
            )
        )
    if "uvloop" in kinds:
        # uvloop makes transformers' way three times cheaper; burble's hardly depends on the loop.
        peer, own = (samples[f"{name}, uvloop, wall"] for name in ("transformers", "burble"))
        outcome.lines.append(
            f"  on uvloop (no goal was set for it), transformers' wall time over burble's: "
            f"{statistics.median(ratios(peer, own)):.0f} times"
        )
    else:
        outcome.lines.append("  uvloop is not installed")
    return outcome
