# SPDX-License-Identifier: MIT
"""A worker with transformers: its answers go over Redis to any front.

    python examples/relay_worker.py redis://127.0.0.1        # on each machine that computes
    burble serve --redis redis://127.0.0.1                   # on each machine that clients reach
    curl http://127.0.0.1:8080/v1/completions --json '{"prompt": "ROMEO:", "max_tokens": 60}'

Press Ctrl-C: what runs may end, and new answers go to other workers. MODEL=… chooses another model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

import burble
import burble.relay

MODEL = os.environ.get("MODEL") or Path(__file__).resolve().parent.parent / "models" / "shakespeare"

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL)


def handler(request: burble.Request) -> burble.Stream[str]:
    """The text that follows the prompt."""
    if not request.prompt:
        raise burble.RequestError("expected text", param="prompt")
    inputs = tokenizer(request.prompt, return_tensors="pt")
    most = request.parameters.get("max_tokens", 60)
    stream: burble.Stream[str] = burble.stream(
        model.generate, **inputs, tokenizer=tokenizer, max_new_tokens=most
    )
    return stream


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} URL, such as redis://127.0.0.1")
    burble.relay.work(
        sys.argv[1], {"assistant": handler}, slots=2, parameters=["max_tokens"], chat=False
    )
