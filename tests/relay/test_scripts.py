# SPDX-License-Identifier: MIT
"""The scripts of libburble-relay, one by one, on a real Redis: docs/design.md has the protocol."""

from __future__ import annotations

import re

import pytest
import redis
from protocol import (
    ENDED,
    LEASE,
    LINGER,
    PAUSE,
    PREFIX,
    SCRIPTS,
    TTL,
    Front,
    Message,
    Scripts,
    Session,
    chain,
    end,
    hand_on,
    part,
)
from redises import ROOT, RedisServer, needs_redis

pytestmark = needs_redis

TEXT = chain("begin", "one", "two", "three", "four")
OTHER = chain("begin", "one", "zwei", "drei", "vier", "fünf")


def running(scripts: Scripts, front: Front, n: int = 1, **options: object) -> tuple[Session, str]:
    """An answer that a session computes, with its first ``n`` frames."""
    session = Session(scripts)
    answer, reply = front.submit(**options)  # type: ignore[arg-type]
    assert reply == [b"ok"]
    assert session.claimed() == [answer]
    if n > 1:
        assert session.step(*part(answer, 1, TEXT[1:n], new=True)) == [b"ok", []]
    front.messages()
    return session, answer


# ---- submit --------------------------------------------------------------------------------------


def test_submit_without_worker_is_absent_and_leaves_nothing(scripts: Scripts, front: Front) -> None:
    assert front.submit()[1] == [b"absent"]
    assert scripts.client.dbsize() == 0


def test_submit_with_lapsed_worker_is_absent(scripts: Scripts, front: Front) -> None:
    Session(scripts, lease=50)
    scripts.wait(70)
    assert front.submit()[1] == [b"absent"]


def test_submit_above_bound_of_queue_is_full(scripts: Scripts, front: Front) -> None:
    session = Session(scripts)
    for _ in range(3):
        assert front.submit(bound=3)[1] == [b"ok"]
    assert front.submit(bound=3)[1] == [b"full"]
    session.claim(1)
    assert front.submit(bound=3)[1] == [b"ok"]


def test_repeated_submit_changes_nothing(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 3)
    before = scripts.of_answer(answer)
    assert front.submit(answer=answer)[1] == [b"there"]
    assert scripts.of_answer(answer) == before
    assert session.claimed() == []


def test_idempotency_name_finds_answer_of_other_front(scripts: Scripts, front: Front) -> None:
    Session(scripts)
    answer, _ = front.submit(name="name", body="one")
    other = Front(scripts)
    assert other.submit(name="name", body="one")[1] == [b"other", answer.encode()]
    assert other.submit(name="name", body="two")[1] == [b"conflict"]
    assert other.submit(name="other name", body="two")[1] == [b"ok"]


def test_idempotency_name_expires_with_its_answer(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2, name="name")
    session.step(*end(answer))
    client = scripts.client
    assert 0 < client.pttl(f"{PREFIX}i:name") <= TTL  # type: ignore[operator]
    client.delete(f"{PREFIX}m:{answer}")
    assert front.submit(name="name", body="another body")[1] == [b"ok"]


# ---- claim ---------------------------------------------------------------------------------------


def test_claim_takes_oldest_first_and_no_more_than_free(scripts: Scripts, front: Front) -> None:
    session = Session(scripts)
    ids = [front.submit()[0] for _ in range(5)]
    assert session.claimed(2) == ids[:2]
    assert session.claimed(0) == []
    assert session.claimed(9) == ids[2:]


def test_claim_brings_all_of_a_long_log(scripts: Scripts, front: Front) -> None:
    """More frames than Lua can unpack."""
    session, answer = running(scripts, front)
    frames = chain("begin", *(f"text {i}" for i in range(20_000)))
    for k in range(1, len(frames), 500):
        session.step(*part(answer, k, frames[k : k + 500]))
    session.step(*hand_on(answer))
    successor = Session(scripts)
    (entry,) = successor.claim()[1:]
    assert entry[0] == answer.encode()
    assert entry[1:8] == [b"m", b"{}", b"d", b"key", b"", b"body", b"60000"]
    assert entry[8] == frames


def test_session_may_have_more_answers_than_lua_can_unpack(scripts: Scripts, front: Front) -> None:
    session = Session(scripts, lease=600_000)
    answer, _ = front.submit()
    fields, ids = scripts.of_answer(answer), [f"{i:032x}" for i in range(8000)]
    with scripts.client.pipeline() as at_once:
        for one in ids:
            at_once.hset(f"{PREFIX}m:{one}", mapping=fields)  # type: ignore[arg-type]
            at_once.xadd(f"{PREFIX}s:{one}", {"f": TEXT[0]}, "1-0")
            at_once.zadd(f"{PREFIX}q:m", {one: 2})
        at_once.execute()
    ids.append(answer)
    assert sorted(session.claimed(9000)) == sorted(ids)
    assert sorted(session.claimed(9000, again=True)) == sorted(ids)
    successor = Session(scripts, before=session.name, lease=600_000)
    assert sorted(successor.inherited) == sorted(ids)


def test_claim_with_lost_reply_brings_the_same(scripts: Scripts, front: Front) -> None:
    session = Session(scripts)
    ids = [front.submit()[0] for _ in range(3)]
    assert session.claimed(2) == ids[:2]
    assert session.claimed(2, again=True) == ids[:2]
    assert session.claimed(2) == ids[2:]
    assert session.claimed(2, again=True) == ids[2:]


def test_claim_of_two_sessions_shares_no_answer(scripts: Scripts, front: Front) -> None:
    sessions = [Session(scripts), Session(scripts)]
    ids = {front.submit()[0] for _ in range(20)}
    taken = [answer for _ in range(10) for session in sessions for answer in session.claimed(1)]
    assert len(taken) == len(set(taken)) == 20
    assert set(taken) == ids


def test_claim_takes_only_its_models(scripts: Scripts, front: Front) -> None:
    one, both = Session(scripts, ("one",)), Session(scripts, ("one", "two"))
    ids = [front.submit(model)[0] for model in ("two", "one", "two")]
    assert one.claimed() == [ids[1]]
    assert sorted(both.claimed()) == sorted([ids[0], ids[2]])


def test_claim_ends_answer_that_no_front_waits_for(scripts: Scripts, front: Front) -> None:
    session = Session(scripts, lease=60_000)
    answer, _ = front.submit(linger=10)
    scripts.look_around()
    assert session.claimed() == []
    assert scripts.of_answer(answer)["state"] == "cancelled"
    assert [message.k for message in front.messages()] == [ENDED]


def test_claim_after_redis_stood_still_ends_no_answer(scripts: Scripts, front: Front) -> None:
    """The worker is faster than the fronts, which could not say what they show."""
    session = Session(scripts, lease=3 * LINGER)
    scripts.look_around()
    answer, _ = front.submit()
    scripts.wait(2 * LINGER)
    assert session.claimed() == [answer]
    assert scripts.of_answer(answer)["state"] == "running"


# ---- step ----------------------------------------------------------------------------------------


def test_step_shows_frames_to_each_front(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    other = Front(scripts)
    assert other.attach(answer, [])[-1] == TEXT[0]
    session.step(*part(answer, 1, TEXT[1:3], new=True))
    session.step(*part(answer, 3, TEXT[3:]))
    for each in (front, other):
        messages = each.messages()
        assert [message.answer for message in messages] == [answer] * 4
        assert [message.k for message in messages] == [1, 2, 3, 4]
        assert [message.value for message in messages] == TEXT[1:]
    assert scripts.log(answer) == TEXT


def test_step_shows_each_front_the_frames_of_its_answers(scripts: Scripts, front: Front) -> None:
    """Answers that one front shows, or two, or none; one is lost."""
    session = Session(scripts)
    ids = [front.submit()[0] for _ in range(10)]
    assert session.claimed() == ids
    other = Front(scripts)
    for answer in ids[::3]:
        other.attach(answer, TEXT[:1])
    for answer in ids[4:8]:
        scripts("detach", front.name, answer)
    scripts.client.delete(f"{PREFIX}s:{ids[3]}")
    front.messages()
    parts = [frame for answer in ids for frame in part(answer, 1, TEXT[1:3])]
    assert session.step(*parts) == [b"ok", [ids[3].encode()]]
    for each, shown in ((front, ids[:3] + ids[8:]), (other, [ids[0], ids[6], ids[9]])):
        messages = each.messages()
        assert sorted(messages, key=lambda m: (ids.index(m.answer), m.k)) == [
            Message(answer, k, TEXT[k]) for answer in shown for k in (1, 2)
        ]
        for answer in shown:
            assert [m.k for m in messages if m.answer == answer] == [1, 2]


def test_step_with_lost_reply_is_done_once(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    assert session.step(*part(answer, 1, TEXT[1:3])) == [b"ok", []]
    assert session.step(*part(answer, 1, TEXT[1:3]), again=True) == [b"done", []]
    assert scripts.log(answer) == TEXT[:3]
    assert [message.k for message in front.messages()] == [1, 2]


def test_step_of_end_publishes_its_frames_first(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    session.step(*part(answer, 1, TEXT[1:]), *end(answer, code=2))
    messages = front.messages()
    assert [message.k for message in messages] == [1, 2, 3, 4, ENDED]
    assert messages[-1].value == b"ended 2 5 "


def test_step_of_end_expires_all_keys_together(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 3)
    client = scripts.client
    keys = [f"{PREFIX}{kind}:{answer}" for kind in ("m", "s", "fr")]
    assert [client.pttl(key) for key in keys] == [-1] * 3
    session.step(*end(answer))
    left = [client.pttl(key) for key in keys]
    assert all(TTL / 2 < time_left <= TTL for time_left in left), left  # type: ignore[operator]
    assert "request" not in scripts.of_answer(answer)
    assert client.smembers(f"{PREFIX}own:{session.name}") == set()


def test_step_after_end_is_refused(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 3)
    session.step(*end(answer))
    assert session.step(*part(answer, 3, TEXT[3:])) == [b"ok", [answer.encode()]]
    assert session.step(*end(answer, "failed")) == [b"ok", [answer.encode()]]
    assert scripts.log(answer) == TEXT[:3]
    assert scripts.of_answer(answer)["state"] == "ended"


def test_step_refuses_the_lost_answer_and_takes_others(scripts: Scripts, front: Front) -> None:
    session = Session(scripts)
    lost, kept = (front.submit()[0] for _ in range(2))
    assert session.claimed() == [lost, kept]
    scripts.client.delete(f"{PREFIX}s:{lost}")
    parts = (*part(lost, 1, TEXT[1:3]), *part(kept, 1, TEXT[1:3]), *part(lost, 3, TEXT[3:]))
    assert session.step(*parts) == [b"ok", [lost.encode()]]
    assert scripts.log(kept) == TEXT[:3]
    assert scripts.log(lost) == []
    assert [(message.answer, message.k) for message in front.messages()] == [(kept, 1), (kept, 2)]


def test_fenced_session_writes_nothing(scripts: Scripts, front: Front) -> None:
    """A worker that was frozen for longer than its lease."""
    session, answer = running(scripts, front, 3)
    assert scripts.lapse() == [1, 1, 0]
    assert session.step(*part(answer, 3, TEXT[3:])) == [b"gone"]
    successor = Session(scripts)
    assert successor.claimed() == [answer]
    assert session.step(*part(answer, 3, TEXT[3:])) == [b"gone"]
    assert session.claim() == [b"gone"]
    assert session.command("close") == [b"gone"]
    assert scripts.log(answer) == TEXT[:3]


def test_step_brings_what_was_told_until_it_is_done(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    told = b"cancel " + answer.encode()
    scripts("cancel", answer, TTL)
    assert session.step() == [b"ok", [], told]
    assert session.step() == [b"ok", [], told]
    assert session.step(consumed=1) == [b"ok", []]
    assert session.step(consumed=1, again=True) == [b"done", []]


def test_step_with_lost_reply_loses_no_cancel(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    scripts("cancel", answer, TTL)
    session.step()  # the reply is lost
    assert session.step(again=True) == [b"done", [], b"cancel " + answer.encode()]


# ---- reap ----------------------------------------------------------------------------------------


def test_reap_needs_two_passes(scripts: Scripts, front: Front) -> None:
    running(scripts, front, 2)
    scripts.wait(LEASE + 20)
    assert scripts.reap() == [0, 0, 0]
    assert scripts.reap() == [0, 0, 0], "too early after the first"
    scripts.wait(PAUSE + 20)
    assert scripts.reap() == [1, 1, 0]


def test_reap_spares_session_that_renews_between_passes(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    scripts.wait(LEASE + 20)
    assert scripts.reap() == [0, 0, 0]
    session.step()
    scripts.wait(PAUSE + 20)
    assert scripts.reap() == [0, 0, 0]
    # The mark of the first lapse does not count for the second one.
    scripts.wait(LEASE)
    assert scripts.reap() == [0, 0, 0]
    assert session.step(*part(answer, 2, TEXT[2:])) == [b"ok", []]


def test_reap_ignores_a_mark_from_long_ago(scripts: Scripts, front: Front) -> None:
    """Redis was away after it had marked the session."""
    session, _ = running(scripts, front, 2)
    scripts.wait(LEASE + 20)
    assert scripts.reap() == [0, 0, 0]
    scripts.wait(11 * PAUSE)
    assert scripts.reap() == [0, 0, 0]
    assert session.step() == [b"ok", []]


def test_reaped_answer_is_next_in_queue(scripts: Scripts, front: Front) -> None:
    _, answer = running(scripts, front, 2)
    other = Session(scripts, lease=60_000)
    later = [front.submit()[0] for _ in range(2)]
    scripts.lapse()
    assert other.claimed() == [answer, *later]


def test_answer_without_progress_ends_after_two_workers(scripts: Scripts, front: Front) -> None:
    answer = ""
    for attempt in range(2):
        session = Session(scripts)
        answer = answer or front.submit()[0]
        assert session.claimed() == [answer]
        assert scripts.lapse() == ([1, 1, 0] if attempt == 0 else [1, 0, 1])
    assert scripts.of_answer(answer)["state"] == "failed"
    assert scripts.of_answer(answer)["code"] == "EXHAUSTED"
    assert [message.k for message in front.messages()] == [ENDED]


def test_answer_with_progress_ends_after_five_workers(scripts: Scripts, front: Front) -> None:
    frames = chain("begin", *"abcdefgh")
    answer, done = "", []
    for attempt in range(5):
        session = Session(scripts, lease=50)
        answer = answer or front.submit()[0]
        assert session.claimed() == [answer]
        session.step(*part(answer, attempt + 1, [frames[attempt + 1]], new=True))
        done.append(scripts.lapse(50))
    assert done == [[1, 1, 0]] * 4 + [[1, 0, 1]]
    assert scripts.log(answer) == frames[:6]


def test_answer_that_cannot_be_continued_ends(scripts: Scripts, front: Front) -> None:
    session = Session(scripts, digest=None)
    begun, fresh = (front.submit()[0] for _ in range(2))
    assert session.claimed() == [begun, fresh]
    session.step(*part(begun, 1, TEXT[1:2], new=True))
    assert scripts.lapse() == [1, 1, 1]
    assert scripts.of_answer(begun)["code"] == "WORKER"
    assert scripts.of_answer(fresh)["state"] == "queued"


def test_answer_is_continued_by_workers_of_its_digest_alone(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    session.step(*part(answer, 1, TEXT[1:2], new=True))
    other, same = Session(scripts, digest="other"), Session(scripts)
    session.step(*hand_on(answer))
    assert other.claimed() == []
    assert same.claimed() == [answer]


def test_answer_whose_digest_nobody_has_fails(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    session.step(*part(answer, 1, TEXT[1:2], new=True))
    other = Session(scripts, digest="other", lease=60_000)
    session.step("q", *hand_on(answer))
    scripts.look_around()
    assert other.claimed() == []
    found = scripts.of_answer(answer)
    assert (found["state"], found["code"]) == ("failed", "DIGEST")


def test_answer_waits_for_its_digest_after_redis_stood_still(
    scripts: Scripts, front: Front
) -> None:
    """All leases seem to be over then."""
    same, other = (Session(scripts, digest=digest, lease=60_000) for digest in ("d", "other"))
    answer, _ = front.submit()
    assert same.claimed() == [answer]
    same.step(*part(answer, 1, TEXT[1:2], new=True), *hand_on(answer))
    scripts.look_around()
    scripts.wait(2 * LINGER)
    assert other.claimed() == []
    assert same.step() == [b"ok", []]
    assert same.claimed() == [answer]


def test_begin_alone_is_computed_by_any_digest(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    other = Session(scripts, digest="other")
    session.step(*hand_on(answer))
    assert other.claimed() == [answer]
    assert scripts.of_answer(answer)["digest"] == "other"


def test_answer_is_handed_on_where_another_worker_can_go_on(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    keep = b"keep " + answer.encode()
    assert session.step(*part(answer, 1, TEXT[1:2]), "h", answer) == [b"ok", [], keep]
    other = Session(scripts, digest="other")
    assert session.step("h", answer, consumed=1) == [b"ok", [], keep]
    other.step("q")
    same = Session(scripts)
    assert session.step("h", answer, consumed=1) == [b"ok", []]
    assert same.claimed() == [answer]
    session.step("q")
    # The session that takes no answers any more is no other worker.
    assert same.step("h", answer) == [b"ok", [], keep]


def test_abandoned_answer_of_the_caller_is_cancelled(scripts: Scripts, front: Front) -> None:
    session = Session(scripts, lease=60_000)
    abandoned, _ = front.submit(linger=10)
    shown, _ = front.submit()
    assert session.claimed() == [abandoned, shown]
    scripts.look_around()
    scripts.reap(session.name)
    scripts.reap(session.name)
    assert session.step() == [b"ok", [], b"cancel " + abandoned.encode()]


@pytest.mark.parametrize("ms", [2 * LINGER, -2 * LINGER])
def test_clock_that_is_set_ends_no_answer(scripts: Scripts, front: Front, ms: int) -> None:
    """Nor does a Redis that stood still. The worker is faster than the front, which looks once a
    second."""
    session = Session(scripts, lease=3 * LINGER)
    answer, _ = front.submit()
    assert session.claimed() == [answer]
    scripts.look_around()
    scripts.wait(ms)
    scripts.reap(session.name)
    scripts.wait(900)
    scripts.reap(session.name)
    front.look(answer)
    scripts.look_around()
    scripts.reap(session.name)
    assert session.step() == [b"ok", []]


def test_look_keeps_an_answer_from_being_abandoned(scripts: Scripts, front: Front) -> None:
    session = Session(scripts, lease=60_000)
    answer, _ = front.submit(linger=100)
    assert session.claimed() == [answer]
    scripts.look_around()
    front.look(answer)
    for _ in range(3):
        scripts.wait(60)
        front.look(answer)
        scripts.reap(session.name)
    assert session.step() == [b"ok", []]


# ---- retries -------------------------------------------------------------------------------------


def poisoned(scripts: Scripts, front: Front) -> str:
    """An answer in the queue whose worker has died before its first frame."""
    session = Session(scripts, lease=50)
    answer, _ = front.submit()
    assert session.claimed() == [answer]
    scripts.lapse(50)
    return answer


def test_retry_runs_alone(scripts: Scripts, front: Front) -> None:
    answer = poisoned(scripts, front)
    session = Session(scripts)
    later = [front.submit()[0] for _ in range(3)]
    assert session.claimed() == [answer]
    assert session.claimed() == []
    session.step(*part(answer, 1, TEXT[1:], new=True), *end(answer))
    assert session.claimed() == later


def test_retry_does_not_wait_for_ever_for_busy_workers(scripts: Scripts, front: Front) -> None:
    sessions = [Session(scripts, lease=60_000) for _ in range(2)]
    busy = [front.submit()[0] for _ in range(2)]
    assert [session.claimed(1) for session in sessions] == [[answer] for answer in busy]
    answer = poisoned(scripts, front)
    later = [front.submit()[0] for _ in range(4)]
    # The first that comes to it is kept free for it; the other goes on.
    assert sessions[0].claimed(1) == []
    assert sessions[1].claimed(1) == later[:1]
    assert sessions[0].claimed(1) == []
    sessions[0].step(*end(busy[0]))
    assert sessions[0].claimed(9) == [answer]
    sessions[0].step(*part(answer, 1, TEXT[1:], new=True), *end(answer))
    assert sessions[0].claimed(9) == later[1:]


def test_retry_kept_for_a_dead_worker_is_taken_by_another(scripts: Scripts, front: Front) -> None:
    dying, other = Session(scripts, lease=1000), Session(scripts, lease=60_000)
    first, second = (front.submit()[0] for _ in range(2))
    assert dying.claimed(1) == [first]
    assert other.claimed(1) == [second]
    dying.step(*part(first, 1, TEXT[1:2], new=True))
    answer = poisoned(scripts, front)
    assert dying.claimed(1) == []
    assert scripts.of_answer(answer)["by"] == dying.name
    scripts.lapse(1000)
    other.step(*end(second))
    assert other.claimed(1) == [first]
    assert other.claimed(1) == []
    other.step(*end(first))
    assert other.claimed(1) == [answer]


# ---- cancel --------------------------------------------------------------------------------------


def test_cancel_of_waiting_answer_ends_it(scripts: Scripts, front: Front) -> None:
    session = Session(scripts)
    answer, _ = front.submit()
    assert scripts("cancel", answer, TTL) == b"ok"
    assert scripts.of_answer(answer)["state"] == "cancelled"
    assert session.claimed() == []
    assert [message.k for message in front.messages()] == [ENDED]


def test_cancel_and_end_cannot_both_win(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    scripts("cancel", answer, TTL)
    session.step(*end(answer))
    assert scripts.of_answer(answer)["state"] == "ended"
    assert scripts("cancel", answer, TTL) == b"none"
    assert [message.k for message in front.messages()] == [ENDED]


def test_repeated_cancel_is_told_once(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    for _ in range(100):
        assert scripts("cancel", answer, TTL) == b"ok"
    assert session.step() == [b"ok", [], b"cancel " + answer.encode()]


@pytest.mark.parametrize("how", ["reaped", "handed on"])
def test_cancel_survives_its_worker(scripts: Scripts, front: Front, how: str) -> None:
    session, answer = running(scripts, front, 2)
    scripts("cancel", answer, TTL)
    if how == "reaped":
        scripts.lapse()
    else:
        session.step(*hand_on(answer))
    assert scripts.of_answer(answer)["state"] == "cancelled"
    assert Session(scripts).claimed() == []
    assert [message.k for message in front.messages()] == [ENDED]


# ---- draining ------------------------------------------------------------------------------------


def test_handed_on_answer_goes_on_elsewhere(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    successor = Session(scripts)
    step = (*part(answer, 2, TEXT[2:3]), *hand_on(answer))
    assert session.step(*step) == [b"ok", []]
    assert session.step(*step, again=True) == [b"done", []]
    (entry,) = successor.claim()[1:]
    assert entry[8] == TEXT[:3]
    assert session.step(*part(answer, 3, OTHER[3:])) == [b"ok", [answer.encode()]]
    assert successor.step(*part(answer, 3, TEXT[3:])) == [b"ok", []]
    assert [message.k for message in front.messages()] == [2, 3, 4]
    assert scripts.of_answer(answer)["attempts"] == "1"


def test_close_forgets_the_session(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    assert session.command("close") == [b"busy"]
    session.n -= 1
    session.step(*end(answer))
    assert session.command("close") == [b"ok"]
    assert session.command("close", again=True) == [b"gone"]
    assert front.submit()[1] == [b"absent"]
    assert scripts("status") == [[], [[b"m", 0, 0, b'{"digest": "d"}']]]


# ---- attach and look -----------------------------------------------------------------------------


def test_attach_brings_what_the_front_lacks(scripts: Scripts, front: Front) -> None:
    _, answer = running(scripts, front, 4)
    other = Front(scripts)
    for have in range(5):
        reply = other.attach(answer, TEXT[:have])
        assert reply[:7] == [b"ok", b"running", b"", b"", b"m", b"key", 4]
        assert reply[7:] == TEXT[have:4]
    assert other.attach(answer, [], most=2)[6:] == [4, *TEXT[:2]]
    assert other.attach(answer, TEXT[:2], most=2)[6:] == [4, *TEXT[2:4]]


def test_attach_with_other_text_is_diverged(scripts: Scripts, front: Front) -> None:
    _, answer = running(scripts, front, 4)
    assert front.attach(answer, OTHER[:2])[0] == b"ok"
    assert front.attach(answer, OTHER[:3]) == [b"diverged"]


def test_attach_beyond_the_log_says_how_much_there_is(scripts: Scripts, front: Front) -> None:
    _, answer = running(scripts, front, 3)
    assert front.attach(answer, TEXT) == [b"beyond", 3]


def test_attach_to_unknown_answer_is_none(scripts: Scripts, front: Front) -> None:
    assert front.attach("0" * 32, []) == [b"none"]
    assert scripts.client.dbsize() == 0


def test_attach_after_the_end_brings_it(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 3)
    session.step(*end(answer, "failed", -7))
    reply = front.attach(answer, TEXT[:1])
    assert reply == [b"ok", b"failed", b"-7", b"", b"m", b"key", 3, *TEXT[1:3]]


def test_look_tells_lost_and_other_texts(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 3)
    assert front.look(answer, "0" * 32) == [(3, TEXT[2][:4], "running"), (-1, b"", "")]
    session.step(*end(answer))
    assert front.look(answer) == [(3, TEXT[2][:4], "ended")]


def test_front_that_detaches_gets_nothing_more(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front)
    other = Front(scripts)
    other.attach(answer, TEXT[:1])
    session.step(*part(answer, 1, TEXT[1:2]))
    scripts("detach", front.name, answer)
    session.step(*part(answer, 2, TEXT[2:3]))
    assert [message.k for message in front.messages()] == [1]
    assert [message.k for message in other.messages()] == [1, 2]
    scripts("detach", other.name, answer)
    assert not scripts.client.exists(f"{PREFIX}fr:{answer}")


def test_front_that_has_left_is_forgotten(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    client = scripts.client
    client.append(f"{PREFIX}fr:{answer}", "f" * 32)
    session.step(*end(answer))
    assert client.get(f"{PREFIX}fr:{answer}") == front.name.encode()
    assert client.pttl(f"{PREFIX}fr:{answer}") > 0


# ---- open and adopt ------------------------------------------------------------------------------


def test_repeated_open_changes_nothing(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    assert session.open() == [answer]
    assert session.step(*part(answer, 2, TEXT[2:])) == [b"ok", []]


def test_adopt_of_answer_of_live_session_is_dropped(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    other = Session(scripts)
    assert other.adopt(answer, TEXT) == [b"dropped", b"owned"]
    assert scripts.log(answer) == TEXT[:2]
    assert session.step(*part(answer, 2, TEXT[2:])) == [b"ok", []]


def test_adopt_of_ended_answer_is_dropped(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    session.step(*end(answer))
    assert Session(scripts).adopt(answer, TEXT[:2]) == [b"dropped", b"over"]


def test_adopt_after_fencing_takes_it_out_of_the_queue(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    scripts.lapse()
    again = Session(scripts, before=session.name)
    assert again.inherited == []
    assert again.adopt(answer, TEXT[:4]) == [b"ok", 2]
    assert Session(scripts).claimed() == []
    assert again.step(*part(answer, 2, TEXT[2:4])) == [b"ok", []]
    assert scripts.log(answer) == TEXT[:4]


def test_adopt_of_other_text_is_dropped(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 4)
    scripts.lapse()
    again = Session(scripts, before=session.name)
    assert again.adopt(answer, OTHER) == [b"dropped", b"diverged"]
    assert again.adopt(answer, TEXT[:3]) == [b"dropped", b"diverged"], "Redis has more"
    assert again.claimed() == [answer]


def test_late_copy_of_adopt_takes_nothing_back(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    scripts.lapse()
    again = Session(scripts, before=session.name)
    assert again.adopt(answer, TEXT[:2]) == [b"ok", 2]
    assert again.adopt(answer, TEXT[:2], again=True) == [b"ok", 2]
    number = again.n
    again.step(*hand_on(answer))
    again.n, later = number, again.n
    assert again.adopt(answer, TEXT[:2], again=True) == [b"dropped", b"owned"]
    again.n = later
    assert scripts.of_answer(answer)["state"] == "queued"


def test_adopt_passes_on_a_cancel(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    scripts("cancel", answer, TTL)
    again = Session(scripts, before=session.name)
    assert again.inherited == [answer]
    assert again.adopt(answer, TEXT[:2]) == [b"ok", 2]
    assert again.step() == [b"ok", [], b"cancel " + answer.encode()]


def test_inherited_answer_that_is_not_held_is_handed_on(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    again = Session(scripts, before=session.name)
    assert session.step(*part(answer, 2, TEXT[2:])) == [b"gone"]
    assert again.inherited == [answer]
    again.step(*hand_on(answer))
    assert Session(scripts).claimed() == [answer]


# ---- memory --------------------------------------------------------------------------------------


def test_step_without_memory_does_nothing(scripts: Scripts, front: Front) -> None:
    session, answer = running(scripts, front, 2)
    client = scripts.client
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            session.step(*part(answer, 2, TEXT[2:]), *end(answer))
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            session.claim(again=True)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            Session(scripts)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            front.submit()
    finally:
        client.config_set("maxmemory", 0)
    assert scripts.log(answer) == TEXT[:2]
    assert session.step(*part(answer, 2, TEXT[2:]), again=True) == [b"ok", []]
    assert scripts.log(answer) == TEXT


def test_no_session_is_reaped_for_lack_of_memory(
    scripts: Scripts, front: Front, shared_server: RedisServer
) -> None:
    session, answer = running(scripts, front, 2)
    client = shared_server.client()
    client.config_set("maxmemory", 1)
    try:
        scripts.wait(LEASE + 20)
        for _ in range(3):
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                scripts.reap()
            scripts.wait(PAUSE)
    finally:
        client.config_set("maxmemory", 0)
    assert session.step(*part(answer, 2, TEXT[2:])) == [b"ok", []]


# ---- status --------------------------------------------------------------------------------------


def test_status_shows_workers_and_queues(scripts: Scripts, front: Front) -> None:
    session, _ = running(scripts, front, 2)
    front.submit()
    (worker,), (model,) = scripts("status")
    assert worker[:3] == [session.name.encode(), b"worker", b"m"]
    assert 0 < worker[3] <= LEASE
    assert worker[4:] == [1, session.n]
    assert model == [b"m", 1, 1, b'{"digest": "d"}']


# ---- rights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("KEYS", "*"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("GET", "another key"),
        ("SET", "another key", "1"),
        ("DEL", "{other}:m:1"),
        ("XADD", "{other}:s:1", "*", "f", "x"),
        ("PUBLISH", "{other}:c:1", "x"),
        ("SUBSCRIBE", "{other}:c:1"),
        ("PSUBSCRIBE", "*"),
        ("SCAN", "0"),
        ("MONITOR",),
        ("EVAL", "return redis.call('GET', 'another key')", "0"),
    ],
)
def test_user_of_the_manual_may_do_no_more_than_it_needs(
    scripts: Scripts, command: tuple[str, ...]
) -> None:
    """All other tests of this file show that it may do as much."""
    with pytest.raises(
        (redis.exceptions.NoPermissionError, redis.exceptions.ResponseError)
    ) as found:
        scripts.user.execute_command(*command)
    words = ("no permissions", "can't access", "No permissions")
    assert any(word in str(found.value) for word in words), found.value


def test_user_of_the_manual_has_no_command_that_is_not_used() -> None:
    text = "".join(path.read_text() for path in SCRIPTS.glob("*.lua"))
    called = {name.lower() for name in re.findall(r"redis\.p?call\('([A-Z]+)'", text)}
    (line,) = (
        line
        for line in (ROOT / "packaging/redis-users.acl").read_text().splitlines()
        if line.startswith("user burble ")
    )
    allowed = {word[1:] for word in line.split() if word.startswith("+")}
    # Beside the scripts: what a connection sends itself.
    connection = {"auth", "select", "ping", "info", "subscribe", "unsubscribe", "eval", "evalsha"}
    assert allowed == called | connection
