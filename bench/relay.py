# SPDX-License-Identifier: MIT
"""Measures answers over Redis (libburble-relay) beside the same without it, and the usual ways.

`steps` is Redis alone, with steps of any number of frames. `streams` is 500 clients of a front that
get 50 tokens a second each from a worker, and the same clients of a server with the text in its own
process. `most` has ten times the tokens. `peers` is one XADD for each token and an XREAD
BLOCK for each client, and one PUBLISH for each token, from redis-py (relay_peers.py); burble has
the same load there.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from statistics import median

import relay_peers
import relay_redis
from benchmark import Measured, Options, Report, Table, collect, shuffled, three_digits
from goals import at_least, at_most, quartiles, ratios
from serve_servers import Server, load

from serve import Part

FRAMES = (1, 16, 64, 256)
CLIENTS, RATE = 500, 50
MOST_RATE = 500  # pieces a second of each of the clients: more than gets through
PEER_CLIENTS, PEER_RATE = 100, 20
WARM = 2.0  # seconds until all clients have their answers
PATIENCE = 30

# ---- measuring -----------------------------------------------------------------------------------


def measure(options: Options) -> Measured:
    """Measure."""
    samples: dict[str, list[float]] = {}
    wanted = os.environ.get("RELAY_PARTS", "steps,streams,most,peers").split(",")
    if "steps" in wanted:
        samples |= _steps(options)
    if "streams" in wanted:
        samples |= _streams(options)
    if "most" in wanted:
        samples |= _most(options)
    if "peers" in wanted:
        samples |= _peers(options)
    return Measured(samples, {})


def _steps(options: Options) -> dict[str, list[float]]:
    tokens = options.choose(full=60_000, quick=40_000, smoke=1000)

    def one_round() -> dict[str, float]:
        found: dict[str, float] = {}
        for frames in FRAMES:
            steps = max(min(tokens, 4000 * frames) // frames, relay_redis.SESSIONS)
            seen = relay_redis.send_steps(frames, steps)
            seen["floor"] = relay_redis.add_frames(frames, steps)
            found |= {f"steps {frames}, {name}": value for name, value in seen.items()}
        return found

    return collect("steps", options.choose(full=7, quick=3, smoke=1), one_round)


@contextmanager
def _numbers(options: Options, *words: object) -> Iterator[Server]:
    """A process of relay_numbers.c."""
    command = [options.program("relay_numbers"), *words]
    with subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process, "numbers", None)
        finally:
            process.kill()


def _has_model(front: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while b'"numbers"' not in front.get("/v1/models")[1]:
        if time.monotonic() > deadline:
            raise SystemExit("the front does not find its worker")
        time.sleep(0.05)  # (nothing tells when it does)


def _seconds(options: Options) -> float:
    return options.choose(full=5.0, quick=3.0, smoke=0.5)


def _load(server: Server, options: Options, clients: int) -> dict[str, float]:
    """Clients of a server, for a while."""
    asked: dict[str, object] = {"clients": clients, "chat": True, "max-tokens": 0}
    asked |= {"header": "Burble-Resumable: true", "rate": 1000, "warm": WARM}
    seen = load(server, options, seconds=_seconds(options), **asked)
    if seen["broken"]:
        raise SystemExit(f"{seen['broken']} answers have ended: {seen['statuses']}")
    found = {"front": seen["server_us"], "client": seen["client_us"]}
    found["tokens"] = seen["tokens_per_second"]
    return found | {percent: seen["delay_ms"][percent] for percent in ("p50", "p99", "max")}


def _over_redis(options: Options, clients: int, rate: float) -> dict[str, float]:
    """A Redis, a worker, and a front with clients."""
    with ExitStack() as stack:
        server = stack.enter_context(relay_redis.running())
        worker = stack.enter_context(_numbers(options, "work", server.url, rate))
        front = stack.enter_context(_numbers(options, "front", server.url))
        _has_model(front)
        seconds = _seconds(options)
        loading = stack.enter_context(ThreadPoolExecutor(1)).submit(_load, front, options, clients)
        time.sleep(WARM + 0.1 * seconds)
        before, worked = server.usage(), worker.cpu_seconds()
        time.sleep(0.8 * seconds)
        after, has_worked = server.usage(), worker.cpu_seconds()
        found = loading.result()
        took = after.at - before.at
        tokens = found["tokens"] * took
        found["worker"] = (has_worked - worked) / tokens * 1e6
        found["redis"] = (after.cpu - before.cpu) / tokens * 1e6
        found["memory"] = (after.memory - before.memory) / tokens
        found["frames"] = tokens / (after.steps - before.steps)
        found["busy"] = (after.cpu - before.cpu) / took
        return found


def _alone(options: Options, clients: int, rate: float) -> dict[str, float]:
    """A server with the text in its own process."""
    with _numbers(options, "alone", rate) as server:
        return _load(server, options, clients)


def _streams(options: Options) -> dict[str, list[float]]:
    def one_round() -> dict[str, float]:
        found: dict[str, float] = {}
        for who in shuffled(("redis", "alone")):
            run = _over_redis if who == "redis" else _alone
            seen = run(options, CLIENTS, RATE)
            found |= {f"streams, {who}, {name}": value for name, value in seen.items()}
        return found

    return collect("streams", options.choose(full=7, quick=3, smoke=1), one_round)


def _most(options: Options) -> dict[str, list[float]]:
    def one_round() -> dict[str, float]:
        seen = _over_redis(options, CLIENTS, MOST_RATE)
        return {f"most, {name}": value for name, value in seen.items()}

    return collect("most", options.choose(full=5, quick=2, smoke=1), one_round)


def _peers(options: Options) -> dict[str, list[float]]:
    seconds = options.choose(full=5.0, quick=3.0, smoke=2.0)

    def one_round() -> dict[str, float]:
        found: dict[str, float] = {}
        for who in shuffled(("burble", "XADD", "PUBLISH")):
            if who == "burble":
                seen = _over_redis(options, PEER_CLIENTS, PEER_RATE)
            else:
                seen = relay_peers.run(who, PEER_CLIENTS, PEER_RATE, seconds)
            found |= {f"peers, {who}, {name}": value for name, value in seen.items()}
        return found

    return collect("peers", options.choose(full=5, quick=3, smoke=1), one_round)


# ---- reporting -----------------------------------------------------------------------------------

Samples = Mapping[str, Sequence[float]]


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    found = parts(measured.samples).values()
    return Report(
        "relay",
        "answers over Redis, beside the same without it and the usual ways",
        tables=[table for part in found for table in part.tables],
        goals=[goal for part in found for goal in part.goals],
    )


def parts(samples: Mapping[str, list[float]]) -> dict[str, Part]:
    """Return the tables and goals of each part that was measured."""
    made = {
        "steps": _steps_part,
        "streams": _streams_part,
        "most": _most_part,
        "peers": _peers_part,
    }
    begun = {name.split(" ")[0].rstrip(",") for name in samples}
    return {name: make(samples) for name, make in made.items() if name in begun}


def _format(values: Sequence[float]) -> str:
    lower, middle, upper = map(three_digits, quartiles(values))
    return f"{middle} [{lower}-{upper}]" if len(values) > 1 else middle


def _steps_part(samples: Samples) -> Part:
    titles = {
        "cpu": "µs of CPU a token",
        "floor": "the same, XADDs without a script",
        "tokens": "tokens a second",
        "busy": "Redis's share of a core",
    }
    header = ["Redis, by the frames of a step", *map(str, FRAMES)]
    rows = [
        [title, *[_format(samples[f"steps {frames}, {name}"]) for frames in FRAMES]]
        for name, title in titles.items()
    ]
    # (With more, the answers are shorter than what Redis gets for each beforehand.)
    memory = [_format(samples["steps 16, memory"]) if n == 16 else "" for n in FRAMES]
    rows.append(["bytes a token", *memory])
    goals = []
    for frames in FRAMES[1:]:
        cpu = samples[f"steps {frames}, cpu"]
        goals.append(at_most(f"Redis's CPU a token, {frames} frames a step", 2, cpu, "µs"))
    goals.append(at_most("Redis's memory of a token", 40, samples["steps 16, memory"], "bytes"))
    most = max((samples[f"steps {frames}, tokens"] for frames in FRAMES), key=median)
    goals.append(at_least("tokens a second of one Redis", 100_000, most, "million"))
    return Part([Table(header, rows)], goals)


def _streams_part(samples: Samples) -> Part:
    titles = {
        "p50": "ms from put to the client's socket, p50",
        "p99": "the same, p99",
        "front": "µs of CPU a token, the front",
        "worker": "the worker (beside Redis), with the making of the text",
        "redis": "Redis",
        "client": "the clients",
        "memory": "bytes a token, Redis",
        "frames": "frames a step",
        "tokens": "tokens a second",
    }
    both = [{n: samples.get(f"streams, {who}, {n}") for n in titles} for who in ("redis", "alone")]
    rows = [
        [title, *[_format(values) if (values := each[name]) else "" for each in both]]
        for name, title in titles.items()
    ]
    header = [f"{CLIENTS} streams, {RATE} tokens a second each", "over Redis", "without"]
    late = [1e-3 * value for value in samples["streams, redis, p99"]]
    cpu = [samples[f"streams, {who}, front"] for who in ("redis", "alone")]
    goals = [
        at_most("from put to the client's socket over Redis, p99", 0.005, late, "ms"),
        at_most("a front's CPU a token, by a server's without Redis", 1.5, ratios(*cpu)),
    ]
    return Part([Table(header, rows)], goals)


def _most_part(samples: Samples) -> Part:
    titles = {
        "tokens": "tokens a second at the clients",
        "p99": "ms from put to the client's socket, p99",
        "frames": "frames a step",
        "redis": "µs of CPU a token, Redis",
        "worker": "the worker",
        "front": "the front",
        "client": "the clients",
        "busy": "Redis's share of a core",
    }
    rows = [[title, _format(samples[f"most, {name}"])] for name, title in titles.items()]
    return Part([Table([f"{CLIENTS} streams, {MOST_RATE} tokens a second each", ""], rows)], [])


def _peers_part(samples: Samples) -> Part:
    titles = {
        "redis": "µs of CPU a token, Redis",
        "worker": "the worker",
        "front": "the front",
        "p50": "ms from put to the client, p50",
        "p99": "the same, p99",
        "missed": "tokens missed by a client that was away for 0.25 s",
    }
    ways = {
        "burble": "burble",
        "XADD": "an XADD a token, an XREAD BLOCK a client",
        "PUBLISH": "a PUBLISH a token, a SUBSCRIBE a client",
    }
    rows = []
    for name, title in titles.items():
        each = [samples.get(f"peers, {who}, {name}") for who in ways]
        rows.append([title, *[_format(values) if values else "" for values in each]])
    header = [f"{PEER_CLIENTS} streams, {PEER_RATE} tokens a second each", *ways.values()]
    return Part([Table(header, rows)], [])
