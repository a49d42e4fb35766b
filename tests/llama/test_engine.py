# SPDX-License-Identifier: MIT
"""burble.llama.Engine: texts of a GGUF model, written by a thread that never takes the GIL."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_llama import AS_GOOD_AS_EQUAL, PROMPTS, SHIPPED, TOKENS, generate, lead
from test_llama import model as model  # fixtures
from test_llama import tokenizer as tokenizer
from test_run import succeed

import burble

try:
    from burble import llama
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.timeout(120)

PACKAGE = Path(burble.__file__).parents[1]


def new_engine(**options: Any) -> llama.Engine:
    return llama.Engine(SHIPPED, **{"threads": 1, **options})


@pytest.fixture
def engine() -> Iterator[llama.Engine]:
    with new_engine() as engine:
        yield engine


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread is about to do; pytest bounds it."""
    while not condition():
        time.sleep(0.001)


def text_of(stream: burble.Stream[str]) -> str:
    return "".join(stream)


def endless(engine: llama.Engine, **options: Any) -> llama.EngineStream:
    """One that stands still until it is read, and would go on to the end of the context."""
    return engine.generate("ROMEO:", ignore_eos=True, max_lag=1, lag_unit="tokens", **options)


def until_given_up(engine: llama.Engine) -> None:
    """Until nothing runs, and not because a text has come to the end of the context."""
    until(lambda: engine.stats.active == 0)
    assert engine.stats.tokens < 100


# ---- texts -------------------------------------------------------------------------------------


def test_greedy_text_equals_transformers(engine: llama.Engine, model: Any, tokenizer: Any) -> None:
    streams = [engine.generate(prompt, max_new_tokens=TOKENS) for prompt in PROMPTS]
    equal = 0
    for prompt, stream in zip(PROMPTS, streams):
        text, expected = text_of(stream), generate(model, tokenizer, prompt)
        assert stream.finish_reason in ("length", "eos")
        if text == expected:
            equal += 1
        else:
            assert lead(model, tokenizer, prompt, expected, text) < AS_GOOD_AS_EQUAL, prompt
    print(f"{equal} of {len(PROMPTS)} texts are equal; the others part where two tokens tie")
    assert equal >= 20


def test_text_equals_that_of_command(engine: llama.Engine) -> None:
    text = text_of(engine.generate("ROMEO:", max_new_tokens=40))
    assert succeed("-p", "ROMEO:", "-n", "40", "--greedy") == text
    text = text_of(engine.generate("ROMEO:", max_new_tokens=40, temperature=0.9, seed=7))
    assert succeed("-p", "ROMEO:", "-n", "40", "--temperature", "0.9", "--seed", "7") == text


@pytest.mark.parametrize(
    "options",
    [
        {"flash_attention": False, "cache_k": "f32", "cache_v": "f32"},
        {"flash_attention": True, "unified": True},
        {"prompt_threads": 2, "batch": 4, "prompt_ms": 1},
    ],
)
def test_options_of_size_leave_text_equal(engine: llama.Engine, options: dict[str, Any]) -> None:
    with new_engine(slots=2, **options) as other:
        text = text_of(other.generate("ROMEO:", max_new_tokens=20))
    assert text == text_of(engine.generate("ROMEO:", max_new_tokens=20))


def test_prompt_of_ids_is_taken(engine: llama.Engine) -> None:
    ids = engine.tokenize("ROMEO:")
    assert ids == burble_ids("ROMEO:")
    expected = text_of(engine.generate("ROMEO:", max_new_tokens=20))
    assert text_of(engine.generate(ids, max_new_tokens=20)) == expected
    assert text_of(engine.generate(iter(ids), max_new_tokens=20)) == expected


def burble_ids(text: str) -> list[int]:
    tokenizers = pytest.importorskip("tokenizers")
    path = str(SHIPPED.parent / "shakespeare" / "tokenizer.json")
    ids: list[int] = tokenizers.Tokenizer.from_file(path).encode(text).ids
    return ids


def test_conversation_becomes_prompt(engine: llama.Engine) -> None:
    messages = [{"role": "user", "content": "Who is there?"}]
    prompt = engine.chat(messages, "chatml")
    assert prompt == "<|im_start|>user\nWho is there?<|im_end|>\n<|im_start|>assistant\n"
    stream = engine.generate(messages=messages, template="chatml", max_new_tokens=8)
    assert text_of(stream) == text_of(engine.generate(prompt, specials=True, max_new_tokens=8))


@pytest.mark.parametrize("include", [False, True])
def test_stop_string_ends_text(engine: llama.Engine, include: bool) -> None:
    whole = text_of(engine.generate("ROMEO:", max_new_tokens=60))
    stop = whole[10:14]
    begin = whole.index(stop)
    stream = engine.generate(
        "ROMEO:", max_new_tokens=60, stop=["no such text", stop], include_stop=include
    )
    assert text_of(stream) == whole[: begin + len(stop) * include]
    assert stream.finish_reason == "stop"
    assert stream.stopped == burble.StopMatch(1, stop, begin, begin + len(stop))


def test_stats_are_those_of_generation(engine: llama.Engine) -> None:
    stream = engine.generate("ROMEO:", max_new_tokens=30)
    text_of(stream)
    stats = stream.stats
    assert (stats.tokens, stream.finish_reason, stream.result) == (30, "length", None)
    assert 0 < stats.chunks <= 30
    assert (stats.first_token or 0) > 0
    assert 0 < (stats.inter_token_p50 or 0) <= (stats.inter_token_p99 or 0)
    assert (stats.tokens_per_second or 0) > 0
    assert stats.blocked == 0


def test_stats_tell_how_much_of_prompt_was_reused(engine: llama.Engine) -> None:
    prompt = "What is the city but the people?\n" * 10
    tokens = len(engine.tokenize(prompt))
    # The last token of a prompt is computed in any case.
    for reused in (0, tokens - 1):
        stream = engine.generate(prompt, max_new_tokens=1)
        assert stream.stats.prompt_tokens in (None, tokens)  # None before its first token
        text_of(stream)
        assert (stream.stats.prompt_tokens, stream.stats.reused_tokens) == (tokens, reused)


def test_place_of_request_goes_from_queue_to_over() -> None:
    with new_engine(slots=1) as engine:
        running = endless(engine)
        next(iter(running))
        assert running.place.stage == "answer"
        assert running.place.prompt_done == running.place.prompt_tokens > 0
        queued = [
            engine.generate("JULIET:", max_new_tokens=1, priority=priority)
            for priority in (0, 1, 0)
        ]
        places = [(stream.place.stage, stream.place.before) for stream in queued]
        assert places == [("queued", 1), ("queued", 0), ("queued", 2)]
        running.cancel()
        for stream in queued:
            text_of(stream)
        until(lambda: all(stream.place.stage == "over" for stream in queued))
    assert running.place.stage == "over"  # also of an engine that is closed


def test_prompt_without_reuse_is_computed_again(engine: llama.Engine) -> None:
    prompt = "We are accounted poor citizens, the patricians good.\n" * 6
    for reuse in (False, True, False):
        stream = engine.generate(prompt, max_new_tokens=1, reuse=reuse)
        text_of(stream)
        assert stream.stats.reused_tokens == 0


# ---- readers -----------------------------------------------------------------------------------


def test_sixty_four_tasks_at_once_read_their_text() -> None:
    async def read(engine: llama.Engine, i: int) -> tuple[str, int]:
        async with engine.generate(f"ROMEO:\n{i} ", max_new_tokens=16, seed=i) as stream:
            return "".join([text async for text in stream]), stream.stats.tokens

    async def main() -> list[tuple[str, int]]:
        async with new_engine(slots=16) as engine:
            read_by_tasks = await asyncio.gather(*(read(engine, i) for i in range(64)))
            assert engine.stats.requests == 64
            return read_by_tasks

    for text, tokens in asyncio.run(main()):
        assert text
        assert tokens == 16


def test_trio_task_reads_text() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> str:
        async with new_engine() as engine:
            async with engine.generate("ROMEO:", max_new_tokens=16) as stream:
                return "".join([text async for text in stream])

    with new_engine() as engine:
        assert trio.run(main) == text_of(engine.generate("ROMEO:", max_new_tokens=16))


def test_readers_replay_kept_text(engine: llama.Engine) -> None:
    stream = engine.generate("ROMEO:", max_new_tokens=16, keep="all")
    text = text_of(stream)
    assert "".join(stream.reader(0)) == text


def test_reader_alone_keeps_engine_alive() -> None:
    reader = new_engine().generate("ROMEO:", max_new_tokens=16).reader(0)
    gc.collect()
    with new_engine() as engine:
        assert "".join(reader) == text_of(engine.generate("ROMEO:", max_new_tokens=16))


def test_text_is_made_while_another_thread_holds_gil(engine: llama.Engine) -> None:
    def some_came() -> bool:
        stream = engine.generate("ROMEO:", ignore_eos=True)
        iterator = iter(stream)
        next(iterator)  # it has begun
        before = stream._log.position
        # One call in C that keeps the GIL: nothing of Python's runs meanwhile.
        hash(3**400_000 * 7**400_000)
        came = stream._log.position - before
        assert len(list(iterator)) >= came
        return came > 0

    # Once more where this thread was so late that the text had ended already.
    until(some_came)


# ---- ends --------------------------------------------------------------------------------------


def test_block_left_early_frees_slot(engine: llama.Engine) -> None:
    with endless(engine) as stream:
        next(iter(stream))
    until_given_up(engine)
    assert stream.state == "cancelled"


def test_cancelled_task_frees_slot(engine: llama.Engine) -> None:
    async def main() -> None:
        async def read() -> None:
            async with endless(engine) as stream:
                async for _ in stream:
                    begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until_given_up(engine)


def test_stream_without_references_frees_slot(engine: llama.Engine) -> None:
    stream = endless(engine)
    next(iter(stream))
    del stream
    gc.collect()
    until_given_up(engine)


def test_close_ends_running_and_queued_requests() -> None:
    engine = new_engine(slots=1)
    streams = [endless(engine) for _ in range(3)]
    next(iter(streams[0]))
    engine.close()
    engine.close()
    for stream in streams:
        with pytest.raises(burble.Cancelled):
            text_of(stream)
    assert engine.closed
    for use in (lambda: engine.generate("a"), lambda: engine.stats):
        with pytest.raises(burble.Error, match="closed"):
            use()


def test_closed_engine_refuses_texts_ids_and_messages() -> None:
    engine = new_engine()
    engine.close()
    messages = [{"role": "user", "content": "Who is there?"}]
    for arguments in (("ROMEO:",), ([815, 26],)):
        with pytest.raises(burble.Error, match="the engine is closed"):
            engine.generate(*arguments)
    with pytest.raises(burble.Error, match="the engine is closed"):
        engine.generate(messages=messages, template="chatml")
    assert engine.tokenize("ROMEO:") != []


def test_close_does_not_wait_for_new_requests() -> None:
    engine = new_engine(slots=1)
    long = "\n" * 16_000  # is tokenized before it is refused, so that one of them is always in
    given_up = threading.Event()
    refused: list[int] = []

    def keep_coming() -> None:
        while not given_up.is_set():
            try:
                engine.generate(long)
            except ValueError:
                refused.append(1)
            except burble.Error:
                return

    threads = [threading.Thread(target=keep_coming) for _ in range(8)]
    for thread in threads:
        thread.start()
    closing = threading.Thread(target=engine.close)
    try:
        until(lambda: len(refused) >= 2 * len(threads))
        closing.start()
        closing.join(10)
        assert not closing.is_alive()
        for thread in threads:
            thread.join(10)  # each was told that it is closed
            assert not thread.is_alive()
    finally:
        given_up.set()


def test_slow_reader_is_waited_for(engine: llama.Engine) -> None:
    whole = text_of(engine.generate("ROMEO:", max_new_tokens=60))
    stream = engine.generate("ROMEO:", max_new_tokens=60, max_lag=5, lag_unit="tokens")
    until(lambda: stream.stats.blocked > 0)
    assert stream.stats.tokens <= 7
    assert text_of(stream) == whole
    assert stream.stats.blocked > 0


def test_timeout_ends_generation(engine: llama.Engine) -> None:
    with pytest.raises(burble.TotalTimeout):
        text_of(engine.generate("ROMEO:", ignore_eos=True, total_timeout=0.005))
    stream = endless(engine, total_timeout=0.02)
    until(lambda: stream.state == "failed")  # although no reader reads
    with pytest.raises(burble.TotalTimeout, match=r"timed out after 0\.02 s"):
        text_of(stream)
    until(lambda: engine.stats.active == 0)


def test_first_token_timeout_ends_generation() -> None:
    with new_engine(slots=1) as engine:
        busy = endless(engine)
        until(lambda: busy.stats.tokens > 0)  # and keeps its slot
        waiting = engine.generate("ROMEO:", first_token_timeout=0.05)
        with pytest.raises(burble.FirstTokenTimeout):
            text_of(waiting)


def test_full_queue_raises() -> None:
    with new_engine(slots=1, queue=0) as engine:
        busy = endless(engine)
        with pytest.raises(burble.Error, match="slots"):
            engine.generate("ROMEO:")
        busy.cancel()


def test_clients_that_cancel_at_random_leave_nothing_behind() -> None:
    async def client(engine: llama.Engine, i: int) -> None:
        for turn in range(4):
            async with engine.generate("ROMEO:", max_new_tokens=40) as stream:
                for _ in range((i * 7 + turn * 3) % 9):
                    await anext_or_none(stream)

    async def main() -> None:
        threads, open_before = threading.active_count(), descriptors()
        async with new_engine(slots=8) as engine:
            await asyncio.gather(*(client(engine, i) for i in range(32)))
            until(lambda: engine.stats.active + engine.stats.waiting == 0)
        assert threading.active_count() <= threads  # idle ones of a pool may have gone
        assert descriptors() <= open_before

    async def warm() -> None:
        writer, stream = burble.channel()  # whose reader waits, which an engine's may not have to
        waiting = asyncio.ensure_future(anext_or_none(stream))
        await asyncio.sleep(0)
        writer.put_text("a")
        await waiting
        with new_engine() as engine:
            async for _ in engine.generate("a", max_new_tokens=2):
                pass
        await main()

    asyncio.run(warm())


async def anext_or_none(stream: burble.Stream[str]) -> str | None:
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return None


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- what is wrong -----------------------------------------------------------------------------


def test_invalid_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        llama.Engine(tmp_path / "no.gguf")
    assert caught.value.filename == tmp_path / "no.gguf"
    other = tmp_path / "other.gguf"
    other.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ValueError, match=r"other\.gguf"):
        llama.Engine(other)
    with pytest.raises(TypeError):
        llama.Engine(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 0}, "slots"),
        ({"slots": 257}, "slots: expected 1 to 256, found 257"),
        ({"prompt_ms": 60_001}, "prompt_ms: expected 1 to 60000, found 60001"),
        ({"prompt_threads": 513}, "prompt_threads: expected 1 to 512, found 513"),
        ({"cache_k": "f8"}, "cache_k: expected one of 'f16', 'f32', .*, found 'f8'"),
        ({"cache_v": "q4_0"}, "cache_v: expected f16, f32 or bf16, as .* found q4_0"),
        ({"cache_v": "q8_0", "flash_attention": False}, "as flash attention is off, found q8_0"),
        ({"context": 1_000_000}, "context"),
        ({"batch": 0}, "batch"),
        ({"threads": 100_000}, "threads"),
    ],
)
def test_invalid_engine_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        new_engine(**options)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "at least 1 token"),
        ([1 << 20], {}, "expected an id"),
        ([-1], {}, "expected an id"),
        ([1 << 80], {}, "expected an id"),
        ("ROMEO: " * 2000, {}, "context"),
        ("a", {"temperature": -1.0}, "temperature"),
        ("a", {"top_p": 0.0}, "top_p"),
        ("a", {"min_p": 2.0}, "min_p"),
        ("a", {"max_new_tokens": 0}, "max_new_tokens"),
        ("a", {"seed": -1}, "seed"),
        ("a", {"stop": [""]}, "stop"),
        ("a", {"chunk": "line"}, "chunk"),
    ],
)
def test_invalid_request_is_refused(
    engine: llama.Engine, prompt: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.generate(prompt, **options)
    assert text_of(engine.generate("ROMEO:", max_new_tokens=4))  # the engine goes on


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither"),
        ({"prompt": "a", "messages": []}, "both"),
        ({"prompt": "a", "template": "chatml"}, "messages"),
        ({"prompt": 7}, "iterable"),
        ({"prompt": ["a"]}, "int"),
        ({"prompt": b"ROMEO:"}, "prompt: expected text or token ids, found bytes"),
        ({"prompt": bytearray(b"a")}, "prompt: expected text or token ids, found bytearray"),
    ],
)
def test_invalid_prompt_is_refused(
    engine: llama.Engine, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        engine.generate(**arguments)
    with pytest.raises(ValueError, match="role"):
        engine.chat([{"content": "a"}])


NUMBERS = """max_new_tokens temperature top_k top_p min_p typical_p seed repeat_penalty
    presence_penalty frequency_penalty repeat_last_n dry_multiplier dry_base dry_allowed_length
    dry_last_n mirostat mirostat_tau mirostat_eta answered logprobs priority"""


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000], ids=["huge", "-huge", "digits"])
@pytest.mark.parametrize("option", NUMBERS.split())
def test_number_that_no_float_or_count_holds_is_refused_by_name(
    engine: llama.Engine, option: str, value: int
) -> None:
    with pytest.raises(ValueError, match=f"^{option}: expected") as raised:
        engine.generate("a", **{option: value})
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "bias", [{5: 10**400}, {10**400: 1.0}, {2**31: 1.0}], ids=["number", "huge id", "id"]
)
def test_bias_that_no_float_or_id_holds_is_refused(
    engine: llama.Engine, bias: dict[int, float]
) -> None:
    with pytest.raises(ValueError, match=r"^logit_bias: expected") as raised:
        engine.generate("a", logit_bias=bias)
    assert len(str(raised.value)) < 300


def test_loading_reports_progress_and_can_be_cancelled() -> None:
    heard: list[float] = []
    with new_engine(progress=heard.append):
        assert heard == sorted(heard)
        assert heard[-1] == 1.0

    def give_up(done: float) -> None:
        raise KeyError(done)

    with pytest.raises(KeyError) as caught:
        new_engine(progress=give_up)
    assert "give_up" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_engine_found_while_it_is_loaded_is_closed() -> None:
    refused: list[str] = []

    def engines() -> list[Any]:
        return [thing for thing in gc.get_objects() if type(thing) is burble._core.LlamaEngine]

    before = engines()  # of other tests

    def look(_: float) -> None:
        for found in engines():
            if not any(found is other for other in before) and not refused:
                assert found.closed
                for call in (lambda: found.stats, lambda: found.tokenize("a", False)):  # noqa: B023
                    with pytest.raises(burble.Error, match="closed") as caught:
                        call()
                    refused.append(str(caught.value))

    with new_engine(progress=look) as engine:
        assert len(refused) == 2
        assert not engine._core.closed
        assert text_of(engine.generate("ROMEO:", max_new_tokens=3))


def test_prompt_that_shrinks_while_it_is_read_is_read_unchanged(engine: llama.Engine) -> None:
    ids = engine.tokenize("ROMEO:")
    prompt: list[Any] = []

    class Shrinks:
        def __index__(self) -> int:
            prompt.clear()
            return ids[0]

    prompt += [Shrinks(), *ids[1:] * 50]
    log = burble._core.Log(watch_producer=False)
    reader = log.reader()
    engine._core.submit(
        log,
        engine,
        prompt,
        specials=False,
        max_tokens=1,
        temperature=0.0,
        top_k=0,
        top_p=1.0,
        min_p=0.0,
        seed=0,
        stop=(),
        include_stop=False,
        words=False,
        skip_special=False,
        ignore_end=True,
    )
    assert not prompt
    assert "".join(reader) is not None


# ---- processes ---------------------------------------------------------------------------------


def run(code: str, *options: str) -> str:
    """In a separate process, which has this package and the standard library, no more."""
    begin = f"import sys; sys.path.insert(0, {str(PACKAGE)!r})\nfrom burble import llama\n"
    begin += f"engine = llama.Engine({str(SHIPPED)!r}, threads=1)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", *options, "-c", begin + code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_neither_transformers_nor_torch_is_needed(engine: llama.Engine) -> None:
    out = run(
        "import importlib.util as util\n"
        "assert not any(map(util.find_spec, ('torch', 'transformers', 'numpy')))\n"
        "print(''.join(engine.generate('ROMEO:', max_new_tokens=20)))"
    )
    assert out == text_of(engine.generate("ROMEO:", max_new_tokens=20)) + "\n"


def test_process_with_running_engine_exits() -> None:
    assert run("stream = engine.generate('a', ignore_eos=True); print(len(next(stream)) > 0)")
    run(
        "import threading\n"
        "stream = engine.generate('a', ignore_eos=True)\n"
        "def read():\n"
        "    try:\n"
        "        for _ in stream: pass\n"
        "    except BaseException: pass\n"
        "threading.Thread(target=read, daemon=True).start()"
    )


def test_engine_in_cycle_is_closed_by_collector() -> None:
    run(
        "import gc\n"
        "cycle = [engine, engine.generate('a', ignore_eos=True)]\n"
        "cycle.append(cycle)\n"
        "del cycle, engine\n"
        "gc.collect()"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_using_engine_raises() -> None:
    out = run(
        "import os, burble\n"
        "lag = {'max_lag': 9, 'lag_unit': 'tokens'}\n"  # at which it stands still
        "stream = engine.generate('a', ignore_eos=True, keep='all', **lag)\n"
        "reader = stream.reader(0)\n"
        "next(stream)\n"
        "sys.stdout.flush()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for source in (stream, reader):\n"
        "        try:\n"
        "            for _ in source: pass\n"
        "        except burble.ProducerDied: print('died')\n"
        "    try: engine.generate('a')\n"
        "    except burble.Error as error: print(error)\n"
        "    sys.stdout.flush()\n"
        "    engine.close()\n"
        "    sys.exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "print(len(next(stream)) > 0)\n"
    )
    assert out == "died\ndied\nthe engine is closed\nTrue\n"
