# SPDX-License-Identifier: MIT
"""What a token costs where one engine feeds many streams at once.

One thread, the engine, takes a step every 10 ms: it hands each stream one chunk of five bytes. A
task for each stream reads it. The peer is what people write for themselves, and what transformers'
class does: an ``asyncio.Queue`` for each stream, filled by ``call_soon_threadsafe``.

Given are the CPU time of the whole process for each token, engine and loop together; how long a
chunk takes from ``put`` to its consumer; how busy the loop's thread is, of the time that the engine
takes; and, for burble, how often the loop's descriptor was signalled in a step. Where the loop does
not keep up, the latency says so.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter, process_time, sleep, thread_time
from typing import Any, NamedTuple, Protocol

import goal
from progress import rounds
from report import Outcome, micros
from spread import ratios, spread

import burble
from burble._loops import hub_of

TEXT = "five "
STEP = 0.010
# How many streams, and for how many steps of each hundred.
COUNTS = {1: 100, 64: 100, 256: 100, 1000: 50, 10_000: 10}
GOALS = {256: 6.0, 1000: 10.0}
GOAL_BYTES = 2048
# Every so many streams one whose chunks are timed.
TIMED = 16


class Feed(Protocol):
    """One stream: what the engine calls, and what the task does."""

    def put(self, text: str) -> None: ...
    def end(self) -> None: ...
    async def read(self, arrived: Callable[[], None]) -> None: ...


class Burble:
    """A ``burble.channel()``."""

    def __init__(self) -> None:
        writer, self._stream = burble.channel()
        self.put = writer.put_text
        self.end = writer.end

    async def read(self, arrived: Callable[[], None]) -> None:
        """Read to the end."""
        async for _ in self._stream:
            arrived()


class Queue:
    """An ``asyncio.Queue``, as transformers' ``AsyncTextIteratorStreamer`` has one."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, text: str) -> None:
        """From the engine's thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, text)

    def end(self) -> None:
        """From the engine's thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    async def read(self, arrived: Callable[[], None]) -> None:
        """Read to the end."""
        while await self._queue.get() is not None:
            arrived()


class Moved:
    """The feeds of one loop that have moved since it looked last."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._feeds: deque[Deque] = deque()
        self._woken = False

    def add(self, feed: Deque) -> None:
        """From the engine's thread: wakes the loop where nobody has since it looked last."""
        self._feeds.append(feed)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._woken = False  # first: what comes from now on wakes anew
        while self._feeds:
            self._feeds.popleft().wake()


class Deque:
    """The least that Python's own parts can do: a deque, a future to wait for, and one wake-up of
    the loop for all feeds that have moved. No bound, no end of the engine, one reader."""

    def __init__(self, moved: Moved) -> None:
        self._items: deque[str | None] = deque()
        self._moved = moved
        self._waiting: asyncio.Future[None] | None = None

    def put(self, text: str | None) -> None:
        """From the engine's thread."""
        self._items.append(text)
        self._moved.add(self)

    def end(self) -> None:
        """From the engine's thread."""
        self.put(None)

    def wake(self) -> None:
        """From the loop."""
        if self._waiting is not None:
            self._waiting.set_result(None)
            self._waiting = None

    async def read(self, arrived: Callable[[], None]) -> None:
        """Read to the end."""
        loop, items = asyncio.get_running_loop(), self._items
        while True:
            while items:
                if items.popleft() is None:
                    return
                arrived()
            self._waiting = loop.create_future()
            await self._waiting


class Served(NamedTuple):
    cpu: float  # seconds for each token, of the whole process
    p50: float  # seconds from put to consumer
    p99: float
    busy: float  # of the loop's thread: CPU seconds for each second of the engine
    signals: float  # for each step


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


def burbles(count: int) -> list[Feed]:
    """Make ``count`` streams of burble's."""
    return [Burble() for _ in range(count)]


def queues(count: int) -> list[Feed]:
    """Make ``count`` queues."""
    return [Queue() for _ in range(count)]


def deques(count: int) -> list[Feed]:
    """Make ``count`` deques that share their wake-ups."""
    moved = Moved()
    return [Deque(moved) for _ in range(count)]


async def serve(make: Callable[[int], list[Feed]], count: int, steps: int) -> Served:
    """Serve ``count`` streams for ``steps`` steps."""
    feeds = make(count)
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
    took = sorted(seconds for one in timed.values() for seconds in one.took)
    if len(took) != len(timed) * steps:
        raise RuntimeError(f"expected {len(timed) * steps} timed chunks, found {len(took)}")
    return Served(
        cpu / (count * steps),
        took[len(took) // 2],
        took[len(took) * 99 // 100],
        busy / lasted,
        (hub.signals - signals) / steps,
    )


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


def measure(n_rounds: int, steps: int) -> Outcome:
    """Measure ``n_rounds`` rounds of up to ``steps`` steps."""
    makers = {"burble": burbles, "asyncio.Queue": queues, "a bare deque": deques}
    samples: dict[str, list[float]] = {}
    for _ in rounds(n_rounds, "streams"):
        for count, share in COUNTS.items():
            for name, make in makers.items():
                served = asyncio.run(serve(make, count, max(5, steps * share // 100)))
                for what, value in served._asdict().items():
                    samples.setdefault(f"{name}, {count:,} streams, {what}", []).append(value)
    idle = bytes_of_idle_stream()
    samples["burble, idle stream, bytes"] = [idle]

    def of(name: str, count: int, what: str) -> list[float]:
        return samples[f"{name}, {count:,} streams, {what}"]

    outcome = Outcome(
        "streams",
        "4. streams: one engine step every 10 ms for all of them; median [quartiles]",
        samples=samples,
    )
    rows = []
    for count in COUNTS:
        for name in makers:
            p50, p99, busy, signals = (
                spread(of(name, count, what)).median for what in ("p50", "p99", "busy", "signals")
            )
            rows.append(
                [
                    f"{name}, {count:,} streams",
                    micros(spread(of(name, count, "cpu"))),
                    f"{1e3 * p50:,.2f}",
                    f"{1e3 * p99:,.2f}",
                    f"{100 * busy:.0f} %",
                    f"{signals:.2f}" if name == "burble" else "",
                ]
            )
    outcome.table(["", "CPU us/token", "p50 ms", "p99 ms", "loop busy", "signals a step"], rows)
    outcome.lines.append(f"  an idle stream, its writer and its reader: {idle:,.0f} bytes")
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
    return outcome
