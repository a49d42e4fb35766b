# SPDX-License-Identifier: MIT
"""A model of random weights that do not fit a processor's caches, for llama_server.py.

It has llama's architecture and the shipped model's vocabulary. Its text makes no sense; only the
time that its weights take counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark import ROOT

SHIPPED = ROOT / "models" / "shakespeare.gguf"
CONTEXT, WIDTH, HIDDEN, HEADS, BLOCKS = 512, 1024, 2816, 16, 12


def made() -> Path:
    """Return the model's file (317 MB), which is made if it is not there."""
    path = ROOT / ".cache" / f"llama-{WIDTH}-{HIDDEN}-{BLOCKS}-f16.gguf"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        _write(unfinished)
        unfinished.rename(path)
    return path


def _write(path: Path) -> None:
    import gguf

    shipped = {
        name: field.contents()
        for name, field in gguf.GGUFReader(SHIPPED).fields.items()
        if name.startswith("tokenizer.")
    }
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(BLOCKS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    for name, value in shipped.items():
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_string(name, value)
    for name, weights in _tensors(shipped["tokenizer.ggml.tokens"]):
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(tokens: list[str]) -> Iterator[tuple[str, Any]]:
    """The weights: each matrix keeps the size of what it multiplies."""
    import numpy as np

    random = np.random.default_rng(1)

    def matrix(rows: int, columns: int) -> Any:
        weights = random.random((rows, columns), dtype=np.float32)
        return ((weights - 0.5) * np.float32((12 / columns) ** 0.5)).astype(np.float16)

    # Only tokens of ASCII characters are ever chosen, so that each is text as soon as it comes.
    output = matrix(len(tokens), WIDTH)
    output[[not token.isascii() or "<|" in token for token in tokens]] = 0
    yield "token_embd.weight", matrix(len(tokens), WIDTH)
    yield "output.weight", output
    yield "output_norm.weight", np.ones(WIDTH, np.float32)
    for block in range(BLOCKS):
        for norm in ("attn_norm", "ffn_norm"):
            yield f"blk.{block}.{norm}.weight", np.ones(WIDTH, np.float32)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{block}.{part}.weight", matrix(WIDTH, WIDTH)
        for part in ("ffn_gate", "ffn_up"):
            yield f"blk.{block}.{part}.weight", matrix(HIDDEN, WIDTH)
        yield f"blk.{block}.ffn_down.weight", matrix(WIDTH, HIDDEN)
