# SPDX-License-Identifier: MIT
"""JSON files of vocabularies: burble's parser beside Python's, which decides what is JSON; and the
bounds on what a file takes.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LONG

from burble import Detokenizer

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
MUTANTS = 3000 if LONG else 250
DEPTH_MAX = 64

pytestmark = pytest.mark.timeout(3600 if LONG else 300)


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs) or any("\0" in key for key, _ in pairs):
        raise ValueError("a key that is there twice, or with NUL")
    return dict(pairs)


def integer(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError("more than 64 bits")
    return int(text)


def no_constant(name: str) -> Any:
    raise ValueError(name)


PEER = json.JSONDecoder(object_pairs_hook=members, parse_int=integer, parse_constant=no_constant)


def is_fine(value: Any, depth: int = 0) -> bool:
    """Whether arrays and objects are not too deep, and strings have no halves of surrogates."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, (list, dict)):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return depth < DEPTH_MAX and all(is_fine(part, depth + 1) for part in inner)
    return True


def is_json(content: bytes) -> bool:
    """Whether Python's parser takes it, with the bounds of src/text/json.h."""
    try:
        return is_fine(PEER.decode(content.decode()))
    except (ValueError, RecursionError):
        return False


def by_package(path: Path) -> tuple[bool, str]:
    """Whether its JSON is fine, and what is wrong with the file."""
    try:
        Detokenizer(path)
    except ValueError as error:
        said = str(error)
        what = ": line ", ": byte ", ": expected each key once"
        return not any(part in said for part in what), said
    return True, ""


def compare(path: Path, counts: Counter[str]) -> None:
    content = path.read_bytes()
    want = is_json(content)
    got, said = by_package(path)
    if not content.lstrip(b" \t\r\n").startswith(b"{"):  # it is not taken for JSON
        return
    counts["accepted" if want else "refused"] += 1
    counts["compared"] += 1
    counts["differ"] += got != want
    assert got == want, (said, content[:2000])


# ---- texts that are nearly JSON ------------------------------------------------------------------

# Values where parsers may differ. Each is in a member that is not read.
VALUES = (
    *("0", "-0", "00", "01", "-", "+1", "1.", ".5", "1.5", "1e5", "1E+5", "1e", "0x10", "1_0"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("123456789012345678901234567890", "1e308", "1e309", "-1e999", "1e-999", "0." + "1" * 400),
    *(
        "1" * 5000,
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "true",
        "True",
        "null",
        "none",
        "undefined",
    ),
    *(
        '""',
        '"',
        "''",
        "'a'",
        r'"\u0000"',
        r'"\u0001"',
        '"\x01"',
        '"\x00"',
        '"\n"',
        '"\t"',
        '"\x7f"',
    ),
    *(r'"\ud800"', r'"\udc00"', r'"\ud83d\ude00"', r'"\ude00\ud83d"', r'"\ud83d\ud83d\ude00"'),
    *(
        r'"\\ud800"',
        r'"\ud800a"',
        r'"\uD800\u0041"',
        r'"\u00e9"',
        r'"\u12"',
        r'"\u12g4"',
        r'"\x41"',
    ),
    *(
        r'"\/"',
        r'"\a"',
        r'"\'"',
        '"\\"',
        '"\u2028"',
        '"\ufeff"',
        '"\uffff"',
        '"\U0010ffff"',
        '"\ue000"',
    ),
    *(
        "[]",
        "[,]",
        "[1,]",
        "[1 2]",
        "{}",
        "{,}",
        '{"a":1,}',
        '{"a"}',
        "{a:1}",
        "{1:2}",
        '{"a":1 "b":2}',
    ),
    *(
        '{"a":1,"a":1}',
        '{"a":1,"b":{"c":1,"c":2}}',
        r'{"a":1,"\u0061":2}',
        '{"a":1,"A":2}',
        '{"":1}',
    ),
    *(
        r'{"a\u0000":1}',
        r'{"\u0000":1}',
        r'{"\ud800":1}',
        r'{"\ud83d\ude00":1}',
        "/**/1",
        "//\n1",
        "#\n1",
    ),
    *("1\v", "1\f", "1\xa0", "1\u3000", "\ufeff1", "1 ", "\t1\r\n", "1;"),
    *("[" * n + "]" * n for n in (62, 63, 64, 65, 1000, 3000)),
    *('{"a":' * n + "1" + "}" * n for n in (62, 63, 64, 65)),
    *('["[", ' + "[" * n + "]" * n + "]" for n in (62, 63)),
    r'["\"[[[", "\\", ' + "[" * 62 + "]" * 62 + "]",
)

# Bytes that are no UTF-8, or hardly.
STRINGS = (
    *(
        b"\xff",
        b"\x80",
        b"\xc0\x80",
        b"\xc3",
        b"\xc3(",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xed\x9f\xbf",
    ),
    *(
        b"\xf0\x9f\x98\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xef\xbf\xbf",
    ),
)


def small_file(**more: Any) -> dict[str, Any]:
    return {"model": {"vocab": {"a": 0, "b": 1}}, **more}


def near_json() -> Iterator[bytes]:
    for value in VALUES:
        yield b'{"model":{"vocab":{"a":0}},"x":' + value.encode("utf-8") + b"}"
        yield b'{"x":[' + value.encode("utf-8") + b'],"model":{"vocab":{"a":0}}}'
    for string in STRINGS:
        yield b'{"model":{"vocab":{"a":0}},"x":"' + string + b'"}'
        yield b'{"model":{"vocab":{"' + string + b'":0}}}'
        yield b'{"model":{"vocab":{"a":0},"merges":["a ' + string + b'"]}}'
    whole = json.dumps(small_file()).encode()
    for more in (b"\x00", b" ", b"\n", b"x", b"{}", b",", b"]", b"\xff", b"\xef\xbb\xbf"):
        yield whole + more
        yield more + whole


def test_text_near_json_has_verdict_of_peer(tmp_path: Path, tally: dict[str, Counter[str]]) -> None:
    counts = tally.setdefault("JSON, near it", Counter())
    for n, content in enumerate(near_json()):
        path = tmp_path / f"{n}.json"
        path.write_bytes(content)
        compare(path, counts)
    assert min(counts["accepted"], counts["refused"]) > 50


# ---- mutants -------------------------------------------------------------------------------------


def steps() -> list[dict[str, Any]]:
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}
    return [
        *({"type": kind} for kind in ("ByteLevel", "ByteFallback", "Fuse", "Magic")),
        *({**replace, "pattern": {"Regex": regex}} for regex in ("a", r"a\.", "a+", "", "é", "\\")),
        replace,
        {**replace, "pattern": {"String": ""}},
        {**replace, "content": "a" * 300},
        {"type": "Strip", "content": "a", "start": 1, "stop": 2**40},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
        {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {"type": "BPEDecoder", "suffix": "</w>"},
        {"type": "CTC", "pad_token": "<p>", "word_delimiter_token": "|", "cleanup": True},
    ]


def normalizers() -> list[dict[str, Any]]:
    kinds = ("NFC", "NFD", "NFKC", "Lowercase", "StripAccents", "Nmt", "ByteLevel", "Magic")
    return [
        *({"type": kind} for kind in kinds),
        *(step for step in steps() if step["type"] == "Replace"),
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Strip", "strip_left": True, "strip_right": False},
        {"type": "BertNormalizer", "lowercase": True},
        {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    ]


TEXTS = (
    "a",
    "b",
    "",
    "aa",
    "▁a",
    "##b",
    "<0x41>",
    "<0xe9>",
    "é",
    "Ġa",
    "b</w>",
    "<p>",
    "|",
    "a.b",
    "中",
    "\0",
)


def random_file(rng: random.Random) -> Any:
    texts = rng.sample(TEXTS, rng.randint(1, len(TEXTS)))
    vocab: Any = {text: i for i, text in enumerate(texts)}
    if rng.random() < 0.2:
        vocab = [[text, -0.5] for text in texts]
    file: dict[str, Any] = {"model": {"vocab": vocab}}
    if rng.random() < 0.8:
        chosen = rng.choices(steps(), k=rng.choice((1, 1, 2, 3, 40)))
        file["decoder"] = (
            {"type": "Sequence", "decoders": chosen} if rng.random() < 0.8 else chosen[0]
        )
    if rng.random() < 0.6:
        chosen = rng.choices(normalizers(), k=rng.choice((1, 1, 2, 3, 70)))
        file["normalizer"] = {"type": "Sequence", "normalizers": chosen}
    if rng.random() < 0.8:
        file["added_tokens"] = [
            {
                "id": rng.choice((i, len(texts) + i, -1, 1 << 40)) if rng.random() < 0.1 else i,
                "content": rng.choice((*TEXTS, "<s>", "A b", "ÀB")),
                "special": rng.random() < 0.5,
                "normalized": rng.random() < 0.5,
            }
            for i in range(rng.randint(0, 4))
        ]
    return file


def damaged(value: Any, rng: random.Random) -> Any:
    """The value with one of its parts replaced by something else, now and then."""
    if rng.random() < 0.01:
        return rng.choice(
            (None, True, 0, -1, 1.5, 1 << 70, "", "x", [], {}, [[]], {"type": "Fuse"})
        )
    if isinstance(value, dict):
        return {k: damaged(v, rng) for k, v in value.items() if rng.random() > 0.01}
    if isinstance(value, list):
        return [damaged(v, rng) for v in value]
    return value


def mutants(rng: random.Random) -> Iterator[bytes]:
    seeds = [path.read_bytes() for path in sorted(CORPUS.glob("*/*.json"))]
    for _ in range(MUTANTS):
        file = damaged(random_file(rng), rng)
        yield json.dumps(file, ensure_ascii=rng.random() < 0.5).encode()
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(content) + 1)
            if rng.random() < 0.5 or not content:
                content[at:at] = rng.choice(
                    (b"\0", b"0", b'"', b"[", b"}", b",", b"\xff", b"\\u0000")
                )
            else:
                content[at : at + 1] = bytes([rng.randrange(256)]) * (rng.random() < 0.7)
        yield bytes(content)


def test_mutated_file_has_verdict_of_peer(tmp_path: Path, tally: dict[str, Counter[str]]) -> None:
    counts = tally.setdefault("JSON, mutants", Counter())
    path = tmp_path / "file"
    for content in mutants(random.Random(20261128)):
        path.write_bytes(content)
        compare(path, counts)
    assert min(counts["accepted"], counts["refused"]) > MUTANTS // 8


# ---- bounds --------------------------------------------------------------------------------------


def test_json_above_128_mib_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with open(path, "wb") as out:
        out.write(b'{"model": 1}')
        out.truncate((128 << 20) + 1)  # a hole: nothing is written
    message = f"expected a file of at most 128 MiB, found {(128 << 20) + 1} bytes"
    assert by_package(path) == (True, f"{shown(path)}: {message}")


def shown(path: Path) -> str:
    """The end of a long name, as messages have it."""
    name = str(path)
    return name if len(name) <= 80 else f"…{name[-80:]}"


# Where a file makes far more of itself than it is: in a normalizer, in a decoder.
GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 250}
SHRINKS = {"type": "Replace", "pattern": {"String": "a"}, "content": ""}


def file_of_work(kind: str) -> dict[str, Any]:
    added = [{"id": i, "content": f"aa{i}", "normalized": True} for i in range(2000)]
    long = [{"id": i, "content": f"{i}{'A' * 60000}", "normalized": True} for i in range(10)]
    plain = {"type": "Lowercase"}
    if kind == "normalizer that grows":
        sequence = [GROWS, GROWS, *[{"type": "NFC"}] * 20, SHRINKS]
        return small_file(
            added_tokens=added, normalizer={"type": "Sequence", "normalizers": sequence}
        )
    if kind == "many normalizers":
        return small_file(
            added_tokens=long, normalizer={"type": "Sequence", "normalizers": [plain] * 500}
        )
    vocab = {f"aa{i}": i for i in range(2000)}
    strip = {"type": "Strip", "content": "q", "start": 1, "stop": 1}
    if kind == "decoder that grows":
        return {
            "model": {"vocab": vocab},
            "decoder": {"type": "Sequence", "decoders": [GROWS, GROWS, *[strip] * 20, SHRINKS]},
        }
    return {"model": {"vocab": vocab}, "decoder": {"type": "Sequence", "decoders": [strip] * 1000}}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("normalizer that grows", "at most 64 MiB of text in all steps of the normalizer together"),
        ("many normalizers", "a normalizer of more than 64 steps"),
        ("decoder that grows", r"expected steps that process at most \d+ bytes of text in total"),
        ("many steps", "a decoder of more than 32 steps"),
    ],
)
def test_disproportionate_work_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "work.json"
    path.write_text(json.dumps(file_of_work(kind)))
    with pytest.raises(ValueError, match=message):
        Detokenizer(path)


# JSON that takes the most memory for its size.
SIZE = 4 << 20
SHAPES = {
    "empty objects": lambda n: "[" + ",".join(["{}"] * (n // 3)) + "]",
    "empty arrays": lambda n: "[" + ",".join(["[]"] * (n // 3)) + "]",
    "numbers": lambda n: "[" + ",".join(["1000"] * (n // 5)) + "]",
    "reals": lambda n: "[" + ",".join(["1.5"] * (n // 4)) + "]",
    "strings": lambda n: "[" + ",".join(['"é"'] * (n // 5)) + "]",
    "small objects": lambda n: "[" + ",".join(['{"":0}'] * (n // 7)) + "]",
    "keys": lambda n: "{" + ",".join(f'"{i:x}":0' for i in range(n // 9)) + "}",
    "one character beyond the basic plane": lambda n: '"' + "a" * (n - 6) + "😀" + '"',
    "a Regex": lambda n: '"' + "a" * (n - 2) + '"',
}

# The most memory that a program has taken.
PACKAGE = """
    import sys, burble
    try:
        burble.Detokenizer(sys.argv[1])
    except ValueError:
        pass
    print(next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if "VmHWM" in line))
"""
# The same without a file: Python, and the modules that burble imports.
OWN = 64 << 20


def memory(code: str, *args: str) -> int:
    run = [sys.executable, "-c", textwrap.dedent(code), *args]
    return int(subprocess.run(run, check=True, capture_output=True).stdout)


@pytest.mark.no_asan  # it changes what memory is taken
@pytest.mark.skipif(sys.platform != "linux", reason="as Linux counts memory")
@pytest.mark.parametrize("shape", SHAPES)
def test_memory_of_json_is_below_20_times_its_size(
    shape: str, tmp_path: Path, measured: list[str]
) -> None:
    path = tmp_path / "shape.json"
    content = SHAPES[shape](SIZE)
    regex = '{"type":"Replace","pattern":{"Regex":' + content + '},"content":"b"}'
    path.write_text(
        '{"model":{"vocab":{"a":0}},'
        + (f'"decoder":{regex}' if shape == "a Regex" else f'"x":{content}')
        + "}"
    )
    size = path.stat().st_size
    package = memory(PACKAGE, str(path))
    measured.append(f"memory for JSON of {shape}: {package / size:.0f} times its size")
    assert package < 20 * size + OWN
