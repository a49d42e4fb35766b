# SPDX-License-Identifier: MIT
"""The vocabulary of a GGUF file, id by id, beside llama.cpp's own llama_token_to_piece."""

from __future__ import annotations

import itertools
import os
import re
import struct
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import burble

ROOT = Path(__file__).resolve().parents[2]
PIECES = os.environ.get("BURBLE_TEST_PIECES", "build/llama-plain/tests/llama/pieces")

# Vocabularies to compare beside our own; `make test-llama` gets those of llama.cpp's own tests.
FOLDER = Path(os.environ.get("BURBLE_TEST_VOCABULARIES", ROOT / "build" / "vocabularies"))

pytestmark = pytest.mark.skipif(
    not Path(PIECES).exists(), reason=f"{PIECES} is not there: ninja -C build/llama-plain"
)

# Where GPT-2's alphabet cannot spell a normal token, llama.cpp has this and the token's own text in
# place of each character; burble has the text, as the tokenizers library does.
PLACEHOLDER = re.compile(rb"\[UNK_BYTE_0x")
# Tokens that llama.cpp takes for control tokens by their names, whatever their types in the file
# are. For burble, what the file says counts.
CONTROL_BY_NAME = re.compile(r"[<\[_].*[>\]~\[]")


def pieces(path: Path) -> list[tuple[bytes, bytes]]:
    """Of each id, with special tokens and without."""
    out = subprocess.run([PIECES, str(path)], check=True, capture_output=True).stdout
    found: list[bytes] = []
    at = 0
    while at < len(out):
        (n,) = struct.unpack_from("<i", out, at)
        found.append(out[at + 4 : at + 4 + n])
        at += 4 + n
    return list(zip(found[::2], found[1::2]))


def compare(path: Path) -> Counter[str]:
    """How many ids have a text, behind a token that is a letter, that is not their piece."""
    theirs = pieces(path)
    anchor = next(i for i, (piece, _) in enumerate(theirs) if piece.isalpha() and piece.isascii())
    before = theirs[anchor][0].decode()
    counts = Counter(ids=len(theirs), differ=0)
    for skip in (False, True):
        mine = burble.Detokenizer(path, skip_special_tokens=skip)
        for i, both in enumerate(theirs):
            got = mine.push([anchor, i]) + mine.finish()
            want = before + both[skip].decode(errors="replace")
            if got == want:
                continue
            text = got[len(before) :]
            if PLACEHOLDER.match(both[skip]) and both[skip].endswith(f"{text}]".encode()):
                counts["placeholders"] += not skip
            elif skip and not both[1] and CONTROL_BY_NAME.fullmatch(text):
                counts["control by name"] += 1
            else:
                counts["differ"] += 1
                print(i, repr(got), repr(want))
    return counts


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = compare(path)
    with capsys.disabled():
        print(f"\n{path.stem}: {', '.join(f'{n:,} {what}' for what, n in counts.items())}")
    assert counts["differ"] == 0
    assert counts["control by name"] < 20


VOCABULARIES = sorted(FOLDER.rglob("*.gguf"))


@pytest.mark.parametrize("path", VOCABULARIES, ids=[path.stem for path in VOCABULARIES])
def test_ids_of_vocabulary_equal_pieces_of_llama_cpp(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(path, capsys)


def test_ids_of_shipped_model_equal_pieces_of_llama_cpp(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check(ROOT / "models" / "shakespeare.gguf", capsys)


# Texts that differ by how they are read: in GPT-2's alphabet, with U+2581, spelled as bytes.
TEXTS = (
    "a",
    "ü",
    "Ġb",
    "Ċ",
    "▁c",
    "d e",
    "<0x41>",
    "<0xe9>",
    "<0xE9>",
    "中",
    "Ã",
    "©",
    "<s>",
    "ĀŃ",
)
KINDS = {
    "normal": 1,
    "unknown": 2,
    "control": 3,
    "user-defined": 4,
    "unused": 5,
    "none": 0,
    "new": 9,
}


def small_vocabulary(model: str, pre: str | None) -> list[tuple[str, int]]:
    tokens = [("z", 1)]
    for text, kind in itertools.product(TEXTS, KINDS.values()):
        # Text of a normal token that GPT-2's alphabet cannot spell is written by llama.cpp as
        # [UNK_BYTE_0x…]; by us, as by the tokenizers library, as it is.
        if not (model == "gpt2" and pre != "gemma4" and kind == 1 and set(text) & set("▁中 ")):
            tokens.append((f"{text}{'' if text.startswith('<') else kind}", kind))
    if model != "bert":  # where llama.cpp ends the program
        tokens += [(f"<0x{byte:02X}>", 6) for byte in range(256)]
    # llama.cpp tells tokens by their texts, and gives up where two have the same one.
    return list({text: (text, kind) for text, kind in tokens}.values())


def write(path: Path, model: str, pre: str | None) -> int:
    gguf = pytest.importorskip("gguf")
    tokens = small_vocabulary(model, pre)
    writer: Any = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_token_merges(["z z"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return len(tokens)


@pytest.mark.parametrize(
    ("model", "pre"),
    [
        ("gpt2", None),
        ("gpt2", "deepseek-llm"),
        ("gpt2", "sarvam-moe"),
        ("gemma4", None),
        ("llama", None),
        ("t5", None),
        ("bert", None),
    ],
)
def test_tokens_of_every_type_equal_pieces_of_llama_cpp(
    model: str, pre: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{model}.gguf"
    assert write(path, model, pre) == len(pieces(path))
    check(path, capsys)
