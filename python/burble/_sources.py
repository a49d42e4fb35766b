# SPDX-License-Identifier: MIT
"""Vocabularies of what is no tokenizer of Hugging Face: files, pieces, other libraries' tokenizers.

Files are read by the loaders of the C library (``src/text/load*.c``).
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Callable, NamedTuple

from . import _core


class Found(NamedTuple):
    """A vocabulary, and whether the source's own decode leaves special tokens out by itself."""

    vocabulary: _core.Vocabulary
    skips: bool


def vocabulary_of(source: Any) -> Found | None:
    """The vocabulary of a path, of pieces, or of a tokenizer of tiktoken, sentencepiece or
    mistral-common; None for anything else.

    :raises OSError: for a file that cannot be read.
    :raises ValueError: for a file that is not what it should be; says where and why.
    """
    if isinstance(source, (str, os.PathLike)):
        try:
            return Found(_load(source), False)
        except (FileNotFoundError, IsADirectoryError) as error:
            # What AutoTokenizer.from_pretrained takes, say: a folder, a name on the hub.
            what = (
                f"{error.strerror}: expected the path of a vocabulary's file, such as "
                "tokenizer.json, or a tokenizer that is loaded already"
            )
            raise type(error)(error.errno, what, error.filename) from None
    if isinstance(source, (list, tuple)):
        return Found(_core.Vocabulary.from_pieces(source, ()), False)
    for kind in type(source).__mro__:
        reader = _READERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if reader is not None:
            return _once(source, reader)
    return None


# Of other libraries' tokenizers, with what tells whether they are still what they were.
_cache: weakref.WeakKeyDictionary[Any, tuple[int, Found | None]] = weakref.WeakKeyDictionary()


def _once(source: Any, reader: Callable[[Any], Found | None]) -> Found | None:
    # A SentencePieceProcessor can load another model; the others never change.
    proto = getattr(source, "serialized_model_proto", None)
    state = 0 if proto is None else hash(proto())
    cached = _cache.get(source)
    if cached is None or cached[0] != state:
        cached = state, reader(source)
        _cache[source] = cached
    return cached[1]


# ---- other libraries ---------------------------------------------------------------------------


def _of_tiktoken(encoding: Any) -> Found:
    ranks: dict[bytes, int] = encoding._mergeable_ranks
    special: dict[str, int] = encoding._special_tokens
    pieces: list[bytes | None] = [None] * (
        max([*ranks.values(), *special.values()], default=-1) + 1
    )
    for piece, rank in ranks.items():
        pieces[rank] = piece
    for text, rank in special.items():
        pieces[rank] = text.encode()
    return Found(_core.Vocabulary.from_pieces(pieces, special.values()), False)


def _of_sentencepiece(processor: Any) -> Found:
    model: bytes = processor.serialized_model_proto()
    return Found(_core.Vocabulary.parse_sentencepiece(model, type(processor).__name__), True)


def _of_tekkenizer(tokenizer: Any) -> Found:
    special = [token["token_str"].encode() for token in tokenizer._all_special_tokens]
    ranks: dict[bytes, int] = tokenizer._model._mergeable_ranks
    n = len(special)
    pieces: list[bytes | None] = [*special, *[None] * (max(ranks.values(), default=-1) + 1)]
    for piece, rank in ranks.items():
        pieces[n + rank] = piece
    return Found(_core.Vocabulary.from_pieces(pieces, range(n), True), True)


def _of_mistral(tokenizer: Any) -> Found | None:
    return vocabulary_of(tokenizer.instruct_tokenizer.tokenizer)


def _of_mistral_sentencepiece(tokenizer: Any) -> Found | None:
    return vocabulary_of(tokenizer._model)


# By the package and the name of the class.
_READERS: dict[tuple[str, str], Callable[[Any], Found | None]] = {
    ("tiktoken", "Encoding"): _of_tiktoken,
    ("sentencepiece", "SentencePieceProcessor"): _of_sentencepiece,
    ("mistral_common", "Tekkenizer"): _of_tekkenizer,
    ("mistral_common", "SentencePieceTokenizer"): _of_mistral_sentencepiece,
    ("mistral_common", "MistralTokenizer"): _of_mistral,
}


# ---- files -------------------------------------------------------------------------------------


def _load(path: str | os.PathLike[str]) -> _core.Vocabulary:
    with open(path, "rb") as opened:
        if opened.seekable():
            return _core.Vocabulary.load(path)
        # A pipe: Python's own reading heeds signals while it waits. One byte more is too many.
        data = opened.read(_core.FILE_MAX + 1)
    return _core.Vocabulary.parse(data, os.fsencode(path).decode(errors="replace"))
