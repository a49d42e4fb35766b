# SPDX-License-Identifier: MIT
"""What a token costs where one engine feeds many streams at once.

One thread, the engine, takes a step every 10 ms: it hands each stream one chunk of five bytes. A
task for each stream reads it. The peers are a queue for each stream, of each kind that people take:
an ``asyncio.Queue`` filled by ``call_soon_threadsafe``, as transformers' class does it, and the
queues between threads and tasks. Below all of them lies the floor: bare deques, and one wake-up of
the loop for each step.

Given are the CPU time of the whole process for each token, engine and loop together, the end of a
stream counted as one; how long a step took, from its beginning to the next one's, which is more
than 10 ms where the engine could not keep up; how long a chunk takes from its ``put`` to its
consumer; how busy the loop's thread is, of the time that the engine takes; and, for burble, how
often the loop's descriptor was signalled in a step. The latency begins when the engine comes to a
chunk, not when its step should have begun: what keeps the engine from its next chunk looks good
there, and does not in how long a step takes.
"""

from __future__ import annotations

import asyncio
import gc
import math
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from time import perf_counter, process_time, sleep, thread_time

import goal
from contest import Contest
from feeds import FLOOR, QUEUES, Channel, Feed
from progress import rounds
from report import Measured, Outcome, Table, micros
from spread import ratios, spread

from burble._loops import hub_of

TEXT = "five "
STEP = 0.010
# How many streams, and for how many steps of each hundred.
COUNTS = {1: 50, 64: 50, 256: 60, 1000: 40, 10_000: 5}
GOALS = {256: 6.0, 1000: 10.0}
GOAL_BYTES = 2048
# Every so many streams one whose chunks are timed.
TIMED = 16
# What is kept of the latencies of a run, in percent.
QUANTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

MAKERS: dict[str, Callable[[], Feed]] = {"burble": Channel, **QUEUES}
PEERS = [name for name in QUEUES if name != FLOOR]


class _Timed:
    """Notes when chunks are put, and how long each took to arrive."""

    def __init__(self, feed: Feed) -> None:
        self._put = feed.put
        self._times: list[float] = []
        self.took: list[float] = []

    def put(self, text: str) -> None:
        self._times.append(perf_counter())
        self._put(text)

    def arrived(self) -> None:
        self.took.append(perf_counter() - self._times[len(self.took)])


def _nothing() -> None:
    pass


def quantile(ordered: list[float], percent: float) -> float:
    """Return the least of the values that so many percent of them do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


async def serve(make: Callable[[], Feed], count: int, steps: int) -> dict[str, float]:
    """Serve ``count`` streams for ``steps`` steps; return what was seen, by name."""
    feeds = [make() for _ in range(count)]
    timed = {i: _Timed(feed) for i, feed in enumerate(feeds) if i % TIMED == 0}
    puts = [timed[i].put if i in timed else feed.put for i, feed in enumerate(feeds)]
    arrived = [timed[i].arrived if i in timed else _nothing for i in range(count)]
    tasks = [
        asyncio.create_task(feed.read(note)) for feed, note in zip(feeds, arrived, strict=True)
    ]
    await asyncio.sleep(0.05)  # every task waits for its first text
    hub = hub_of(asyncio.get_running_loop())
    lasted = 0.0

    def engine() -> None:
        nonlocal lasted
        begin = perf_counter()
        for step in range(1, steps + 1):
            sleep(max(0.0, begin + step * STEP - perf_counter()))
            for put in puts:
                put(TEXT)
        lasted = perf_counter() - begin
        for feed in feeds:
            feed.end()

    thread = threading.Thread(target=engine)
    gc.collect()
    signals, busy, cpu = hub.signals, thread_time(), process_time()
    thread.start()
    await asyncio.gather(*tasks)
    cpu, busy = process_time() - cpu, thread_time() - busy
    thread.join()
    for feed in feeds:
        await feed.close()
    took = sorted(seconds for one in timed.values() for seconds in one.took)
    if len(took) != len(timed) * steps:
        raise RuntimeError(f"expected {len(timed) * steps} timed chunks, found {len(took)}")
    return {
        "cpu": cpu / (count * (steps + 1)),  # seconds for each token or end, of the whole process
        "step": lasted / steps,
        "busy": busy / lasted,  # of the loop's thread: CPU seconds for each of the engine's
        "signals": (hub.signals - signals) / steps,
        **{f"p{percent:g}": quantile(took, percent) for percent in QUANTILES},
    }


# Run in a process of its own, where nothing else has left room in the heap.
_IDLE = """
import gc, os
import burble
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
warm = [burble.channel() for _ in range(100)]
gc.collect()
before = resident()
idle = [burble.channel() for _ in range(10_000)]
gc.collect()
print((resident() - before) / len(idle))
"""


def bytes_of_idle_stream() -> float:
    """Return what a stream takes that nothing was written to, with its writer and its reader."""
    done = subprocess.run(
        [sys.executable, "-c", _IDLE], stdout=subprocess.PIPE, check=True, timeout=120
    )
    return float(done.stdout)


def key(name: str, count: int, what: str) -> str:
    """Return the name under which values are kept."""
    return f"{name}, {count:,} streams, {what}"


def measure(n_rounds: int, steps: int) -> Measured:
    """Measure ``n_rounds`` rounds of up to ``steps`` steps, in an order that changes, after one
    that does not count."""
    samples: dict[str, list[float]] = {}
    order = random.Random(1)
    for n in rounds(n_rounds + 1, "streams"):
        for count, share in COUNTS.items():
            for name in order.sample(list(MAKERS), k=len(MAKERS)):
                made = MAKERS[name]
                seen = asyncio.run(serve(made, count, max(5, steps * share // 100)))
                for what, value in seen.items():
                    if n > 0 and (what != "signals" or name == "burble"):
                        samples.setdefault(key(name, count, what), []).append(value)
    samples["burble, idle stream, bytes"] = [bytes_of_idle_stream()]
    return Measured(samples, {})


def outcome(found: Measured) -> Outcome:
    """Say what the values mean."""

    def of(name: str, count: int, what: str) -> list[float]:
        return found.samples[key(name, count, what)]

    outcome = Outcome(
        "streams",
        "4. streams: one engine step every 10 ms for all of them; median [quartiles]",
    )
    rows = []
    for count in COUNTS:
        for name in MAKERS:
            step, p50, p99, busy = (
                spread(of(name, count, what)).median for what in ("step", "p50", "p99", "busy")
            )
            signals = spread(of("burble", count, "signals")).median
            rows.append(
                [
                    f"{name}, {count:,} stream{'s' if count > 1 else ''}",
                    micros(spread(of(name, count, "cpu"))),
                    f"{1e3 * step:,.1f}",
                    f"{1e3 * p50:,.2f}",
                    f"{1e3 * p99:,.2f}",
                    f"{100 * busy:.0f} %",
                    f"{signals:.2f}" if name == "burble" else "",
                ]
            )
    header = ["", "CPU µs/token", "step ms", "p50 ms", "p99 ms", "loop busy", "signals a step"]
    outcome.tables.append(Table(header, rows))
    (idle,) = found.samples["burble, idle stream, bytes"]
    outcome.notes.append(f"an idle stream, its writer and its reader: {idle:,.0f} bytes")
    for count, bound in GOALS.items():
        less = ratios(of("asyncio.Queue", count, "cpu"), of("burble", count, "cpu"))
        outcome.goals.append(
            goal.less(f"CPU for each token of {count:,} streams, less", bound, less)
        )
    outcome.goals.append(
        goal.flat("the loop's thread at 1,000 streams, busy", 0.5, of("burble", 1000, "busy"))
    )
    for count in COUNTS:
        outcome.goals.append(
            goal.flat(f"signals a step at {count:,} streams", 1.0, of("burble", count, "signals"))
        )
    outcome.goals.append(
        goal.flat(f"an idle stream, in {GOAL_BYTES:,} bytes", 1.0, [idle / GOAL_BYTES])
    )
    whats = {"cpu": "CPU for a token", "p50": "half of the chunks arrive", "p99": "99 % arrive"}
    for what, said in whats.items():
        for count in COUNTS:
            outcome.contests.append(
                Contest(
                    f"{said}, {count:,} stream{'s' if count > 1 else ''}",
                    of("burble", count, what),
                    {name: of(name, count, what) for name in PEERS},
                )
            )
    return outcome
