# SPDX-License-Identifier: MIT
"""The servers that serve.py compares, each a process of its own, and how they are loaded."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import llama_weights
from benchmark import MODEL, ROOT, Options

LLAMA_SERVER = ROOT / "build" / "llama" / "bin" / "llama-server"
CONTEXT, BATCH, THREADS = 512, 512, 1
# Seconds that a server may take to load its model.
PATIENCE = 180


class Server(NamedTuple):
    """A server that answers."""

    port: int
    process: subprocess.Popen[bytes]
    model: str
    decode_time: Path | None  # what llama_decode_time.c writes

    def decode_seconds(self) -> float:
        """The processor time in llama_decode; 0 if it is not measured."""
        if self.decode_time is None:
            return 0.0
        return 1e-9 * int.from_bytes(self.decode_time.read_bytes()[:8], sys.byteorder)

    def cpu_seconds(self) -> float:
        """The processor time of the process."""
        # (As clock_getcpuclockid makes it; the clocks of threads leave out those that have ended.)
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def threads(self) -> dict[str, float]:
        """The processor time of its threads, by their names."""
        seconds: dict[str, float] = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                ns = int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue  # it has ended
            seconds[name] = seconds.get(name, 0.0) + 1e-9 * ns
        return seconds

    def private_bytes(self) -> int:
        """The memory that is the process's own."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        fields = dict(line.split(":", 1) for line in rollup.splitlines()[1:])
        return 1024 * int(fields["Private_Dirty"].split()[0])

    def get(self, path: str) -> tuple[int, bytes]:
        """GET a path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


@contextmanager
def _process(
    command: Sequence[object], environment: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _answering(
    command: Sequence[object],
    port: int,
    *,
    model: str = "shakespeare",
    ready: str = "/v1/models",
    environment: Mapping[str, str] | None = None,
    decode_time: Path | None = None,
) -> Iterator[Server]:
    with _process(command, environment or {}, stdout=subprocess.DEVNULL) as process:
        server = Server(port, process, model, decode_time)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if server.get(ready)[0] == 200:
                    yield server
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"{command[0]} does not answer on port {port} ({process.poll()})")


@contextmanager
def _decode_timed(options: Options) -> Iterator[tuple[Path, dict[str, str]]]:
    """A file for the time in llama_decode, and the environment that has it noted there."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(16))
        file.flush()
        library = options.program("llama_decode_time.so")
        yield Path(file.name), {"LLAMA_DECODE_TIME": file.name, "LD_PRELOAD": str(library)}


# ---- servers of the shipped model ----------------------------------------------------------------


@contextmanager
def burble_serve(slots: int, options: Options, flash: str = "auto") -> Iterator[Server]:
    """`burble serve`, with a setting of flash attention."""
    command = options.programs.parent / "tools" / "burble"
    if not command.exists():
        raise SystemExit(f"{command} is missing; `make bench-serve` builds it")
    port = free_port()
    words: list[object] = [command, "serve", "-m", f"shakespeare={llama_weights.SHIPPED}"]
    words += ["--port", port, "--slots", slots, "--context", CONTEXT, "--threads", THREADS, "-q"]
    words += ["--flash", flash, "--queue", 4096]
    with _decode_timed(options) as (file, environment):
        with _answering(
            words, port, ready="/ready", environment=environment, decode_time=file
        ) as server:
            yield server


@contextmanager
def llama_server(slots: int, options: Options, flash: str = "auto") -> Iterator[Server]:
    """llama.cpp's own server, with a setting of flash attention."""
    if not LLAMA_SERVER.exists():
        raise SystemExit(f"{LLAMA_SERVER} is missing; `make bench-serve` builds it")
    port = free_port()
    words: list[object] = [LLAMA_SERVER, "--model", llama_weights.SHIPPED, "--host", "127.0.0.1"]
    words += ["--port", port, "--threads", THREADS, "--threads-batch", THREADS]
    words += ["--parallel", slots, "--ctx-size", slots * CONTEXT, "--no-kv-unified"]
    words += ["--fit", "off", "--batch-size", BATCH, "--ubatch-size", BATCH, "--cache-ram", 0]
    words += ["--flash-attn", flash, "--no-ui", "--offline", "--log-disable", "--slots"]
    with _decode_timed(options) as (file, environment):
        with _answering(
            words, port, ready="/health", environment=environment, decode_time=file
        ) as server:
            yield server


@contextmanager
def fastapi(slots: int, options: Options) -> Iterator[Server]:
    """FastAPI and uvicorn, with burble's engine and its helper for OpenAI's form (serve_app.py)."""
    port = free_port()
    words = [sys.executable, Path(__file__).with_name("serve_app.py"), port, slots]
    packages = ROOT / "build" / "llama-package"
    with _answering(words, port, environment={"PYTHONPATH": str(packages)}) as server:
        yield server


@contextmanager
def llama_cpp_python(slots: int, options: Options) -> Iterator[Server]:
    """The server of llama-cpp-python, which answers one request at a time."""
    port = free_port()
    words = [sys.executable, "-m", "llama_cpp.server", "--model", llama_weights.SHIPPED]
    words += ["--n_ctx", CONTEXT, "--n_threads", THREADS, "--n_threads_batch", THREADS]
    words += ["--host", "127.0.0.1", "--port", port, "--interrupt_requests", "False"]
    words += ["--model_alias", "shakespeare", "--verbose", "False"]
    packages = ROOT / "build" / "llama"
    with _answering(words, port, environment={"PYTHONPATH": str(packages)}) as server:
        yield server


@contextmanager
def transformers_serve(slots: int, options: Options) -> Iterator[Server]:
    """`transformers serve`, as it is by default: each request is a call of generate."""
    port = free_port()
    words = [sys.executable, "-c", "from transformers.cli.transformers import main; main()"]
    words += ["serve", MODEL, "--host", "127.0.0.1", "--port", port, "--device", "cpu"]
    environment = {"OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"}
    with _answering(
        words, port, model=str(MODEL), ready="/health", environment=environment
    ) as server:
        yield server


# ---- servers of numbered text --------------------------------------------------------------------


@contextmanager
def numbered(name: str, rate: float, options: Options) -> Iterator[Server]:
    """serve_numbers.c or serve_floor.c, which say their ports."""
    with _process(
        [options.program(name), rate], {}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()), process, "numbers", None)


# ---- loads ---------------------------------------------------------------------------------------


def words(server: Server, options: Options, given: Mapping[str, object]) -> list[str]:
    """Return the command that loads a server."""
    found = [str(options.program("serve_load")), "--port", str(server.port)]
    found += ["--pid", str(server.process.pid), "--model", server.model]
    for name, value in given.items():
        option = "--" + name.replace("_", "-")
        values = value if isinstance(value, list) else [value]
        found += [option] if value is True else [w for v in values for w in (option, str(v))]
    return found


def load(server: Server, options: Options, **given: object) -> dict[str, Any]:
    """Run clients (serve_load.c); return what they have seen, and what the server took for it, in
    microseconds of processor time a token."""
    decode, cpu = server.decode_seconds(), server.cpu_seconds()
    threads = server.threads()
    done = subprocess.run(
        words(server, options, given),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    micros = 1e6 / max(seen["all_tokens"], 1)
    seen["cpu_us"] = micros * (server.cpu_seconds() - cpu)
    seen["decode_us"] = micros * (server.decode_seconds() - decode)
    seen["threads_us"] = {
        name: micros * (seconds - threads.get(name, 0.0))
        for name, seconds in server.threads().items()
    }
    return seen


@contextmanager
def held(server: Server, options: Options, **given: object) -> Iterator[None]:
    """Keep clients connected, from when all have their headers."""
    with subprocess.Popen(
        [*words(server, options, given), "--hold"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "held\n":
                raise SystemExit(f"{given}: not all clients were answered")
            yield
        finally:
            process.stdin.close()
