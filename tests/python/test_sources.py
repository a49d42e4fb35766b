# SPDX-License-Identifier: MIT
"""Vocabularies from files: what `burble tokens` makes of ids is what the library says whose file it
is.

The exception of a run of byte tokens that is not UTF-8 concerns the tokenizers library alone; there
the ids are chosen so that it does not arise. (tests/python/test_exactness.py has it.)
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import burble, in_binary
from conftest import (
    LONG,
    SAMPLE_TEXT,
    SHARED_FAMILIES,
    require_shared,
    train_byte_fallback,
    train_byte_level,
)
from helpers import NORMALIZED

from burble import Detokenizer

tokenizers = pytest.importorskip("tokenizers")

# Sequences of each vocabulary that is quickly loaded, and of each that is not. So many are given to
# the command, which reads the vocabulary for each; and to the package, which reads it once, MANY
# times as many.
SMALL = 400 if LONG else 40
LARGE = 8 if LONG else 3
MANY = 25 if LONG else 2

pytestmark = [pytest.mark.no_asan, pytest.mark.timeout(3600 if LONG else 120)]

Decode = Callable[[list[int], bool], str]  # ids, and whether special tokens are left out


def tokens(path: Path, ids: list[int], skip: bool) -> str:
    """What the command says."""
    result = burble("tokens", "-b", *["-k"] * skip, str(path), data=in_binary(ids))
    assert (result.returncode, result.stderr) == (0, b"")
    return str(result.stdout.decode())


def compare(
    path: Path,
    decode: Decode,
    choose: Callable[[random.Random, int], list[int]],
    counts: Counter[str],
    n: int,
) -> None:
    """Short sequences and long ones, with special tokens and without."""
    rng = random.Random(str(path.name))

    def check(got: str, ids: list[int], skip: bool) -> None:
        want = decode(ids, skip)
        counts["compared"] += 1
        counts["differ"] += got != want
        assert got == want, ids

    def some_ids() -> list[int]:
        return choose(rng, rng.choice((3, 30, 300)) if n == SMALL else 3000)

    for turn in range(n):
        ids, skip = some_ids(), turn % 2 == 0
        check(tokens(path, ids, skip), ids, skip)
    for turn, options in enumerate(itertools.product((False, True), (0, 8), (False, True))):
        skip, rewind, offsets = options
        detokenizer = Detokenizer(path, skip_special_tokens=skip, rewind=rewind, offsets=offsets)
        for cut in range(turn, MANY * n, 8):
            ids = some_ids()
            check(in_pieces(detokenizer, ids, PIECES[cut // 8 % 3](rng)), ids, skip)


# The whole, one by one, and pieces of random length.
PIECES: tuple[Callable[[random.Random], Iterator[int]], ...] = (
    lambda rng: itertools.repeat(1 << 30),
    lambda rng: itertools.repeat(1),
    lambda rng: iter(lambda: rng.choice((0, 1, 2, 3, 20)), None),
)


def in_pieces(detokenizer: Detokenizer, ids: list[int], lengths: Iterator[int]) -> str:
    text, at = "", 0
    while at < len(ids):
        n = next(lengths)
        text += detokenizer.push(ids[at : at + n])
        at += n
    return text + detokenizer.finish()


def among(ids: list[int], *others: list[int]) -> Callable[[random.Random, int], list[int]]:
    """Chooses among ids, and now and then among others; in runs of one kind."""
    kinds = [ids, *[other for other in others if other]]

    def choose(rng: random.Random, n: int) -> list[int]:
        found: list[int] = []
        while len(found) < n:
            found += rng.choices(rng.choice(kinds), k=rng.randint(1, 8))
        return found[:n]

    return choose


# ---- tokenizers ----------------------------------------------------------------------------------


def raw_decode(backend: Any) -> Decode:
    return lambda ids, skip: str(backend.decode(ids, skip_special_tokens=skip))


def choose_of(backend: Any) -> Callable[[random.Random, int], list[int]]:
    vocab: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    size = max(vocab.values()) + 1
    plain = [i for token, i in vocab.items() if not token.startswith("<0x")]
    added = list(backend.get_added_tokens_decoder())
    return among(plain, added, [size, size + 1, 2**24, 2**31 - 1])


@pytest.mark.parametrize("name", SHARED_FAMILIES)
def test_tokenizer_json_decodes_as_tokenizers(name: str, tally: dict[str, Counter[str]]) -> None:
    path = require_shared(name) / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(path))
    counts = tally.setdefault("sources, tokenizer.json", Counter())
    compare(path, raw_decode(backend), choose_of(backend), counts, LARGE)
    ids = backend.encode(SAMPLE_TEXT).ids
    assert tokens(path, ids, True) == backend.decode(ids)


@NORMALIZED
@pytest.mark.parametrize("train", [train_byte_level, train_byte_fallback])
def test_trained_tokenizer_json_decodes_as_tokenizers(
    train: Callable[[], Any], tmp_path: Path, tally: dict[str, Counter[str]]
) -> None:
    backend = train()
    backend.add_special_tokens(["<|s p|>"])
    path = tmp_path / "tokenizer.json"
    backend.save(str(path))
    counts = tally.setdefault("sources, tokenizer.json", Counter())
    compare(path, raw_decode(backend), choose_of(backend), counts, SMALL)


def charsmap(rule: str) -> bytes:
    """The table of a rule of SentencePiece's: field 2 of field 3 of a model."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SAMPLE_TEXT.splitlines()),
        model_writer=model,
        vocab_size=340,
        hard_vocab_limit=False,
        minloglevel=2,
        normalization_rule_name=rule,
    )

    def field(message: bytes, wanted: int) -> bytes:
        at = 0

        def varint() -> int:
            nonlocal at
            value = shift = 0
            while True:
                value |= (message[at] & 0x7F) << shift
                shift += 7
                at += 1
                if message[at - 1] < 0x80:
                    return value

        while True:
            key = varint()
            size = varint() if key & 7 != 5 else 4
            if key == wanted << 3 | 2:
                return message[at : at + size]
            at += size if key & 7 in (2, 5) else 0

    return field(field(model.getvalue(), 3), 2)


# Each is called with tokenizers.normalizers.
NORMALIZERS: dict[str, Callable[[Any], Any]] = {
    "prepend": lambda n: n.Prepend("\u2581"),
    "replace": lambda n: n.Replace("o", "00"),
    "remove": lambda n: n.Replace("o", ""),
    "overlapping": lambda n: n.Replace("aa", "a"),
    "white space": lambda n: n.Replace(tokenizers.Regex(r"\s+"), " "),
    "spaces": lambda n: n.Replace(tokenizers.Regex(" {2,}"), "\u2581"),
    "regex": lambda n: n.Replace(tokenizers.Regex("[a-z]"), "x"),
    "everywhere": lambda n: n.Replace("", "x"),
    "lowercase": lambda n: n.Lowercase(),
    "NFC": lambda n: n.NFC(),
    "NFD": lambda n: n.NFD(),
    "NFKC": lambda n: n.NFKC(),
    "NFKD": lambda n: n.NFKD(),
    "strip": lambda n: n.Strip(),
    "strip left": lambda n: n.Strip(left=True, right=False),
    "accents": lambda n: n.StripAccents(),
    "nmt": lambda n: n.Nmt(),
    "bert": lambda n: n.BertNormalizer(),
    "bert, cased": lambda n: n.BertNormalizer(lowercase=False),
    "byte level": lambda n: n.ByteLevel(),
    "precompiled": lambda n: n.Precompiled(charsmap("nmt_nfkc")),
    "case folding": lambda n: n.Precompiled(charsmap("nmt_nfkc_cf")),
    "llama": lambda n: n.Sequence([n.Prepend("\u2581"), n.Replace(" ", "\u2581")]),
    "clip": lambda n: n.Sequence(
        [n.NFC(), n.Replace(tokenizers.Regex(r"\s+"), " "), n.Lowercase()]
    ),
    "nested": lambda n: n.Sequence([n.Sequence([n.Lowercase()]), n.Sequence([]), n.Strip()]),
}
# For which nothing is known, whatever the text.
UNKNOWN = ("regex", "everywhere", "byte level")

ADDED_TEXTS = [
    *(
        "<tool>",
        "  Two  Words ",
        "foo.",
        "aaa aaaa",
        "Zoë",
        "zoe\u0308",
        "\ufb01n",
        "中文",
        "中Aé文",
    ),
    *("가나", "\u1112\u1161", "İ", "ΑΣ", "\t", "\u00a0x\u00a0", "q\u0301r", "ｱ", "\u200b", "カ"),
    *("o", "a\x07b"),
]


@NORMALIZED
@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalized_added_token_decodes_as_tokenizers(
    name: str, tmp_path: Path, tally: dict[str, Counter[str]]
) -> None:
    """Or it is refused by name, where that takes tables that are not there."""
    counts = tally.setdefault("sources, added tokens that are normalized", Counter())
    path = tmp_path / "tokenizer.json"
    ids = [1, 2, 3, 0, 4]
    normalizer = NORMALIZERS[name](tokenizers.normalizers)
    for text in ADDED_TEXTS:
        backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, "a"))
        backend.decoder = tokenizers.decoders.Fuse()
        backend.normalizer = normalizer
        backend.add_tokens([tokenizers.AddedToken(text, normalized=True)])
        backend.add_tokens([tokenizers.AddedToken(f"[s]{text}", normalized=True, special=True)])
        backend.add_tokens([tokenizers.AddedToken(f"{text}!", normalized=False)])
        backend.save(str(path))
        for skip in (False, True):
            want = backend.decode(ids, skip_special_tokens=skip)
            for who, decode in (("command", by_command), ("package", by_package)):
                got = decode(path, ids, skip)
                if got is None:
                    assert text != "<tool>" or name in UNKNOWN
                    counts[f"refused by the {who}"] += 1
                    continue
                counts["compared"] += 1
                counts["differ"] += got != want
                assert got == want, text


# What both say.
NOT_SUPPORTED = r"normalizer\S* \(.*\) is not supported for the normalized .*"


def by_command(path: Path, ids: list[int], skip: bool) -> str | None:
    """None where it refuses a token that is normalized."""
    data = " ".join(map(str, ids)).encode()
    result = burble("tokens", *["-k"] * skip, str(path), data=data)
    if result.returncode != 0:
        assert re.search(NOT_SUPPORTED.encode(), result.stderr.strip())
        return None
    return str(result.stdout.decode())


def by_package(path: Path, ids: list[int], skip: bool) -> str | None:
    """The same."""
    try:
        detokenizer = Detokenizer(path, skip_special_tokens=skip)
    except ValueError as error:
        message = str(error)
    else:
        return detokenizer.push(ids) + detokenizer.finish()
    assert re.search(NOT_SUPPORTED, message)
    return None


# ---- tiktoken ------------------------------------------------------------------------------------


def test_rank_file_decodes_as_tiktoken(tmp_path: Path, tally: dict[str, Counter[str]]) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    data = SAMPLE_TEXT.encode()
    for n in (2, 3, 5, 9):  # pieces of text, most of which are not whole characters
        for at in range(0, len(data) - n, n):
            ranks.setdefault(data[at : at + n], len(ranks))
    encoding = tiktoken.Encoding(
        "test", pat_str=r"\s+|\S+", mergeable_ranks=ranks, special_tokens={}
    )
    path = tmp_path / "test.tiktoken"
    path.write_bytes(b"".join(base64.b64encode(t) + b" %d\n" % n for t, n in ranks.items()))
    counts = tally.setdefault("sources, tiktoken", Counter())
    choose = among(list(range(len(ranks))), list(range(256)), list(range(0xC2, 0xF5)))
    compare(path, lambda ids, skip: str(encoding.decode(ids)), choose, counts, SMALL)
    assert tokens(path, encoding.encode(SAMPLE_TEXT), False) == SAMPLE_TEXT


# ---- SentencePiece -------------------------------------------------------------------------------

SENTENCEPIECE: dict[str, dict[str, Any]] = {
    "unigram": {"model_type": "unigram"},
    "bpe": {"model_type": "bpe"},
    "byte fallback": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 600},
    "no prefix": {"add_dummy_prefix": False},
    "extra spaces": {"remove_extra_whitespaces": False},
    "no prefix, extra spaces": {
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "byte_fallback": True,
        "vocab_size": 600,
    },
    "prefix, extra spaces, bytes": {
        "remove_extra_whitespaces": False,
        "byte_fallback": True,
        "vocab_size": 600,
    },
    "symbols": {
        "user_defined_symbols": ["<tool>", "\u2581\u2581", "\u2581a\u2581", " x"],
        "control_symbols": ["<ctl>"],
        "unk_surface": "?!",
    },
    "suffix": {"treat_whitespace_as_suffix": True},
}


def train_sentencepiece(folder: Path, kind: str) -> tuple[Path, Any]:
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = folder / "test"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SAMPLE_TEXT.splitlines() * 3),
        model_prefix=str(prefix),
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 340, **SENTENCEPIECE[kind]},
    )
    path = prefix.with_suffix(".model")
    return path, sentencepiece.SentencePieceProcessor(model_file=str(path))


@pytest.mark.parametrize("kind", SENTENCEPIECE)
def test_sentencepiece_model_decodes_as_sentencepiece(
    kind: str, tmp_path: Path, tally: dict[str, Counter[str]]
) -> None:
    path, model = train_sentencepiece(tmp_path, kind)
    size = model.vocab_size()
    everything = list(range(size))
    choose = among(
        everything,
        [i for i in everything if model.is_byte(i)],
        [i for i in everything if model.is_control(i) or model.is_unknown(i)],
        [i for i in everything if model.id_to_piece(i).startswith("\u2581")],
    )
    counts = tally.setdefault("sources, SentencePiece", Counter())
    compare(path, lambda ids, skip: str(model.decode(ids)), choose, counts, SMALL)
    ids = model.encode(SAMPLE_TEXT)
    assert tokens(path, ids, False) == model.decode(ids)


def test_skipped_control_piece_breaks_character(tmp_path: Path) -> None:
    path, model = train_sentencepiece(tmp_path, "byte fallback")
    first, second = (model.piece_to_id(f"<0x{byte:02X}>") for byte in "é".encode())
    ids = [first, model.bos_id(), second]
    assert tokens(path, ids, False) == model.decode(ids)
    assert tokens(path, ids, True) == model.decode(ids)


# ---- GGUF ----------------------------------------------------------------------------------------


def write_gguf(path: Path, backend: Any, model: str, space_prefix: bool | None) -> None:
    gguf = pytest.importorskip("gguf")
    kinds = gguf.TokenType
    added = backend.get_added_tokens_decoder()
    texts, types = [], []
    for i in range(backend.get_vocab_size()):
        text = backend.id_to_token(i)
        kind = kinds.NORMAL
        if i in added:
            kind = kinds.CONTROL if added[i].special else kinds.USER_DEFINED
        elif model == "llama" and text.startswith("<0x"):
            kind = kinds.BYTE
        texts.append(text)
        types.append(kind)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(texts)
    writer.add_token_scores([0.0] * len(texts))
    writer.add_token_types(types)
    if space_prefix is not None:
        writer.add_add_space_prefix(space_prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def without_strip(backend: Any) -> Any:
    described = json.loads(backend.to_str())
    described["decoder"]["decoders"].pop()
    return tokenizers.Tokenizer.from_str(json.dumps(described))


@pytest.mark.parametrize(
    ("model", "space_prefix"), [("gpt2", None), ("llama", None), ("llama", True), ("llama", False)]
)
def test_gguf_file_decodes_as_its_tokenizer(
    model: str, space_prefix: bool | None, tmp_path: Path, tally: dict[str, Counter[str]]
) -> None:
    backend = train_byte_level() if model == "gpt2" else train_byte_fallback()
    if space_prefix is False:
        backend = without_strip(backend)
    path = tmp_path / "test.gguf"
    write_gguf(path, backend, model, space_prefix)
    counts = tally.setdefault("sources, GGUF", Counter())
    # Added tokens are user-defined or control tokens of the file: text as it is. In the
    # tokenizers library, those go through the decoder as well (tests/llama/test_pieces.py).
    added = backend.get_added_tokens_decoder()
    as_they_are = {
        i: backend.decode([i], skip_special_tokens=False) == backend.id_to_token(i) for i in added
    }
    of_all = choose_of(backend)

    def choose(rng: random.Random, n: int) -> list[int]:
        return [i for i in of_all(rng, n) if as_they_are.get(i, True)]

    compare(path, raw_decode(backend), choose, counts, SMALL)
    ids = backend.encode("".join(c for c in SAMPLE_TEXT if c.isascii())).ids
    assert tokens(path, ids, True) == backend.decode(ids)


# ---- Tekken --------------------------------------------------------------------------------------


def tekken_files() -> list[Path]:
    """mistral-common's own."""
    mistral_common = pytest.importorskip("mistral_common")
    return sorted((Path(mistral_common.__file__).parent / "data").glob("tekken_*.json"))


@functools.cache
def tekkenizer(path: Path) -> tuple[Any, Any]:
    module = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
    return module.Tekkenizer.from_file(path), module.SpecialTokenPolicy


def decode_tekken(path: Path, ids: list[int], skip: bool) -> str:
    tekken, policy = tekkenizer(path)
    return str(tekken.decode(ids, policy.IGNORE if skip else policy.KEEP))


def small_tekken(folder: Path) -> Path:
    """One with few tokens, which is loaded quickly: the beginning of mistral-common's own."""
    described = json.loads(tekken_files()[0].read_text())
    described["config"].update(default_vocab_size=1500, default_num_special_tokens=100)
    described["vocab"] = described["vocab"][:1400]
    path = folder / "tekken.json"
    path.write_text(json.dumps(described))
    return path


def test_tekken_file_decodes_as_mistral_common(
    tmp_path: Path, tally: dict[str, Counter[str]]
) -> None:
    counts = tally.setdefault("sources, Tekken", Counter())
    path = small_tekken(tmp_path)
    decode = functools.partial(decode_tekken, path)
    choose = among(list(range(100, 1500)), list(range(100, 356)), list(range(100)))
    compare(path, decode, choose, counts, SMALL)
    tekken, _ = tekkenizer(path)
    ids = tekken.encode(SAMPLE_TEXT, bos=True, eos=True)
    assert tokens(path, ids, False) == f"<s>{SAMPLE_TEXT}</s>"
    assert tokens(path, ids, True) == SAMPLE_TEXT


def test_skipped_special_token_breaks_character(tmp_path: Path) -> None:
    """As mistral-common decodes each run between special tokens by itself."""
    path = small_tekken(tmp_path)
    special, (first, second) = 3, (100 + byte for byte in "é".encode())
    ids = [first, special, second]
    assert tokens(path, ids, False) == decode_tekken(path, ids, False)
    assert tokens(path, ids, True) == decode_tekken(path, ids, True)


def test_files_of_mistral_common_decode_as_mistral_common(tally: dict[str, Counter[str]]) -> None:
    counts = tally.setdefault("sources, Tekken", Counter())
    for path in tekken_files()[: None if LONG else 1]:
        tekken, _ = tekkenizer(path)
        choose = among(list(range(1000, tekken.n_words)))
        compare(path, functools.partial(decode_tekken, path), choose, counts, LARGE)
