# SPDX-License-Identifier: MIT
"""The windowed path: tokenizers whose rule does not run in C obey the same law, at a bounded cost.

The law: what was handed out, joined, is what decode makes of all ids. The rules of most of these
tokenizers do run in C; here none is known, so that the window has them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import (
    LONG,
    SAMPLE_TEXT,
    Family,
    documented_decode,
    fast,
    train_byte_level,
)

import burble
from burble import _tokenizers
from burble._window import Window

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

pytestmark = pytest.mark.no_asan

SEQUENCES = 1000 if LONG else 150


@pytest.fixture(autouse=True)
def no_rule_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tokenizer is compiled: each has the window that one with an unknown rule has."""
    monkeypatch.setattr(_tokenizers, "_vocabulary", lambda tokenizer, backend: None)


class Subject(NamedTuple):
    tokenizer: Any
    ids: list[int]  # whose sequences are tried
    kwargs: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)


def word_piece(**kwargs: Any) -> Subject:
    """In the manner of BERT."""
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.decoder = tokenizers.decoders.WordPiece(cleanup=kwargs.pop("decoder_cleans", True))
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=special, show_progress=False
    )
    backend.train_from_iterator([SAMPLE_TEXT + "n t m s ve re ' . , ? !"], trainer)
    tokenizer = fast(backend, unk_token="[UNK]", pad_token="[PAD]", **kwargs)
    return Subject(tokenizer, list(range(backend.get_vocab_size() + 3)))


def word_piece_cleaned_up() -> Subject:
    subject = word_piece(clean_up_tokenization_spaces=True)
    assert subject.tokenizer.decode(subject.tokenizer.encode("it ' s me .")).startswith("it's me.")
    return subject


def word_piece_cleaned_up_only_by_transformers() -> Subject:
    return word_piece(clean_up_tokenization_spaces=True, decoder_cleans=False)


def word_piece_cleaned_up_much() -> Subject:
    """Nothing but the tokens of which clean-up is made."""
    subject = word_piece_cleaned_up_only_by_transformers()
    vocab = subject.tokenizer.get_vocab()
    ids = [vocab[token] for token in ("'", ".", ",", "?", "n", "t", "m", "s", "r", "v", "e", "##e")]
    return subject._replace(ids=ids)


def word_piece_without_specials() -> Subject:
    subject = word_piece(clean_up_tokenization_spaces=True)
    return subject._replace(kwargs={"skip_special_tokens": True})


def unigram() -> Subject:
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(SAMPLE_TEXT.splitlines(), trainer)
    return Subject(fast(backend, eos_token="</s>"), list(range(backend.get_vocab_size() + 3)))


def bpe_with_suffix() -> Subject:
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.decoder = tokenizers.decoders.BPEDecoder(suffix="</w>")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "</s>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(SAMPLE_TEXT.splitlines(), trainer)
    return Subject(fast(backend), list(range(backend.get_vocab_size() + 3)))


def ctc() -> Subject:
    """In the manner of wav2vec 2: repeated ids are one, and a pad between them parts them."""
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghij'.,"]
    model = tokenizers.models.WordLevel({token: i for i, token in enumerate(tokens)}, "<unk>")
    backend = tokenizers.Tokenizer(model)
    backend.decoder = tokenizers.decoders.CTC()
    return Subject(fast(backend), [*range(len(tokens)), *[0] * 5, *[4] * 3])


def slow_bytes() -> Subject:
    """A tokenizer in Python, which leaves bytes out that are not UTF-8."""
    tokenizer = transformers.ByT5Tokenizer()
    return Subject(
        tokenizer, [*range(3, 259), *tokenizer.encode("é中👍", add_special_tokens=False)]
    )


def slow_bytes_without_specials() -> Subject:
    subject = slow_bytes()
    tokenizer = subject.tokenizer
    return Subject(tokenizer, subject.ids + [0, 1] * 20, {"skip_special_tokens": True})


def slow_code_points() -> Subject:
    ids = [ord(character) for character in SAMPLE_TEXT]
    return Subject(transformers.CanineTokenizer(), ids, {"clean_up_tokenization_spaces": True})


def slow_ctc(folder: Path) -> Subject:
    """Strips the text on both sides, too."""
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJ'"]
    path = folder / "vocab.json"
    path.write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(path))
    return Subject(tokenizer, [0, 0, 0, 4, 4, *range(4, len(tokens))])


def byte_level_with_a_keyword_that_is_not_known() -> Subject:
    tokenizer = fast(train_byte_level())
    return Subject(tokenizer, list(range(len(tokenizer) + 3)), {"use_source_tokenizer": False})


def raw() -> Subject:
    """Its decode skips special tokens unless told otherwise."""
    subject = word_piece()
    return Subject(subject.tokenizer.backend_tokenizer, subject.ids)


def no_decoder() -> Subject:
    """decode joins the tokens with spaces."""
    backend = word_piece().tokenizer.backend_tokenizer
    described = json.loads(backend.to_str())
    described["decoder"] = None
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    return Subject(fast(backend), list(range(backend.get_vocab_size())))


SUBJECTS: list[Callable[..., Subject]] = [
    word_piece,
    word_piece_cleaned_up,
    word_piece_cleaned_up_only_by_transformers,
    word_piece_cleaned_up_much,
    word_piece_without_specials,
    unigram,
    bpe_with_suffix,
    ctc,
    slow_bytes,
    slow_bytes_without_specials,
    slow_code_points,
    slow_ctc,
    byte_level_with_a_keyword_that_is_not_known,
    raw,
    no_decoder,
]


@pytest.fixture(scope="module", params=SUBJECTS, ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    make: Callable[..., Subject] = request.param
    return make(*[tmp_path_factory.mktemp("vocab")] * (make == slow_ctc))


def decode(subject: Subject, ids: list[int]) -> str:
    return str(subject.tokenizer.decode(ids, **subject.kwargs))


def window(subject: Subject) -> Window:
    made, _ = _tokenizers.decoding_of(subject.tokenizer, subject.kwargs)
    assert isinstance(made, Window)
    return made


def streamed(made: Window, ids: list[int], cut: Callable[[], int]) -> str:
    text = []
    at = 0
    while at < len(ids):
        n = cut()
        text.append(made.push(ids[at : at + n]))
        at += n
    return "".join(text) + made.finish()


def sequences(subject: Subject, rng: random.Random) -> list[list[int]]:
    """Short and long ones, with runs of the same id, and with few different ones."""
    found = []
    for n in range(SEQUENCES):
        some = subject.ids if n % 3 else rng.choices(subject.ids, k=rng.randint(1, 6))
        ids: list[int] = []
        length = rng.choice((5, 40, 150))
        while len(ids) < length:
            ids += [rng.choice(some)] * (rng.randint(2, 60) if rng.random() < 0.03 else 1)
        found.append(ids[:length])
    return found


# ---- the law -------------------------------------------------------------------------------------


def test_random_ids_equal_decode(subject: Subject, tally: dict[str, Counter[str]]) -> None:
    counts = tally.setdefault("window", Counter())
    rng = random.Random(11)
    made = window(subject)
    for ids in sequences(subject, rng):
        whole = decode(subject, ids)
        ways = (lambda: 1, lambda: rng.randint(1, 9), lambda: 1000)
        got = [streamed(made, ids, way) for way in ways]
        counts["compared"] += 1
        counts["differ"] += got != [whole] * 3
        assert got == [whole] * 3, ids


def test_texts_equal_decode(subject: Subject, texts: dict[str, str]) -> None:
    rng = random.Random(12)
    made = window(subject)
    for text in texts.values():
        encoded = subject.tokenizer.encode(text[:20_000])
        ids = getattr(encoded, "ids", encoded)[: 20_000 if LONG else 3000]
        whole = decode(subject, ids)
        assert streamed(made, ids, lambda: 1) == whole
        assert streamed(made, ids, lambda: rng.randint(1, 50)) == whole


def test_streamer_with_window_equals_decode(subject: Subject) -> None:
    rng = random.Random(13)
    for ids in sequences(subject, rng)[:20]:
        for chunk in ("word", "token"):
            streamer = burble.TextIteratorStreamer(subject.tokenizer, chunk=chunk, **subject.kwargs)
            assert streamer.path == "windowed"
            for i in ids:
                streamer.put([i])
            streamer.end()
            assert "".join(streamer) == decode(subject, ids)


def test_byte_fallback_in_window_equals_decode(family: Family) -> None:
    """As the compiled path does, where byte tokens are UTF-8; byte level everywhere."""
    rng = random.Random(14)
    made = Window(family.tokenizer.decode)
    compared = 0
    while compared < 100:
        ids = family.random_ids(rng, rng.randint(1, 80))
        if family.byte_fallback:
            text = "".join(rng.choices("aé中€한👍 \n\ufffd", k=rng.randint(1, 40)))
            at = rng.randrange(len(ids))
            ids = [i for i in ids if i not in family.byte_of]
            ids[at:at] = family.spell(text)
            assert not documented_decode(family, ids, False)[1]
        whole = family.tokenizer.decode(ids)
        assert streamed(made, ids, lambda: 1) == whole, ids
        assert streamed(made, ids, lambda: rng.randint(1, 9)) == whole, ids
        compared += 1


def test_long_run_of_byte_tokens_becomes_characters(own_family: Family) -> None:
    """Longer than the window, and out of step with it."""
    text = "x" + "中文👍é" * 200
    made = Window(own_family.tokenizer.decode)
    assert streamed(made, own_family.spell(text), lambda: 1) == text
    assert streamed(made, own_family.spell(text), lambda: 7) == text


def test_text_that_clean_up_may_change_is_held() -> None:
    """One character at a time, of those that clean-up replaces."""
    rng = random.Random(15)
    clean_up = transformers.CanineTokenizer().clean_up_tokenization
    made = Window(lambda ids: clean_up("".join(map(chr, ids))), cleans_up=True)
    for n in range(20_000 if LONG else 2000):
        alphabet = "  ''ntmsvre.,?a" if n % 2 else "  'nt.a"
        ids = [ord(c) for c in rng.choices(alphabet, k=rng.choice((6, 12, 70)))]
        whole = clean_up("".join(map(chr, ids)))
        assert streamed(made, ids, lambda: 1) == whole, "".join(map(chr, ids))


def test_ids_without_text_do_not_lose_context() -> None:
    """A pause much longer than the window: the space before the next word is still there."""
    for subject, nothing in ((word_piece(), 10**6), (ctc(), 0)):
        made = window(subject)
        a, b = subject.ids[6], subject.ids[7]
        for between in ([], [4] * 3):
            ids = [a, b, a, *between, *[nothing] * 5000, b, a, *[nothing] * 50, a]
            assert streamed(made, ids, lambda: 1) == decode(subject, ids)


# ---- how early -----------------------------------------------------------------------------------


def test_text_that_cannot_change_comes_with_its_id() -> None:
    subject = unigram()
    made = window(subject)
    ids = subject.tokenizer.encode("The quick brown fox jumps")
    so_far = ""
    for n, i in enumerate(ids):
        so_far += made.push([i])
        assert so_far == decode(subject, ids[: n + 1])
        assert not made.holds


def test_holds_tells_whether_text_is_held_back(shakespeare: Any) -> None:
    made = Window(shakespeare.decode)
    ids = shakespeare.encode("€")
    assert [made.push([i]) for i in ids[:-1]] == [""] * (len(ids) - 1)
    assert made.holds
    assert made.push(ids[-1:]) == "€"
    assert not made.holds


# ---- what it costs -------------------------------------------------------------------------------


class Counted:
    """Counts the ids that decode is given."""

    def __init__(self, subject: Subject) -> None:
        self.window = window(subject)
        self._decode = self.window._decode
        self.window._decode = self.decode
        self.ids = 0

    def decode(self, ids: list[int]) -> str:
        self.ids += len(ids)
        return self._decode(ids)

    def push(self, ids: list[int]) -> int:
        self.ids = 0
        self.window.push(ids)
        return self.ids


def costs(subject: Subject, ids: list[int], n: int) -> list[int]:
    counted = Counted(subject)
    return [counted.push(ids[at : at + n]) for at in range(0, len(ids), n)]


def test_cost_of_id_does_not_grow(subject: Subject) -> None:
    encoded = subject.tokenizer.encode(SAMPLE_TEXT * 4)
    ids = getattr(encoded, "ids", encoded)
    # Where a decoder may count something, a cut of the window is tried with more ids.
    more = 4 if window(subject)._counts else 1
    per_id = costs(subject, ids, 1)
    assert max(per_id) <= 200 * more
    assert sum(per_id) <= 40 * more * len(ids)
    # In chunks it is less.
    assert sum(costs(subject, ids, 10)) <= 20 * more * len(ids)
    assert sum(costs(subject, ids, 1000)) <= 10 * more * len(ids)


def test_cost_of_random_ids_is_bounded(subject: Subject) -> None:
    rng = random.Random(16)
    ids = [i for sequence in sequences(subject, rng) for i in sequence][:20_000]
    per_id = costs(subject, ids, 1)
    more = 4 if window(subject)._counts else 1
    assert sum(per_id) <= 80 * more * len(ids)
    assert max(per_id) <= 2000 * more


def test_cost_without_usable_context_is_bounded() -> None:
    """The worst tokenizer there is: nothing that it says holds for longer than one id."""
    rng = random.Random(17)
    worst = {n: "".join(rng.choices("abcd", k=n)) for n in range(5000)}
    counted = 0

    def decode_anew(ids: list[int]) -> str:
        nonlocal counted
        counted += len(ids)
        return worst[len(ids)]

    made = Window(decode_anew)
    for _ in range(3000):
        counted = 0
        made.push([1])
        assert counted <= 3 * 1024


# ---- errors --------------------------------------------------------------------------------------


def test_decode_that_raises_changes_nothing() -> None:
    """Wherever in a push it happens."""
    subject = word_piece_cleaned_up()
    ids = [i for i in subject.tokenizer.encode(SAMPLE_TEXT) if i]
    whole = decode(subject, ids)
    rng = random.Random(18)
    for fails_after in range(40):
        made = window(subject)
        plain = made._decode
        left = fails_after

        def decode_or_raise(some: list[int], plain: Callable[[list[int]], str] = plain) -> str:
            nonlocal left
            left -= 1
            if left == 0:
                raise MemoryError
            return plain(some)

        made._decode = decode_or_raise
        text, at = "", 0
        while at < len(ids):
            n = rng.randint(1, 40)
            try:
                text += made.push(ids[at : at + n])
            except MemoryError:
                continue
            at += n
        left = 0
        assert text + made.finish() == whole


def test_reset_begins_anew() -> None:
    subject = word_piece()
    made = window(subject)
    made.push(subject.ids[5:30])
    made.reset()
    assert made.push(subject.ids[5:6]) + made.finish() == decode(subject, subject.ids[5:6])
    assert made.finish() == ""
