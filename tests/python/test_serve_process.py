# SPDX-License-Identifier: MIT
"""burble.Server and the process that it is in: signals, forks, and the ends that an interpreter can
have."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import SOON, until

import burble
from burble import _core

httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

if not hasattr(_core, "Server"):
    pytest.skip("this burble was built without a server", allow_module_level=True)

from test_serve import serving  # noqa: E402
from test_serve_life import BODY, content_of, refuses  # noqa: E402

PROGRAM = """
import contextlib, os, sys, threading, time
import burble

def handler(request):
    writer, stream = burble.channel()
    def write():
        with contextlib.suppress(burble.Cancelled):
            if sys.argv[1:] == ["held"]:
                sys.stdin.readline()
            for i in range(int(request.prompt)):
                writer.put_text(f"{i} ")
                time.sleep(0.05)
            writer.end()
    threading.Thread(target=write, daemon=True).start()
    return stream

"""


@contextlib.contextmanager
def program(code: str, *arguments: str) -> Iterator[Any]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def url_of(process: Any) -> str:
    """From what burble.serve says."""
    line = process.stderr.readline()
    assert "http://127.0.0.1:" in line, line + process.stderr.read()
    url: str = line.split()[3]
    return url


def complete(url: str, pieces: int, **options: Any) -> Any:
    return httpx.post(
        f"{url}/v1/completions",
        json={"model": "default", "prompt": str(pieces)},
        timeout=SOON,
        trust_env=False,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_drains_at_signal(number: int) -> None:
    with program("burble.serve(handler, port=0)", "held") as process:
        url = url_of(process)
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(complete(url, 20)))
        asking.start()
        until(lambda: running(url) == 1)
        process.send_signal(number)
        until(lambda: refuses(int(url.rsplit(":", 1)[1])))
        process.stdin.write("\n")
        process.stdin.flush()
        asking.join(SOON)
        text = answers[0].json()["choices"][0]["text"]
        assert text == "".join(f"{i} " for i in range(20))
        assert process.wait(SOON) == 0
        assert "Traceback" not in process.stderr.read()


def running(url: str) -> int:
    metrics = httpx.get(f"{url}/metrics", timeout=SOON, trust_env=False).text
    for line in metrics.splitlines():
        if line.startswith("burble_answers_running "):
            return int(float(line.split()[1]))
    raise AssertionError(metrics)


def test_second_signal_ends_serve_at_once() -> None:
    with program("burble.serve(handler, port=0)") as process:
        url = url_of(process)

        def ask_for_ever() -> None:
            with contextlib.suppress(httpx.HTTPError):
                complete(url, 1_000_000)

        asking = threading.Thread(target=ask_for_ever)
        asking.start()
        until(lambda: running(url) == 1)
        process.send_signal(signal.SIGTERM)
        until(lambda: refuses(int(url.rsplit(":", 1)[1])))
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0
        asking.join(SOON)


def test_sighup_reads_keys_again(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of ours\nk1\n")
    with program("burble.serve(handler, port=0, api_key_file=sys.argv[1])", str(keys)) as process:
        url = url_of(process)

        def status(key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            code: int = complete(url, 0, headers=headers).status_code
            return code

        assert (status("k1"), status("k2")) == (200, 401)
        keys.write_text("k2\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: status("k2") == 200)
        assert status("k1") == 401
        for wrong in ("\n", "k3\nwith a space\n"):
            keys.write_text(wrong)  # the old ones stay
            process.send_signal(signal.SIGHUP)
            assert "the API keys stay as they are" in process.stderr.readline()
            assert status("k2") == 200


def test_sighup_keeps_keys_that_are_not_of_the_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("k1\n")
    call = "burble.serve(handler, port=0, api_keys=['k0'], api_key_file=sys.argv[1])"
    with program(call, str(keys)) as process:
        url = url_of(process)

        def status(key: str) -> int:
            code: int = complete(url, 0, headers={"Authorization": f"Bearer {key}"}).status_code
            return code

        keys.write_text("k2\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: status("k2") == 200)
        assert (status("k0"), status("k1")) == (200, 401)


def test_key_file_without_keys_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# none\n")
    with pytest.raises(ValueError, match="expected API keys, one a line, found none"):
        burble.serve(lambda request: "x", port=0, api_key_file=tmp_path / "keys")


def test_interpreter_exits_while_server_answers() -> None:
    code = """
server = burble.Server(handler, port=0)
server.start()
print(server.url, flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", PROGRAM + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx.stream(
            "POST",
            f"{url}/v1/completions",
            json={"model": "default", "prompt": "1000000", "stream": True},
            timeout=SOON,
            trust_env=False,
        ) as response:
            lines = response.iter_lines()
            next(lines)
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            with contextlib.suppress(httpx.HTTPError):
                list(lines)
        assert process.wait(SOON) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_forked_child_closes_its_copies_of_sockets() -> None:
    with serving(lambda request: "x") as (server, client):
        assert client.chat().choices[0].message.content == "x"
        port = server.port
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            ok = False
            try:
                os.close(writing)
                ok = server.closed and server.port == 0 and server.stats.running == 0
                server.close()
                os.read(reading, 1)  # until the parent has looked
            finally:
                os._exit(0 if ok else 1)
        os.close(reading)
        try:
            assert client.chat().choices[0].message.content == "x"  # the parent goes on
            with socket.create_connection(("127.0.0.1", port), SOON) as connection:
                until(lambda: server.stats.connections >= 2)
                server.close()
                connection.settimeout(SOON)
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
            assert refuses(port)  # although the child lives
        finally:
            os.close(writing)
        _, status = os.waitpid(child, 0)
        assert status == 0


def test_child_can_have_server_of_its_own() -> None:
    with serving(lambda request: "x"):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with burble.Server(lambda request: "y", port=0) as server:
                    answer = httpx.post(
                        f"{server.url}/v1/chat/completions", json=BODY, timeout=SOON
                    )
                    code = 0 if content_of(answer) == "y" else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


# ---- an end in the midst of answers --------------------------------------------------------------


def request_of(pieces: int, streamed: bool = False, model: str = "default") -> bytes:
    body = json.dumps({"model": model, "prompt": str(pieces), "stream": streamed}).encode()
    return (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(65536):
            data += more
    return data


END_IN_HANDLER = """
def handler(request):
    if request.prompt == "0":
        os._exit(3)
    return answer(request)
burble.serve(handler, port=0)
"""

ENDS: dict[str, str] = {
    "kill": "burble.serve(answer, port=0)",
    "exit in handler": END_IN_HANDLER,
    "two signals": "burble.serve(answer, port=0)",
    "main thread ends": """
server = burble.Server(answer, port=0)
server.start()
print("burble: x at", server.url, file=sys.stderr, flush=True)
sys.stdin.readline()
""",
    "exception in main thread": """
with burble.Server(answer, port=0) as server:
    print("burble: x at", server.url, file=sys.stderr, flush=True)
    sys.stdin.readline()
    raise KeyError("of main")
""",
    "serve in daemon thread": """
threading.Thread(target=burble.serve, args=(answer,), kwargs={"port": 0}, daemon=True).start()
sys.stdin.readline()
""",
}
CODES = {"kill": -signal.SIGKILL, "exit in handler": 3, "exception in main thread": 1}


@pytest.mark.parametrize("how", ENDS)
def test_answer_of_process_that_ends_is_not_whole(how: str) -> None:
    """Clients see a broken answer, and not one that ends as if it were complete."""
    with program("answer = handler\n" + ENDS[how]) as process:
        port = int(url_of(process).rsplit(":", 1)[1])
        with contextlib.ExitStack() as stack:
            connections = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), SOON))
                for _ in range(3)
            ]
            for i, connection in enumerate(connections):
                connection.settimeout(SOON)
                connection.sendall(request_of(1_000_000, streamed=i < 2))
            assert b"200 OK" in connections[0].recv(4096)
            assert b"200 OK" in connections[1].recv(4096)
            if how == "kill":
                process.kill()
            elif how == "exit in handler":
                last = stack.enter_context(socket.create_connection(("127.0.0.1", port), SOON))
                last.sendall(request_of(0))
            elif how == "two signals":
                process.send_signal(signal.SIGTERM)
                until(lambda: refuses(port))
                process.send_signal(signal.SIGTERM)
            else:
                process.stdin.write("\n")
                process.stdin.flush()
            streams = [read_to_end(connection) for connection in connections[:2]]
            whole = read_to_end(connections[2])
        assert process.wait(SOON) == CODES.get(how, 0)
        for data in streams:
            assert b"[DONE]" not in data
            assert not data.endswith(b"0\r\n\r\n")
        assert b"200 OK" not in whole
        errors = process.stderr.read()
        assert ("Traceback" in errors) == (how == "exception in main thread"), errors
        assert "Fatal" not in errors


HANG = """
burble._threads._EXIT_TIMEOUT = burble._host._HANDLER_TIMEOUT = 0.1
begun = threading.Semaphore(0)
def hang(request):
    begun.release()
    threading.Event().wait()
async def hang_in_loop(request):
    begun.release()
    threading.Event().wait()
server = burble.Server(models={"default": hang, "loop": hang_in_loop}, port=0)
server.start()
print("burble: x at", server.url, file=sys.stderr, flush=True)
begun.acquire()
begun.acquire()
print("begun", flush=True)
"""


def test_interpreter_exits_while_handlers_hang() -> None:
    with program(HANG) as process:
        port = int(url_of(process).rsplit(":", 1)[1])
        with contextlib.ExitStack() as stack:
            for model in ("default", "loop"):
                connection = socket.create_connection(("127.0.0.1", port), SOON)
                stack.enter_context(connection).sendall(request_of(1, model=model))
            assert process.stdout.readline() == "begun\n"
            assert process.wait(SOON) == 0
        assert process.stderr.read() == ""


STORM = """
import signal
read, reads = burble._serve.read_keys, []
def read_in_storm(path):
    reads.append(path)
    if 1 < len(reads) < 3000:
        os.kill(os.getpid(), signal.SIGHUP)
    return read(path)
burble._serve.read_keys = read_in_storm
burble.serve(handler, port=0, api_key_file=sys.argv[1])
print(len(reads))
"""


def test_storm_of_sighup_does_no_harm(tmp_path: Path) -> None:
    """Each one comes in the midst of the handler of the one before."""
    keys = tmp_path / "keys"
    keys.write_text("k1\n")
    with program(STORM, str(keys)) as process:
        url = url_of(process)

        def status(key: str) -> int:
            code: int = complete(url, 0, headers={"Authorization": f"Bearer {key}"}).status_code
            return code

        assert status("k1") == 200
        keys.write_text("k2\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: status("k2") == 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0
        assert process.stderr.read() == ""
        assert int(process.stdout.read()) >= 3000


# ---- forks ---------------------------------------------------------------------------------------


def code_of(child: int) -> int:
    """Its exit code; of one that hangs, that of its end."""
    ended: list[tuple[int, int]] = []
    try:
        until(lambda: ended.append(os.waitpid(child, os.WNOHANG)) or ended[-1][0])  # type: ignore[func-returns-value]
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        ended.append(os.waitpid(child, 0))
    return os.waitstatus_to_exitcode(ended[-1][1])


def test_forks_beside_running_server_do_no_harm() -> None:
    """The parent's clients get whole answers; each child has a closed server."""
    wrong: list[Any] = []
    over = threading.Event()

    def ask_on() -> None:
        with httpx.Client(trust_env=False, timeout=SOON) as http:
            while not over.is_set():
                try:
                    answer = http.post(f"{server.url}/v1/chat/completions", json=BODY)
                    if content_of(answer) != "x":
                        wrong.append(answer.text)
                except Exception as error:
                    wrong.append(error)

    with serving(lambda request: "x") as (server, _):
        threads = [threading.Thread(target=ask_on) for _ in range(3)]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(50):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    server.drain(1)
                    server.wait()
                    with contextlib.suppress(burble.Error):
                        server.remove_model("default")
                    code = 0 if server.closed and server.port == 0 else 2
                    server.close()
                    del server
                finally:
                    os._exit(code)
            codes.append(code_of(child))
        over.set()
        for thread in threads:
            thread.join(SOON)
    assert codes == [0] * 50
    assert wrong == []


def test_handler_that_forks_answers_once() -> None:
    """The child has the parent's request, and cannot answer it."""
    children: list[int] = []

    def handler(request: burble.Request) -> Any:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if request.cancelled and not request._answer.fail(503, "of child") else 2
            finally:
                os._exit(code)
        children.append(child)
        return "x"

    with serving(handler) as (_, client):
        for _ in range(5):
            assert client.chat().choices[0].message.content == "x"
    assert [code_of(child) for child in children] == [0] * 5
