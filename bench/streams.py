# SPDX-License-Identifier: MIT
"""The cost of a token where one engine feeds many streams at once.

One thread, the engine, takes a step every 10 ms: it hands each stream one chunk of five bytes. A
task for each stream reads it. The peers are a queue for each stream, of each common kind: an
``asyncio.Queue`` filled by ``call_soon_threadsafe``, as transformers' class does it, and the queues
between threads and tasks. The floor below all of them is bare deques with one wake-up of the loop
for each step. Beside them, one task reads all of burble's streams (``burble.gather``): without a
task for each stream, most of asyncio's own cost goes.

Measured are:

* the CPU time of the whole process for each token, engine and loop together; the end of a stream
  counts as one. And of that, the loop's thread: the reader's side, without the engine's ``put``;
* the time of a step, from its start to the next one's: more than 10 ms where the engine cannot keep
  up;
* the latency of a chunk, from the start of its step to its consumer: an engine that computes a
  batch has the texts of a step all at once. Beside it, the latency from its ``put``: a queue that
  delays the engine while it wakes the loop for each chunk looks good there, and bad in the first;
* how busy the loop's thread is, of the time that the engine takes;
* for burble, how often the loop's descriptor is signalled in a step;
* the memory of an idle stream.
"""

from __future__ import annotations

import asyncio
import gc
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from time import perf_counter, process_time, sleep, thread_time

from benchmark import Measured, Options, Report, Table, collect, micros, shuffled, three_digits
from goals import Comparison, at_least, at_most, known, median, ratios
from queues import FLOOR, QUEUES, Channel, Queue

import burble
from burble._loops import hub_of

TEXT = "five "
STEP = 0.010
# The numbers of streams, and the percentage of the steps for which each is measured.
COUNTS = {1: 50, 64: 50, 256: 60, 1000: 40, 10_000: 5}
# How many times less CPU than asyncio.Queue; and how many times less it must be at any rate.
GOALS, BOUNDS = {256: 6.0, 1000: 10.0}, {256: 1.5, 1000: 2.5}
WHY_CPU = (
    "the floor, bare deques that wake the loop once a step, is not that far below asyncio.Queue,"
    " either: what is left is asyncio itself, which resumes a task for each token"
)
# How many times the bare deques' CPU, at most.
OVER_FLOOR = {256: 1.0, 1000: 1.0, 10_000: 1.25}
GOAL_TOGETHER = 0.3
WHY_TOGETHER = (
    "Python calls the engine's put_text for each token, which takes 0.2 µs alone; the next goal is"
    " of the reader alone"
)
WHY_READING = (
    "a text takes the task 0.24 µs in one thread that runs without a pause; here, the other"
    " processor has written all of it, and ten milliseconds have passed since the last step"
)
WHY_SIGNALS = (
    "a drain resumes at most 1,024 tasks and then signals itself, so that the loop gets a turn;"
    " only the loop pays for those: by call_soon, a step would take 15 µs less, of 19 ms"
)
GOAL_BYTES = 2048
# One stream in so many has its chunks timed.
TIMED = 16
# The percentiles that are kept of the latencies of a run.
QUANTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

MAKERS: dict[str, Callable[[], Queue]] = {"burble": Channel, **QUEUES}
PEERS = [name for name in QUEUES if name != FLOOR]
# One task for all of burble's streams.
TOGETHER = "burble.gather"


class _Timed:
    """Notes when chunks are put, and the seconds until each arrives: from there, and from the start
    of its step."""

    def __init__(self, queue: Queue, steps: list[float]) -> None:
        self._put = queue.put
        self._steps = steps
        self._times: list[float] = []
        self.took: list[float] = []
        self.took_of_step: list[float] = []

    def put(self, text: str) -> None:
        self._times.append(perf_counter())
        self._put(text)

    def arrived(self) -> None:
        now, at = perf_counter(), len(self.took)
        self.took.append(now - self._times[at])
        self.took_of_step.append(now - self._steps[at])


def _nothing() -> None:
    pass


def quantile(ordered: list[float], percent: float) -> float:
    """Return the least value that this percentage of the values does not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


async def serve(name: str, count: int, steps: int) -> dict[str, float]:
    """Serve ``count`` streams for ``steps`` steps; return the figures by name."""
    make = Channel if name == TOGETHER else MAKERS[name]
    queues = [make() for _ in range(count)]
    began: list[float] = []  # each step
    timed = {i: _Timed(queue, began) for i, queue in enumerate(queues) if i % TIMED == 0}
    puts = [timed[i].put if i in timed else queue.put for i, queue in enumerate(queues)]
    arrived = [timed[i].arrived if i in timed else _nothing for i in range(count)]
    if name == TOGETHER:
        readers = [read_together(queues, arrived)]
    else:
        readers = [queue.read(note) for queue, note in zip(queues, arrived, strict=True)]
    tasks = [asyncio.create_task(reader) for reader in readers]
    await asyncio.sleep(0.05)  # until every task waits for its first text
    hub = hub_of(asyncio.get_running_loop())
    lasted = 0.0

    def engine() -> None:
        nonlocal lasted
        begin = perf_counter()
        for step in range(1, steps + 1):
            sleep(max(0.0, begin + step * STEP - perf_counter()))
            began.append(perf_counter())
            for put in puts:
                put(TEXT)
        lasted = perf_counter() - begin
        for queue in queues:
            queue.end()

    thread = threading.Thread(target=engine)
    gc.collect()
    signals, busy, cpu = hub.signals, thread_time(), process_time()
    thread.start()
    await asyncio.gather(*tasks)
    cpu, busy = process_time() - cpu, thread_time() - busy
    thread.join()
    for queue in queues:
        await queue.close()
    took = sorted(seconds for one in timed.values() for seconds in one.took)
    of_step = sorted(seconds for one in timed.values() for seconds in one.took_of_step)
    if len(took) != len(timed) * steps:
        raise RuntimeError(f"expected {len(timed) * steps} timed chunks, found {len(took)}")
    return {
        "cpu": cpu / (count * (steps + 1)),  # seconds for each token or end, of the whole process
        "step": lasted / steps,
        "busy": busy / lasted,  # of the loop's thread: CPU seconds for each of the engine's
        "signals": (hub.signals - signals) / steps,
        **{f"p{percent:g}": quantile(took, percent) for percent in QUANTILES},
        **{f"step p{percent:g}": quantile(of_step, percent) for percent in QUANTILES},
    }


async def read_together(queues: list[Channel], arrived: list[Callable[[], object]]) -> None:
    """Read all streams in one task."""
    async for i, text in burble.gather([queue.stream for queue in queues]):
        if text is not None:
            arrived[i]()


# Run in a separate process, whose heap has no room left by others.
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
    """Return the memory of a stream without text, with its writer and its reader."""
    done = subprocess.run(
        [sys.executable, "-c", _IDLE], stdout=subprocess.PIPE, check=True, timeout=120
    )
    return float(done.stdout)


def key(name: str, count: int, what: str) -> str:
    """Return the name of a figure's values."""
    return f"{name}, {count:,} streams, {what}"


def measure(options: Options) -> Measured:
    """Measure."""
    steps, least = options.choose(full=(100, 5), quick=(50, 5), smoke=(1, 1))

    def one_round() -> dict[str, float]:
        found = {}
        for count, share in COUNTS.items():
            for name in shuffled([*MAKERS, TOGETHER]):
                seen = asyncio.run(serve(name, count, max(least, steps * share // 100)))
                if name not in ("burble", TOGETHER):
                    del seen["signals"]
                found.update({key(name, count, what): value for what, value in seen.items()})
        return found

    samples = collect("streams", options.choose(full=7, quick=2, smoke=1), one_round)
    samples["burble, idle stream, bytes"] = [bytes_of_idle_stream()]
    return Measured(samples, {})


def report(measured: Measured) -> Report:
    """Say what the values mean."""

    def of(name: str, count: int, what: str) -> list[float]:
        return measured.samples[key(name, count, what)]

    def of_loop(name: str, count: int) -> list[float]:
        """The CPU time of the loop's thread for each token."""
        both = zip(of(name, count, "busy"), of(name, count, "step"), strict=True)
        return [busy * step / count for busy, step in both]

    report = Report("streams", "one engine step every 10 ms for all of them; median [quartiles]")
    rows = []
    for count in COUNTS:
        for name in (*MAKERS, TOGETHER):
            step, p50, p99, put_p50, put_p99, busy = (
                median(of(name, count, what))
                for what in ("step", "step p50", "step p99", "p50", "p99", "busy")
            )
            rows.append(
                [
                    _streams(name, count),
                    micros(of(name, count, "cpu")),
                    three_digits(1e6 * median(of_loop(name, count))),
                    f"{1e3 * step:,.1f}",
                    f"{1e3 * p50:,.2f}",
                    f"{1e3 * p99:,.2f}",
                    f"{1e3 * put_p50:,.2f}",
                    f"{1e3 * put_p99:,.2f}",
                    f"{100 * busy:.0f} %",
                    f"{median(of(name, count, 'signals')):.2f}" if "burble" in name else "",
                ]
            )
    header = [
        *("", "CPU µs/token", "of it, the loop"),
        *("step ms", "p50 ms", "p99 ms", "from put: p50", "p99"),
        *("loop busy", "signals a step"),
    ]
    report.tables.append(Table(header, rows))
    (idle,) = measured.samples["burble, idle stream, bytes"]
    report.notes.append(f"an idle stream, its writer and its reader: {idle:,.0f} bytes")
    for count, bound in GOALS.items():
        less = ratios(of("asyncio.Queue", count, "cpu"), of("burble", count, "cpu"))
        goal = at_least(f"CPU for each token of {count:,} streams, less", bound, less)
        report.goals.append(known(goal, WHY_CPU, BOUNDS[count]))
    for count, bound in OVER_FLOOR.items():
        over = ratios(of("burble", count, "cpu"), of(FLOOR, count, "cpu"))
        what = f"CPU for each token of {count:,} streams, over the bare deques'"
        report.goals.append(at_most(what, bound, over))
    together = [1e6 * seconds for seconds in of(TOGETHER, 1000, "cpu")]
    goal = at_most("CPU for each token of 1,000 streams in one task", GOAL_TOGETHER, together, "µs")
    report.goals.append(known(goal, WHY_TOGETHER, 4 * GOAL_TOGETHER))
    reading = [1e6 * seconds for seconds in of_loop(TOGETHER, 1000)]
    goal = at_most("the same, of the task's thread alone", GOAL_TOGETHER, reading, "µs")
    report.goals.append(known(goal, WHY_READING, 3 * GOAL_TOGETHER))
    report.goals.append(
        at_most("the loop's thread at 1,000 streams, busy", 0.5, of("burble", 1000, "busy"))
    )
    for count in COUNTS:
        what = f"signals a step at {count:,} streams"
        goal = at_most(what, 1.0, of("burble", count, "signals"))
        report.goals.append(known(goal, WHY_SIGNALS, 20.0) if count == 10_000 else goal)
    what = f"an idle stream, in {GOAL_BYTES:,} bytes"
    report.goals.append(at_most(what, 1.0, [idle / GOAL_BYTES]))
    whats = {
        "cpu": "CPU for a token",
        "step p50": "half of the chunks arrive",
        "step p99": "99 % arrive",
    }
    for what, said in whats.items():
        for count in COUNTS:
            report.comparisons.append(
                Comparison(
                    _streams(said, count),
                    of("burble", count, what),
                    {name: of(name, count, what) for name in PEERS},
                )
            )
    return report


def _streams(what: str, count: int) -> str:
    return f"{what}, {count:,} stream{'s' if count > 1 else ''}"
