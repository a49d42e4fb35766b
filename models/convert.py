#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write a GPT-2 from a Hugging Face directory as a GGUF file, for llama.cpp.

    .venv/bin/python models/convert.py --half models/shakespeare models/shakespeare.gguf

It knows models like the one that ships with burble: GPT-2 blocks and a byte-level BPE tokenizer in
`tokenizer.json`. Without `--half` the weights keep every bit.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

TENSORS = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def expect(where: Path, what: str, expected: object, found: object) -> None:
    """End where the model is not of the kind that this script knows."""
    if found != expected:
        raise SystemExit(f"{where}: {what}: expected {expected!r}, found {found!r}")


def name(tensor: str) -> str:
    """llama.cpp's name for a tensor of transformers' GPT-2."""
    path, part = tensor.removeprefix("transformer.").rsplit(".", 1)
    if path.startswith("h."):
        _, block, path = path.split(".", 2)
        return f"blk.{block}.{TENSORS[path]}.{part}"
    return f"{TENSORS[path]}.{part}"


def tensors(directory: Path, half: bool) -> Iterator[tuple[str, np.ndarray]]:
    """The weights as llama.cpp wants them."""
    for tensor, weights in load_file(directory / "model.safetensors").items():
        if ".c_" in tensor and tensor.endswith(".weight"):
            weights = weights.T  # GPT-2's Conv1D has inputs by outputs
        if half and weights.ndim == 2:
            weights = weights.astype(np.float16)
        yield name(tensor), np.ascontiguousarray(weights)


def write_tokenizer(writer: gguf.GGUFWriter, directory: Path) -> None:
    """The vocabulary, the merges, the special tokens and the chat template."""
    path = directory / "tokenizer.json"
    tokenizer = read(path)
    model = tokenizer["model"]
    expect(path, "the model's type", "BPE", model["type"])
    expect(path, "the decoder", "ByteLevel", tokenizer["decoder"]["type"])
    expect(path, "the pre-tokenizer", "ByteLevel", tokenizer["pre_tokenizer"]["type"])
    expect(path, "add_prefix_space", False, tokenizer["pre_tokenizer"]["add_prefix_space"])

    kinds = dict.fromkeys(model["vocab"].values(), gguf.TokenType.NORMAL)
    texts = {token_id: token for token, token_id in model["vocab"].items()}
    for token in tokenizer["added_tokens"]:
        texts[token["id"]] = token["content"]
        special = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        kinds[token["id"]] = special
    expect(path, "the ids", list(range(len(texts))), sorted(texts))

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts[i] for i in range(len(texts))])
    writer.add_token_types([kinds[i] for i in range(len(texts))])
    merges = (m if isinstance(m, str) else " ".join(m) for m in model["merges"])
    writer.add_token_merges(list(merges))
    writer.add_add_bos_token(False)

    config = read(directory / "config.json")
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    template = read(directory / "tokenizer_config.json").get("chat_template")
    if template is not None:
        writer.add_chat_template(template)


def write(directory: Path, output: Path, half: bool) -> None:
    """The whole file. It appears only when it is complete."""
    path = directory / "config.json"
    config = read(path)
    expect(path, "model_type", "gpt2", config["model_type"])
    expect(path, "tie_word_embeddings", True, config["tie_word_embeddings"])
    expect(path, "activation_function", "gelu_pytorch_tanh", config["activation_function"])

    unfinished = output.with_name(f"{output.name}.{os.getpid()}")
    writer = gguf.GGUFWriter(unfinished, "gpt2")
    writer.add_name(directory.name)
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config["n_inner"] or 4 * config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    types = gguf.LlamaFileType
    writer.add_file_type(types.MOSTLY_F16 if half else types.ALL_F32)
    write_tokenizer(writer, directory)
    for tensor, weights in tensors(directory, half):
        writer.add_tensor(tensor, weights)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="a Hugging Face directory with a GPT-2")
    parser.add_argument("output", type=Path, help="the GGUF file to write")
    parser.add_argument("--half", action="store_true", help="matrices as float16: half the size")
    options = parser.parse_args()
    write(options.directory, options.output, options.half)


if __name__ == "__main__":
    main()
