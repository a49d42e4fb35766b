# SPDX-License-Identifier: MIT
"""A vocabulary file of each family of decoders, its tokenizer, and the ids of a real text."""

from __future__ import annotations

import base64
import functools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

import models

sys.path.append(str(models.ROOT / "tests" / "python"))
from conftest import (
    SAMPLE_TEXT,
    byte_level_alphabet,
    train_byte_fallback,
    train_byte_level,
)

SHARED = models.ROOT.parent / "shared"


@dataclass(frozen=True)
class Family:
    """A file that burble loads, the tokenizer that decodes as it does, and the ids of the text."""

    name: str
    path: Path
    backend: Any
    ids: list[int]
    ranks: dict[bytes, int] = field(default_factory=dict)  # its pieces, where tiktoken can have it


@functools.cache
def text() -> str:
    """The corpora where they are at hand; else the text that the tests train on, many times."""
    found = sorted((SHARED / "corpus").glob("*.txt"))
    return "".join(p.read_text(encoding="utf-8") for p in found) or SAMPLE_TEXT * 500


def byte_level(name: str = "gpt2") -> Any:
    """A tokenizer as a large model has it; where it is not at hand, one that is trained."""
    return _at_hand(name) or train_byte_level()


def byte_fallback(name: str = "llama2") -> Any:
    """The same for one that falls back to bytes."""
    return _at_hand(name) or train_byte_fallback()


def families(folder: Path) -> list[Family]:
    """All of them; the files are written to ``folder``."""
    found = [
        *[_saved(f"byte level, {name}", byte_level(name), folder) for name in ("gpt2", "llama3")],
        *[_saved(f"byte fallback, {n}", byte_fallback(n), folder) for n in ("llama2", "phi3")],
        _saved("Metaspace", _metaspace(), folder),
        _saved("WordPiece", _word_piece(), folder),
        _saved("BPEDecoder", _with_suffix(), folder),
        _saved("CTC", _characters(), folder),
    ]
    level, fallback = found[0], found[2]
    gguf, ranks = folder / "fallback.gguf", folder / "pieces.tiktoken"
    _write_gguf(gguf, fallback.backend)
    _write_ranks(ranks, level.ranks)
    found.append(Family("GGUF, as Llama 2's", gguf, fallback.backend, fallback.ids))
    found.append(Family("table of pieces", ranks, level.backend, level.ids, level.ranks))
    return found


# ---- tokenizers ----------------------------------------------------------------------------------


def _at_hand(name: str) -> Any | None:
    path = SHARED / "tokenizers" / name / "tokenizer.json"
    return tokenizers.Tokenizer.from_file(str(path)) if path.is_file() else None


def _saved(name: str, backend: Any, folder: Path) -> Family:
    path = folder / f"{name}.json"
    backend.save(str(path))
    ranks = _ranks(backend) if name.startswith("byte level") else {}
    return Family(name, path, backend, _encoded(backend), ranks)


def _encoded(backend: Any) -> list[int]:
    return list(backend.encode(text(), add_special_tokens=False).ids)


def _metaspace() -> Any:
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=4000, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(text()[:300_000].splitlines(), trainer)
    return backend


def _word_piece() -> Any:
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.decoder = tokenizers.decoders.WordPiece(cleanup=True)
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=4000, special_tokens=["[UNK]"], show_progress=False
    )
    backend.train_from_iterator(text().splitlines(), trainer)
    return backend


def _with_suffix() -> Any:
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.decoder = tokenizers.decoders.BPEDecoder(suffix="</w>")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(text().splitlines(), trainer)
    return backend


def _characters() -> Any:
    tokens = ["<unk>", "<pad>", "|", *sorted(set(text()))]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>")
    )
    backend.normalizer = tokenizers.normalizers.Replace(" ", "|")
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    backend.decoder = tokenizers.decoders.CTC()
    return backend


# ---- files of other kinds ------------------------------------------------------------------------


def _write_gguf(path: Path, backend: Any) -> None:
    """The tokens of a tokenizer that falls back to bytes, as llama.cpp has them."""
    import gguf

    added = backend.get_added_tokens_decoder()
    texts = [backend.id_to_token(i) or "" for i in range(backend.get_vocab_size())]
    kinds = [gguf.TokenType.NORMAL] * len(texts)
    for i, token in enumerate(texts):
        if i in added:
            kinds[i] = gguf.TokenType.CONTROL
        elif len(token) == 6 and token.startswith("<0x"):
            kinds[i] = gguf.TokenType.BYTE
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_scores([0.0] * len(texts))
    writer.add_token_types(kinds)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def _ranks(backend: Any) -> dict[bytes, int]:
    """The bytes of a byte-level tokenizer's tokens, and their ids."""
    byte_of = {character: byte for byte, character in enumerate(byte_level_alphabet())}
    vocab = json.loads(backend.to_str())["model"]["vocab"]
    return {
        bytes(byte_of[character] for character in token): i
        for token, i in vocab.items()
        if all(character in byte_of for character in token)
    }


def _write_ranks(path: Path, pieces: dict[bytes, int]) -> None:
    """The same, as tiktoken has them."""
    lines = [
        f"{base64.b64encode(piece).decode()} {i}\n"
        for piece, i in sorted(pieces.items(), key=lambda item: item[1])
    ]
    path.write_text("".join(lines), encoding="ascii")


def tiktoken_of(family: Family) -> Any:
    """The tokenizer of tiktoken with a family's pieces. It is never asked to split text, though it
    has to know by what."""
    import tiktoken

    added = family.backend.get_added_tokens_decoder().items()
    known = set(family.ranks.values())
    special = {token.content: i for i, token in added if i not in known}
    return tiktoken.Encoding(
        family.name, pat_str=r"\S+|\s+", mergeable_ranks=family.ranks, special_tokens=special
    )
