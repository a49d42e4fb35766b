# SPDX-License-Identifier: MIT
"""What goes wrong around a streamer: one function for each situation.

Each gets an adapter's class, lets the model generate through it, and returns in a few words what
the consumer saw. "Waits for ever" means ``PATIENCE`` seconds after the end of the generation.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import trio
from adapters import EACH, FIRST, WHOLE, Adapter
from generation import Generation

PATIENCE = 3.0

PROMPT = "ROMEO:"
TOKENS = 60


class Reading:
    """What one consumer has read, and how that ended."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.first = asyncio.Event()
        self.over = False
        self.error: BaseException | None = None

    @property
    def text(self) -> str:
        return "".join(self.chunks)

    async def of(self, source: Any) -> None:
        """Read ``source`` to its end."""
        async for chunk in source:
            self.chunks.append(chunk)
            if chunk:
                self.first.set()

    async def whole(self, adapter: Adapter) -> None:
        """Enter the adapter and read to the end, as a user would."""
        async with adapter:
            await self.of(adapter.read())

    async def seen(self, work: Awaitable[None]) -> bool:
        """Note how ``work``, a reading, ends; return False if it has not within ``PATIENCE``."""
        task = asyncio.ensure_future(work)
        await asyncio.wait({task}, timeout=PATIENCE)
        self.over = task.done()
        if self.over:
            self.error = asyncio.CancelledError() if task.cancelled() else task.exception()
        return self.over

    def end(self, raised: BaseException | None = None) -> str:
        """Say how the reading ended; ``raised`` is the exception that generate raised."""
        if not self.over:
            return "waits for ever"
        if self.error is None:
            return "sees the end"
        if self.error is raised:
            return "gets the exception itself"
        return f"gets {_named(self.error)}"

    def then(self) -> str:
        """Say how the reading ended, unless it ended as it should."""
        return f", then {self.end()}" if self.error is not None or not self.over else ""


def _compared(text: str, made: str, whole: str) -> str:
    """Describe ``text``, of the text ``made``, which is called ``whole``."""
    if text == made:
        return whole
    if not text:
        return "nothing"
    if made.startswith(text):
        return f"{whole} without its last {_count(len(made) - len(text), 'character')}"
    return f"another text ({text[:20]!r}…)"


def _named(error: BaseException) -> str:
    message = textwrap.shorten(str(error), 60, placeholder=" …")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


async def error(adapter: type[Adapter]) -> str:
    """generate raises in the middle of a word."""
    generation = Generation((PROMPT,), TOKENS, fail_at=16)
    reading = Reading()
    task = asyncio.ensure_future(reading.whole(adapter(generation)))
    await _begun(generation, task)
    await generation.settled()
    await reading.seen(task)
    text = _compared(reading.text, generation.text(), "the text so far")
    return f"{text}, then {reading.end(generation.raised)}"


async def gone(adapter: type[Adapter]) -> str:
    """The reading task is cancelled, as web frameworks do when a client disconnects."""
    generation = Generation((PROMPT,), 200, pace=0.01)
    reading = Reading()
    task = asyncio.ensure_future(reading.whole(adapter(generation)))
    await _begun(generation, task)
    await reading.first.wait()
    made = generation.made
    task.cancel()
    await generation.settled()
    return _went_on(generation, made)


async def slow(adapter: type[Adapter]) -> str:
    """The consumer reads one chunk, and then nothing until the generation ends or stands still."""
    queued = []
    for tokens in (100, 400):
        generation = Generation((PROMPT,), tokens)
        reading = Reading()
        async with adapter(generation, lag=8) as entered:
            source = entered.read().__aiter__()
            reading.chunks.append(await source.__anext__())
            if not await generation.settled():
                made = generation.made
                await reading.seen(reading.of(source))
                await generation.settled()
                text = _compared(reading.text, generation.text(), "all the text")
                return f"generation waits at token {made}; {text} arrives once it is read"
            queued.append(f"{_count(entered.queued(), 'chunk')} after {tokens} tokens")
    return f"generation does not wait, and the queue grows: {', '.join(queued)}"


async def batch(adapter: type[Adapter]) -> str:
    """Two prompts at once, one longer than the other."""
    generation = Generation((PROMPT, "What say you to that, my lord?"), TOKENS)
    reading = Reading()
    task = asyncio.ensure_future(reading.whole(adapter(generation)))
    await _begun(generation, task)
    await generation.settled()
    await reading.seen(task)
    if generation.error is not None:
        consumer = reading.end(generation.error)
        return f"generate raises {_named(generation.error)}; the consumer {consumer}"
    rows = range(2)
    if all(isinstance(chunk, tuple) for chunk in reading.chunks):
        texts = ["".join(text for i, text in reading.chunks if i == row) for row in rows]
        if texts == [generation.text(row) for row in rows]:
            return f"a text for each sequence{reading.then()}"
        return f"a text for each sequence, but another{reading.then()}"
    mixed = [i for pair in zip(*(generation.new_ids(row) for row in rows)) for i in pair]
    if reading.text == generation.decode(mixed):
        return f"one text, in which the tokens of the sequences alternate{reading.then()}"
    return f"one text, of none of the sequences{reading.then()}"


async def second(adapter: type[Adapter]) -> str:
    """Two consumers read the same generation from its beginning."""
    generation = Generation((PROMPT,), TOKENS, pace=0.01)
    readings = [Reading(), Reading()]
    async with AsyncExitStack() as stack:
        entered = await stack.enter_async_context(adapter(generation, replay=True))
        tasks = [asyncio.ensure_future(reading.of(entered.read())) for reading in readings]
        await generation.settled()
        for reading, task in zip(readings, tasks):
            await reading.seen(task)
        made = generation.text()
        if all(reading.text == made for reading in readings):
            return f"each gets all the text; {_ends(readings)}"
        if sum(len(reading.text) for reading in readings) == len(made):
            return f"each chunk goes to one of the two; {_ends(readings)}"
        return f"they get other texts; {_ends(readings)}"


async def late(adapter: type[Adapter]) -> str:
    """A second consumer begins after the first has read everything."""
    generation = Generation((PROMPT,), TOKENS)
    first, reading = Reading(), Reading()
    async with adapter(generation, replay=True) as entered:
        if not await first.seen(first.of(entered.read())):
            return "the first reader waits for ever"
        await reading.seen(reading.of(entered.read()))
        await generation.settled()
        text = _compared(reading.text, generation.text(), "all the text")
        return f"{text}{reading.then()}"


async def stop(adapter: type[Adapter]) -> str:
    """A stop string of several tokens."""
    string = "\n\nJULIET:"
    generation = Generation((PROMPT,), 200)
    reading = Reading()
    task = asyncio.ensure_future(reading.whole(adapter(generation, stop=string)))
    await _begun(generation, task)
    await generation.settled()
    await reading.seen(task)
    stops = "generation stops" if generation.made < generation.tokens else "generation goes on"
    before, found, after = reading.text.partition(string)
    if before != generation.text().partition(string)[0]:
        text = "is not what was generated"
    elif after:
        text = "goes on after it"
    else:
        text = "shows it" if found else "ends before it"
    return f"{stops}; the text {text}{reading.then()}"


async def timeouts(adapter: type[Adapter]) -> str:
    """A limit of half a second for the first token, for each token, and for the whole text.

    If the adapter has no such setting, asyncio.timeout is put around the same wait.
    """
    limit = 0.5
    slowness: dict[str, dict[str, Any]] = {
        FIRST: {"stalls": {1: 2 * limit}},
        EACH: {"stalls": {10: 2 * limit}},
        WHOLE: {"pace": limit / 20},
    }
    outcomes: dict[str, list[str]] = {}
    for kind, how in slowness.items():
        generation = Generation((PROMPT,), TOKENS, **how)
        reading = Reading()
        own = kind in adapter.own_timeouts
        entered = adapter(generation, timeouts={kind: limit} if own else {})
        around = nullcontext if own else lambda: asyncio.timeout(limit)
        task = asyncio.ensure_future(_limited(reading, entered, kind, around))
        await _begun(generation, task)
        await generation.settled()
        await reading.seen(task)
        by = "" if own else " by asyncio.timeout"
        stops = "stops" if generation.made < generation.tokens else "goes on"
        outcomes.setdefault(f"{_name(reading)}{by}, generation {stops}", []).append(kind)
    if len(outcomes) == 1:
        return f"{next(iter(outcomes))}"
    return "; ".join(f"{', '.join(kinds)}: {outcome}" for outcome, kinds in outcomes.items())


async def on_trio(adapter: type[Adapter]) -> str:
    """The consumer runs under trio."""
    generation = Generation((PROMPT,), TOKENS)
    reading = Reading()
    with trio.move_on_after(PATIENCE) as scope:
        try:
            await reading.whole(adapter(generation))
        except ImportError:
            raise
        except Exception as error:
            reading.error = error
    reading.over = not scope.cancelled_caught
    if reading.error is not None and not reading.text:
        return reading.end()
    await trio.to_thread.run_sync(generation.ended.wait, PATIENCE)
    return f"{_compared(reading.text, generation.text(), 'all the text')}{reading.then()}"


async def _limited(
    reading: Reading, adapter: Adapter, kind: str, around: Callable[[], Any]
) -> None:
    """Read to the end; ``around`` makes the context for the waits of this kind."""
    async with around() if kind == WHOLE else nullcontext(), adapter:
        source = adapter.read().__aiter__()
        while True:
            waits = kind == EACH or (kind == FIRST and not reading.chunks)
            async with around() if waits else nullcontext():
                try:
                    reading.chunks.append(await source.__anext__())
                except StopAsyncIteration:
                    return


async def _begun(generation: Generation, task: asyncio.Future[None]) -> None:
    """Wait until generate has begun; raise what entering the adapter raised."""
    while not generation.began.is_set():
        if task.done():
            await task
        await asyncio.sleep(0.01)


def _went_on(generation: Generation, made: int) -> str:
    """Say how far the generation went after it had made so many tokens."""
    later = f"{_count(generation.made - made, 'token')} later"
    if generation.made == generation.tokens:
        return f"generation goes on to its end, {later}"
    if not generation.ended.is_set():
        return f"generation hangs, {later}"
    by = "" if generation.error is None else f" ({type(generation.error).__name__} in generate)"
    return f"generation stops, {later}{by}"


def _name(reading: Reading) -> str:
    return type(reading.error).__name__ if reading.error else reading.end()


def _ends(readings: Iterable[Reading]) -> str:
    ends = [reading.end() for reading in readings]
    if len(set(ends)) == 1:
        return ends[0]
    return " and ".join(f"one {end}" for end in sorted(ends))


_FUNCTIONS: dict[str, Callable[[type[Adapter]], Awaitable[str]]] = {
    "error": error,
    "gone": gone,
    "slow": slow,
    "batch": batch,
    "second": second,
    "late": late,
    "stop": stop,
    "timeouts": timeouts,
}


def see(situation: str, adapter: type[Adapter]) -> str:
    """Run a situation with an adapter, under the event loop of the situation."""
    if situation == "trio":
        return trio.run(on_trio, adapter)
    # Not asyncio.run: it would wait for threads and tasks that never end.
    return asyncio.new_event_loop().run_until_complete(_FUNCTIONS[situation](adapter))
