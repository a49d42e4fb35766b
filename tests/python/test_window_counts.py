# SPDX-License-Identifier: MIT
"""The windowed path with decoders that count something over the whole text, as those of Moses count
quotation marks, and with those that take text back.
"""

from __future__ import annotations

import json
import random
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import LONG

import burble

SEQUENCES = 200 if LONG else 25

WORDS = ("the", "cell", "of", "dogs", "can", "a", "x", "proteins")
QUOTES = ('"', "'", "``")


class Quoting:
    """A tokenizer of its own kind: each kind of quotation mark opens and closes in turn."""

    def __init__(self) -> None:
        self.tokens = [*QUOTES, *WORDS, ".", ","]

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        text, space = "", ""
        opened: Counter[str] = Counter()
        for i in ids:
            token = self.tokens[i]
            if token in QUOTES:
                opened[token] += 1
                opens = opened[token] % 2 == 1
                text += space + token if opens else token
                space = "" if opens else " "
            else:
                text += token if token in ".," else space + token
                space = " "
        return text


def streamed(tokenizer: Any, ids: list[int], step: int = 1) -> str:
    detokenizer = burble.Detokenizer(tokenizer)
    assert detokenizer.path == "windowed"
    text = "".join(detokenizer.push(ids[at : at + step]) for at in range(0, len(ids), step))
    return text + detokenizer.finish()


def assert_any_sequences(
    tokenizer: Any,
    plain: list[int],
    marks: list[int],
    lengths: tuple[int, ...],
    counts: Counter[str],
) -> None:
    rng = random.Random(20261128)
    for turn in range(SEQUENCES):
        share = (0.05, 0.2, 0.6)[turn % 3]
        ids = [
            rng.choice(marks) if rng.random() < share else rng.choice(plain)
            for _ in range(rng.choice(lengths))
        ]
        got, want = streamed(tokenizer, ids, (1, 7, 40)[turn % 3]), tokenizer.decode(ids)
        counts["compared"] += 1
        counts["differ"] += got != want
        assert got == want, ids


def test_counted_marks_equal_decode(tally: dict[str, Counter[str]]) -> None:
    tokenizer = Quoting()
    n = len(QUOTES)
    marks, plain = list(range(n)), list(range(n, n + len(WORDS)))
    word = plain[1]
    for mark in marks:  # quotations that are longer than the window
        for n in (1, 15, 16, 17, 31, 32, 33, 60):
            for ids in (
                [mark, *[word] * n, mark, word],
                [word, mark, *plain * (n // 8 + 1), mark, word],
            ):
                assert streamed(tokenizer, ids) == tokenizer.decode(ids)
    counts = tally.setdefault("window, marks that are counted", Counter())
    assert_any_sequences(tokenizer, plain, marks, (30, 80, 2000), counts)


def test_counted_marks_cost_of_id_does_not_grow() -> None:
    class Counted(Quoting):
        ids = 0

        def decode(self, ids: list[int], **kwargs: Any) -> str:
            self.ids += len(ids)
            return super().decode(ids)

    tokenizer = Counted()
    rng = random.Random(5)
    detokenizer = burble.Detokenizer(tokenizer)
    costs = []
    for n in range(6000):
        before = tokenizer.ids
        detokenizer.push([rng.randrange(len(QUOTES)) if n % 41 == 0 else rng.randrange(3, 11)])
        costs.append(tokenizer.ids - before)
    first, last = sum(costs[1000:3500]), sum(costs[3500:])
    assert last < 1.2 * first
    assert sum(costs) < 200 * len(costs)


MOSES_WORDS = (
    "the</w>",
    "cell</w>",
    "of</w>",
    "dogs</w>",
    "can</w>",
    "pro",
    "tein</w>",
    "wor",
    "d</w>",
)
MOSES_MARKS = (
    *(
        '"</w>',
        "'</w>",
        "``</w>",
        "''</w>",
        "“</w>",
        "”</w>",
        "`</w>",
        "&quot;</w>",
        "'s</w>",
        "n't</w>",
    ),
    *("(</w>", ")</w>", ".</w>", ",</w>", "$</w>", "-</w>", "@-@</w>", "'", "s</w>"),
)


def moses(name: str, folder: Path) -> Any:
    """A tokenizer of transformers that detokenizes by Moses' rules, with a small vocabulary."""
    pytest.importorskip("sacremoses")
    transformers = pytest.importorskip("transformers")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *MOSES_WORDS, *MOSES_MARKS]
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    merges.write_text("\n")
    if name == "BioGpt":
        return transformers.BioGptTokenizer(str(vocab), str(merges))
    return transformers.FSMTTokenizer(
        langs=["en", "de"],
        src_vocab_file=str(vocab),
        tgt_vocab_file=str(vocab),
        merges_file=str(merges),
    )


@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("name", ["BioGpt", "FSMT"])
def test_moses_detokenizer_equals_decode(
    name: str, tmp_path: Path, tally: dict[str, Counter[str]]
) -> None:
    tokenizer = moses(name, tmp_path)
    plain = list(range(4, 4 + len(MOSES_WORDS)))
    marks = list(range(4 + len(MOSES_WORDS), 4 + len(MOSES_WORDS) + len(MOSES_MARKS)))
    counts = tally.setdefault("window, Moses", Counter())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        word, quote = plain[1], marks[0]
        ids = [quote, *[word] * 31, quote, word]
        assert streamed(tokenizer, ids) == tokenizer.decode(ids)
        assert_any_sequences(tokenizer, plain, marks, (30, 80), counts)
