# SPDX-License-Identifier: MIT
"""Fronts, workers and Redis are killed, stopped and rolled back; clients check each byte.

All processes are real: fronts are `burble serve --redis`, workers are fake_engine.c, whose text is
a function of seed and position. A seed chooses what happens when; a failure names it (SEED=…).
With BURBLE_TEST_LONG=1, there are 100 to 1,000 faults of each kind; with 0.1, a tenth of that. Each
test prints how long its readers have waited.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest
from fleet import LEASE, REAP_PAUSE, Fleet, Process, fleet, needs_fleet
from protocol import PREFIX
from readers import EXHAUSTED, Crowd, Unknown, metric

LONG = float(os.environ.get("BURBLE_TEST_LONG") or 0)
SEED = int(os.environ.get("SEED", "20261129"))

pytestmark = [needs_fleet, pytest.mark.timeout(7200 if LONG else 120)]


def faults(few: int, many: int) -> int:
    """How many faults there are."""
    return max(few, round(many * LONG))


# What the protocol promises, in seconds: a reader whose front has died goes on at another one; a
# reader whose worker has died gets the rest, or a typed error, after the lease, the two passes of
# reaping (each a half of the lease late, since it is asked for that often), and 2 s.
RESUMED_WITHIN = 1.0
REAPED_WITHIN = (2 * LEASE + REAP_PAUSE) / 1000 + 2.0
# How many times as long it may take here: the machine may be busy with other things.
SLACK = 10

# Any typed error.
TYPED = ""


def check(crowd: Crowd, made: Fleet, allowed: str | None = None, within: float = 0.0) -> None:
    """No client was shown a wrong byte, and none hung; errors have the text that is ``allowed``.

    Half of the answers that had to wait have waited for no longer than ``within``, all but for the
    machine.
    """
    crowd.stop()
    context = f"seed {SEED}\n{crowd.broken[:5]}\n{crowd.failed[:5]}\n{made.logs()}"
    assert crowd.broken == [], context
    assert made.crashes() == [], context
    wrong = [error for error in crowd.failed if allowed is None or allowed not in error]
    assert wrong == [], f"{wrong[:5]}\n{context}"
    assert len(crowd.finished) >= crowd.size, context
    retries: Counter[str] = Counter()
    for reading in crowd.finished:
        retries += reading.retries
    cuts = sum(reading.cuts.total() for reading in crowd.finished)
    silences = sorted(reading.silence for reading in crowd.finished)
    half, most = silences[len(silences) // 2], silences[-1]
    late = sum(silence > within for silence in silences) if within else 0
    print(
        f"seed {SEED}: {len(crowd.finished)} answers were read whole, {len(crowd.failed)} ended "
        f"with a typed error {crowd.failed[:3]}; cuts {cuts}, retries {dict(retries)}; longest "
        f"silence of an answer: median {half:.3f} s, 99 % {silences[len(silences) * 99 // 100]:.3f}"
        f" s, most {most:.3f} s" + (f"; {late} above {within:.1f} s" if within else "")
    )
    if within:
        assert half <= within, context
        assert most <= SLACK * within, context


def pause(rng: random.Random, least: float, most: float) -> None:
    """Between two faults."""
    time.sleep(rng.uniform(least, most))


def test_killed_fronts_lose_no_byte() -> None:
    rng = random.Random(SEED)
    with fleet(fronts=3, workers=1) as made:
        crowd = Crowd(made.ports, SEED, most_cuts=0)
        for _ in range(faults(8, 1000)):
            pause(rng, 0.1, 0.5)
            front = rng.choice(made.fronts)
            front.kill()
            front.start()
        check(crowd, made, within=RESUMED_WITHIN)
        assert all(worker.starts == 1 for worker in made.workers)


def test_killed_workers_lose_no_byte() -> None:
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=4) as made:
        crowd = Crowd(made.ports, SEED, size=12)
        for _ in range(faults(5, 1000)):
            pause(rng, 0.3, 0.9)
            worker = rng.choice(made.workers)
            worker.kill()
            worker.start()
        check(crowd, made, EXHAUSTED, within=REAPED_WITHIN)


def test_frozen_workers_show_no_stale_byte() -> None:
    """Half of the workers are frozen, for longer than their lease and the passes of reaping."""
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=8) as made:
        crowd = Crowd(made.ports, SEED, size=12)
        frozen: list[tuple[float, Process]] = []
        for _ in range(faults(4, 1000)):
            if len(frozen) == 4:
                until, worker = frozen.pop(0)
                time.sleep(max(0.0, until - time.monotonic()))
                worker.signal(signal.SIGCONT)
            awake = [worker for worker in made.workers if worker not in [w for _, w in frozen]]
            worker = rng.choice(awake)
            worker.signal(signal.SIGSTOP)
            lapsed = (2 * LEASE + REAP_PAUSE) / 1000
            frozen.append((time.monotonic() + rng.uniform(lapsed, lapsed + 1.5), worker))
            pause(rng, 0.05, 0.3)
        for until, worker in frozen:
            time.sleep(max(0.0, until - time.monotonic()))
            worker.signal(signal.SIGCONT)
        check(crowd, made, EXHAUSTED)
        assert all(worker.starts == 1 for worker in made.workers)
        fenced = sum(worker.log.read_text().count("was fenced") for worker in made.workers)
        print(f"{fenced} sessions were fenced")


def test_killed_redis_with_its_data_loses_no_byte() -> None:
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=2) as made:
        crowd = Crowd(made.ports, SEED)
        for _ in range(faults(4, 100)):
            pause(rng, 0.3, 1.5)
            made.redis.kill()
            pause(rng, 0, 0.5)
            made.redis.start()
        pause(rng, 1, 1.5)
        check(crowd, made)


def test_killed_redis_whose_disk_is_slow_loses_no_byte() -> None:
    """It has answered before it has written: what it loses, its workers write again."""
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=2, disk_is_slow=True) as made:
        crowd = Crowd(made.ports, SEED)
        for _ in range(faults(3, 100)):
            pause(rng, 0.5, 2.0)
            made.redis.kill()
            made.redis.start()
        pause(rng, 1, 1.5)
        check(crowd, made)
        lost = sum(worker.log.read_text().count("was rolled back") for worker in made.workers)
        print(f"{lost} times, Redis had lost what it had confirmed")


def test_redis_killed_without_its_data_loses_no_byte() -> None:
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=2) as made:
        crowd = Crowd(made.ports, SEED)
        for _ in range(faults(3, 100)):
            pause(rng, 0.5, 1.5)
            made.redis.kill()
            made.redis.forget()
            pause(rng, 0, 0.3)
            made.redis.start()
        pause(rng, 1, 1.5)
        check(crowd, made)


def settle(rng: random.Random) -> None:
    """Leave Redis alone until fronts say of a lost answer that it is lost: after each restart, they
    ask its client to come back, for a lease and two seconds."""
    pause(rng, 3, 3.5)


def test_rolled_back_redis_contradicts_nothing() -> None:
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=3) as made:
        crowd = Crowd(made.ports, SEED)
        for n in range(faults(3, 1000)):
            pause(rng, 0.2, 0.8)
            if n % 20 == 19:
                settle(rng)
            made.snapshot("early")
            pause(rng, 0.05, 1.0)
            if rng.random() < 0.3:
                # Whoever had written the tail is lost, too.
                worker = rng.choice(made.workers)
                worker.kill()
                worker.start()
            made.roll_back("early")
        pause(rng, 1, 1.5)
        check(crowd, made, TYPED)


def test_frozen_redis_costs_no_worker_its_answers() -> None:
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=2) as made:
        crowd = Crowd(made.ports, SEED)
        for _ in range(faults(2, 200)):
            pause(rng, 0.3, 0.8)
            made.redis.signal(signal.SIGSTOP)
            pause(rng, 2 * LEASE / 1000, 10 * LEASE / 1000)
            made.redis.signal(signal.SIGCONT)
        pause(rng, 1.5, 2)
        check(crowd, made)
        assert sum(metric(port, "burble_relay_reaped_total") for port in made.ports) == 0
        assert "reaped" not in "".join(w.log.read_text() for w in made.workers)


def test_everything_at_once() -> None:
    rng = random.Random(SEED)
    with fleet(fronts=3, workers=4) as made:
        crowd = Crowd(made.ports, SEED, size=12)
        deadline = time.monotonic() + max(6, 600 * LONG)
        done: Counter[str] = Counter()
        stopped: list[threading.Timer] = []
        while time.monotonic() < deadline:
            pause(rng, 0.1, 0.6)
            what = rng.choice(("front", "front", "worker", "worker", "freeze", "redis", "tail"))
            done[what] += 1
            if what in ("front", "worker"):
                process = rng.choice(made.fronts if what == "front" else made.workers)
                process.kill()
                process.start()
            elif what == "freeze":
                process = rng.choice(made.fronts + made.workers)
                process.signal(signal.SIGSTOP)
                stopped.append(threading.Timer(rng.uniform(0.2, 3), wake, (process,)))
                stopped[-1].start()
            elif what == "redis":
                made.redis.kill()
                made.redis.start()
            else:
                made.snapshot("early")
                pause(rng, 0.05, 0.5)
                made.roll_back("early")
        for timer in stopped:
            timer.join()
        print(dict(done))
        check(crowd, made, TYPED)


def test_texts_of_different_workers_are_never_mixed() -> None:
    """Each worker writes another text, and Redis loses what clients have seen."""
    rng = random.Random(SEED)
    with fleet(fronts=2, workers=3, others=1) as made:
        crowd = Crowd(made.ports, SEED, size=12, kind=Unknown)
        for n in range(faults(3, 1000)):
            pause(rng, 0.2, 0.8)
            if n % 20 == 19:
                settle(rng)
            made.snapshot("early")
            pause(rng, 0.1, 0.6)
            for worker in rng.sample(made.workers, 2):
                worker.kill()
                worker.start()
            if rng.random() < 0.7:
                made.roll_back("early")
        pause(rng, 1, 1.5)
        check(crowd, made, TYPED)


def wake(process: Any) -> None:
    """Let a process go on, unless it was killed meanwhile."""
    if process.is_running():
        process.signal(signal.SIGCONT)


def test_terminated_worker_with_100_answers_cuts_none() -> None:
    with fleet(fronts=2, workers=2, slots=200, rate=30) as made:
        first, second = made.workers
        second.kill()
        crowd = Crowd(made.ports, SEED, 100, least_pieces=200, most_pieces=210, most_cuts=0)
        deadline = time.monotonic() + 60
        while (running := answers_of(made)) < 100:
            assert time.monotonic() < deadline, f"expected 100 answers that run, found {running}"
            time.sleep(0.01)
        second.start()
        while len(made.redis.client().zrange(f"{PREFIX}w", 0, -1)) < 2:  # type: ignore[arg-type]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        began = time.monotonic()
        assert first.end() == 0
        print(f"{running} answers were handed on in {time.monotonic() - began:.3f} s")
        check(crowd, made, within=RESUMED_WITHIN)
        assert "goes on with the answer" in second.log.read_text()


def answers_of(made: Fleet) -> int:
    """How many answers workers compute, as Redis knows it."""
    client = made.redis.client()
    return sum(int(client.scard(key)) for key in client.scan_iter(f"{PREFIX}own:*"))  # type: ignore[arg-type]


def test_worker_that_stalls_gives_its_answers_up() -> None:
    with fleet(fronts=1, workers=1, **{"stall-at": 5, "stall": 1000}) as made:
        crowd = Crowd(made.ports, SEED, size=2, most_pieces=60, most_cuts=0)
        time.sleep(0.5)
        healthy = made.workers[0].command[:-4]
        made.workers[0].command, stalled = healthy, made.workers[0].command
        assert stalled != healthy
        made.workers[0].process, old = None, made.workers[0].process
        made.workers[0].start()
        try:
            check(crowd, made)
        finally:
            assert old is not None
            old.kill()
            old.wait()
