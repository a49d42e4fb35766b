# SPDX-License-Identifier: MIT
"""burble's streamers against those of transformers, chunk for chunk.

What upstream's ``TextStreamer`` hands to ``on_finalized_text`` is recorded with the ``put`` at
which it came; burble has to hand out the same at the same ``put``. Empty chunks are left out.

Two things are mended in what upstream decodes with, never its rule for chunks:

* A tokenizer that strips the space at the beginning of a text eats one after every newline, because
  upstream forgets there what it has decoded. It is given the text of all ids, from there on.
* A run of byte tokens that is not UTF-8 is where burble differs by design (include/burble/vocab.h).
  Upstream is given text by the documented rule.

The tally at the end of the run says how often either was needed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import LONG, Family, documented_decode

import burble

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.no_asan

Tally = dict[str, Counter[str]]
Chunk = tuple[int, str, bool]  # at which put, the text, whether it is the last one

SEQUENCES = 5000 if LONG else 1000
OPTIONS = [
    pytest.param(skip_prompt, skip_special, id=f"{prompt}-{special}")
    for skip_prompt, prompt in ((False, "prompt"), (True, "no-prompt"))
    for skip_special, special in ((False, "specials"), (True, "no-specials"))
]


class Recorder:
    """Mixed into a streamer: keeps its chunks instead of printing them."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.chunks.append((self.puts, text, stream_end))

    def record(self, puts: list[Any]) -> list[Chunk]:
        self.chunks: list[Chunk] = []
        for self.puts, ids in enumerate(puts):  # on_finalized_text looks at it
            self.put(ids)  # type: ignore[attr-defined]
        self.puts = len(puts)
        self.end()  # type: ignore[attr-defined]
        return self.chunks


class Upstream(Recorder, transformers.TextStreamer):  # type: ignore[misc, name-defined]
    pass


class Ours(Recorder, burble.TextStreamer):
    pass


class Mended:
    """A tokenizer for upstream: decodes its cache as the continuation of what it has forgotten."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._before: list[int] = []
        self._start = 0
        self._cache: list[int] = []
        self.needed = False

    def decode(self, cache: list[int], **_: Any) -> str:
        if cache is not self._cache:  # upstream has put a new list in its place
            self._before += self._cache
            self._start = len(self._decode(self._before))
            self._cache = cache
            self.needed = bool(self._before)
        return self._decode(self._before + cache)[self._start :]


def as_generate_puts(prompt: list[int], ids: list[int]) -> list[Any]:
    """The prompt in two dimensions, then one id at a time in one."""
    return [torch.tensor([prompt]), *torch.tensor(ids).reshape(-1, 1).unbind()]


class Comparison:
    """Compares sequences of one tokenizer under one set of options."""

    def __init__(
        self, family: Family, skip_prompt: bool, skip_special: bool, counts: Counter[str]
    ) -> None:
        self.family = family
        self.skip_prompt = skip_prompt
        self.skip_special = skip_special
        self.kwargs: dict[str, Any] = {"skip_special_tokens": True} if skip_special else {}
        self.ours = Ours(family.tokenizer, skip_prompt, **self.kwargs)
        assert self.ours.path == "compiled"
        self.counts = counts
        self.differences: list[str] = []

    def decode(self, ids: list[int]) -> str:
        return str(self.family.tokenizer.decode(ids, **self.kwargs))

    def documented(self, ids: list[int]) -> str:
        return documented_decode(self.family, ids, self.skip_special)[0]

    def malformed_for_now(self, ids: list[int], first_put: int) -> bool:
        """Whether the rules differ on what any of the puts, of one id each but the first, ends."""
        ends = (
            n for n in range(max(1, first_put), len(ids) + 1) if ids[n - 1] in self.family.byte_of
        )
        return any(self.documented(ids[:n]) != self.decode(ids[:n]) for n in ends)

    def compare(self, prompt: list[int], ids: list[int]) -> None:
        puts = as_generate_puts(prompt, ids)
        decoded = ids if self.skip_prompt else prompt + ids
        decode = self.decode
        if self.family.byte_fallback:
            text, malformed = documented_decode(self.family, decoded, self.skip_special)
            assert malformed or text == self.decode(decoded), decoded  # it is written down right
            # A run that is not UTF-8 yet, at the end of a put, looks malformed to upstream.
            if malformed or self.malformed_for_now(decoded, 0 if self.skip_prompt else len(prompt)):
                decode = self.documented
                self.counts["by the documented rule for malformed byte tokens"] += 1
        tokenizer: Any = self.family.tokenizer
        if self.family.byte_fallback:
            tokenizer = Mended(decode)
        theirs = Upstream(tokenizer, self.skip_prompt, **self.kwargs).record(puts)
        ours = self.ours.record(puts)
        if isinstance(tokenizer, Mended) and tokenizer.needed and decode == self.decode:
            self.counts["with the space after a newline mended"] += 1

        self.counts["compared"] += 1
        whole = decode(decoded) if decoded else ""
        if ours != theirs or "".join(text for _, text, _ in ours) != whole:
            self.counts["differ"] += 1
            self.differences.append(
                f"prompt {prompt}, ids {ids}\n"
                f"  theirs {theirs}\n  ours   {ours}\n  whole  {whole!r}"
            )

    def check(self) -> None:
        assert not self.differences, (
            f"{self.family.name}: {len(self.differences)} sequences differ, the first ones:\n"
            + "\n".join(self.differences[:3])
        )


@pytest.mark.parametrize(("skip_prompt", "skip_special"), OPTIONS)
def test_random_ids_give_chunks_of_transformers(
    family: Family, skip_prompt: bool, skip_special: bool, tally: Tally
) -> None:
    counts = tally.setdefault("parity, random ids", Counter())
    comparison = Comparison(family, skip_prompt, skip_special, counts)
    rng = random.Random(f"{family.name} {skip_prompt} {skip_special}")
    for _ in range(SEQUENCES):
        ids = family.random_ids(rng, rng.randint(4, 32))
        prompt = rng.randint(1, 8)
        comparison.compare(ids[:prompt], ids[prompt:])
    comparison.check()


def pieces_of_text(family: Family, text: str, seed: str) -> Iterator[list[int]]:
    """A short text whole and line by line; of a long one some slices (long tests: all of them)."""
    starts = range(0, len(text), 1200)
    long = len(starts) > 8
    for start in random.Random(seed).sample(starts, 8) if long and not LONG else starts:
        yield family.tokenizer.encode(text[start : start + 1200], add_special_tokens=False)
    if not long:
        for line in text.splitlines(keepends=True):
            yield family.tokenizer.encode(line)


@pytest.mark.parametrize(("skip_prompt", "skip_special"), OPTIONS)
def test_texts_give_chunks_of_transformers(
    family: Family, texts: dict[str, str], skip_prompt: bool, skip_special: bool, tally: Tally
) -> None:
    counts = tally.setdefault("parity, texts", Counter())
    comparison = Comparison(family, skip_prompt, skip_special, counts)
    seed = f"{family.name} {skip_prompt} {skip_special}"  # other slices each time
    rng = random.Random(seed)
    for text in texts.values():
        for ids in filter(None, pieces_of_text(family, text, seed)):
            prompt = rng.randint(1, min(30, len(ids)))
            comparison.compare(ids[:prompt], ids[prompt:])
    comparison.check()


def test_several_ids_per_put_give_chunks_of_transformers(family: Family, tally: Tally) -> None:
    """As assisted decoding does: [1, n] at every step."""
    counts = tally.setdefault("parity, several ids in a put", Counter())
    rng = random.Random(family.name)
    ours = Ours(family.tokenizer)
    for _ in range(200):
        ids = family.random_ids(rng, 40)
        if family.byte_fallback:
            ids = [i for i in ids if i not in family.byte_of]
        puts = []
        while ids:
            n = rng.randint(1, 6)
            puts.append(torch.tensor([ids[:n]]))
            ids = ids[n:]
        tokenizer: Any = family.tokenizer
        if family.byte_fallback:
            tokenizer = Mended(tokenizer.decode)
        theirs = Upstream(tokenizer).record(puts)
        counts["compared"] += 1
        counts["differ"] += ours.record(puts) != theirs
        assert ours.chunks == theirs


def test_iterator_gives_chunks_of_transformers(family: Family) -> None:
    """Through TextIteratorStreamer: what upstream queues, without the empty strings."""
    rng = random.Random(family.name)
    for _ in range(50):
        ids = family.random_ids(rng, 30)
        if family.byte_fallback:  # the two exceptions have their tests above
            ids = [i for i in ids if i not in family.byte_of and i not in family.cutting]
        got = []
        for streamer_class in (transformers.TextIteratorStreamer, burble.TextIteratorStreamer):
            streamer = streamer_class(family.tokenizer, skip_prompt=True, skip_special_tokens=True)
            for put in as_generate_puts([1, 2, 3], ids):
                streamer.put(put)
            streamer.end()
            got.append([text for text in streamer if text])
        theirs, ours = got
        assert ours == theirs


def test_streamer_after_end_begins_afresh(own_family: Family) -> None:
    rng = random.Random(1)
    streamer = Ours(own_family.tokenizer, skip_prompt=True)
    for _ in range(20):
        puts = as_generate_puts([1], own_family.random_ids(rng, 20))
        assert streamer.record(puts) == Ours(own_family.tokenizer, skip_prompt=True).record(puts)


# ---- chunk="token" -------------------------------------------------------------------------------


def continuations(family: Family) -> list[list[int]]:
    """What may come next: an end, a letter, or bytes that complete any kind of character."""
    found: list[list[int]] = [[], family.spell("A")]
    for byte in (b"\x80", b"\x90", b"\xa0", b"\xbf"):
        found += [family.spell(byte * n) for n in (1, 2, 3)]
    return found


def common_beginning(texts: list[str]) -> str:
    return next(
        (texts[0][:n] for n, column in enumerate(zip(*texts)) if len(set(column)) > 1),
        min(texts, key=len),
    )


def test_token_chunks_come_as_early_as_text_is_certain(family: Family, tally: Tally) -> None:
    """After each id, what has come out is all that no continuation can change."""
    counts = tally.setdefault("as early as possible", Counter())
    rng = random.Random(family.name)
    nexts = continuations(family)
    for n in range(1000 if LONG else 100):
        skip = n % 2 == 0
        ids = family.random_ids(rng, rng.randint(10, 40))

        def decode(ids: list[int], skip: bool = skip) -> str:
            if family.byte_fallback:
                return documented_decode(family, ids, skip)[0]
            return str(family.backend.decode(ids, skip_special_tokens=skip))

        streamer = Ours(family.tokenizer, chunk="token", skip_special_tokens=skip)
        streamer.record([torch.tensor([i]) for i in ids])
        emitted = dict.fromkeys(range(-1, len(ids) + 1), "")
        for put, text, _ in streamer.chunks:
            assert not emitted[put]  # one put, one chunk
            emitted[put] = text
        counts["compared"] += 1
        sure = ""
        for put in range(len(ids)):
            sure += emitted[put]
            so_far = ids[: put + 1]
            expected = decode(so_far)
            if expected.endswith("\N{REPLACEMENT CHARACTER}"):
                expected = common_beginning([decode(so_far + more) for more in nexts])
            counts["differ"] += sure != expected
            assert sure == expected, (so_far, skip)
        assert sure + emitted[len(ids)] == decode(ids)
