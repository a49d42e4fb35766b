# SPDX-License-Identifier: MIT
"""Greedy texts of burble.llama.Engine beside those of llama-server and transformers.

Only where llama-server is (`make test-llama-peer` builds it).
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_llama import AS_GOOD_AS_EQUAL, SHIPPED, TOKENS, generate, lead
from test_llama import PROMPTS as FEW
from test_llama import model as model  # fixtures
from test_llama import tokenizer as tokenizer

try:
    from burble import llama
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(os.environ.get("BURBLE_TEST_LLAMA_SERVER", ROOT / "build/llama/bin/llama-server"))

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.skipif(not SERVER.exists(), reason=f"{SERVER} is not there: make test-llama-peer"),
]

SPEAKERS = (
    "ROMEO",
    "JULIET",
    "First Citizen",
    "KING RICHARD III",
    "MENENIUS",
    "Nurse",
    "DUKE",
    "All",
)
OPENINGS = (
    "",
    "What",
    "My lord, ",
    "I pray you, tell me ",
    "The king is dead. ",
    "O, she doth teach the torches to burn bright! ",
    "Come, come,\nand let us ",
    "No, no, no",
    "It is the east, and Juliet is the sun.\nArise, fair sun, and kill the envious moon, ",
)
PROMPTS = [*FEW, *(f"{who}:\n{text}" for who, text in itertools.product(SPEAKERS, OPENINGS))]
COMPANY = 32


@pytest.fixture(scope="module")
def expected(model: Any, tokenizer: Any) -> list[str]:
    """What transformers makes of the prompts."""
    assert len(PROMPTS) == 100
    return [generate(model, tokenizer, prompt) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def ask() -> Iterator[Callable[[str], str]]:
    """Start llama-server; return a function that returns its text for a prompt."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    options = [
        "--threads",
        "1",
        "--parallel",
        "1",
        "--ctx-size",
        "512",
        "--fit",
        "off",
        "--offline",
    ]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        [SERVER, "--model", SHIPPED, *address, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:

        def request(method: str, path: str, body: str | None = None) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                return response.status, response.read().decode()
            finally:
                connection.close()

        def is_ready() -> bool:
            assert process.poll() is None, "llama-server has ended"
            try:
                return request("GET", "/health")[0] == 200
            except OSError:
                return False

        def answer(prompt: str) -> str:
            body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0}
            status, found = request("POST", "/completion", json.dumps(body))
            assert status == 200, found
            text: str = json.loads(found)["content"]
            return text

        try:
            while not is_ready():
                time.sleep(0.05)
            yield answer
        finally:
            process.kill()


def texts(engine: llama.Engine, prompts: list[str]) -> list[str]:
    """The engine's texts, eight at a time."""
    found: list[str] = []
    for some in (prompts[i : i + 8] for i in range(0, len(prompts), 8)):
        streams = [engine.generate(prompt, max_new_tokens=TOKENS) for prompt in some]
        found += ["".join(stream) for stream in streams]
    return found


def compare(
    model: Any, tokenizer: Any, prompts: list[str], expected: list[str], found: list[str]
) -> None:
    """Texts are equal, or part where two tokens are as good as equally likely."""
    equal = 0
    for prompt, one, other in zip(prompts, expected, found, strict=True):
        if one == other:
            equal += 1
        else:
            assert lead(model, tokenizer, prompt, one, other) < AS_GOOD_AS_EQUAL, prompt
    print(f"{equal} of {len(prompts)} texts are equal; the others part where two tokens tie")
    assert equal >= 0.7 * len(prompts)


class Company:
    """Requests that come and go while others are computed: some are read, some are cancelled."""

    def __init__(self, engine: llama.Engine) -> None:
        self._engine = engine
        self._leave = threading.Event()
        self._threads = [
            threading.Thread(target=self._come_and_go, args=(seed,)) for seed in range(COMPANY)
        ]
        self.came = 0

    def __enter__(self) -> Company:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()

    def _come_and_go(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self._leave.is_set():
            prompt = dice.choice(PROMPTS) + dice.choice(PROMPTS[:20])
            sampling = {"temperature": dice.choice([0.0, 0.9]), "seed": seed}
            with self._engine.generate(prompt, max_new_tokens=TOKENS, **sampling) as stream:
                for _ in itertools.islice(stream, dice.randint(0, 2 * TOKENS)):
                    pass
            self.came += 1


def test_greedy_texts_alone_equal_server_and_transformers(
    model: Any, tokenizer: Any, expected: list[str], ask: Callable[[str], str]
) -> None:
    with llama.Engine(SHIPPED, slots=1, threads=1) as engine:
        alone = ["".join(engine.generate(prompt, max_new_tokens=TOKENS)) for prompt in PROMPTS]
    compare(model, tokenizer, PROMPTS, expected, alone)
    served = [ask(prompt) for prompt in PROMPTS]
    compare(model, tokenizer, PROMPTS, expected, served)
    differ = [prompt for prompt, a, b in zip(PROMPTS, alone, served, strict=True) if a != b]
    print(f"{len(differ)} texts differ from the server's: {differ}")
    assert len(differ) <= 5  # each of the two is as good as equal to transformers'


def test_greedy_texts_in_company_equal_transformers(
    model: Any, tokenizer: Any, expected: list[str]
) -> None:
    with llama.Engine(SHIPPED, slots=40, threads=1) as engine:
        with Company(engine) as company:
            found = texts(engine, PROMPTS)
        assert company.came >= COMPANY
    compare(model, tokenizer, PROMPTS, expected, found)


@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
def test_greedy_texts_of_growing_conversations_equal_transformers(
    model: Any, tokenizer: Any, expected: list[str], company: bool
) -> None:
    """Each prompt begins with a prompt and a part of its text that the engine has computed."""
    longer = [prompt + text for prompt, text in zip(PROMPTS, expected, strict=True)]
    longer = [text[: 1 + len(text) * 3 // 4] + "\n\nROMEO:\n" for text in longer]
    again = [generate(model, tokenizer, prompt) for prompt in longer]
    with llama.Engine(SHIPPED, slots=128, threads=1) as engine:
        with Company(engine) if company else contextlib.nullcontext():
            first = texts(engine, PROMPTS)
            before = engine.stats
            second = texts(engine, longer)
            after = engine.stats
    compare(model, tokenizer, PROMPTS, expected, first)
    compare(model, tokenizer, longer, again, second)
    reused = after.reused_tokens - before.reused_tokens
    print(
        f"{reused} prompt tokens were reused, {after.prompt_tokens - before.prompt_tokens} computed"
    )
    assert reused > 1000


def chosen(model: Any, ids: list[int]) -> list[int]:
    """The tokens of the greedy text that transformers makes."""
    prompt = torch.tensor([ids])
    every: list[int] = model.generate(prompt, max_new_tokens=TOKENS, do_sample=False)[0].tolist()
    return every[len(ids) :]


def test_greedy_texts_continued_from_any_token_equal_transformers(
    model: Any, tokenizer: Any, expected: list[str]
) -> None:
    dice = random.Random(1)
    prompts, wholes, found = [], [], []
    with llama.Engine(SHIPPED, slots=8, threads=1) as engine:
        for prompt, whole in zip(PROMPTS, expected, strict=True):
            ids = tokenizer(prompt).input_ids
            answer = chosen(model, ids)
            for n in dice.sample(range(1, len(answer)), min(4, len(answer) - 1)):
                begun = tokenizer.decode(answer[:n])
                if not whole.startswith(begun):
                    continue  # within a character
                room = TOKENS - n
                stream = engine.generate(ids + answer[:n], answered=n, max_new_tokens=room)
                prompts.append(prompt)
                wholes.append(whole)
                found.append(begun + "".join(stream))
    assert len(found) > 300
    compare(model, tokenizer, prompts, wholes, found)
