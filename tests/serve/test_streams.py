# SPDX-License-Identifier: MIT
"""Answers that outlive their connections: resumed, repeated, cancelled, and whose they are."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from wire import PROGRAM, Client, Server, completion, events, numbered, serving, text_of

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"needs {PROGRAM}"),
]

RESUMABLE = "Burble-Resumable: true\r\n"


def begin(client: Client, prompt: str = "x", pieces: int = 20, headers: str = "") -> str:
    """Begin a resumable answer; returns its stream."""
    body = completion(prompt, pieces, stream=True)
    client.request("POST", "/v1/completions", body, headers=RESUMABLE + headers)
    head = client.head()
    assert head.status == 200
    return head.headers["burble-stream"]


def read_whole(server: Server, stream: str, last: str = "", headers: str = "") -> Any:
    """GET a stream, after a position."""
    if last:
        headers += f"Last-Event-ID: {last}\r\n"
    return server.ask("GET", f"/v1/streams/{stream}", headers=headers)


# ---- resuming -----------------------------------------------------------------------------------


def test_resumable_answer_has_its_headers_before_its_first_text() -> None:
    with serving() as server, server.connect() as client:
        body = completion("!hang", stream=True)
        client.request("POST", "/v1/completions", body, headers=RESUMABLE)
        assert client.head().status == 200


@pytest.mark.parametrize("model", ["numbers", "plain"])
def test_every_position_resumes_with_the_events_after_it(model: str) -> None:
    with serving() as server:
        body = completion("r", 5, stream=True, model=model)
        reply = server.ask("POST", "/v1/completions", body, headers=RESUMABLE)
        stream = reply.headers["burble-stream"]
        whole = events(read_whole(server, stream).body)
        assert whole[0]["event"] == "begin"
        assert whole[-1]["event"] == "end"
        assert text_of(read_whole(server, stream).body).endswith(numbered("r", 5))
        ids = [event["id"] for event in whole]
        assert ids == sorted(ids)
        for i, position in enumerate(ids[:-1]):
            assert events(read_whole(server, stream, position).body) == whole[i + 1 :]
        assert read_whole(server, stream, ids[-1]).status == 204


def test_answer_goes_on_after_its_client_has_left() -> None:
    with serving("--rate", 50) as server:
        with server.connect() as client:
            stream = begin(client, "g", 30)
            first = next(client.chunks())
        last = events(first)[-1]["id"]
        reply = read_whole(server, stream, last)
        assert text_of(first + reply.body).endswith(numbered("g", 30))


def test_several_clients_read_one_answer() -> None:
    with serving("--rate", 50) as server, server.connect() as client:
        stream = begin(client, "s", 20)
        others = [server.connect() for _ in range(5)]
        for other in others:
            other.request("GET", f"/v1/streams/{stream}")
        bodies = [other.response().body for other in others]
        assert len(set(bodies)) == 1
        assert text_of(bodies[0]).endswith(numbered("s", 20))
        assert text_of(client.response_body()).endswith(numbered("s", 20))


def test_position_of_another_stream_is_refused() -> None:
    with serving() as server:
        replies = [
            server.ask("POST", "/v1/completions", completion(stream=True), headers=RESUMABLE)
            for _ in range(2)
        ]
        streams = [reply.headers["burble-stream"] for reply in replies]
        last = events(read_whole(server, streams[0]).body)[1]["id"]
        assert read_whole(server, streams[1], last).status == 400


def test_position_that_the_stream_does_not_have_gets_410() -> None:
    with serving() as server:
        reply = server.ask("POST", "/v1/completions", completion(stream=True), headers=RESUMABLE)
        stream = reply.headers["burble-stream"]
        last = events(read_whole(server, stream).body)[1]["id"]
        wrong_hash = last[:-1] + ("0" if last[-1] != "0" else "1")
        beyond = last.replace(":0000", ":9999")
        for position in (wrong_hash, beyond):
            assert read_whole(server, stream, position).status == 410


@pytest.mark.parametrize("last", ["x", ":", "0" * 32, "0" * 32 + ":1_2", "é"])
def test_position_that_is_none_gets_400(last: str) -> None:
    with serving() as server:
        reply = server.ask("POST", "/v1/completions", completion(stream=True), headers=RESUMABLE)
        assert read_whole(server, reply.headers["burble-stream"], last).status == 400


def test_failure_is_kept_for_a_client_that_comes_back() -> None:
    with serving("--rate", 20) as server, server.connect() as client:
        stream = begin(client, "!break")
        client.broken()
        with server.connect() as again:
            again.request("GET", f"/v1/streams/{stream}")
            assert again.head().status == 200
            failed = events(again.broken())[-1]
        assert json.loads(failed["data"])["error"]["message"] == "as the prompt asked"
        assert read_whole(server, stream, failed["id"]).status == 204


def test_ordinary_stream_is_not_resumable() -> None:
    with serving("--rate", 5) as server, server.connect() as client:
        client.request("POST", "/v1/completions", completion(pieces=1000, stream=True))
        stream = client.head().headers["burble-stream"]
        assert read_whole(server, stream).status == 404


@pytest.mark.parametrize("stream", ["0" * 32, "x", "0" * 31, "../health", "%00"])
def test_unknown_stream_gets_404(stream: str) -> None:
    with serving() as server:
        assert server.ask("GET", f"/v1/streams/{stream}").status == 404
        assert server.ask("DELETE", f"/v1/streams/{stream}").status == 404


def test_resumed_clients_on_several_loops_read_the_same_answer() -> None:
    with serving("--loops", 4, "--rate", 200) as server:
        with server.connect() as client:
            stream = begin(client, "l", 40)
        bodies = [read_whole(server, stream).body for _ in range(16)]
        assert len(set(bodies)) == 1
        assert text_of(bodies[0]).endswith(numbered("l", 40))


def test_answer_counts_once_however_many_clients_read_it() -> None:
    with serving("--rate", 50) as server:
        with server.connect() as client:
            stream = begin(client, "c", 10)
        for _ in range(3):
            read_whole(server, stream)
        assert server.metric("generation_tokens_total") == 10
        assert server.metric("answers_total") == 1


# ---- cancelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["numbers", "plain"])
def test_delete_cancels_an_answer(model: str) -> None:
    with serving("--rate", 20) as server, server.connect() as client:
        body = completion(pieces=100_000, stream=True, model=model)
        client.request("POST", "/v1/completions", body, headers=RESUMABLE)
        stream = client.head().headers["burble-stream"]
        reply = server.ask("DELETE", f"/v1/streams/{stream}")
        assert json.loads(reply.body) == {"cancelled": True}
        client.broken()
        server.wait_for_metric("answers_running", 0)
        reply = server.ask("DELETE", f"/v1/streams/{stream}")
        assert json.loads(reply.body) == {"cancelled": False}


def test_delete_cancels_an_ordinary_answer() -> None:
    with serving("--rate", 20) as server, server.connect() as client:
        client.request("POST", "/v1/completions", completion(pieces=100_000, stream=True))
        stream = client.head().headers["burble-stream"]
        assert server.ask("DELETE", f"/v1/streams/{stream}").status == 200
        assert b"[DONE]" not in client.broken()


# ---- repeating ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_repeated_request_attaches_to_the_first_answer(stream: bool) -> None:
    with serving() as server:
        body = completion("i", 10, stream=stream)
        replies = [
            server.ask("POST", "/v1/completions", body, headers="Idempotency-Key: one\r\n")
            for _ in range(3)
        ]
        assert len({reply.body for reply in replies}) == 1
        assert len({reply.headers["burble-stream"] for reply in replies}) == 1
        assert server.metric("repeated_total") == 2


def test_request_that_is_repeated_while_it_runs_attaches() -> None:
    with serving("--rate", 50) as server:
        body = completion("i", 20, stream=True)
        clients = [server.connect() for _ in range(8)]
        for client in clients:
            client.request("POST", "/v1/completions", body, headers="Idempotency-Key: one\r\n")
        assert len({client.response().body for client in clients}) == 1


def test_repeated_request_with_another_body_gets_409() -> None:
    with serving() as server:
        headers = "Idempotency-Key: one\r\n"
        assert server.ask("POST", "/v1/completions", completion(), headers=headers).status == 200
        other = completion(pieces=4)
        assert server.ask("POST", "/v1/completions", other, headers=headers).status == 409


def test_idempotency_key_above_255_bytes_gets_400() -> None:
    with serving() as server:
        headers = f"Idempotency-Key: {'x' * 256}\r\n"
        assert server.ask("POST", "/v1/completions", completion(), headers=headers).status == 400


def test_refused_request_does_not_take_its_idempotency_key() -> None:
    with serving() as server:
        headers = "Idempotency-Key: one\r\n"
        for _ in range(2):
            reply = server.ask("POST", "/v1/completions", completion("!full"), headers=headers)
            assert reply.status == 429
        assert server.ask("POST", "/v1/completions", completion(), headers=headers).status == 200


# ---- whose it is --------------------------------------------------------------------------------


def test_stream_is_read_with_its_key_or_token_only() -> None:
    a, b = ("Authorization: Bearer a\r\n", "Authorization: Bearer b\r\n")
    with serving("--key", "a", "--key", "b") as server:
        reply = server.ask(
            "POST", "/v1/completions", completion("k", stream=True), headers=a + RESUMABLE
        )
        stream, token = (reply.headers[name] for name in ("burble-stream", "burble-token"))
        path = f"/v1/streams/{stream}"
        assert text_of(server.ask("GET", path, headers=a).body).endswith(numbered("k", 3))
        assert text_of(server.ask("GET", f"{path}?token={token}").body).endswith(numbered("k", 3))
        assert server.ask("GET", path).status == 401
        for refused in (f"{path}?token={token[:-1]}", f"{path}?token={'0' * 32}"):
            assert server.ask("GET", refused).status == 404
            assert server.ask("DELETE", refused).status == 404
        assert server.ask("GET", path, headers=b).status == 404
        assert server.ask("DELETE", path, headers=b).status == 404


def test_idempotency_key_belongs_to_an_api_key() -> None:
    with serving("--key", "a", "--key", "b") as server:
        streams = {
            server.ask(
                "POST",
                "/v1/completions",
                completion(),
                headers=f"Authorization: Bearer {key}\r\nIdempotency-Key: one\r\n",
            ).headers["burble-stream"]
            for key in "abab"
        }
        assert len(streams) == 2


def test_place_of_an_answer() -> None:
    with serving("--rate", 5) as server, server.connect() as client:
        stream = begin(client, pieces=1000)
        place = json.loads(server.ask("GET", f"/v1/streams/{stream}/place").body)
        assert place["waits"] is False
        assert place["running"] == 1
        assert server.ask("GET", f"/v1/streams/{'0' * 32}/place").status == 404


# ---- draining -----------------------------------------------------------------------------------


def test_drain_lets_running_answers_end() -> None:
    with serving("--rate", 200, "--grace-ms", 60_000, "--loops", 2) as server:
        clients = [server.connect() for _ in range(50)]
        for i, client in enumerate(clients):
            client.request("POST", "/v1/completions", completion(f"!hold {i}", 40, stream=True))
        server.wait_for_metric("answers_running", 50)
        server.process.terminate()
        for i, client in enumerate(clients):
            assert text_of(client.response().body).endswith(numbered(f"!hold {i}", 40))
        assert server.process.wait(30) == 0


def test_drain_fails_what_runs_after_the_grace_period() -> None:
    with serving("--rate", 5, "--grace-ms", 300) as server, server.connect() as client:
        client.request("POST", "/v1/completions", completion(pieces=100_000, stream=True))
        assert client.head().status == 200
        began = time.monotonic()
        server.process.terminate()
        body = client.broken()
        assert "shutting down" in json.loads(events(body)[-1]["data"])["error"]["message"]
        assert server.process.wait(30) == 0
        assert time.monotonic() - began >= 0.3


def test_drain_says_503_at_ready_and_serves_during_its_delay() -> None:
    with serving("--rate", 100, "--drain-delay", 600_000, "--grace-ms", 600_000) as server:
        with server.connect() as running, server.connect() as other:
            running.request("POST", "/v1/completions", completion("!hold", 30, stream=True))
            assert other.ask("GET", "/ready").status == 200
            server.process.terminate()
            while (reply := other.ask("GET", "/ready")).status == 200:
                pass
            assert reply.status == 503
            assert "retry-after" in reply.headers
            assert other.ask("POST", "/v1/completions", completion(pieces=1)).status == 200
            assert text_of(running.response().body).endswith(numbered("!hold", 30))
            server.process.terminate()
            assert server.process.wait(30) == 0


def test_new_request_after_the_drain_delay_gets_503() -> None:
    with serving("--rate", 10, "--grace-ms", 60_000) as server:
        with server.connect() as running, server.connect() as half:
            running.request("POST", "/v1/completions", completion("w", 100_000, stream=True))
            assert running.head().status == 200
            half.send("POST /v1/completions HTTP/1.1\r\n")
            server.process.terminate()
            closed = server.connect_until_refused()
            assert closed
            half.send("Host: localhost\r\nContent-Length: 2\r\n\r\n{}")
            reply = half.response()
            assert reply.status == 503
            assert reply.headers["connection"] == "close"
            chunks = running.chunks()
            while "w·3 " not in text_of(next(chunks)):  # it goes on
                pass


def test_second_signal_ends_the_server_now() -> None:
    with serving("--rate", 5, "--grace-ms", 60_000, "--drain-delay", 60_000) as server:
        with server.connect() as client:
            client.request("POST", "/v1/completions", completion(pieces=100_000, stream=True))
            assert client.head().status == 200
            server.process.terminate()
            while server.ask("GET", "/ready").status == 200:
                pass
            server.process.terminate()
            client.broken()
            assert server.process.wait(30) == 0
