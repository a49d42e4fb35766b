# SPDX-License-Identifier: MIT
"""A process that is forked after burble was used: the child has none of the threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LONG
from fork_load import VERBS

MODEL = Path(__file__).parents[2] / "models" / "shakespeare"
LOAD = Path(__file__).parent / "fork_load.py"

pytestmark = [
    pytest.mark.timeout(6 * 3600 if LONG else 120),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]

PROLOGUE = """
import asyncio, os, sys, threading, warnings
import burble
from tokenizers import Tokenizer

warnings.simplefilter("ignore")  # of forking with threads, which is the point
tokenizer = Tokenizer.from_file(sys.argv[1])

def generate(streamer):
    for token in tokenizer.encode("To be, or not to be").ids:
        streamer.put([token])
    streamer.end()

async def stream():
    streamer = burble.AsyncTextIteratorStreamer(tokenizer)
    task = asyncio.ensure_future(streamer.run(generate))
    text = "".join([text async for text in streamer])
    await task
    return text
"""

RUN_IN_BOTH = """
assert asyncio.run(stream()) == "To be, or not to be"
child = os.fork()
assert asyncio.run(stream()) == "To be, or not to be"
if child == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("both")
"""

PRODUCER_LEFT_BEHIND = """
streamer = burble.TextIteratorStreamer(tokenizer, chunk="token")
written, leave = threading.Event(), threading.Event()

def slow():
    streamer.put(tokenizer.encode("To be").ids)
    written.set()
    leave.wait()
    streamer.end()

thread = threading.Thread(target=slow)
thread.start()
written.wait()
child = os.fork()
if child == 0:
    assert next(streamer) == "To be"
    try:
        next(streamer)
    except burble.ProducerDied:
        os._exit(0)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
assert list(streamer) == ["To be"]
thread.join()
print("both")
"""

CHANNEL_LEFT_BEHIND = """
writer, stream = burble.channel(keep="all")
mine, untouched = burble.channel(), burble.channel()
mine[0].put_text("one")
written, leave = threading.Event(), threading.Event()

def slow():
    writer.put_text("one")
    written.set()
    leave.wait()
    writer.end()

async def read():
    async for text in stream.reader(1):
        raise AssertionError(text)

thread = threading.Thread(target=slow)
thread.start()
written.wait()
child = os.fork()
if child == 0:
    assert next(stream) == "one"
    for wait in (lambda: next(stream), lambda: asyncio.run(read())):
        try:
            wait()
        except burble.ProducerDied:
            continue
        os._exit(1)
    for write, read in (mine, untouched):  # written by the forking thread, and by no thread yet
        write.put_text("two")
        write.end()
        assert list(read)[-1] == "two"
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
assert list(stream) == ["one"]
thread.join()
print("both")
"""

# A task forks while the loop has another one, which reads many streams, still to resume.
GATHERED_WHILE_TASKS_ARE_RESUMED = """
(writer, stream), (other_writer, other) = burble.channel(), burble.channel()
gathered = burble.gather([stream])

async def in_child():
    assert await gathered.__anext__() == (0, "text")  # for which it was to be resumed
    waiting = asyncio.ensure_future(gathered.__anext__())
    await asyncio.sleep(0)
    writer.put_text("more")
    assert await asyncio.wait_for(waiting, 20) == (0, "more")

async def fork():
    async for _ in other:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(in_child())
                os._exit(0)
            finally:
                os._exit(1)
        return child

async def main():
    tasks = [asyncio.ensure_future(task) for task in (gathered.__anext__(), fork())]
    await asyncio.sleep(0)
    writer.put_text("text")  # first: it is noted
    other_writer.put_text("text")
    text, child = await asyncio.gather(*tasks)
    assert text == (0, "text")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

asyncio.run(main())
print("both")
"""


@pytest.mark.parametrize(
    "script",
    [
        RUN_IN_BOTH,
        PRODUCER_LEFT_BEHIND,
        CHANNEL_LEFT_BEHIND,
        GATHERED_WHILE_TASKS_ARE_RESUMED,
    ],
    ids=["run", "producer", "channel", "gathered"],
)
def test_forked_child_neither_hangs_nor_disturbs_parent(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + script, str(MODEL / "tokenizer.json")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("both\n", "")


WAITED_AT_IN_THE_PARENT = """
pieces = [bytes([i]) for i in range(128)]
ready = threading.Semaphore(0)
leave = threading.Event()

def generate(streamer):
    streamer.put([65])
    leave.wait()

def block(stream):
    for text in stream:
        ready.release()

async def task(stream):
    async for text in stream:
        ready.release()

blocked, parked = (burble.stream(generate, tokenizer=pieces, keep="all") for _ in range(2))
threads = [
    threading.Thread(target=block, args=[blocked]),
    threading.Thread(target=asyncio.run, args=[task(parked)]),
]
for thread in threads:
    thread.start()
for thread in threads:
    ready.acquire()
child = os.fork()
if child == 0:
    for stream in (blocked, parked):
        assert stream.state == "failed"
        for read in (lambda: list(stream), lambda: asyncio.run(task(stream)), stream.join):
            try:
                read()
            except burble.ProducerDied as error:
                assert "forked" in str(error), error
                continue
            os._exit(1)
        with stream.reader(0) as reader:
            assert next(reader) == "A"
            stream.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
for thread in threads:
    thread.join()
print("both")
"""

NOT_BEGUN_IN_THE_PARENT = """
pieces = [bytes([i]) for i in range(128)]
pool = burble.Pool(workers=1)
leave = threading.Event()
pool.submit(leave.wait)

def generate(streamer):
    streamer.put([65])

stream = pool.stream(generate, tokenizer=pieces)
child = os.fork()
if child == 0:
    for read in (lambda: list(stream), lambda: asyncio.run(stream.wait()), stream.join):
        try:
            read()
        except burble.ProducerDied:
            continue
        os._exit(1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
assert list(stream) == ["A"]
print("both")
"""


FORKED_BY_A_GENERATION = """
pieces = [bytes([i]) for i in range(128)]
children = []

def generate(streamer):
    streamer.put([65])
    children.append(os.fork())
    streamer.put([66])

stream = burble.stream(generate, tokenizer=pieces)
assert list(stream) == ["A", "B"]
assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
print("both")
"""


def run_program(*args: str | Path, timeout: float) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    "program", [WAITED_AT_IN_THE_PARENT, NOT_BEGUN_IN_THE_PARENT], ids=["waited", "not begun"]
)
def test_fork_child_reading_parents_generation_raises_producer_died(program: str) -> None:
    out = run_program("-c", PROLOGUE + program, MODEL / "tokenizer.json", timeout=60)
    assert out == ("both\n", "")


def test_generation_that_forks_ends_in_child_with_its_process() -> None:
    program = PROLOGUE + FORKED_BY_A_GENERATION
    out = run_program("-c", program, MODEL / "tokenizer.json", timeout=60)
    assert out == ("both\n", "")


def check_load(forks: int, *verbs: str) -> None:
    out, errors = run_program(LOAD, str(forks), *verbs, timeout=2 * 3600 if LONG else 110)
    assert errors == ""
    assert out.startswith(f"forks {forks}, hung 0, wrong 0,"), out


def test_fork_while_loops_read_returns_in_every_child() -> None:
    check_load(20_000 if LONG else 200, "nothing")


def test_fork_while_loops_read_lets_child_use_each_verb() -> None:
    check_load(8 * len(VERBS))
    if LONG:
        check_load(5_000, "each")
