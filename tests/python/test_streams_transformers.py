# SPDX-License-Identifier: MIT
"""burble.stream with models of transformers, which it knows how to stop."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from generating import stream
from helpers import read
from shipped import ids, tokenizer

import burble

pytestmark = pytest.mark.timeout(60)


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
