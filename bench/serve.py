# SPDX-License-Identifier: MIT
"""Compares `burble serve` and libburble-serve with other servers of streams, as clients see them.

All have the same clients (serve_load.c), in a process of their own. `speed` and `peers` are servers
of the shipped model with one computing thread; the servers take turns. `rate` is text at a fixed
rate without a model: libburble-serve (serve_numbers.c) beside a bare epoll program that does the
same work (serve_floor.c). `idle`, `stalled` and `close` are bounds: the memory of clients, and the
time from a client's leaving to its free slot.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import serve_servers as servers
from benchmark import Measured, Options, Report, Table, collect, shuffled, three_digits
from goals import Goal, at_least, at_most, quartiles, ratios
from serve_servers import Server, held, load

PROMPTS = ["ROMEO:", "JULIET:\n", "First Citizen:\nWe", "KING RICHARD III:\nNow is the winter"]
TOKENS = 64
SLOTS = (1, 16, 64)
RATE = 30
RATE_CLIENTS = (1000, 9000)
TEXT_RATE = 0.1  # pieces a second of clients that are idle after their first text
PEER_CLIENTS = {16: 16, 256: 64}  # clients, and the slots that they share

Start = Callable[[int, Options], AbstractContextManager[Server]]


def _burble_flash(slots: int, options: Options) -> AbstractContextManager[Server]:
    return servers.burble_serve(slots, options, "on")


def _llama_no_flash(slots: int, options: Options) -> AbstractContextManager[Server]:
    return servers.llama_server(slots, options, "off")


# Each with both settings of flash attention; by default, burble has it off for this model on a
# processor, and llama-server on.
OURS: dict[str, Start] = {"burble": servers.burble_serve, "burble, flash on": _burble_flash}
THEIRS: dict[str, Start] = {
    "llama-server": servers.llama_server,
    "llama-server, flash off": _llama_no_flash,
}
SPEED = {**OURS, **THEIRS}
PEERS: dict[str, Start] = {
    "burble serve": servers.burble_serve,
    "FastAPI": servers.fastapi,
    "llama-cpp-python": servers.llama_cpp_python,
    "transformers": servers.transformers_serve,
}
# When a client leaves, and how many tokens its prompt has.
STAGES = {"answer": 2, "prompt": 400, "queue": 2}
# Threads of a server's front, by the beginnings of their names.
FRONT = ("burble-loop", "burble-work", "burble-serve")

# ---- measuring -----------------------------------------------------------------------------------


def measure(options: Options) -> Measured:
    """Measure."""
    samples: dict[str, list[float]] = {}
    wanted = os.environ.get("SERVE_PARTS", "speed,peers,rate,idle,stalled,close").split(",")
    if "speed" in wanted:
        for slots in SLOTS:
            samples |= _speed(slots, options)
    if "peers" in wanted:
        for clients, slots in PEER_CLIENTS.items():
            samples |= _peers(clients, slots, options)
    if "rate" in wanted:
        for clients in RATE_CLIENTS:
            samples |= _rate(clients, options)
    if "idle" in wanted:
        samples |= _idle(options)
    if "stalled" in wanted:
        samples |= _stalled(options)
    if "close" in wanted:
        samples |= _close(options)
    return Measured(samples, {"threads": servers.THREADS, "context": servers.CONTEXT})


def _figures(seen: Mapping[str, Any]) -> dict[str, float]:
    """Return what a table shows of a load."""
    if seen["broken"]:
        raise SystemExit(f"{seen['broken']} answers did not end as they should: {seen['statuses']}")
    found = {
        "tokens": seen["tokens_per_second"],
        "cpu": seen["cpu_us"],
        "decode": seen["decode_us"],
        "front": sum(us for name, us in seen["threads_us"].items() if name.startswith(FRONT)),
        "client": seen["client_us"],
    }
    for name in ("first", "gap"):
        for percent in ("p50", "p99", "max"):
            found[f"{name} {percent}"] = seen[f"{name}_ms"][percent]
    return found


def _speed(slots: int, options: Options) -> dict[str, list[float]]:
    """As many clients as slots, each of which asks again as soon as it has its answer."""
    seconds = options.choose(full=6.0, quick=4.0, smoke=0.5)
    with ExitStack() as stack:
        running = {who: stack.enter_context(start(slots, options)) for who, start in SPEED.items()}

        def one_round() -> dict[str, float]:
            found = {}
            for who in shuffled(running):
                asked: dict[str, object] = {"clients": slots, "requests": 1_000_000}
                asked |= {"prompt": PROMPTS, "max-tokens": TOKENS, "ignore-eos": True}
                seen = load(running[who], options, warm=1, seconds=seconds, **asked)
                found |= {f"{slots}, {who}, {n}": v for n, v in _figures(seen).items()}
            return found

        rounds = options.choose(full=7, quick=3, smoke=1)
        return collect(f"speed, {slots} slots", rounds, one_round)


def _peers(clients: int, slots: int, options: Options) -> dict[str, list[float]]:
    """One answer for each client, all asked for at once."""
    with ExitStack() as stack:
        running = {who: stack.enter_context(start(slots, options)) for who, start in PEERS.items()}

        def one_round() -> dict[str, float]:
            found = {}
            for who in shuffled(running):
                asked: dict[str, object] = {"clients": clients, "prompt": PROMPTS}
                asked["max-tokens"] = options.choose(full=32, quick=16, smoke=4)
                if who == "transformers":
                    asked["lenient"] = True
                seen = load(running[who], options, patience=300, **asked)
                found |= {f"peers {clients}, {who}, {n}": v for n, v in _figures(seen).items()}
            return found

        rounds = options.choose(full=3, quick=2, smoke=1)
        return collect(f"peers, {clients} clients", rounds, one_round)


def _rate(clients: int, options: Options) -> dict[str, list[float]]:
    """Every client gets 30 pieces a second."""
    seconds = options.choose(full=5.0, quick=3.0, smoke=0.5)

    def one_round() -> dict[str, float]:
        found = {}
        for who in shuffled(("serve_numbers", "serve_floor")):
            with servers.numbered(who, RATE, options) as server:
                asked: dict[str, object] = {"clients": clients, "chat": True}
                asked |= {"max-tokens": 0, "rate": 10_000, "warm": 1 + clients / 5000}
                seen = load(server, options, seconds=seconds, **asked)
                found |= {f"rate {clients}, {who}, {n}": v for n, v in _figures(seen).items()}
                found[f"rate {clients}, {who}, cpu"] = seen["server_us"]
        return found

    rounds = options.choose(full=7, quick=3, smoke=1)
    return collect(f"rate, {clients} clients", rounds, one_round)


def _kernel_bytes() -> int:
    """The memory of the kernel's objects and of TCP's buffers."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    tcp = Path("/proc/net/sockstat").read_text().split("TCP:")[1].split()
    pages = int(tcp[tcp.index("mem") + 1])
    return 1024 * int(fields["Slab"].split()[0]) + os.sysconf("SC_PAGE_SIZE") * pages


def _idle(options: Options) -> dict[str, list[float]]:
    """Clients with an answer whose first text does not come, or has come and no other follows."""
    few, many = options.choose(full=(100, 9000), quick=(100, 5000), smoke=(10, 100))
    found: dict[str, list[float]] = {}
    states = {
        "serve_numbers": ("serve_numbers", 0.0),
        "serve_floor": ("serve_floor", 0.0),
        "after text": ("serve_numbers", TEXT_RATE),
    }
    for who, (program, rate) in states.items():
        with servers.numbered(program, rate, options) as server:
            memory, kernel = {}, {}
            for n in (few, many):
                # (All at once, the most requests that were under way would count, too.)
                asked: dict[str, object] = {"clients": n, "chat": True, "rate": 2000}
                asked["max-tokens"] = 0
                with held(server, options, header="Burble-Resumable: true", **asked):
                    if rate > 0:
                        time.sleep(1.05 / rate)  # until each has its first text
                    memory[n], kernel[n] = server.private_bytes(), _kernel_bytes()
            found[f"idle, {who}, user"] = [(memory[many] - memory[few]) / (many - few)]
            found[f"idle, {who}, kernel"] = [(kernel[many] - kernel[few]) / (many - few)]
    return found


def _stalled(options: Options) -> dict[str, list[float]]:
    """Clients that never read, what they take, and what others notice of them."""
    n, minute = options.choose(full=(1000, 60.0), quick=(1000, 15.0), smoke=(50, 1.0))
    found: dict[str, float] = {}
    with servers.numbered("serve_numbers", RATE, options) as server:

        def others(when: str) -> None:
            seen = load(
                server, options, clients=200, chat=True, warm=1, seconds=3, **{"max-tokens": 0}
            )
            for name, value in _figures(seen).items():
                found[f"stalled, {when}, {name}"] = value
            health = load(server, options, clients=1, requests=500, pause=0.002, get="/health")
            for percent in ("p50", "p99", "max"):
                found[f"stalled, {when}, health {percent}"] = health["total_ms"][percent]

        others("before")
        before = server.private_bytes()
        asked: dict[str, object] = {"clients": n, "stalled": n, "chat": True, "rate": 10_000}
        asked |= {"receive-buffer": 4096, "max-tokens": 0}
        with _stalling(server, options, asked):
            time.sleep(minute)
            found["stalled, memory"] = (server.private_bytes() - before) / n
            others("meanwhile")
    return {name: [value] for name, value in found.items()}


@contextmanager
def _stalling(server: Server, options: Options, asked: Mapping[str, object]) -> Iterator[None]:
    """Clients that never read, so that they do not know that they have their headers."""
    words = servers.words(server, options, {**asked, "seconds": 600})
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


# ---- from the close of a connection to the free slot ---------------------------------------------


def _gauge(name: str, connection: http.client.HTTPConnection) -> int:
    """A number of /metrics."""
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if name in line and not line.startswith("#"):
            return int(float(line.split()[-1]))
    raise SystemExit(f"no {name} in /metrics")


def _running(who: str, connection: http.client.HTTPConnection) -> int:
    """How many slots are taken."""
    if who == "burble":
        return _gauge("requests_running", connection)
    connection.request("GET", "/slots")
    return sum(slot["is_processing"] for slot in json.loads(connection.getresponse().read()))


def _close(options: Options) -> dict[str, list[float]]:
    """A client leaves in its answer, in its prompt, or in the queue, behind another one's answer.

    Until its slot is free, or its place in the queue; llama-server does not say how long that is.
    """
    times = options.choose(full=200, quick=50, smoke=3)
    found: dict[str, list[float]] = {}
    for who, start in (("burble", servers.burble_serve), ("llama-server", servers.llama_server)):
        with start(4, options) as server:
            running = functools.partial(_running, who)
            for stage in ("answer", "prompt"):
                free = functools.partial(_time_to_free, server, stage, running)
                found[f"close, {stage}, {who}"] = _samples(free, times)
    with servers.burble_serve(1, options) as server:
        behind = functools.partial(_time_to_leave_queue, server)
        found["close, queue, burble"] = _samples(behind, times)
    return found


def _samples(measure: Callable[[], float | None], times: int) -> list[float]:
    tries = (measure() for _ in range(10 * times))
    found = list(itertools.islice((time for time in tries if time is not None), times))
    if len(found) < times:
        raise SystemExit(f"expected {times} clients that leave in time, found {len(found)}")
    return found


@contextmanager
def _asking(server: Server, stage: str, tokens: int = 100) -> Iterator[socket.socket]:
    """A client that has sent its request."""
    prompt = [1 + hash((time.monotonic_ns(), i)) % 2000 for i in range(STAGES[stage])]
    body = {"model": server.model, "prompt": prompt, "max_tokens": tokens, "stream": True}
    body["ignore_eos"] = True
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        data = json.dumps(body).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        client.sendall(head.encode() + data)
        yield client


def _await_text(client: socket.socket) -> None:
    while b'"text":"' not in client.recv(65536):
        pass


def _time_to_free(
    server: Server, stage: str, busy: Callable[[http.client.HTTPConnection], int]
) -> float | None:
    """The seconds from a client's leaving until it is not counted; None: its text came before."""
    watching = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        with _asking(server, stage) as client:
            if stage == "answer":
                _await_text(client)
            else:
                while busy(watching) == 0:
                    if select.select([client], [], [], 0)[0]:
                        return None
            left = time.perf_counter()
        while busy(watching) > 0:
            pass
        return time.perf_counter() - left
    finally:
        watching.close()


def _time_to_leave_queue(server: Server) -> float | None:
    with _asking(server, "queue", tokens=500) as first:
        _await_text(first)
        return _time_to_free(server, "queue", functools.partial(_gauge, "requests_waiting"))


# ---- reporting -----------------------------------------------------------------------------------


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    report = Report("serve", "servers of streams; median [quartiles]")
    report.notes.append(
        f"{servers.THREADS} computing thread, a context of {servers.CONTEXT} tokens,"
        f" answers of {TOKENS}"
    )
    for part in parts(measured.samples).values():
        report.tables += part.tables
        report.goals += part.goals
    return report


class Part(NamedTuple):
    """The results of a part of the measurement."""

    tables: list[Table]
    goals: list[Goal]


def parts(samples: Mapping[str, list[float]]) -> dict[str, Part]:
    """Return the parts that were measured, by their names in SERVE_PARTS."""
    has = lambda prefix: any(name.startswith(prefix) for name in samples)  # noqa: E731
    found = {}
    if has("1, "):
        found["speed"] = Part(_speed_tables(samples), _speed_goals(samples))
    if has("peers "):
        found["peers"] = Part([_peer_table(samples, clients) for clients in PEER_CLIENTS], [])
    if has("rate "):
        found["rate"] = Part([_rate_table(samples)], _rate_goals(samples))
    if has("idle, "):
        found["idle"] = Part([_idle_table(samples)], _idle_goals(samples))
    if has("stalled, "):
        found["stalled"] = Part(_stalled_tables(samples), _stalled_goals(samples))
    if has("close, "):
        found["close"] = Part([_close_table(samples)], _close_goals(samples))
    return found


def _format(values: Sequence[float]) -> str:
    lower, middle, upper = map(three_digits, quartiles(values))
    return f"{middle} [{lower}-{upper}]" if len(values) > 1 else middle


def _best(
    samples: Mapping[str, list[float]], slots: int, figure: str, who: Iterable[str]
) -> list[float]:
    """Return the figure of the better setting, round by round."""
    better = max if figure == "tokens" else min
    each = [_figure(samples, slots, name, figure) for name in who]
    return [better(values) for values in zip(*each, strict=True)]


def _figure(samples: Mapping[str, list[float]], slots: int, who: str, figure: str) -> list[float]:
    if figure == "outside":
        both = (samples[f"{slots}, {who}, {name}"] for name in ("cpu", "decode"))
        return [cpu - decode for cpu, decode in zip(*both, strict=True)]
    return samples[f"{slots}, {who}, {figure}"]


def _beside(samples: Mapping[str, list[float]], slots: int, figure: str) -> list[float]:
    """Return burble's figure by llama-server's, each with its better setting."""
    ours, theirs = (_best(samples, slots, figure, who) for who in (OURS, THEIRS))
    return ratios(ours, theirs) if min(theirs) > 0 else []


def _speed_tables(samples: Mapping[str, list[float]]) -> list[Table]:
    titles = {
        "tokens": "tokens a second",
        "first p50": "milliseconds to the first token, p50",
        "first p99": "milliseconds to the first token, p99",
        "gap p50": "milliseconds between tokens, p50",
        "gap p99": "milliseconds between tokens, p99",
        "outside": "µs of CPU a token outside llama_decode",
        "front": "  of it in burble's front",
        "decode": "µs of CPU a token in llama_decode",
        "client": "µs of CPU a token, the client",
    }
    tables = []
    for figure, title in titles.items():
        rows = []
        for slots in SLOTS:
            who = OURS if figure == "front" else SPEED
            each = [_format(_figure(samples, slots, name, figure)) for name in who]
            each += [""] * (len(SPEED) - len(each))
            beside = [] if figure == "front" else _beside(samples, slots, figure)
            last = f"{median(beside):.2f}" if beside else ""
            rows.append([f"{slots} clients", *each, last])
        tables.append(Table([title, *SPEED, "ratio"], rows))
    return tables


def _speed_goals(samples: Mapping[str, list[float]]) -> list[Goal]:
    goals = []
    for slots in SLOTS:
        beside = functools.partial(_beside, samples, slots)
        bound = 1 if slots == 1 else 1.2
        goals.append(at_least(f"tokens a second, {slots} clients", bound, beside("tokens")))
        goals.append(at_most(f"time to first token, {slots} clients", 1, beside("first p50")))
        goals.append(at_most(f"p99 between tokens, {slots} clients", 1, beside("gap p99")))
        front = _best(samples, slots, "front", OURS)
        outside = _best(samples, slots, "outside", THEIRS)
        what = f"CPU a token of the front, by llama-server's beside llama_decode, {slots} clients"
        goals.append(at_most(what, 0.2, ratios(front, outside)))
    return [goal for goal in goals if goal.values]


def _peer_table(samples: Mapping[str, list[float]], clients: int) -> Table:
    rows = [
        [title, *[_format(samples[f"peers {clients}, {who}, {figure}"]) for who in PEERS]]
        for figure, title in (
            ("tokens", "tokens a second"),
            ("cpu", "µs of CPU a token, the model's included"),
            ("first p50", "ms to the first token, p50"),
            ("first p99", "ms to the first token, p99"),
            ("gap p99", "ms between tokens, p99"),
        )
    ]
    return Table([f"{clients} clients", *PEERS], rows)


def _rate_table(samples: Mapping[str, list[float]]) -> Table:
    both = ("serve_numbers", "serve_floor")
    rows = []
    for clients in RATE_CLIENTS:
        for figure, title in (
            ("cpu", "µs of CPU a token"),
            ("tokens", "tokens a second"),
            ("gap p50", "ms between tokens, p50"),
            ("gap p99", "ms between tokens, p99"),
            ("client", "µs of CPU a token, the client"),
        ):
            ours, floor = (samples[f"rate {clients}, {who}, {figure}"] for who in both)
            # (0: most tokens came with another one.)
            beside = f"{median(ratios(ours, floor)):.2f}" if min(floor) > 0 else ""
            rows.append([f"{clients:,} clients: {title}", _format(ours), _format(floor), beside])
    return Table([f"{RATE} pieces a second", "libburble-serve", "bare epoll", "ratio"], rows)


def _rate_goals(samples: Mapping[str, list[float]]) -> list[Goal]:
    return [
        at_most(
            f"CPU a token by the floor's, {clients} clients",
            1.2,
            ratios(
                samples[f"rate {clients}, serve_numbers, cpu"],
                samples[f"rate {clients}, serve_floor, cpu"],
            ),
        )
        for clients in RATE_CLIENTS
    ]


def _idle_table(samples: Mapping[str, list[float]]) -> Table:
    rows = [
        [
            title,
            *[
                _format(samples[f"idle, {who}, {what}"])
                for who in ("serve_numbers", "after text", "serve_floor")
            ],
        ]
        for what, title in (("user", "the server's"), ("kernel", "the kernel's, both ends"))
    ]
    columns = ["libburble-serve", "the same, after a first text", "bare epoll"]
    return Table(["bytes of an idle client", *columns], rows)


def _idle_goals(samples: Mapping[str, list[float]]) -> list[Goal]:
    return [
        at_most(f"memory of a client {when}", 2048, samples[f"idle, {who}, user"], "bytes")
        for who, when in (
            ("serve_numbers", "that is idle"),
            ("after text", "after its first text"),
        )
    ]


def _stalled_tables(samples: Mapping[str, list[float]]) -> list[Table]:
    rows = [
        [
            title,
            *[_format(samples[f"stalled, {when}, {what}"]) for when in ("before", "meanwhile")],
        ]
        for what, title in (
            ("health p50", "/health, p50"),
            ("health p99", "/health, p99"),
            ("gap p50", "between tokens of others, p50"),
            ("gap p99", "between tokens of others, p99"),
        )
    ]
    memory = _format(samples["stalled, memory"])
    return [
        Table(["ms, 1,000 clients that never read", "before", "meanwhile"], rows),
        Table(["", "bytes"], [["memory of a client that never reads", memory]]),
    ]


def _stalled_goals(samples: Mapping[str, list[float]]) -> list[Goal]:
    health = [1e-3 * value for value in samples["stalled, meanwhile, health p99"]]
    memory = samples["stalled, memory"]
    return [
        at_most("memory of a client that never reads", 16384, memory, "bytes"),
        at_most("/health p99 beside 1,000 that never read", 0.005, health, "ms"),
    ]


def _quantile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def _close_table(samples: Mapping[str, list[float]]) -> Table:
    rows = []
    for stage in STAGES:
        for who in ("burble", "llama-server"):
            if f"close, {stage}, {who}" not in samples:
                continue
            values = [1e3 * value for value in samples[f"close, {stage}, {who}"]]
            figures = [_quantile(values, 50), _quantile(values, 99), max(values)]
            rows.append([f"in the {stage}, {who}", *map(three_digits, figures)])
    return Table(["ms from close to free slot", "p50", "p99", "longest"], rows)


def _close_goals(samples: Mapping[str, list[float]]) -> list[Goal]:
    return [
        at_most(
            f"close to free slot in the {stage}, p99",
            0.010,
            [_quantile(samples[f"close, {stage}, burble"], 99)],
            "ms",
        )
        for stage in STAGES
        if f"close, {stage}, burble" in samples
    ]
