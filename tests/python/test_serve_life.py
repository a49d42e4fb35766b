# SPDX-License-Identifier: MIT
"""burble.Server as a thing that begins and ends: beside loops, with handlers that are tasks, with
signals, forks, and the end of the interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import select
import socket
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
from helpers import SOON, run, until, until_in_loop

import burble
from burble import _core

httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

if not hasattr(_core, "Server"):
    pytest.skip("this burble was built without a server", allow_module_level=True)

from test_serve import MESSAGES, Client, Open, leave_at, serving, text_of, written  # noqa: E402

BODY = {"model": "default", "messages": MESSAGES}


async def ask(url: str, **options: Any) -> Any:
    async with httpx.AsyncClient(trust_env=False, timeout=SOON) as client:
        return await client.post(f"{url}/v1/chat/completions", json={**BODY, **options})


def content_of(response: Any) -> Any:
    return response.json()["choices"][0]["message"]["content"]


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), SOON).close()
    except ConnectionRefusedError:
        return True
    return False


# ---- handlers that are tasks -------------------------------------------------------------------


def test_async_handler_runs_in_loop_of_owner() -> None:
    async def main() -> None:
        threads: list[int] = []

        async def handler(request: burble.Request) -> Any:
            await asyncio.sleep(0)
            threads.append(threading.get_ident())
            return written(["a"])

        async with burble.Server(handler, port=0) as server:
            assert content_of(await ask(server.url)) == "a"
        assert threads == [threading.get_ident()]
        assert server.closed

    asyncio.run(main())


def test_async_handler_without_loop_runs_in_one_of_its_own() -> None:
    threads: set[int] = set()

    async def handler(request: burble.Request) -> Any:
        await asyncio.sleep(0)
        threads.add(threading.get_ident())
        return "a"

    with serving(handler) as (server, client):
        for _ in range(3):
            assert client.chat().choices[0].message.content == "a"
        thread = server._loop._thread
        server.add_model("b", handler)
        assert client.chat(model="b").choices[0].message.content == "a"
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert thread is not None
    thread.join(SOON)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_server_stands_beside_loop(kind: str) -> None:
    async def main() -> None:
        async with burble.Server(lambda request: "a", port=0) as server:
            async with httpx.AsyncClient(trust_env=False, timeout=SOON) as client:
                answer = await client.post(f"{server.url}/v1/chat/completions", json=BODY)
            assert content_of(answer) == "a"
        assert server.closed

    run(kind, main)


def test_async_handler_is_cancelled_when_client_leaves() -> None:
    async def main() -> None:
        began, ended = threading.Event(), asyncio.Event()
        requests: list[burble.Request] = []

        async def handler(request: burble.Request) -> Any:
            requests.append(request)
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with burble.Server(handler, port=0) as server:
            await asyncio.to_thread(leave_at, server, began)
            await asyncio.wait_for(ended.wait(), SOON)
            assert requests[0].cancelled

    asyncio.run(main())


def test_exception_of_async_handler_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: burble.Request) -> Any:
        await asyncio.sleep(0)
        raise OSError("secret")

    with serving(handler) as (_, client):
        with pytest.raises(openai.InternalServerError, match="the handler failed: OSError"):
            client.chat()
    assert "secret" in caplog.text


def test_object_with_async_call_is_async_handler() -> None:
    class Handler:
        async def __call__(self, request: burble.Request) -> Any:
            return "a"

    with serving(Handler()) as (_, client):
        assert client.chat().choices[0].message.content == "a"


# ---- its end -----------------------------------------------------------------------------------


def test_close_cancels_what_runs() -> None:
    handler = Open("one")
    with serving(handler) as (server, client):
        stream = client.chat(stream=True)
        next(iter(stream))
        server.close()
        assert server.closed
        until(lambda: handler.writers[0].cancelled)
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            list(stream)
        server.close()
        assert server.wait(0.01)
        assert repr(server) == "<burble.Server of default: closed>"


def test_close_while_handler_waits_lets_it_end() -> None:
    entered, found = threading.Event(), []

    def handler(request: burble.Request) -> Any:
        entered.set()
        found.append(request.wait_cancelled(SOON))
        return "x"

    with serving(handler) as (server, client):
        asking = threading.Thread(
            target=lambda: contextlib.suppress(Exception) or client.post(BODY)
        )

        def post() -> None:
            with contextlib.suppress(httpx.HTTPError):
                client.post(BODY)

        asking = threading.Thread(target=post)
        asking.start()
        assert entered.wait(SOON)
        server.close()
        asking.join(SOON)
        until(lambda: found)
    assert found == [True]


def test_handler_may_close_its_server(caplog: pytest.LogCaptureFixture) -> None:
    servers: list[burble.Server] = []

    def handler(request: burble.Request) -> Any:
        servers[0].close()
        return "x"

    with serving(handler) as (server, client):
        servers.append(server)
        with pytest.raises(httpx.HTTPError):
            client.post(BODY)
        until(lambda: server._pool.running == 0)
    assert caplog.text == ""


def test_drain_lets_running_answer_end_and_takes_no_more() -> None:
    handler = Open("one")
    with serving(handler) as (server, client):
        stream = client.chat(stream=True)
        texts = (text for chunk in stream if (text := text_of([chunk])))
        assert next(texts) == "one"
        server.drain(SOON)
        assert not server.wait(0.01)
        until(lambda: refuses(server.port))
        handler.writers[0].put_text("two")
        assert next(texts) == "two"
        handler.writers[0].end()
        assert list(texts) == []
        assert server.wait(SOON)


def test_second_drain_stops_at_once() -> None:
    handler = Open("one")
    with serving(handler) as (server, client):
        stream = client.chat(stream=True)
        next(iter(stream))
        server.drain(SOON)
        server.drain(SOON)
        assert server.wait(SOON)
        until(lambda: handler.writers[0].cancelled)


def test_start_twice_is_refused() -> None:
    with serving(lambda request: "x") as (server, _):
        with pytest.raises(ValueError, match="start"):
            server.start()


def test_closed_server_cannot_be_used() -> None:
    server = burble.Server(lambda request: "x", port=0)
    server.close()
    for use in (
        server.start,
        lambda: server.add_model("b", lambda request: "x"),
        lambda: server.remove_model("default"),
        lambda: server.set_keys([]),
    ):
        with pytest.raises(burble.Error, match="the server is closed"):
            use()
    server.drain(1)
    assert server.port == 0


def test_server_that_is_deleted_is_closed() -> None:
    handler = Open("one")
    server = burble.Server(handler, port=0)
    server.start()
    client, port, reference = Client(server), server.port, weakref.ref(server)
    stream = client.chat(stream=True)
    next(iter(stream))
    del server
    until(lambda: gc.collect() >= 0 and reference() is None)  # (The handler's thread had it, too.)
    assert refuses(port)
    until(lambda: handler.writers[0].cancelled)
    client.close()


def test_server_in_cycle_with_handler_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.server = burble.Server(self.handle, port=0)
            self.server.start()

        def handle(self, request: burble.Request) -> Any:
            return "x"

    owner = Owner()
    client, port, reference = Client(owner.server), owner.server.port, weakref.ref(owner)
    assert client.chat().choices[0].message.content == "x"
    client.close()
    del owner, client
    until(lambda: gc.collect() >= 0 and reference() is None)
    assert refuses(port)


def test_requests_leave_no_references() -> None:
    class Marker:
        pass

    markers: list[weakref.ref[Marker]] = []

    def handler(request: burble.Request) -> Any:
        marker = Marker()
        markers.append(weakref.ref(marker))
        request.headers["marker"] = marker  # type: ignore[assignment]
        return "x"

    with serving(handler) as (_, client):
        for _ in range(20):
            client.chat()
        until(lambda: gc.collect() >= 0 and not any(marker() for marker in markers))
        assert len(markers) == 20


def test_many_threads_ask_open_and_close() -> None:
    """What closes a server, adds and removes models, and what asks, at the same time."""
    errors: list[BaseException] = []

    def ask_often(port: int) -> None:
        with httpx.Client(trust_env=False, timeout=SOON) as http:
            for _ in range(20):
                with contextlib.suppress(httpx.HTTPError, OSError):
                    http.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=BODY)

    def change(server: burble.Server) -> None:
        try:
            for i in range(50):
                server.add_model(f"m{i}", lambda request: "y")
                server.remove_model(f"m{i}")
        except burble.Error:
            pass
        except BaseException as error:
            errors.append(error)

    for _ in range(3):
        server = burble.Server(lambda request: written(), port=0)
        server.start()
        threads = [threading.Thread(target=ask_often, args=(server.port,)) for _ in range(4)]
        threads.append(threading.Thread(target=change, args=(server,)))
        for thread in threads:
            thread.start()
        until(lambda server=server: server.stats.requests > 10)
        server.close()
        for thread in threads:
            thread.join(SOON)
    assert errors == []


# ---- what handlers do to their server ------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_exit_in_handler_fails_its_request_alone(kind: str, error: type[BaseException]) -> None:
    def leave(request: burble.Request) -> Any:
        if request.parameters.get("max_tokens") == 1:
            raise error
        return "x"

    async def leave_in_loop(request: burble.Request) -> Any:
        return leave(request)

    with serving(leave if kind == "thread" else leave_in_loop) as (_, client):
        for _ in range(3):
            with pytest.raises(openai.InternalServerError, match=error.__name__):
                client.chat(max_tokens=1)
            assert client.chat().choices[0].message.content == "x"


@pytest.mark.parametrize("kind", ["own loop", "loop of owner", "awaited"])
def test_async_handler_may_close_its_server(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[burble.Server] = []

    async def handler(request: burble.Request) -> Any:
        if kind == "awaited":
            await servers[0].aclose()
        else:
            servers[0].close()
        return "x"

    async def main() -> None:
        async with burble.Server(handler, port=0) as server:
            servers.append(server)
            with pytest.raises(httpx.HTTPError):
                await ask(server.url)

    if kind == "loop of owner":
        asyncio.run(main())
        return
    # If it waited for itself, the test would time out.
    monkeypatch.setattr(burble._host, "_HANDLER_TIMEOUT", 1e6)
    with serving(handler) as (server, client):
        servers.append(server)
        with pytest.raises(httpx.HTTPError):
            client.post(BODY)
        until(lambda: not server._loop._thread.is_alive())  # type: ignore[union-attr]


def test_model_removed_while_it_answers_lets_answer_end() -> None:
    handler = Open("one")
    with serving(handler, models={"other": lambda request: "x"}) as (server, client):
        stream = client.chat(stream=True)
        texts = (text for chunk in stream if (text := text_of([chunk])))
        assert next(texts) == "one"
        server.remove_model("default")
        with pytest.raises(openai.NotFoundError):
            client.chat()
        handler.writers[0].put_text("two")
        assert next(texts) == "two"
        handler.writers[0].end()
        assert list(texts) == []


def test_removed_model_is_freed() -> None:
    with serving(lambda request: "x") as (server, client):
        for asked in (False, True):
            handler = Open("one")
            reference = weakref.ref(handler)
            server.add_model("m", handler)
            stream = client.chat(model="m", stream=True) if asked else None
            if stream is not None:
                next(iter(stream))
            server.remove_model("m")
            with pytest.raises(ValueError, match="a model already"):
                server.add_model("default", handler)
            del handler
            if stream is not None:
                assert server.stats.running == 1
                assert gc.collect() >= 0
                assert reference() is not None
                stream.close()
            until(lambda freed=reference: server.stats and gc.collect() >= 0 and freed() is None)


def test_server_deleted_without_close_leaves_no_threads() -> None:
    kept: list[burble.ChannelWriter] = []

    async def handler(request: burble.Request) -> Any:
        writer, stream = burble.channel(total_timeout=1000.0)
        writer.put_text("one")
        kept.append(writer)
        return stream

    before = set(threading.enumerate())
    server = burble.Server(handler, port=0, access_log=True)
    server.start()
    client = Client(server)
    stream = client.chat(stream=True)
    next(iter(stream))
    threads = set(threading.enumerate()) - before
    assert {thread.name for thread in threads} >= {
        "burble-access",
        "burble-deadlines",
        "burble-handlers",
    }
    del server
    gc.collect()
    until(lambda: not any(thread.is_alive() for thread in threads))
    client.close()


def test_call_in_worker_of_closing_server_does_not_block() -> None:
    """Closing waits for the worker; so what Python does there must not wait for the close."""
    for _ in range(300):
        entered = threading.Event()
        server = _core.Server("127.0.0.1", {"port": 0, "drain_delay": 0}, (), (), (), 64)

        def take(answer: Any, facts: Any, server: Any = server, entered: Any = entered) -> None:
            entered.set()
            while not server.closed:
                assert server.port >= 0

        server.add_handler("default", take, None, True, 0)
        server.start()
        with socket.create_connection(("127.0.0.1", server.port), SOON) as connection:
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n"
                b'{"prompt":""}'
            )
            assert entered.wait(SOON)
            server.close()


# ---- no Python for tokens ----------------------------------------------------------------------

CLIENT = """
import json, socket, sys
body = json.dumps({"model": "default", "prompt": "", "stream": True}).encode()
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(b"POST /v1/completions HTTP/1.1\\r\\nHost: localhost\\r\\n"
                   b"Content-Type: application/json\\r\\n"
                   b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
data = b""
while b"[DONE]" not in data:
    more = connection.recv(65536)
    assert more
    data += more
    if b"first" in more:
        print("first", flush=True)
print(data.count(b"text_completion"), flush=True)
"""


def test_text_is_sent_while_gil_is_held() -> None:
    """A thread holds the GIL until the client has all that was written before."""
    import ctypes

    class Descriptor(ctypes.Structure):
        _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("found", ctypes.c_short))

    handler = Open("first")
    poll = ctypes.PyDLL(None).poll  # which keeps the GIL
    with serving(handler) as (server, _):
        with subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(server.port)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "first\n"
            for _ in range(1000):
                handler.writers[0].put_text("x")
            handler.writers[0].end()
            said = Descriptor(process.stdout.fileno(), select.POLLIN, 0)
            assert poll(ctypes.byref(said), 1, int(SOON * 1000)) == 1
            assert int(process.stdout.readline()) == 1002


def test_burst_of_requests_is_answered() -> None:
    async def main() -> None:
        async with burble.Server(lambda request: written(), port=0, workers=4) as server:
            answers = await asyncio.gather(*(ask(server.url) for _ in range(50)))
            assert {answer.status_code for answer in answers} == {200}
            await until_in_loop(lambda: server.stats.running == 0)

    asyncio.run(main())


def test_body_of_request_is_parsed_once() -> None:
    found: list[Any] = []

    def handler(request: burble.Request) -> Any:
        found.append((request.body, request.body is request.body))
        return "x"

    with serving(handler) as (_, client):
        client.http.post("/v1/chat/completions", content=json.dumps(BODY))
    assert found == [(BODY, True)]
