# SPDX-License-Identifier: MIT
"""Vocabularies of what is no tokenizer of Hugging Face: files, pieces, other libraries' tokenizers.

GGUF files, tiktoken's ranks and SentencePiece models are read in C, JSON files here, by the rules
of ``src/text/load_hf.c`` and ``load_tekken.c``.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import weakref
from typing import Any, Callable, NamedTuple, NoReturn

from . import _core
from ._normalizers import normalized
from ._steps import PLAIN_STEPS, Step, literal_of

# How much of a JSON file is read, in bytes, as in src/text/load.h.
_FILE_MAX = 256 << 20
# Ids up to here are fine in a file of any size; beyond it, there are no more of them than the file
# has bytes.
_ALWAYS_FINE = 1 << 16
# How deep sequences of decoders go.
_DEPTH_MAX = 16

_SCHEMES = ("always", "first", "never")

# The last version of Tekken's format whose files may leave the special tokens out, and which those
# are, then: DEPRECATED_SPECIAL_TOKENS of mistral-common.
_LAST_WITHOUT_SPECIAL = 7
_IMPLIED = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)


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
        begin = opened.read(4096)
        if not begin.lstrip(b" \t\r\n").startswith(b"{"):
            if not opened.seekable():  # what was read is gone, and who opens it again may wait
                raise ValueError(
                    f"{os.fsdecode(path)}: expected a file where it is not JSON, found a pipe"
                )
            return _core.Vocabulary.load(path)
        data = begin + opened.read(_FILE_MAX + 1 - len(begin))
    file = _JsonFile(os.fsdecode(path), len(data))
    try:
        return _read_json(file, data)
    except _WrongError as error:
        message = str(error)
    except UnicodeEncodeError as error:
        surrogate = error.object[error.start]
        message = f"{file.name}: expected Unicode, found the surrogate {surrogate!a}"
    except RecursionError:  # of reading JSON, and of showing what was read
        message = f"{file.name}: expected JSON, found it nested too deep"
    except (NotImplementedError, OverflowError, ValueError) as error:  # of _core.Vocabulary
        message = f"{file.name}: {error}"
    raise ValueError(message)


def _read_json(file: _JsonFile, data: bytes) -> _core.Vocabulary:
    if len(data) > _FILE_MAX:
        file.fail(f"expected a file of at most {_FILE_MAX >> 20} MiB, found a larger one")
    try:
        root = json.loads(data.decode())
    except UnicodeDecodeError as error:
        file.fail(f"byte {error.start}: expected UTF-8, found {data[error.start]:#04x}")
    except json.JSONDecodeError as error:
        file.fail(f"line {error.lineno}, column {error.colno}: expected JSON: {error.msg}")
    if "model" in root:
        return _read_tokenizer_json(file, root)
    if "config" in root and "vocab" in root:
        return _read_tekken(file, root)
    found = ", ".join(list(root)[:8]) or "none"
    return file.fail(
        "expected the members of tokenizer.json (model) or of Tekken (config, vocab), found "
        + found[:100]
    )


def _show(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else text[:59] + "…"


_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    bool: "a boolean",
}


class _WrongError(Exception):
    """What is wrong with a file, and where."""


class _JsonFile:
    """A file's name, for messages, and the bound that its size puts on ids."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.ids = max(size, _ALWAYS_FINE)

    def fail(self, what: str) -> NoReturn:
        raise _WrongError(f"{self.name}: {what}") from None

    def expected(self, path: str, what: str, found: Any) -> NoReturn:
        self.fail(f"{path}: expected {what}, found {_show(found)}")

    def member(self, parent: Any, path: str, key: str, kind: type) -> Any:
        """A member of an object, of that type."""
        if not isinstance(parent, dict):
            self.expected(path, "an object", parent)
        value = parent.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.expected(f"{path}.{key}" if path else key, _TYPES[kind], value)
        return value

    def count(self, parent: Any, path: str, key: str, most: int) -> int:
        value = self.member(parent, path, key, int)
        if not 0 <= value <= most:
            self.expected(f"{path}.{key}", f"an integer from 0 to {most}", value)
        return int(value)


# ---- tokenizer.json ----------------------------------------------------------------------------


def _read_tokenizer_json(file: _JsonFile, root: dict[str, Any]) -> _core.Vocabulary:
    decoder = root.get("decoder")
    steps = [] if decoder is None else _read_decoder(file, decoder, "decoder", 0)
    vocab = file.member(root, "", "model", dict).get("vocab")
    tokens = _read_tokens(file, vocab)
    by_text = {text: i for i, text in tokens.items()}  # the last one, for pieces that are twice
    added = root.get("added_tokens", [])
    if not isinstance(added, list):
        file.expected("added_tokens", "an array", added)
    texts, special = _read_added(file, added, by_text, len(vocab), root.get("normalizer"))
    tokens.update(texts)
    return _core.Vocabulary(
        steps,
        tokens,
        [i for i, text in tokens.items() if text in special],
        " " if decoder is None else None,
    )


def _read_tokens(file: _JsonFile, vocab: Any) -> dict[int, str]:
    tokens: dict[int, str] = {}
    if isinstance(vocab, dict):
        for text, i in vocab.items():
            if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < file.ids:
                what = f"an id from 0 to {file.ids - 1} (in a file of this size)"
                file.expected(f"model.vocab[{_show(text)}]", what, i)
            if i in tokens:
                file.fail(
                    f"model.vocab: expected each id once, found {i} for {_show(tokens[i])} "
                    f"and for {_show(text)}"
                )
            tokens[i] = text
    elif isinstance(vocab, list):  # Unigram: [token, score], in the order of the ids
        for i, pair in enumerate(vocab):
            is_pair = isinstance(pair, list) and len(pair) == 2
            if not is_pair or not isinstance(pair[0], str):
                file.expected(f"model.vocab[{i}]", "an array of a token and its score", pair)
            tokens[i] = pair[0]
    else:
        file.expected("model.vocab", "an object or an array", vocab)
    return tokens


def _read_added(
    file: _JsonFile, added: list[Any], known: dict[str, int], size: int, normalizer: Any
) -> tuple[dict[int, str], set[str]]:
    """The added tokens, and the texts of special ones.

    The tokenizers library gives an added token the model's id where the model has its text, else
    the next free one. It does not look at the id in the file; where it wrote that, both are the
    same. It spells one that is normalized as its normalizer makes it.
    """
    tokens: dict[int, str] = {}
    taken: set[str] = set()
    special: set[str] = set()
    largest = -1
    for n, token in enumerate(added):
        path = f"added_tokens[{n}]"
        text = file.member(token, path, "content", str)
        file.count(token, path, "id", (1 << 24) - 1)
        if not text:
            continue
        if token.get("special") is True:
            special.add(text)
        if text in taken:
            continue
        taken.add(text)
        i = known.get(text, max(largest + 1, size))
        largest = max(largest, i)
        if token.get("normalized") is True:
            try:
                text = normalized(normalizer, text)
            except ValueError as error:
                file.fail(f"{path}: {error}")
        tokens[i] = text
    return tokens, special


def _read_decoder(file: _JsonFile, decoder: Any, path: str, depth: int) -> list[Step]:
    kind = file.member(decoder, path, "type", str)
    if kind != "Sequence":
        return [_read_step(file, decoder, path, kind)]
    if depth == _DEPTH_MAX:
        file.fail(f"{path}: expected at most {_DEPTH_MAX} sequences in one another, found more")
    parts = file.member(decoder, path, "decoders", list)
    steps: list[Step] = []
    for n, part in enumerate(parts):
        steps += _read_decoder(file, part, f"{path}.decoders[{n}]", depth + 1)
    return steps


def _read_step(file: _JsonFile, decoder: dict[str, Any], path: str, kind: str) -> Step:
    def text(key: str) -> str:
        value: str = file.member(decoder, path, key, str)
        return value

    def character(key: str) -> str:
        value = text(key)
        if len(value) != 1:
            file.expected(f"{path}.{key}", "one character", value)
        return value

    def flag(key: str) -> bool:
        return bool(file.member(decoder, path, key, bool))

    def count(key: str) -> int:
        return file.count(decoder, path, key, (1 << 32) - 1)

    if kind in PLAIN_STEPS:
        return (PLAIN_STEPS[kind],)
    if kind == "Replace":
        pattern = file.member(decoder, path, "pattern", dict)
        regex = pattern.get("Regex")
        if regex is None:
            old = file.member(pattern, f"{path}.pattern", "String", str)
        else:
            old = literal_of(file.member(pattern, f"{path}.pattern", "Regex", str))
            if old is None:
                file.expected(f"{path}.pattern", "a plain string to replace", regex)
        return ("replace", old, text("content"))
    if kind == "Strip":
        return ("strip", character("content"), None, count("start"), count("stop"))
    if kind == "Metaspace":
        scheme = decoder.get("prepend_scheme", "always")
        if scheme not in _SCHEMES:
            file.expected(f"{path}.prepend_scheme", '"always", "first" or "never"', scheme)
        if decoder.get("add_prefix_space") is False and scheme != "never":
            what = '"never", as add_prefix_space is false'
            file.expected(f"{path}.prepend_scheme", what, decoder.get("prepend_scheme"))
        return ("metaspace", character("replacement"), None, 0, 0, scheme != "never")
    if kind == "WordPiece":
        return ("wordpiece", text("prefix"), None, 0, 0, flag("cleanup"))
    if kind == "BPEDecoder":
        return ("bpe", text("suffix"))
    if kind != "CTC":
        file.expected(f"{path}.type", "a decoder that burble knows", kind)
    return ("ctc", text("pad_token"), text("word_delimiter_token"), 0, 0, flag("cleanup"))


# ---- tekken.json -------------------------------------------------------------------------------


def _read_tekken(file: _JsonFile, root: dict[str, Any]) -> _core.Vocabulary:
    config = file.member(root, "", "config", dict)
    size = file.count(config, "config", "default_vocab_size", file.ids)
    n = file.count(config, "config", "default_num_special_tokens", size)
    special = _read_special(file, root.get("special_tokens"), config.get("version"))
    if len(special) > n:
        file.fail(
            f"special_tokens: expected at most {n} (config.default_num_special_tokens), found "
            f"{len(special)}"
        )
    special += [f"<SPECIAL_{i}>" for i in range(len(special), n)]
    vocab = file.member(root, "", "vocab", list)
    if len(vocab) < size - n:
        file.fail(
            f"vocab: expected at least {size - n} tokens (config.default_vocab_size less the "
            f"special ones), found {len(vocab)}"
        )
    pieces = [text.encode() for text in special]
    for i, token in enumerate(vocab[: size - n]):
        path = f"vocab[{i}]"
        _check_rank(file, token, path, i)
        text = file.member(token, path, "token_bytes", str)
        try:
            pieces.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            file.expected(f"{path}.token_bytes", "Base64", text)
    return _core.Vocabulary.from_pieces(pieces, range(n), True)


def _read_special(file: _JsonFile, special: Any, version: Any) -> list[str]:
    if special is None:
        found = re.match(r"v(\d{1,9})", version) if isinstance(version, str) else None
        if found is not None and int(found[1]) <= _LAST_WITHOUT_SPECIAL:
            return list(_IMPLIED)
    if not isinstance(special, list):
        file.expected("special_tokens", "an array", special)
    texts = []
    for i, token in enumerate(special):
        path = f"special_tokens[{i}]"
        text = file.member(token, path, "token_str", str)
        _check_rank(file, token, path, i)
        texts.append(text)
    return texts


def _check_rank(file: _JsonFile, token: Any, path: str, i: int) -> None:
    """Whether an entry's rank is its place, which is what mistral-common goes by."""
    rank = file.member(token, path, "rank", int)
    if rank != i:
        file.expected(f"{path}.rank", f"its place, {i}", rank)
