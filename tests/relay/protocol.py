# SPDX-License-Identifier: MIT
"""The scripts of libburble-relay, called as workers and fronts call them, without their C code."""

from __future__ import annotations

import json
import secrets
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redises import PATIENCE

SCRIPTS = Path(__file__).resolve().parents[2] / "src/relay/scripts"
PREFIX = "{burble}:"
ENDED = -1
LAST = b"the last message so far"

LEASE = 200  # ms
PAUSE = 150  # ms: between the passes of reap
TTL = 600_000  # ms
LINGER = 60_000  # ms
LOOKS = 5_000  # ms: how long fronts have to say what they show (prelude.lua)


@dataclass
class Clock:
    """The time for scripts, in the place of Redis's: no test depends on its own speed."""

    ms: int = 1_800_000_000_000

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.ms += ms

    def stop(self, script: str) -> str:
        """A script for which it is now."""
        time = f"{{'{self.ms // 1000}', '{self.ms % 1000 * 1000}'}}"
        changed = script.replace("redis.call('TIME')", time)
        assert changed != script
        return changed


def next_hash(before: int, frame: bytes) -> int:
    """The hash of all frames up to this one (frame.h: burble_frame_hash)."""
    value = before
    for byte in len(frame).to_bytes(4, "little") + frame:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def chain(*texts: str) -> list[bytes]:
    """Frames as the scripts carry them: each has the hash of all up to it in front."""
    values = []
    value = 2166136261
    for text in texts:
        frame = text.encode()
        value = next_hash(value, frame)
        values.append(value.to_bytes(4, "little") + frame)
    return values


@dataclass
class Message:
    """One record of a message on a front's channel."""

    answer: str
    k: int
    value: bytes


def records(message: bytes) -> list[Message]:
    """The records of a message."""
    out = []
    while message:
        answer, n = struct.unpack_from("<32sB", message)
        entry, length = struct.unpack_from(f"<{n}sI", message, 33)
        assert entry.endswith(b"-0")
        message = message[37 + n :]
        out.append(Message(answer.decode(), int(entry[:-2]) - 1, message[:length]))
        message = message[length:]
    return out


def record(answer: str, entry: str, value: bytes) -> bytes:
    """A record of a message or step."""
    entry_, length = entry.encode(), struct.pack("<I", len(value))
    return answer.encode() + bytes([len(entry_)]) + entry_ + length + value


class Scripts:
    """Calls scripts by their names."""

    def __init__(
        self, client: redis.Redis, user: redis.Redis | None = None, clock: Clock | None = None
    ) -> None:
        self.client = client  # may do everything
        self.clock = clock  # None: Redis's own
        self.user = user or client
        prelude = (SCRIPTS / "prelude.lua").read_text()
        self.texts = {
            path.stem: prelude + path.read_text()
            for path in SCRIPTS.glob("*.lua")
            if path.stem != "prelude"
        }

    def __call__(self, name: str, *arguments: object) -> Any:
        """The reply of a script."""
        text = self.texts[name] if self.clock is None else self.clock.stop(self.texts[name])
        return self.user.eval(text, 1, PREFIX, *arguments)  # type: ignore[arg-type]

    def wait(self, ms: int) -> None:
        """Let time pass."""
        assert self.clock is not None
        self.clock.advance(ms)

    def lapse(self, lease: int = LEASE) -> list[int]:
        """Let sessions lapse that do nothing, and fence them. What the second pass has done."""
        self.wait(lease + 20)
        assert self.reap() == [0, 0, 0]
        self.wait(PAUSE + 20)
        return self.reap()

    def look_around(self) -> None:
        """Let time pass in which Redis is there, so that fronts can say what they show."""
        self.reap()
        for _ in range(LOOKS // 1000):
            self.wait(1000)
            self.reap()

    def of_answer(self, answer: str) -> dict[str, str]:
        """The hash m:<id>."""
        found = self.client.hgetall(f"{PREFIX}m:{answer}")
        return {name.decode(): value.decode() for name, value in found.items()}  # type: ignore[union-attr]

    def log(self, answer: str) -> list[bytes]:
        """The frames of an answer."""
        entries: Any = self.client.xrange(f"{PREFIX}s:{answer}")
        assert [entry for entry, _ in entries] == [b"%d-0" % (i + 1) for i in range(len(entries))]
        return [fields[b"f"] for _, fields in entries]

    def reap(self, caller: str = "", idle: int = 2, attempts: int = 5) -> list[int]:
        """One pass: how many were fenced, how many went back into the queue, how many failed."""
        found = self("reap", idle, attempts, TTL, PAUSE, caller)
        assert isinstance(found, list)
        return found


@dataclass
class Front:
    """A front: one name, one channel."""

    scripts: Scripts
    name: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self) -> None:
        self.channel = self.scripts.user.pubsub()
        self.channel.subscribe(f"{PREFIX}c:{self.name}")
        assert self.channel.get_message(timeout=PATIENCE) is not None

    def submit(
        self,
        model: str = "m",
        answer: str = "",
        name: str = "",
        body: str = "body",
        bound: int = 100,
        linger: int = LINGER,
    ) -> tuple[str, list[bytes]]:
        """Submit an answer. Its id, and the reply."""
        answer = answer or secrets.token_hex(16)
        begin = chain("begin")[0]
        reply = self.scripts(
            "submit", self.name, answer, model, "{}", begin, "key", name, body, bound, linger
        )
        return answer, reply

    def attach(self, answer: str, frames: list[bytes], most: int = 100) -> list[bytes]:
        """Attach as one who has these frames."""
        value = frames[-1][:4] if frames else b""
        reply = self.scripts("attach", self.name, answer, len(frames), value, most)
        assert isinstance(reply, list)
        return reply

    def look(self, *ids: str) -> list[tuple[int, bytes, str]]:
        """What Redis has of answers: number of frames, last hash, state."""
        out = self.scripts("look", self.name, *ids)
        return [(out[i], out[i + 1], out[i + 2].decode()) for i in range(0, len(out), 3)]

    def messages(self) -> list[Message]:
        """The messages of its channel so far."""
        out = []
        self.scripts.client.publish(f"{PREFIX}c:{self.name}", LAST)
        while (message := self.channel.get_message(timeout=PATIENCE)) is not None:
            if message["data"] == LAST:
                return out
            out += records(message["data"])
        raise AssertionError("expected the last message")


@dataclass
class Frame:
    """A frame in a step."""

    answer: str
    k: int
    value: bytes


@dataclass
class Session:
    """A worker's session. It counts its commands; `again` repeats the last one."""

    scripts: Scripts
    models: tuple[str, ...] = ("m",)
    before: str = ""
    lease: int = LEASE
    digest: str | None = "d"
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    n: int = 0

    def __post_init__(self) -> None:
        self.inherited = self.open()

    def open(self) -> list[str]:
        """Open it; the answers that it has inherited."""
        description = json.dumps({"digest": self.digest})
        described = [word for model in self.models for word in (model, description)]
        reply = self.scripts("open", self.name, "worker", self.lease, self.before, *described)
        assert reply[0] == b"ok"
        return [answer.decode() for answer in reply[1:]]

    def command(self, script: str, *arguments: object, again: bool = False) -> list[Any]:
        """The next numbered command, or the last one again."""
        if not again:
            self.n += 1
        reply = self.scripts(script, self.name, self.n, *arguments)
        return reply if isinstance(reply, list) else [reply]

    def claim(self, free: int = 10, again: bool = False) -> list[Any]:
        """The reply of claim."""
        return self.command("claim", free, TTL, *self.models, again=again)

    def claimed(self, free: int = 10, again: bool = False) -> list[str]:
        """The ids of the answers that a claim brings."""
        reply = self.claim(free, again)
        assert reply[0] == b"ok", reply
        return [entry[0].decode() for entry in reply[1:]]

    def step(self, *parts: object, consumed: int = 0, again: bool = False) -> list[Any]:
        """The reply of a step."""
        frames = [part for part in parts if isinstance(part, Frame)]
        others = [part for part in parts if not isinstance(part, Frame)]
        records = [record(frame.answer, f"{frame.k + 1}-0", frame.value) for frame in frames]
        words = (self.lease, consumed, TTL, *others, b"".join(records))
        return self.command("step", *words, again=again)

    def adopt(self, answer: str, frames: list[bytes], again: bool = False) -> list[Any]:
        """The reply of adopt."""
        hashes = b"".join(frame[:4] for frame in frames)
        return self.command(
            "adopt",
            answer,
            "m",
            "{}",
            "d",
            "key",
            "",
            "body",
            LINGER,
            TTL,
            hashes,
            *frames,
            again=again,
        )


def part(answer: str, k: int, frames: list[bytes], new: bool = False) -> tuple[object, ...]:
    """The frames of a step."""
    each = [Frame(answer, k + i, value) for i, value in enumerate(frames)]
    return (*each, "n", answer) if new else tuple(each)


def end(answer: str, state: str = "ended", code: int = 0) -> tuple[object, ...]:
    """The end in a step."""
    return ("e", answer, state, code, "")


def hand_on(answer: str) -> tuple[object, ...]:
    """An answer back into the queue, in a step."""
    return ("r", answer)
