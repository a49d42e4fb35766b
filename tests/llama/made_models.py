# SPDX-License-Identifier: MIT
"""Small models with random weights, of kinds that the shipped model is not of: with a sliding
window, and recurrent. They have the shipped model's vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "shakespeare.gguf"
WIDTH, HEADS, HEAD, HIDDEN, LAYERS, CONTEXT = 128, 4, 32, 256, 6, 2048
WINDOW = 128
KINDS = ("sliding window", "recurrent")


def write(path: Path, kind: str) -> None:
    """Write a model of this kind."""
    architecture = {"sliding window": "gemma3", "recurrent": "mamba"}[kind]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    if kind == "sliding window":
        writer.add_head_count_kv(HEADS)
        writer.add_key_length(HEAD)
        writer.add_value_length(HEAD)
        writer.add_sliding_window(WINDOW)
    else:
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * WIDTH)
        writer.add_ssm_state_size(16)
        writer.add_ssm_time_step_rank(8)
    n_tokens = _write_tokenizer(writer)
    layers = _attention if kind == "sliding window" else _recurrence
    random = np.random.default_rng(1)
    writer.add_tensor("token_embd.weight", _matrix(random, n_tokens, WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name, weights in layers(random):
            writer.add_tensor(f"blk.{layer}.{name}", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(writer: Any) -> int:
    """The shipped model's; returns how many tokens it has."""
    n_tokens = 0
    for name, field in gguf.GGUFReader(SHIPPED).fields.items():
        if not name.startswith("tokenizer."):
            continue
        value = field.contents()
        n_tokens = len(value) if name == "tokenizer.ggml.tokens" else n_tokens
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_string(name, value)
    return n_tokens


def _matrix(random: Any, rows: int, columns: int) -> Any:
    weights = random.random((rows, columns), dtype=np.float32) - 0.5
    return weights * np.float32((12 / columns) ** 0.5)


def _attention(random: Any) -> Iterator[tuple[str, Any]]:
    for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
        yield f"{norm}.weight", np.ones(WIDTH, np.float32)
    for norm in ("attn_q_norm", "attn_k_norm"):
        yield f"{norm}.weight", np.ones(HEAD, np.float32)
    for part in ("attn_q", "attn_k", "attn_v"):
        yield f"{part}.weight", _matrix(random, HEADS * HEAD, WIDTH)
    yield "attn_output.weight", _matrix(random, WIDTH, HEADS * HEAD)
    for part in ("ffn_gate", "ffn_up"):
        yield f"{part}.weight", _matrix(random, HIDDEN, WIDTH)
    yield "ffn_down.weight", _matrix(random, WIDTH, HIDDEN)


def _recurrence(random: Any) -> Iterator[tuple[str, Any]]:
    inner, state, rank = 2 * WIDTH, 16, 8
    yield "attn_norm.weight", np.ones(WIDTH, np.float32)
    yield "ssm_in.weight", _matrix(random, 2 * inner, WIDTH)
    yield "ssm_conv1d.weight", _matrix(random, inner, 4)
    yield "ssm_conv1d.bias", np.zeros(inner, np.float32)
    yield "ssm_x.weight", _matrix(random, rank + 2 * state, inner)
    yield "ssm_dt.weight", _matrix(random, inner, rank)
    yield "ssm_dt.bias", np.zeros(inner, np.float32)
    yield "ssm_a", -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1))
    yield "ssm_d", np.ones(inner, np.float32)
    yield "ssm_out.weight", _matrix(random, WIDTH, inner)
