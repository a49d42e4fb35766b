# SPDX-License-Identifier: MIT
"""Programs that end, and processes that exit, while a generation runs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap

import pytest
from helpers import SOON
from shipped import MODEL

pytestmark = pytest.mark.timeout(60)


PREAMBLE = """
import asyncio, sys, threading, time
import burble
import burble._pool
from tokenizers import Tokenizer

burble._pool._EXIT_TIMEOUT = 3600  # what it must not come to
tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
token = tokenizer.encode("word ").ids
streamer = burble.AsyncTextIteratorStreamer(tokenizer)

def generate(*, streamer):
    pace = threading.Event()
    while True:
        streamer.put(token)
        pace.wait(0.001)

def leaving():
    print("leaving", flush=True)

async def read_three():
    count = 0
    async for text in streamer:
        count += 1
        if count == 3:
            return
"""


def check_that_it_leaves(program: str) -> None:
    """Runs the program, which is to call leaving() and then to exit with 0."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), str(MODEL)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        if first:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2 * SOON)
        ended = process.poll()
        process.kill()
        _, errors = process.communicate()
        assert (first, ended, errors) == ("leaving\n", 0, "")
    finally:
        process.kill()
        process.wait()


def test_asyncio_run_with_running_generation_returns() -> None:
    program = """
    async def main():
        task = asyncio.create_task(streamer.run(generate))
        await read_three()
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)


def test_asyncio_run_with_generation_and_consumer_returns() -> None:
    program = """
    async def forever(begun):
        async for text in streamer:
            begun.set()

    async def main():
        begun = asyncio.Event()
        tasks = [asyncio.create_task(t) for t in (streamer.run(generate), forever(begun))]
        await begun.wait()
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)


def test_interpreter_with_running_generation_exits() -> None:
    # The loop is left without cancelling the task.
    program = """
    loop = asyncio.new_event_loop()
    task = loop.create_task(streamer.run(generate))
    loop.run_until_complete(read_three())
    task._log_destroy_pending = False
    leaving()
    """
    check_that_it_leaves(program)


def test_interpreter_with_many_running_generations_exits() -> None:
    program = """
    async def main():
        streamers = [burble.AsyncTextIteratorStreamer(tokenizer) for _ in range(40)]
        tasks = [asyncio.create_task(each.run(generate)) for each in streamers]
        async for text in streamers[1]:
            break
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)


def test_interpreter_with_thread_waiting_for_text_exits() -> None:
    program = """
    reader = burble.TextIteratorStreamer(tokenizer)
    begun = threading.Event()

    def wait():
        begun.set()
        list(reader)

    threading.Thread(target=wait, daemon=True).start()
    begun.wait()
    leaving()
    """
    check_that_it_leaves(program)


@pytest.mark.no_asan
@pytest.mark.slow
def test_real_model_stops_with_its_program() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    program = """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()

    auto = AutoTokenizer.from_pretrained(sys.argv[1])
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    streamer = burble.AsyncTextIteratorStreamer(auto, skip_prompt=True)

    def one_after_the_other(**options):
        while True:
            model.generate(**options)

    async def main():
        inputs = auto("ROMEO:", return_tensors="pt")
        task = asyncio.create_task(streamer.run(
            one_after_the_other, **inputs, max_new_tokens=480, do_sample=True))
        await read_three()
        leaving()

    asyncio.run(main())
    """
    check_that_it_leaves(program)
