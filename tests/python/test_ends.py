# SPDX-License-Identifier: MIT
"""Where a text ends: at stop strings, in put_text and at special tokens, too; at ends of sequence;
at limits. And what the end is called."""

from __future__ import annotations

import asyncio
import itertools
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from helpers import SOON
from shipped import MODEL, ids, tokenizer

import burble
from burble import _core

pytestmark = pytest.mark.timeout(120)

SPECIAL = "<|endoftext|>"
END: int = tokenizer().token_to_id(SPECIAL)


class Named:
    """A tokenizer of a kind of its own, which names its special tokens: decoded in a window."""

    all_special_ids = (END,)
    all_special_tokens = (SPECIAL,)

    def decode(self, tokens: list[int], **options: Any) -> str:
        return str(tokenizer().decode(tokens, **options))


SOURCES = pytest.mark.parametrize(
    "source", [tokenizer, lambda: str(MODEL / "tokenizer.json"), Named], ids=["raw", "file", "own"]
)


# ---- stop strings in text ------------------------------------------------------------------------

# Texts that are put one by one, a stop string, and what is left.
PUT = [
    (["hello E", "ND more"], "END", "hello "),
    (["hello END"], "END", "hello "),
    (["E", "N", "D"], "END", ""),
    (["E", "N", "E", "N", "D"], "END", "EN"),
    (["hello E", "NE more"], "END", "hello ENE more"),
    (["hello E"], "END", "hello E"),
    (["a 中", "文 b"], "中文", "a "),
]


@pytest.mark.parametrize(("texts", "stop", "left"), PUT)
@pytest.mark.parametrize("chunk", ["token", "word"])
@pytest.mark.parametrize("path", ["channel", "channel with tokenizer", "stream"])
def test_stop_string_in_put_text_ends_text(
    texts: list[str], stop: str, left: str, chunk: Any, path: str
) -> None:
    whole = "".join(texts)
    for include in (False, True):
        options: Any = {"stop": ["never", stop], "include_stop": include, "chunk": chunk}

        def put(writer: Any) -> None:
            for text in texts:
                writer.put_text(text)

        if path == "stream":
            stream: Any = burble.stream(
                lambda streamer: put(streamer), tokenizer=tokenizer(), **options
            )
        else:
            writer, stream = burble.channel(
                tokenizer() if path == "channel with tokenizer" else None, **options
            )
            with writer:
                put(writer)
        met = stop in whole
        assert "".join(stream) == left + stop * (met and include)
        assert stream.finish_reason == ("stop" if met else "end")
        expected = (1, stop, len(left), len(left) + len(stop)) if met else None
        assert stream.stopped == expected


def test_stop_string_across_ids_and_text_ends_text() -> None:
    writer, stream = burble.channel(tokenizer(), stop="be or not")
    writer.put(ids("To be"))
    writer.put_text(" or ")
    assert stream.stats.tokens == len(ids("To be")) + 1
    writer.put(ids("not to be"))
    assert writer.stopped == burble.StopMatch(0, "be or not", 3, 12)
    writer.put_text("never seen")
    writer.end()
    assert "".join(stream) == "To "


def test_text_after_partial_stop_string_keeps_its_order() -> None:
    writer, stream = burble.channel(tokenizer(), stop=["be that", "orx"], max_lag=None)
    for part in ("To be", " or ", "be tha", "n"):
        writer.put(ids(part))
        writer.put_text(part)
    writer.end()
    assert "".join(stream) == "To beTo be or  or be thabe thann"


def test_writer_after_stop_string_in_text_ignores_put() -> None:
    writer, stream = burble.channel(stop="x", max_lag=None)
    writer.put_text("axb")
    assert writer.stopped == burble.StopMatch(0, "x", 1, 2)
    writer.put_text("more")
    writer.flush()  # another sequence
    assert stream.stats.tokens == 1
    writer.put_text("cxd")
    writer.end()
    assert "".join(stream) == "ac"
    assert stream.stats.tokens == 2


def test_stop_string_in_text_ends_function_that_goes_on() -> None:
    put = []

    def generate(*, streamer: Any) -> None:
        for text in itertools.cycle(["hello E", "ND more"]):
            assert not streamer.should_stop
            put.append(text)
            streamer.put_text(text)

    stream = burble.stream(generate, tokenizer=tokenizer(), stop="END")
    assert "".join(stream) == "hello "
    assert (stream.finish_reason, put) == ("stop", ["hello E", "ND more"])


def test_first_ids_after_text_are_the_prompt() -> None:
    prompt = [ids("To be")]

    def generate(*, input_ids: Any, streamer: Any) -> None:
        streamer.put_text("So: ")
        streamer.put(input_ids)
        streamer.put(ids(", or not"))

    stream = burble.stream(generate, input_ids=prompt, tokenizer=tokenizer())
    assert "".join(stream) == "So: , or not"


# ---- stop strings of items -----------------------------------------------------------------------


@pytest.mark.parametrize(("texts", "stop", "left"), PUT)
@pytest.mark.parametrize("coalesce", [False, True])
def test_iterate_at_stop_string_ends_and_closes_source(
    texts: list[str], stop: str, left: str, coalesce: bool
) -> None:
    for include in (False, True):
        closed = threading.Event()
        taken = []

        def source(closed: Any = closed, taken: Any = taken) -> Iterator[str]:
            try:
                for text in texts:
                    taken.append(text)
                    yield text
            finally:
                closed.set()

        stream = burble.iterate(source(), stop=stop, include_stop=include, coalesce=coalesce)
        met = stop in "".join(texts)
        assert "".join(stream) == left + stop * (met and include)
        assert closed.wait(SOON)
        assert stream.finish_reason == ("stop" if met else "end")
        assert stream.stopped == ((0, stop, len(left), len(left) + len(stop)) if met else None)
        assert stream.stats.tokens == len(taken)
        assert stream.result is None


def test_iterate_with_stop_does_not_read_on_after_match() -> None:
    stream = burble.iterate(itertools.cycle(["a", "b", "c"]), stop="ca", max_lag=None)
    assert list(stream) == ["a", "b"]


def test_iterate_with_stop_refuses_items_other_than_str() -> None:
    stream: Any = burble.iterate(iter(["a", 1]), stop="x")
    assert next(stream) == "a"
    with pytest.raises(TypeError, match="need items of type str, found int"):
        next(stream)
    with pytest.raises(TypeError, match="stop: expected a str"):
        burble.iterate(["a"], stop=3)  # type: ignore[arg-type]


def test_iterate_releases_items_once_no_stop_string_can_match() -> None:
    stream = burble.iterate(["a", "bE", "Nd", "", "E"], stop="END")
    assert list(stream) == ["a", "b", "ENd", "E"]


# ---- stop strings that are special tokens --------------------------------------------------------


def put_each(tokens: list[int]) -> Callable[..., None]:
    def generate(*, streamer: Any) -> None:
        for token in tokens:
            streamer.put(token)

    return generate


@SOURCES
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("include", [False, True])
def test_stop_string_of_special_token_ends_text_at_that_token(
    source: Any, skips: bool, include: bool
) -> None:
    tokens = [*ids("To be"), END, *ids(", or not")]
    text = "To be" + SPECIAL * include
    match = (1, SPECIAL, 5, 5 + len(SPECIAL))
    options: Any = {
        "stop": ["\n\n", SPECIAL],
        "include_stop": include,
        "skip_special_tokens": skips,
    }
    stream: Any = burble.stream(put_each(tokens), tokenizer=source(), eos_token_id=[], **options)
    assert "".join(stream) == text
    assert (stream.finish_reason, stream.stopped) == ("stop", match)
    assert stream.stats.tokens == len(ids("To be")) + 1

    writer, stream = burble.channel(source(), **options)
    writer.put(tokens)  # all at once
    assert writer.stopped == match
    writer.end()
    assert "".join(stream) == text
    assert stream.stats.tokens == len(ids("To be")) + 1

    detokenizer = burble.Detokenizer(source(), rewind=3, offsets=True, **options)
    assert "".join(map(detokenizer.push, tokens[: tokens.index(END) + 1])) == text
    assert detokenizer.stopped == match
    if include:
        end = tokens.index(END)
        assert detokenizer.offsets[-1].last == end
    assert detokenizer.push(ids(" no")[0]) == ""
    assert detokenizer.rewind(2) == len(SPECIAL) * include
    assert detokenizer.stopped is None
    assert detokenizer.push(ids("!")) + detokenizer.finish() == "!"
    copy = burble.Detokenizer(source(), **options).copy()
    assert copy.push(tokens) == text

    if source is tokenizer:
        streamer = burble.TextIteratorStreamer(source(), timeout=SOON, **options)
        put_each(tokens)(streamer=streamer)
        streamer.end()
        assert "".join(streamer) == text
        assert (streamer.finish_reason, streamer.stopped) == ("stop", match)


@SOURCES
def test_batch_rows_end_at_special_token_that_is_stop_string(source: Any) -> None:
    a, b = ids("a")[0], ids("b")[0]

    def generate(*, streamer: Any) -> None:
        for row in ([a, b], [b, END], [END, a], [a, a]):
            streamer.put(row)

    batch = burble.stream(
        generate, tokenizer=source(), batch=2, stop=SPECIAL, eos_token_id=[], include_stop=True
    )
    texts = ["", ""]
    for row, text in batch:
        texts[row] += text
    assert texts == ["ab" + SPECIAL, "b" + SPECIAL]
    assert batch.finish_reason == ("stop", "stop")
    assert [row.stopped for row in batch.rows] == [
        (0, SPECIAL, 2, 2 + len(SPECIAL)),
        (0, SPECIAL, 1, 1 + len(SPECIAL)),
    ]


def test_held_back_text_is_released_before_final_special_token() -> None:
    for held, stop in (("now", "nowhere"), ("中", "x")):
        part = ids(held)[:-1] if held == "中" else ids(held)
        shown = "\ufffd" if held == "中" else held
        detokenizer = burble.Detokenizer(
            tokenizer(), skip_special_tokens=True, stop=[stop, SPECIAL], include_stop=True
        )
        text = detokenizer.push([*part, END, *ids("here")]) + detokenizer.finish()
        assert text == shown + SPECIAL
        assert detokenizer.stopped == (1, SPECIAL, len(shown), len(shown) + len(SPECIAL))


def test_stop_string_completed_by_flush_precedes_special_token() -> None:
    detokenizer = burble.Detokenizer(
        tokenizer(), skip_special_tokens=True, stop=["\ufffd", SPECIAL]
    )
    assert detokenizer.push([*ids("x中")[:-1], END]) == "x"
    assert detokenizer.stopped == (0, "\ufffd", 1, 2)


def test_special_token_shown_or_spelled_otherwise_does_not_stop() -> None:
    for options in ({"skip_special_tokens": False}, {"skip_special_tokens": True}):
        for stop in ("endoftext", SPECIAL + "x"):
            detokenizer = burble.Detokenizer(tokenizer(), stop=stop, **options)
            detokenizer.push([END, *ids("a")])
            shown = not options["skip_special_tokens"] and stop == "endoftext"
            assert (detokenizer.stopped is not None) == shown


def test_special_tokens_of_real_tokenizers_end_text(family: Any) -> None:
    tokenizer = family.tokenizer
    some = tokenizer.encode("Hello there", add_special_tokens=False)
    for i, text in zip(tokenizer.all_special_ids, tokenizer.all_special_tokens):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            writer, stream = burble.channel(tokenizer, stop=text)
        for token in (*some, i, *some):
            writer.put(token)
        writer.end()
        expected = tokenizer.decode(some, skip_special_tokens=True)
        assert "".join(stream) == expected
        assert stream.finish_reason == "stop"
        assert stream.stopped is not None
        assert stream.stopped.text == text


# ---- ends of sequence ----------------------------------------------------------------------------


class WithEnd(Named):
    eos_token_id = END


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("batch", [None, 1, 2])
@pytest.mark.parametrize("given", [True, False])
def test_end_of_sequence_ends_stream_and_batch_alike(
    together: bool, skips: bool, batch: int | None, given: bool
) -> None:
    tokens = [*ids("To be"), END, *ids(", or not")]
    put = []

    def generate(*, streamer: Any) -> str:
        for part in [tokens] if together else [[token] for token in tokens]:
            put.append(part)
            streamer.put([part] * batch if batch else part)
        return "returned"

    options: Any = {"eos_token_id": END} if given else {}
    stream: Any = burble.stream(
        generate,
        tokenizer=tokenizer() if given else WithEnd(),
        batch=batch,
        skip_special_tokens=skips,
        **options,
    )
    texts = [""] * (batch or 1)
    for item in stream:
        row, text = item if batch else (0, item)
        texts[row] += text
    assert texts == ["To be" + SPECIAL * (not skips)] * len(texts)
    rows = stream.rows if batch else [stream]
    assert [row.finish_reason for row in rows] == ["eos"] * len(rows)
    assert [row.stopped for row in rows] == [None] * len(rows)
    assert [row.stats.tokens for row in rows] == [len(ids("To be")) + 1] * len(rows)
    # The put of the end returns; the next one ends the function.
    assert stream.result == ("returned" if together else None)
    assert len(put) == (1 if together else len(ids("To be")) + 2)


def test_should_stop_after_end_of_sequence_is_true() -> None:
    seen = []

    def generate(*, streamer: Any) -> str:
        for token in [ids("a")[0], END, ids("b")[0]]:
            if streamer.should_stop:
                break
            streamer.put(token)
            seen.append(token)
        return "returned"

    stream = burble.stream(generate, tokenizer=tokenizer(), eos_token_id=[7, END])
    assert ("".join(stream), stream.result) == ("a", "returned")
    assert seen == [ids("a")[0], END]


def test_end_after_end_of_sequence_begins_new_sequence() -> None:
    def generate(*, streamer: Any) -> None:
        for text in ("a", "b"):
            streamer.put([*ids(text), END])
            streamer.end()

    stream = burble.stream(generate, tokenizer=tokenizer(), eos_token_id=END)
    assert "".join(stream) == "ab"
    assert stream.finish_reason == "eos"


def test_eos_token_id_empty_turns_ends_off() -> None:
    stream = burble.stream(
        put_each([*ids("a"), END, *ids("b")]), tokenizer=WithEnd(), eos_token_id=[]
    )
    assert "".join(stream) == "ab"
    assert stream.finish_reason == "end"


def test_stop_string_in_text_of_end_of_sequence_is_met() -> None:
    stream = burble.stream(
        put_each([*ids("a"), END, *ids("b")]),
        tokenizer=tokenizer(),
        eos_token_id=END,
        stop="of",
        skip_special_tokens=False,
    )
    assert "".join(stream) == "a<|end"
    assert stream.finish_reason == "stop"


# ---- with transformers ---------------------------------------------------------------------------


def settings(shakespeare: Any, **more: Any) -> dict[str, Any]:
    return {**shakespeare("ROMEO:", return_tensors="pt"), "do_sample": False, **more}


def begin(shakespeare: Any, model: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own, of the default
        stream = burble.stream(model.generate, tokenizer=shakespeare, **options)
        for _ in stream:
            pass
    return stream


def test_limits_of_generate_give_reason_length(shakespeare: Any, shakespeare_model: Any) -> None:
    import torch

    inputs = settings(shakespeare)
    start = inputs["input_ids"].shape[1]
    embeds = shakespeare_model.get_input_embeddings()(inputs["input_ids"])
    for options, tokens in (
        (inputs, 20),
        ({**inputs, "return_dict_in_generate": True}, 20),
        ({**inputs, "max_length": start + 3}, 3),
        ({**inputs, "max_new_tokens": 7}, 7),
        ({"inputs_embeds": embeds, "do_sample": False}, 20),
        ({"inputs_embeds": embeds, "do_sample": False, "max_length": start + 4}, 4),
    ):
        stream = begin(shakespeare, shakespeare_model, **options)
        assert (stream.finish_reason, stream.stats.tokens) == ("length", tokens)
    several = begin(shakespeare, shakespeare_model, **inputs, batch=1)
    assert several.finish_reason == ("length",)
    positions = shakespeare_model.config.max_position_embeddings
    ids = torch.full((1, positions - 5), inputs["input_ids"][0, 0].item())
    stream = begin(shakespeare, shakespeare_model, input_ids=ids, do_sample=False)
    assert (stream.finish_reason, stream.stats.tokens) == ("length", 5)


def test_max_time_of_generate_gives_reason_time(shakespeare: Any, shakespeare_model: Any) -> None:
    inputs = settings(shakespeare, max_new_tokens=400)
    assert begin(shakespeare, shakespeare_model, **inputs, max_time=0.001).finish_reason == "time"
    assert begin(
        shakespeare, shakespeare_model, **inputs, max_time=1e6, stop="t"
    ).finish_reason == ("stop")
    short = settings(shakespeare, max_new_tokens=1, max_time=1e-9)
    assert begin(shakespeare, shakespeare_model, **short).finish_reason == "length"


def test_own_stopping_criterion_does_not_give_reason_length(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    import torch

    def enough(input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.ones(len(input_ids), dtype=torch.bool)

    inputs = settings(shakespeare, stopping_criteria=[enough])
    assert begin(shakespeare, shakespeare_model, **inputs).finish_reason == "end"


@pytest.mark.parametrize("where", ["argument", "config", "model"])
@pytest.mark.parametrize("sequences", [1, 2])
@pytest.mark.parametrize("batch", [None, 2])
def test_beam_search_is_refused_at_call(
    shakespeare: Any, shakespeare_model: Any, where: str, sequences: int, batch: Any
) -> None:
    import transformers

    config = transformers.GenerationConfig(num_beams=3, num_return_sequences=sequences)
    inputs = settings(shakespeare, max_new_tokens=4)
    before = shakespeare_model.generation_config
    if where == "argument":
        inputs.update(num_beams=3, num_return_sequences=sequences)
    elif where == "config":
        inputs["generation_config"] = config
    else:
        shakespeare_model.generation_config = config
    try:
        with pytest.raises(ValueError, match="num_beams: expected 1, found 3: beam search"):
            burble.stream(shakespeare_model.generate, **inputs, tokenizer=shakespeare, batch=batch)
        streamer = burble.TextIteratorStreamer(shakespeare)
        with pytest.raises(ValueError, match="num_beams: expected 1, found 3: beam search"):
            asyncio.run(streamer.run(shakespeare_model.generate, **inputs))
    finally:
        shakespeare_model.generation_config = before
    del inputs["max_new_tokens"]
    inputs.pop("generation_config", None)
    inputs.update(num_beams=1, num_return_sequences=1, max_new_tokens=2)
    assert begin(shakespeare, shakespeare_model, **inputs).finish_reason == "length"


@pytest.mark.parametrize("prompt", ["O", "ROMEO:"])
def test_prompt_of_generate_within_own_function_is_left_out(
    shakespeare: Any, shakespeare_model: Any, prompt: str
) -> None:
    inputs = {**settings(shakespeare), **shakespeare(prompt, return_tensors="pt")}

    def generate(*, streamer: Any) -> Any:
        shakespeare_model.generate(**inputs, max_new_tokens=3, streamer=streamer)
        return shakespeare_model.generate(**inputs, max_new_tokens=3, streamer=streamer)

    stream = burble.stream(generate, tokenizer=shakespeare)
    text = "".join(stream)
    start = inputs["input_ids"].shape[1]
    assert text == 2 * shakespeare.decode(stream.result[0, start:], skip_special_tokens=True)
    assert stream.stats.tokens == 6


def test_first_tokens_of_loop_with_batch_dimension_are_text(
    shakespeare: Any, shakespeare_model: Any
) -> None:
    import torch

    def generate(input_ids: Any, *, streamer: Any) -> Any:
        start = input_ids.shape[1]
        for _ in range(6):
            token = shakespeare_model(input_ids).logits[:, -1].argmax(-1, keepdim=True)
            input_ids = torch.cat([input_ids, token], -1)
            streamer.put(token)
        return input_ids[:, start:]

    inputs = shakespeare("ROMEO:", return_tensors="pt")["input_ids"]
    stream: Any = burble.stream(generate, inputs, tokenizer=shakespeare)
    assert "".join(stream) == shakespeare.decode(stream.result[0])
    assert stream.stats.tokens == 6
    both = shakespeare(["ROMEO:", "JULIET:"], return_tensors="pt", padding=True)["input_ids"]
    batch: Any = burble.stream(generate, both, tokenizer=shakespeare)
    texts = ["", ""]
    for row, text in batch:
        texts[row] += text
    assert texts == shakespeare.batch_decode(batch.result)


# ---- functions that do not use their streamer ----------------------------------------------------


def without(*, streamer: Any) -> str:
    return "text"


@pytest.mark.parametrize("batch", [None, 2])
def test_function_that_does_not_use_its_streamer_warns(batch: Any) -> None:
    stream: Any = None

    def read() -> list[Any]:
        nonlocal stream
        stream = burble.stream(without, tokenizer=tokenizer(), batch=batch)
        return list(stream)

    with pytest.warns(RuntimeWarning, match="without has returned without using its streamer"):
        assert read() == []
    assert stream.result == "text"


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize(
    "use",
    [
        lambda streamer: streamer.end(),
        lambda streamer: streamer.should_stop,
        lambda streamer: streamer.put([]),
        lambda streamer: streamer.put([[1, 2]]),
    ],
)
def test_function_that_puts_no_text_does_not_warn(use: Any, batch: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream: Any = burble.stream(
            lambda streamer: use(streamer),
            tokenizer=tokenizer(),
            batch=batch,
            skip_prompt=True,
            eos_token_id=[],
        )
        assert list(stream) == []


def test_run_of_function_that_does_not_use_its_streamer_warns() -> None:
    async def main() -> list[str]:
        streamer = burble.AsyncTextIteratorStreamer(tokenizer())
        task = asyncio.create_task(streamer.run(without))
        texts = [text async for text in streamer]
        assert await task == "text"
        return texts

    with pytest.warns(RuntimeWarning, match="without has returned without using its streamer"):
        assert asyncio.run(main()) == []


def test_core_detokenizer_of_text_alone_refuses_ids(tmp_path: Path) -> None:
    detokenizer = _core.Detokenizer(None, False, ("x",))
    with pytest.raises(TypeError, match="expected text, found token ids"):
        detokenizer.push(1)
    assert detokenizer.finish() == ""
    assert detokenizer.copy().finish() == ""
    with pytest.raises(ValueError, match="there is no stop string 1"):
        _core.Detokenizer(None, False, ("x",), enders=((1, 1),))
