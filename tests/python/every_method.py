# SPDX-License-Identifier: MIT
"""What test_reentrancy.py runs in separate processes: each method, getter and setter of each type
of the extension, while what runs in the middle of it calls every other one.

``python every_method.py FAMILY WAY...``: FAMILY is a set of objects that belong together, WAY is
how code comes to run in the middle of a call:

* ``gc``: a finalizer, by a collection at every allocation of an object that the collector tracks;
* ``drop``: a finalizer, of an object that the family refers to and lets go of;
* ``trace``: a trace function, at every line of Python that is run in the middle of a call;
* ``signal``: a signal handler, every millisecond;
* ``threads``: other threads, with the shortest switch interval.

In the midst of each call, all others are called in turns, in several orders; with ``:pairs`` behind
a way, each other one of the same object alone as well.

The methods are found in the module itself, so that none can be forgotten: one for which
``ARGUMENTS`` has no entry is an error, and so is an entry for one that does not exist.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import gc
import itertools
import queue
import random
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import burble
from burble import _core, _loops
from burble._loops import hub_of
from burble._window import Window

PIECES = [bytes([i]) for i in range(256)]
SMALL = 65
LARGE = list(b"to be, or not to be " * 40)
# What ends a call that waits. Signals and other threads take their time; all else comes at once.
SOON = 0.02 if {"signal", "threads"}.intersection(sys.argv) else 0.004

# What a call may raise that comes at a bad time; anything else is wrong, SystemError above all.
EXPECTED: tuple[type[BaseException], ...] = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    OSError,
    KeyError,
    StopIteration,
    StopAsyncIteration,
    queue.Empty,
    TimeoutError,
    asyncio.CancelledError,
    burble.Error,
)


def is_wrong(error: BaseException) -> bool:
    return isinstance(error, SystemError) or not isinstance(error, EXPECTED)


# ---- the methods ---------------------------------------------------------------------------------

# Tested with what makes the objects, or not the extension's.
LEFT_OUT = {"__new__", "__doc__", "__module__", "__weaklistoffset__"}

# They need llama.cpp and a model: tests/llama.
TYPES_LEFT_OUT = {"LlamaEngine", "LlamaEmbedder"}

Call = Callable[[Any], object]
Prepare = Callable[[Any], Call]  # makes the arguments, before the call
NONE: list[tuple[Any, ...]] = [()]


def noop(_: object = None) -> None:
    pass


class Deleted:
    """An object whose finalizer calls back."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def __del__(self) -> None:
        self.function()


class Text(str):
    """What a cancellation says, and a window gives, with a finalizer."""

    def __del__(self) -> None:
        back()


class Seconds(float):
    def __del__(self) -> None:
        back()


def back() -> None:
    """What finalizers of objects in the family call."""
    if PRESENT:
        PRESENT[0]()


PRESENT: list[Callable[[], object]] = []

# By type and name: with what it is called, each in its turn.
ARGUMENTS: dict[str, dict[str, list[tuple[Any, ...]]]] = {
    "Vocabulary": {
        "__len__": NONE,
        "cleaned_up": NONE,
        "from_pieces": [(PIECES, [3])],
        "ask": [([("fuse",)], str, 3, frozenset("1"), None)],
        "load": [("/nowhere",)],
        "parse": [(b"{}", "name")],
        "parse_sentencepiece": [(b"", "name")],
        "stop_tokens": [(("A", "to"),)],
    },
    "Detokenizer": {
        "__init__": [(None,)],
        "push": [(SMALL,), (LARGE,), ([[SMALL, SMALL]],)],
        "prime": [(SMALL,), (LARGE,)],
        "finish": NONE,
        "rewind": [(1,), (3,)],
        "copy": NONE,
    },
    "Hub": {
        "fileno": NONE,
        "drain": NONE,
        "close": NONE,
        "_check_alive": NONE,
        "_poll": NONE,
    },
    "WaitFuture": {
        "__repr__": NONE,
        "add_done_callback": [(noop,), (noop,)],
        "remove_done_callback": [(noop,)],
        "cancel": [(), (Text("msg"),)],
        "done": NONE,
        "cancelled": NONE,
        "result": NONE,
        "exception": NONE,
        "get_loop": NONE,
    },
    "AnextAwaitable": {
        "__await__": NONE,
        "__iter__": NONE,
        "__next__": NONE,
        "send": [(None,)],
        "throw": [(KeyError("thrown"),)],
        "close": NONE,
    },
    "Streamer": {
        "__init__": [(None,)],
        "put": [(SMALL,), (LARGE,), ([[SMALL]],)],
        "end": NONE,
        "cancel": NONE,
        "_begin": NONE,
        "_fail": [(KeyError("failed"),)],
    },
    "IteratorStreamer": {
        "__iter__": NONE,
        "__next__": NONE,
        "on_finalized_text": [("text",), ("text", True)],
    },
    "AsyncIteratorStreamer": {
        "__aiter__": NONE,
        "__anext__": NONE,
        "on_finalized_text": [("text",), ("text", True)],
        "_on_timer": NONE,
    },
    "Log": {
        "append": [("text",), ("", 1)],
        "end": [(), ("stop", ("match",))],
        "fail": [(KeyError("failed"),)],
        "cancel": NONE,
        "deadlines": [(None, None, SOON), (SOON, SOON, None)],
        "check_deadlines": NONE,
        "generate_here": NONE,
        "reader": [(), (-2,), (0, 1 << 20)],
    },
    "Reader": {
        "__iter__": NONE,
        "__next__": NONE,
        "__aiter__": NONE,
        "__anext__": NONE,
        "take": NONE,
        "limit": [(1, "drop_reader"), (1 << 20, "block")],
        "set_interval": [(SOON,), (0.0,)],
        "give_up": [(SOON,)],
        "close": NONE,
        "_on_timer": NONE,
    },
    "Merged": {
        "__iter__": NONE,
        "__next__": NONE,
        "__aiter__": NONE,
        "__anext__": NONE,
        "_on_timer": NONE,
    },
    "Writer": {
        "__init__": [(None,)],
        "put": [(SMALL,), (LARGE,), ([[SMALL]],)],
        "put_text": [("text",)],
        "flush": NONE,
        "end": [(), ("length",)],
        "fail": [(KeyError("failed"),)],
    },
    "Server": {
        "add_handler": [("new", noop, None, True, 0), ("other", noop, ("stop",), False, 5)],
        "add_engine": [("new", None)],
        "remove_model": [("default",), ("new",)],
        "start": NONE,
        "set_keys": [((),), (("key",),)],
        "drain": [(0,), (1 << 40,)],
        "wait": [(SOON,)],
        "close": NONE,
        "__del__": NONE,
    },
    "Answer": {
        "read": [()],
        "fail": [(503, "failed")],
    },
    "Relay": {
        "add_handler": [("new", noop, None, True, 0), ("other", noop, ("stop",), False, 5)],
        "add_engine": [("new", None)],
        "start": NONE,
        "play": [()],
        "cancel": [("0" * 32, SOON), ("zero", SOON)],
        "drain": [(0,), (1 << 40,)],
        "wait": [(SOON,)],
        "close": NONE,
        "__del__": NONE,
    },
}
for missing in {"Server", "Answer", "Relay"} - set(vars(_core)):  # a build without its libraries
    del ARGUMENTS[missing]
if not hasattr(_core, "LlamaEngine"):
    for host in {"Server", "Relay"} & set(ARGUMENTS):
        del ARGUMENTS[host]["add_engine"]

# What is set is what was read, or this.
VALUES: dict[str, Callable[[], Any]] = {"timeout": lambda: Seconds(SOON)}


def types_of_module() -> dict[str, type]:
    return {
        name: value
        for name, value in vars(_core).items()
        if isinstance(value, type)
        and not issubclass(value, BaseException)
        and name not in TYPES_LEFT_OUT
    }


def members_of(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if name not in LEFT_OUT}


def is_method(member: Any) -> bool:
    return isinstance(
        member,
        (
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.ClassMethodDescriptorType,
            classmethod,
            staticmethod,
        ),
    )


def check_table() -> None:
    """Each method has an entry, and each entry a method."""
    assert set(ARGUMENTS) == set(types_of_module())
    for type_name, kind in types_of_module().items():
        methods = {name for name, member in members_of(kind).items() if is_method(member)}
        entries = set(ARGUMENTS[type_name])
        assert methods == entries, (type_name, methods ^ entries)


def set_again(name: str) -> Call:
    def call(subject: Any) -> None:
        setattr(subject, name, VALUES[name]() if name in VALUES else getattr(subject, name))

    return call


def call_method(type_name: str, name: str, arguments: tuple[Any, ...]) -> Prepare:
    kind = types_of_module()[type_name]
    method = getattr(kind, name)
    of_class = isinstance(members_of(kind)[name], (classmethod, types.ClassMethodDescriptorType))

    def prepare(subject: Any) -> Call:
        given = arguments
        if name == "__init__":
            given = INIT[type_name]()
        if name == "append" and getattr(subject, "holds_objects", False):
            given = (Deleted(back),)
        if type_name == "Answer" and name == "read":
            given = ((_core.Log(keep=-1).reader(),), 5)
        if type_name == "Relay" and name == "play":
            given = ("0" * 32, 0, _core.Log(), SOON)
        return (lambda _: method(*given)) if of_class else (lambda s: method(s, *given))

    return prepare


@functools.cache
def calls_of(kind: type) -> dict[str, Prepare]:
    """All that can be called of an object of this type, by a name to print."""
    calls: dict[str, Prepare] = {}
    for base in kind.__mro__:
        type_name = base.__name__
        if types_of_module().get(type_name) is not base:
            continue
        for name, member in members_of(base).items():
            if is_method(member):
                for arguments in ARGUMENTS[type_name][name]:
                    call = call_method(type_name, name, arguments)
                    calls[f"{type_name}.{name}{arguments!r:.20}"] = call
            else:
                calls[f"{type_name}.{name}"] = lambda _, n=name: lambda s: getattr(s, n)  # type: ignore[misc]
                calls[f"{type_name}.{name} ="] = lambda _, n=name: set_again(n)  # type: ignore[misc]
    return calls


# ---- the objects ---------------------------------------------------------------------------------


class Tokenizer:
    """A tokenizer that burble does not know, so that its text comes through a window."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return bytes(i % 128 for i in ids).decode()


class DroppedWindow(Window):
    """A window whose texts and copies have finalizers."""

    def push(self, ids: list[int]) -> str:
        return Text(super().push(ids))

    def finish(self) -> str:
        return Text(super().finish())

    def copy(self) -> DroppedWindow:
        other = DroppedWindow(Tokenizer().decode)
        other._state, other.holds = self._state, self.holds
        return other

    def __del__(self) -> None:
        back()


VOCABULARY = _core.Vocabulary.from_pieces(PIECES, [SMALL])


def detokenizer(windowed: bool, **options: Any) -> _core.Detokenizer:
    source = DroppedWindow(Tokenizer().decode) if windowed else VOCABULARY
    return _core.Detokenizer(source, False, options.pop("stop", ()), **options)


INIT: dict[str, Callable[[], tuple[Any, ...]]] = {
    "Detokenizer": lambda: (VOCABULARY,),
    "Streamer": lambda: (detokenizer(False),),
    "Writer": lambda: (_core.Log(), detokenizer(False)),
}


class Objects(list[Any]):
    """Objects that belong together; what is called are the methods of each."""

    kept: Any = None


def parked_of(source: Any) -> tuple[Any, Any]:
    """The awaitable of a step that waits, and what it waits for."""
    step = source.__anext__()
    return step, step.send(None)


def detokenizers(windowed: bool) -> Objects:
    subject = detokenizer(windowed, stop=("never met",), rewind=4, offsets=True)
    subject.push(LARGE[:100])
    return Objects([subject])


def streamers(kind: Any, windowed: bool) -> Objects:
    subject = kind(detokenizer(windowed, stop=("never met",)), False, "word", Seconds(SOON))
    subject.put(LARGE[:30])
    return Objects([subject])


def dead_streamers() -> Objects:
    """Whose producer has died with text in its window."""
    objects = streamers(Source, True)
    subject = objects[0]
    subject.put(LARGE[:30])
    while True:
        try:
            next(subject)
        except BaseException:
            break
    thread = threading.Thread(target=subject.put, args=(LARGE[:30],))
    thread.start()
    thread.join()
    return objects


class Source(_core.IteratorStreamer):
    """Of Python, with a dictionary and weak references."""

    def _error_delivered(self) -> None:
        back()


class AsyncSource(_core.AsyncIteratorStreamer):
    def _error_delivered(self) -> None:
        back()


class Overridden(_core.IteratorStreamer):
    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        back()
        super().on_finalized_text(text, stream_end)
        back()


class TextOnly(_core.Streamer):
    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        back()


def waiting_streamers() -> Objects:
    subject = AsyncSource(detokenizer(True), False, "word", Seconds(SOON))
    step, parked = parked_of(subject)
    return Objects([subject, step, parked, hub_of(asyncio.get_running_loop())])


def readers() -> Objects:
    log = _core.Log(keep=-1)
    reader = log.reader()
    reader.give_up(SOON)
    log.append("some text")
    log.append("and more")
    return Objects([log, reader])


def failed_readers() -> Objects:
    log = _core.Log(keep=-1)
    reader = log.reader()
    log.fail(KeyError("failed"))
    return Objects([log, reader])


def readers_of_objects() -> Objects:
    log = ObjectLog()
    reader = log.log.reader()
    reader.give_up(SOON)
    for _ in range(3):
        log.log.append(Deleted(back))
    return Objects([reader])


class ObjectLog:
    def __init__(self) -> None:
        self.log = _core.Log(objects=True)


def coalescing_readers() -> Objects:
    objects = readers()
    objects[1].coalesce = True
    objects[1].set_interval(3600.0)
    return objects


def waiting_readers() -> Objects:
    log = _core.Log()
    reader = log.reader()
    reader.give_up(SOON)
    step, parked = parked_of(reader)
    return Objects([log, reader, step, parked, hub_of(asyncio.get_running_loop())])


def merged_readers() -> Objects:
    logs = [_core.Log(keep=-1) for _ in range(3)]
    rows = [log.reader() for log in logs]
    merged = _core.Merged(rows)
    for log in logs:
        log.append("text")
        log.deadlines(None, None, 2 * SOON)
    return Objects([merged, rows[0], rows[2], logs[0]])


def waiting_merged() -> Objects:
    logs = [_core.Log(objects=True) for _ in range(3)]
    rows = [log.reader() for log in logs]
    for log in logs:
        log.deadlines(None, None, 2 * SOON)
    merged = _core.Merged(rows)
    step, parked = parked_of(merged)
    return Objects([merged, rows[1], step, parked])


def writers(windowed: bool) -> Objects:
    log = _core.Log(keep=-1)
    reader = log.reader()
    reader.give_up(SOON)
    writer = _core.Writer(log, detokenizer(windowed, stop=("never met",)), "word")
    writer.put(LARGE[:30])
    return Objects([writer, log, reader])


def limited_writers() -> Objects:
    """Whose reader is at its limit: what is appended waits."""
    log = _core.Log()
    reader = log.reader(0, 4, "block")
    reader.give_up(SOON)
    writer = _core.Writer(log, detokenizer(True))
    writer.put([SMALL] * 3)
    log.deadlines(None, None, 3 * SOON)
    return Objects([writer, log, reader])


# ---- a server ------------------------------------------------------------------------------------

BODY = b'{"model": "default", "prompt": "", "stream": true}'
REQUEST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
REQUEST += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Take:
    """What takes requests, with a finalizer."""

    def __init__(self) -> None:
        self.taken: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, answer: Any, facts: dict[str, Any]) -> None:
        self.taken.put(answer)

    def __del__(self) -> None:
        back()


def new_server(take: Take) -> Any:
    server = _core.Server("127.0.0.1", {"port": 0, "drain_delay": 0}, (), (), (), 64)
    server.add_handler("default", take, None, True, 0)
    return server


def new_servers() -> Objects:
    return Objects([new_server(Take())])


def servers() -> Objects:
    objects = new_servers()
    objects[0].start()
    return objects


def answers(n: int = 1) -> Objects:
    """A server that listens, and requests of clients that wait."""
    take = Take()
    server = new_server(take)
    server.start()
    objects = Objects([])
    objects.kept = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(n)]
    for connection in objects.kept:
        connection.sendall(REQUEST)
    objects += [take.taken.get(timeout=60) for _ in range(n)]
    objects.append(server)
    return objects


def relays() -> Objects:
    """A relay whose Redis is not there."""
    relay = _core.Relay("unix:///nowhere/redis.sock", "burble", {"lease": 200_000_000}, 2)
    relay.add_handler("default", Take(), None, True, 0)
    return Objects([relay])


FAMILIES: dict[str, Callable[[], Objects]] = {
    "vocabulary": lambda: Objects([VOCABULARY.cleaned_up()]),
    "detokenizer": lambda: detokenizers(False),
    "windowed_detokenizer": lambda: detokenizers(True),
    "streamer": lambda: streamers(Source, False),
    "windowed_streamer": lambda: streamers(Source, True),
    "async_streamer": lambda: streamers(AsyncSource, True),
    "overridden_streamer": lambda: streamers(Overridden, True),
    "text_streamer": lambda: streamers(TextOnly, True),
    "dead_streamer": dead_streamers,
    "waiting_streamer": waiting_streamers,
    "reader": readers,
    "failed_reader": failed_readers,
    "reader_of_objects": readers_of_objects,
    "coalescing_reader": coalescing_readers,
    "waiting_reader": waiting_readers,
    "merged": merged_readers,
    "waiting_merged": waiting_merged,
    "writer": lambda: writers(False),
    "windowed_writer": lambda: writers(True),
    "limited_writer": limited_writers,
}
if hasattr(_core, "Server"):
    FAMILIES.update(new_server=new_servers, server=servers, answer=answers)
if hasattr(_core, "Relay"):
    FAMILIES["relay"] = relays

# Where calls block, so that a signal finds one that waits.
BLOCKING = ["windowed_streamer", "dead_streamer", "reader", "merged", "limited_writer"]

# Where each pair of methods is tried: it takes long.
IN_PAIRS = ("detokenizer", "windowed_detokenizer", "windowed_streamer", "waiting_reader")

# Where Python code runs in the middle of a call, so that other threads get their turn there.
SHARED = ["windowed_detokenizer", "dead_streamer", "waiting_reader", "merged", "windowed_writer"]
if "server" in FAMILIES:
    BLOCKING += ["server"]
    SHARED += ["new_server", "server", "answer"]
if "relay" in FAMILIES:
    SHARED += ["relay"]


# ---- the ways ------------------------------------------------------------------------------------

WRONG: list[str] = []
INSIDE = 0


def guarded(name: str, call: Callable[[], object]) -> Callable[[], None]:
    """The call, which notes what it should not have raised; not within itself without end."""

    def run() -> None:
        global INSIDE, CALLS
        if INSIDE > 3:
            return
        INSIDE += 1
        CALLS += 1
        try:
            call()
        except BaseException as error:
            if is_wrong(error):
                WRONG.append(f"{name}: {error!r}")
        finally:
            INSIDE -= 1

    return run


CALLS = 0
MOST = 30  # nested calls in one call


ZEROS = (0,) * 20
KINDS: list[Callable[[], Any]] = [[].copy, {}.copy]
KINDS += [functools.partial(ZEROS.__getitem__, slice(n)) for n in range(1, 20)]
KEPT: list[Any] = []


def exhaust_free_lists() -> None:
    """CPython keeps some objects to use them again, and those are had without a collection: keep
    them, of each kind until one is allocated, which the collector counts; and those that this has
    used itself."""
    for make in KINDS:
        for _ in range(2500):
            allocated = gc.get_count()[0]
            KEPT.append(make())
            if gc.get_count()[0] > allocated:
                break
    for make in KINDS:
        for _ in range(5):
            KEPT.append(make())


class Armed:
    """Garbage that only the collector finds, and that comes again."""

    left = 0

    def __init__(self, function: Callable[[], object]) -> None:
        self.me = self
        self.function = function

    def __del__(self) -> None:
        if Armed.left > 0:
            Armed.left -= 1
            Armed(self.function)
            self.function()


def by_gc(call: Callable[[], object], inner: Callable[[], object]) -> None:
    Armed.left = MOST
    Armed(inner)
    exhaust_free_lists()
    gc.set_threshold(1)
    gc.enable()
    try:
        call()
    finally:
        gc.disable()
        Armed.left = 0
        gc.collect(1)  # what is armed still


def by_drop(call: Callable[[], object], inner: Callable[[], object]) -> None:
    left = itertools.repeat(None, MOST)

    def once() -> None:
        if next(left, 0) is None:
            inner()

    PRESENT[:] = [once]
    try:
        call()
    finally:
        PRESENT.clear()


def by_trace(call: Callable[[], object], inner: Callable[[], object]) -> None:
    left = itertools.repeat(None, MOST)

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != __file__ and next(left, 0) is None:
            inner()
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)


def by_signal(call: Callable[[], object], inner: Callable[[], object]) -> None:
    left = itertools.repeat(None, MOST)

    def handler(*_: object) -> None:
        if next(left, 0) is None:
            inner()

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


WAYS = {"gc": by_gc, "drop": by_drop, "trace": by_trace, "signal": by_signal}


def all_calls(objects: Objects) -> list[tuple[int, str]]:
    return [(i, name) for i, subject in enumerate(objects) for name in calls_of(type(subject))]


def call_of(objects: Objects, which: tuple[int, str]) -> Callable[[], object]:
    i, name = which
    subject = objects[i]
    call = calls_of(type(subject))[name](subject)
    return lambda: call(subject)


def forget_closed_hub() -> None:
    """What a call before has closed."""
    loop = asyncio.get_running_loop()
    try:
        hub_of(loop).fileno()
    except ValueError:
        _loops._hubs().pop(loop)


async def one(
    make: Callable[[], Objects],
    way: Callable[..., None],
    outer: tuple[int, str],
    inner: list[tuple[int, str]],
) -> None:
    """One call, in the middle of which the others are called in their turn."""
    forget_closed_hub()
    objects = make()
    turn = itertools.cycle([guarded(f"{w} in {outer}", call_of(objects, w)) for w in inner])
    way(guarded(str(outer), call_of(objects, outer)), lambda: next(turn)())
    objects.clear()


async def every_pair(make: Callable[[], Objects], way_name: str, pairs: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    names = all_calls(make())
    chance = random.Random(1)
    for outer in names:
        inner = [[name] for name in names if name[0] == outer[0]] if pairs else []
        # In turns, as well: states that one call alone does not lead to.
        inner += [chance.sample(names, len(names)) for _ in range(2)]
        for group in inner:
            await one(make, WAYS[way_name], outer, group)
            await asyncio.sleep(0)


def by_threads(make: Callable[[], Objects], seconds: float) -> None:
    """Several threads call anything of one family."""
    sys.setswitchinterval(1e-6)
    over = threading.Event()
    threading.Timer(seconds, over.set).start()
    for seed in itertools.count():
        objects: list[Objects] = []

        async def main(objects: list[Objects] = objects) -> None:
            objects.append(make())

        asyncio.run(main())
        names = all_calls(objects[0])

        def hammer(chance: random.Random, family: Objects, names: list[tuple[int, str]]) -> None:
            async def call_some() -> None:
                for _ in range(20):
                    which = chance.choice(names)
                    guarded(str(which), call_of(family, which))()

            asyncio.run(call_some())

        threads = [
            threading.Thread(target=hammer, args=(random.Random(10 * seed + n), objects[0], names))
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if over.is_set():
            return


def note_unraisable(hint: Any) -> None:
    if hint.exc_value is not None and is_wrong(hint.exc_value):
        WRONG.append(f"unraisable in {hint.object!r}: {hint.exc_value!r}")


def main(family: str, *ways: str) -> None:
    check_table()
    sys.unraisablehook = note_unraisable
    exhaust_free_lists()
    gc.collect()
    gc.freeze()
    gc.disable()
    for way in ways:
        if way == "threads":
            by_threads(FAMILIES[family], 0.3)
        else:
            name, _, extent = way.partition(":")
            asyncio.run(every_pair(FAMILIES[family], name, extent == "pairs"))
    gc.set_threshold(700)
    gc.enable()
    gc.collect()
    assert not WRONG, WRONG[:20]
    print(f"{CALLS:,} calls")


if __name__ == "__main__":
    faulthandler.enable()
    main(*sys.argv[1:])
