# SPDX-License-Identifier: MIT
"""The programs in examples/: the demo on a pipe and on a terminal, the web server with clients that
stay and clients that leave. Each is started as a user starts it at least once; what needs no
process of its own runs in this one, which has loaded PyTorch already."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import itertools
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

pytestmark = [
    pytest.mark.no_asan,
    pytest.mark.timeout(60),
    pytest.mark.slow,
]

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo.py"
# What a program must not find, and what it must, in its environment.
UNSET = (
    *("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"),
    *("MODEL", "PORT", "BURBLE_MODEL", "BURBLE_PROMPT"),
)
SET = {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
ENV = {name: value for name, value in os.environ.items() if name not in UNSET} | SET

# What bounds a wait that should end at once, and only then.
SOON = 20.0

FIGURES = ("first text", "the event loop", "burble", "tokens/s", "put()")


# ---- the demo on a pipe --------------------------------------------------------------------------


def demo(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO), *args],
        env=ENV,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=50,
        cwd="/",
    )


def test_demo_on_pipe_prints_conversations_then_figures() -> None:
    done = demo("--max-new-tokens", "60")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert re.search(r"^3 conversations at once: \d+ tokens", done.stdout, re.MULTILINE)
    for figure in FIGURES:
        assert figure in done.stdout
    for number in (1, 2, 3):
        said = re.findall(rf"^{number}\| (.+)$", done.stdout, re.MULTILINE)
        assert len("".join(said)) > 60


@pytest.fixture(scope="module")
def program() -> Any:
    """The demo as a module."""
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Here:
    """Runs the demo in this process."""

    def __init__(self, program: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.program = program
        self.capsys = capsys

    def __call__(self, *args: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        try:
            code = self.program.main(args)
        except SystemExit as error:  # argparse's
            code = error.code
        return (code, *self.capsys.readouterr())


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process: as ENV, for what is read while the demo runs."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, "error")
    monkeypatch.setenv("TERM", SET["TERM"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def here(program: Any, capsys: pytest.CaptureFixture[str], environment: None) -> Here:
    return Here(program, capsys)


def test_demo_prints_exactly_what_model_generates(
    here: Here, shakespeare: Any, shakespeare_model: Any
) -> None:
    code, out, _ = here(
        *("--prompt", "O Romeo,", "--temperature", "0"),
        *("--conversations", "2", "--max-new-tokens", "50"),
    )
    assert code == 0
    expected = greedy(shakespeare, shakespeare_model, "O Romeo,", 50)
    for number in (1, 2):
        said = re.findall(rf"^{number}\|(?: (.*))?$", out, re.MULTILINE)
        assert said == [line.rstrip() for line in expected.split("\n")]


def test_demo_with_seed_repeats_its_text(here: Here) -> None:
    args = ("--conversations", "1", "--seed", "3", "--max-new-tokens", "40")
    first, second = (re.findall(r"^1\|.*", here(*args)[1], re.MULTILINE) for _ in "ab")
    assert first == second
    assert len(first) > 1


def test_demo_without_limit_fills_context(here: Here) -> None:
    code, out, _ = here("--prompt", "and so on " * 160, "--conversations", "2", "--temperature=0")
    assert code == 0
    assert re.search(r"2 conversations at once: [1-9]\d* tokens", out)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--model", "/no/such/folder"), "/no/such/folder: there is no such folder"),
        (("--model", str(ROOT / "src")), "holds no model: it has no config.json"),
        (("--model", str(ROOT / "README.md")), "README.md: expected a folder or a name"),
        (("--prompt", ""), "the prompt is empty"),
        (("--prompt", "and so on " * 600), "the model's context only 512"),
        (("--model", "no-such-model"), "demo: no-such-model: "),
    ],
)
def test_demo_error_is_one_line(here: Here, args: tuple[str, ...], message: str) -> None:
    code, _, err = here(*args)
    assert code == 1
    assert err.startswith("demo: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "args", [("--conversations", "0"), ("--max-new-tokens", "x"), ("--temperature", "-1")]
)
def test_demo_with_invalid_option_is_refused(here: Here, args: tuple[str, ...]) -> None:
    code, _, err = here(*args)
    assert code == 2
    assert args[0] in err.splitlines()[-1]


@pytest.mark.parametrize("width", [2, 3, 7, 40])
def test_demo_wraps_any_text_into_lines_that_fit(program: Any, width: int) -> None:
    text = "The fox  jumps.\n\n日本語のテキスト、中文 and cafe\u0301, 👍🏽!\n" + "x" * 50 + " end"
    lines = program.wrap(text, width)
    assert max(program.cells(line.rstrip()) for line in lines) <= width
    assert "".join(lines) == text.replace("\n", "")
    # What the demo does as the text grows.
    grown = [""]
    for c in text:
        grown[-1:] = program.wrap(grown[-1] + c, width)
    assert grown == lines


# ---- the demo on a terminal ----------------------------------------------------------------------


def open_terminal() -> tuple[int, int]:
    """A pseudo-terminal of 100 columns and 30 lines: the side of its user, and the program's."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    return master, slave


def read_terminal(master: int) -> bytes:
    """What comes next from the program; b"" at its end."""
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says so when the other side has been closed
        return b""


@pytest.fixture
def demo_on_terminal(
    program: Any, environment: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs the demo in this process with a terminal as its output, and returns the output."""

    def run(*args: str, **env: str) -> str:
        master, slave = open_terminal()
        output: list[bytes] = []
        reader = threading.Thread(
            target=lambda: output.extend(iter(lambda: read_terminal(master), b""))
        )
        reader.start()
        try:
            with open(slave, "w") as stdout, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stdout)
                for name, value in env.items():
                    patch.setenv(name, value)
                assert program.main(args) == 0
        finally:
            reader.join()
            os.close(master)
        return b"".join(output).decode()

    return run


class OnTerminal:
    """The demo in a process of its own, which can be interrupted, on a terminal."""

    def __init__(self, *args: str) -> None:
        self.master, slave = open_terminal()
        self.process = subprocess.Popen(
            [sys.executable, str(DEMO), *args],
            env=ENV,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.output = ""

    def read_until(self, pattern: str, seconds: float = 40.0) -> None:
        """Read until ``pattern`` is in the output; or, where it is "", until the program's end."""
        deadline = time.monotonic() + seconds
        while not (pattern and re.search(pattern, self.output)):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern or 'end'} within {seconds} s: {self.output[-2000:]!r}"
            if select.select([self.master], [], [], left)[0]:
                data = read_terminal(self.master)
                if not data:
                    assert not pattern, f"ended without {pattern}: {self.output[-2000:]!r}"
                    return
                self.output += data.decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@contextmanager
def on_terminal(*args: str) -> Iterator[OnTerminal]:
    program = OnTerminal(*args)
    try:
        yield program
    finally:
        program.close()


def test_demo_on_terminal_keeps_ticking_while_text_grows(
    demo_on_terminal: Callable[..., str],
) -> None:
    output = demo_on_terminal("--max-new-tokens", "200")
    ticks = [int(n) for n in re.findall(r"has ticked (\d+) times", output)]
    tokens = [int(n) for n in re.findall(r"└ .{0,8}?(\d+) tokens", output)]
    assert ticks == sorted(ticks)
    assert len(set(ticks)) > 2  # however fast this machine is
    assert len(set(tokens)) > 2
    assert output.count("✓") >= 3
    assert output.rindex("\x1b[?25h") > output.index("\x1b[?25l")
    for figure in FIGURES:
        assert figure in output[output.rindex("\x1b[?25h") :]


def test_demo_on_terminal_respects_no_color(demo_on_terminal: Callable[..., str]) -> None:
    output = demo_on_terminal("--max-new-tokens", "20", NO_COLOR="1")
    assert "ROMEO" in output
    assert not re.search(r"\x1b\[[\d;]*m", output)


def test_demo_on_dumb_terminal_prints_lines(demo_on_terminal: Callable[..., str]) -> None:
    output = demo_on_terminal("--max-new-tokens", "20", TERM="dumb")
    assert "1| " in output
    assert "\x1b" not in output


def test_demo_interrupted_in_mid_stream_ends_with_a_word() -> None:
    with on_terminal("--max-new-tokens", "500", "--conversations", "8") as program:
        program.read_until(r"└ .{0,8}?[1-9]\d tokens")
        program.process.send_signal(signal.SIGINT)
        program.read_until("", SOON)
        assert program.process.wait(SOON) == 130
    assert "stopped" in program.output
    assert "\x1b[?25h" in program.output  # the cursor is back
    assert "Traceback" not in program.output
    assert "tokens/s" not in program.output


def test_demo_interrupted_while_it_loads_ends() -> None:
    with on_terminal("--max-new-tokens", "500", "--conversations", "8") as program:
        program.read_until("loading")
        program.process.send_signal(signal.SIGINT)
        program.read_until("", SOON)
        assert program.process.wait(SOON) == 130
    assert "stopped" in program.output
    assert "Traceback" not in program.output


# ---- the web server ------------------------------------------------------------------------------

# `uvicorn examples.fastapi_app:app`, with a model that can be slowed down and held, and that says
# what it is doing.
OBSERVED = """
import threading
import time
from collections import Counter

import uvicorn
from burble._threads import default_pool
from examples.fastapi_app import app, model

state = {"pace": 0.0, "steps": 0, "at_most": None}
taken = Counter()

def before_step(*_):
    state["steps"] += 1
    time.sleep(state["pace"])
    taken[threading.get_ident()] += 1
    while state["at_most"] is not None and taken[threading.get_ident()] > state["at_most"]:
        time.sleep(0.001)

model.register_forward_pre_hook(before_step)

@app.get("/pace/{seconds}")
async def pace(seconds: float) -> None:
    state["pace"] = seconds

@app.get("/hold/{steps}")
async def hold(steps: int) -> None:
    taken.clear()
    state["at_most"] = steps

@app.get("/go")
async def go() -> None:
    state["at_most"] = None

@app.get("/running")
async def running() -> list[int]:
    return [default_pool().running, state["steps"]]

uvicorn.main(["examples.fastapi_app:app", "--port", "0", "--no-access-log"])
"""


class Server:
    def __init__(self, log: Path, *command: str, **env: str) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command], env=ENV | env, stdout=file, stderr=file, cwd=ROOT
            )
        self.url = self._url()

    def _url(self) -> str:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:\d+", self.log.read_text())
            if found:
                return found.group()
            time.sleep(0.05)
        self.stop()
        pytest.fail(f"the server did not start: {self.log.read_text()}")

    def get(self, path: str, **query: Any) -> Any:
        return httpx.get(self.url + path, params=query, trust_env=False, timeout=SOON)

    def running(self) -> tuple[int, int]:
        """How many generations are running, and how many steps there were in all."""
        running, steps = self.get("/running").json()
        return running, steps

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "log", "-c", OBSERVED)
    yield server
    server.stop()


@pytest.fixture
def server(observed: Server) -> Iterator[Server]:
    """The server, at the model's own pace before and after, and without a complaint."""
    yield observed
    observed.get("/pace/0")
    observed.get("/go")
    wait_for_nothing_running(observed)
    assert not re.search("Traceback|ERROR|never retrieved", observed.log.read_text())


def wait_for_nothing_running(server: Server) -> int:
    """Wait until no generation is running; return how many steps there were until then."""
    deadline = time.monotonic() + SOON
    while True:
        running, steps = server.running()
        if running == 0:
            return steps
        assert time.monotonic() < deadline, f"{running} generations are still running"
        time.sleep(0.02)


def greedy(tokenizer: Any, model: Any, prompt: str, n: int) -> str:
    inputs = tokenizer(prompt, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=n, do_sample=False)[0]
    text: str = tokenizer.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


def test_server_started_as_script_answers(tmp_path: Path) -> None:
    server = Server(tmp_path / "log", "examples/fastapi_app.py", PORT="0")
    try:
        answer = server.get("/generate", prompt="ROMEO:", max_new_tokens=20)
    finally:
        server.stop()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(answer.text) > 20


def test_server_sends_text_piece_by_piece_and_exactly(
    server: Server, shakespeare: Any, shakespeare_model: Any
) -> None:
    expected = greedy(shakespeare, shakespeare_model, "JULIET:", 60)
    text = ""
    query = {"prompt": "JULIET:", "max_new_tokens": 60, "do_sample": False}
    server.get("/hold/10")
    with httpx.stream("GET", server.url + "/generate", params=query, trust_env=False) as answer:
        pieces = answer.iter_text()
        for _ in range(5):
            text += next(pieces)
            server.get("/hold/10")  # and each piece comes before the steps that are to follow
        server.get("/go")
        text += "".join(pieces)
    assert text == expected


def test_server_streams_to_several_clients_at_once(
    server: Server, shakespeare: Any, shakespeare_model: Any
) -> None:
    prompts = ["ROMEO:", "JULIET:", "KING HENRY:", "First Citizen:", "What, ho!", "My lord,"]
    expected = [greedy(shakespeare, shakespeare_model, prompt, 50) for prompt in prompts]
    server.get("/hold/10")
    begun = []

    async def read(client: Any, prompt: str) -> str:
        text = ""
        query = {"prompt": prompt, "max_new_tokens": 50, "do_sample": False}
        async with client.stream("GET", server.url + "/generate", params=query) as answer:
            async for piece in answer.aiter_text():
                if not text:
                    begun.append(prompt)
                    if len(begun) == len(prompts):  # none of which has come to its end
                        await client.get(server.url + "/go")
                text += piece
        return text

    async def read_all() -> list[str]:
        async with httpx.AsyncClient(trust_env=False, timeout=SOON) as client:
            return await asyncio.gather(*(read(client, prompt) for prompt in prompts))

    assert asyncio.run(read_all()) == expected


def test_server_client_that_leaves_cancels_generation(server: Server) -> None:
    wait_for_nothing_running(server)
    server.get("/pace/0.02")
    before = server.running()[1]
    query = {"prompt": "ROMEO:", "max_new_tokens": 500, "do_sample": False}
    with httpx.stream("GET", server.url + "/generate", params=query, trust_env=False) as answer:
        pieces = answer.iter_text()  # kept: httpx closes the connection when it is collected
        next(pieces)
        assert server.running()[0] == 1
    # To the end it would have been ten seconds.
    steps = wait_for_nothing_running(server) - before
    assert steps < 250


def test_server_client_that_leaves_does_not_disturb_others(
    server: Server, shakespeare: Any, shakespeare_model: Any
) -> None:
    expected = greedy(shakespeare, shakespeare_model, "JULIET:", 60)
    server.get("/pace/0.01")
    stays = {"prompt": "JULIET:", "max_new_tokens": 60, "do_sample": False}
    leaves = {"prompt": "ROMEO:", "max_new_tokens": 500, "do_sample": False}
    url = server.url + "/generate"
    with httpx.stream("GET", url, params=stays, trust_env=False) as staying:
        with httpx.stream("GET", url, params=leaves, trust_env=False) as leaving:
            pieces = leaving.iter_text()
            next(pieces)
        assert "".join(staying.iter_text()) == expected


def test_server_refuses_prompt_that_does_not_fit_model(server: Server) -> None:
    for query in (
        {"prompt": ""},
        {"prompt": "ROMEO:", "max_new_tokens": 0},
        {"prompt": "ROMEO:", "max_new_tokens": 512},
    ):
        assert server.get("/generate", **query).status_code == 422


# ---- the web page --------------------------------------------------------------------------------


def test_server_page_resumes_answer_where_its_reader_left(tmp_path: Path) -> None:
    httpx_sse = pytest.importorskip("httpx_sse")
    server = Server(tmp_path / "log", "examples/sse_app.py", PORT="0")

    def read(
        client: Any, name: str, after: str | None = None, at_most: int | None = None
    ) -> list[Any]:
        headers = {} if after is None else {"Last-Event-ID": after}
        with httpx_sse.connect_sse(client, "GET", f"/events/{name}", headers=headers) as source:
            events = itertools.islice(source.iter_sse(), at_most)
            return [(event.event, event.id, event.data) for event in events]

    try:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=SOON) as client:
            assert "new EventSource(" in client.get("/").text
            name = client.post("/answers", params={"prompt": "ROMEO:"}).json()
            begin = read(client, name, at_most=3)
            rest = read(client, name, after=begin[-1][1])
            assert begin + rest == read(client, name)
            assert [id_ for _, id_, _ in begin] == [f"{name}:{i:010}" for i in range(3)]
            assert rest[-1][0] == "end"
            assert json.loads(rest[-1][2])["finish_reason"] in ("eos", "length")
            assert client.get("/events/another").status_code == 404
    finally:
        server.stop()
