# SPDX-License-Identifier: MIT
"""HTTP at its edges: what clients may send, what is refused, and that nobody else notices."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from wire import PROGRAM, Server, chat, completion, events, numbered, serving, text_of

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"needs {PROGRAM}"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--max-header", 4096, "--max-body", 65536) as running:
        yield running


# ---- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["numbers", "plain"])
def test_streamed_chat_has_role_text_reason_and_done(server: Server, model: str) -> None:
    reply = server.ask("POST", "/v1/chat/completions", chat("a", stream=True, model=model))
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert len(reply.headers["burble-stream"]) == 32
    found = events(reply.body)
    assert found[-1] == {"data": "[DONE]"}
    choices = [json.loads(event["data"])["choices"][0] for event in found[:-1]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert choices[-1]["delta"] == {}
    assert choices[-1]["finish_reason"] == "length"
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    assert text.partition(" ")[2] == numbered("a", 3)


@pytest.mark.parametrize("model", ["numbers", "plain"])
def test_whole_completion_has_text_reason_and_usage(server: Server, model: str) -> None:
    reply = json.loads(server.ask("POST", "/v1/completions", completion("b", model=model)).body)
    assert reply["choices"][0]["text"].partition(" ")[2] == numbered("b", 3)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("model", ["numbers", "plain"])
def test_several_choices_have_their_texts(server: Server, model: str) -> None:
    body = completion("c", n=3, model=model)
    reply = json.loads(server.ask("POST", "/v1/completions", body).body)
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert all(choice["text"].endswith(numbered("c", 3)) for choice in reply["choices"])


@pytest.mark.parametrize("model", ["numbers", "plain"])
@pytest.mark.parametrize("resumable", ["true", "false"])
def test_echo_comes_before_the_text(server: Server, model: str, resumable: str) -> None:
    prompt = 'p\u00e9"' * 1000
    body = completion(prompt, n=2, echo=True, model=model)
    header = f"Burble-Resumable: {resumable}\r\n"
    reply = json.loads(server.ask("POST", "/v1/completions", body, headers=header).body)
    for choice in reply["choices"]:
        assert choice["text"].startswith(prompt)
        assert choice["text"].endswith(numbered(prompt, 3))
    assert reply["usage"]["completion_tokens"] == 6
    streamed = server.ask("POST", "/v1/completions", {**body, "n": 1, "stream": True})
    assert text_of(streamed.body).startswith(prompt)
    several = server.ask("POST", "/v1/completions", {**body, "prompt": ["a", "b"]})
    assert several.error["message"].startswith("prompt: expected one prompt for the model")


def test_keep_alive_serves_many_requests_on_one_connection(server: Server) -> None:
    with server.connect() as client:
        for i in range(5):
            assert client.ask("GET", "/health").status == 200
            streamed = client.ask("POST", "/v1/completions", completion(f"k{i}", stream=True))
            assert text_of(streamed.body).endswith(numbered(f"k{i}", 3))


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(server: Server) -> None:
    with server.connect() as client:
        client.request("POST", "/v1/completions", completion(stream=True), version="1.0")
        reply = client.response()
    assert "transfer-encoding" not in reply.headers
    assert reply.headers["connection"] == "close"
    assert events(reply.body)[-1] == {"data": "[DONE]"}


def test_http_1_0_keep_alive(server: Server) -> None:
    with server.connect() as client:
        for _ in range(2):
            reply = client.ask(
                "GET", "/health", headers="Connection: keep-alive\r\n", version="1.0"
            )
            assert reply.headers["connection"] == "keep-alive"
        assert client.ask("GET", "/health", version="1.0").headers["connection"] == "close"
        assert client.rest() == b""


def test_connection_close_is_honoured(server: Server) -> None:
    with server.connect() as client:
        reply = client.ask("GET", "/health", headers="Connection: close\r\n")
        assert reply.headers["connection"] == "close"
        assert client.rest() == b""


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/", "/ready"])
def test_head_has_the_headers_of_get_and_no_body(server: Server, path: str) -> None:
    with server.connect() as client:
        got = client.ask("GET", path)
        head = client.ask("HEAD", path)
        assert head.headers["content-length"] == got.headers["content-length"]
        assert client.ask("GET", "/health").status == 200


def test_expect_100_continue_is_answered_before_the_body(server: Server) -> None:
    body = json.dumps(completion()).encode()
    with server.connect() as client:
        client.send(
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        assert client.head().status == 100
        client.send(body)
        assert client.response().status == 200


def test_expect_100_continue_for_a_refused_request_gets_the_refusal(server: Server) -> None:
    with server.connect() as client:
        client.send(
            "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            "Content-Length: 10\r\n\r\n"
        )
        assert client.response().status == 404
        assert client.rest() == b""


def test_other_expectation_gets_417(server: Server) -> None:
    assert server.ask("GET", "/health", headers="Expect: tea\r\n").status == 417


def test_chunked_body_is_read(server: Server) -> None:
    body = json.dumps(completion("d")).encode()
    with server.connect() as client:
        client.send(
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for i in range(0, len(body), 7):
            part = body[i : i + 7]
            client.send(b"%x;ignored=1\r\n%s\r\n" % (len(part), part))
        client.send("0\r\nTrailer: is ignored\r\n\r\n")
        assert client.response().status == 200
        assert client.ask("GET", "/health").status == 200


def test_absolute_target_is_accepted(server: Server) -> None:
    assert server.ask("GET", "http://test/health?x=1").status == 200


def test_offer_of_http_2_is_left(server: Server) -> None:
    headers = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with server.connect() as client:
        assert client.ask("GET", "/health", headers=headers).status == 200
        assert client.ask("POST", "/v1/completions", completion(), headers=headers).status == 200


def test_every_split_of_a_request_is_read_alike(server: Server) -> None:
    body = json.dumps(completion("é")).encode()
    whole = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    ) + body
    with server.connect() as client:
        for at in range(1, len(whole)):
            client.send(whole[:at])
            client.send(whole[at:])
            assert client.response().status == 200


# ---- pipelining ---------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    count = 20
    with server.connect() as client:
        for i in range(count):
            client.request("POST", "/v1/completions", completion(f"p{i}", stream=i % 2 == 0))
            client.request("GET", "/health")
        for i in range(count):
            reply = client.response()
            text = (
                text_of(reply.body) if i % 2 == 0 else json.loads(reply.body)["choices"][0]["text"]
            )
            assert text.endswith(numbered(f"p{i}", 3))
            assert client.response().body == b'{"status":"ok"}\n'


def test_pipelined_requests_in_one_segment_are_all_answered(server: Server) -> None:
    with server.connect() as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
        for _ in range(1000):
            assert client.response().status == 200


# ---- refusals -----------------------------------------------------------------------------------

SMUGGLED = [
    ("two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    ("two other lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
    ("length with chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked with length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("xchunked", "Transfer-Encoding: xchunked\r\n"),
    ("chunked and more", "Transfer-Encoding: chunked, identity\r\n"),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
    ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("space before colon", "Content-Length : 5\r\n"),
    ("plus", "Content-Length: +5\r\n"),
    ("minus", "Content-Length: -5\r\n"),
    ("space in length", "Content-Length: 5 5\r\n"),
    ("hexadecimal length", "Content-Length: 0x5\r\n"),
    ("list of lengths", "Content-Length: 5, 5\r\n"),
    ("huge length", "Content-Length: 99999999999999999999999\r\n"),
    ("empty length", "Content-Length: \r\n"),
    ("folded header", "X: a\r\n b\r\nContent-Length: 5\r\n"),
    ("bare LF", "X: a\nContent-Length: 5\r\n"),
    ("bare CR", "X: a\rContent-Length: 5\r\n"),
    ("NUL in a value", "X: a\0b\r\n"),
    ("no colon", "X\r\n"),
    ("no name", ": a\r\n"),
    ("space in a name", "X Y: a\r\n"),
    ("two hosts", "Host: other\r\n"),
]


@pytest.mark.parametrize("headers", [h for _, h in SMUGGLED], ids=[n for n, _ in SMUGGLED])
def test_smuggling_attempt_gets_400_and_the_end(server: Server, headers: str) -> None:
    with server.connect() as client:
        client.send(
            f"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
            "0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        reply = client.response()
        assert reply.status == 400
        assert reply.headers["connection"] == "close"
        assert reply.error["type"] == "invalid_request_error"
        assert client.rest() == b""


CHUNKED = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /hea lth HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"get /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"+5\r\nhello\r\n",
        CHUNKED + b"5 \r\nhello\r\n",
        CHUNKED + b"5\r\nhelloX\r\n",
        CHUNKED + b"5\nhello\r\n",
        b"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request_get_400_and_the_end(server: Server, data: bytes) -> None:
    with server.connect() as client:
        client.send(data)
        reply = client.response()
        assert reply.status == 400
        assert client.rest() == b""


@pytest.mark.parametrize(
    "line", ["GET /health", *(f"GET / HTTP/{version}" for version in ("0.9", "1.2", "2.0", "3.0"))]
)
def test_other_version_is_refused(server: Server, line: str) -> None:
    with server.connect() as client:
        client.send(f"{line}\r\nHost: localhost\r\n\r\n")
        assert client.response().status in (400, 505)
        assert client.rest() == b""


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST, OPTIONS"),
        ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/health", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/streams/00000000000000000000000000000000", "GET, HEAD, DELETE, OPTIONS"),
    ],
)
def test_wrong_method_gets_405_with_allow(
    server: Server, method: str, path: str, allow: str
) -> None:
    reply = server.ask(method, path)
    assert reply.status == 405
    assert reply.headers["allow"] == allow


def test_connect_is_refused(server: Server) -> None:
    with server.connect() as client:
        client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert client.response().status in (400, 405)
        assert client.rest() == b""


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/v1",
        "/v1/models/none",
        "/page/../../etc/passwd",
        "/page/%2e%2e",
        "/%00",
        "/%ff",
    ],
)
def test_unknown_path_gets_404(server: Server, path: str) -> None:
    reply = server.ask("GET", path)
    assert reply.status == 404
    assert reply.error["message"]


def test_unknown_model_gets_404_with_its_name(server: Server) -> None:
    reply = server.ask("POST", "/v1/completions", completion(model="gpt-9"))
    assert reply.status == 404
    assert reply.error["code"] == "model_not_found"
    assert "/v1/models" in reply.error["message"]
    assert "gpt-9" in reply.error["message"]


@pytest.mark.parametrize(
    ("prompt", "status"), [("!refuse", 400), ("!full", 429), ("!closed", 503), ("!fail", 500)]
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["numbers", "plain"])
def test_refusal_of_the_backend_is_a_status(
    server: Server, prompt: str, status: int, stream: bool, model: str
) -> None:
    reply = server.ask("POST", "/v1/completions", completion(prompt, stream=stream, model=model))
    assert reply.status == status
    assert reply.error["message"]
    assert ("retry-after" in reply.headers) == (status in (429, 503))


@pytest.mark.parametrize("model", ["numbers", "plain"])
def test_failure_in_mid_stream_is_an_event_and_no_clean_end(model: str) -> None:
    with serving("--rate", 20) as server, server.connect() as client:
        client.request("POST", "/v1/completions", completion("!break", 9, stream=True, model=model))
        assert client.head().status == 200
        body = client.broken()
    last = json.loads(events(body)[-1]["data"])
    assert last["error"]["message"] == "as the prompt asked"
    assert b"[DONE]" not in body


def test_refused_requests_leave_the_connection_open(server: Server) -> None:
    with server.connect() as client:
        for i in range(300):
            body = [b"{", b'{"model": 3}', b"\xff", b"[]"][i % 4]
            assert client.ask("POST", "/v1/completions", body).status == 400
            assert client.ask("POST", "/nowhere", b"x" * 100).status == 404
        assert client.ask("GET", "/health").status == 200


def test_request_id_is_taken_over_or_made(server: Server) -> None:
    assert server.ask("GET", "/health", headers="X-Request-Id: a-1.b_2\r\n").headers[
        "x-request-id"
    ] == ("a-1.b_2")
    made = {server.ask("GET", "/health").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for bad in ["a b", "<script>", "x" * 65, ""]:
        reply = server.ask("GET", "/health", headers=f"X-Request-Id: {bad}\r\n")
        assert reply.headers["x-request-id"] != bad


# ---- keys, origins ------------------------------------------------------------------------------


def test_key_is_asked_for() -> None:
    with serving("--key", "sk-one", "--key", "sk-two") as server:
        assert server.ask("GET", "/health").status == 200
        assert server.ask("GET", "/").status == 200
        for headers in ["", "Authorization: Bearer sk-on\r\n", "Authorization: Basic sk-one\r\n"]:
            for path in ["/v1/completions", "/tokenize"]:
                reply = server.ask("POST", path, completion(), headers=headers)
                assert reply.status == 401
                assert reply.headers["www-authenticate"] == "Bearer"
                assert reply.error["code"] == "invalid_api_key"
            assert server.ask("GET", "/metrics", headers=headers).status == 401
        for key in ["sk-one", "sk-two"]:
            headers = f"Authorization: Bearer {key}\r\n"
            assert (
                server.ask("POST", "/v1/completions", completion(), headers=headers).status == 200
            )


def test_two_authorizations_are_refused() -> None:
    with serving("--key", "sk-one") as server:
        headers = "Authorization: Bearer x\r\nAuthorization: Bearer sk-one\r\n"
        assert server.ask("GET", "/v1/models", headers=headers).status == 400


def test_page_of_another_origin_is_answered_only_if_allowed() -> None:
    with serving("--origin", "https://good.example") as server:
        for origin, allowed in [("https://good.example", True), ("https://bad.example", False)]:
            preflight = server.ask(
                "OPTIONS",
                "/v1/chat/completions",
                headers=f"Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n"
                "Access-Control-Request-Headers: authorization,content-type\r\n",
            )
            assert preflight.status == 204
            assert ("access-control-allow-origin" in preflight.headers) == allowed
            reply = server.ask("GET", "/v1/models", headers=f"Origin: {origin}\r\n")
            assert ("access-control-allow-origin" in reply.headers) == allowed


def test_form_of_another_page_is_refused() -> None:
    with serving() as server:
        headers = "Origin: https://bad.example\r\nContent-Type: text/plain\r\n"
        assert server.ask("POST", "/v1/completions", completion(), headers=headers).status == 415
        headers = "Origin: https://bad.example\r\n"
        assert server.ask("POST", "/v1/completions", completion(), headers=headers).status == 415


# ---- logs ---------------------------------------------------------------------------------------


def test_log_has_a_line_for_each_request() -> None:
    with serving(log=True) as server:
        with server.connect() as client:
            client.ask("GET", "/health", headers="X-Request-Id: one\r\n")
            assert server.log_line()[:5] == ["one", "GET", "/health", "200", "ok"]
            reply = client.ask(
                "POST", "/v1/completions", completion(), headers="X-Request-Id: two\r\n"
            )
            line = server.log_line()
            assert line[:6] == ["two", "POST", "/v1/completions", "200", "ok", "numbers"]
            assert line[6] == json.loads(reply.body)["id"]
            assert line[7].strip() == "3"
            client.ask("GET", "/nowhere?secret", headers="X-Request-Id: three\r\n")
            assert server.log_line()[:5] == ["three", "GET", "/nowhere", "404", "error"]


def test_log_and_metrics_have_the_tokens_of_a_broken_answer() -> None:
    # !break: it fails after two pieces, of which the first one, "#1 ", counts as no token.
    with serving("--rate", 20, log=True) as server:
        with server.connect() as client:
            client.request("POST", "/v1/completions", completion("!break", stream=True))
            assert client.head().status == 200
            client.broken()
        assert server.log_line()[7].strip() == "1"
        assert counted(server, "burble_generation_tokens_total") == 1


# ---- metrics ------------------------------------------------------------------------------------


def counted(server: Server, name: str) -> float:
    lines = server.ask("GET", "/metrics").body.decode().splitlines()
    (line,) = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
    return float(line.rsplit(" ", 1)[1])


@pytest.mark.parametrize("stream", [True, False])
def test_answer_that_was_read_is_in_the_metrics(stream: bool) -> None:
    with serving() as server:
        for i in range(20):
            server.ask("POST", "/v1/completions", completion(stream=stream))
            assert counted(server, "burble_generation_tokens_total") == 3 * (i + 1)


# ---- texts of errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("POST", "/completion", "there is nothing at /completion; use /v1/completions"),
        ("GET", "/v1/v1/models", "there is nothing at /v1/v1/models; use /v1/models"),
        (
            "POST",
            "/v1/embeddings",
            "there is nothing at /v1/embeddings; clients use /v1/chat/completions, /v1/completions "
            "and /v1/models",
        ),
        ("GET", "/v1/completions", "expected the method POST at this path, found GET"),
        ("PUT", "/v1/streams/x", "expected the method GET or DELETE at this path, found PUT"),
        ("DELETE", "/health", "expected the method GET at this path, found DELETE"),
    ],
)
def test_wrong_path_or_method_says_what_is_right(
    server: Server, method: str, path: str, text: str
) -> None:
    assert server.ask(method, path, {}).error["message"] == text


def test_completions_without_v1_are_answered(server: Server) -> None:
    assert server.ask("POST", "/completions", completion()).status == 200


# ---- hosts --------------------------------------------------------------------------------------


def status_for(server: Server, host: str, method: str = "GET", path: str = "/health") -> int:
    """The status of a request for a host."""
    with server.connect() as client:
        client.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
        return client.response(head_only=method == "HEAD").status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:80", "LOCALHOST."])
def test_loopback_server_answers_its_own_hosts(server: Server, host: str) -> None:
    assert status_for(server, host) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/models"),
        ("POST", "/v1/completions"),
        ("OPTIONS", "/v1/completions"),
        ("HEAD", "/metrics"),
        ("DELETE", "/v1/streams/x"),
    ],
)
def test_loopback_server_refuses_other_hosts(server: Server, method: str, path: str) -> None:
    assert status_for(server, "evil.example:8080", method, path) == 421


def test_refusal_of_a_host_names_it(server: Server) -> None:
    with server.connect() as client:
        client.send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        error = client.response().error
    assert error["param"] == "Host"
    assert error["code"] == "host_not_allowed"
    assert error["message"].endswith('found "evil.example"')


def test_request_without_host_of_http_1_0_is_answered(server: Server) -> None:
    with server.connect() as client:
        client.send("GET /health HTTP/1.0\r\n\r\n")
        assert client.response().status == 200


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (("--key", "secret"), {"localhost", "a.example", "127.0.0.2"}),
        (("--host", "0.0.0.0"), {"localhost", "a.example", "127.0.0.2"}),
        (("--host", "127.0.0.2"), {"localhost", "127.0.0.2"}),
        (("--allowed-hosts", "*"), {"localhost", "a.example", "127.0.0.2"}),
        (("--allowed-hosts", "a.example", "--key", "secret"), {"a.example"}),
        (("--allowed-hosts", "a.example", "--host", "0.0.0.0"), {"a.example"}),
    ],
)
def test_hosts_that_are_allowed_follow_from_options(
    options: tuple[str, ...], allowed: set[str]
) -> None:
    address = "127.0.0.2" if "127.0.0.2" in options else "127.0.0.1"
    with serving(*options) as server:
        server.address = address
        for host in ("localhost", "a.example", "127.0.0.2"):
            assert (status_for(server, host) == 200) == (host in allowed)
