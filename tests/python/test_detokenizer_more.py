# SPDX-License-Identifier: MIT
"""burble.Detokenizer beyond pushing: prompts, copies, going back, offsets, and other sources."""

from __future__ import annotations

import base64
import copy
import functools
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLE_TEXT, SHAKESPEARE, train_byte_fallback, train_byte_level
from helpers import NORMALIZED, Slow

import burble
from burble import _core

tokenizers = pytest.importorskip("tokenizers")

TEXT = "To be, or not to be: naïve 中文 😀, that's the question .\n"
SEQUENCES = 60


@functools.cache
def backend(kind: str) -> Any:
    return train_byte_level() if kind == "bytes" else train_byte_fallback()


@pytest.fixture(params=["compiled", "windowed"])
def path(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["bytes", "fallback"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def make(path: str, kind: str = "bytes", **kwargs: Any) -> burble.Detokenizer:
    tokenizer = backend(kind) if path == "compiled" else Slow(backend(kind))
    detokenizer = burble.Detokenizer(tokenizer, **kwargs)
    assert detokenizer.path == path
    return detokenizer


def some_ids(kind: str, rng: random.Random, n: int) -> list[int]:
    """Of real text, cut anywhere. Of a byte-fallback tokenizer they are no byte tokens: what it
    makes of malformed runs of those is the documented exception."""
    ids: list[int] = []
    while len(ids) < n:
        begin = rng.randrange(len(SAMPLE_TEXT))
        more = backend(kind).encode(SAMPLE_TEXT[begin : begin + rng.randint(1, 20)])
        ids += [i for i, token in zip(more.ids, more.tokens) if not token.startswith("<0x")]
    return ids[:n]


# ---- prompts -------------------------------------------------------------------------------------


def test_prompt_is_left_out_but_its_character_is_completed(path: str, kind: str) -> None:
    ids = backend(kind).encode(TEXT).ids
    for at in range(1, len(ids)):
        detokenizer = make(path, kind)
        detokenizer.prime(ids[:at])
        text = "".join([detokenizer.push(i) for i in ids[at:]]) + detokenizer.finish()
        assert make(path, kind).push(ids[:at]) + text == backend(kind).decode(ids)


def test_prompt_in_parts_leaves_incomplete_end_as_replacement(path: str) -> None:
    ids = backend("bytes").encode("x中").ids
    detokenizer = make(path)
    for i in ids[:-1]:
        detokenizer.prime(i)
    assert detokenizer.finish() == "\N{REPLACEMENT CHARACTER}"
    detokenizer.prime([])
    assert detokenizer.push(ids[:1]) == "x"


def test_stop_string_in_prompt_is_not_matched(path: str) -> None:
    detokenizer = make(path, stop="be")
    detokenizer.prime(backend("bytes").encode("to be, b").ids)
    assert detokenizer.stopped is None
    assert detokenizer.push(backend("bytes").encode("e or be").ids) == "e or "
    assert detokenizer.stopped == burble.StopMatch(0, "be", 5, 7)


def test_negative_id_in_prompt_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="-1"):
        make(path).prime([1, -1])


# ---- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [(), ("that", "ö", "中文")])
def test_copy_continues_independently_from_same_state(path: str, kind: str, stop: Any) -> None:
    rng = random.Random(f"{path} {kind}")
    for _ in range(SEQUENCES):
        ids, one, two = (some_ids(kind, rng, rng.randint(0, 12)) for _ in range(3))
        first = make(path, kind, stop=stop, offsets=True, rewind=4)
        head = first.push(ids)
        second = copy.copy(first)
        assert second.offsets == first.offsets
        for detokenizer, more in ((first, one), (second, two)):
            fresh = make(path, kind, stop=stop)
            want = fresh.push(ids) + fresh.push(more) + fresh.finish()
            assert head + detokenizer.push(more) + detokenizer.finish() == want


def test_copy_has_same_class_and_attributes(path: str) -> None:
    class Mine(burble.Detokenizer):
        def __init__(self, tokenizer: Any, label: str) -> None:
            super().__init__(tokenizer, rewind=2)
            self.label = label

    mine = Mine(backend("bytes") if path == "compiled" else Slow(backend("bytes")), "beam")
    assert mine.path == path
    mine.push(backend("bytes").encode("abc").ids)
    for other in (mine.copy(), copy.deepcopy(mine)):
        assert type(other) is Mine
        assert other.label == "beam"
        assert other.rewind(1) == mine.copy().rewind(1)


# ---- going back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [(), ("that", "o", "\n")])
@pytest.mark.parametrize("include", [False, True])
def test_rewind_equals_never_having_pushed(path: str, kind: str, stop: Any, include: bool) -> None:
    rng = random.Random(f"{path} {kind} {stop}")
    for _ in range(SEQUENCES):
        detokenizer = make(path, kind, stop=stop, include_stop=include, rewind=6, offsets=True)
        ids: list[int] = []
        text = ""
        for _ in range(8):
            more = some_ids(kind, rng, rng.randint(0, 9))
            ids += more
            text += detokenizer.push(more)
            if rng.random() < 0.5:
                n = rng.randint(0, min(6, len(more)))
                text = text[: len(text) - detokenizer.rewind(n)]
                ids = ids[: len(ids) - n]
            fresh = make(path, kind, stop=stop, include_stop=include)
            assert text == fresh.push(ids)
            assert detokenizer.stopped == fresh.stopped
        assert detokenizer.finish() == fresh.finish()


def test_rewind_too_far_raises_and_changes_nothing(path: str) -> None:
    detokenizer = make(path, rewind=3)
    ids = backend("bytes").encode("abcdef").ids
    with pytest.raises(ValueError, match=r"expected at most 0 tokens, found 1 .*rewind=3"):
        detokenizer.rewind(1)
    text = detokenizer.push(ids)
    for n in (4, -1):
        with pytest.raises(ValueError, match=f"expected at most 3 tokens, found {n}"):
            detokenizer.rewind(n)
    assert detokenizer.rewind(3) == len(text) - len(make(path).push(ids[:-3]))
    detokenizer.finish()
    with pytest.raises(ValueError, match="at most 0 tokens"):
        detokenizer.rewind(1)
    with pytest.raises(ValueError, match="from 0 to 65536 tokens, found 65537"):
        make(path, rewind=65537)


def test_rewinds_without_push_between_add_up_to_limit(path: str) -> None:
    detokenizer = make(path, rewind=4)
    ids = backend("bytes").encode("abcdefghijkl").ids
    text = detokenizer.push(ids)
    text = text[: len(text) - detokenizer.rewind(1)]
    text = text[: len(text) - detokenizer.rewind(3)]
    assert text == make(path).push(ids[:-4])
    refused = r"expected at most 0 tokens, found 1 .*until another is pushed"
    with pytest.raises(ValueError, match=refused):
        detokenizer.rewind(1)
    text += detokenizer.push(ids[-4:-2])
    with pytest.raises(ValueError, match="expected at most 2 tokens, found 3"):
        detokenizer.rewind(3)
    text = text[: len(text) - detokenizer.rewind(2)]
    assert text + detokenizer.push(ids[-4:]) == make(path).push(ids)


@pytest.mark.parametrize("call", ["push", "finish", "prime", "rewind", "copy"])
def test_decode_that_calls_its_own_detokenizer_raises(call: str) -> None:
    """Two threads could also call it like this, because a decode may release the GIL."""

    class Calling(Slow):
        calls = False

        def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
            if self.calls:
                args = {"push": ([1, 2],), "prime": ([1],), "rewind": (1,)}.get(call, ())
                getattr(detokenizer, call)(*args)
            return "".join(chr(97 + i) for i in ids)

    tokenizer = Calling(backend("bytes"))
    detokenizer = burble.Detokenizer(tokenizer, rewind=4, offsets=True)
    assert detokenizer.push([0, 1]) == "ab"
    for ids in (2, [2, 3]):
        tokenizer.calls = True
        with pytest.raises(RuntimeError, match="one call at a time"):
            detokenizer.push(ids)
        tokenizer.calls = False
        detokenizer.rewind(1)
        assert detokenizer.push(1) == "b"
    assert detokenizer.copy().push([2, 3]) == detokenizer.push([2, 3]) == "cd"


@pytest.mark.parametrize("rewind", [0, 3, 100])
def test_decode_that_raises_takes_no_ids(rewind: int) -> None:
    ids = backend("bytes").encode(TEXT).ids
    tokenizer = Slow(backend("bytes"))
    detokenizer = burble.Detokenizer(tokenizer, rewind=rewind, offsets=True)
    text = detokenizer.push(ids[:6])
    tokenizer.bad = next(i for i in ids[9:] if i not in ids[:9])
    with pytest.raises(KeyError):
        detokenizer.push(ids[6:])
    tokenizer.bad = -1
    assert text + detokenizer.push(ids[6:]) + detokenizer.finish() == TEXT


# ---- offsets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [(), ("zebra", "question", "tothe")])
@pytest.mark.parametrize("rewind", [0, 5])
@pytest.mark.parametrize("step", [1, 3, 100])
def test_offsets_cover_text_and_name_its_tokens(
    path: str, kind: str, stop: Any, rewind: int, step: int
) -> None:
    ids = backend(kind).encode(TEXT).ids
    detokenizer = make(path, kind, stop=stop, rewind=rewind, offsets=True)
    detokenizer.prime(ids[:2])
    last = 0
    for more in [*(ids[n : n + step] for n in range(2, len(ids), step)), None]:
        piece = detokenizer.finish() if more is None else detokenizer.push(more)
        spans = detokenizer.offsets
        assert [s.begin for s in spans] == [0, *(s.end for s in spans)][: len(spans)]
        assert (spans[-1].end if spans else 0) == len(piece)
        for span in spans:
            assert span.begin < span.end
            assert span.first <= span.last < len(ids)
            assert span.last >= last
            last = span.last
            part = piece[span.begin : span.end].strip()
            assert part in backend(kind).decode(ids[span.first : span.last + 1])


def test_offsets_without_option_are_refused(path: str) -> None:
    with pytest.raises(RuntimeError, match="offsets=True"):
        _ = make(path).offsets


# ---- what is refused when it is made -------------------------------------------------------------


def test_option_unknown_to_decode_is_refused_at_once() -> None:
    class Plain:
        def decode(self, ids: list[int]) -> str:
            return "".join(map(chr, ids))

    raw = backend("bytes")
    for tokenizer, message in (
        (raw, r"those of Tokenizer.decode \(skip_special_tokens\), found errors"),
        (Plain(), r"those of Plain.decode \(none\), found errors"),
    ):
        with pytest.raises(TypeError, match=f"decode options: expected {message}"):
            burble.TextIteratorStreamer(tokenizer, errors="ignore")
    with pytest.raises(TypeError, match="found skip_special_tokens"):
        burble.Detokenizer(Plain())
    streamer = burble.TextIteratorStreamer(Plain())
    streamer.put([65, 66])
    streamer.end()
    assert "".join(streamer) == "AB"


@pytest.mark.parametrize("stop", [5, 0.5, object()])
def test_invalid_stop_string_is_refused_by_name(stop: Any) -> None:
    message = f"stop: expected a str, or any number of them, found {type(stop).__name__}"
    with pytest.raises(TypeError, match=message):
        burble.Detokenizer([b"a"], stop=stop)
    with pytest.raises(TypeError, match=message):
        burble.TextIteratorStreamer([b"a"], stop=stop)


def test_special_ids_that_change_vocabulary_are_read_first() -> None:
    tokens = {i: f"token {i}" for i in range(1000)}

    def clearing() -> Iterator[int]:
        tokens.clear()
        yield from ()

    assert len(_core.Vocabulary([("fuse",)], tokens, clearing())) == 0


# ---- other libraries -----------------------------------------------------------------------------


def streamed(detokenizer: burble.Detokenizer, ids: list[int]) -> str:
    return "".join([detokenizer.push(i) for i in ids]) + detokenizer.finish()


def test_pieces_of_bytes_are_decoded_and_others_refused() -> None:
    detokenizer = burble.Detokenizer([b"a", b"\xe4\xb8", None, b"\xad"])
    assert streamed(detokenizer, [0, 1, 2, 3, 1, 9]) == "a中\N{REPLACEMENT CHARACTER}"
    with pytest.raises(TypeError, match="piece 1: expected bytes or None, found str"):
        burble.Detokenizer([b"a", "b"])


def test_tiktoken_equals_its_decode(tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    pieces = [bytes([byte]) for byte in range(256)]
    pieces += [word.encode() for word in sorted({f" {w}" for w in SAMPLE_TEXT.split()})]
    ranks = {piece: i for i, piece in enumerate(pieces)}
    end = len(ranks) + 3
    encoding = tiktoken.Encoding(
        "mine", pat_str=r"\s*\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|end|>": end}
    )
    file = tmp_path / "mine.tiktoken"
    file.write_bytes(b"".join([base64.b64encode(p) + b" %d\n" % i for p, i in ranks.items()]))
    rng = random.Random(1)
    for _ in range(SEQUENCES):
        ids = rng.choices(range(len(ranks)), k=20) + encoding.encode(TEXT)
        assert streamed(burble.Detokenizer(file), ids) == encoding.decode(ids)
        ids.insert(3, end)
        assert streamed(burble.Detokenizer(encoding), ids) == encoding.decode(ids)
    assert streamed(burble.Detokenizer(encoding, skip_special_tokens=True), [end, 65]) == "A"
    streamer = burble.TextIteratorStreamer(encoding)
    streamer.put(encoding.encode(TEXT))
    streamer.end()
    assert "".join(streamer) == TEXT
    with pytest.raises(TypeError, match="found errors"):
        burble.TextIteratorStreamer(encoding, errors="ignore")


def test_sentencepiece_equals_its_decode(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SAMPLE_TEXT.splitlines()),
        model_writer=model,
        vocab_size=500,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    file = tmp_path / "mine.model"
    file.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    rng = random.Random(2)
    for _ in range(SEQUENCES):
        begin = rng.randrange(len(SAMPLE_TEXT))
        ids = processor.encode(SAMPLE_TEXT[begin : begin + 40] + " \u2603\U0001f9ea")
        ids += rng.choices(range(processor.get_piece_size()), k=10)
        for source in (processor, file, str(file)):
            assert streamed(burble.Detokenizer(source), ids) == processor.decode(ids)


def test_mistral_common_equals_its_decode() -> None:
    mistral_common = pytest.importorskip("mistral_common")
    mistral = pytest.importorskip("mistral_common.tokens.tokenizers.mistral")
    base = pytest.importorskip("mistral_common.tokens.tokenizers.base")
    data = Path(mistral_common.__file__).parent / "data"
    for file in (data / "tekken_240911.json", data / "mistral_instruct_tokenizer_240323.model.v3"):
        tokenizer = mistral.MistralTokenizer.from_file(str(file))
        inner = tokenizer.instruct_tokenizer.tokenizer
        ids = inner.encode(TEXT, bos=True, eos=True) * 2
        if file.suffix == ".json":  # a character that a special token breaks
            first, second = (inner.num_special_tokens + byte for byte in "é".encode())
            ids += [first, second, first, inner.bos_id, second]
        for source in (tokenizer, inner, file):
            text = streamed(burble.Detokenizer(source, skip_special_tokens=True), ids)
            assert text == inner.decode(ids, special_token_policy=base.SpecialTokenPolicy.IGNORE)
            if file.suffix == ".json":
                text = streamed(burble.Detokenizer(source), ids)
                assert text == inner.decode(ids, special_token_policy=base.SpecialTokenPolicy.KEEP)


# ---- files ---------------------------------------------------------------------------------------


@NORMALIZED
@pytest.mark.parametrize("skip", [False, True])
def test_tokenizer_json_equals_tokenizer_made_of_it(kind: str, skip: bool, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    backend(kind).save(str(file))
    rng = random.Random(4)
    for source in (file, SHAKESPEARE / "tokenizer.json"):
        tokenizer = tokenizers.Tokenizer.from_file(str(source))
        known = range(tokenizer.get_vocab_size() + 2)
        mine = burble.Detokenizer(source, skip_special_tokens=skip)
        theirs = burble.Detokenizer(tokenizer, skip_special_tokens=skip)
        for _ in range(SEQUENCES):
            ids = rng.choices(known, k=30)
            assert streamed(mine, ids) == streamed(theirs, ids)
        ids = tokenizer.encode("to be or not").ids
        assert streamed(mine, ids) == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b"', 'line 2, column 5 .* expected ":", found the end of the file'),
        (b'{"a": "\xff"}', r"\(byte 7\): expected a string in UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "expected at most 64 arrays and objects in one"),
        (b'{"a": 1}', 'expected the member "model" .* or "config" .* found neither'),
        (b'{"model": 3}', "model: expected an object, found 3"),
        (b'{"model": {"vocab": 3}}', "model.vocab: expected an object or an array, found 3"),
        (b'{"model": {"vocab": {"a": -1}}}', "model.vocab: expected an id from 0 to 65535"),
        (b'{"model": {"vocab": {"a": 0, "b": 0}}}', "expected each id once, found 0"),
        (b'{"model": {"vocab": {"\\ud800": 0}}}', "expected a character or both halves"),
        (b'{"model": {"vocab": {"a": 0, "a": 1}}}', "expected each key once .* found .a. twice"),
        (b'{"model": {"vocab": {"a\\u0000": 0}}}', "expected a key without NUL"),
        (b'{"a": 9223372036854775808}', "expected an integer of 64 bits, found .92233"),
        (b'{"a": NaN}', "expected a value, found .NaN"),
        (b'{"config": {}, "vocab": []}', "config.default_vocab_size: expected an integer"),
        *[(b'{"model": ' + b"[" * n + b"]" * n + b"}", "") for n in range(900, 1000, 2)],
        (b"GGUF", ""),
        (b"what?", ""),
        (b"", ""),
    ],
)
def test_invalid_file_raises_with_its_name(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.json: .*{message}"):
        burble.Detokenizer(file)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({"type": "Magic"}, r'decoder: a decoder of type "Magic" is not supported; in'),
        ({"type": "Sequence", "decoders": [3]}, r"decoder\.decoders\[0\]: expected an object"),
        ({"type": "Strip", "content": "ab", "start": 1, "stop": 0}, "one character"),
        ({"type": "BPEDecoder", "suffix": "a\0"}, r"t\.json: "),
    ],
)
def test_invalid_decoder_raises_with_its_place(
    decoder: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.json"
    file.write_text(json.dumps({**json.loads(backend("bytes").to_str()), "decoder": decoder}))
    with pytest.raises(ValueError, match=message):
        burble.Detokenizer(file)


GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}


@pytest.mark.parametrize(
    ("normalizer", "message"),
    [
        ({"type": "Sequence", "normalizers": [GROWS] * 4}, r"added_tokens\[0\]: .* 65536 bytes"),
        (
            {"type": "Precompiled", "precompiled_charsmap": "AAAAAAAA"},
            r"normalizer\.precompiled_charsmap: expected Base64 of a table",
        ),
    ],
)
def test_invalid_normalizer_raises_with_its_place(
    normalizer: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.json"
    added = [{"id": 1, "content": "a", "normalized": True}]
    model = {"vocab": {"x": 0}}
    file.write_text(json.dumps({"model": model, "normalizer": normalizer, "added_tokens": added}))
    with pytest.raises(ValueError, match=rf"t\.json: {message}"):
        burble.Detokenizer(file)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b'{"model": {"vocab": {"a": 0, "b": 1}}}', "a b"), (b"YQ== 0\nYg== 1\n", "ab")],
)
def test_pipe_is_read_as_file(content: bytes, text: str) -> None:
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    try:
        detokenizer = burble.Detokenizer(f"/dev/fd/{read}")
    finally:
        os.close(read)
    assert detokenizer.push([0, 1]) + detokenizer.finish() == text


def test_unreadable_file_raises_os_error(tmp_path: Path) -> None:
    message = "expected the path of a vocabulary's file, such as tokenizer.json"
    with pytest.raises(FileNotFoundError, match=f"No such file.*{message}.*nowhere"):
        burble.Detokenizer(str(tmp_path / "nowhere"))
    with pytest.raises(IsADirectoryError, match=message):
        burble.Detokenizer(tmp_path)
