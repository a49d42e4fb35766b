# SPDX-License-Identifier: MIT
"""The tokenizers, the vocabulary files and the text that decoding is measured with.

Those of large models and the corpora are in ../shared, which a clone may lack. In their place stand
the shipped model's tokenizer, one that is trained here, and the text of the documentation.
"""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
from benchmark import MODEL, ROOT, SHARED
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode


@dataclass(frozen=True)
class Vocabulary:
    """A file that burble loads, the tokenizer that decodes in the same way, and ids of the text."""

    name: str
    path: Path
    tokenizer: Any
    ids: list[int]
    ranks: dict[bytes, int] = field(default_factory=dict)  # for tiktoken, which needs byte level


@functools.cache
def corpus() -> str:
    """Return the text."""
    found = sorted((SHARED / "corpus").glob("*.txt")) or sorted((ROOT / "docs").rglob("*.md"))
    return "".join(path.read_text(encoding="utf-8") for path in found)


def byte_level(name: str = "gpt2") -> Any:
    """Return a large model's byte-level tokenizer, or the shipped model's."""
    return _shared(name) or tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def byte_fallback(name: str = "llama2") -> Any:
    """Return a large model's tokenizer with byte fallback, or a trained one."""
    return _shared(name) or _train_byte_fallback(corpus())


def vocabularies(folder: Path, text: str) -> list[Vocabulary]:
    """Return one of each kind, with the ids of the text; the files are written to ``folder``."""
    backends = {
        "byte level, gpt2": byte_level("gpt2"),
        "byte level, llama3": byte_level("llama3"),
        "byte fallback, llama2": byte_fallback("llama2"),
        "byte fallback, phi3": byte_fallback("phi3"),
        "Metaspace": _train_metaspace(text),
        "WordPiece": _train_word_piece(text),
        "BPEDecoder": _train_with_suffix(text),
        "CTC": _characters(text),
    }
    found = []
    for name, backend in backends.items():
        path = folder / f"{name}.json"
        backend.save(str(path))
        ids = list(backend.encode(text, add_special_tokens=False).ids)
        ranks = _ranks(backend) if name.startswith("byte level") else {}
        found.append(Vocabulary(name, path, backend, ids, ranks))
    level, fallback = found[0], found[2]
    gguf, ranks_file = folder / "fallback.gguf", folder / "pieces.tiktoken"
    _write_gguf(gguf, fallback.tokenizer)
    _write_ranks(ranks_file, level.ranks)
    return [
        *found,
        Vocabulary("GGUF, as Llama 2's", gguf, fallback.tokenizer, fallback.ids),
        Vocabulary("table of pieces", ranks_file, level.tokenizer, level.ids, level.ranks),
    ]


# ---- tokenizers ----------------------------------------------------------------------------------


def _shared(name: str) -> Any | None:
    path = SHARED / "tokenizers" / name / "tokenizer.json"
    return tokenizers.Tokenizer.from_file(str(path)) if path.is_file() else None


def _train_byte_fallback(text: str) -> Any:
    """As Llama 2's: a token for each byte, U+2581 for spaces, the first space stripped."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=4000, limit_alphabet=100, special_tokens=["<unk>"], show_progress=False
    )
    backend.train_from_iterator(text.splitlines(), trainer)
    described = json.loads(backend.to_str())
    vocab = described["model"]["vocab"]
    vocab.update({f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)})
    described["model"].update(byte_fallback=True, fuse_unk=True)
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    steps = [
        decoders.Replace("\u2581", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    backend.decoder = decoders.Sequence(steps)
    return backend


def _train_metaspace(text: str) -> Any:
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=4000, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(text[:300_000].splitlines(), trainer)
    return backend


def _train_word_piece(text: str) -> Any:
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=True)
    trainer = trainers.WordPieceTrainer(
        vocab_size=4000, special_tokens=["[UNK]"], show_progress=False
    )
    backend.train_from_iterator(text.splitlines(), trainer)
    return backend


def _train_with_suffix(text: str) -> Any:
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(text.splitlines(), trainer)
    return backend


def _characters(text: str) -> Any:
    tokens = ["<unk>", "<pad>", "|", *sorted(set(text))]
    backend = tokenizers.Tokenizer(
        models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>")
    )
    backend.normalizer = normalizers.Replace(" ", "|")
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    backend.decoder = decoders.CTC()
    return backend


# ---- files of other kinds ------------------------------------------------------------------------


def _write_gguf(path: Path, backend: Any) -> None:
    """Write the tokens of a tokenizer with byte fallback as llama.cpp has them."""
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
    """Return the bytes of a byte-level tokenizer's tokens, and their ids."""
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    vocab = json.loads(backend.to_str())["model"]["vocab"]
    return {
        bytes(byte_of[character] for character in token): i
        for token, i in vocab.items()
        if all(character in byte_of for character in token)
    }


def _write_ranks(path: Path, pieces: dict[bytes, int]) -> None:
    """Write them as tiktoken has them."""
    lines = [
        f"{base64.b64encode(piece).decode()} {i}\n"
        for piece, i in sorted(pieces.items(), key=lambda item: item[1])
    ]
    path.write_text("".join(lines), encoding="ascii")


def tiktoken_of(vocabulary: Vocabulary) -> Any:
    """Return tiktoken's tokenizer with the same pieces. It has to know a pattern by which to split
    text, but never splits any."""
    import tiktoken

    added = vocabulary.tokenizer.get_added_tokens_decoder().items()
    known = set(vocabulary.ranks.values())
    special = {token.content: i for i, token in added if i not in known}
    return tiktoken.Encoding(
        vocabulary.name,
        pat_str=r"\S+|\s+",
        mergeable_ranks=vocabulary.ranks,
        special_tokens=special,
    )
