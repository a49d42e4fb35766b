# SPDX-License-Identifier: MIT
"""The scripts of libburble-relay on a Redis that freezes, crashes, or loses its newest writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from protocol import (
    LEASE,
    LINGER,
    PAUSE,
    PREFIX,
    TTL,
    Clock,
    Front,
    Scripts,
    Session,
    chain,
    end,
    hand_on,
    part,
)
from redises import RedisServer, needs_redis, redis_server

pytestmark = needs_redis

TEXT = chain("begin", "one", "two", "three", "four")
OTHER = chain("begin", "one", "zwei", "drei")


def connected(server: RedisServer, *parties: Session | Front) -> Scripts:
    """New connections, for parties that were there before."""
    scripts = Scripts(server.client(), clock=parties[0].scripts.clock)
    for party in parties:
        party.scripts = scripts
        if isinstance(party, Front):
            party.__post_init__()
    return scripts


def test_frozen_redis_costs_no_living_worker_its_lease(short_folder: Path) -> None:
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        answer, _ = front.submit()
        assert session.claimed() == [answer]
        for k in range(1, 4):
            scripts.wait(2 * LEASE)  # Redis is frozen
            # Another worker's reap is what Redis does first.
            assert scripts.reap() == [0, 0, 0]
            assert session.step(*part(answer, k, TEXT[k : k + 1])) == [b"ok", []]
            scripts.wait(PAUSE + 20)
            assert scripts.reap() == [0, 0, 0]
            assert session.step() == [b"ok", []]
        assert scripts.log(answer) == TEXT[:4]


def test_session_with_lost_tail_is_wanted_and_adopts(short_folder: Path) -> None:
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        answer, _ = front.submit()
        assert session.claimed() == [answer]
        session.step(*part(answer, 1, TEXT[1:2], new=True))
        server.snapshot("early")
        session.step(*part(answer, 2, TEXT[2:3]))
        session.step(*part(answer, 3, TEXT[3:4]))
        server.roll_back("early")
        scripts = connected(server, front, session)
        assert session.step(*part(answer, 4, TEXT[4:])) == [b"want"]
        assert front.attach(answer, TEXT[:4]) == [b"beyond", 2]
        again = Session(scripts, before=session.name)
        assert again.inherited == [answer]
        assert again.adopt(answer, TEXT) == [b"ok", 2]
        assert again.step(*part(answer, 2, TEXT[2:]), *end(answer)) == [b"ok", []]
        assert scripts.log(answer) == TEXT
        assert front.attach(answer, TEXT[:4])[7:] == TEXT[4:]


def test_command_whose_effect_was_lost_is_done_again(short_folder: Path) -> None:
    """The reply was lost as well: the number is the next one, and the command is simply done."""
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        answer, _ = front.submit()
        assert session.claimed() == [answer]
        server.snapshot("early")
        session.step(*part(answer, 1, TEXT[1:]))
        server.roll_back("early")
        scripts = connected(server, front, session)
        assert session.step(*part(answer, 1, TEXT[1:]), again=True) == [b"ok", []]
        assert scripts.log(answer) == TEXT


def test_claim_that_was_lost_is_not_taken_for_another(short_folder: Path) -> None:
    """Without a number on claims, the worker would write an answer that another one has."""
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        first, second = (front.submit()[0] for _ in range(2))
        server.snapshot("early")
        assert session.claimed(1) == [first]
        session.step(*part(first, 1, TEXT[1:2]))
        server.roll_back("early")
        scripts = connected(server, front, session)
        other = Session(scripts)
        assert other.claimed(1) == [first]
        assert session.claim(1) == [b"want"]
        again = Session(scripts, before=session.name)
        assert again.inherited == []
        assert again.adopt(first, TEXT[:2]) == [b"dropped", b"owned"]
        assert again.claimed(1) == [second]


@pytest.mark.parametrize("submitted_again", [False, True])
def test_answer_that_redis_has_lost_is_written_whole(
    short_folder: Path, submitted_again: bool
) -> None:
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        answer, _ = front.submit(name="name")
        assert session.claimed() == [answer]
        session.step(*part(answer, 1, TEXT[1:3]))
        server.kill()
        server.forget()
        server.start()
        scripts = connected(server, front, session)
        assert session.step(*part(answer, 3, TEXT[3:])) == [b"gone"]
        again = Session(scripts, before=session.name)
        if submitted_again:
            assert front.submit(answer=answer, name="name")[1] == [b"ok"]
        assert again.adopt(answer, TEXT) == [b"ok", 1 if submitted_again else 5]
        if submitted_again:
            again.step(*part(answer, 1, TEXT[1:]))
        else:
            assert front.submit(answer=answer)[1] == [b"there"]
        again.step(*end(answer))
        assert scripts.log(answer) == TEXT
        assert scripts.of_answer(answer)["state"] == "ended"


def test_adopted_answer_can_be_continued_by_a_third_worker(short_folder: Path) -> None:
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        answer, _ = front.submit()
        session.claim()
        server.kill()
        server.forget()
        server.start()
        scripts = connected(server, front, session)
        again = Session(scripts, before=session.name)
        assert again.adopt(answer, TEXT[:3]) == [b"ok", 3]
        assert scripts.lapse() == [1, 1, 0]
        (entry,) = Session(scripts).claim()[1:]
        assert entry[:8] == [
            answer.encode(),
            b"m",
            b"{}",
            b"d",
            b"key",
            b"",
            b"body",
            b"%d" % LINGER,
        ]
        assert entry[8] == TEXT[:3]


def test_two_parties_that_hold_other_texts_do_not_mix_them(short_folder: Path) -> None:
    """One was frozen; another went on with other text; then Redis loses all of it."""
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, frozen = Front(scripts), Session(scripts)
        answer, _ = front.submit()
        assert frozen.claimed() == [answer]
        frozen.step(*part(answer, 1, TEXT[1:2], new=True))
        scripts.lapse()
        successor = Session(scripts)
        assert successor.claimed() == [answer]
        successor.step(*part(answer, 2, OTHER[2:], new=True))
        server.kill()
        server.forget()
        server.start()
        scripts = connected(server, front, frozen, successor)
        # The frozen one held two more frames, which nobody has seen.
        thawed = Session(scripts, before=frozen.name)
        assert thawed.adopt(answer, TEXT[:4]) == [b"ok", 4]
        again = Session(scripts, before=successor.name)
        assert again.adopt(answer, OTHER) == [b"dropped", b"owned"]
        # One who was shown the other text is told so, and is shown nothing more.
        assert front.attach(answer, OTHER) == [b"diverged"]
        assert front.look(answer) == [(4, TEXT[3][:4], "running")]
        assert scripts.log(answer) == TEXT[:4]


def test_inherited_answer_that_had_ended_is_ended_again(short_folder: Path) -> None:
    """A worker that keeps the finished log writes the end again; one that does not, hands it on."""
    with redis_server(short_folder) as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        kept, forgotten = (front.submit()[0] for _ in range(2))
        assert session.claimed() == [kept, forgotten]
        server.snapshot("early")
        for answer in (kept, forgotten):
            session.step(*part(answer, 1, TEXT[1:]), *end(answer))
        server.roll_back("early")
        scripts = connected(server, front, session)
        assert session.claim() == [b"want"]
        again = Session(scripts, before=session.name)
        assert sorted(again.inherited) == sorted([kept, forgotten])
        assert again.adopt(kept, TEXT) == [b"ok", 1]
        again.step(*part(kept, 1, TEXT[1:]), *end(kept), *hand_on(forgotten))
        assert scripts.of_answer(kept)["state"] == "ended"
        assert scripts.log(kept) == TEXT
        assert again.claimed() == [forgotten]


def test_scripts_run_again_after_a_restart(short_folder: Path) -> None:
    with redis_server(short_folder, "--appendonly", "yes", "--appendfsync", "always") as server:
        scripts = Scripts(server.client(), clock=Clock())
        front, session = Front(scripts), Session(scripts)
        answer, _ = front.submit()
        assert session.claimed() == [answer]
        session.step(*part(answer, 1, TEXT[1:3]))
        server.kill()
        server.start()
        scripts = connected(server, front, session)
        assert session.step(*part(answer, 1, TEXT[1:3]), again=True) == [b"done", []]
        assert session.step(*part(answer, 3, TEXT[3:]), *end(answer)) == [b"ok", []]
        assert scripts.log(answer) == TEXT
        assert 0 < scripts.client.pttl(f"{PREFIX}s:{answer}") <= TTL
