# SPDX-License-Identifier: MIT
"""A process that is forked after burble was used: the child has none of the threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "models" / "shakespeare"

pytestmark = [
    pytest.mark.timeout(60),
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
    for write, read in (mine, untouched):  # of the thread that has forked, and of nobody yet
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


@pytest.mark.parametrize(
    "script",
    [RUN_IN_BOTH, PRODUCER_LEFT_BEHIND, CHANNEL_LEFT_BEHIND],
    ids=["run", "producer", "channel"],
)
def test_a_forked_child_neither_hangs_nor_disturbs_its_parent(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + script, str(MODEL / "tokenizer.json")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("both\n", "")
