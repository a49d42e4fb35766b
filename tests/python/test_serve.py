# SPDX-License-Identifier: MIT
"""burble.Server: requests become handlers' calls, and their streams the answers; with the real
client of OpenAI's API."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import SOON, until

import burble
from burble import _core, _server

httpx = pytest.importorskip("httpx")
openai = pytest.importorskip("openai")

pytestmark = pytest.mark.skipif(
    not hasattr(_core, "Server"), reason="this burble was built without a server"
)

PIECES = ["Once", " upon\n", "a time \u2603", " ", "😀"]
MESSAGES = [{"role": "user", "content": "Tell me."}]


def written(pieces: list[str] = PIECES, reason: str = "stop") -> burble.Stream[str]:
    writer, stream = burble.channel()
    for piece in pieces:
        writer.put_text(piece)
    writer.end(reason)
    return stream


class Open:
    """A handler whose streams do not end by themselves; it keeps what it has."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.requests: list[burble.Request] = []
        self.writers: list[burble.ChannelWriter] = []
        self.streams: list[burble.Stream[str]] = []

    def __call__(self, request: burble.Request) -> burble.Stream[str]:
        writer, stream = burble.channel()
        for piece in self.pieces:
            writer.put_text(piece)
        self.requests.append(request)
        self.writers.append(writer)
        self.streams.append(stream)
        return stream


class Client:
    def __init__(self, server: burble.Server, key: str = "none") -> None:
        self.http = httpx.Client(trust_env=False, timeout=SOON, base_url=server.url)
        self.openai = openai.OpenAI(
            base_url=f"{server.url}/v1",
            api_key=key,
            max_retries=0,
            http_client=httpx.Client(trust_env=False, timeout=SOON),
        )

    def chat(self, **options: Any) -> Any:
        return self.openai.chat.completions.create(
            **{"model": "default", "messages": MESSAGES, **options}
        )

    def post(self, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Any:
        return self.http.post(path, json=body, headers=headers)

    def close(self) -> None:
        self.http.close()
        self.openai.close()


@contextlib.contextmanager
def serving(handler: Any, key: str = "none", **options: Any) -> Iterator[tuple[Any, Client]]:
    with burble.Server(handler, port=0, **options) as server:
        client = Client(server, key)
        try:
            yield server, client
        finally:
            client.close()


def text_of(chunks: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# ---- answers -----------------------------------------------------------------------------------


def test_client_gets_whole_chat() -> None:
    with serving(lambda request: written(reason="length")) as (_, client):
        answer = client.chat()
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("".join(PIECES), "length")
    assert answer.model == "default"


def test_client_streams_chat_with_usage() -> None:
    def handler(request: burble.Request) -> Any:
        request.prompt_tokens = 7
        return written()

    with serving(handler) as (_, client):
        chunks = list(client.chat(stream=True, stream_options={"include_usage": True}))
    assert text_of(chunks) == "".join(PIECES)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.prompt_tokens == 7
    assert chunks[-1].usage.completion_tokens == len(PIECES)


@pytest.mark.parametrize("count", [-1, 2**32, 2**63, 2**64, 10**400, "7", 1.5])
def test_prompt_tokens_that_are_no_count_fail_at_once(
    count: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at the end of the answer, whose usage nobody could read."""
    handler = Open("a")

    def count_wrongly(request: burble.Request) -> Any:
        request.prompt_tokens = count
        return handler(request)

    with serving(count_wrongly) as (_, client):
        answer = client.post({"model": "default", "messages": MESSAGES})
    assert answer.status_code == 500
    assert "the handler failed" in answer.json()["error"]["message"]
    assert handler.streams[0].state == "cancelled"
    assert "prompt_tokens" in caplog.text or "TypeError" in caplog.text


def test_client_gets_completion() -> None:
    prompts: list[Any] = []

    def handler(request: burble.Request) -> Any:
        prompts.append((request.chat, request.prompt, request.ids))
        return written()

    with serving(handler) as (_, client):
        answer = client.openai.completions.create(model="default", prompt="Tell me.")
        client.openai.completions.create(model="default", prompt=[1, 2])
    assert answer.choices[0].text == "".join(PIECES)
    assert prompts == [(False, "Tell me.", None), (False, None, [1, 2])]


@pytest.mark.parametrize(
    "answer",
    [
        lambda: "".join(PIECES),
        lambda: (piece for piece in PIECES),
        lambda: [written()],
        lambda: written(),
    ],
    ids=["str", "generator", "list", "stream"],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_handler_may_return(answer: Any, streamed: bool) -> None:
    with serving(lambda request: answer()) as (_, client):
        found = client.chat(stream=streamed)
        text = text_of(found) if streamed else found.choices[0].message.content
    assert text == "".join(PIECES)


def two_rows(streamer: Any) -> None:
    streamer.put([1, 2])
    streamer.put([3, 4])


@pytest.mark.parametrize("kind", ["batch", "list"])
def test_choices_are_rows_or_streams(kind: str) -> None:
    def handler(request: burble.Request) -> Any:
        assert request.n == 2
        if kind == "list":
            return [written(["a", "c"]), written(["b", "d"])]
        return burble.stream(two_rows, tokenizer=[b"", b"a", b"b", b"c", b"d"], batch=2)

    with serving(handler) as (_, client):
        whole = client.chat(n=2)
        texts = ["", ""]
        for chunk in client.chat(n=2, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    assert [choice.message.content for choice in whole.choices] == ["ac", "bd"]
    assert texts == ["ac", "bd"]


def test_text_comes_as_it_is_written() -> None:
    handler = Open("one")
    with serving(handler) as (_, client):
        stream = client.chat(stream=True)
        texts = (text for chunk in stream if (text := text_of([chunk])))
        for piece in ("one", "two", "three"):  # each only once the one before has arrived
            assert next(texts) == piece
            if piece != "three":
                handler.writers[0].put_text({"one": "two", "two": "three"}[piece])
        handler.writers[0].end()
        assert list(texts) == []


def test_prompt_of_generate_is_counted() -> None:
    np = pytest.importorskip("numpy")

    def generate(streamer: Any, input_ids: Any) -> None:
        streamer.put(input_ids)
        streamer.put([1])

    def handler(request: burble.Request) -> Any:
        ids = np.array([[1, 2, 1]])
        return burble.stream(generate, input_ids=ids, tokenizer=[b"", b"one", b"two"])

    with serving(handler) as (_, client):
        usage = client.chat().usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 1)


# ---- requests ----------------------------------------------------------------------------------


def test_request_says_what_client_asks() -> None:
    handler = Open()
    body = {
        "model": "default",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "☃"}], "name": "me"},
        ],
        "max_tokens": 5,
        "temperature": 0.5,
        "seed": 3,
        "stop": "\n",
        "logit_bias": {"7": -100},
        "ignore_eos": True,
        "stream": True,
        "my_own": {"a": 1},
    }
    with serving(handler) as (_, client):
        headers = {"X-Request-Id": "r1", "Authorization": "Bearer x", "X-Mine": "1"}
        thread = threading.Thread(
            target=lambda: client.post(body, **headers),
        )
        thread.start()
        until(lambda: handler.writers)
        handler.writers[0].end()
        thread.join(SOON)
    (request,) = handler.requests
    assert request.chat
    assert request.model == "default"
    assert request.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "☃", "name": "me"},
    ]
    assert request.parameters == {
        "max_tokens": 5,
        "temperature": 0.5,
        "seed": 3,
        "stop": ["\n"],
        "logit_bias": {7: -100.0},
        "ignore_eos": True,
    }
    assert type(request.parameters["max_tokens"]) is int
    assert request.parameters["ignore_eos"] is True
    assert (request.prompt, request.ids, request.n) == (None, None, 1)
    assert (request.streamed, request.resumable) == (True, False)
    assert request.body["my_own"] == {"a": 1}
    assert request.request_id == "r1"
    assert request.headers["x-mine"] == "1"
    assert "authorization" not in request.headers
    assert request.id.startswith("chatcmpl-")
    assert repr(request) == "<burble.Request r1: chat for 'default'>"


def test_request_without_parameter_that_handlers_honour_is_refused() -> None:
    with serving(lambda request: "x", parameters=["max_tokens"]) as (_, client):
        assert client.chat(max_tokens=3).choices[0].message.content == "x"
        with pytest.raises(openai.BadRequestError, match="temperature") as caught:
            client.chat(temperature=0.5)
        assert caught.value.param == "temperature"


def test_several_choices_are_a_parameter_that_handlers_honour() -> None:
    with serving(lambda request: "x", parameters=["max_tokens"]) as (_, client):
        assert client.chat(n=1).choices[0].message.content == "x"  # as clients send it
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat(n=2)
        assert caught.value.param == "n"


def test_prompts_alone_refuse_chats() -> None:
    with serving(lambda request: "x", chat=False) as (_, client):
        with pytest.raises(openai.BadRequestError):
            client.chat()
        assert client.openai.completions.create(model="default", prompt="a").choices[0].text == "x"


def test_models_have_handlers_by_name() -> None:
    models = {"a": lambda request: "of a", "b": lambda request: "of b"}
    with serving(None, models=models) as (server, client):
        assert client.chat(model="b").choices[0].message.content == "of b"
        assert [model.id for model in client.openai.models.list()] == ["a", "b"]
        server.add_model("c", lambda request: request.model, context=100)
        assert client.chat(model="c").choices[0].message.content == "c"
        server.remove_model("a")
        with pytest.raises(openai.NotFoundError):
            client.chat(model="a")
        with pytest.raises(KeyError, match="the server has no model 'a'"):
            server.remove_model("a")
        with pytest.raises(ValueError, match="c"):
            server.add_model("c", lambda request: "x")


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False])
def test_exception_of_handler_is_500_with_its_type_alone(
    streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(request: burble.Request) -> Any:
        raise OSError("secret")

    with serving(handler) as (_, client):
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat(stream=streamed)
    assert caught.value.status_code == 500
    assert "the handler failed: OSError" in str(caught.value)
    assert "secret" not in str(caught.value)
    (record,) = caplog.records
    assert (record.name, record.exc_info is not None) == ("burble", True)
    assert "secret" in caplog.text


@pytest.mark.parametrize("status", [400, 429, 503])
def test_request_error_is_what_client_gets(status: int, caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: burble.Request) -> Any:
        raise burble.RequestError("not like this", status=status, param="prompt")

    with serving(handler) as (_, client):
        response = client.post({"model": "default", "messages": MESSAGES})
    assert response.status_code == status
    assert response.json()["error"]["message"] == "prompt: not like this"
    if status == 400:
        assert response.json()["error"]["param"] == "prompt"
    else:
        assert "retry-after" in response.headers
    assert not caplog.records


@pytest.mark.parametrize("asynchronous", [True, False])
def test_request_error_with_any_text_reaches_client(asynchronous: bool) -> None:
    def handler(request: burble.Request) -> Any:
        raise burble.RequestError("a\0b\ud83d \u2603")

    async def task(request: burble.Request) -> Any:
        return handler(request)

    with serving(task if asynchronous else handler) as (_, client):
        response = client.post({"model": "default", "messages": MESSAGES})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "a\ufffdb? \u2603"


def test_request_error_has_three_statuses() -> None:
    with pytest.raises(ValueError, match="status: expected 400, 429 or 503, found 404"):
        burble.RequestError("x", status=404)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: None, "found NoneType"),
        (lambda: 3, "found int"),
        (list, "found list"),
        (lambda: ["x"], "expected a list of streams, found str in it"),
        (lambda: burble.iterate([1]), "expected a stream of text, found one of objects"),
        (lambda: [written(), written()], "expected 1 stream\\(s\\), one for each choice, found 2"),
    ],
)
def test_nonsense_of_handler_is_500_and_logged(
    answer: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(lambda request: answer()) as (_, client):
        with pytest.raises(openai.InternalServerError):
            client.chat()
    assert len(caplog.records) == 1
    with pytest.raises(Exception, match=said):
        raise caplog.records[0].exc_info[1]


def test_generation_that_fails_before_text_is_500_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(streamer: Any) -> None:
        raise OSError("secret")

    def handler(request: burble.Request) -> Any:
        return burble.stream(broken, tokenizer=[b"a"])

    with serving(handler) as (_, client):
        with pytest.raises(openai.InternalServerError, match="the generation failed: OSError"):
            client.chat(stream=True)
    assert caplog.text.count("OSError: secret") == 1


def test_generation_that_fails_in_mid_stream_raises_in_client() -> None:
    handler = Open("so", " far")
    with serving(handler) as (_, client):
        stream = client.chat(stream=True)
        got = ""
        with pytest.raises(openai.APIError, match="the generation failed: OSError"):  # noqa: PT012
            for chunk in stream:
                got += text_of([chunk])
                if got == "so far":
                    handler.writers[0].fail(OSError("secret"))
    assert got == "so far"


def test_timeout_of_generation_is_504() -> None:
    def handler(request: burble.Request) -> Any:
        writer, stream = burble.channel()
        writer.fail(burble.TotalTimeout("after 3 s"))
        return stream

    with serving(handler) as (_, client):
        response = client.post({"model": "default", "messages": MESSAGES})
    assert "after 3 s" in response.json()["error"]["message"]


# ---- clients that leave ------------------------------------------------------------------------


def test_client_that_leaves_cancels_stream() -> None:
    handler = Open("one")
    with serving(handler) as (_, client):
        stream = client.chat(stream=True)
        next(iter(stream))
        stream.close()
        until(lambda: handler.writers[0].cancelled)
        until(lambda: handler.requests[0].cancelled)


def test_client_that_leaves_while_handler_runs_is_noticed() -> None:
    found: list[Any] = []
    began = threading.Event()

    def handler(request: burble.Request) -> Any:
        assert not request.cancelled
        assert not request.wait_cancelled(0.01)
        began.set()
        found.append(request.wait_cancelled(SOON))
        stream = written()
        found.append(stream)
        return stream

    with serving(handler) as (server, _client):
        leave_at(server, began)
        until(lambda: len(found) == 2)
        assert found[0] is True


def leave_at(server: burble.Server, event: threading.Event) -> None:
    """Ask, and leave once ``event`` is set."""
    body = json.dumps({"model": "default", "messages": MESSAGES}).encode()
    with socket.create_connection(("127.0.0.1", server.port), SOON) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert event.wait(SOON)


def test_client_that_leaves_while_request_waits_calls_no_handler() -> None:
    calls: list[burble.Request] = []
    gate, entered = threading.Event(), threading.Event()

    def handler(request: burble.Request) -> Any:
        calls.append(request)
        entered.set()
        gate.wait(SOON)
        return "x"

    with serving(handler, workers=1) as (server, client):
        try:
            first = threading.Thread(target=client.chat)
            first.start()
            assert entered.wait(SOON)
            waiting = threading.Event()
            second = threading.Thread(target=leave_at, args=(server, waiting))
            second.start()
            until(lambda: server._pool.waiting == 1)
            waiting.set()
            second.join(SOON)
            until(lambda: server._pool.waiting == 0)  # it is gone
        finally:
            gate.set()
        first.join(SOON)
        assert client.chat().choices[0].message.content == "x"
    assert len(calls) == 2


# ---- bounds ------------------------------------------------------------------------------------


def test_more_answers_than_allowed_are_429() -> None:
    handler = Open("one")
    with serving(handler, max_answers=2) as (_, client):
        streams = [client.chat(stream=True) for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="2 answers run or wait already") as caught:
            client.chat(stream=True)
        assert "retry-after" in caught.value.response.headers
        handler.writers[0].end()
        assert text_of(streams[0]) == "one"
        until(lambda: handler.streams[0].state == "ended")
        client.chat(stream=True).close()
        streams[1].close()


def test_handlers_run_in_so_many_threads() -> None:
    running: set[int] = set()
    most = 0
    gate = threading.Event()

    def handler(request: burble.Request) -> Any:
        nonlocal most
        running.add(threading.get_ident())
        most = max(most, len(running))
        gate.wait(SOON)
        running.discard(threading.get_ident())
        return "x"

    with serving(handler, workers=3) as (server, client):
        threads = [threading.Thread(target=client.chat) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: len(running) == 3 and server._pool.waiting == 5)
        gate.set()
        for thread in threads:
            thread.join(SOON)
    assert most == 3


def test_options_of_server_are_those_of_library() -> None:
    header = (Path(__file__).resolve().parents[2] / "include/burble/serve.h").read_text()
    struct = header[header.index("typedef struct burble_server_options") :]
    struct = struct[: struct.index("} burble_server_options;")]
    struct = re.sub(r"/\*.*?\*/", "", struct, flags=re.DOTALL)
    members = set(re.findall(r"\b(?:uint(?:16|32|64)_t|int)\s+(\w+);", struct))
    parameters = {"port"}  # of Server() itself
    assert set(_server.ServerOptions.__annotations__) == members - parameters


def test_keys_are_asked_for_and_replaced() -> None:
    with serving(lambda request: "x", key="k1", api_keys=["k1", "k2"]) as (server, client):
        assert client.chat().choices[0].message.content == "x"
        server.set_keys(["k3"])
        with pytest.raises(openai.AuthenticationError):
            client.chat()


def test_page_can_be_left_out() -> None:
    with serving(lambda request: "x") as (_, client):
        assert client.http.get("/").status_code == 200
    with serving(lambda request: "x", page=False) as (_, client):
        assert client.http.get("/").status_code == 404


def test_stats_count_requests() -> None:
    handler = Open("one")
    with serving(handler) as (server, client):
        stream = client.chat(stream=True)
        next(iter(stream))
        assert (server.stats.running, server.stats.streaming) == (1, 1)
        assert server.stats.connections >= 1
        handler.writers[0].end()
        list(stream)
        until(lambda: server.stats.running == 0)
        assert server.stats.requests == 1
    assert set(server.stats) == {0}


def test_access_log_has_line_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "burble.access")
    with serving(lambda request: "x", access_log=True) as (_, client):
        client.post({"model": "default", "messages": MESSAGES}, **{"X-Request-Id": 'r"1'})
        client.http.get("/no/\u2603")
        until(lambda: len(caplog.records) == 2)
    fields = [record.request for record in caplog.records]
    assert [found["status"] for found in fields] == [200, 404]
    assert fields[0]["path"] == "/v1/chat/completions"
    assert fields[0]["model"] == "default"
    assert fields[0]["tokens"] == 1
    assert 0 < fields[0]["total"] < SOON


def test_access_log_has_no_field_of_a_client_s_making(caplog: pytest.LogCaptureFixture) -> None:
    """Also not by the character that stands between its fields on the way to Python."""
    caplog.set_level("INFO", "burble.access")
    with serving(lambda request: "x", access_log=True) as (_, client):
        client.http.get("/a%1fb%0a%1b[31m")
        client.http.get("/health")
        until(lambda: len(caplog.records) == 2)
    fields = [record.request for record in caplog.records]
    assert [found["path"] for found in fields] == ["/a?b??[31m", "/health"]
    assert [found["status"] for found in fields] == [404, 200]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"nonsense": 1}, TypeError, r"Server\(\) got an unexpected keyword argument 'nonsense'"),
        ({"port": -1}, ValueError, "port: expected at least 0, found -1"),
        ({"port": 70000}, ValueError, "port: expected at most 65535, found 70000"),
        ({"workers": 0}, ValueError, "workers: expected at least 1, found 0"),
        ({"max_answers": 0}, ValueError, "max_answers: expected at least 1, found 0"),
        ({"idle_timeout": "1"}, TypeError, "idle_timeout: expected seconds, found '1'"),
        ({"loops": 65}, ValueError, "loops"),
        ({"api_keys": "key"}, TypeError, "api_keys: expected a list of strings, found a str"),
        ({"api_keys": [3]}, TypeError, "api_keys: expected strings, found 3"),
        ({"api_keys": ["a\0b"]}, ValueError, "without NUL"),
        ({"parameters": ["nonsense"]}, ValueError, "'nonsense' is not a parameter of a request"),
        ({"model": ""}, ValueError, "name"),
    ],
)
def test_invalid_options_are_refused(options: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        burble.Server(lambda request: "x", **options)


def test_handler_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="model 'default': expected a function, found str"):
        burble.Server("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs a handler, or models="):
        burble.Server()


def test_port_that_is_taken_is_oserror() -> None:
    with serving(lambda request: "x") as (server, _):
        another = burble.Server(lambda request: "x", port=server.port)
        with pytest.raises(OSError, match=str(server.port)):
            another.start()
        another.close()
