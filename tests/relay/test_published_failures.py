# SPDX-License-Identifier: MIT
"""Failures that users of other resumable streams have published, each as a test that passes here.

They are from the issue trackers of vercel/resumable-stream and LibreChat: an end that is lost and
hangs readers, reconnects that multiply publishing, no resume after the end, a position from another
generation, a second generation after expiry.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_text import text_of
from fleet import Fleet, fleet, needs_fleet
from readers import Reading, metric
from resuming import Response, fetch, request_bytes

pytestmark = [needs_fleet, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def made() -> Iterator[Fleet]:
    """Two fronts and two workers."""
    with fleet(2, 2, rate=100) as processes:
        yield processes


def start(port: int, seed: int, pieces: int, key: str) -> str:
    """Start a resumable answer, and leave; its stream."""
    body = {"model": "fake", "prompt": key, "seed": seed, "max_tokens": pieces, "stream": True}
    headers = {"Burble-Resumable": "true", "Idempotency-Key": key}
    request = request_bytes("POST", "/v1/completions", headers, body)
    most = 400
    while True:
        response = fetch(port, request, most)
        if response.status == 200:
            return response.headers["burble-stream"]
        most += 100 if response.status == 0 else 0


def resume(port: int, stream: str, last: str | None = None, most: int | None = None) -> Response:
    """A stream, from its beginning or from behind a position."""
    headers = {} if last is None else {"Last-Event-ID": last}
    while True:
        response = fetch(port, request_bytes("GET", f"/v1/streams/{stream}", headers), most)
        if response.status != 503:  # as long as the front is cut off from Redis
            return response
        time.sleep(0.02)


def text_in(response: Response) -> str:
    """The text of a response's events."""
    data = [json.loads(event["data"]) for event in response.events() if "event" not in event]
    return "".join(event.get("text", "") for event in data)


def frames_in_redis(made: Fleet, stream: str) -> int:
    """How many frames Redis has."""
    n: Any = made.redis.client().xlen(f"{{burble}}:s:{stream}")
    assert isinstance(n, int)
    return n


def test_lost_end_hangs_no_reader(made: Fleet) -> None:
    """The connections that carry messages are cut again and again, also when the end is sent."""
    over = threading.Event()

    def cut() -> None:
        client = made.redis.client()
        while not over.is_set():
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            time.sleep(0.15)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        for seed in range(3):
            stream = start(made.ports[0], seed, 40, f"lost end {seed}")
            response = resume(made.ports[seed % 2], stream)
            assert response.whole
            assert response.events()[-1]["event"] == "end"
            assert text_in(response) == text_of(seed, 40)
    finally:
        over.set()
        cutter.join()
    assert sum(metric(port, "burble_relay_reconnects_total") for port in made.ports) > 3


def test_reconnects_do_not_multiply_publishing(made: Fleet) -> None:
    stream = start(made.ports[0], 7, 100, "many")
    texts: list[str] = []

    def read(i: int) -> None:
        rng = random.Random(i)
        for _ in range(5):
            resume(rng.choice(made.ports), stream, most=rng.randrange(200, 3000))
        texts.append(text_in(resume(rng.choice(made.ports), stream)))

    readers = [threading.Thread(target=read, args=(i,)) for i in range(12)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert texts == [text_of(7, 100)] * 12
    # The beginning, the pieces, the finish and the usage, each once.
    assert frames_in_redis(made, stream) == 103


def test_answer_is_resumed_after_its_end(made: Fleet) -> None:
    stream = start(made.ports[0], 8, 20, "late")
    first = resume(made.ports[0], stream)
    assert text_in(first) == text_of(8, 20)
    positions = [event["id"] for event in first.events() if "id" in event]
    time.sleep(0.5)
    again = resume(made.ports[1], stream, positions[4])
    assert again.events() == first.events()[5:]
    assert resume(made.ports[1], stream, positions[-1]).status == 204


def test_position_of_other_generation_is_refused(made: Fleet) -> None:
    one, other = (start(made.ports[0], seed, 20, f"stale {seed}") for seed in (1, 2))
    positions = [event["id"] for event in resume(made.ports[0], one).events() if "id" in event]
    resume(made.ports[0], other)
    for port in made.ports:
        for position in positions[2:6]:
            forged = f"{other}:{position.partition(':')[2]}"
            assert resume(port, other, position).status in (400, 410)
            assert resume(port, other, forged).status == 410, forged


def test_resume_after_expiry_starts_no_second_generation(made: Fleet) -> None:
    stream = start(made.ports[0], 9, 5, "expired")
    assert text_in(resume(made.ports[0], stream)) == text_of(9, 5)
    client = made.redis.client()
    for kind in ("m", "s", "fr"):
        client.pexpire(f"{{burble}}:{kind}:{stream}", 1)
    while frames_in_redis(made, stream) > 0:
        time.sleep(0.01)
    for _ in range(3):
        assert resume(made.ports[1], stream).status in (404, 410)
    assert frames_in_redis(made, stream) == 0


def test_reader_that_is_alone_at_another_front_goes_on(made: Fleet) -> None:
    """The front that took the request ends in mid-answer, before anybody else has asked for it."""
    answer = Reading(
        0,
        "/v1/completions",
        {"model": "fake", "prompt": "alone", "seed": 11, "max_tokens": 80},
        "alone",
        random.Random(1),
        lambda _: 1500,
        ports=made.ports[:1],
        seed=11,
        pieces=80,
    )
    answer._take(answer._fetch(made.ports[0], 1500))  # type: ignore[arg-type]
    assert 0 < len(answer.texts[0]) < len(text_of(11, 80))
    made.fronts[0].kill()
    try:
        answer.ports = made.ports[1:]
        answer.read(0)
    finally:
        made.fronts[0].start()
        made.wait_for_front(made.ports[0])
