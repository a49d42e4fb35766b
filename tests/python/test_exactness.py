# SPDX-License-Identifier: MIT
"""Every kind of decoder, as exact as the tokenizers library itself.

What is expected is always what the library's own decode says. The one documented exception, a run
of byte tokens that is not UTF-8, is put to the library, too: with a U+FFFD token in the place of
each byte that is not part of a character.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import (
    LONG,
    SAMPLE_TEXT,
    SHARED_FAMILIES,
    byte_level_alphabet,
    fast,
    require_shared,
    train_byte_fallback,
    train_byte_level,
)

import burble

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

# Each is compared with each of the ways to decode (see `ways`).
EXAMPLES = 10_000 if LONG else 75
TEXT_LENGTH = 100_000 if LONG else 2000

pytestmark = [pytest.mark.no_asan, pytest.mark.timeout(3600 if LONG else 120)]

# ---- families ------------------------------------------------------------------------------------

# What decoders take for something else than text, or nearly.
# fmt: off
NASTY = (
    "", " ", "  ", "\n", " \n", "a", "aa", "aaa", "b", "ab", "ba", "x", "xx", "a.b", "a+b", ".",
    "\u2581", "\u2581\u2581", "\u2581\u2581\u2581a", "\u2581a", "a\u2581", "a\u2581b", "Ġ", "Ġa",
    "é", "Ã", "©", "\ufffd", "\ufffdx", "x\ufffd", "中", "👍", "\u0301", "ー", "##", "##a", "##.",
    "a##", "####", "</w>", "a</w>", "</w>a", "</w></w>", "<pad>", "|", "||", "a|", "|a", "<pad>a",
    " .", " ?", "?", "!", ",", "'", " '", "' ", " ' ", "n't", " n't", "'m", " 'm", "'s", " 's",
    "s", "t", "n", "'ve", " 've", "ve", "'re", " re", " do not", "do", "not", "<0x41>", "<0xe4>",
    "<0x+9>", "<0xC3>", "<0xA9>", "<0x4>", "<0xGG>",
)
# fmt: on
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2}|\+[0-9A-Fa-f])>")


def step(kind: str, **kwargs: Any) -> dict[str, Any]:
    """A decoder as it stands in tokenizer.json."""
    return {"type": kind, **kwargs}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return step("Sequence", decoders=list(steps))


def replace(text: str, content: str) -> dict[str, Any]:
    return step("Replace", pattern={"String": text}, content=content)


def replace_regex(regex: str, content: str) -> dict[str, Any]:
    return step("Replace", pattern={"Regex": regex}, content=content)


def strip(content: str, start: int, stop: int) -> dict[str, Any]:
    return step("Strip", content=content, start=start, stop=stop)


def metaspace(scheme: str, replacement: str = "\u2581") -> dict[str, Any]:
    return step("Metaspace", replacement=replacement, prepend_scheme=scheme, split=True)


def word_piece(cleanup: bool) -> dict[str, Any]:
    return step("WordPiece", prefix="##", cleanup=cleanup)


def ctc(cleanup: bool) -> dict[str, Any]:
    return step("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=cleanup)


BYTE_LEVEL = step("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
BYTE_FALLBACK = step("ByteFallback")
FUSE = step("Fuse")
SPACES = replace("\u2581", " ")
CONTRACTION = replace(" n't", "n't")


def train_word_piece() -> Any:
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    backend.train_from_iterator([SAMPLE_TEXT], trainer)
    return backend


def train_unigram() -> Any:
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(SAMPLE_TEXT.splitlines(), trainer)
    return backend


def train_with_suffix() -> Any:
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "</s>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(SAMPLE_TEXT.splitlines(), trainer)
    return backend


def characters() -> Any:
    """One token for each character, and a delimiter for a space."""
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(
            {t: i for i, t in enumerate(["<unk>", "<pad>", "|", *sorted(set(SAMPLE_TEXT))])},
            unk_token="<unk>",
        )
    )
    backend.normalizer = tokenizers.normalizers.Replace(" ", "|")
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    return backend


def strippable() -> Any:
    """No token that is too short for a decoder that strips: the library panics at those."""
    tokens = ["<unk>", "Qa", "aQ", "QQaQQ", "QQQaQQQ", "QaQbQ", "QQa", "aQQ", "b", " b ", "中Q"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<unk>"))


@functools.cache
def described(train: Callable[[], Any]) -> str:
    """A trained tokenizer as JSON, with nasty tokens, some of them behind a hole."""
    made: dict[str, Any] = json.loads(train().to_str())
    vocab = made["model"]["vocab"]
    if isinstance(vocab, list):  # of Unigram, where there is no room for holes
        known = {token for token, _ in vocab}
        vocab += [[token, -20.0] for token in NASTY if token not in known]
        return json.dumps(made)
    for n, token in enumerate(NASTY if train is not strippable else []):
        vocab.setdefault(token, max(vocab.values()) + (5 if n == len(NASTY) - 4 else 1))
    return json.dumps(made)


def construct(train: Callable[[], Any], decoder: dict[str, Any] | None) -> Any:
    """The tokenizer with a decoder, and with added tokens, special and not."""
    text = json.loads(described(train))
    text["decoder"] = decoder
    backend = tokenizers.Tokenizer.from_str(json.dumps(text))
    backend.add_special_tokens(["<|s p|>", "</s>", " lead", "x", "Ġé"])
    backend.add_tokens(["<tool>", "añadido", "trail ", "\u2581y", "don't", ".\u2581", "##z"])
    return backend


FAMILIES: dict[str, tuple[Callable[[], Any], dict[str, Any] | None]] = {
    "byte level": (train_byte_level, BYTE_LEVEL),
    "byte level in a sequence": (train_byte_level, sequence(BYTE_LEVEL, FUSE)),
    "byte level, then replace": (train_byte_level, sequence(BYTE_LEVEL, replace("a b", "ab"))),
    "byte fallback": (
        train_byte_fallback,
        sequence(SPACES, BYTE_FALLBACK, FUSE, strip(" ", 1, 0)),
    ),
    "byte fallback alone": (train_byte_fallback, BYTE_FALLBACK),
    "byte fallback without strip": (train_byte_fallback, sequence(SPACES, BYTE_FALLBACK, FUSE)),
    "byte fallback, Metaspace": (
        train_byte_fallback,
        sequence(BYTE_FALLBACK, metaspace("always")),
    ),
    "Metaspace always": (train_unigram, metaspace("always")),
    "Metaspace first": (train_unigram, metaspace("first")),
    "Metaspace never": (train_unigram, metaspace("never")),
    "Metaspace with an underscore": (train_byte_fallback, metaspace("first", "a")),
    "WordPiece": (train_word_piece, word_piece(False)),
    "WordPiece with cleanup": (train_word_piece, word_piece(True)),
    "BPEDecoder": (train_with_suffix, step("BPEDecoder", suffix="</w>")),
    "CTC": (characters, ctc(False)),
    "CTC with cleanup": (characters, ctc(True)),
    "Replace a string": (train_byte_fallback, SPACES),
    "Replace a longer string": (train_byte_fallback, replace("aa", "b")),
    "Replace by nothing": (train_byte_fallback, replace("ab", "")),
    "Replace a regex": (train_byte_fallback, replace_regex("\u2581", " ")),
    "Replace an escaped regex": (train_byte_fallback, replace_regex(r"a\.b", "a.c")),
    "Replace in the whole": (train_byte_fallback, sequence(FUSE, replace("aba", "c"))),
    "Replace after replace": (
        train_byte_fallback,
        sequence(FUSE, replace("ab", "ba"), replace("aa", "")),
    ),
    "Strip": (train_unigram, strip("\u2581", 1, 0)),
    "Strip on both sides": (strippable, strip("Q", 2, 1)),
    "Strip the whole": (train_unigram, sequence(SPACES, FUSE, strip(" ", 2, 0))),
    "Strip the whole's end": (train_unigram, sequence(SPACES, FUSE, strip(" ", 1, 2))),
    "Fuse": (train_unigram, FUSE),
    "nested sequences": (
        train_byte_fallback,
        sequence(sequence(SPACES, sequence(BYTE_FALLBACK)), sequence(FUSE, strip(" ", 1, 0))),
    ),
    "an empty sequence": (train_unigram, sequence()),
    "many steps": (
        train_unigram,
        sequence(SPACES, strip("a", 1, 0), FUSE, CONTRACTION, replace(" .", "."), strip(" ", 1, 0)),
    ),
    "no decoder": (train_byte_fallback, None),
}
# They replace across tokens. Who does not hold back what may be replaced is wrong, if he is early.
ACROSS = ("Replace in the whole", "Replace after replace")
# The library itself panics at a text that is shorter than what may be stripped from its end.
PANICS = "Strip the whole's end"


@dataclass
class Subject:
    """A tokenizer with the ids that make sequences hard."""

    backend: Any
    ids: list[int]
    kinds: list[list[int]]  # to choose ids from
    byte_of: dict[int, int]  # the byte tokens of a decoder that falls back to bytes
    piece_of: dict[int, int]  # the token for a byte, in either manner
    special: set[int]
    replacement: int | None  # the id of U+FFFD

    def ids_of(self, data: bytes) -> list[int]:
        """Random bytes as ids of many kinds: three bytes each."""
        found: list[int] = []
        for at in range(0, len(data) - 2, 3):
            kind, n = data[at], data[at + 1] << 8 | data[at + 2]
            if kind >= 250 and self.piece_of:  # a character in pieces, with or without its end
                character = "é中€한👍𠀀\n \ufffd"[n % 9].encode()
                pieces = [self.piece_of[b] for b in character if b in self.piece_of]
                found += pieces[: n // 9 % 4 + 1]
            else:
                ids = self.kinds[kind % len(self.kinds)]
                found.append(ids[n % len(ids)])
        return found

    def excepted(self, ids: list[int], skip: bool) -> list[int] | None:
        """With U+FFFD for each byte token that is not part of a character; None: there is none."""
        result: list[int] = []
        run: list[int] = []

        def end_run() -> None:
            data = bytes(self.byte_of[i] for i in run)
            for i, valid in zip(run, parts_of_characters(data)):
                assert self.replacement is not None
                result.append(i if valid else self.replacement)
            run.clear()

        kept = [i for i in ids if self.known(i) and not (skip and i in self.special)]
        for i in kept:
            if i in self.byte_of:
                run.append(i)
            else:
                end_run()
                result.append(i)
        end_run()
        return None if result == kept else result

    def known(self, i: int) -> bool:
        return self.backend.id_to_token(i) is not None


def parts_of_characters(data: bytes) -> Iterator[bool]:
    """For each byte, whether it is part of a character."""
    while data:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            yield from [True] * error.start + [False]
            data = data[error.start + 1 :]
        else:
            yield from [True] * len(data)
            return


@functools.cache
def subject(name: str) -> Subject:
    if name in FAMILIES:
        backend = construct(*FAMILIES[name])
    else:
        path = require_shared(name) / "tokenizer.json"
        backend = tokenizers.Tokenizer.from_file(str(path))
    vocab: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    added = backend.get_added_tokens_decoder()
    special = {token.content for token in added.values() if token.special}
    last = max(*vocab.values(), *added)
    text_of = {i: backend.id_to_token(i) for i in range(last + 1)}
    falls_back = b"ByteFallback" in (backend.decoder.__getstate__() if backend.decoder else b"")
    matches = {i: _BYTE.fullmatch(text) for i, text in text_of.items() if text}
    byte_of = {i: int(match[1], 16) for i, match in matches.items() if match}
    piece_of = {byte: i for i, byte in byte_of.items()}
    if not byte_of or not falls_back:
        alphabet = byte_level_alphabet()
        piece_of = {byte: vocab[c] for byte, c in enumerate(alphabet) if c in vocab}
    holes = [i for i, text in text_of.items() if text is None]
    specials = [i for i, text in text_of.items() if text in special]
    everything = list(range(last + 1))
    nasty = [vocab[token] for token in NASTY if token in vocab]
    kinds = [everything, everything, nasty, nasty, specials or nasty]
    kinds += [list(added) or nasty, [*holes, last + 1, last + 1000, 2**24, 2**31 - 1]]
    kinds += [list(piece_of.values()) or nasty] * 2
    return Subject(
        backend,
        everything,
        kinds,
        byte_of if falls_back else {},
        piece_of,
        set(specials),
        vocab.get("\ufffd"),
    )


@pytest.fixture(params=[*FAMILIES, *SHARED_FAMILIES])
def name(request: pytest.FixtureRequest) -> str:
    if request.param in SHARED_FAMILIES:
        require_shared(request.param)
    return str(request.param)


# ---- the law -------------------------------------------------------------------------------------


@dataclass
class Way:
    """One of the ways to decode."""

    decode: Callable[[list[int]], str]
    detokenizer: burble.Detokenizer
    skip: bool


@functools.cache
def ways(name: str) -> list[Way]:
    """Raw and, cleaned up, of transformers; with and without special tokens."""
    backend = subject(name).backend
    cleans_up = fast(backend, clean_up_tokenization_spaces=True)
    # Without this, transformers does not clean up after BPE.
    cleans_up.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    found = []
    for tokenizer in (backend, cleans_up):
        for skip in (False, True):
            detokenizer = burble.Detokenizer(tokenizer, skip_special_tokens=skip)
            decode = functools.partial(tokenizer.decode, skip_special_tokens=skip)
            found.append(Way(decode, detokenizer, skip))
    return found


def streamed(detokenizer: burble.Detokenizer, ids: list[int], cut: Callable[[], int]) -> str:
    text = []
    at = 0
    while at < len(ids):
        n = cut()
        text.append(detokenizer.push(ids[at : at + n]))
        at += n
    return "".join(text) + detokenizer.finish()


def compare(name: str, ids: list[int], counts: Counter[str]) -> None:
    """Whole, one by one, and in chunks of random lengths."""
    rng = random.Random(len(ids))
    for way in ways(name):
        excepted = subject(name).excepted(ids, way.skip) if subject(name).byte_of else None
        try:
            whole = way.decode(ids if excepted is None else excepted)
        except BaseException as error:
            if name != PANICS or type(error).__name__ != "PanicException":
                raise
            counts["at which the library panics"] += 1
            continue
        cuts = (lambda: len(ids), lambda: 1, lambda: rng.randint(1, 9))
        got = [streamed(way.detokenizer, ids, cut) for cut in cuts]
        counts["compared"] += 1
        counts["differ"] += got != [whole] * 3
        if excepted is not None:
            counts["of them with malformed bytes"] += 1
        assert got == [whole] * 3, (ids, [subject(name).backend.id_to_token(i) for i in ids])


def test_decoder_of_every_kind_is_compiled(name: str) -> None:
    assert [way.detokenizer.path for way in ways(name)] == ["compiled"] * 4


def test_random_ids_equal_decode(name: str, tally: dict[str, Counter[str]]) -> None:
    counts = tally.setdefault(f"exactness, {name}", Counter())
    found = subject(name)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=not LONG)
    @given(st.binary(max_size=3 * 12) | st.binary(min_size=3 * 12, max_size=3 * 60))
    def check(data: bytes) -> None:
        compare(name, found.ids_of(data), counts)

    check()


def test_texts_equal_decode(
    name: str, texts: dict[str, str], tally: dict[str, Counter[str]]
) -> None:
    counts = tally.setdefault(f"exactness, {name}", Counter())
    for text in texts.values():
        compare(name, subject(name).backend.encode(text[:TEXT_LENGTH]).ids, counts)


def test_every_single_id_equals_decode(name: str, tally: dict[str, Counter[str]]) -> None:
    counts = tally.setdefault(f"exactness, {name}", Counter())
    ids = subject(name).ids
    for i in ids if LONG else ids[-200:]:
        compare(name, [i], counts)


@pytest.mark.parametrize("spaces", [None, False, True])
def test_spaces_between_special_tokens_equal_decode(
    name: str, spaces: bool | None, tally: dict[str, Counter[str]]
) -> None:
    counts = tally.setdefault("exactness, spaces between special tokens", Counter())
    found = subject(name)
    tokenizer = fast(found.backend)
    rng = random.Random(19)
    for n in range(100 if LONG else 6):
        ids = found.ids_of(rng.randbytes(60))
        skip = n % 2 == 0
        if found.byte_of and found.excepted(ids, skip) is not None:
            continue
        kwargs: dict[str, Any] = {
            "spaces_between_special_tokens": spaces,
            "skip_special_tokens": skip,
        }
        whole = tokenizer.decode(ids, **kwargs)
        streamer = burble.TextIteratorStreamer(tokenizer, **kwargs)
        assert streamer.path == "compiled"
        for i in ids:
            streamer.put([i])
        streamer.end()
        got = "".join(streamer)
        counts["compared"] += 1
        counts["differ"] += got != whole
        assert got == whole, ids


# ---- steps in any order --------------------------------------------------------------------------

STEPS = [
    *[SPACES, FUSE, BYTE_FALLBACK, CONTRACTION, replace("a", "aa"), replace("aa", "a")],
    *[replace("ab", ""), replace("b", "\u2581"), replace(" ", ""), replace_regex(r"a\.b", " a")],
    *[strip(" ", 1, 0), strip("a", 2, 0), strip("\u2581", 1, 0), step("BPEDecoder", suffix="</w>")],
    *[metaspace("always"), metaspace("never"), word_piece(False), word_piece(True)],
    *[ctc(False), ctc(True), BYTE_LEVEL, sequence(SPACES, sequence(FUSE, replace("aba", "c")))],
]


@functools.cache
def nasty_only() -> str:
    vocab = {token: n for n, token in enumerate(NASTY)}
    model = tokenizers.models.WordLevel(vocab, unk_token="x")
    return str(tokenizers.Tokenizer(model).to_str())


def test_compiled_steps_in_any_order_equal_decode(
    tally: dict[str, Counter[str]],
) -> None:
    counts = tally.setdefault("exactness, steps in any order", Counter())
    rng = random.Random(20)
    # Their runs are either malformed or characters of one byte.
    ids = [n for n, token in enumerate(NASTY) if token not in ("<0xe4>", "<0xC3>", "<0xA9>")]
    for _ in range(3000 if LONG else 150):
        steps = rng.choices(STEPS, k=rng.randint(1, 5))
        described = {**json.loads(nasty_only()), "decoder": sequence(*steps)}
        backend = tokenizers.Tokenizer.from_str(json.dumps(described))
        detokenizer = burble.Detokenizer(backend)
        if detokenizer.path != "compiled":
            counts["decoders that are not compiled"] += 1
            continue
        for n in range(40):
            some = rng.choices(ids, k=4) if n % 2 else ids
            chosen = rng.choices(some, k=rng.choice((2, 5, 30)))
            whole = backend.decode(chosen)
            cuts = (lambda: 100, lambda: 1, lambda: rng.randint(1, 9))
            got = [streamed(detokenizer, chosen, cut) for cut in cuts]
            counts["compared"] += 1
            counts["differ"] += got != [whole] * 3
            assert got == [whole] * 3, (steps, [NASTY[i] for i in chosen])


def test_tokenizer_that_panics_at_some_ids_is_streamed() -> None:
    """Strip's at a token that is shorter than what it strips from both sides."""
    model = tokenizers.models.WordLevel({"x": 0, "a": 1, "ab": 2}, unk_token="x")
    described = json.loads(tokenizers.Tokenizer(model).to_str())
    described["decoder"] = strip("a", 1, 1)
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    detokenizer = burble.Detokenizer(backend)
    assert streamed(detokenizer, [0, 2, 0], lambda: 1) == backend.decode([0, 2, 0]) == "xbx"


def test_piece_listed_twice_is_text_both_times() -> None:
    pieces = [("<unk>", 0.0), ("\u2581a", -1.0), ("b", -2.0), ("\u2581a", -3.0), ("<unk>", -4.0)]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
    backend.add_special_tokens(["b"])
    for skip in (False, True):
        detokenizer = burble.Detokenizer(backend, skip_special_tokens=skip)
        assert detokenizer.path == "compiled"
        ids = [4, 3, 2, 1, 0]
        whole = backend.decode(ids, skip_special_tokens=skip)
        assert streamed(detokenizer, ids, lambda: 1) == whole
