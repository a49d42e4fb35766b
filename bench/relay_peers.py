# SPDX-License-Identifier: MIT
"""The usual ways from a worker to clients over Redis, for relay.py: redis-py, as its pages show.

A worker of asyncio makes a token for each stream at a rate, and sends it by a command of its own.
In another process, a task for each client waits for them on a connection of its own. Each client is
once away for a moment and comes back: then it is counted what it has missed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any, Literal, cast

import redis.asyncio
import relay_redis

Way = Literal["XADD", "PUBLISH"]
AWAY = 0.25  # seconds
END = b"end"


def run(way: str, clients: int, rate: float, seconds: float) -> dict[str, float]:
    """Clients and a worker, for a while: what relay.py shows of it."""
    with relay_redis.running() as server:
        words = [sys.executable, __file__, way, server.socket, clients, rate, seconds]
        readers = subprocess.Popen([*map(str, words), "read"], stdout=subprocess.PIPE, text=True)
        assert readers.stdout is not None
        try:
            if readers.stdout.readline() != "ready\n":
                raise SystemExit("the clients do not listen")
            before = server.usage()
            done = subprocess.run(
                [*map(str, words), "write"], stdout=subprocess.PIPE, text=True, check=True
            )
            after = server.usage()
            found = json.loads(readers.communicate(timeout=relay_redis.PATIENCE)[0])
        finally:
            readers.kill()
            readers.wait()
    wrote = json.loads(done.stdout)
    tokens = wrote["tokens"]
    return {
        "front": found["cpu"] / tokens * 1e6,
        "worker": wrote["cpu"] / tokens * 1e6,
        "redis": (after.cpu - before.cpu) / tokens * 1e6,
        "tokens": tokens / wrote["seconds"],
        "p50": found["p50"],
        "p99": found["p99"],
        "missed": (tokens - found["tokens"]) / clients,
    }


# ---- the worker ----------------------------------------------------------------------------------


async def _write(
    way: Way, client: redis.asyncio.Redis, clients: int, rate: float, seconds: float
) -> None:
    async def one(i: int) -> int:
        n, begin = 0, time.monotonic() + i / clients / rate
        while n < seconds * rate:
            await asyncio.sleep(max(0.0, begin + n / rate - time.monotonic()))
            await send(i, str(time.monotonic_ns()))
            n += 1
        return n

    async def send(i: int, text: str | bytes) -> None:
        if way == "XADD":
            await client.xadd(f"s:{i}", {"f": text})
        else:
            await client.publish(f"c:{i}", text)

    begin = time.monotonic()
    tokens = sum(await asyncio.gather(*map(one, range(clients))))
    took = time.monotonic() - begin
    print(json.dumps({"tokens": tokens, "seconds": took, "cpu": time.process_time()}))
    for i in range(clients):
        await send(i, END)


# ---- the clients ---------------------------------------------------------------------------------


class Reader:
    """A client, which leaves after `half` tokens and comes back. Its delays are those of before."""

    def __init__(self, way: Way, path: str, number: int, half: int) -> None:
        self.way, self.path, self.number, self.half = way, path, number, half
        self.last: Any = "0"
        self.tokens = 0
        self.delays: list[float] = []
        self.is_back = self.ended = False
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Read, be away, and read on."""
        await self._read()
        await asyncio.sleep(AWAY)
        self.is_back = True
        await self._read()

    async def _read(self) -> None:
        async with redis.asyncio.Redis(unix_socket_path=self.path) as client:
            await (self._stream(client) if self.way == "XADD" else self._channel(client))

    def _goes_on(self) -> bool:
        return not self.ended and (self.is_back or self.tokens < self.half)

    def _take(self, text: bytes) -> None:
        if text == END:
            self.ended = True
            return
        self.tokens += 1
        if not self.is_back:
            self.delays.append(1e-6 * (time.monotonic_ns() - int(text)))

    async def _stream(self, client: redis.asyncio.Redis) -> None:
        key = f"s:{self.number}"
        self.ready.set()
        while self._goes_on():
            found: Any = await client.xread({key: self.last}, block=1000)
            for _, entries in found:
                for self.last, fields in entries:
                    self._take(fields[b"f"])

    async def _channel(self, client: redis.asyncio.Redis) -> None:
        async with client.pubsub() as channel:
            await channel.subscribe(f"c:{self.number}")
            self.ready.set()
            while self._goes_on():
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=1)
                if message is not None:
                    self._take(message["data"])


async def _read(way: Way, path: str, clients: int, half: int) -> None:
    readers = [Reader(way, path, i, half) for i in range(clients)]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    for reader in readers:
        await reader.ready.wait()
    print("ready", flush=True)
    cpu = time.process_time()
    await asyncio.gather(*tasks)
    cpu = time.process_time() - cpu
    delays = sorted(delay for reader in readers for delay in reader.delays)
    found = {f"p{q}": delays[len(delays) * q // 100] for q in (50, 99)}
    print(json.dumps({"cpu": cpu, "tokens": sum(r.tokens for r in readers), **found}))


async def _main(way: Way, path: str, clients: int, rate: float, seconds: float, end: str) -> None:
    if end == "read":
        await _read(way, path, clients, int(seconds * rate / 2))
        return
    async with redis.asyncio.Redis(unix_socket_path=path) as client:
        await _write(way, client, clients, rate, seconds)


if __name__ == "__main__":
    _way, _path, _clients, _rate, _seconds, _end = sys.argv[1:]
    asyncio.run(_main(cast(Way, _way), _path, int(_clients), float(_rate), float(_seconds), _end))
