# SPDX-License-Identifier: MIT
"""Batches: each row is what decode makes of its own ids, and ends when it ends."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
from helpers import KINDS, SOON, in_thread, run, until
from shipped import ids
from shipped import tokenizer as raw

import burble

pytestmark = pytest.mark.timeout(60)

PROMPTS = ["ROMEO:", "What is the matter with thee, my good lord", "O", "First Citizen:\nWe are"]


def gather(kind: str, batch: burble.BatchStream, texts: list[str] | None = None) -> list[str]:
    """The text of each row, from the pairs; also left in ``texts``, where they end in an error."""
    texts = [""] * len(batch) if texts is None else texts

    async def main() -> None:
        async for i, text in batch:
            texts[i] += text

    if kind == "threads":
        for i, text in batch:
            texts[i] += text
    else:
        run(kind, main)
    return texts


def settings(tokenizer: Any, prompts: list[str] = PROMPTS, **more: Any) -> dict[str, Any]:
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    return {**inputs, "max_new_tokens": 40, "do_sample": False, **more}


def rows_of(tokenizer: Any, result: Any, start: int, eos: int | None) -> list[str]:
    """What each row has to say: decode of its generated ids, up to its end of sequence."""
    texts = []
    for row in result[:, start:].tolist():
        end = row.index(eos) + 1 if eos in row else len(row)
        texts.append(tokenizer.decode(row[:end], skip_special_tokens=True))
    return texts


def stream(model: Any, tokenizer: Any, **options: Any) -> burble.BatchStream:
    batch: Any = burble.stream(model.generate, tokenizer=tokenizer, **options)
    assert isinstance(batch, burble.BatchStream)
    return batch


# ---- with the model ------------------------------------------------------------------------------


def test_batch_rows_equal_decode_of_their_ids(
    kind: str, shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare)
    batch = stream(shakespeare_model, shakespeare, **inputs)
    assert len(batch) == 4
    with pytest.raises(IndexError, match=r"row 4: the batch has 4 rows"):
        batch[4]
    texts = gather(kind, batch)
    start = inputs["input_ids"].shape[1]
    assert batch.result.equal(shakespeare_model.generate(**inputs))
    assert texts == rows_of(shakespeare, batch.result, start, 0)
    assert [row.finish_reason for row in batch.rows] == ["length"] * 4
    assert [stats.tokens for stats in batch.stats] == [40] * 4


@pytest.fixture
def another_end(shakespeare: Any, shakespeare_model: Any) -> int:
    """An id with which the greedy rows end at different places, where it is the end."""
    inputs = settings(shakespeare)
    rows = shakespeare_model.generate(**inputs)[:, inputs["input_ids"].shape[1] :].tolist()
    found = [
        token
        for token in {t for row in rows for t in row}
        if len({row.index(token) if token in row else -1 for row in rows}) >= 3
    ]
    assert found
    return int(found[0])


def test_batch_rows_end_at_their_own_end_of_sequence(
    kind: str, another_end: int, shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare)
    start = inputs["input_ids"].shape[1]
    batch = stream(shakespeare_model, shakespeare, **inputs, eos_token_id=another_end)
    texts = gather(kind, batch)
    expected = rows_of(shakespeare, batch.result, start, another_end)
    assert texts == expected
    reasons = [row.finish_reason for row in batch.rows]
    rows = batch.result[:, start:].tolist()
    assert reasons == ["eos" if another_end in row else "length" for row in rows]
    assert "eos" in reasons
    assert len({len(text) for text in texts}) > 1


def test_batch_pad_that_is_no_end_is_not_shown(
    another_end: int, shakespeare: Any, shakespeare_model: Any
) -> None:
    pad = ids("Z")[0]
    inputs = settings(shakespeare)
    start = inputs["input_ids"].shape[1]
    batch = stream(
        shakespeare_model,
        shakespeare,
        **inputs,
        eos_token_id=another_end,
        pad_token_id=pad,
        skip_special_tokens=False,
    )
    texts = gather("asyncio", batch)
    assert pad in batch.result[:, start:].flatten().tolist()
    assert texts == rows_of(shakespeare, batch.result, start, another_end)


def test_batch_with_several_sequences_per_row_equals_decode(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    import torch

    inputs = settings(shakespeare, PROMPTS[:2], do_sample=True, num_return_sequences=3)
    start = inputs["input_ids"].shape[1]
    torch.manual_seed(5)
    alone = shakespeare_model.generate(**inputs)
    torch.manual_seed(5)
    batch = stream(shakespeare_model, shakespeare, **inputs)
    assert len(batch) == 6
    texts = gather("asyncio", batch)
    assert batch.result.equal(alone)
    assert texts == rows_of(shakespeare, alone, start, 0)


def test_prompt_with_several_sequences_is_a_batch(shakespeare: Any, shakespeare_model: Any) -> None:
    import transformers

    inputs = settings(shakespeare, PROMPTS[:1], do_sample=True, max_new_tokens=10)
    for given in (
        {"num_return_sequences": 3},
        {
            "generation_config": transformers.GenerationConfig(
                num_return_sequences=3, do_sample=True, max_new_tokens=10
            )
        },
    ):
        options = {**inputs, **given}
        if "generation_config" in given:
            del options["max_new_tokens"], options["do_sample"]
        batch = stream(shakespeare_model, shakespeare, **options)
        assert len(batch) == 3
        texts = gather("threads", batch)
        start = inputs["input_ids"].shape[1]
        assert texts == rows_of(shakespeare, batch.result, start, 0)


def test_batch_prompts_are_shown_without_pads(shakespeare: Any, shakespeare_model: Any) -> None:
    inputs = settings(shakespeare, max_new_tokens=4)
    for options in (
        {"skip_special_tokens": True},
        {"skip_special_tokens": False},
    ):
        batch = stream(shakespeare_model, shakespeare, **inputs, skip_prompt=False, **options)
        texts = gather("threads", batch)
        for prompt, text in zip(PROMPTS, texts):
            assert text.startswith(prompt)


def test_batch_given_positionally_is_recognized(shakespeare: Any, shakespeare_model: Any) -> None:
    inputs = settings(shakespeare, max_new_tokens=3)
    batch: Any = burble.stream(
        shakespeare_model.generate,
        inputs.pop("input_ids"),
        tokenizer=shakespeare,
        **inputs,
    )
    assert len(batch) == 4
    batch.close()


def test_batch_rows_stop_at_stop_strings_and_batch_after_last(
    kind: str, shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare, max_new_tokens=120)
    start = inputs["input_ids"].shape[1]
    whole = rows_of(shakespeare, shakespeare_model.generate(**inputs), start, 0)
    stop = ","
    assert all(stop in text for text in whole)
    batch = stream(shakespeare_model, shakespeare, **inputs, stop=stop)
    texts = gather(kind, batch)
    assert texts == [text[: text.index(stop)] for text in whole]
    assert [row.finish_reason for row in batch.rows] == ["stop"] * 4
    assert [row.stopped for row in batch.rows] == [
        (0, stop, text.index(stop), text.index(stop) + 1) for text in whole
    ]
    assert batch.result.shape[1] < start + 120  # told to end, it has returned


def test_batch_row_can_be_read_alone(kind: str, shakespeare: Any, shakespeare_model: Any) -> None:
    inputs = settings(shakespeare)
    start = inputs["input_ids"].shape[1]
    batch = stream(shakespeare_model, shakespeare, **inputs)

    async def main(row: burble.Stream[str]) -> str:
        return "".join([text async for text in row])

    texts = ["".join(row) if kind == "threads" else run(kind, main, row) for row in batch.rows]
    assert texts == rows_of(shakespeare, batch.result, start, 0)
    assert batch[-1] is batch[3]
    assert batch[0].result is batch.result


def test_batch_row_cancelled_leaves_others_running(
    kind: str, shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare)
    start = inputs["input_ids"].shape[1]
    gate = threading.Event()

    def wait(input_ids: Any, scores: Any) -> Any:
        assert gate.wait(SOON)
        return scores

    batch = stream(shakespeare_model, shakespeare, logits_processor=[wait], **inputs)
    batch[1].cancel()
    batch[1].cancel()
    batch[1].close()
    gate.set()
    texts = gather(kind, batch)
    expected = rows_of(shakespeare, shakespeare_model.generate(**inputs), start, 0)
    assert [texts[i] for i in (0, 2, 3)] == [expected[i] for i in (0, 2, 3)]
    assert texts[1] == ""
    # generate was told: it has gone on with pads.
    assert batch.result[1, start + 5 :].tolist() == [0] * 35
    assert [row.state for row in batch.rows] == ["ended", "cancelled", "ended", "ended"]


@pytest.mark.parametrize("loop", KINDS)
def test_batch_block_left_early_cancels_all_rows(
    loop: str, shakespeare: Any, shakespeare_model: Any
) -> None:
    async def main() -> burble.BatchStream:
        inputs = settings(shakespeare, max_new_tokens=400)
        async with stream(shakespeare_model, shakespeare, **inputs, max_lag=100) as batch:
            async for _ in batch:
                break
        return batch

    batch = run(loop, main)
    assert batch._job._settled
    assert [row.state for row in batch.rows] == ["cancelled"] * 4
    assert batch[0]._log.position < 200


def test_batch_result_can_be_awaited(shakespeare: Any, shakespeare_model: Any) -> None:
    inputs = settings(shakespeare, max_new_tokens=20)

    async def main(batch: burble.BatchStream) -> Any:
        return await batch.wait()

    expected = shakespeare_model.generate(**inputs)
    assert run("asyncio", main, stream(shakespeare_model, shakespeare, **inputs)).equal(expected)
    assert stream(shakespeare_model, shakespeare, **inputs).join(SOON).equal(expected)


# ---- functions of one's own ----------------------------------------------------------------------


def speak(*texts: str, streamer: Any) -> str:
    """Each row's ids, and pads for those that are shorter."""
    end = raw().token_to_id("<|endoftext|>")
    rows = [[*ids(text), end] for text in texts]
    length = max(map(len, rows))
    for step in zip(*(row + [end] * (length - len(row)) for row in rows)):
        streamer.put(list(step))
    return "spoken"


class WithEnd:
    """A raw tokenizer that says what its end of sequence is."""

    eos_token_id = pad_token_id = raw().token_to_id("<|endoftext|>")

    def decode(self, tokens: list[int], **options: Any) -> str:
        return str(raw().decode(tokens, **options))


def test_batch_put_by_own_function_is_read_by_rows(kind: str) -> None:
    texts = ("To be, or not to be", "that", "is the question")
    batch = burble.stream(speak, *texts, tokenizer=WithEnd(), batch=3)
    assert gather(kind, batch) == list(texts)
    assert [row.finish_reason for row in batch.rows] == ["eos"] * 3
    assert batch.result == "spoken"


def test_batch_of_one_row_gives_pairs() -> None:
    batch = burble.stream(speak, "alone", tokenizer=WithEnd(), batch=1)
    assert gather("threads", batch) == ["alone"]

    def generate(*, streamer: Any) -> None:
        streamer.put(ids("several ids"))
        streamer.put(ids(".")[0])

    batch = burble.stream(generate, tokenizer=WithEnd(), batch=1)
    assert gather("threads", batch) == ["several ids."]


def test_batch_row_ends_at_end_of_sequence_and_last_with_result() -> None:
    gate, put = threading.Event(), threading.Event()

    def generate(*, streamer: Any) -> str:
        end = WithEnd.eos_token_id
        streamer.put([ids("a")[0], end])
        put.set()
        assert gate.wait(SOON)
        streamer.put([end, end])
        return "returned"

    batch = burble.stream(generate, tokenizer=WithEnd(), batch=2)
    assert put.wait(SOON)
    assert list(batch[1]) == []
    assert [row.state for row in batch.rows] == ["open", "ended"]
    gate.set()
    assert list(batch[0]) == ["a"]
    assert batch.result == "returned"


def test_batch_eos_token_id_ends_rows_of_any_function() -> None:
    a, end = ids("a")[0], ids("b")[0]

    def generate(*, streamer: Any) -> None:
        streamer.put([a, end])
        streamer.put([end, a])

    batch = burble.stream(
        generate, tokenizer=raw(), batch=2, eos_token_id=[end], skip_special_tokens=False
    )
    assert gather("threads", batch) == ["ab", "b"]
    assert [row.finish_reason for row in batch.rows] == ["eos"] * 2


def test_batch_function_putting_after_all_rows_stopped_is_ended() -> None:
    put = []

    def generate(*, streamer: Any) -> None:
        while True:
            put.append(1)
            streamer.put([ids("a")[0], ids(" a")[0]])

    batch = burble.stream(generate, tokenizer=raw(), batch=2, stop=["aaa", "a a a a"])
    assert gather("threads", batch) == ["", " "]
    assert batch.result is None
    assert len(put) == 5


def test_batch_function_that_raises_fails_every_row(kind: str) -> None:
    def generate(*, streamer: Any) -> None:
        streamer.put([ids("a")[0], ids("b")[0]])
        raise OSError("no memory")

    batch = burble.stream(generate, tokenizer=raw(), batch=2)
    texts = ["", ""]
    with pytest.raises(OSError, match="no memory"):
        gather(kind, batch, texts)
    assert texts == ["a", "b"]
    with pytest.raises(OSError, match="no memory"):  # and whoever asks once more
        gather(kind, batch)
    for row in batch.rows:
        with pytest.raises(OSError, match="no memory"):
            _ = row.result


@pytest.mark.parametrize(
    ("value", "found"),
    [([1, 2], "found 2 row"), ([[1], [2]], "found 2 row"), (5, "found 1 row"), ([], "found 0 row")],
)
def test_batch_put_with_wrong_number_of_rows_is_refused(value: Any, found: str) -> None:
    batch = burble.stream(lambda streamer: streamer.put(value), tokenizer=raw(), batch=3)
    with pytest.raises(ValueError, match=f"a batch of 3: .*{found}"):
        list(batch)


def test_batch_step_of_several_tokens_ends_row_at_its_end() -> None:
    end = WithEnd.eos_token_id

    def generate(*, streamer: Any) -> None:
        streamer.put([ids("a prompt"), ids("b prompt")])
        streamer.put([[*ids(" one"), end, *ids(" never")], ids(" two")])

    batch = burble.stream(generate, tokenizer=WithEnd(), batch=2, skip_prompt=True)
    assert gather("threads", batch) == [" one", " two"]


def test_batch_slow_row_reader_blocks_all_at_max_lag() -> None:
    batch = burble.stream(speak, "a b " * 100, "c d " * 100, tokenizer=raw(), batch=2, max_lag=40)
    until(lambda: max(stats.blocked for stats in batch.stats) > 0)
    assert max(row._log.position for row in batch.rows) <= 41
    texts = gather("asyncio", batch)
    assert [text.replace("<|endoftext|>", "") for text in texts] == ["a b " * 100, "c d " * 100]


def test_batch_timeout_ends_all_rows() -> None:
    gate = threading.Event()

    def generate(*, streamer: Any) -> None:
        streamer.put([ids("a")[0], ids("b")[0]])
        gate.wait(SOON)

    batch = burble.stream(generate, tokenizer=raw(), batch=2, token_timeout=0.1)
    texts = ["", ""]
    with pytest.raises(burble.TokenTimeout):
        gather("threads", batch, texts)
    assert texts == ["a", "b"]
    gate.set()


# ---- a generate in a thread of one's own ---------------------------------------------------------


def test_batch_streamer_serves_generate_in_any_thread(
    kind: str, shakespeare: Any, shakespeare_model: Any
) -> None:
    inputs = settings(shakespeare, max_new_tokens=60)
    start = inputs["input_ids"].shape[1]
    whole = rows_of(shakespeare, shakespeare_model.generate(**inputs), start, 0)
    streamer = burble.BatchStreamer(shakespeare, 4, stop=",")
    generate = functools.partial(
        shakespeare_model.generate,
        **inputs,
        streamer=streamer,
        stopping_criteria=[streamer.stopping_criteria],
    )
    with in_thread(generate):
        texts = gather(kind, streamer)
    assert texts == [text.split(",")[0] for text in whole]
    assert streamer.join(SOON) is None


def test_batch_streamer_cancelled_is_read_by_rows() -> None:
    streamer = burble.BatchStreamer(WithEnd(), 2)
    speak("one", "two", streamer=streamer)
    streamer.end()
    assert ["".join(row) for row in streamer.rows] == ["one", "two"]
    assert [row.state for row in streamer.rows] == ["ended", "ended"]
    other = burble.BatchStreamer(WithEnd(), 2)
    other.cancel()
    with pytest.raises(burble.Cancelled):
        speak("one", "two", streamer=other)
    with pytest.raises(ValueError, match="batch: expected at least 1, found 0"):
        burble.BatchStreamer(WithEnd(), 0)


@pytest.mark.parametrize("wrong", [[1, 2], [[1], [2]], "no ids", [1, 2, "x"]], ids=repr)
def test_batch_thread_dead_after_first_put_fails_rows(wrong: Any) -> None:
    batch = burble.BatchStreamer(raw(), 3, pad_token_id=0)

    def generate() -> None:
        with pytest.raises((TypeError, ValueError)):
            batch.put(wrong)

    with in_thread(generate):
        with pytest.raises(burble.ProducerDied):
            list(batch)
