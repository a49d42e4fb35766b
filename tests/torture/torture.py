# SPDX-License-Identifier: MIT
# ruff: noqa: PT017, PT018
"""Allocations of the interpreter and calls of the extension, failed in turn beneath burble's
public operations: a MemoryError comes back, or an error of burble's or the system's; the object is
then in a state that one can name, where the operation can be repeated; nothing is left of it; and
the interpreter goes on.

    python torture.py FAIL_PYTHON_SO [SCENARIO]

Each scenario runs in a separate interpreter, with a bound on its time. Only what burble's calls
do is let fail, not what Python does around them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dis
import faulthandler
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = os.path.join(HERE, "..", "fuzz", "corpus")
IDS = [0, 1, 2, 3, 1, 2]
MOST = 3000  # failures of one scenario
TIME_LIMIT = 240  # seconds, for a scenario
SEVERAL = 40  # calls in a row that fail where memory stays short

burble: Any = None
lib: Any = None

# The run: which call fails, and how many from there on.
nth = 0
in_a_row = 1
failed = 0


def window(operation: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What the operation returned, and raised, while calls failed."""
    global failed
    result: Any = None
    error: BaseException | None = None
    try:
        lib.fail_arm(nth, in_a_row)
        result = operation()
    except BaseException as caught:
        error = caught
    while True:
        try:
            failed += lib.fail_disarm()
            break
        except MemoryError:  # of the call that ends it
            failed += 1
    if error is not None:
        assert failed, f"{error!r} although nothing has failed"
        assert isinstance(error, (MemoryError, burble.Error, OSError)) or is_lost(error), repr(
            error
        )
        error.__traceback__ = None
    return result, error


# Where CPython goes on in a function of Python's without a call in C. What a function in C returns
# it looks at here, and names the function where that is nothing.
ENTERS_PYTHON = ("CALL", "CALL_KW", "BINARY_SUBSCR")


def is_lost(error: BaseException) -> bool:
    """CPython loses the exception where it cannot make a frame for its traceback. What an extension
    loses has another message, with its own name in it, or comes from another instruction: a getter
    has no name, but an attribute is looked for. What fails in looking for an attribute of a
    type, CPython takes for its absence: it is there, though, for whoever asks again."""
    if isinstance(error, AttributeError):
        return error.obj is not None and hasattr(error.obj, error.name)
    if not isinstance(error, SystemError):
        return False
    if str(error) == "error return without exception set":
        return instruction_of(error) in ENTERS_PYTHON
    return str(error).startswith("<function ")


def instruction_of(error: BaseException) -> str:
    """The name of the one that has raised it."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return ""
    code, i = place.tb_frame.f_code.co_code, place.tb_lasti
    while code[i] == dis.opmap.get("CACHE"):  # it belongs to the one before
        i -= 2
    return dis.opname[code[i]]


def repeat(operation: Callable[[], Any]) -> Any:
    """In a window; where that fails, once more without."""
    result, error = window(operation)
    return operation() if error is not None else result


def read_on(stream: Any) -> tuple[str, BaseException | None]:
    """All that is left to read, and the error that ended it."""
    got = []
    try:
        for text in stream:
            got.append(text)
    except (MemoryError, burble.Error) as error:
        error.__traceback__ = None
        return "".join(got), error
    return "".join(got), None


def check_text(stream: Any, expected: str) -> None:
    """All of the text; or, where some of it got lost, the text before that and an error."""
    got, error = read_on(stream)
    if error is None:
        assert got == expected, (got, expected)
    else:
        assert failed and expected.startswith(got), (got, expected, error)


def write(*operations: Callable[[], Any]) -> None:
    """In windows; what has failed is repeated, as long as the stream takes it."""
    for operation in operations:
        _, error = window(operation)
        if error is not None:
            with contextlib.suppress(burble.Error):  # it has failed: the writer is told
                operation()


# ---- detokenizers ------------------------------------------------------------------------------

GPT2 = os.path.join(CORPUS, "gguf", "gpt2")


def loading(name: str) -> Callable[[], None]:
    def run() -> None:
        path = os.path.join(CORPUS, name)
        expected = burble.Detokenizer(path).push(IDS)
        gc.collect()
        detokenizer = repeat(lambda: burble.Detokenizer(path))
        assert detokenizer.push(IDS) == expected

    return run


def detok_push() -> None:
    clean = burble.Detokenizer(GPT2)
    expected = clean.push(IDS * 20) + clean.finish()
    detokenizer = burble.Detokenizer(GPT2, rewind=4, offsets=True, stop=["nowhere"])
    text, error = window(lambda: detokenizer.push(IDS * 20) + detokenizer.finish())
    if error is not None:  # some text may be missing; another sequence begins
        detokenizer.finish()
        text = detokenizer.push(IDS * 20) + detokenizer.finish()
    assert text == expected, (text, expected)


def detok_copy() -> None:
    detokenizer = burble.Detokenizer(GPT2, rewind=4, stop=["nowhere"])
    first = detokenizer.push(IDS)
    copy = repeat(detokenizer.copy)
    assert copy.push(IDS) == detokenizer.push(IDS)
    assert first


def detok_prime() -> None:
    detokenizer = burble.Detokenizer(GPT2, rewind=4, offsets=True)

    def prime() -> int:
        detokenizer.prime(IDS)
        return detokenizer.rewind(2)

    window(prime)
    detokenizer.finish()
    assert detokenizer.push(IDS) == burble.Detokenizer(GPT2).push(IDS)


def detok_offsets() -> None:
    detokenizer = burble.Detokenizer(GPT2, offsets=True)
    detokenizer.push(IDS)
    expected = detokenizer.offsets
    assert expected and repeat(lambda: detokenizer.offsets) == expected


# ---- channels and their readers ----------------------------------------------------------------


def channel_make() -> None:
    writer, stream = repeat(burble.channel)
    writer.put_text("text")
    writer.end()
    assert "".join(stream) == "text"


def channel_make_with_tokenizer() -> None:
    writer, stream = repeat(lambda: burble.channel(GPT2, stop=["nowhere"], keep="all", max_lag=9))
    writer.end()
    assert "".join(stream) == ""


def channel_put_text() -> None:
    writer, stream = burble.channel(keep="all")
    texts = [f"{i} " + "x" * 900 for i in range(3)]
    write(*(lambda text=text: writer.put_text(text) for text in texts))
    writer.end()
    check_text(stream, "".join(texts))


def channel_put() -> None:
    clean = burble.Detokenizer(GPT2)
    expected = clean.push(IDS * 2) + clean.finish()
    writer, stream = burble.channel(GPT2)
    write(*[lambda: writer.put(IDS)] * 2)
    writer.end()
    check_text(stream, expected)


def channel_end() -> None:
    writer, stream = burble.channel(GPT2)
    writer.put(IDS)
    write(lambda: writer.end(result=7))
    text, error = read_on(stream)
    assert (text and stream.result == 7) if error is None else failed


def channel_fail() -> None:
    writer, stream = burble.channel()
    writer.put_text("text")
    error = ValueError("as it should")
    write(lambda: writer.fail(error))
    got = []
    try:
        for text in stream:
            got.append(text)
        raise AssertionError("it did not fail")
    except ValueError as caught:
        assert caught is error
    except (MemoryError, burble.Error):
        assert failed
    assert got == ["text"]


def channel_let_go() -> None:
    """Whoever reads does not wait for ever."""
    writer, stream = burble.channel()
    box = [writer]
    del writer
    window(box.clear)
    assert stream.state in ("failed", "cancelled"), stream.state


def stream_let_go() -> None:
    writer, stream = burble.channel()
    writer.put_text("text")
    box = [stream]
    del stream
    window(box.clear)
    assert writer.cancelled
    window(writer.end)


def stream_next() -> None:
    writer, stream = burble.channel()
    writer.put_text("one")
    writer.put_text("two")
    writer.end()
    assert repeat(lambda: next(stream)) == "one"
    assert list(stream) == ["two"]


def stream_read_all() -> None:
    writer, stream = burble.channel(coalesce=True)
    for _ in range(50):
        writer.put_text("x" * 100)
    writer.end()
    first = repeat(lambda: next(stream))
    assert first + "".join(stream) == "x" * 5000


def stream_properties() -> None:
    writer, stream = burble.channel(keep="all")
    writer.put_text("x")

    def look() -> tuple[Any, ...]:
        return (stream.state, stream.error, stream.position, stream.stats, repr(stream))

    repeat(look)
    writer.end("length")
    assert list(stream) == ["x"] and stream.finish_reason == "length"


def reader_make() -> None:
    writer, stream = burble.channel(keep="all")
    writer.put_text("x")
    reader = repeat(lambda: stream.reader(0, max_lag=5))
    writer.end()
    assert list(reader) == ["x"]


def reader_take() -> None:
    writer, stream = burble.channel(keep="all")
    writer.put_text("x" * 200)
    with stream.reader(0) as reader:
        assert repeat(reader.take) == (0, "x" * 200)
        writer.end()
        assert list(reader) == []


def gather_make() -> None:
    writer, stream = burble.channel()
    writer.put_text("x")
    writer.end()
    assert list(repeat(lambda: burble.gather([stream]))) == [(0, "x"), (0, None)]


def gather_next() -> None:
    writer, stream = burble.channel()
    late_writer, late = burble.channel(coalesce=True)
    writer.put_text("x" * 200)
    writer.end()
    gathered = burble.gather([stream, late])
    got = [repeat(lambda: next(gathered)) for _ in range(2)]
    late_writer.put_text("y" * 200)
    late_writer.end()
    got += [repeat(lambda: next(gathered)) for _ in range(2)]
    assert got == [(0, "x" * 200), (0, None), (1, "y" * 200), (1, None)], got


# ---- generations -------------------------------------------------------------------------------


def generation_start() -> None:
    """The pool's thread may be new."""

    def generate(*, streamer: Any) -> int:
        streamer.put_text("text")
        return 7

    with burble.Pool(workers=1) as pool:
        stream = repeat(lambda: pool.stream(generate, tokenizer=GPT2))
        with stream:
            assert "".join(stream) == "text" and stream.result == 7


def generation_inside() -> None:
    """A failure in the thread reaches the reader, unless the generation handles it."""

    def generate(*, streamer: Any) -> None:
        streamer.put(IDS)
        _, error = window(lambda: streamer.put_text("x" * 3000))
        if error is not None:
            raise error

    with burble.Pool(workers=1) as pool, pool.stream(generate, tokenizer=GPT2) as stream:
        text = ""
        try:
            for piece in stream:
                text += piece
        except (MemoryError, burble.Error, OSError):
            assert failed
        assert text.startswith(burble.Detokenizer(GPT2).push(IDS))


def iteration() -> None:
    items = [object(), "text", 3]
    with burble.Pool(workers=1) as pool:
        stream = repeat(lambda: pool.iterate(items, keep="all"))
        got: list[object] = []
        with stream:
            window(lambda: got.append(next(stream)))
            for item in stream.reader(0):
                got.append(item)
        assert got[-3:] == items


# ---- streamers ---------------------------------------------------------------------------------


def streamer() -> None:
    clean = burble.Detokenizer(GPT2)
    expected = clean.push(IDS) + clean.finish()
    made = repeat(lambda: burble.TextIteratorStreamer(GPT2, chunk="token"))
    write(*(lambda token=token: made.put([token]) for token in IDS), made.end)
    check_text(made, expected)


def streamer_read() -> None:
    made = burble.TextIteratorStreamer(GPT2, chunk="token")
    made.put(IDS)
    made.put(IDS)
    made.end()
    first = repeat(lambda: next(made))
    clean = burble.Detokenizer(GPT2)
    assert first + "".join(made) == clean.push(IDS * 2) + clean.finish()


def streamer_word() -> None:
    made = burble.TextIteratorStreamer(GPT2)
    write(*(lambda token=token: made.put([token]) for token in IDS), made.end)
    clean = burble.Detokenizer(GPT2)
    check_text(made, clean.push(IDS) + clean.finish())


def streamer_again() -> None:
    """The writer makes the second generation."""
    clean = burble.Detokenizer(GPT2)
    expected = clean.push(IDS) + clean.finish()
    made = burble.TextIteratorStreamer(GPT2, chunk="token")
    made.put(IDS)
    made.end()
    write(lambda: made.put(IDS), made.end)
    assert "".join(made) == expected
    check_text(made, expected)


def streamer_read_again() -> None:
    """The reader makes the second generation."""
    clean = burble.Detokenizer(GPT2)
    expected = clean.push(IDS) + clean.finish()
    made = burble.TextIteratorStreamer(GPT2, chunk="token")
    made.put(IDS)
    made.end()
    got = ""
    while text := repeat(lambda: next(made, "")):
        got += text
    assert got == expected
    made.put(IDS)
    made.end()
    assert "".join(made) == expected


# ---- asynchronous ------------------------------------------------------------------------------


def step(awaitable: Any) -> tuple[str, Any]:
    """One step of it: what it came to, or that it waits."""
    try:
        awaitable.__await__().send(None)
    except StopIteration as stop:
        return "done", stop.value
    return "waits", None


def async_ready() -> None:
    async def main() -> None:
        writer, stream = burble.channel()
        writer.put_text("one")
        writer.put_text("two")
        writer.end()
        got, error = window(lambda: step(stream.__anext__()))
        texts = [] if error is not None else [got[1]]
        async for text in stream:
            texts.append(text)
        assert texts[-1] == "two" and (failed or texts == ["one", "two"])

    asyncio.run(main())


def async_first_wait() -> None:
    """The loop's hub is made, its descriptor watched, the reader parked; then let go."""

    async def main() -> None:
        writer, stream = burble.channel()
        window(lambda: step(stream.__anext__()))
        writer.put_text("text")
        writer.end()
        assert [text async for text in stream] == ["text"]

    asyncio.run(main())


def async_wake() -> None:
    """The append that wakes, while a task waits."""

    async def main() -> None:
        writer, stream = burble.channel()

        async def read() -> tuple[list[str], BaseException | None]:
            got = []
            try:
                async for text in stream:
                    got.append(text)
            except (MemoryError, burble.Error) as error:
                return got, error
            return got, None

        task = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        write(lambda: writer.put_text("one"))
        await asyncio.sleep(0)
        write(writer.end)
        got, error = await asyncio.wait_for(task, 30)
        assert got == ["one"] if error is None else failed

    asyncio.run(main())


def async_streamer() -> None:
    async def main() -> None:
        made = repeat(lambda: burble.AsyncTextIteratorStreamer(GPT2, chunk="token"))
        write(lambda: made.put(IDS), made.end)
        window(lambda: step(made.__anext__()))
        try:
            async for _ in made:
                pass
        except (MemoryError, burble.Error):
            assert failed

    asyncio.run(main())


def events() -> None:
    async def main() -> None:
        writer, stream = burble.channel(keep="all")
        writer.put_text("one")
        writer.end()
        source = repeat(lambda: burble.sse(stream))
        window(lambda: step(source.next(0)))
        await source.aclose()
        again = [event async for event in burble.sse(stream)]
        assert b"one" in b"".join(again)

    asyncio.run(main())


SCENARIOS: dict[str, Callable[[], None]] = {
    "load_gguf": loading("gguf/gpt2"),
    "load_hf": loading("hf/fallback.json"),
    "load_tiktoken": loading("tiktoken/ranks"),
    "load_sentencepiece": loading("sentencepiece/plain"),
    "load_tekken": loading("tekken/special.json"),
    **{
        function.__name__: function
        for function in (
            detok_push,
            detok_copy,
            detok_prime,
            detok_offsets,
            channel_make,
            channel_make_with_tokenizer,
            channel_put_text,
            channel_put,
            channel_end,
            channel_fail,
            channel_let_go,
            stream_let_go,
            stream_next,
            stream_read_all,
            stream_properties,
            reader_make,
            reader_take,
            gather_make,
            gather_next,
            generation_start,
            generation_inside,
            iteration,
            streamer,
            streamer_read,
            streamer_word,
            streamer_again,
            streamer_read_again,
            async_ready,
            async_first_wait,
            async_wake,
            async_streamer,
            events,
        )
    },
}


# ---- running them ------------------------------------------------------------------------------


def live_blocks(least: int) -> int:
    """The extension's blocks, once the threads that were joined have exited to the last: then there
    are no more than ``least``, if nothing is left."""
    gc.collect()
    end = time.monotonic() + 5.0
    while lib.fail_live() > least and time.monotonic() < end:
        time.sleep(0.001)
    return int(lib.fail_live())


def run_scenario(path: str, name: str) -> None:
    """In a separate interpreter. Prints how many failures there were, of one and several."""
    global burble, lib, nth, in_a_row, failed
    faulthandler.enable()
    faulthandler.dump_traceback_later(TIME_LIMIT - 20, exit=True)
    import burble as module

    burble = module
    lib = ctypes.PyDLL(path)
    lib.fail_arm.argtypes = (ctypes.c_uint, ctypes.c_uint)
    lib.fail_arm.restype = None
    lib.fail_live.restype = ctypes.c_long
    assert lib.fail_find_extension() and lib.fail_hook_python()
    unraisable: list[str] = []

    def hook(found: Any) -> None:
        # (threading's own, of a thread whose start could not be waited for, is a KeyError.)
        if not isinstance(found.exc_value, (MemoryError, KeyError)):
            unraisable.append(f"{found.exc_value!r} in {found.object!r}")

    sys.unraisablehook = hook
    errors: list[BaseException] = []

    def run() -> None:
        try:
            SCENARIOS[name]()
        except BaseException as error:
            errors.append(error)

    def scenario() -> None:
        """In a separate thread, with which goes what the library keeps for it."""
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    counts = []
    for in_a_row in (1, SEVERAL):
        nth = MOST  # so that what is made once is there
        scenario()
        before = live_blocks(0)
        for nth in range(1, MOST):
            os.write(2, f"{name}: failure {nth} of {in_a_row} in a row\n".encode())
            failed = 0
            scenario()
            if not failed:
                break
            left = live_blocks(before) - before
            assert left <= 0, f"{left} blocks of the extension are left"
            assert not unraisable, unraisable
        else:
            raise AssertionError(f"{MOST} failures, and no run is without")
        assert nth > 1, "nothing was let fail"
        counts.append(nth - 1)
    print(*counts)
    sys.stdout.flush()


def main() -> int:
    path = os.path.abspath(sys.argv[1])
    if len(sys.argv) > 3:
        run_scenario(path, sys.argv[2])
        return 0
    names = sys.argv[2:] or list(SCENARIOS)
    environment = {**os.environ, "LD_PRELOAD": path}
    bad = 0
    for i, name in enumerate(names, 1):
        command = [sys.executable, __file__, path, name, "here"]
        try:
            run = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT
            )
            good, output = run.returncode == 0, run.stderr
        except subprocess.TimeoutExpired as error:
            good, output = False, (error.stderr or b"").decode()
        if good:
            once, several = run.stdout.split()[-2:]
            print(f"ok {i} - {name:28} once {once:>4}  {SEVERAL} in a row {several:>4}", flush=True)
        else:
            bad += 1
            print(f"not ok {i} - {name}", flush=True)
            print("\n".join("# " + line for line in output.splitlines()[-25:]), flush=True)
    print(f"1..{len(names)}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
