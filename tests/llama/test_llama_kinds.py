# SPDX-License-Identifier: MIT
"""burble.llama with models of other kinds than the shipped one: with a sliding window, and
recurrent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gguf")
import made_models

try:
    from burble import llama
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", params=made_models.KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "model.gguf"
    made_models.write(path, request.param)
    return path


GROWS = """
import os, sys
from burble import llama
path, slots, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
page = os.sysconf("SC_PAGESIZE")
resident = lambda: page * int(open("/proc/self/statm").read().split()[1])
with llama.Engine(path, threads=1, slots=1, context=256):
    pass  # what all engines share
options = {"threads": 1, "slots": slots, "context": context, "batch": 64}
needed = llama.memory(path, slots=slots, context=context, batch=64)
before = resident()
with llama.Engine(path, **options) as engine:
    "".join(engine.generate("ROMEO: " * 20, max_new_tokens=20, ignore_eos=True))
    print(needed.weights, needed.cache, needed.compute, resident() - before)
"""


def test_memory_estimate_is_what_process_grows_by(path: Path) -> None:
    """In a process of its own: other tests leave memory that is used again."""
    for slots, context in ((256, 256), (128, 1024)):
        command = [sys.executable, "-c", GROWS, str(path), str(slots), str(context)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        weights, cache, compute, grown = map(int, out.split())
        assert cache > 1 << 20
        assert grown < 1.1 * (weights + cache + compute) + (8 << 20), (slots, context)
        # (States that no slot has used yet may be pages that the system has not given.)
        if b"mamba" not in path.read_bytes()[:4096]:
            assert grown > 0.9 * cache - (2 << 20), (slots, context)


def test_cache_grows_with_context_unless_it_is_of_states(path: Path) -> None:
    """A sliding window, too: its cells are kept, so that a prompt can begin as an older one did."""
    short = llama.memory(path, slots=8, context=512, batch=64)
    long = llama.memory(path, slots=8, context=2048, batch=64)
    recurrent = b"mamba" in path.read_bytes()[:4096]
    assert long.cache == (1 if recurrent else 4) * short.cache


PROMPTS = ["ROMEO:", "JULIET:\nO Romeo, ", "First Citizen:\nWe " * 60, "a"]


def test_greedy_text_alone_and_in_company_is_same(path: Path) -> None:
    options = {"max_new_tokens": 24, "ignore_eos": True}
    with llama.Engine(path, threads=1, slots=1, context=1024) as engine:
        alone = ["".join(engine.generate(prompt, **options)) for prompt in PROMPTS]
    with llama.Engine(path, threads=1, slots=4, context=1024) as engine:
        streams = [engine.generate(prompt, keep="all", **options) for prompt in PROMPTS]
        assert ["".join(stream) for stream in streams] == alone
        # And by what is there of the same prompts already.
        assert ["".join(engine.generate(prompt, **options)) for prompt in PROMPTS] == alone


def test_next_turn_reuses_whole_conversation(path: Path) -> None:
    with llama.Engine(path, threads=1, slots=2, context=1024) as engine:
        with engine.generate("ROMEO: what say you? " * 4, max_new_tokens=8) as stream:
            conversation = "ROMEO: what say you? " * 4 + "".join(stream)
        more = conversation + "\n\nJULIET: I say"
        with engine.generate(more, max_new_tokens=8) as stream:
            text = "".join(stream)
        with engine.generate(more, max_new_tokens=8, reuse=False) as stream:
            assert "".join(stream) == text
