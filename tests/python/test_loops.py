# SPDX-License-Identifier: MIT
"""Loops of every kind, many of them, and ones that go away: each in a separate process, which
ends in time and has nothing to complain of."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("uvloop")
pytest.importorskip("trio")

pytestmark = pytest.mark.timeout(120)

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "models" / "shakespeare"

PREAMBLE = """
import asyncio, contextlib, os, sys, threading, time
import burble
from helpers import KINDS, run, together
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
ids = tokenizer.encode("To be, or not to be: that is the question. ").ids
TIMES = 20
TEXT = tokenizer.decode(ids * TIMES)

def generate(pause=0, *, streamer):
    for _ in range(TIMES):
        for token in ids:
            streamer.put(token)
        time.sleep(pause)

def stream(pause=0, **options):
    return burble.stream(generate, pause, tokenizer=tokenizer, **options)

async def read(source):
    return "".join([text async for text in source])
"""


def check(program: str) -> None:
    """Runs it. Its last word is "done"."""
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            "-W",
            "default",
            "-c",
            PREAMBLE + textwrap.dedent(program),
            str(MODEL),
        ],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stderr, done.stdout, done.returncode) == ("", "done\n", 0)


def test_stream_made_in_one_loop_is_read_in_another() -> None:
    check("""
        async def begin():
            handle = stream(0.001)
            return handle, await handle.__anext__()

        for one in KINDS:
            for other in KINDS:
                handle, text = run(one, begin)
                assert text + run(other, read, handle) == TEXT, (one, other)
            handle, text = run(one, begin)
            assert text + "".join(handle) == TEXT, one
            handle = stream(0.001)
            text = next(handle)
            assert text + run(one, read, handle) == TEXT, one
        print("done")
    """)


def test_many_loops_in_threads_read_own_streams_and_shared_one() -> None:
    check("""
        shared = stream(0.005, keep="all")
        found = []

        def loop(kind):
            async def of_its_own():
                found.append(await read(stream(0.001)))

            async def of_all():
                found.append(await read(shared.reader()))

            async def main():
                await together(kind, of_its_own, of_all, of_its_own, of_all)

            run(kind, main)

        threads = [threading.Thread(target=loop, args=(kind,)) for kind in KINDS * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [TEXT] * (4 * len(threads))
        print("done")
    """)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_loop_closed_under_stream_leaves_text_to_another(kind: str) -> None:
    check(f"""
        if {kind!r} == "uvloop":
            import uvloop
        new_loop = uvloop.new_event_loop if {kind!r} == "uvloop" else asyncio.new_event_loop

        gate = threading.Event()

        def held(*, streamer):
            for n in range(TIMES):
                for token in ids:
                    streamer.put(token)
                gate.wait()

        async def read_and_stop():
            async for text in handle:
                loop.stop()

        handle = burble.stream(held, tokenizer=tokenizer, keep="all")
        loop = new_loop()
        task = loop.create_task(read_and_stop())
        task._log_destroy_pending = False  # which is what we do here
        loop.run_forever()
        loop.close()
        assert not task.done()
        gate.set()
        assert run("trio", read, handle.reader(0)) == TEXT
        handle.join()
        print("done")
    """)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "trio"])
def test_forked_child_has_its_own_loops(kind: str) -> None:
    check(f"""
        child = os.fork()
        assert run({kind!r}, read, stream()) == TEXT
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("done")
    """)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "trio"])
def test_interpreter_with_loops_reading_in_threads_exits(kind: str) -> None:
    check(f"""
        begun = threading.Semaphore(0)

        async def main():
            handle = stream(60)
            await handle.__anext__()
            begun.release()
            with contextlib.suppress(burble.Cancelled):
                await read(handle)

        for _ in range(4):
            threading.Thread(target=run, args=({kind!r}, main), daemon=True).start()
        for _ in range(4):
            begun.acquire()
        import burble._pool
        burble._pool._EXIT_TIMEOUT = 0.1  # they sleep, and see nothing of it
        print("done", flush=True)
    """)
