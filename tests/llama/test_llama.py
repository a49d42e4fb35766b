# SPDX-License-Identifier: MIT
"""llama.cpp through libburble-llama beside transformers through the Python package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import burble

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")

MODELS = Path(__file__).resolve().parents[2] / "models"
SHIPPED = MODELS / "shakespeare.gguf"
COMPLETE = os.environ.get("BURBLE_TEST_COMPLETE", "build/llama-plain/tests/llama/complete")

TOKENS = 48
PROMPTS = [
    "ROMEO:",
    "ROMEO:\n",
    "JULIET:\nO Romeo, Romeo! ",
    "First Citizen:\nBefore we proceed any further",
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\n",
    "KING RICHARD III:\nNow is the winter of our discontent\n",
    "To be, or not to be",
    "What",
    "What's in a name? That which we call a rose",
    "a",
    " ",
    "\n",
    "\n\n\n",
    "O",
    "two  spaces",
    "a tab\tand a tab",
    "café, naïve, €",
    "日本語のテキスト",
    "🙂 and more",
    "Ünïcödé ROMEO:\n",
    "1234567890",
    "!?!?",
    "it's we'll they've",
    "GLOUCESTER:\nThe king is dead.\n\nBUCKINGHAM:\n",
    "DUKE VINCENTIO:\nMy lord, \n\n",
    "MENENIUS:\n" + "I shall tell you a pretty tale. " * 4,
    "the " * 100,
    "And so, my lords, " * 40,
]

# The weights in the file and llama.cpp's table for GELU have 16 bits, so that what it finds for a
# token differs from what transformers finds in the fourth digit. Nearer ones are as good as equal.
AS_GOOD_AS_EQUAL = 0.005


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(MODELS / "shakespeare")


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(1)  # it is a small model
    return transformers.AutoModelForCausalLM.from_pretrained(MODELS / "shakespeare")


def complete(model: Path, prompts: list[str], *arguments: str) -> list[str]:
    """What the program of this name makes of prompts; it knows the public headers alone."""
    text = "".join(prompt + "\0" for prompt in prompts).encode()
    program = [COMPLETE, model, str(TOKENS), *arguments]
    done = subprocess.run(program, input=text, stdout=subprocess.PIPE, check=True, timeout=100)
    return done.stdout.decode().split("\0")[:-1]


def generate(model: Any, tokenizer: Any, prompt: str) -> str:
    """The greedy text that transformers makes, through burble's streamer."""
    ids = tokenizer(prompt, return_tensors="pt")
    streamer = burble.TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    model.generate(
        **ids,
        streamer=streamer,
        max_new_tokens=TOKENS,
        do_sample=False,
        temperature=None,
        top_k=None,
        top_p=None,
    )
    return "".join(streamer)


def lead(model: Any, tokenizer: Any, prompt: str, expected: str, found: str) -> float:
    """How far, for transformers, the token that begins `found` where the two part is behind."""
    prompt_ids = tokenizer(prompt).input_ids
    with torch.no_grad():
        ids = model.generate(
            torch.tensor([prompt_ids]),
            max_new_tokens=TOKENS,
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
        )[0].tolist()
    new = ids[len(prompt_ids) :]
    same = 0
    while found.startswith(tokenizer.decode(new[: same + 1]).rstrip("\ufffd")):
        same += 1
    with torch.no_grad():
        logits = model(torch.tensor([ids[: len(prompt_ids) + same]])).logits[0, -1]
    first, second = logits.topk(2).indices.tolist()
    assert found.startswith(tokenizer.decode([*new[:same], second]).rstrip("\ufffd")), (
        f"{prompt!r}: neither of the two likeliest tokens: expected {expected!r}, found {found!r}"
    )
    return float(logits[first] - logits[second])


def test_greedy_text_equals_transformers(model: Any, tokenizer: Any) -> None:
    found = complete(SHIPPED, PROMPTS)
    assert set(found[1::2]) <= {"length", "stop"}
    equal = 0
    for prompt, text in zip(PROMPTS, found[::2]):
        expected = generate(model, tokenizer, prompt)
        if text == expected:
            equal += 1
        else:
            assert lead(model, tokenizer, prompt, expected, text) < AS_GOOD_AS_EQUAL, prompt
    print(f"{equal} of {len(PROMPTS)} texts are equal; the others part where two tokens tie")
    assert equal >= 20


def test_shipped_file_equals_output_of_converter(tmp_path: Path) -> None:
    output = tmp_path / "again.gguf"
    convert = [sys.executable, MODELS / "convert.py", MODELS / "shakespeare", output, "--half"]
    subprocess.run(convert, check=True, timeout=100)
    assert output.read_bytes() == SHIPPED.read_bytes()


def changed(tmp_path: Path, file: str, **values: object) -> Path:
    """A GGUF file of the shipped model, with some values of one of its JSON files changed."""
    folder = tmp_path / "changed"
    shutil.copytree(MODELS / "shakespeare", folder)
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    output = tmp_path / "changed.gguf"
    convert = [sys.executable, MODELS / "convert.py", folder, output]
    subprocess.run(convert, check=True, timeout=100)
    return output


def test_end_of_sequence_of_model_ends_text(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    (newline,) = tokenizer("\n").input_ids
    ends_at_newlines = changed(tmp_path, "config.json", eos_token_id=newline)
    prompts = ["ROMEO:\n", "What's in a name? That which we call a rose"]
    whole = [generate(model, tokenizer, prompt) for prompt in prompts]
    assert all("\n" in text for text in whole)
    found = complete(ends_at_newlines, prompts)
    assert found[1::2] == ["stop", "stop"]
    for text, longer in zip(found[::2], whole):
        assert text == longer.partition("\n")[0]


def test_chat_template_of_model_is_used(tmp_path: Path, tokenizer: Any) -> None:
    template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'"
        " + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    path = changed(tmp_path, "tokenizer_config.json", chat_template=template)
    for question in ("Hello?", "zwei\nZeilen, ä"):
        expected = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            chat_template=template,
            add_generation_prompt=True,
            tokenize=False,
        )
        assert complete(path, [question], "model") == [expected]
