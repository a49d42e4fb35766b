# SPDX-License-Identifier: MIT
"""What chooses tokens in burble.llama.Engine.generate: each parameter works, or is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from test_llama import SHIPPED

try:
    from burble import llama
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.timeout(120)

PROMPT = "ROMEO:"


@pytest.fixture(scope="module")
def engine() -> Iterator[llama.Engine]:
    with llama.Engine(SHIPPED, threads=1, slots=1) as engine:
        yield engine


def text(engine: llama.Engine, prompt: str | list[int] = PROMPT, **options: Any) -> str:
    options.setdefault("max_new_tokens", 30)
    return "".join(engine.generate(prompt, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"repeat_penalty": 1.5},
        {"presence_penalty": 3.0},
        {"frequency_penalty": 2.0},
        {"dry_multiplier": 2.0},
        {"logit_bias": {300: 20.0}},
        {"temperature": 1.0, "seed": 1},
        {"temperature": 1.0, "seed": 1, "typical_p": 0.3},
        {"temperature": 1.0, "seed": 1, "mirostat": 1},
        {"temperature": 1.0, "seed": 1, "mirostat": 2, "mirostat_tau": 1.0},
    ],
)
def test_parameter_changes_text_the_same_way_each_time(
    options: dict[str, Any], engine: llama.Engine
) -> None:
    changed = text(engine, **options)
    assert changed != text(engine)
    assert changed == text(engine, **options)


def test_parameters_without_effect_leave_greedy_text(engine: llama.Engine) -> None:
    plain = text(engine)
    assert text(engine, repeat_penalty=2.0, repeat_last_n=0) == plain
    assert text(engine, dry_multiplier=2.0, dry_last_n=0) == plain
    assert text(engine, dry_multiplier=2.0, dry_allowed_length=400) == plain
    assert text(engine, logit_bias={}) == plain


def test_excluded_token_is_not_in_text(engine: llama.Engine) -> None:
    newlines = [engine.tokenize("\n" * n)[0] for n in (1, 2, 3)]
    assert "\n" in text(engine)
    assert "\n" not in text(engine, logit_bias=dict.fromkeys(newlines, -math.inf))


def test_greedy_answer_continues_from_each_of_its_tokens(engine: llama.Engine) -> None:
    prompt = engine.tokenize(PROMPT)
    answer = engine.tokenize(text(engine))  # as it is generated: each token is a piece of the text
    for n in range(1, 20):
        rest = text(engine, [*prompt, *answer[:n]], answered=n, max_new_tokens=30 - n)
        assert text(engine).endswith(rest)
        assert rest == text(engine, [*prompt, *answer[:n]], max_new_tokens=30 - n)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"repeat_penalty": 0},
            ValueError,
            "repeat_penalty: expected above 0, at most 100, found 0",
        ),
        (
            {"presence_penalty": 101},
            ValueError,
            "presence_penalty: expected -100 to 100, found 101",
        ),
        ({"typical_p": 0}, ValueError, "typical_p: expected above 0, at most 1, found 0"),
        ({"mirostat": 3}, ValueError, "mirostat: expected at most 2, found 3"),
        ({"mirostat": 1}, ValueError, "mirostat: expected a temperature above 0, found 0"),
        ({"logit_bias": {2048: 1.0}}, ValueError, "expected an id from 0 to 2047, found 2048"),
        ({"logit_bias": {1: math.nan}}, ValueError, "expected a number or -INFINITY, found nan"),
        ({"dry_breakers": "ab"}, TypeError, "dry_breakers: expected an iterable of str"),
        ({"dry_breakers": [""]}, ValueError, "expected text without NUL, found none"),
        ({"answered": 1}, ValueError, "answered: expected fewer than the ids of the prompt"),
        ({"answered": -1}, ValueError, "answered"),
        ({"logprobs": 21}, ValueError, "logprobs: expected at most 20, found 21"),
        ({"grammar": "root ::= ["}, ValueError, "grammar: line 1, column 11: expected a closing"),
        ({"json": True, "grammar": ""}, ValueError, "json: expected no grammar beside it"),
        ({"json": True, "ignore_eos": True}, ValueError, "ignore_end: expected false"),
    ],
)
def test_parameter_out_of_range_is_refused(
    options: dict[str, Any], error: type[Exception], message: str, engine: llama.Engine
) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(")):
        text(engine, **options)


def test_logprobs_line_up_with_text(engine: llama.Engine) -> None:
    with engine.generate(PROMPT, max_new_tokens=30, logprobs=3) as stream:
        whole = "".join(stream)
        tokens = stream.logprobs
    assert tokens is not None
    assert len(tokens) == 30
    for token, after in zip(tokens, tokens[1:]):
        assert token.bytes.decode() == whole[token.offset : after.offset]
        assert token.top[0] == (token.id, token.logprob)
        assert [logprob for _, logprob in token.top] == sorted(
            (logprob for _, logprob in token.top), reverse=True
        )
        assert sum(math.exp(logprob) for _, logprob in token.top) <= 1.000001


def test_logprobs_without_alternatives_are_of_the_chosen_tokens(engine: llama.Engine) -> None:
    with engine.generate(PROMPT, max_new_tokens=5, temperature=2.0, logprobs=0) as stream:
        "".join(stream)
        assert stream.logprobs is not None
        assert [token.top for token in stream.logprobs] == [()] * 5
        assert all(token.logprob < 0 for token in stream.logprobs)
    with engine.generate(PROMPT, max_new_tokens=5) as plain:
        assert plain.logprobs is None


def test_log_of_logprobs_continues_text(engine: llama.Engine) -> None:
    options: dict[str, Any] = {"temperature": 0.8, "seed": 5}
    with engine.generate(PROMPT, max_new_tokens=30, logprobs=0, **options) as stream:
        whole = "".join(stream)
        assert stream.logprobs is not None
        ids = [token.id for token in stream.logprobs]
    prompt = engine.tokenize(PROMPT)
    for n in range(1, len(ids)):
        rest = text(engine, [*prompt, *ids[:n]], answered=n, max_new_tokens=len(ids) - n, **options)
        assert whole.endswith(rest)


@pytest.mark.parametrize("seed", range(5))
def test_json_is_an_object_if_it_ends(seed: int, engine: llama.Engine) -> None:
    with engine.generate(PROMPT, json=True, temperature=1.0, seed=seed) as stream:
        found = "".join(stream)
        assert found.startswith("{")
        if stream.finish_reason in ("eos", "stop"):
            assert isinstance(json.loads(found), dict)


def test_grammar_bounds_text(engine: llama.Engine) -> None:
    found = text(engine, grammar='root ::= ("yes" | "no") "."', max_new_tokens=None)
    assert found in ("yes.", "no.")
