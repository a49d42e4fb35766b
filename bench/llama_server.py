# SPDX-License-Identifier: MIT
"""Compares burble's engine with llama-server, as clients see both, on the same llama.cpp.

Both have the same model, threads, slots, context, batch and type of KV cache, and the same clients
(llama_load.c): the engine's read streams in its process, the server's a socket each on the loopback
interface. The workloads take turns between the two. A library that is preloaded into both
(llama_decode_time.c) says how much of their processor time llama_decode has taken.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import llama_weights
from benchmark import ROOT, Measured, Options, Report, Table, collect, shuffled, three_digits
from goals import Goal, at_least, at_most, quartiles, ratios

SERVER = ROOT / "build" / "llama" / "bin" / "llama-server"
# Each as it is, and with the attention that the other one has by default, where that differs.
ENGINES = {"burble": (), "burble, flash on": ("flash",)}
SERVERS = {"llama-server": "auto", "llama-server, flash off": "off"}
WHO = (*ENGINES, *SERVERS)
CONTEXT, BATCH, THREADS = 512, 512, 1
TURNS = 6
# Seconds that a server may take to load its model.
PATIENCE = 60


class Load(NamedTuple):
    """How much is asked for of a model."""

    model: Callable[[], Path]
    tokens: Mapping[int, int]  # that each answer has, by the number of answers at once
    seconds: float  # of a measurement of gaps
    interval: float  # between the prompts that come then, seconds
    prompt: int  # their tokens
    behind: int  # tokens of each of the eight prompts before a short one
    who: Sequence[str]


LOADS = {
    "shipped": Load(
        model=lambda: llama_weights.SHIPPED,
        tokens={1: 480, 4: 256, 16: 256, 64: 128, 256: 64},
        seconds=3,
        interval=0.1,
        prompt=500,
        behind=500,
        who=WHO,
    ),
    "large": Load(
        model=llama_weights.made,
        tokens={1: 24, 4: 24, 16: 24},
        seconds=8,
        interval=2,
        prompt=500,
        behind=100,
        who=("burble", "llama-server"),  # flash attention is on in both: its heads have 64 numbers
    ),
}
# The slots of what is not about their number.
SLOTS = 16

# ---- measuring -----------------------------------------------------------------------------------


class Client:
    """A process of llama_load.c, which carries out workloads one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, workload: str) -> dict[str, float]:
        """Carry out a workload; return its figures by their names."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(workload + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{workload}: {self._process.args!r} ended")
        pairs = (pair.partition("=") for pair in line.split())
        return {name: float(value) for name, _, value in pairs}


@contextmanager
def _started(command: Sequence[object], environment: Mapping[str, str]) -> Iterator[Client]:
    with subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Client(process)
        finally:
            process.kill()


@contextmanager
def _environment(options: Options) -> Iterator[dict[str, str]]:
    """The environment in which a program notes the time that llama_decode takes."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(16))
        file.flush()
        library = options.program("llama_decode_time.so")
        yield {"LLAMA_DECODE_TIME": file.name, "LD_PRELOAD": str(library)}


@contextmanager
def engine(model: Path, slots: int, words: Sequence[str], options: Options) -> Iterator[Client]:
    """Start burble's engine, in the process of its client."""
    program = options.program("llama_load_engine")
    with _environment(options) as environment:
        command = [program, model, slots, CONTEXT, BATCH, THREADS, *words]
        with _started(command, environment) as client:
            yield client


@contextmanager
def server(model: Path, slots: int, flash: str, options: Options) -> Iterator[Client]:
    """Start llama-server, with a setting of flash attention, and a client of it.

    It reuses what a slot has of a prompt, as it does by default, but copies nothing to a cache
    outside of the slots, because the engine has none.
    """
    if not SERVER.exists():
        raise SystemExit(f"{SERVER} is missing; `make bench-llama` builds it")
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    command: list[object] = [SERVER, "--model", model, "--host", "127.0.0.1", "--port", port]
    command += ["--threads", THREADS, "--threads-batch", THREADS, "--parallel", slots]
    command += ["--ctx-size", slots * CONTEXT, "--no-kv-unified", "--fit", "off"]
    command += ["--batch-size", BATCH, "--ubatch-size", BATCH, "--cache-ram", 0]
    command += ["--flash-attn", flash, "--no-ui", "--offline", "--log-disable"]
    with (
        _environment(options) as environment,
        subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            _wait_for(port, process)
            program = options.program("llama_load_server")
            variable = {"LLAMA_DECODE_TIME": environment["LLAMA_DECODE_TIME"]}
            with _started([program, port, process.pid], variable) as client:
                yield client
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server has loaded its model."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise SystemExit(f"llama-server does not answer on port {port} (status {process.poll()})")


def measure(options: Options) -> Measured:
    """Measure."""
    samples: dict[str, list[float]] = {}
    every = [f"{name}:{what}" for name, load in LOADS.items() for what in (*load.tokens, "rest")]
    wanted = os.environ.get("LLAMA_SERVER_PARTS", ",".join(every)).split(",")
    for name, load in LOADS.items():
        if options.effort == "smoke" and name != "shipped":
            continue
        rounds = options.choose(full=7, quick=4, smoke=1)
        if name == "large":
            rounds = options.choose(full=4, quick=2, smoke=1)
        for slots in load.tokens:
            if f"{name}:{slots}" not in wanted:
                continue
            workloads = {f"{slots}": f"speed {slots} {load.tokens[slots]}"}
            samples |= _measure(name, load, slots, workloads, rounds, options)
        workloads = {
            "quiet": f"gaps {load.seconds / 2} 0 0",
            "prompts": f"gaps {load.seconds} {load.interval} {load.prompt}",
            "turns": "turns",
            "behind": f"behind {load.behind}",
        }
        if f"{name}:rest" in wanted:
            samples |= _measure(name, load, SLOTS, workloads, rounds, options)
    return Measured(samples, {"threads": THREADS, "batch": BATCH, "context": CONTEXT})


def _measure(
    name: str,
    load: Load,
    slots: int,
    workloads: Mapping[str, str],
    rounds: int,
    options: Options,
) -> dict[str, list[float]]:
    """Return the figures of workloads, by "LOAD, WORKLOAD, WHO, FIGURE"."""
    with ExitStack() as stack:
        model = load.model()
        clients = {
            who: stack.enter_context(
                engine(model, slots, ENGINES[who], options)
                if who in ENGINES
                else server(model, slots, SERVERS[who], options)
            )
            for who in load.who
        }

        def one_round() -> dict[str, float]:
            return {
                f"{name}, {what}, {who}, {figure}": value
                for what, workload in workloads.items()
                for who in shuffled(load.who)
                for figure, value in clients[who].run(workload).items()
            }

        return collect(f"{name}, {slots} slots", rounds, one_round)


# ---- reporting -----------------------------------------------------------------------------------


def report(measured: Measured) -> Report:
    """Say what the values mean."""
    report = Report("llama_server", "burble's engine beside llama-server; median [quartiles]")
    report.notes.append(
        f"{THREADS} thread, a context and a batch of {CONTEXT} tokens, KV cache of 16 bits"
    )
    for name, load in LOADS.items():
        part = Part(measured.samples, name, load.who)
        if part.has("turns", "turn1") or any(part.has(f"{n}", "tokens") for n in load.tokens):
            report.notes.append(f"{name}: {_describe(name, load)}")
            report.tables += tables(part, load)
            report.goals += _goals(part, load)
    return report


def tables(part: Part, load: Load) -> list[Table]:
    """Return the tables of one model, of what was measured."""
    found = [_speeds(part, load), _processor(part, load)]
    return [*found, _latencies(part)] if part.has("turns", "turn1") else found


def _describe(name: str, load: Load) -> str:
    what = "models/shakespeare.gguf" if name == "shipped" else "random weights of 317 MB"
    return (
        f"{what}; answers of {', '.join(map(str, load.tokens.values()))} tokens; eight running"
        f" answers while a prompt of {load.prompt} tokens comes every {load.interval} s"
    )


class Part:
    """The values of one model, or those that were measured of them."""

    def __init__(self, samples: Mapping[str, list[float]], name: str, who: Sequence[str]) -> None:
        self._samples = samples
        self.name = name
        self.who = who

    def has(self, what: str, figure: str) -> bool:
        return f"{self.name}, {what}, burble, {figure}" in self._samples

    def of(self, what: str, who: str, figure: str) -> list[float]:
        return self._samples[f"{self.name}, {what}, {who}, {figure}"]

    def row(self, title: str, what: str, figure: str) -> list[str]:
        """Return a figure of all, and burble's by the server's, each with its better setting."""
        values = {who: self.of(what, who, figure) for who in self.who}
        return _row(title, values, figure == "tokens")

    def beside(self, what: str, figure: str) -> list[float]:
        """Return burble's figure by the server's, round by round, each with the setting that is
        better over all rounds; nothing, if a round has not seen the server's."""
        values = {who: self.of(what, who, figure) for who in self.who}
        return _beside(values, figure == "tokens")


def _beside(values: Mapping[str, Sequence[float]], more_is_better: bool) -> list[float]:
    better = max if more_is_better else min

    def best(whose: Iterable[str]) -> Sequence[float]:
        return better((values[who] for who in whose if who in values), key=median)

    ours, theirs = best(ENGINES), best(SERVERS)
    return ratios(ours, theirs) if min(*ours, *theirs) > 0 else []


def _row(title: str, values: Mapping[str, Sequence[float]], more_is_better: bool) -> list[str]:
    beside = _beside(values, more_is_better)
    return [title, *map(_format, values.values()), f"{median(beside):.2f}" if beside else ""]


def _format(values: Sequence[float]) -> str:
    if not any(values):
        return "none came"
    lower, middle, upper = map(three_digits, quartiles(values))
    return f"{middle} [{lower}-{upper}]"


def _speeds(part: Part, load: Load) -> Table:
    rows = [
        part.row(title, what, "tokens")
        for title, what in (
            *[(f"{slots} slots", f"{slots}") for slots in load.tokens],
            ("8 answers, no prompts come", "quiet"),
            ("8 answers, prompts come", "prompts"),
        )
        if part.has(what, "tokens")
    ]
    return Table([f"{part.name}: tokens a second", *part.who, "ratio"], rows)


def _outside(part: Part, what: str, who: str) -> list[float]:
    pairs = zip(part.of(what, who, "cpu"), part.of(what, who, "decode"), strict=True)
    return [cpu - decode for cpu, decode in pairs]


def _processor(part: Part, load: Load) -> Table:
    rows = []
    for slots in load.tokens:
        if not part.has(f"{slots}", "cpu"):
            continue
        outside = {who: _outside(part, f"{slots}", who) for who in part.who}
        rows.append(_row(f"{slots} slots", outside, False))
        rows.append(part.row("  in llama_decode", f"{slots}", "decode"))
        rows.append(part.row("  in the client", f"{slots}", "client"))
    title = f"{part.name}: µs of CPU a token outside llama_decode"
    return Table([title, *part.who, "ratio"], rows)


def _latencies(part: Part) -> Table:
    rows = [
        part.row(f"between tokens, {when}{clock}, {label}", what, f"{name}{percent}")
        for what, when in (("quiet", "no prompts come"), ("prompts", "prompts come"))
        for name, clock in (("p", ""), ("cpu", ", in CPU"))
        for percent, label in ((50, "p50"), (90, "p90"), (99, "p99"), (100, "longest"))
    ]
    rows.append(part.row("a prompt that comes: its token, p50", "prompts", "first50"))
    rows += [
        part.row(f"first token of turn {turn}{clock}", "turns", f"{name}{turn}")
        for name, clock in (("turn", ""), ("cpu", ", in CPU"))
        for turn in range(1, TURNS + 1)
    ]
    rows.append(part.row("two tokens behind eight long prompts", "behind", "short"))
    rows.append(part.row("the same, in CPU", "behind", "cpu"))
    rows.append(part.row("the last of the eight", "behind", "long"))
    return Table([f"{part.name}: milliseconds", *part.who, "ratio"], rows)


def _goals(part: Part, load: Load) -> list[Goal]:
    """At least as good as the server, each with its better setting."""
    beside = part.beside
    goals = [
        at_least(f"{part.name}: tokens a second, {slots} slots", 1, beside(f"{slots}", "tokens"))
        for slots in load.tokens
        if part.has(f"{slots}", "tokens")
    ]
    if not part.has("turns", "turn1"):
        return goals
    goals.append(
        at_least(f"{part.name}: tokens a second, prompts come", 1, beside("prompts", "tokens"))
    )
    goals.append(at_most(f"{part.name}: p99 between tokens", 1, beside("prompts", "p99")))
    if part.name == "shipped":
        every = (part.of("prompts", who, "p99") for who in ENGINES)
        p99 = [1e-3 * value for value in min(every, key=median)]
        goals.append(at_most("shipped: p99 between tokens while prompts come", 0.025, p99, "ms"))
    goals += [
        at_most(f"{part.name}: first token of turn {n}", 1, beside("turns", f"turn{n}"))
        for n in range(1, TURNS + 1)
    ]
    goals.append(at_most(f"{part.name}: two tokens behind eight", 1, beside("behind", "short")))
    return [goal for goal in goals if goal.values]  # without what a round has not seen
