# SPDX-License-Identifier: MIT
"""Forks while loops and threads read, and what each child does with what its parent has.

    python tests/python/fork_load.py FORKS          by turns with each verb
    python tests/python/fork_load.py FORKS VERB...  so many with each of these

A child that does not end in time counts as hung, one that fails as wrong. The last line of the
output says how many there were. The parent's readers must go on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import queue
import random
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import burble

warnings.simplefilter("ignore")  # of forking with threads, which is the point
sys.setswitchinterval(0.0002)  # or the thread that forks waits for all others, each time

LOOPS = 3
CHILD_SECONDS = 30.0
PARENT_SECONDS = 60.0
PIECES = [bytes([i]) for i in range(128)]


class Parent:
    """What the parent's threads and tasks are doing when it forks."""

    def __init__(self) -> None:
        self.read = [0] * LOOPS  # texts, by the loops
        self.looped: list[Any] = []  # read by a task each
        self.blocked = burble.stream(endless, tokenizer=PIECES, max_lag=5)
        self.kept = burble.stream(slow, tokenizer=PIECES, keep="all")
        self.items = burble.iterate(lambda: iter(int, 1), max_lag=5)
        self.batch = burble.stream(endless_batch, batch=2, tokenizer=PIECES, max_lag=5)
        self.streamer = burble.TextIteratorStreamer(PIECES, chunk="token")
        self.pool = burble.Pool(workers=2)
        self.queued = [self.pool.stream(endless, tokenizer=PIECES, max_lag=5) for _ in range(4)]
        self.theirs, self.theirs_read = burble.channel(tokenizer=PIECES, max_lag=5)
        self.mine, self.mine_read = burble.channel(tokenizer=PIECES)
        self.mine.put_text("one")
        begun = queue.SimpleQueue[None]()
        for i in range(LOOPS):
            start(asyncio.run, self._loop(i, begun))
        for function in (self._block, self._iterate, self._merge, self._come_and_go):
            start(function)
        start(endless, self.streamer)
        start(endless, self.theirs)
        start(self._read_streamer)
        for _ in range(LOOPS):
            begun.get(timeout=PARENT_SECONDS)
        next(iter(self.kept))
        next(iter(self.theirs_read))

    async def _loop(self, i: int, begun: queue.SimpleQueue[None]) -> None:
        async with burble.stream(endless, tokenizer=PIECES, max_lag=5) as stream:
            self.looped.append(stream)
            async for _ in stream:
                if self.read[i] == 0:
                    begun.put(None)
                self.read[i] += 1

    def _block(self) -> None:
        for _ in self.blocked:
            pass

    def _iterate(self) -> None:
        for _ in self.items:
            pass

    def _merge(self) -> None:
        for _ in self.batch:
            pass

    def _read_streamer(self) -> None:
        for _ in self.streamer:
            pass

    def _come_and_go(self) -> None:
        while True:
            with self.kept.reader("oldest") as reader:
                next(reader)
            self.pool.submit(int).result()

    @property
    def streams(self) -> list[Any]:
        return [
            *self.looped,
            self.blocked,
            self.kept,
            self.items,
            self.theirs_read,
            *self.queued,
        ]


def start(function: Callable[..., Any], *args: Any) -> None:
    threading.Thread(target=function, args=args, daemon=True).start()


def endless(streamer: Any) -> None:
    while True:
        streamer.put([65])


def endless_batch(streamer: Any) -> None:
    while True:
        streamer.put([65, 66])


def slow(streamer: Any) -> None:
    streamer.put([65])
    threading.Event().wait()


# ---- what a child does ---------------------------------------------------------------------------


def dies(read: Callable[[], Any]) -> None:
    try:
        read()
    except burble.ProducerDied:
        return
    raise AssertionError("expected ProducerDied")


def refused(write: Callable[[], Any]) -> None:
    with contextlib.suppress(burble.Error):
        write()


def do_nothing(parent: Parent) -> None:
    pass


def do_read(parent: Parent) -> None:
    for stream in [*parent.streams, parent.batch, parent.streamer]:
        dies(lambda stream=stream: list(stream))


def do_await(parent: Parent) -> None:
    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    for stream in [*parent.streams, parent.batch]:
        dies(lambda stream=stream: asyncio.run(read(stream)))


def do_reader(parent: Parent) -> None:
    for stream in parent.streams:
        with stream.reader("oldest") as reader:
            dies(lambda reader=reader: list(reader))
    with parent.kept.reader(0) as reader:
        assert next(reader) == "A"
        dies(lambda: next(reader))


def do_look(parent: Parent) -> None:
    for stream in parent.streams:
        assert stream.state == "failed", stream
        assert isinstance(stream.error, burble.ProducerDied)
        repr(stream), stream.stats, stream.finish_reason, stream.position, stream.stopped
    repr(parent.batch), parent.batch.stats, parent.batch.finish_reason
    repr(parent.pool), parent.pool.running, parent.pool.waiting


def do_cancel(parent: Parent) -> None:
    for stream in [*parent.streams, parent.batch, parent.streamer]:
        stream.cancel()


def do_close(parent: Parent) -> None:
    for stream in [*parent.streams, parent.batch]:
        stream.close()


def do_join(parent: Parent) -> None:
    for stream in [*parent.streams, parent.batch]:
        dies(stream.join)
        dies(lambda stream=stream: stream.result)


def do_wait(parent: Parent) -> None:
    for stream in [*parent.streams, parent.batch]:
        dies(lambda stream=stream: asyncio.run(stream.wait()))


def do_put(parent: Parent) -> None:
    parent.streamer.put([66])
    parent.streamer.end()
    refused(lambda: parent.theirs.put([66]))
    refused(parent.theirs.end)


def do_end(parent: Parent) -> None:
    refused(parent.streamer.end)


def do_mine(parent: Parent) -> None:
    """The channel of the thread that has forked goes on."""
    parent.mine.put_text("two")
    parent.mine.put([65])
    parent.mine.end()
    assert "".join(parent.mine_read) == "onetwoA"


def do_fail(parent: Parent) -> None:
    parent.mine.fail(ValueError("three"))
    try:
        list(parent.mine_read)
    except ValueError:
        return
    raise AssertionError("expected ValueError")


def do_pool(parent: Parent) -> None:
    assert parent.pool.submit(int, "5").result() == 5
    with parent.pool.stream(endless, tokenizer=PIECES) as stream:
        assert next(stream) == "A"
    parent.pool.close()


def do_new(parent: Parent) -> None:
    async def read() -> None:
        async with burble.stream(endless, tokenizer=PIECES, max_lag=5) as stream:
            assert await stream.__anext__() == "A"

    asyncio.run(read())
    with burble.stream(endless, tokenizer=PIECES, max_lag=5) as stream:
        assert next(stream) == "A"


def do_collect(parent: Parent) -> None:
    parent.__dict__.clear()
    gc.collect()


def do_exit(parent: Parent) -> None:
    sys.exit(0)


def do_each(parent: Parent) -> None:
    """All of them, in some order: none hangs, whatever those before it have done."""
    names = [name for name in VERBS if name not in ("collect", "each", "exit")]
    random.Random(os.getpid()).shuffle(names)
    for name in names:
        with contextlib.suppress(Exception):
            VERBS[name](parent)
    do_collect(parent)


VERBS = {name[3:]: verb for name, verb in list(globals().items()) if name.startswith("do_")}


# ---- forking -------------------------------------------------------------------------------------


def child(parent: Parent, name: str) -> None:
    try:
        VERBS[name](parent)
    except Exception:
        traceback.print_exc()
        os._exit(1)
    except SystemExit:
        # As the interpreter ends, but for what it would wait for in the parent's threads.
        import atexit

        atexit._run_exitfuncs()
    os._exit(0)


def fork(parent: Parent, name: str) -> str:
    """What becomes of a child: "well", "wrong" or "hung". The pipe's other end is the child's
    alone, so it ends with it."""
    gone, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(parent, name)
    os.close(end)
    hung = not select.select([gone], [], [], CHILD_SECONDS)[0]
    os.close(gone)
    if hung:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return "hung" if hung else "well" if status == 0 else "wrong"


def main(forks: int, names: list[str]) -> int:
    parent = Parent()
    counts = {"well": 0, "wrong": 0, "hung": 0}
    began = time.monotonic()
    todo = [name for name in names for _ in range(forks)]
    if not names:
        todo = [list(VERBS)[i % len(VERBS)] for i in range(forks)]
    for i, name in enumerate(todo):
        result = fork(parent, name)
        counts[result] += 1
        if result != "well":
            print(f"fork {i}, {name}: {result}", flush=True)
        if counts["hung"] >= 3 or counts["wrong"] >= 20:
            break
    before = list(parent.read)
    deadline = time.monotonic() + PARENT_SECONDS
    while any(now == then for now, then in zip(parent.read, before)):
        if time.monotonic() > deadline:
            print(f"the parent's loops have stopped: {before} {parent.read}")
            counts["wrong"] += 1
            break
        os.sched_yield()
    print(
        f"forks {sum(counts.values())}, hung {counts['hung']}, wrong {counts['wrong']}, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    return int(counts["hung"] + counts["wrong"] > 0)


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1]), sys.argv[2:]))
