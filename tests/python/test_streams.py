# SPDX-License-Identifier: MIT
"""burble.stream, iterate and channel: what they promise who reads, where nothing goes wrong."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import weakref
from collections.abc import Awaitable, Generator, Iterator
from pathlib import Path
from typing import Any, Callable, TypeVar

import pytest
from helpers import KINDS, SOON, at_some_pace, in_thread, run, until
from shipped import ids, tokenizer

import burble

T = TypeVar("T")

pytestmark = pytest.mark.timeout(60)

TEXT = "To be, or not to be: that is the question"


def say(text: str, *, streamer: Any) -> str:
    """As little as a generate can be."""
    for token in ids(text):
        streamer.put([token])
    return f"said {text}"


def stream(generate: Callable[..., Any], *args: Any, **options: Any) -> burble.Stream[str]:
    options.setdefault("tokenizer", tokenizer())
    return burble.stream(generate, *args, **options)


class Steps:
    """A generate that goes on when it is told, and says where it is."""

    def __init__(self, text: str = TEXT) -> None:
        self.ids = ids(text)
        self.step = threading.Semaphore(0)
        self.put = 0
        self.ended = threading.Event()

    def go(self, n: int = 1) -> None:
        for _ in range(n):
            self.step.release()

    def __call__(self, *, streamer: Any) -> str:
        try:
            for token in self.ids:
                assert self.step.acquire(timeout=SOON)
                streamer.put([token])
                self.put += 1
            return "all"
        finally:
            self.ended.set()


@pytest.fixture(params=(*KINDS, "threads"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read(kind: str, stream: Any, found: list[Any] | None = None) -> list[Any]:
    """All that there is to read, in a loop of that kind or in this thread; also left in ``found``,
    where it ends in an error."""
    items = [] if found is None else found

    async def main() -> None:
        async for item in stream:
            items.append(item)

    if kind == "threads":
        items.extend(stream)
    else:
        run(kind, main)
    return items


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, SOON)


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


# ---- transformers --------------------------------------------------------------------------------


def settings(tokenizer: Any, prompt: str = "ROMEO:", **more: Any) -> dict[str, Any]:
    return {
        **tokenizer(prompt, return_tensors="pt"),
        "do_sample": False,
        "max_new_tokens": 40,
        **more,
    }


def generated(tokenizer: Any, inputs: Any, output: Any) -> str:
    return str(
        tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    )


@pytest.mark.parametrize("prompt", ["ROMEO:", "First Citizen:\nWe are", "Café 中文 👍"])
def test_text_of_model_equals_decode_of_its_result(
    kind: str, prompt: str, shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare, prompt)
    alone = shakespeare_model.generate(**inputs)
    handle = burble.stream(shakespeare_model.generate, **inputs, tokenizer=shakespeare)
    assert "".join(read(kind, handle)) == generated(shakespeare, inputs, alone)
    assert handle.result.equal(alone)
    assert handle.finish_reason == "length"
    assert handle.stats.tokens == 40
    assert repr(handle) == "<burble.Stream of GPT2LMHeadModel.generate: ended, 40 chunks>"


def test_end_of_sequence_and_limit_have_different_reasons(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare)
    output = shakespeare_model.generate(**inputs)[0].tolist()
    length = inputs["input_ids"].shape[1]
    last = output[length + 10]
    first = output.index(last, length)
    for options in (
        {"eos_token_id": last},
        {"eos_token_id": [5, last]},
    ):
        handle = burble.stream(
            shakespeare_model.generate, **inputs, tokenizer=shakespeare, **options
        )
        text = "".join(handle)
        assert handle.finish_reason == "eos"
        assert handle.result[0].tolist() == output[: first + 1]
        assert text == shakespeare.decode(output[length : first + 1])


def test_generate_returning_dict_has_finish_reason(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare, return_dict_in_generate=True, max_new_tokens=5)
    handle = burble.stream(shakespeare_model.generate, **inputs, tokenizer=shakespeare)
    text = "".join(handle)
    assert handle.finish_reason == "length"
    assert text == generated(shakespeare, inputs, handle.result.sequences)


def test_stop_string_ends_text_and_generation_of_model(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare)
    whole = generated(shakespeare, inputs, shakespeare_model.generate(**inputs))
    stop = whole[20:25]
    handle = burble.stream(
        shakespeare_model.generate, **inputs, tokenizer=shakespeare, stop=["no such", stop]
    )
    assert "".join(handle) == whole[: whole.index(stop)]
    assert handle.finish_reason == "stop"
    assert handle.stopped == (1, stop, whole.index(stop), whole.index(stop) + 5)
    assert handle.result.shape[1] < inputs["input_ids"].shape[1] + 40


def test_own_stopping_criteria_still_apply(shakespeare: Any, shakespeare_model: Any) -> None:
    calls = []

    def third(input_ids: Any, scores: Any, **kwargs: Any) -> bool:
        calls.append(1)
        return len(calls) == 3

    inputs = settings(shakespeare, stopping_criteria=[third])
    handle = burble.stream(
        shakespeare_model.generate, **inputs, tokenizer=shakespeare, stop="no such text"
    )
    list(handle)
    assert handle.stats.tokens == 3
    assert handle.finish_reason == "end"


def test_generate_with_stop_strings_gets_tokenizer(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    import transformers

    inputs = settings(shakespeare)
    whole = generated(shakespeare, inputs, shakespeare_model.generate(**inputs))
    for given in (
        {"stop_strings": [whole[20:25]]},
        {"generation_config": transformers.GenerationConfig(stop_strings=[whole[20:25]])},
    ):
        handle = burble.stream(shakespeare_model.generate, **inputs, tokenizer=shakespeare, **given)
        text = "".join(handle)
        assert whole[20:25] in text
        assert len(text) < len(whole)


def test_function_gets_only_arguments_it_accepts() -> None:
    def named(streamer: Any, tokenizer: Any, eos_token_id: Any) -> Any:
        return tokenizer, eos_token_id

    def anything(streamer: Any, **kwargs: Any) -> Any:
        return kwargs

    def nothing(streamer: Any) -> Any:
        return None

    handle = stream(named, eos_token_id=3)
    assert handle.join() == (tokenizer(), 3)
    assert stream(anything, eos_token_id=3, more=4).join() == {"eos_token_id": 3, "more": 4}
    assert stream(anything, stop_strings="x").join() == {
        "stop_strings": "x",
        "tokenizer": tokenizer(),
    }
    assert stream(nothing, eos_token_id=3).join() is None


def test_partial_of_generate_is_recognized(shakespeare: Any, shakespeare_model: Any) -> None:
    inputs = settings(shakespeare, max_new_tokens=30)
    whole = generated(shakespeare, inputs, shakespeare_model.generate(**inputs))
    generate = functools.partial(shakespeare_model.generate, **inputs)
    handle = burble.stream(generate, tokenizer=shakespeare, stop=whole[10:14])
    assert "".join(handle) == whole[: whole.index(whole[10:14])]
    assert handle.result is not None  # generate was told, and has returned
    two = functools.partial(shakespeare_model.generate, do_sample=True, num_return_sequences=2)
    batch: Any = burble.stream(
        two, **shakespeare("To be", return_tensors="pt"), max_new_tokens=3, tokenizer=shakespeare
    )
    assert isinstance(batch, burble.BatchStream)
    batch.close()


def test_wrapped_model_is_recognized(shakespeare: Any, shakespeare_model: Any) -> None:
    """As the wrappers of adapters have it: any arguments, and the model's configuration."""

    class Wrapper:
        generation_config = shakespeare_model.generation_config

        def generate(self, *args: Any, **kwargs: Any) -> Any:
            return shakespeare_model.generate(*args, **kwargs)

    inputs = settings(shakespeare)
    whole = generated(shakespeare, inputs, shakespeare_model.generate(**inputs))
    handle = burble.stream(Wrapper().generate, **inputs, tokenizer=shakespeare, stop=whole[20:25])
    assert "".join(handle) == whole[: whole.index(whole[20:25])]
    assert handle.result is not None
    assert repr(handle).startswith("<burble.Stream of Wrapper.generate: ended")


# ---- stop strings of other functions -------------------------------------------------------------


def test_stop_string_ends_function_without_criteria() -> None:
    put = []

    def generate(*, streamer: Any) -> str:
        for token in ids("one two three four"):
            put.append(token)
            streamer.put(token)
        return "not reached"

    handle = stream(generate, stop=" three", include_stop=True)
    assert "".join(handle) == "one two three"
    assert (handle.finish_reason, handle.result) == ("stop", None)
    assert handle.stopped == burble.StopMatch(0, " three", 7, 13)
    assert tokenizer().decode(put) == "one two three"


# ---- the outcome ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", KINDS)
def test_result_can_be_awaited_without_reading(loop: str) -> None:
    """max_lag is for who reads: nobody does."""

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
    assert empty.stats == (0, 0, None, None, None, None, 0.0)


# ---- several readers -----------------------------------------------------------------------------


def test_each_reader_gets_all_text(kind: str) -> None:
    steps = Steps()
    handle = stream(steps)
    readers = [handle.reader() for _ in range(5)]
    steps.go(100)
    for reader in readers:
        assert "".join(read(kind, reader)) == TEXT
    assert "".join(read(kind, handle)) == TEXT


def test_reader_begins_at_given_position() -> None:
    steps = Steps()
    handle = stream(steps, keep="all")
    steps.go(4)
    until(lambda: steps.put == 4)
    tail, third = handle.reader("tail"), handle.reader(2)
    with pytest.raises(ValueError, match=r"start: expected at most 4, .*, found 5"):
        handle.reader(5)
    steps.go(100)
    chunks = list(handle)
    assert list(tail) == chunks[4:]
    assert list(third) == chunks[2:]
    assert (third.position, third.last) == (len(chunks), len(chunks) - 1)
    assert list(handle.reader(handle.position - 1)) == chunks[-1:]


def test_kept_text_can_be_read_again_after_end() -> None:
    handle = stream(say, TEXT, keep="all")
    assert "".join(handle) == TEXT
    with handle.reader() as reader:
        assert reader.take() == (0, "To")
        assert repr(reader) == "<burble.Reader at 1>"
        assert "".join(reader) == TEXT[2:]
        with pytest.raises(StopIteration):
            reader.take()


def test_text_not_kept_is_gone() -> None:
    text = TEXT * 200
    handle = stream(say, text, keep=100)
    assert "".join(handle) == text
    with pytest.raises(burble.Gone) as gone:
        handle.reader(0)
    assert "".join(handle.reader(gone.value.oldest)) == "".join(handle.reader("oldest"))
    assert text.endswith("".join(handle.reader("oldest")))


@pytest.mark.parametrize("loop", KINDS)
def test_reader_block_closes_reader_only(loop: str) -> None:
    async def main() -> list[str]:
        async with stream(say, TEXT) as handle, handle.reader() as reader:
            return [await reader.__anext__(), *[text async for text in reader]]

    assert "".join(run(loop, main)) == TEXT


def test_closed_reader_does_not_block_generation() -> None:
    steps = Steps()
    handle = stream(steps)
    reader = handle.reader(max_lag=4)
    steps.go(100)
    until(lambda: handle.stats.blocked > 0)
    reader.close()
    reader.close()
    assert list(reader) == []
    assert "".join(handle) == TEXT


# ---- readers that are behind ---------------------------------------------------------------------


def test_generation_waits_for_lagging_reader(kind: str) -> None:
    text = TEXT * 20
    handle = stream(say, text, max_lag=100)
    until(lambda: handle.stats.blocked > 0)
    assert handle._log.position < len(ids(text)) / 2
    assert "".join(read(kind, handle)) == text
    assert handle.stats.blocked > 0


def test_max_lag_in_tokens_counts_tokens() -> None:
    handle = stream(say, TEXT * 20, max_lag=7, lag_unit="tokens")
    until(lambda: handle.stats.blocked > 0)
    assert handle._log.position == 7
    assert "".join(handle) == TEXT * 20


def test_uniterated_stream_beside_reader_does_not_block_and_lags() -> None:
    text = TEXT * 20
    steps = Steps(text)
    handle = stream(steps, max_lag=100)
    reader = handle.reader(max_lag=None)
    steps.go(1000)
    assert "".join(reader) == text
    with pytest.raises(burble.Lagged):
        list(handle)
    assert handle.stats.blocked == 0
    assert handle.result == "all"


def test_uniterated_unlimited_stream_keeps_at_most_a_million_characters() -> None:
    writer, handle = burble.channel(max_lag=None)
    reader = handle.reader()
    for _ in range(1200):
        writer.put_text("x" * 1000)
        next(reader)
    writer.end()
    assert list(reader) == []
    with pytest.raises(burble.Lagged):
        next(handle)


def test_position_still_held_by_a_reader_can_be_read() -> None:
    writer, handle = burble.channel(keep=100)
    for n in range(3000):
        writer.put_text(f"{n:05} ")
    assert next(handle) == "00000 "
    with pytest.raises(burble.Gone):
        handle.reader(0)
    first, second = handle.reader(1), handle.reader(1500)
    with pytest.raises(ValueError, match="at most 3000, the present end"):
        handle.reader(3001)
    writer.end()
    expected = [f"{n:05} " for n in range(3000)]
    assert list(second) == expected[1500:]
    assert list(first) == expected[1:]
    assert list(handle) == expected[1:]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_anext_never_awaited_keeps_nothing_alive(n: int) -> None:
    async def main() -> None:
        writer, handle = burble.channel()
        writer.put_text("one")
        assert await handle.__anext__() == "one"
        for _ in range(n):
            handle.__anext__()
        held = weakref.ref(handle)
        gc.disable()
        try:
            del handle
            assert held() is None
            assert writer.cancelled
        finally:
            gc.enable()

    asyncio.run(main())


def test_uniterated_stream_that_keeps_text_is_read_from_beginning() -> None:
    text = TEXT * 20
    steps = Steps(text)
    handle = stream(steps, max_lag=100, keep="all")
    reader = handle.reader()
    steps.go(1000)
    assert "".join(reader) == text
    assert "".join(handle) == text


def test_iterated_stream_beside_reader_keeps_its_position() -> None:
    text = TEXT * 20
    steps = Steps(text)
    handle = stream(steps, max_lag=100)
    steps.go(1000)
    first = next(handle)
    reader = handle.reader("oldest", max_lag=None)
    until(lambda: handle.stats.blocked > 0)
    assert first + "".join(handle) == text
    assert "".join(reader) in text


def test_reader_with_drop_policy_is_dropped_at_limit() -> None:
    text = TEXT * 20
    handle = stream(say, text, max_lag=None)
    reader = handle.reader("tail", max_lag=10, on_lag="drop_reader")
    assert "".join(handle) == text
    with pytest.raises(burble.Lagged):
        list(reader)


# ---- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n", "error"),
    [
        ("first_token_timeout", 0, burble.FirstTokenTimeout),
        ("token_timeout", 3, burble.TokenTimeout),
        ("total_timeout", 3, burble.TotalTimeout),
    ],
)
def test_timeout_comes_after_text_and_ends_generation(
    kind: str, name: str, n: int, error: type[burble.Timeout]
) -> None:
    def attempt(timeout: float) -> None:
        steps = Steps()
        handle = stream(steps, **{name: timeout})
        steps.go(n)
        found: list[str] = []
        with pytest.raises(error):
            read(kind, handle, found)
        assert issubclass(error, TimeoutError)
        assert isinstance(handle.error, error)
        with pytest.raises(error):
            _ = handle.result
        steps.go()
        assert steps.ended.wait(SOON)
        assert steps.put == n
        assert "".join(found) == tokenizer().decode(ids(TEXT)[:n])

    at_some_pace(attempt)


def test_timeout_counts_time_in_queue_of_pool() -> None:
    gate = threading.Event()
    with burble.Pool(1) as pool:
        pool.submit(gate.wait)
        handle = stream(say, TEXT, first_token_timeout=0.05, pool=pool)
        with pytest.raises(burble.FirstTokenTimeout):
            next(handle)
        gate.set()
        assert handle._job.wait(SOON)
    assert handle._log.position == 0


def test_timeout_does_not_count_wait_for_readers() -> None:
    def attempt(timeout: float) -> None:
        handle = stream(say, TEXT * 20, max_lag=100, token_timeout=timeout)
        until(lambda: handle.stats.blocked > 1.5 * timeout or handle.state != "open")
        assert "".join(handle) == TEXT * 20

    at_some_pace(attempt)


@pytest.mark.parametrize("loop", KINDS)
def test_timeout_reaches_wait_and_join(loop: str) -> None:
    steps = Steps()
    handle = stream(steps, total_timeout=0.05)

    async def main() -> None:
        with pytest.raises(burble.TotalTimeout):
            await handle.wait()

    run(loop, main)
    with pytest.raises(burble.TotalTimeout):
        handle.join()
    steps.go()
    assert steps.ended.wait(SOON)


# ---- iterate -------------------------------------------------------------------------------------


def test_items_of_any_type_are_streamed(kind: str) -> None:
    items = [1, "two", None, [3], {"four": 4}, object()]
    handle = burble.iterate(items)
    found = read(kind, handle)
    assert found == items
    assert found[3] is items[3]
    assert (handle.finish_reason, handle.result, handle.stats.tokens) == ("end", None, 6)


def test_source_made_in_thread_has_result(kind: str) -> None:
    def count(n: int) -> Iterator[str]:
        for _ in range(n):
            yield threading.current_thread().name
        return "counted"

    handle = burble.iterate(lambda: count(3))
    names = read(kind, handle)
    assert len(names) == 3
    assert names[0].startswith("burble-")
    assert handle.result == "counted"


def test_timers_of_finished_waits_in_trio_do_not_accumulate() -> None:
    trio = pytest.importorskip("trio")

    from burble import _trio

    async def main() -> None:
        ended = []
        for n in range(2000):
            writer, stream = burble.channel(total_timeout=0.4 if n == 0 else 3600)
            with trio.move_on_after(0):
                await stream.__anext__()
            ended.append((writer, stream))
        run = _trio.current_run()
        assert run is not None
        for writer, stream in ended[1:]:
            writer.end()
            assert [text async for text in stream] == []
        assert len(run._timers) < 100
        with pytest.raises(burble.TotalTimeout):  # whose timer has stayed
            await ended[0][1].__anext__()

    trio.run(main)


def test_source_waits_for_its_reader() -> None:
    taken = []

    def source() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    handle = burble.iterate(source, max_lag=10)
    until(lambda: handle.stats.blocked > 0)
    assert len(taken) == 11
    assert list(handle) == list(range(100))


def test_generator_of_cancelled_stream_is_closed_in_its_thread() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    with burble.iterate(source()) as handle:
        assert next(handle) == 0
    assert [name.startswith("burble-") for name in closed] == [True]


class Response:
    """As the streams of HTTP clients are: it has a connection, which lives until it is closed."""

    def __init__(self) -> None:
        self.closed_in: list[str] = []
        self.items = iter(range(10**9))

    def __iter__(self) -> Iterator[int]:
        yield from self.items

    def __next__(self) -> int:
        return next(self.items)

    def close(self) -> None:
        self.closed_in.append(threading.current_thread().name)


@pytest.mark.parametrize("made", [True, False])
def test_response_of_cancelled_stream_is_closed_in_its_thread(made: bool) -> None:
    response = Response()
    with burble.iterate((lambda: response) if made else response) as handle:
        assert next(handle) == 0
    assert [name.startswith("burble-") for name in response.closed_in] == [True]


def test_response_is_closed_after_error() -> None:
    response = Response()
    response.items = (1 // n for n in (1, 0))
    with pytest.raises(ZeroDivisionError):
        list(burble.iterate(lambda: response))
    assert len(response.closed_in) == 1


def test_file_given_stays_open_and_file_made_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("line\n" * 10_000)
    files = []

    def opened() -> Any:
        files.append(path.open())
        return files[-1]

    with opened() as file:
        with burble.iterate(file) as handle:
            assert next(handle) == "line\n"
        assert not file.closed
    with burble.iterate(opened) as handle:
        assert next(handle) == "line\n"
    assert files[-1].closed
    assert len(list(burble.iterate(opened))) == 10_000
    until(lambda: files[-1].closed)


def test_items_of_str_with_coalesce_are_joined() -> None:
    handle = burble.iterate(iter(TEXT), coalesce=True)
    handle._job.wait(SOON)
    assert list(handle) == [TEXT]
    with pytest.raises(TypeError, match=r"coalesce= and stop= need items .* str, found int"):
        list(burble.iterate([1], coalesce=True))


def test_kept_items_can_be_read_again() -> None:
    handle = burble.iterate(range(100), keep=10)
    assert list(handle) == list(range(100))
    last = list(handle.reader("oldest"))
    assert len(last) >= 10
    assert last == list(range(100))[-len(last) :]


def test_exception_of_source_reaches_reader(kind: str) -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the connection is gone")

    handle = burble.iterate(source)
    assert next(handle) == 1
    with pytest.raises(OSError, match="the connection is gone"):
        read(kind, handle)


# ---- channel -------------------------------------------------------------------------------------


def test_channel_carries_ids_and_text(kind: str) -> None:
    writer, handle = burble.channel(tokenizer())

    def write() -> None:
        with writer:
            writer.put([ids("Some text")])
            writer.put(ids(" that goes on"))
            writer.flush()
            writer.put_text(" and text")

    with in_thread(write):
        assert "".join(read(kind, handle)) == "Some text that goes on and text"
    assert (handle.finish_reason, handle.result) == ("end", None)


def test_channel_writer_sets_finish_reason() -> None:
    writer, handle = burble.channel()
    writer.put_text("text")
    writer.end("length", result=7)
    writer.end()
    assert list(handle) == ["text"]
    assert (handle.finish_reason, handle.result, handle.join()) == ("length", 7, 7)
    with pytest.raises(burble.Error):
        writer.put_text("more")
    with pytest.raises(TypeError, match="put_text"):
        burble.channel()[0].put(3)


def test_channel_stops_at_stop_string() -> None:
    writer, handle = burble.channel(tokenizer(), stop="not")
    for token in ids(TEXT):
        writer.put(token)
        if writer.stopped:
            break
    assert writer.stopped == burble.StopMatch(0, "not", 10, 13)
    writer.end()
    assert "".join(handle) == "To be, or "
    assert handle.finish_reason == "stop"
    assert handle.stopped == writer.stopped


def test_channel_writer_without_readers_is_cancelled() -> None:
    writer, handle = burble.channel()
    assert not writer.cancelled
    handle.close()
    assert writer.cancelled
    with writer:
        writer.put_text("nobody")
        pytest.fail("not reached")
    writer, handle = burble.channel()
    del handle
    with pytest.raises(burble.Cancelled):
        writer.put_text("nobody")


def test_channel_fails_with_its_writer() -> None:
    writer, handle = burble.channel()

    def write() -> None:
        with writer:
            writer.put_text("so far")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        write()
    assert next(handle) == "so far"
    for read_on in (lambda: next(handle), lambda: handle.result, handle.join):
        with pytest.raises(ZeroDivisionError):
            read_on()


def test_channel_writer_without_references_ends_wait(kind: str) -> None:
    writer, handle = burble.channel()
    writer.put_text("so far")
    del writer
    with pytest.raises(burble.ProducerDied, match="deleted without ending it"):
        read(kind, handle)


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


# ---- what makes no sense -------------------------------------------------------------------------


def generator(streamer: Any) -> Iterator[int]:
    yield 1


async def asynchronous() -> Any:
    yield 1


async def coroutine(streamer: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_lag": 0}, ValueError, "max_lag: expected at least 1 or None, found 0"),
        ({"max_lag": 2**63}, ValueError, "max_lag: expected at most 9223372036854775807 or None"),
        ({"max_lag": "x"}, TypeError, "max_lag: expected an int or None, found 'x'"),
        ({"keep": -1}, ValueError, "keep: expected at least 0, 'all' or None, found -1"),
        ({"keep": 2**63}, ValueError, "keep: expected at most 9223372036854775807, 'all' or None"),
        ({"keep": "some"}, ValueError, "keep: expected None, a number or 'all', found 'some'"),
        ({"keep": 1.5}, TypeError, "keep: expected an int, 'all' or None, found 1.5"),
        (
            {"lag_unit": "words"},
            ValueError,
            "lag_unit: expected 'characters', 'tokens' or 'bytes', found 'words'",
        ),
        ({"chunk": "line"}, ValueError, "chunk: expected 'word' or 'token', found 'line'"),
        ({"total_timeout": 0}, ValueError, "total_timeout: expected seconds, more than 0, found 0"),
        ({"token_timeout": "1"}, TypeError, "token_timeout: expected seconds, found '1'"),
        (
            {"first_token_timeout": float("nan")},
            ValueError,
            "first_token_timeout: expected seconds, more than 0, found nan",
        ),
        ({"join_timeout": -1}, ValueError, "join_timeout: expected seconds, 0 or more, found -1"),
        ({"join_timeout": None}, TypeError, "join_timeout: expected seconds, found None"),
        ({"tokenizer": None}, TypeError, "tokenizer: expected a tokenizer"),
        ({"tokenizer": 5}, TypeError, "tokenizer: expected a tokenizer"),
        ({"stop": ""}, ValueError, "stop"),
        ({"stop": 7}, TypeError, None),
        ({"batch": 0}, ValueError, "batch: expected at least 1, found 0"),
        ({"batch": "2"}, TypeError, "batch: expected an int, found '2'"),
        ({"pool": 3}, TypeError, "pool: expected a burble.Pool or None, found int"),
        ({"streamer": 3}, TypeError, "streamer: expected none"),
        ({"no_such": 3}, TypeError, "say: got an unexpected keyword argument 'no_such'"),
        ({"text": 3}, TypeError, "say: multiple values for argument 'text'"),
    ],
)
def test_invalid_stream_options_are_refused_at_call(
    options: dict[str, Any], error: type[Exception], message: str | None
) -> None:
    threads = threading.active_count()
    with pytest.raises(error, match=message):
        stream(say, TEXT, **options)
    assert threading.active_count() <= threads


@pytest.mark.parametrize(
    ("generate", "message"),
    [
        (None, "generate: expected a function that is called with streamer=, found NoneType"),
        (coroutine, "generate: expected a blocking function, found an asynchronous one"),
        (asynchronous, "generate: expected a blocking function, found an asynchronous one"),
        (
            generator,
            "found the generator generator: burble.iterate streams what a generator yields",
        ),
        (lambda: None, "got an unexpected keyword argument 'streamer'"),
        (say, "say: missing a required argument: 'text'"),
    ],
)
def test_object_that_cannot_generate_is_refused(generate: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        stream(generate)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "source: expected an iterable or a function that returns one, found int$"),
        (asynchronous, "found asynchronous, which is asynchronous: iterate it with `async for`"),
        (asynchronous(), "found asynchronous, which is asynchronous"),
        (coroutine, "found coroutine, which is asynchronous"),
    ],
)
def test_source_that_cannot_be_iterated_in_thread_is_refused(source: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        burble.iterate(source)


def test_model_instead_of_its_generate_is_refused(shakespeare: Any, shakespeare_model: Any) -> None:
    # It can be called with any argument, and would end without a word.
    inputs = shakespeare("ROMEO:", return_tensors="pt")
    message = "found GPT2LMHeadModel: pass its method generate"
    with pytest.raises(TypeError, match=message):
        burble.stream(shakespeare_model, **inputs, tokenizer=shakespeare)
    streamer = burble.AsyncTextIteratorStreamer(shakespeare)
    with pytest.raises(TypeError, match=message):
        asyncio.run(streamer.run(shakespeare_model, **inputs))


def test_function_that_returns_no_iterable_fails_stream() -> None:
    with pytest.raises(TypeError, match="what it returned: expected an iterable, found int"):
        list(burble.iterate(lambda: 3))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"start": "end"},
            ValueError,
            "start: expected a position, 'oldest' or 'tail', found 'end'",
        ),
        ({"start": -1}, ValueError, "start: expected at least 0, 'oldest' or 'tail', found -1"),
        ({"start": 2**63}, ValueError, "start: expected at most 9223372036854775807"),
        (
            {"start": 2**63 - 1},
            ValueError,
            r"start: expected at most \d+, .*, found 9223372036854775807",
        ),
        ({"max_lag": 0}, ValueError, "max_lag: expected at least 1, 'stream' or None, found 0"),
        ({"on_lag": "wait"}, ValueError, "on_lag: expected 'block' or 'drop_reader', found 'wait'"),
    ],
)
def test_invalid_reader_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    handle = stream(say, TEXT, max_lag=8)
    with pytest.raises(error, match=message):
        handle.reader(**options)
    assert "".join(handle) == TEXT


def test_batch_not_announced_is_refused_with_hint() -> None:
    def generate(*, streamer: Any) -> None:
        streamer.put(np.zeros((2, 5), int))

    np = pytest.importorskip("numpy")
    with pytest.raises(ValueError, match=r"found those of 2: .*batch=2"):
        list(stream(generate))


@pytest.mark.parametrize(
    "option", [{"skip_prompt": True}, {"skip_special_tokens": False}, {"decode_kwargs": {"x": 1}}]
)
def test_channel_decoding_options_without_tokenizer_are_refused(option: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} needs tokenizer="):
        burble.channel(**option)
