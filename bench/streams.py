# SPDX-License-Identifier: MIT
"""What a token costs where one engine feeds many streams at once.

One thread, the engine, takes a step every 10 ms: it hands each stream one chunk of five bytes. A
task for each stream reads it. Given are the CPU time of the whole process for each token, engine
and loop together, and how late the last token was read: where that is more than a few milliseconds,
the loop does not keep up.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from time import perf_counter, process_time, sleep
from typing import Any

import transformers
from progress import rounds
from report import Outcome, micros
from spread import spread

import burble

TEXT = "five "
STEP = 0.010
COUNTS = (256, 1000)


async def _read(streamer: Any) -> int:
    arrived = 0
    async for text in streamer:
        if text:
            arrived += 1
    return arrived


async def serve(make: Callable[[], Any], count: int, steps: int) -> tuple[float, float]:
    """Serve ``count`` streams for ``steps`` steps.

    :return: the CPU seconds for each token; and how many seconds after its step the last was read.
    """
    streamers = [make() for _ in range(count)]
    readers = [asyncio.create_task(_read(streamer)) for streamer in streamers]
    await asyncio.sleep(0.05)  # every task waits for its first text

    def engine() -> None:
        begin = perf_counter()
        for step in range(1, steps + 1):
            sleep(max(0.0, begin + step * STEP - perf_counter()))
            for streamer in streamers:
                streamer.on_finalized_text(TEXT)
        for streamer in streamers:
            streamer.on_finalized_text("", stream_end=True)

    thread = threading.Thread(target=engine)
    gc.collect()
    wall, cpu = perf_counter(), process_time()
    thread.start()
    arrived = sum(await asyncio.gather(*readers))
    wall, cpu = perf_counter() - wall, process_time() - cpu
    thread.join()
    if arrived != count * steps:
        raise RuntimeError(f"expected {count * steps} tokens, found {arrived}")
    return cpu / arrived, max(0.0, wall - steps * STEP)


def measure(tokenizer: Any, n_rounds: int, steps: int) -> Outcome:
    """Measure ``n_rounds`` rounds of ``steps`` steps."""
    makers: dict[str, Callable[[], Any]] = {
        "burble": lambda: burble.AsyncTextIteratorStreamer(tokenizer),
        "transformers": lambda: transformers.AsyncTextIteratorStreamer(tokenizer),
    }
    samples: dict[str, list[float]] = {}
    for _ in rounds(n_rounds, "streams"):
        for count in COUNTS:
            for name, make in makers.items():
                cpu, late = asyncio.run(serve(make, count, steps))
                samples.setdefault(f"{name}, {count:,} streams, CPU", []).append(cpu)
                samples.setdefault(f"{name}, {count:,} streams, late", []).append(late)

    outcome = Outcome(
        "streams",
        "4. streams: one engine step every 10 ms for all of them; median [quartiles]",
        samples=samples,
    )
    rows = []
    for count in COUNTS:
        for name in makers:
            key = f"{name}, {count:,} streams"
            late = spread(samples[f"{key}, late"]).median
            rows.append([key, micros(spread(samples[f"{key}, CPU"])), f"{1e3 * late:,.1f}"])
    outcome.lines.append(f"  {steps} steps each round; late: the last token, behind the clock")
    outcome.table(["", "CPU us/token", "ms late"], rows)
    return outcome
