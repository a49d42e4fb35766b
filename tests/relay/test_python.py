# SPDX-License-Identifier: MIT
"""burble.relay: workers in Python behind real fronts, and answers as streams of Python."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import httpx
import openai
import pytest
import trio
from fleet import COMMAND, ROOT, Fleet, Process
from redises import PATIENCE, RedisServer, needs_redis

import burble

try:
    import burble.relay
except ImportError as absent:
    pytest.skip(str(absent), allow_module_level=True)

pytestmark = [
    needs_redis,
    pytest.mark.skipif(not COMMAND, reason="needs BURBLE_COMMAND"),
    pytest.mark.timeout(180),
]
WORKER = ROOT / "tests/relay/python_worker.py"


class PythonFleet(Fleet):
    """A front, and workers in Python."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fronts=1, workers=0)
        self.workers = [
            Process(folder / f"worker{i}.log", sys.executable, WORKER, self.redis.url, folder)
            for i in range(2)
        ]

    @property
    def front(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}/v1"

    def clean(self) -> None:
        """What the handlers of the test before have noted, is forgotten; all workers run."""
        for name in ("seen", "release", "patient"):
            (self.folder / name).unlink(missing_ok=True)
        for worker in self.workers:
            if not worker.is_running():
                worker.kill()
                worker.start()
        until(lambda: len(self.sessions()) >= len(self.workers))

    def sessions(self) -> list[Any]:
        """The workers whose lease is not over."""
        (seconds, micros) = self.redis.client().time()
        now = seconds * 1000 + micros // 1000
        return self.redis.client().zrangebyscore("{burble}:w", now, "+inf")

    def seen(self, what: str) -> list[int]:
        """The processes that have noted this."""
        path = self.folder / "seen"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line.split()[1]) for line in lines if line.split()[0] == what]

    def worker_of(self, process: int) -> Process:
        (found,) = (
            one for one in self.workers if one.process is not None and one.process.pid == process
        )
        return found


def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def started() -> Iterator[PythonFleet]:
    with tempfile.TemporaryDirectory(prefix="burble") as name:
        made = PythonFleet(Path(name))
        try:
            made.start()
            yield made
        finally:
            print(made.logs())
            made.stop()


@pytest.fixture
def fleet(started: PythonFleet) -> PythonFleet:
    started.clean()
    return started


class Answer:
    """An answer that is read event by event."""

    def __init__(self, response: Any) -> None:
        self.id = response.headers["burble-stream"]
        self.error: Any = None
        self._lines = response.iter_lines()

    def text(self, most: int = sys.maxsize) -> str:
        """The next texts: so many, or all."""
        parts: list[str] = []
        for line in self._lines:
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[len("data: ") :])
            if "error" in event:
                self.error = event["error"]
                break  # the connection is closed without its end
            parts += [choice["text"] for choice in event.get("choices", ()) if choice["text"]]
            if len(parts) >= most:
                break
        return "".join(parts)


@contextlib.contextmanager
def asking(fleet: PythonFleet, prompt: str, **options: Any) -> Iterator[Answer]:
    body = {"model": "fake", "prompt": prompt, "stream": True, "resumable": True, **options}
    with httpx.stream(
        "POST", f"{fleet.front}/completions", json=body, timeout=PATIENCE, trust_env=False
    ) as response:
        assert response.status_code == 200, response.read()
        yield Answer(response)


def client(fleet: PythonFleet) -> openai.OpenAI:
    return openai.OpenAI(base_url=fleet.front, api_key="none", max_retries=0, timeout=PATIENCE)


# ---- workers -----------------------------------------------------------------------------------


def test_client_of_openai_gets_text_of_handler(fleet: PythonFleet) -> None:
    answer = client(fleet).completions.create(model="fake", prompt="numbers 50")
    assert answer.choices[0].text == "".join(f"{i} " for i in range(50))
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 50)


def test_handler_gets_parameters(fleet: PythonFleet) -> None:
    answer = client(fleet).completions.create(model="fake", prompt="me", max_tokens=7)
    assert answer.choices[0].text == "7 tokens for me"


def test_answers_that_end_at_once_are_shown(fleet: PythonFleet) -> None:
    """The reply to the front's command, and the text, come by two connections."""

    async def ask_all() -> list[str]:
        asked = openai.AsyncOpenAI(
            base_url=fleet.front, api_key="none", max_retries=0, timeout=PATIENCE
        )
        limit = asyncio.Semaphore(16)

        async def ask(i: int) -> str:
            async with limit:
                answer = await asked.completions.create(
                    model="fake", prompt=f"word{i}", max_tokens=i + 1
                )
            return answer.choices[0].text

        async with asked:
            return await asyncio.gather(*(ask(i) for i in range(400)))

    front, over = fleet.fronts[0], threading.Event()

    def stop_and_go() -> None:
        # A front that was stopped finds a reply, and the messages after it, at once.
        while not over.wait(0.02):
            front.signal(signal.SIGSTOP)
            over.wait(0.03)
            front.signal(signal.SIGCONT)

    disturbing = threading.Thread(target=stop_and_go)
    disturbing.start()
    try:
        texts = asyncio.run(ask_all())
    finally:
        over.set()
        disturbing.join()
    assert texts == [f"{i + 1} tokens for word{i}" for i in range(400)]


def test_choices_are_streams_of_their_own(fleet: PythonFleet) -> None:
    answer = client(fleet).completions.create(model="fake", prompt="choices", n=3)
    texts = {choice.index: choice.text for choice in answer.choices}
    assert texts == {0: "0 ", 1: "0 1 ", 2: "0 1 2 "}


def test_exception_of_handler_is_told_by_its_type(fleet: PythonFleet) -> None:
    with pytest.raises(openai.InternalServerError, match="the handler failed: KeyError") as caught:
        client(fleet).completions.create(model="fake", prompt="raise")
    assert "secret" not in str(caught.value)
    (process,) = fleet.seen("raise")
    assert "a secret" in fleet.worker_of(process).log.read_text()
    # The worker goes on.
    client(fleet).completions.create(model="fake", prompt="numbers 1")


def test_request_error_refuses_request(fleet: PythonFleet) -> None:
    with pytest.raises(openai.BadRequestError, match="there is no such word"):
        client(fleet).completions.create(model="fake", prompt="refuse")


def test_answer_without_its_client_is_cancelled(fleet: PythonFleet) -> None:
    with asking(fleet, "held 2", resumable=False) as answer:
        assert answer.text(2) == "0 1 "
    until(lambda: fleet.seen("cancelled") == fleet.seen("held"))


def test_answer_with_text_of_killed_worker_fails(fleet: PythonFleet) -> None:
    with asking(fleet, "held 3") as answer:
        assert answer.text(3) == "0 1 2 "
        (process,) = fleet.seen("held")
        fleet.worker_of(process).kill()
        assert answer.text() == ""
    assert answer.error is not None
    assert answer.error["type"] == "server_error"
    assert "has died, and no other one can go on" in answer.error["message"]
    assert fleet.seen("held") == [process]


def test_answer_without_text_of_killed_worker_goes_on_in_another(fleet: PythonFleet) -> None:
    with asking(fleet, "patient", max_tokens=5) as answer:
        until(lambda: fleet.seen("patient"))
        (process,) = fleet.seen("patient")
        fleet.worker_of(process).kill()
        assert answer.text() == "5 tokens for patient"
    assert len(fleet.seen("patient")) == 2
    assert answer.error is None


def test_worker_ends_at_sigterm_after_its_answers(fleet: PythonFleet) -> None:
    with asking(fleet, "held 3") as answer:
        assert answer.text(3) == "0 1 2 "
        (process,) = fleet.seen("held")
        worker = fleet.worker_of(process)
        worker.signal(signal.SIGTERM)
        until(lambda: "draining" in worker.log.read_text())
        (fleet.folder / "release").touch()
        assert answer.text() == "end"
    assert worker.process is not None
    assert worker.process.wait(PATIENCE) == 0
    assert worker.log.read_text().endswith("done\n")


def test_second_signal_ends_worker_at_once(fleet: PythonFleet) -> None:
    with asking(fleet, "held 1") as answer:
        assert answer.text(1) == "0 "
        (process,) = fleet.seen("held")
        worker = fleet.worker_of(process)
        worker.signal(signal.SIGTERM)
        until(lambda: "draining" in worker.log.read_text())
        worker.signal(signal.SIGTERM)
        assert worker.process is not None
        assert worker.process.wait(PATIENCE) == 0


# ---- attach ------------------------------------------------------------------------------------


def test_task_attaches_to_running_answer_and_reads_it_to_its_end(fleet: PythonFleet) -> None:
    async def read(stream_id: str) -> tuple[str, str, Any]:
        beginning = ""
        async with burble.relay.attach(fleet.redis.url, stream_id) as stream:
            async for text in stream:
                beginning += text
                if beginning == "0 1 2 ":
                    break
            (fleet.folder / "release").touch()
            rest = "".join([text async for text in stream])
            return beginning, rest, stream.finish_reason

    with asking(fleet, "held 3") as answer:
        assert answer.text(3) == "0 1 2 "
        assert asyncio.run(read(answer.id)) == ("0 1 2 ", "end", "stop")
        assert answer.text() == "end"


def test_many_attach_to_one_answer(fleet: PythonFleet) -> None:
    async def read_all(stream_id: str) -> list[str]:
        async def read() -> str:
            stream = burble.relay.attach(fleet.redis.url, stream_id, coalesce=True)
            return "".join([text async for text in stream])

        return await asyncio.gather(*(read() for _ in range(200)))

    with asking(fleet, "numbers 100") as answer:
        expected = answer.text()
    assert asyncio.run(read_all(answer.id)) == [expected] * 200


def test_attach_reads_the_choice_that_it_is_asked_for(fleet: PythonFleet) -> None:
    with asking(fleet, "choices", n=2) as answer:
        answer.text()
    assert "".join(burble.relay.attach(fleet.redis.url, answer.id, choice=1)) == "0 1 "
    with pytest.raises(burble.Error, match=r"choice: expected .* found 2"):
        "".join(burble.relay.attach(fleet.redis.url, answer.id, choice=2))


def test_attached_stream_takes_an_interval(fleet: PythonFleet) -> None:
    with asking(fleet, "numbers 100") as answer:
        expected = answer.text()
    with burble.relay.attach(fleet.redis.url, answer.id, interval=3600) as stream:
        pieces = list(stream)
    assert "".join(pieces) == expected
    assert len(pieces) <= 2  # what has come first, and the rest at the end


def test_leaving_an_attached_stream_lets_the_answer_go_on(fleet: PythonFleet) -> None:
    with asking(fleet, "held 1") as answer:
        assert answer.text(1) == "0 "
        with burble.relay.attach(fleet.redis.url, answer.id) as stream:
            assert next(stream) == "0 "
        with pytest.raises(burble.Cancelled):
            next(stream)
        (fleet.folder / "release").touch()
        assert answer.text() == "end"
    assert not fleet.seen("cancelled")


def test_failed_answer_fails_attached_stream(fleet: PythonFleet) -> None:
    with asking(fleet, "held 1") as answer:
        assert answer.text(1) == "0 "
        stream = burble.relay.attach(fleet.redis.url, answer.id)
        assert next(stream) == "0 "
        (process,) = fleet.seen("held")
        fleet.worker_of(process).kill()
        with pytest.raises(burble.ProducerDied, match="worker"):
            "".join(stream)


def test_attach_to_what_is_not_there_raises(fleet: PythonFleet) -> None:
    with pytest.raises(burble.relay.NotFound):
        next(burble.relay.attach(fleet.redis.url, "0" * 32))
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        next(burble.relay.attach(fleet.redis.url, "zero"))
    with pytest.raises(ConnectionError):
        next(burble.relay.attach(f"unix://{fleet.folder}/nobody.sock", "0" * 32))
    with pytest.raises(ValueError, match="url"):
        next(burble.relay.attach("http://here", "0" * 32))


def test_cancel_ends_answer_wherever_it_is_computed(fleet: PythonFleet) -> None:
    url = fleet.redis.url
    with asking(fleet, "held 1") as answer:
        assert answer.text(1) == "0 "
        stream = burble.relay.attach(url, answer.id)
        assert next(stream) == "0 "
        assert burble.relay.cancel(url, answer.id)
        with pytest.raises(burble.Cancelled):
            "".join(stream)
        answer.text()
        assert "cancelled" in str(answer.error)
    until(lambda: fleet.seen("cancelled") == fleet.seen("held"))
    assert not burble.relay.cancel(url, answer.id)
    assert not burble.relay.cancel(url, "0" * 32)
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        burble.relay.cancel(url, "zero")
    with pytest.raises(ConnectionError):
        burble.relay.cancel(f"unix://{fleet.folder}/nobody.sock", answer.id)


def test_cancel_that_redis_does_not_answer_raises(frozen: RedisServer) -> None:
    assert not burble.relay.cancel(frozen.url, "0" * 32)
    frozen.signal(signal.SIGSTOP)
    with pytest.raises(burble.Timeout):
        burble.relay.cancel(frozen.url, "0" * 32, timeout=0.05)


# ---- the process -------------------------------------------------------------------------------


def run(fleet: PythonFleet, code: str, *arguments: str) -> str:
    """What a program prints that ends by itself."""
    program = "import os, sys, burble, burble.relay\nurl, *arguments = sys.argv[1:]\n" + code
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, fleet.redis.url, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_interpreter_exits_with_an_open_worker_and_an_open_stream(fleet: PythonFleet) -> None:
    code = """
worker = burble.relay.Worker(url, {"other": lambda request: "x"})
worker.start()
stream = burble.relay.attach(url, arguments[0])
print(next(stream), worker)
"""
    with asking(fleet, "held 1") as answer:
        assert answer.text(1) == "0 "
        place = f"<burble.relay.Worker of other: {fleet.redis.url}>"
        assert run(fleet, code, answer.id) == f"0  {place}\n"


@pytest.fixture
def frozen() -> Iterator[RedisServer]:
    """One that a process can freeze, by itself."""
    with tempfile.TemporaryDirectory(prefix="burble") as name:
        server = RedisServer(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def test_interpreter_exits_while_redis_does_not_answer(
    fleet: PythonFleet, frozen: RedisServer
) -> None:
    code = """
import signal, socket
mine, process = arguments
silent = socket.socket()
silent.bind(("127.0.0.1", 0))
silent.listen()
try:
    next(burble.relay.attach(mine, "0" * 32))
except burble.relay.NotFound:
    os.kill(int(process), signal.SIGSTOP)
streams = [
    burble.relay.attach(place, "0" * 32, timeout=3600.0)
    for place in (mine, f"redis://127.0.0.1:{silent.getsockname()[1]}")
]
silent.accept()[0].detach()  # both stay open until the process ends
silent.detach()
print("leaves")
"""
    assert frozen.process is not None
    assert run(fleet, code, frozen.url, str(frozen.process.pid)) == "leaves\n"


CONNECTING = """
import signal, sys, burble.relay
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
try:
    burble.relay.work(sys.argv[1], {"m": print}, quiet=True)
except KeyboardInterrupt:
    print("interrupted")
except ConnectionError:
    print("not connected")
"""


def test_ctrl_c_ends_worker_while_it_connects() -> None:
    """It does not wait until the attempt to connect has failed."""
    took = {}
    for interrupts in (False, True):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            silent.settimeout(PATIENCE)
            url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
            program = subprocess.Popen(
                [sys.executable, "-c", CONNECTING, url], stdout=subprocess.PIPE, text=True
            )
            connection, _ = silent.accept()  # and says nothing
            began = time.monotonic()
            if interrupts:
                program.send_signal(signal.SIGINT)
            out, _ = program.communicate(timeout=PATIENCE)
            took[interrupts] = time.monotonic() - began
            connection.close()
        outcome = "interrupted" if interrupts else "not connected"
        assert (program.returncode, out) == (0, f"{outcome}\n")
    assert took[True] < took[False] / 2


async def enter(worker: burble.relay.Worker) -> None:
    async with worker:
        pass


@pytest.mark.parametrize(
    "start", [burble.relay.Worker.start, lambda worker: asyncio.run(enter(worker))]
)
@pytest.mark.parametrize("which", ["burble-relay-start", "burble-relay-log"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_worker_whose_thread_does_not_start_is_closed(
    frozen: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[[burble.relay.Worker], None],
    which: str,
    error: type[BaseException],
) -> None:
    """Else it goes on in the background: nobody leaves a block that was not entered."""

    class Thread(threading.Thread):
        def start(self) -> None:
            super().start()
            if self.name == which:
                raise error

    names = {**vars(threading), "Thread": Thread}
    monkeypatch.setattr(burble.relay, "threading", SimpleNamespace(**names))
    worker = burble.relay.Worker(frozen.url, {"other": str})
    with pytest.raises(error):
        start(worker)
    assert worker.closed


def test_interrupted_connecting_is_no_error_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is for the main thread; another one that waits for the same connection makes it."""
    begun, release = threading.Event(), threading.Event()

    class Interrupted:
        closed = False
        _core = "here"

        def __init__(self, url: str, prefix: str) -> None:
            self.first = not begun.is_set()

        def start(self) -> None:
            if self.first:
                begun.set()
                assert release.wait(PATIENCE)
                raise KeyboardInterrupt

    monkeypatch.setattr(burble.relay, "_Reader", Interrupted)
    opening = burble.relay._Opening()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(opening.wait, "url", "burble")
        assert begun.wait(PATIENCE)
        second = threads.submit(opening.wait, "url", "burble")
        release.set()
        assert isinstance(first.exception(PATIENCE), KeyboardInterrupt)
        assert second.result(PATIENCE) == "here"  # type: ignore[comparison-overlap]


def test_signal_handler_may_connect_while_its_thread_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cancels an answer, for instance."""
    readers = burble.relay._Readers()
    found: list[Any] = []

    class Handled:
        closed = False

        def __init__(self, url: str, prefix: str) -> None:
            self._core = url

        def start(self) -> None:
            if not found:
                found.append(None)
                found.append(readers.open("url", "burble"))  # the handler

    monkeypatch.setattr(burble.relay, "_Reader", Handled)
    thread = threading.Thread(
        target=lambda: found.append(readers.open("url", "burble")), daemon=True
    )
    thread.start()
    thread.join(PATIENCE)
    assert found == [None, "url", "url"]


def test_connecting_to_one_redis_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Event(), threading.Event()
    made: list[str] = []

    class Slow:
        closed = False

        def __init__(self, url: str, prefix: str) -> None:
            made.append(url)
            self._core = url

        def start(self) -> None:
            if self._core == "away":
                begun.set()
                assert release.wait(PATIENCE)
                raise ConnectionError("away")

    monkeypatch.setattr(burble.relay, "_Reader", Slow)
    readers = burble.relay._Readers()
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(readers.open, "away", "burble") for _ in range(2)]
        try:
            assert begun.wait(PATIENCE)
            assert [readers.open("here", "burble") for _ in range(2)] == ["here"] * 2
        finally:
            release.set()
        for one in waiting:
            with pytest.raises(ConnectionError, match="away"):
                one.result(PATIENCE)
    assert made.count("here") == 1
    tried = made.count("away")
    with pytest.raises(ConnectionError, match="away"):
        readers.open("away", "burble")
    assert made.count("away") == tried + 1  # for whoever asks later


def test_slow_logging_leaves_lines_out(
    frozen: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release = threading.Event(), threading.Event()
    lines: list[str] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            begun.set()
            assert release.wait(PATIENCE)

    monkeypatch.setattr(burble.relay, "_MAX_LINES", 200)
    logger, handler = logging.getLogger("burble.relay"), Slow()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    redis = frozen.client()
    mine = str(redis.client_id())

    def others() -> set[str]:
        return {each["id"] for each in redis.client_list()} - {mine}

    def cut() -> None:
        """Cut the worker's connections, and wait until it has new ones."""
        before = others()
        for each in before:
            redis.client_kill_filter(_id=each)
        until(lambda: others() - before and worker.stats.connected)

    try:
        with burble.relay.Worker(frozen.url, {"one": lambda request: "x"}) as worker:
            assert begun.wait(PATIENCE)
            for _ in range(8):
                cut()
            release.set()
            until(lambda: len(lines) > 1)
            written = len(lines)
            until(lambda: cut() or len(lines) > written)
    finally:
        release.set()
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_task_that_enters_a_worker_does_not_block_its_loop(frozen: RedisServer) -> None:
    async def enter() -> bool:
        async with burble.relay.Worker(frozen.url, {"one": lambda request: "x"}) as worker:
            return worker.stats.connected

    async def main() -> None:
        frozen.signal(signal.SIGSTOP)
        entering = asyncio.ensure_future(enter())
        await asyncio.sleep(0)
        assert not entering.done()
        frozen.signal(signal.SIGCONT)
        assert await entering

    async def main_in_trio() -> None:
        frozen.signal(signal.SIGSTOP)
        entered = []

        async def run() -> None:
            entered.append(await enter())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.lowlevel.checkpoint()
            assert entered == []
            frozen.signal(signal.SIGCONT)
        assert entered == [True]

    asyncio.run(main())
    trio.run(main_in_trio)


def test_cancelled_task_that_enters_a_worker_closes_it(frozen: RedisServer) -> None:
    frozen.signal(signal.SIGSTOP)

    async def main() -> None:
        worker = burble.relay.Worker(frozen.url, {"one": lambda request: "x"})
        entering = asyncio.ensure_future(worker.__aenter__())
        await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert worker.closed

    async def main_in_trio() -> None:
        worker = burble.relay.Worker(frozen.url, {"one": lambda request: "x"})
        with trio.CancelScope() as scope:
            scope.cancel()
            async with worker:
                raise AssertionError("it cannot have entered")
        assert scope.cancelled_caught
        assert worker.closed

    asyncio.run(main())
    trio.run(main_in_trio)


def test_task_that_enters_a_worker_without_redis_gets_its_error() -> None:
    async def main() -> None:
        async with burble.relay.Worker("redis://127.0.0.1:1", {"one": lambda request: "x"}):
            raise AssertionError("there is no Redis")

    with pytest.raises(ConnectionError, match="Connection refused"):
        asyncio.run(main())


def test_forked_child_has_no_worker_and_attaches_anew(fleet: PythonFleet) -> None:
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
worker = burble.relay.Worker(url, {"other": lambda request: "x"})
worker.start()
stream = burble.relay.attach(url, arguments[0])
assert next(stream) == "0 "
child = os.fork()
if child == 0:
    assert worker.closed
    try:
        next(stream)
    except burble.ProducerDied:
        print("child:", next(burble.relay.attach(url, arguments[0])), flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not worker.closed and worker.stats.connected
open(arguments[1], "x").close()
print("parent:", "".join(stream))
worker.close()
"""
    with asking(fleet, "held 1") as answer:
        assert answer.text(1) == "0 "
        printed = run(fleet, code, answer.id, os.fspath(fleet.folder / "release"))
    assert printed == "child: 0 \nparent: end\n"


def test_worker_says_what_is_wrong_with_its_options(fleet: PythonFleet) -> None:
    with pytest.raises(ValueError, match="lease"):
        burble.relay.Worker(fleet.redis.url, {}, lease=0.001)
    with pytest.raises(TypeError, match="leese"):
        burble.relay.Worker(fleet.redis.url, {}, leese=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="expected a function"):
        burble.relay.Worker(fleet.redis.url, {"m": 3})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="url"):
        burble.relay.Worker("http://here", {})
    with pytest.raises(ValueError, match="slots: expected at most 4294967295"):
        burble.relay.Worker(fleet.redis.url, {}, slots=2**32 + 1)
    with pytest.raises(ValueError, match="choice: expected at most 4294967295"):
        burble.relay.attach(fleet.redis.url, "0" * 32, choice=2**32)
    for huge in (10**400, 10**5000):
        with pytest.raises(ValueError, match=r"^away: expected seconds"):
            burble.relay.Worker(fleet.redis.url, {}, away=huge)
        with pytest.raises(ValueError, match=r"^timeout: expected seconds"):
            burble.relay.attach(fleet.redis.url, "0" * 32, timeout=huge)
        with pytest.raises(ValueError, match=r"^timeout: expected seconds"):
            burble.relay.cancel(fleet.redis.url, "0" * 32, timeout=huge)
        with pytest.raises(ValueError, match=r"^grace: expected seconds"):  # not only at a signal
            burble.relay.work(fleet.redis.url, {}, grace=huge)
    with pytest.raises(ValueError, match=r"^away: expected 1 ms to a year"):
        burble.relay.Worker(fleet.redis.url, {}, away=1e300)
    worker = burble.relay.Worker("redis://user:secret@127.0.0.1:1", {"m": lambda request: "x"})
    with pytest.raises(ConnectionError):
        worker.start()
    assert "secret" not in repr(worker)
    worker.close()
    assert worker.closed


# ---- what is shown to others -------------------------------------------------------------------

WORKER_SAMPLE, ATTACH_SAMPLE = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/relay.md").read_text(), re.MULTILINE | re.DOTALL
)
BEFORE_WORKER = """
import sys, burble, burble.relay, transformers
url, where = sys.argv[1], "models/shakespeare"
tokenizer = transformers.AutoTokenizer.from_pretrained(where)
model = transformers.AutoModelForCausalLM.from_pretrained(where)
"""


@pytest.mark.parametrize("program", ["example", "page"])
def test_worker_that_is_shown_computes_text_of_transformers(
    fleet: PythonFleet, program: str
) -> None:
    pytest.importorskip("transformers")
    code = ["-c", BEFORE_WORKER + WORKER_SAMPLE]
    words = [ROOT / "examples/relay_worker.py"] if program == "example" else code
    worker = Process(fleet.folder / f"{program}.log", sys.executable, *words, fleet.redis.url)
    worker.start()
    answers: list[Any] = []

    def ask() -> bool:
        with contextlib.suppress(openai.NotFoundError, openai.InternalServerError):
            asked = client(fleet).completions
            answers.append(asked.create(model="assistant", prompt="ROMEO:", max_tokens=20))
        return bool(answers)

    try:
        # (To import transformers takes long on a machine that has other work.)
        until(ask, 4 * PATIENCE)
        answer = answers[0]
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 20
        assert len(answer.choices[0].text) > 20
        assert worker.end() == 0
        until(lambda: len(fleet.sessions()) == 2)
    finally:
        worker.kill()


def test_reader_that_is_shown_prints_the_text(
    fleet: PythonFleet, capsys: pytest.CaptureFixture[str]
) -> None:
    with asking(fleet, "numbers 9") as answer:
        text = answer.text()
    code = "async def read(url, stream_id):\n" + textwrap.indent(ATTACH_SAMPLE, "    ")
    names: dict[str, Any] = {"burble": burble}
    exec(code, names)
    asyncio.run(names["read"](fleet.redis.url, answer.id))
    assert capsys.readouterr().out == text
