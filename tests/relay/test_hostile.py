# SPDX-License-Identifier: MIT
"""Redis with keys of other types, and records that burble has not written: they disturb no other.

First the scripts one by one, then real fronts and workers, which survive and go on once it is well.
"""

from __future__ import annotations

import json
import os
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from fleet import Fleet, fleet, needs_fleet
from protocol import ENDED, PREFIX, TTL, Front, Scripts, Session, chain, end, hand_on, part
from readers import PATIENCE, Crowd, Failed, Reading
from redises import needs_redis

TEXT = chain("begin", "one", "two", "three")
SEED = int(os.environ.get("SEED", "20261129"))


def set_string(client: redis.Redis, key: str) -> None:
    """A key of another type."""
    client.set(key, "a string")


def set_list(client: redis.Redis, key: str) -> None:
    """Another one, whoever writes the key meanwhile."""
    with client.pipeline() as at_once:
        at_once.delete(key)
        at_once.rpush(key, "a list")
        at_once.execute()


def set_fields(**fields: str | None) -> Callable[[redis.Redis, str], None]:
    """A hash, some of whose fields are missing or are no numbers."""

    def set_them(client: redis.Redis, key: str) -> None:
        for name, value in fields.items():
            if value is None:
                client.hdel(key, name)
            else:
                client.hset(key, name, value)

    return set_them


def put_entries(*entries: tuple[str, dict[str, bytes]]) -> Callable[[redis.Redis, str], None]:
    """A stream whose entries are not those of a log."""

    def put_them(client: redis.Redis, key: str) -> None:
        with client.pipeline() as at_once:
            at_once.delete(key)
            for name, fields in entries:
                at_once.xadd(key, fields, name)  # type: ignore[arg-type]
            at_once.execute()

    return put_them


BROKEN: dict[str, tuple[str, Callable[[redis.Redis, str], None]]] = {
    "state is a string": ("m", set_string),
    "state is a list": ("m", set_list),
    "no state": ("m", set_fields(state=None)),
    "unknown state": ("m", set_fields(state="dancing")),
    "no model": ("m", set_fields(model=None)),
    "no request": ("m", set_fields(request=None, key=None, body=None)),
    "no numbers": ("m", set_fields(seen="x", linger="y", idle="z", attempts="é", number="-")),
    "numbers missing": ("m", set_fields(seen=None, linger=None, attempts=None, number=None)),
    "log is a string": ("s", set_string),
    "log has no fields of ours": ("s", put_entries(("1-0", {"x": b""}), ("7-3", {"f": b"1234"}))),
    "log has one huge frame": ("s", put_entries(("1-0", {"f": b"x" * (20 << 20)}))),
    "log has ids of a clock": ("s", put_entries(("1700000000000-0", {"f": TEXT[0]}))),
    "fronts are a string": ("fr", set_string),
}


@pytest.fixture(params=list(BROKEN))
def broken(request: pytest.FixtureRequest, scripts: Scripts) -> Callable[[str], None]:
    """A way to break an answer."""
    kind, change = BROKEN[request.param]
    return lambda answer: change(scripts.client, f"{PREFIX}{kind}:{answer}")


@needs_redis
def test_broken_answer_in_queue_holds_up_no_other(
    scripts: Scripts, front: Front, broken: Callable[[str], None]
) -> None:
    session = Session(scripts)
    bad, good = (front.submit()[0] for _ in range(2))
    broken(bad)
    assert good in session.claimed(2)
    assert good in session.claimed(2, again=True)
    assert front.look(bad, good)[1][2] == "running"
    assert session.step(*part(good, 1, TEXT[1:]), *end(good))[0] == b"ok"
    assert scripts.log(good) == TEXT


@needs_redis
def test_broken_answer_that_runs_harms_no_other(
    scripts: Scripts, front: Front, broken: Callable[[str], None]
) -> None:
    session = Session(scripts)
    bad, good = (front.submit()[0] for _ in range(2))
    assert session.claimed(2) == [bad, good]
    broken(bad)
    assert front.look(bad, good)[1][2] == "running"
    step = session.step(*part(bad, 1, TEXT[1:], new=True), *part(good, 1, TEXT[1:3], new=True))
    assert step[0] == b"ok"
    assert good.encode() not in step[1]
    scripts("cancel", bad, TTL)
    scripts.reap(session.name)
    assert session.step("h", bad, *part(good, 3, TEXT[3:]))[0] == b"ok"
    assert scripts.lapse()[0] == 1
    successor = Session(scripts, before=session.name)
    assert good in successor.claimed(2)
    successor.adopt(bad, TEXT)
    ends = successor.step(*end(bad), *hand_on(bad), *end(good))
    assert ends[0] == b"ok"
    assert scripts.log(good) == TEXT
    assert [m.k for m in front.messages() if m.answer == good] == [1, 2, 3, ENDED]


@needs_redis
def test_broken_answer_can_be_asked_for(
    scripts: Scripts, front: Front, broken: Callable[[str], None]
) -> None:
    """Attach, look and submit have one of their replies, and a request is not stuck behind it."""
    session = Session(scripts)
    answer, _ = front.submit()
    broken(answer)
    assert front.attach(answer, [])[0] in (b"ok", b"none")
    assert front.attach(answer, TEXT[:1])[0] in (b"ok", b"none", b"diverged")
    (looked,) = front.look(answer)
    reply = front.submit(answer=answer)[1]
    assert reply in ([b"ok"], [b"there"])
    if looked[2] == "":  # what is not there can be submitted again
        assert reply == [b"ok"]
        assert session.claimed() == [answer]


@needs_redis
def test_claim_that_fails_leaves_the_answer_in_the_queue(scripts: Scripts, front: Front) -> None:
    """The session's set of answers is of another type for a while."""
    session = Session(scripts)
    answer, _ = front.submit()
    own = f"{PREFIX}own:{session.name}"
    set_list(scripts.client, own)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        session.claim()
    scripts.client.delete(own)
    assert Session(scripts, before=session.name).claimed() == [answer]


@needs_redis
@pytest.mark.parametrize("name", ["short", "x" * 4096, "\0" * 32, "g" * 32])
def test_strange_id_in_queue_is_not_claimed(scripts: Scripts, front: Front, name: str) -> None:
    session = Session(scripts)
    front.submit()
    answer, _ = front.submit()
    for key, value in scripts.of_answer(answer).items():
        scripts.client.hset(f"{PREFIX}m:{name}", key, value)
    scripts.client.zadd(f"{PREFIX}q:m", {name: 0})
    claimed = session.claimed(9)
    assert answer in claimed
    assert all(len(one) == 32 for one in claimed)
    assert scripts.client.zcard(f"{PREFIX}q:m") == 0


@needs_redis
def test_broken_model_hides_no_other(scripts: Scripts) -> None:
    Session(scripts, ("good", "bad"))
    for kind in ("q", "md", "wk"):
        scripts.client.delete(f"{PREFIX}{kind}:bad")
        set_list(scripts.client, f"{PREFIX}{kind}:bad")
        found = scripts("models")
        assert found[found.index(b"good") :][:4] == [b"good", 0, 1, b'{"digest": "d"}']


# ---- processes -----------------------------------------------------------------------------------

KEYS = ("q:fake", "w", "wk:fake", "models", "md:fake", "lapsed", "n", "own", "ctl", "ses")


def read_one(made: Fleet, key: str, pieces: int = 40) -> Reading:
    """An answer, which is read to its end; a typed error is raised."""
    body: dict[str, Any] = {"model": "fake", "prompt": key, "seed": 5, "max_tokens": pieces}
    answer = Reading(
        0, "/v1/completions", body, key, random.Random(1), lambda _: 1, ports=made.ports
    )
    answer.seed, answer.pieces = 5, pieces
    answer.read(0)
    return answer


@needs_fleet
@pytest.mark.timeout(600)
def test_key_of_another_type_ends_no_process() -> None:
    """While a key of all is broken, clients wait or are refused; once it is gone, all goes on."""
    with fleet(fronts=1, workers=1) as made:
        client = made.redis.client()
        for i, kind in enumerate(KEYS):
            (session,) = (name.decode() for name in client.zrange(f"{PREFIX}w", 0, -1))
            key = f"{PREFIX}{kind}:{session}" if kind in ("own", "ctl", "ses") else PREFIX + kind
            crowd = Crowd(made.ports, SEED + i, size=3, most_pieces=60)
            time.sleep(0.2)
            client.delete(key)
            (set_list if kind != "ctl" else set_string)(client, key)
            time.sleep(0.4)  # two leases
            client.delete(key)
            crowd.stop()
            assert crowd.broken == [], (key, crowd.broken, made.logs())
            assert read_one(made, f"after {key}").over
            deadline = time.monotonic() + PATIENCE
            while client.zcard(f"{PREFIX}w") != 1:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert made.crashes() == []
        assert all(process.starts == 1 for process in (*made.fronts, *made.workers)), made.logs()


@needs_fleet
@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", list(BROKEN))
def test_broken_answer_ends_and_others_go_on(hostile_fleet: Fleet, what: str) -> None:
    """Its reader gets the text, or a typed error, and is not left waiting."""
    made = hostile_fleet
    kind, change = BROKEN[what]
    crowd = Crowd(made.ports, SEED + 1 + list(BROKEN).index(what), size=3, most_pieces=60)
    body: dict[str, Any] = {"model": "fake", "prompt": what, "seed": 5, "max_tokens": 400}
    answer = Reading(
        0, "/v1/completions", body, what, random.Random(1), lambda _: 1200, ports=made.ports
    )
    answer.seed, answer.pieces = 5, 400
    while not answer.texts:
        response = answer._fetch(made.ports[0], 1200)
        if response is not None and response.status == 200:
            answer._take(response)
    change(made.redis.client(), f"{PREFIX}{kind}:{answer.stream}")
    try:
        answer.read(0)
        outcome = "read whole"
    except Failed as error:
        outcome = f"failed: {error}"
    crowd.stop()
    print(f"{what}: {outcome}")
    context = f"{crowd.broken[:3]} {crowd.failed[:3]} {made.logs()}"
    assert crowd.broken == [], context
    assert crowd.failed == [], context
    assert made.crashes() == [], context


@pytest.fixture(scope="module")
def hostile_fleet() -> Any:
    """Two fronts and two workers."""
    with fleet(2, 2) as made:
        yield made


@needs_fleet
@pytest.mark.timeout(600)
def test_messages_of_others_are_ignored(hostile_fleet: Fleet) -> None:
    """Records that are cut off, too long, of no answer, of another text; descriptions of models."""
    made = hostile_fleet
    rng = random.Random(SEED)
    client = made.redis.client()
    crowd = Crowd(made.ports, SEED, size=4, most_pieces=100)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        fronts = [key for key in client.pubsub_channels() if len(key) > 32]  # type: ignore[union-attr]
        ids = [key.rpartition(b":")[2] for key in client.scan_iter(f"{PREFIX}s:*")] or [b"0" * 32]
        for channel in fronts:
            answer = rng.choice(ids)
            entry = rng.choice((0, 1, 50, 2**31, 2**32 - 1, 2**32, 2**64, 10**40))
            value = rng.randbytes(rng.choice((0, 1, 4, 5, 300, 100_000)))
            length = rng.choice((0, 1, len(value), len(value), 2**32 - 1))
            if entry == 0:
                value = rng.choice((b"", b" ", b"ended", b"ended x y z", b"ended 0 -1 \0"))
                length = len(value)
            elif rng.random() < 0.9:
                entry = 2**32 - 5  # (a right number fails the answer: below)
            name = rng.choice((b"%d-0", b"%d-0", b"%d-0", b"%d-", b"%d", b"-%d-0")) % entry
            head = bytes([len(name) + (rng.random() < 0.1)]) + name + struct.pack("<I", length)
            client.publish(channel, answer + head + value)
            client.publish(channel, rng.randbytes(rng.randrange(80)))
        client.sadd(f"{PREFIX}models", rng.randbytes(300), f"junk {rng.random()}")
        client.set(f"{PREFIX}md:{rng.random()}", json.dumps({"v": rng.random()}))
        client.publish(f"{PREFIX}c:fake", rng.randbytes(100))
    crowd.stop()
    assert crowd.broken == [], crowd.broken[:3]
    allowed = ("another text than was shown", "damaged")
    assert [error for error in crowd.failed if not any(a in error for a in allowed)] == []
    assert read_one(made, "after messages").over
    assert made.crashes() == [], made.logs()
