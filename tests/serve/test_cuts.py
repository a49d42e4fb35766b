# SPDX-License-Identifier: MIT
"""Answers whose connections are cut at any byte, repeatedly: each is resumed, and is complete.

The server and its streams are real. The cuts are chosen by a seed, which a failure names. With
BURBLE_TEST_LONG=1 there are ten times as many. The backend's text is numbered (numbers.h), which
shows text that was lost, doubled, reordered, or is another answer's.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import selectors
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from resuming import PATIENCE, Answer, Response, fetch, request_bytes
from servers import (
    model_server,
    needs_command,
    needs_numbers,
    numbers_server,
    without_number,
)
from wire import numbered

LONG = os.environ.get("BURBLE_TEST_LONG", "") not in ("", "0")
SEED = int(os.environ.get("SEED", "20261129"))
CUTS = 10_000 if LONG else 1_000
AT_ONCE = 8


def anywhere(most: int) -> Callable[[random.Random], int]:
    """Cuts at any byte: half of them within the first 700, where the head is."""
    return lambda rng: rng.randrange(1, 700 if rng.random() < 0.5 else most)


def read_with_cuts(answers: Iterator[Answer], n_cuts: int) -> list[Answer]:
    """Read answers, some at a time, until their connections were cut ``n_cuts`` times."""
    read: list[Answer] = []
    lock = threading.Lock()

    def work() -> None:
        while sum(answer.cuts.total() for answer in read) < n_cuts:
            with lock:
                answer = next(answers)
            answer.read(most_cuts=30)
            with lock:
                read.append(answer)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(work) for _ in range(AT_ONCE)]:
            future.result()
    return read


def whole_again(answer: Answer) -> dict[int, str]:
    """The answer's text, by one connection, from its beginning."""
    again = Answer(answer.port, "", {}, "", random.Random(0), lambda _: 0, stream=answer.stream)
    again.read(most_cuts=0)
    return again.texts


# ---- cuts and resumed answers --------------------------------------------------------------------


@needs_numbers
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_cut_anywhere_and_resumed_answers_are_whole(path: str) -> None:
    pieces = 300
    with numbers_server("--rate", 400) as (port, _):
        answers = (
            Answer(
                port,
                path,
                asking(path, f"answer {i}", pieces),
                key=f"cuts-{SEED}-{i}",
                random=random.Random(f"{SEED} {path} {i}"),
                cut_at=anywhere(6000),
            )
            for i in itertools.count()
        )
        read = read_with_cuts(answers, CUTS // 2)
    generations = set()
    for answer in read:
        number, text = without_number(answer.texts[0])
        prompt = f"answer {answer.key.rpartition('-')[2]}"
        assert text == numbered(prompt, pieces), f"{prompt}, seed {SEED}"
        assert answer.positions == sorted(answer.positions), f"{prompt}, seed {SEED}"
        generations.add(number)
    assert len(generations) == len({answer.stream for answer in read}) == len(read)
    cuts = sum((answer.cuts for answer in read), Counter())
    assert set(cuts) >= {"head", "chunk", "character", "event"}, cuts


@needs_numbers
@pytest.mark.timeout(600)
def test_position_of_another_answer_is_refused() -> None:
    with numbers_server("--rate", 0) as (port, _):
        rng = random.Random(SEED)
        path = "/v1/completions"
        one, other = (
            Answer(port, path, asking(path, f"p{i}", 20), f"k{i}", rng, anywhere(900))
            for i in range(2)
        )
        one.read(most_cuts=2)
        other.read(most_cuts=2)
        for position in other.positions:
            # As it is, and with the other stream's name.
            forged = f"{one.stream}:{position.partition(':')[2]}"
            for last in (position, forged):
                headers = {"Last-Event-ID": last}
                request = request_bytes("GET", f"/v1/streams/{one.stream}", headers)
                assert fetch(port, request).status in (400, 410), (one.positions, last)


def asking(path: str, prompt: str, pieces: int) -> dict[str, Any]:
    """The body of a request for a text of that prompt."""
    body: dict[str, Any] = {"model": "numbers", "max_tokens": pieces}
    if "chat" in path:
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt
    return body


@needs_command
@pytest.mark.timeout(900)
def test_cut_answers_of_shipped_model_are_whole() -> None:
    body = {"model": "shakespeare", "max_tokens": 100, "ignore_eos": True, "n": 2}
    with model_server("--slots", 16, "--context", 512, "--threads", 1) as port:
        answers = (
            Answer(
                port,
                "/v1/completions",
                {**body, "prompt": f"ROMEO {i}:\n", "seed": i, "temperature": i % 2},
                key=f"model-{SEED}-{i}",
                random=random.Random(f"{SEED} model {i}"),
                cut_at=anywhere(8000),
            )
            for i in itertools.count()
        )
        read = read_with_cuts(answers, 2_000 if LONG else 200)
        for answer in read:
            assert set(answer.texts) == {0, 1}, f"seed {SEED}, {answer.key}"
            assert answer.texts == whole_again(answer), f"seed {SEED}, {answer.key}"
    assert len({answer.stream for answer in read}) == len(read)


# ---- Idempotency-Key -----------------------------------------------------------------------------


@needs_numbers
@pytest.mark.timeout(600)
def test_posts_repeated_with_idempotency_key_generate_once() -> None:
    keys, times = (3_000, 4) if LONG else (1_000, 2)
    body = asking("/v1/chat/completions", "again", 3)
    with numbers_server("--rate", 0) as (port, _):

        def post(i: int) -> tuple[str, int]:
            # Whole and streamed answers; repeated at once, and when the first is over.
            headers = {"Idempotency-Key": f"key-{i % keys}"}
            request = request_bytes(
                "POST", "/v1/chat/completions", headers, {**body, "stream": i % keys % 2 == 0}
            )
            response = fetch(port, request)
            assert response.status == 200, response
            number, text = without_number(whole_text(response))
            assert text == numbered("again", 3)
            return f"key-{i % keys}", number

        order = list(range(keys * times))
        random.Random(SEED).shuffle(order)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(post, order))
        numbers: dict[str, set[int]] = {}
        for key, number in found:
            numbers.setdefault(key, set()).add(number)
        assert all(len(of_key) == 1 for of_key in numbers.values()), f"seed {SEED}"
        assert len(set.union(*numbers.values())) == keys
        # The next generation's number: there were no others.
        last = fetch(port, request_bytes("POST", "/v1/chat/completions", {}, body))
        assert without_number(whole_text(last))[0] == keys + min(map(min, numbers.values()))


def whole_text(response: Response) -> str:
    """The text of an answer in one response, streamed or not."""
    if "event-stream" in response.headers["content-type"]:
        chunks = [json.loads(e["data"]) for e in response.events() if e["data"] != "[DONE]"]
        deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
        return "".join(delta.get("content", "") for delta in deltas)
    return str(json.loads(response.body)["choices"][0]["message"]["content"])


# ---- SIGTERM -------------------------------------------------------------------------------------


@needs_numbers
@pytest.mark.timeout(300)
def test_sigterm_cuts_no_answer_within_grace_period() -> None:
    n, pieces = 500, 60
    options = ("--rate", 60, "--grace-ms", 120_000, "--drain-delay", 100)
    body = {**asking("/v1/chat/completions", "!hold", pieces), "stream": True}
    request = request_bytes("POST", "/v1/chat/completions", {}, body)
    with numbers_server(*options) as (port, process), selectors.DefaultSelector() as selector:
        received: dict[socket.socket, bytes] = {}
        for _ in range(n):
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
            connection.sendall(request)
            received[connection] = b""
            selector.register(connection, selectors.EVENT_READ)
        answering = 0
        open_connections = n
        told = False
        while open_connections:
            ready = selector.select(PATIENCE)
            assert ready, f"{open_connections} answers stand still"
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                answering += bool(data) and not received[key.fileobj]
                received[key.fileobj] += data
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    open_connections -= 1
            if answering == n and not told:
                assert open_connections == n
                process.send_signal(signal.SIGTERM)
                told = True
        assert told
        for raw in received.values():
            response = Response(raw, ended=True)
            assert response.whole
            assert response.events()[-1]["data"] == "[DONE]"
            assert without_number(whole_text(response))[1] == numbered("!hold", pieces)
        assert process.wait(PATIENCE) == 0
