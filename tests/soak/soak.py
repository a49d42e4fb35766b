# SPDX-License-Identifier: MIT
"""Streams of all kinds by the thousand, in loops and threads, read to the end, cancelled,
abandoned, at random: afterwards memory, descriptors and threads are as they were, and what each
reader got, and heard in the end, is held against what its writer has counted, once that is done.

    python soak.py SECONDS [SEED]
"""

from __future__ import annotations

import asyncio
import collections
import faulthandler
import gc
import json
import os
import random
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import trio
import uvloop

import burble

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = os.path.join(HERE, "..", "fuzz", "corpus", "gguf", "gpt2")
TOKENS = ("a", " b")  # its ids 0 and 1

LOOPS = 2
RUNS = (asyncio.run, uvloop.run)
AT_ONCE = 40  # conversations in a loop
FORKS = 2  # in a round
PATIENCE = 15.0  # seconds until a conversation counts as hanging

# What may be more at the end than after the warm-up: allocators keep pages, caches warm up late.
RESIDENT_SLACK = 16 << 20
BLOCKS_SLACK = 2000


class Planned(Exception):
    """What a generation of ours fails with."""


class Account:
    """What was seen: readers by what they heard in the end, and characters, for people to read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()

    def add(self, **counts: int) -> None:
        with self._lock:
            self.counts.update(counts)


account = Account()
alive: weakref.WeakSet[Any] = weakref.WeakSet()


class Script:
    """What one generation writes, and how it ends. Only a separate writer can be deleted."""

    ENDINGS = ("end", "end", "raise", "let go")

    def __init__(self, dice: random.Random, endings: tuple[str, ...] = ENDINGS[:3]) -> None:
        self.pieces = [
            f"{i} " + "é" * dice.randrange(12) + ("." * 3000 if dice.randrange(60) == 0 else "")
            for i in range(dice.randrange(60))
        ]
        self.ending = dice.choice(endings)
        self.written = 0  # pieces, for which the writer was told that they are
        self.characters = 0  # in them
        self.under_way = ""  # a piece that is perhaps written
        alive.add(self)

    @property
    def heard(self) -> type[BaseException] | None:
        """What reading must end with; None: as an iteration does."""
        return {"end": None, "raise": Planned, "let go": burble.ProducerDied}[self.ending]

    def text(self) -> str:
        return "".join(self.pieces[: self.written])

    def begin_piece(self, piece: str) -> None:
        self.under_way = piece

    def end_piece(self) -> None:
        self.written += 1
        self.characters += len(self.under_way)
        account.add(written=len(self.under_way))
        self.under_way = ""

    def write(self, put: Any) -> None:
        for piece in self.pieces:
            self.begin_piece(piece)
            put(piece)
            self.end_piece()


class Listener:
    """Takes what a reader gets, to the end or until it has enough."""

    def __init__(self, script: Script, dice: random.Random) -> None:
        self.script = script
        self.wants = 1 + dice.randrange(40) if dice.randrange(3) == 0 else None
        self.left = False  # before the end
        self.got: list[str] = []
        self.drop_at: int | None = None  # characters; it is dropped rather than be further behind

    def take(self, text: str) -> bool:
        """Whether it goes on."""
        self.got.append(text)
        enough = len(self.got) == self.wants
        self.left = self.left or enough
        return not enough

    def settle(self, error: BaseException | None) -> None:
        """``error``: what reading ended with; None: it came to the end, or left. The writer is
        done."""
        got = "".join(self.got)
        script = self.script
        assert (script.text() + script.under_way).startswith(got), (got[-40:], error)
        account.add(readers=1, read=len(got))
        if self.left:
            assert error is None, error
            account.add(left=1, left_characters=max(script.characters - len(got), 0))
        elif isinstance(error, burble.Lagged):
            self.settle_dropped(got)
        else:
            self.settle_end(got, error)

    def settle_dropped(self, got: str) -> None:
        """It was behind by more than it may be."""
        missed = self.script.characters - len(got)
        assert self.drop_at is not None
        assert missed > self.drop_at, (missed, self.drop_at)
        account.add(Lagged=1, missed_characters=missed)

    def settle_end(self, got: str, error: BaseException | None) -> None:
        """It has heard what the script ends with, and got all of its pieces."""
        script = self.script
        heard = None if error is None else type(error)
        assert heard is script.heard, (heard, script.ending)
        assert script.written == len(script.pieces), (script.written, len(script.pieces))
        assert got == script.text(), (got[-40:], script.text()[-40:])
        assert len(got) == script.characters, (len(got), script.characters)
        account.add(**{"end" if heard is None else heard.__name__: 1})


# What may end a reading; whether it had to, Listener.settle says.
EXPECTED = (Planned, burble.Cancelled, burble.ProducerDied, burble.Lagged)
# Each of these some readers must have come to, or nothing was looked at.
SEEN = ("end", "Planned", "ProducerDied", "Lagged", "left")


async def listen(reader: Any, listener: Listener) -> BaseException | None:
    try:
        async for text in reader:
            if not listener.take(text):
                return None
    except EXPECTED as error:
        return error.with_traceback(None)
    return None


def listen_in_thread(reader: Any, listener: Listener) -> BaseException | None:
    try:
        for text in reader:
            if not listener.take(text):
                return None
    except EXPECTED as error:
        return error.with_traceback(None)
    return None


# ---- generations -------------------------------------------------------------------------------


def write_channel(script: Script, box: list[Any]) -> None:
    """Write in a separate thread, which exits; the writer is let go there."""
    writer = box.pop()
    try:
        script.write(writer.put_text)
        if script.ending == "raise":
            writer.fail(Planned("as the script says"))
        elif script.ending == "end":
            writer.end(result=len(script.pieces))
        # Else it is deleted.
    except burble.Cancelled:
        pass
    finally:
        del writer


def generate(*, streamer: Any, script: Script) -> int:
    script.write(streamer.put_text)
    if script.ending == "raise":
        raise Planned("as the script says")
    return len(script.pieces)


def generate_rows(*, streamer: Any, scripts: list[Script]) -> int:
    for tokens in zip(*(script.pieces for script in scripts)):
        for script, token in zip(scripts, tokens):
            script.begin_piece(token)
        streamer.put([TOKENS.index(token) for token in tokens])
        for script in scripts:
            script.end_piece()
    if scripts[0].ending == "raise":
        raise Planned("as the script says")
    return len(scripts[0].pieces)


def source(script: Script) -> Iterator[str]:
    for piece in script.pieces:
        script.begin_piece(piece)
        yield piece
        script.end_piece()
    if script.ending == "raise":
        raise Planned("as the script says")


def flow(dice: random.Random) -> dict[str, Any]:
    return {
        "max_lag": dice.choice([None, 20, 500]),
        "keep": dice.choice([None, None, "all"]),
    }


def new_channel(script: Script, dice: random.Random) -> tuple[Any, threading.Thread]:
    options = flow(dice)
    writer, stream = burble.channel(**options)
    box = [writer]
    del writer
    thread = threading.Thread(target=write_channel, args=(script, box))
    thread.start()
    return stream, thread


def new_stream(script: Script, dice: random.Random, pool: burble.Pool) -> Any:
    return pool.stream(generate, tokenizer=VOCABULARY, script=script, **flow(dice))


# ---- conversations -----------------------------------------------------------------------------


# Each returns who has listened, and what they heard in the end; what they missed is known once all
# generations are over.
Outcome = list[tuple[Listener, "BaseException | None"]]


async def one_channel(dice: random.Random, pool: burble.Pool) -> Outcome:
    script = Script(dice, Script.ENDINGS)
    stream, thread = new_channel(script, dice)
    listener = Listener(script, dice)
    async with stream:
        error = await listen(stream, listener)
    thread.join()
    return [(listener, error)]


async def one_stream(dice: random.Random, pool: burble.Pool) -> Outcome:
    script = Script(dice)
    listener = Listener(script, dice)
    async with new_stream(script, dice, pool) as stream:
        error = await listen(stream, listener)
        if not listener.left and script.ending != "raise":
            assert stream.result == len(script.pieces)
    return [(listener, error)]


async def abandoned(dice: random.Random, pool: burble.Pool) -> Outcome:
    """Nothing ends the stream: it is deleted, perhaps in the middle of its text."""
    script = Script(dice)
    stream = new_stream(script, dice, pool)
    listener = Listener(script, dice)
    error = None
    if dice.randrange(2):
        listener.wants = 1 + dice.randrange(5)
        error = await listen(stream, listener)
    else:
        listener.left = True
    del stream
    if dice.randrange(4) == 0:
        gc.collect()
    return [(listener, error)]


async def cancelled(dice: random.Random, pool: burble.Pool) -> Outcome:
    """The task that reads is cancelled; as a rule, before it hears the end."""
    script = Script(dice)
    listener = Listener(script, dice)
    listener.wants = None

    async def read() -> BaseException | None:
        async with new_stream(script, dice, pool) as stream:
            return await listen(stream, listener)

    task = asyncio.ensure_future(read())
    for _ in range(dice.randrange(4)):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    listener.left = task.cancelled()
    return [(listener, None if listener.left else task.result())]


async def iterated(dice: random.Random, pool: burble.Pool) -> Outcome:
    script = Script(dice)
    listener = Listener(script, dice)
    async with pool.iterate(lambda: source(script), max_lag=dice.choice([1, 8, None])) as stream:
        error = await listen(stream, listener)
    return [(listener, error)]


async def rows(dice: random.Random, pool: burble.Pool) -> Outcome:
    """A batch, one row of which may be cancelled, and which may be left in the middle of it."""
    scripts = [Script(dice) for _ in range(3)]
    n = dice.randrange(60)
    for script in scripts:
        script.ending = scripts[0].ending
        script.pieces = [dice.choice(TOKENS) for _ in range(n)]
    listeners = [Listener(script, dice) for script in scripts]
    error: BaseException | None = None
    made: Any = pool.stream(
        generate_rows, tokenizer=VOCABULARY, scripts=scripts, batch=3, **flow(dice)
    )
    async with made as batch:
        if dice.randrange(3) == 0:
            batch[2].cancel()
            listeners[2].left, listeners[2].wants = True, None
        try:
            async for i, text in batch:
                if not listeners[i].take(text):
                    for listener in listeners:
                        listener.left = True
                    break
        except EXPECTED as ended_by:
            error = ended_by.with_traceback(None)
    return [(listener, None if listener.left else error) for listener in listeners]


async def readers(dice: random.Random, pool: burble.Pool) -> Outcome:
    """Several readers at once, one of which may be dropped, and one that begins at the end."""
    script = Script(dice)
    script.ending = "end"
    async with pool.stream(
        generate, tokenizer=VOCABULARY, script=script, keep="all", max_lag=None
    ) as stream:
        listeners = [Listener(script, dice) for _ in range(3)]
        options: list[dict[str, Any]] = [
            {},
            {"max_lag": 30},
            {"max_lag": 10, "on_lag": "drop_reader"},
        ]
        listeners[2].drop_at = 10

        async def follow(listener: Listener, options: dict[str, Any]) -> BaseException | None:
            with stream.reader(0, **options) as reader:
                error = await listen(reader, listener)
                assert reader.position == len(listener.got), (reader.position, error)
                return error

        errors = await asyncio.gather(*map(follow, listeners, options))
        late = Listener(script, dice)
        late.wants = None
        with stream.reader(0) as reader:
            errors.append(await listen(reader, late))
    return list(zip([*listeners, late], errors))


async def events(dice: random.Random, pool: burble.Pool) -> Outcome:
    """Server-sent events, whose client may leave and reconnect."""
    script = Script(dice)
    script.ending = "end"
    stream = pool.stream(generate, tokenizer=VOCABULARY, script=script, keep="all", max_lag=None)
    got: list[str] = []
    names: list[str] = []
    last: str | None = None
    for visit in range(3):
        names.clear()
        client = burble.sse(stream, last_event_id=last)
        async for chunk in client:
            for event in chunk.decode().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
                if "event" in fields:
                    names.append(fields["event"])
                if "id" in fields and "event" not in fields:
                    last = fields["id"]
                    got.append(json.loads(fields["data"])["text"])
            if visit < 2 and dice.randrange(4) == 0:
                break
        await client.aclose()
    await stream.aclose()
    assert names == ["end"], names
    listener = Listener(script, dice)
    listener.got = got
    return [(listener, None)]


async def in_a_thread(dice: random.Random, pool: burble.Pool) -> Outcome:
    script = Script(dice)
    listener = Listener(script, dice)

    def read() -> BaseException | None:
        with new_stream(script, dice, pool) as stream:
            return listen_in_thread(stream, listener)

    error = await asyncio.get_running_loop().run_in_executor(None, read)
    return [(listener, error)]


async def in_trio(dice: random.Random, pool: burble.Pool) -> Outcome:
    """Read in a loop of trio's, in a thread, which may be cancelled."""
    script = Script(dice)
    listener = Listener(script, dice)
    stream = new_stream(script, dice, pool)
    impatient = dice.randrange(3) == 0

    async def read() -> BaseException | None:
        with trio.move_on_after(dice.random() / 100 if impatient else PATIENCE) as scope:
            async with stream:
                return await listen(stream, listener)
        assert scope.cancelled_caught
        assert impatient
        listener.left = True
        return None

    error = await asyncio.get_running_loop().run_in_executor(None, trio.run, read)
    return [(listener, error)]


CONVERSATIONS = (
    one_channel,
    one_stream,
    abandoned,
    cancelled,
    iterated,
    rows,
    readers,
    events,
    in_a_thread,
    in_trio,
)


# ---- rounds ------------------------------------------------------------------------------------


async def converse(seed: int) -> None:
    dice = random.Random(seed)
    with burble.Pool(workers=4) as pool:
        tasks = []
        for _ in range(AT_ONCE):
            kind = dice.choice(CONVERSATIONS)
            account.add(streams=1)
            task = kind(random.Random(dice.random()), pool)
            tasks.append(asyncio.wait_for(task, PATIENCE))
        outcomes = await asyncio.gather(*tasks)
    for outcome in outcomes:
        for listener, error in outcome:
            listener.settle(error)


def run_loop(seed: int, failures: list[BaseException]) -> None:
    try:
        random.Random(seed).choice(RUNS)(converse(seed))
    except BaseException as error:
        failures.append(error)


def fork() -> None:
    """A child has the loops' streams, but not their threads: it collects all, and streams."""
    gone, end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            gc.collect()
            assert list(burble.iterate(TOKENS)) == list(TOKENS)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(end)  # so that only the child has it
    ended = select.select([gone], [], [], PATIENCE)[0]
    os.close(gone)
    if not ended:
        os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == 0, f"a child has failed, or hung: {not ended}"
    account.add(forks=1)


def run_round(dice: random.Random) -> None:
    failures: list[BaseException] = []
    threads = [
        threading.Thread(target=run_loop, args=(dice.randrange(1 << 60), failures))
        for _ in range(LOOPS)
    ]
    for thread in threads:
        thread.start()
    for _ in range(FORKS):
        fork()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


Level = tuple[int, int, int, int, int]


def measure() -> Level:
    gc.collect()
    # A thread that was joined may have some way to go; one more is faulthandler's.
    bound = time.monotonic() + PATIENCE
    while len(os.listdir("/proc/self/task")) > threading.active_count() + 1:
        assert time.monotonic() < bound, "a thread is left"
        time.sleep(0.001)
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return (
        resident,
        sys.getallocatedblocks(),
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        len(alive),
    )


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    print(f"SEED={seed}", flush=True)
    faulthandler.dump_traceback_later(seconds + 3 * PATIENCE, exit=True)
    dice = random.Random(seed)
    begin = time.monotonic()
    rounds = 0
    while time.monotonic() < begin + seconds / 4 or rounds < 3:
        run_round(dice)
        rounds += 1
    first = measure()
    while time.monotonic() < begin + seconds:
        run_round(dice)
        rounds += 1
    last = measure()
    print(", ".join(f"{name} {n}" for name, n in sorted(account.counts.items())))
    print(
        f"{rounds} rounds; after the warm-up and at the end: {first[0] >> 10} and {last[0] >> 10} "
        f"KiB resident, {first[1]} and {last[1]} blocks, {first[2]} and {last[2]} descriptors, "
        f"{first[3]} and {last[3]} threads, {first[4]} and {last[4]} scripts"
    )
    unseen = [name for name in SEEN if account.counts[name] == 0]
    assert not unseen, f"no reader has come to {unseen}"
    assert account.counts["readers"] == sum(account.counts[name] for name in SEEN)
    assert last[0] <= first[0] + RESIDENT_SLACK, "memory grows"
    assert last[1] <= first[1] + BLOCKS_SLACK, "Python's blocks grow"
    assert all(map(int.__le__, last[2:], first[2:])), "descriptors, threads, generations are left"


if __name__ == "__main__":
    main()
