# SPDX-License-Identifier: MIT
"""burble.Detokenizer: what it hands out, joined, is what decode makes of all ids at once."""

from __future__ import annotations

import array
import gc
import random
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from conftest import (
    LONG,
    Family,
    documented_decode,
    fast,
    train_byte_fallback,
    train_byte_level,
)

import burble
from burble import _tokenizers

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SEQUENCES = 5000 if LONG else 1000


def streamed(detokenizer: burble.Detokenizer, ids: list[int], cut: Callable[[], int]) -> str:
    """The text of ``ids``, handed over ``cut()`` at a time."""
    text = []
    at = 0
    while at < len(ids):
        n = cut()
        text.append(detokenizer.push(ids[at : at + n]))
        at += n
    return "".join(text) + detokenizer.finish()


def expected(family: Family, ids: list[int], skip: bool) -> str:
    if family.byte_fallback:
        text, malformed = documented_decode(family, ids, skip)
        if malformed:
            return text
    return str(family.tokenizer.decode(ids, skip_special_tokens=skip))


# ---- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True], ids=["specials", "no-specials"])
def test_text_of_random_ids_equals_decode(
    family: Family, skip: bool, tally: dict[str, Counter[str]]
) -> None:
    """Handed over whole, one by one, and in chunks of random lengths."""
    counts = tally.setdefault("detokenizer", Counter())
    rng = random.Random(f"{family.name} {skip}")
    detokenizer = burble.Detokenizer(family.tokenizer, skip_special_tokens=skip)
    for _ in range(SEQUENCES):
        ids = family.random_ids(rng, rng.randint(1, 60))
        text = expected(family, ids, skip)
        ways = (lambda: 100, lambda: 1, lambda: rng.randint(1, 9))
        got = [streamed(detokenizer, ids, way) for way in ways]
        counts["compared"] += 1
        counts["differ"] += got != [text] * 3
        assert got == [text] * 3, ids


def test_texts_encoded_and_streamed_are_unchanged(family: Family, texts: dict[str, str]) -> None:
    detokenizer = burble.Detokenizer(family.tokenizer)
    for text in texts.values():
        some = text if LONG else text[:200_000]
        ids = family.tokenizer.encode(some, add_special_tokens=False)
        whole = family.tokenizer.decode(ids)
        assert streamed(detokenizer, ids, lambda: 1) == whole
        assert streamed(detokenizer, ids, lambda: 1000) == whole


@pytest.mark.parametrize("skip", [None, False, True])
def test_raw_tokenizer_streams_as_that_of_transformers(family: Family, skip: bool | None) -> None:
    kwargs = {} if skip is None else {"skip_special_tokens": skip}
    detokenizer = burble.Detokenizer(family.backend, **kwargs)
    assert detokenizer.path == "compiled"
    rng = random.Random(family.name)
    for _ in range(50):
        ids = family.random_ids(rng, 30)
        text = expected(family, ids, bool(skip))
        assert streamed(detokenizer, ids, lambda: 1) == text


def test_tokenizer_of_known_family_is_compiled(family: Family) -> None:
    assert burble.Detokenizer(family.tokenizer).path == "compiled"
    assert burble.TextStreamer(family.tokenizer).path == "compiled"


def test_every_single_id_equals_decode(own_family: Family) -> None:
    detokenizer = burble.Detokenizer(own_family.tokenizer)
    for i in range(own_family.size + 10):
        assert detokenizer.push(i) + detokenizer.finish() == own_family.tokenizer.decode([i]), i


def test_incomplete_character_is_held_until_its_end_or_finish(
    own_family: Family,
) -> None:
    detokenizer = burble.Detokenizer(own_family.tokenizer)
    letter, *character = own_family.spell("A€")
    assert detokenizer.push(letter) == "A"
    assert [detokenizer.push(i) for i in character] == ["", "", "€"]
    assert detokenizer.push(character[:2]) == ""
    # One for each byte where the tokenizer falls back to bytes, else one for all of them.
    assert detokenizer.finish() == "\ufffd" * (2 if own_family.byte_fallback else 1)
    assert detokenizer.finish() == ""


def test_id_beyond_vocabulary_gives_no_text(own_family: Family) -> None:
    tokenizer = own_family.tokenizer
    detokenizer = burble.Detokenizer(tokenizer)
    a, *euro = own_family.spell("A€")
    for beyond in (own_family.size, own_family.size + 1, 2**24, 2**31 - 1):
        ids = [a, beyond, *euro[:1], beyond, *euro[1:], beyond, a]
        assert streamed(detokenizer, ids, lambda: 1) == tokenizer.decode(ids) == "A€A"


def test_push_after_finish_begins_new_sequence(own_family: Family) -> None:
    detokenizer = burble.Detokenizer(own_family.tokenizer)
    ids = own_family.tokenizer.encode(" Hello  there", add_special_tokens=False)
    first = streamed(detokenizer, ids, lambda: 1)
    assert streamed(detokenizer, ids, lambda: 1) == first == own_family.tokenizer.decode(ids)


# ---- added tokens --------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [train_byte_level, train_byte_fallback])
def test_added_tokens_equal_decode(train: Callable[[], Any]) -> None:
    """Special or not, normalized or not, with characters in and outside the byte alphabet."""
    from tokenizers import AddedToken

    backend = train()
    added = ["<a b>", " lead", "trail ", "Ġé", "中文", "\u2581x", "<0x41>", "\n"]
    for n, content in enumerate(added):
        token = AddedToken(content, normalized=n % 2 == 0, lstrip=n % 3 == 0)
        backend.add_tokens([token])
    backend.add_special_tokens([AddedToken("<|s p|>", normalized=True), "<|special|>", "\u2581y"])
    tokenizer = fast(backend)
    ids = range(backend.get_vocab_size() + 3)
    rng = random.Random(3)
    for skip in (False, True):
        detokenizer = burble.Detokenizer(tokenizer, skip_special_tokens=skip)
        assert detokenizer.path == "compiled"
        for last in backend.get_added_tokens_decoder():
            sequence = [*rng.choices(ids[-20:], k=3), last]
            if any(tokenizer.convert_ids_to_tokens(i) == "<0x41>" for i in sequence[:-1]):
                sequence = [last]  # a byte token, for a decoder that knows them
            text = tokenizer.decode(sequence, skip_special_tokens=skip)
            assert streamed(detokenizer, sequence, lambda: 1) == text, sequence


def test_token_added_after_first_use_is_known() -> None:
    tokenizer = fast(train_byte_level())
    first = burble.Detokenizer(tokenizer)
    new = len(tokenizer)
    assert first.push(new) == "" == tokenizer.decode([new])
    tokenizer.add_tokens(["<new one>"])
    second = burble.Detokenizer(tokenizer)
    assert second.push(new) == "<new one>" == tokenizer.decode([new])
    assert first.push(new) == ""  # it keeps the vocabulary that it was made with


def test_token_made_special_after_first_use_is_skipped() -> None:
    tokenizer = fast(train_byte_level())
    tool = tokenizer.convert_tokens_to_ids("<tool>")
    assert burble.Detokenizer(tokenizer, skip_special_tokens=True).push(tool) == "<tool>"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    assert tokenizer.decode([tool], skip_special_tokens=True) == ""
    assert burble.Detokenizer(tokenizer, skip_special_tokens=True).push(tool) == ""


# ---- the cache -----------------------------------------------------------------------------------


def test_vocabulary_is_made_once_per_tokenizer() -> None:
    tokenizer = fast(train_byte_level())
    first, _ = _tokenizers.decoding_of(tokenizer, {})
    second, skip = _tokenizers.decoding_of(tokenizer, {"skip_special_tokens": True})
    assert first is second
    assert skip
    other, _ = _tokenizers.decoding_of(fast(train_byte_level()), {})
    assert other is not first


def test_cache_does_not_keep_tokenizer_alive() -> None:
    tokenizer = fast(train_byte_level())
    detokenizer = burble.Detokenizer(tokenizer)
    gone = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert gone() is None
    assert detokenizer.push([5]) + detokenizer.finish()  # the vocabulary lives on


# ---- what a push takes ---------------------------------------------------------------------------

TAKEN = {
    "int": lambda ids: ids[0],
    "numpy scalar": lambda ids: np.int64(ids[0]),
    "numpy scalar, unsigned": lambda ids: np.uint16(ids[0]),
    "torch scalar": lambda ids: torch.tensor(ids[0]),
    "numpy array of no dimension": lambda ids: np.array(ids[0]),
}
TAKEN_MANY = {
    "list": lambda ids: ids,
    "tuple": tuple,
    "list [1, n]": lambda ids: [ids],
    "tuple [1, n]": lambda ids: (tuple(ids),),
    "torch [n]": torch.tensor,
    "torch [1, n]": lambda ids: torch.tensor([ids]),
    "torch int32": lambda ids: torch.tensor(ids, dtype=torch.int32),
    "torch, not contiguous": lambda ids: torch.tensor([[i, 0] for i in ids])[:, 0],
    "numpy [n]": np.array,
    "numpy [1, n]": lambda ids: np.array([ids]),
    "numpy int32": lambda ids: np.array(ids, dtype=np.int32),
    "numpy, backwards": lambda ids: np.array(ids[::-1])[::-1],
    "numpy, a column": lambda ids: np.array([[i, -1] for i in ids])[:, 0],
    "numpy [1, n], not contiguous": lambda ids: np.array([[[i, -1] for i in ids]])[:, :, 0],
    "numpy, other byte order": lambda ids: np.array(ids, dtype=">i8"),
    "array": lambda ids: array.array("l", ids),
    "memoryview": lambda ids: memoryview(array.array("i", ids)),
    "masked array": np.ma.array,
    "numpy uint16": lambda ids: np.array(ids, dtype=np.uint16),
    "numpy objects": lambda ids: np.array(ids, dtype=object),
    "list of numpy scalars": lambda ids: list(np.array(ids)),
    "list of torch scalars": lambda ids: list(torch.tensor(ids)),
}
NOTHING = {
    "list": [],
    "list [1, 0]": [[]],
    "torch": torch.tensor([], dtype=torch.long),
    "torch [1, 0]": torch.zeros((1, 0), dtype=torch.long),
    "numpy": np.array([], dtype=np.int64),
}


def both_paths(tokenizer: Any) -> list[Any]:
    """A detokenizer of each kind for the same tokenizer."""
    window = _tokenizers._window(tokenizer, {}, False, False, False)
    windowed = burble._core.Detokenizer(window)
    assert windowed.path == "windowed"
    return [burble.Detokenizer(tokenizer), windowed]


@pytest.mark.parametrize("kind", TAKEN)
def test_single_id_of_any_type_is_taken(shakespeare: Any, kind: str) -> None:
    ids = shakespeare.encode("Romeo")
    for detokenizer in both_paths(shakespeare):
        assert detokenizer.push(TAKEN[kind](ids)) == shakespeare.decode(ids[:1])


@pytest.mark.parametrize("n", [1, 2, 100])
@pytest.mark.parametrize("kind", TAKEN_MANY)
def test_ids_of_any_type_are_taken(shakespeare: Any, kind: str, n: int) -> None:
    ids = (shakespeare.encode("Wherefore art thou Romeo?") * n)[:n]
    for detokenizer in both_paths(shakespeare):
        assert detokenizer.push(TAKEN_MANY[kind](ids)) == shakespeare.decode(ids)


@pytest.mark.parametrize("kind", NOTHING)
def test_empty_ids_give_no_text(shakespeare: Any, kind: str) -> None:
    for detokenizer in both_paths(shakespeare):
        assert detokenizer.push(NOTHING[kind]) == ""


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "negative": (-1, ValueError, r"from 0 to 2147483647, found -1$"),
    "negative in a list": ([5, -7], ValueError, r"found -7$"),
    "negative in a tensor": (torch.tensor([[5, -100]]), ValueError, r"found -100$"),
    "beyond int32": (2**31, ValueError, r"found 2147483648$"),
    "beyond int64": ([5, 2**70], ValueError, r"found 1180591620717411303424$"),
    "beyond int32 in an array": (np.array([2**40]), ValueError, r"found 1099511627776$"),
    "beyond int32, whose low half is an id": (
        np.array([5, 2**32 + 5]),
        ValueError,
        r"found 4294967301$",
    ),
    "negative in an array": (np.array([5, -7]), ValueError, r"found -7$"),
    "negative in an int32 array": (np.array([5, -7], np.int32), ValueError, r"found -7$"),
    "masked id": (np.ma.array([5, 6], mask=[False, True]), TypeError, r"found NoneType$"),
    "two rows in an array": (np.array([[5], [5]]), ValueError, r"found 2 rows$"),
    "bytearray": (bytearray(b"5678"), TypeError, r"found bytearray$"),
    "float": (1.0, TypeError, r"found float$"),
    "float in a list": ([5, 1.5], TypeError, r"found float$"),
    "float tensor": (torch.tensor([1.0]), TypeError, r"found float$"),
    "float array": (np.array([[1.5]]), TypeError, r"found float$"),
    "two rows": ([[5], [5]], ValueError, r"\[n\] or \[1, n\], found 2 rows$"),
    "two rows in a tensor": (torch.tensor([[5, 5]] * 3), ValueError, r"found 3 rows$"),
    "three dimensions": (torch.tensor([[[5]]]), TypeError, r"shape \[n\] or \[1, n\]$"),
    "None": (None, TypeError, r"found NoneType$"),
    "None in a list": ([None], TypeError, r"found NoneType$"),
    "str": ("5", TypeError, r"found str$"),
    "str in a list": (["5"], TypeError, r"found str$"),
    "bytes": (b"5", TypeError, r"found bytes$"),
    "dict": ({5: 5}, TypeError, r"found dict$"),
    "iterator": (iter([5]), TypeError, r"found list_iterator$"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_ids_are_named_and_change_nothing(own_family: Family, kind: str) -> None:
    value, error, message = REFUSED[kind]
    euro = own_family.spell("€")
    for detokenizer in both_paths(own_family.tokenizer):
        assert detokenizer.push(euro[:2]) == ""
        with pytest.raises(error, match=message):
            detokenizer.push(value)
        assert detokenizer.push(euro[2:]) == "€"
        assert detokenizer.finish() == ""


@pytest.mark.parametrize("kind", REFUSED)
def test_ids_refused_by_detokenizer_are_refused_by_streamer(own_family: Family, kind: str) -> None:
    value, error, message = REFUSED[kind]
    streamer = burble.TextIteratorStreamer(own_family.tokenizer)
    euro = own_family.spell("€")
    streamer.put(euro[:1])
    with pytest.raises(error, match=message):
        streamer.put(value)
    streamer.put(euro[1:])
    streamer.end()
    assert list(streamer) == ["€"]


def test_two_rows_as_skipped_prompt_are_refused(shakespeare: Any) -> None:
    """As upstream does: before anything else."""
    streamer = burble.TextStreamer(shakespeare, skip_prompt=True)
    with pytest.raises(ValueError, match="found 2 rows"):
        streamer.put(torch.tensor([[5], [5]]))
    assert streamer.next_tokens_are_prompt


@pytest.mark.parametrize("what", [None, 5, object()])
def test_object_that_is_no_tokenizer_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match=f"expected a tokenizer .* found {type(what).__name__}$"):
        burble.Detokenizer(what)
