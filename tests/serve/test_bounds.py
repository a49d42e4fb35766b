# SPDX-License-Identifier: MIT
"""Each bound of a server is reached, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wire import PROGRAM, Client, Server, completion, events, numbered, serving, text_of

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"needs {PROGRAM}"),
]


def start_of(body_len: int) -> str:
    """The head of a completion."""
    return f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {body_len}\r\n\r\n"


# ---- requests -----------------------------------------------------------------------------------


def test_target_above_max_header_gets_414() -> None:
    with serving("--max-header", 1024) as server, server.connect() as client:
        client.send("GET /" + "x" * 2000)
        assert client.response().status == 414
        assert client.rest() == b""


def test_headers_above_max_header_get_431() -> None:
    with serving("--max-header", 1024) as server, server.connect() as client:
        client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n" + "X: y\r\n" * 500)
        assert client.response().status == 431
        assert client.rest() == b""


def test_headers_up_to_max_header_are_read() -> None:
    head = "GET /health HTTP/1.1\r\nHost: localhost\r\nX: "
    with serving("--max-header", 1024) as server:
        for more, status in ((0, 200), (1, 431)):
            with server.connect() as client:
                client.send(head + "y" * (1024 - len(head) - 4 + more) + "\r\n\r\n")
                assert client.response().status == status


def test_more_than_256_headers_get_431() -> None:
    with serving("--max-header", 65536) as server, server.connect() as client:
        client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n" + "X: y\r\n" * 300 + "\r\n")
        assert client.response().status == 431


def test_body_above_max_body_gets_413_at_once() -> None:
    with serving("--max-body", 1000) as server, server.connect() as client:
        client.send(start_of(1001))
        assert client.response().status == 413
        assert client.rest() == b""


def test_refusal_reaches_a_client_that_sends_its_whole_body_first() -> None:
    """Unread bytes would reset the connection, and the refusal be lost with it."""
    with serving("--max-body", 1000) as server:
        for _ in range(20):
            with server.connect() as client:
                client.send(start_of(9_000_000))
                for _ in range(90):
                    client.send(b" " * 100_000)
                assert client.response().status == 413


def test_chunked_body_above_max_body_gets_413() -> None:
    with serving("--max-body", 1000) as server, server.connect() as client:
        client.send(
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.send("1f4\r\n" + "x" * 500 + "\r\n" + "258\r\n" + "x" * 600 + "\r\n")
        assert client.response().status == 413
        assert client.rest() == b""


def test_bodies_above_max_bodies_get_503_and_others_are_served() -> None:
    with serving("--max-bodies", 100_000) as server:
        with server.connect() as first, server.connect() as second:
            first.send(start_of(200_000) + "x" * 60_000)
            server.wait_for_metric("body_bytes", 65536)
            second.send(start_of(200_000) + "x" * 60_000)
            reply = second.response()
            assert reply.status == 503
            assert "retry-after" in reply.headers
        server.wait_for_metric("body_bytes", 0)
        assert server.ask("POST", "/v1/completions", completion()).status == 200


def test_json_deeper_than_max_json_depth_gets_400() -> None:
    with serving("--max-json-depth", 8) as server:
        deep = b'{"prompt":' + b"[" * 8 + b"]" * 8 + b"}"
        assert server.ask("POST", "/v1/completions", deep).status == 400


def test_slow_header_gets_408() -> None:
    with serving("--header-timeout", 300) as server, server.connect() as client:
        client.send("GET /health HTTP/1.1\r\nHos")
        assert client.response().status == 408
        assert client.rest() == b""


def test_connection_without_a_request_is_closed() -> None:
    with serving("--header-timeout", 300) as server, server.connect() as client:
        assert client.rest() == b""


def test_idle_connection_is_closed_after_idle_timeout() -> None:
    with serving("--idle-timeout", 300) as server, server.connect() as client:
        assert client.ask("GET", "/health").status == 200
        assert client.rest() == b""


def test_trickling_body_gets_408() -> None:
    with serving("--body-timeout", 300, "--body-rate", 1000) as server, server.connect() as client:
        client.send(start_of(100_000))
        began = time.monotonic()
        client.socket.settimeout(0.02)
        data = b""
        while not data:
            client.send("x")  # 50 bytes a second at most
            with contextlib.suppress(TimeoutError):
                data = client.more()
        assert data.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began >= 0.3


def test_body_that_keeps_its_rate_is_read() -> None:
    body = json.dumps(completion("x" * 3000)).encode()
    with serving("--body-timeout", 300, "--body-rate", 100) as server, server.connect() as client:
        client.send(start_of(len(body)))
        for i in range(0, len(body), 100):
            time.sleep(0.02)  # the client's rate: 5,000 bytes a second; less where others compute
            client.send(body[i : i + 100])
        assert client.response().status == 200


# ---- connections --------------------------------------------------------------------------------


def test_connections_above_max_connections_get_503() -> None:
    with serving("--max-connections", 3) as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            assert client.ask("GET", "/health").status == 200
        with server.connect() as refused:
            assert refused.rest().startswith(b"HTTP/1.1 503 ")
        clients.pop().socket.close()
        assert ask_until_served(server) == 200
        for client in clients:
            client.socket.close()


def test_connections_above_max_connections_key_get_429() -> None:
    key = "Authorization: Bearer a\r\n"
    with serving("--key", "a", "--key", "b", "--max-connections-key", 2) as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients[:2]:
            assert client.ask("GET", "/v1/models", headers=key).status == 200
        reply = clients[2].ask("GET", "/v1/models", headers=key)
        assert reply.status == 429
        assert "retry-after" in reply.headers
        other = "Authorization: Bearer b\r\n"
        assert clients[2].ask("GET", "/v1/models", headers=other).status == 200
        clients[0].socket.close()
        while clients[2].ask("GET", "/v1/models", headers=key).status == 429:
            pass
        for client in clients:
            client.socket.close()


def test_ten_thousand_refusals_leave_nothing_behind() -> None:
    with serving() as server:
        with server.connect() as client:
            for _ in range(10_000 // 50):
                client.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
                for _ in range(50):
                    assert client.response().status == 404
        server.wait_for_metric("connections", 1)


# ---- during an answer ---------------------------------------------------------------------------


def test_input_during_an_answer_above_max_ignored_cuts_the_connection() -> None:
    with serving("--rate", 5, "--max-ignored", 10_000) as server, server.connect() as client:
        client.request("POST", "/v1/completions", completion(pieces=1000, stream=True))
        assert client.head().status == 200
        client.send(b"x" * 10_001)
        client.rest()
        server.wait_for_metric("dropped_total", 1)
        server.wait_for_metric("answers_running", 0)


def test_input_during_an_answer_is_the_next_request() -> None:
    with serving("--rate", 50) as server, server.connect() as client:
        client.request("POST", "/v1/completions", completion(stream=True))
        assert client.head().status == 200
        client.request("GET", "/health")
        assert text_of(b"".join(client.chunks())).endswith(numbered("x", 3))
        assert client.response().body == b'{"status":"ok"}\n'


@pytest.mark.parametrize("prompt", ["x", "!hang"])
@pytest.mark.parametrize("model", ["numbers", "plain"])
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("stream", [False, True])
def test_leaving_cancels_the_answer(prompt: str, model: str, how: str, stream: bool) -> None:
    with serving("--rate", 20) as server, server.connect() as client:
        body = completion(prompt, pieces=100_000, stream=stream, model=model)
        client.request("POST", "/v1/completions", body)
        if stream and prompt == "x":
            assert client.head().status == 200
        else:
            server.wait_for_metric("answers_running", 1)
        if how == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "half-close":
            client.socket.shutdown(socket.SHUT_WR)
        else:
            client.socket.close()
        server.wait_for_metric("answers_running", 0)
        server.wait_for_metric("num_requests_running", 0, '{model_name="numbers"}')


def test_client_that_takes_nothing_is_cut_after_stall_timeout() -> None:
    with serving("--stall-timeout", 500) as server, server.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.request("POST", "/v1/completions", completion("!big", 100_000, stream=True))
        server.wait_for_metric("stalled_total", 1)
        server.wait_for_metric("answers_running", 0)


def read_at(client: Client, step: int) -> bytes:
    """What a client gets that reads so many bytes every 20 ms."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := client.socket.recv(step):
            data += more
            time.sleep(0.02)  # the client's rate
    return data


def test_client_below_output_rate_is_cut_after_stall_timeout() -> None:
    with serving("--stall-timeout", 500, "--output-rate", 1 << 20) as server:
        with server.connect() as client:
            client.request("POST", "/v1/completions", completion("!big", 100_000, stream=True))
            began = time.monotonic()
            read_at(client, 5000)  # 250 KB a second: it takes something all the time
            assert time.monotonic() - began >= 0.5
        assert server.metric("stalled_total") == 1
        server.wait_for_metric("answers_running", 0)


def test_client_at_output_rate_gets_all() -> None:
    with serving("--stall-timeout", 2000, "--output-rate", 1000) as server:
        with server.connect() as client:
            body = completion("!big", 150, stream=True)  # 600 KB
            client.request("POST", "/v1/completions", body, headers="Connection: close\r\n")
            began = time.monotonic()
            data = read_at(client, 5000)
            assert time.monotonic() - began >= 2.2
        assert b"[DONE]" in data
        assert server.metric("stalled_total") == 0


def test_client_that_stalls_has_max_output_bytes_waiting() -> None:
    with serving() as server:
        clients = []
        for _ in range(20):
            client = server.connect()
            client.request("POST", "/v1/completions", completion("!big", 100_000, stream=True))
            clients.append(client)
        server.wait_for_metric("clients_streaming", 20)
        while not (seen := server.metric("queued_bytes")):
            pass
        for _ in range(50):
            seen = max(seen, server.metric("queued_bytes"))
            assert server.ask("GET", "/health").status == 200
        assert 0 < seen <= 20 * 16384
        for client in clients:
            client.socket.close()
        server.wait_for_metric("queued_bytes", 0)


def test_slow_reader_gets_all_of_a_long_answer() -> None:
    with serving("--socket-buffer", 4096) as server, server.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.request("POST", "/v1/completions", completion("y", 500, stream=True))
        assert text_of(client.response().body).endswith(numbered("y", 500))


def test_head_of_a_stream_waits_for_its_first_text_at_most_first_timeout() -> None:
    with serving("--first-timeout", 300, "--ping-interval", 200) as server:
        with server.connect() as client:
            client.request("POST", "/v1/completions", completion("!hang", stream=True))
            began = time.monotonic()
            assert client.head().status == 200
            assert time.monotonic() - began >= 0.29
            chunks = client.chunks()
            assert next(chunks) == b": ping\n"
            assert next(chunks) == b": ping\n"


def test_pings_stand_between_events() -> None:
    with serving("--rate", 2, "--ping-interval", 100) as server, server.connect() as client:
        client.request("POST", "/v1/completions", completion(pieces=2, stream=True))
        body = client.response().body
        assert b": ping\n" in body
        assert text_of(body).endswith(numbered("x", 2))
        assert b": ping\n\n" not in body


@pytest.mark.parametrize(
    ("max_lag", "header", "waits"),
    [(4096, "", True), (1 << 20, "", False), (4096, "Burble-Resumable: true\r\n", False)],
)
def test_ordinary_answer_waits_for_a_client_that_is_max_lag_behind(
    max_lag: int, header: str, waits: bool
) -> None:
    """Others, and answers that are kept, do not wait."""
    numbers = '{model_name="numbers"}'
    with serving("--max-lag", max_lag, "--socket-buffer", 4096, "--rate", 5000) as server:
        with server.connect() as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            long = completion("y", 10_000, stream=True)  # 2 s; 250 KB of frames
            client.request("POST", "/v1/completions", long, headers=header)
            while server.metric("queued_bytes") == 0:
                pass
            # This one ends later than the first, unless that waits.
            other = server.ask("POST", "/v1/completions", completion("y", 10_000))
            assert other.status == 200
            if waits:
                # (An answer that has just ended may be counted for a moment longer.)
                server.wait_for_metric("num_requests_running", 1, numbers)
                assert server.ask("POST", "/v1/completions", completion("y", 1)).status == 200
                server.wait_for_metric("num_requests_running", 1, numbers)
            else:
                server.wait_for_metric("num_requests_running", 0, numbers)


def test_whole_answer_above_max_answer_gets_500() -> None:
    with serving("--max-answer", 65536) as server:
        reply = server.ask("POST", "/v1/completions", completion("!big", 100))
        assert reply.status == 500
        assert "65536" in reply.error["message"]
        server.wait_for_metric("answers_running", 0)


def test_resumable_answer_above_max_answer_fails() -> None:
    with serving("--max-answer", 65536) as server, server.connect() as client:
        client.request(
            "POST",
            "/v1/completions",
            completion("!big", 100, stream=True),
            headers="Burble-Resumable: true\r\n",
        )
        assert client.head().status == 200
        body = client.rest()
        assert b"longer than 65536 bytes" in body
        assert b"[DONE]" not in body


@pytest.mark.parametrize("model", ["numbers", "plain"])
@pytest.mark.parametrize("header", ["Burble-Resumable: true", "Idempotency-Key: k"])
def test_answer_that_nobody_reads_fails_above_max_answer(model: str, header: str) -> None:
    """Its log is bounded although no client sees that it is too long."""
    with serving("--max-answer", 65536) as server:
        endless = completion("!big", 1_000_000, stream=True, model=model)
        with server.connect() as client:
            client.request("POST", "/v1/completions", endless, headers=f"{header}\r\n")
            stream = client.head().headers["burble-stream"]
        server.wait_for_metric("answers_running", 0)
        with server.connect() as client:
            client.request("GET", f"/v1/streams/{stream}")
            assert b"longer than 65536 bytes" in client.rest()


def test_resumable_answer_whose_client_takes_nothing_is_bounded() -> None:
    # 8 MB of text a second
    with serving("--rate", 2000, "--max-answer", 1 << 20, "--stall-timeout", 1500) as server:
        with server.connect() as client:
            client.request(
                "POST",
                "/v1/completions",
                completion("!big", 1_000_000, stream=True),
                headers="Burble-Resumable: true\r\n",
            )
            assert client.head().status == 200
            server.wait_for_metric("stalled_total", 1)
        server.wait_for_metric("answers_running", 0)
        assert server.metric("retained_bytes") < 6 << 20


def test_finished_answers_above_retain_are_forgotten() -> None:
    with serving("--retain", 20_000) as server:
        streams = []
        for _ in range(4):
            reply = server.ask(
                "POST",
                "/v1/completions",
                completion("!big", 2, stream=True),
                headers="Burble-Resumable: true\r\n",
            )
            streams.append(reply.headers["burble-stream"])
        while server.ask("GET", f"/v1/streams/{streams[0]}").status != 410:
            pass
        assert server.ask("GET", f"/v1/streams/{streams[-1]}").status == 200


def test_resumable_answer_without_clients_ends_after_resume_time() -> None:
    with serving("--rate", 5, "--resume-time", 500) as server:
        with server.connect() as client:
            client.request(
                "POST",
                "/v1/completions",
                completion(pieces=100_000, stream=True),
                headers="Burble-Resumable: true\r\n",
            )
            assert client.head().status == 200
        server.wait_for_metric("answers_running", 0)


def test_events_of_one_batch_are_one_write() -> None:
    """Frames that wait for a client go out together."""
    with serving() as server, server.connect() as client:
        header = "Burble-Resumable: true\r\n"
        body = completion("z", 1000, stream=True)
        stream = server.ask("POST", "/v1/completions", body, headers=header)
        client.request("GET", f"/v1/streams/{stream.headers['burble-stream']}")
        client.head()
        chunks = list(client.chunks())
        assert len(events(b"".join(chunks))) == 1003
        assert len(chunks) < 100


@pytest.mark.parametrize("nofile", range(5, 34))
def test_server_that_finds_too_few_descriptors_says_so(nofile: int) -> None:
    done = subprocess.run(
        [PROGRAM, "--loops", "2"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile)),
    )
    assert done.returncode in (0, 1)
    assert done.returncode == 0 or "Too many open files" in done.stderr or "loop" in done.stderr


@pytest.mark.parametrize("mebibytes", range(12, 72, 6))
def test_server_without_memory_for_its_threads_says_so_at_its_start(mebibytes: int) -> None:
    """Not by a crash at the first request."""
    if b"__asan_" in PROGRAM.read_bytes() or b"__tsan_" in PROGRAM.read_bytes():
        pytest.skip("sanitizers have an address space of their own")
    most = mebibytes << 20
    with subprocess.Popen(
        [PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = process.stdout.readline()
        if port:
            with Client(int(port)) as client:
                assert client.ask("POST", "/v1/completions", completion()).status in (200, 503)
        else:
            assert "cannot" in process.stderr.read()
        process.communicate(timeout=60)
        assert process.returncode == (0 if port else 1)


def time_of_processor(pid: int) -> float:
    """What a process has computed so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of another process")
def test_long_text_without_memory_gets_503_soon() -> None:
    """The parser of JSON would try again for each byte."""
    if b"__asan_" in PROGRAM.read_bytes() or b"__tsan_" in PROGRAM.read_bytes():
        pytest.skip("sanitizers have an address space of their own")
    long = completion("x" * 7_000_000)
    with serving() as server:
        assert server.ask("POST", "/v1/completions", long).status == 400  # by the backend
        usual = time_of_processor(server.process.pid)
    with serving() as server:
        assert server.ask("POST", "/v1/completions", completion()).status == 200
        pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[0])
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_AS)
        most = pages * resource.getpagesize() + (12 << 20)
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (most, unlimited[1]))
        before = time_of_processor(server.process.pid)
        assert server.ask("POST", "/v1/completions", long).status == 503
        assert time_of_processor(server.process.pid) - before < 10 * usual
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, unlimited)
        assert server.ask("POST", "/v1/completions", completion()).status == 200


def test_descriptors_used_up_do_not_stop_the_server() -> None:
    with serving(nofile=80) as server:
        clients: list[Client] = []
        for _ in range(60):
            clients.append(server.connect())
        assert clients[0].ask("GET", "/health").status == 200
        for client in clients:
            client.socket.close()
        assert ask_until_served(server) == 200


def ask_until_served(server: Server) -> int:
    """Ask until a connection is accepted again."""
    while True:
        with server.connect() as client:
            status = client.rest_or_ask_health()
            if status == 200:
                return status
