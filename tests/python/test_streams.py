# SPDX-License-Identifier: MIT
"""burble.stream: text, the result and pools, where nothing goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest
from generating import TEXT, Steps, say, stream
from helpers import KINDS, SOON, in_thread, read, run, until
from shipped import ids, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)


# ---- text ----------------------------------------------------------------------------------------


def test_text_of_function_is_streamed_with_result_at_end(kind: str) -> None:
    handle = stream(say, TEXT)
    assert "".join(read(kind, handle)) == TEXT
    assert handle.result == f"said {TEXT}"
    assert (handle.state, handle.finish_reason, handle.error) == ("ended", "end", None)
    assert read(kind, handle) == []


def test_block_of_either_kind_waits_for_result(kind: str) -> None:
    async def main() -> tuple[str, Any]:
        async with stream(say, TEXT) as handle:
            text = "".join([text async for text in handle])
        return text, handle.result

    if kind == "threads":
        with stream(say, TEXT) as handle:
            found = "".join(handle), handle.result
    else:
        found = run(kind, main)
    assert found == (TEXT, f"said {TEXT}")


def test_stream_begins_at_call() -> None:
    begun = threading.Event()
    handle = stream(lambda streamer: begun.set())
    assert begun.wait(SOON)
    assert list(handle) == []


def test_iteration_after_break_resumes_where_it_stopped(kind: str) -> None:
    async def main() -> list[str]:
        handle = stream(say, TEXT)
        found = []
        async for text in handle:
            found.append(text)
            break
        found.append(await handle.__anext__())
        found += [text async for text in handle]
        return found

    if kind == "threads":
        handle = stream(say, TEXT)
        found = [next(iter(handle)), next(handle), *handle]
    else:
        found = run(kind, main)
    assert "".join(found) == TEXT
    assert len(found) == len(ids(TEXT))


def test_end_of_stream_comes_after_generate_returned() -> None:
    """transformers' generate calls end() before it does."""
    gate = threading.Event()

    def generate(*, streamer: Any) -> str:
        streamer.put(ids(TEXT))
        streamer.end()
        assert gate.wait(SOON)
        return "returned"

    handle = stream(generate)
    assert next(handle) == TEXT
    with pytest.raises(RuntimeError, match="generate has not returned yet"):
        _ = handle.result
    gate.set()
    assert list(handle) == []
    assert handle.result == "returned"


def test_function_may_put_text_and_check_should_stop() -> None:
    looked = []
    gate = threading.Event()

    def generate(*, streamer: Any) -> None:
        assert gate.wait(SOON)  # for `handle`
        for n in range(1000):
            looked.append(streamer.should_stop)
            if looked[-1]:
                break
            streamer.put_text(f"{n} ")
            if n == 2:
                handle.cancel()

    handle = stream(generate)
    gate.set()
    text = next(handle) + next(handle) + next(handle)
    handle.close()
    assert text == "0 1 2 "
    assert looked == [False, False, False, True]


def test_chunks_word_gives_whole_words() -> None:
    assert list(stream(say, "the unquestionable end", chunk="word")) == [
        "the ",
        "unquestionable ",
        "end",
    ]


def test_coalesce_gives_all_available_text_at_once(kind: str) -> None:
    handle = stream(say, TEXT, coalesce=True)
    handle._job.wait(SOON)
    assert read(kind, handle) == [TEXT]


def test_prompt_is_left_out_or_shown() -> None:
    def generate(prompt: str, more: str, *, streamer: Any) -> None:
        streamer.put([ids(prompt)])
        streamer.put(ids(more))

    assert "".join(stream(generate, "To be", ", or not", skip_prompt=True)) == ", or not"
    assert "".join(stream(generate, "To be", ", or not", skip_prompt=False)) == "To be, or not"
    assert "".join(stream(generate, "To be", ", or not")) == "To be, or not"


@pytest.mark.parametrize("name", ["input_ids", "inputs", "positional"])
def test_first_ids_given_to_function_are_the_prompt(name: str) -> None:
    prompt = [ids("To be")]

    def generate(inputs: Any = None, *, input_ids: Any = None, streamer: Any) -> None:
        streamer.put(inputs or input_ids)
        streamer.put(ids(", or not"))

    args, kwargs = ([prompt], {}) if name == "positional" else ([], {name: prompt})
    assert "".join(stream(generate, *args, **kwargs)) == ", or not"
    handle = stream(generate, *args, **kwargs, skip_prompt=False, stop=["To", "not"])
    assert "".join(handle) == "To be, or "
    assert handle.stats.tokens == len(ids(", or not"))


def test_first_ids_of_batch_shape_from_other_function_are_text() -> None:
    def generate(prompt: Any, *, streamer: Any) -> None:
        for token in ids("To be, or not"):
            streamer.put([[token]])

    handle = stream(generate, [ids("Hamlet")])
    assert "".join(handle) == "To be, or not"
    assert handle.stats.tokens == len(ids("To be, or not"))


def test_special_tokens_are_left_out_or_shown() -> None:
    end = tokenizer().token_to_id("<|endoftext|>")
    for skips, text in ((True, ""), (False, "<|endoftext|>")):
        assert (
            "".join(stream(lambda streamer: streamer.put([end]), skip_special_tokens=skips)) == text
        )


# ---- the outcome ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", KINDS)
def test_result_can_be_awaited_without_reading(loop: str) -> None:
    """max_lag is for readers, and nothing is read."""

    async def main() -> Any:
        return await stream(say, TEXT * 20, max_lag=8).wait()

    assert run(loop, main) == f"said {TEXT * 20}"


@pytest.mark.parametrize("loop", KINDS)
def test_result_of_source_can_be_awaited(loop: str) -> None:
    def source() -> Generator[int, None, str]:
        yield from range(3)
        return "counted"

    async def main() -> Any:
        return await burble.iterate(source).wait()

    assert run(loop, main) == "counted"
    assert burble.iterate(source).join(SOON) == "counted"


def test_join_waits_for_result_up_to_its_timeout() -> None:
    steps = Steps()
    handle = stream(steps)
    with pytest.raises(burble.Timeout, match=r"Steps has not returned within 0.01 s"):
        handle.join(0.01)
    steps.go(100)
    assert handle.join(SOON) == "all"
    assert handle.join() == "all"
    assert "".join(handle) == TEXT  # within its limit, nothing of it was lost


def test_stats_have_times_and_rate() -> None:
    handle = stream(say, TEXT)
    assert "".join(handle) == TEXT
    stats = handle.stats
    assert (stats.tokens, stats.chunks, stats.blocked) == (len(ids(TEXT)), len(ids(TEXT)), 0.0)
    assert stats.first_token is not None
    assert stats.first_token > 0
    assert stats.inter_token_p50 is not None
    assert stats.inter_token_p99 is not None
    assert stats.inter_token_p50 <= stats.inter_token_p99
    assert stats.tokens_per_second is not None
    assert stats.tokens_per_second > 0
    empty = stream(lambda streamer: None)
    assert list(empty) == []
    assert empty.stats == (0, 0, None, None, None, None, 0.0, None, None)


# ---- pools ---------------------------------------------------------------------------------------


def test_stream_runs_in_given_pool() -> None:
    with burble.Pool(2) as pool:
        assert "".join(pool.stream(say, TEXT, tokenizer=tokenizer())) == TEXT
        assert list(pool.iterate(range(3))) == [0, 1, 2]
        handle = stream(lambda streamer: threading.current_thread() in pool._threads, pool=pool)
        assert handle.join() is True


def test_pool_closed_ends_its_streams() -> None:
    steps = Steps()
    pool = burble.Pool(1)
    running, waiting = stream(steps, pool=pool), stream(say, TEXT, pool=pool)
    steps.go(1)
    until(lambda: steps.put == 1)
    with in_thread(pool.close):
        until(lambda: running.state == "cancelled")
        steps.go(1)
    assert next(running) == "To"
    for handle in (running, waiting):
        with pytest.raises(burble.Cancelled):
            next(handle)
    with pytest.raises(RuntimeError, match="the pool is closed"):
        stream(say, TEXT, pool=pool)
