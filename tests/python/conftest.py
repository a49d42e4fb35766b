# SPDX-License-Identifier: MIT
"""What the Python tests share: tokenizers, texts, random ids, and what is said at the end."""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers import KINDS
from loops import run_in

# A shell without job control ignores Ctrl-C for what it starts in the background, and so for all
# that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
SHAKESPEARE = ROOT / "models" / "shakespeare"

# BURBLE_TEST_LONG=1: more sequences, and the whole of the texts.
LONG = os.environ.get("BURBLE_TEST_LONG", "") not in ("", "0")

# Tokenizers in ../shared/tokenizers, which a clean clone does not have, and a model on Hugging Face
# that has each.
SHARED_FAMILIES = {
    "gpt2": "openai-community/gpt2",
    "llama2": "meta-llama/Llama-2-7b-hf",
    "llama3": "meta-llama/Meta-Llama-3-8B",
    "phi3": "microsoft/Phi-3-mini-4k-instruct",
    "qwen2": "Qwen/Qwen2-7B",
    "falcon": "tiiuae/falcon-7b",
}
# Tokenizers that are always there: the shipped model's, and two that the tests train.
OWN_FAMILIES = ("shakespeare", "trained-byte-level", "trained-byte-fallback")

# Something of everything that tokenizers find hard; the small tokenizers are trained on it.
SAMPLE_TEXT = """\
The quick brown fox jumps over the lazy dog; it's what we've said: they'd, she'll, I'm, don't.
It is  doubled   and tripled , isn't it ?\tTabs , too !

Größe, naïve café, Žižek, İstanbul, œuvre, «guillemets», “curly” – en — em … end.
Съешь же ещё этих мягких французских булок, да выпей чаю.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. עברית עם English. العربية: نصٌّ مُشَكَّل.
हिन्दी में एक वाक्य। ภาษาไทยไม่มีการเว้นวรรค 中文没有空格,一个字一个字地出现。
日本語のテキスト、カタカナとひらがな。한국어 문장입니다. 𠀀𠀁 CJK 扩展。
Emoji: 👍🏽 👩‍👩‍👧‍👦 🇩🇪 ☃️ 🎉🎉; combining: é ñ ̈; math: 𝔘𝔫𝔦 ∑ √2 ≠ ∞; \u200bzero\u200dwidth\ufeff.
def f(n: int) -> int:
    return n if n < 2 else f(n - 1) + f(n - 2)  # comment
"""


def require_shared(name: str) -> Path:
    """The folder of a tokenizer in ../shared, or a skip."""
    path = SHARED / "tokenizers" / name
    if not path.is_dir():
        pytest.skip(
            f"not tested with the tokenizer {name}, which is not part of the clone: put"
            f" tokenizer.json and tokenizer_config.json of {SHARED_FAMILIES[name]} (Hugging"
            f" Face) into {path}"
        )
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With the tokenizers of ../shared, an instrumented extension takes too long. And
    BURBLE_TEST_TIMEOUT=<seconds>: for each test, where something makes all of them slow."""
    for item in items:
        params = getattr(item, "callspec", None)
        if params is not None and params.params.get("family") in SHARED_FAMILIES:
            item.add_marker(pytest.mark.no_asan)
    if seconds := os.environ.get("BURBLE_TEST_TIMEOUT"):
        for item in items:
            item.add_marker(pytest.mark.timeout(float(seconds)), append=False)


@pytest.fixture(scope="module", autouse=True)
def _frozen_heap() -> None:
    """Leave what there is, the modules of transformers above all, out of the collections of a
    module's tests: with it, each takes up to a second."""
    gc.collect()
    gc.freeze()


# ---- where a test reads --------------------------------------------------------------------------


@pytest.fixture(params=(*KINDS, "threads"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture
def run(loop_kind: str) -> Any:
    """A loops.Run: like asyncio.run, in a loop of each kind."""
    return functools.partial(run_in, loop_kind)


@pytest.fixture(params=["thread", "asyncio"])
def streamer(request: pytest.FixtureRequest) -> Any:
    """A drop-in streamer of each kind that is read."""
    from drop_in import BOTH
    from shipped import tokenizer

    return BOTH[request.param == "asyncio"](tokenizer())


@pytest.fixture
def own() -> Any:
    """A streamer for run()."""
    from shipped import tokenizer

    import burble

    return burble.AsyncTextIteratorStreamer(tokenizer())


# ---- tokenizers ----------------------------------------------------------------------------------


@dataclass
class Family:
    """A tokenizer of transformers, with the ids that make sequences hard."""

    name: str
    tokenizer: Any
    size: int  # ids from here on stand for nothing
    special: list[int]
    byte_of: dict[int, int]  # ids of single bytes, most sequences of which are not UTF-8
    cutting: list[int]  # end in a newline, a space or an ideograph
    byte_fallback: bool
    pieces: list[int] = field(init=False)
    piece_of: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.pieces = list(self.byte_of)
        self.piece_of = {byte: i for i, byte in self.byte_of.items()}

    @property
    def backend(self) -> Any:
        return self.tokenizer.backend_tokenizer

    def random_ids(self, rng: random.Random, n: int) -> list[int]:
        """``n`` ids of a random mixture of kinds."""
        kinds = [
            lambda: rng.randrange(self.size),
            lambda: rng.choice(self.special),
            lambda: rng.choice(self.pieces),
            lambda: rng.choice(self.cutting),
            lambda: self.size + rng.randrange(1000),
        ]
        weights = [rng.choice((0, 1, 8)) for _ in kinds]
        if not any(weights):
            weights[0] = 1
        ids: list[int] = []
        while len(ids) < n:
            if rng.random() < 0.05:  # a character in pieces, with or without its end
                ids += self.spell(rng.choice("é中€한👍𠀀\n \ufffd"))[: rng.randint(1, 4)]
            ids.append(rng.choices(kinds, weights)[0]())
        return ids[:n]

    def spell(self, text: str | bytes) -> list[int]:
        """Text in pieces of one byte each (those that there are)."""
        data = text.encode() if isinstance(text, str) else text
        return [self.piece_of[byte] for byte in data if byte in self.piece_of]


def byte_level_alphabet() -> list[str]:
    """GPT-2's spelling of the 256 bytes, in their order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(rest)) for byte in range(256)]


def family_of(name: str, tokenizer: Any) -> Family:
    backend = tokenizer.backend_tokenizer
    vocab: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    size = max(vocab.values()) + 1
    byte_fallback = "<0x0A>" in vocab
    names = [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else byte_level_alphabet()
    byte_of = {vocab[name]: byte for byte, name in enumerate(names) if name in vocab}
    added = backend.get_added_tokens_decoder()
    special = [i for i, token in added.items() if token.special]
    rng = random.Random(name)
    letter = next(i for i, byte in byte_of.items() if byte == ord("A"))
    cutting = []
    for i in [*rng.sample(range(size), min(size, 4000)), *byte_of]:
        text = backend.decode([letter, i], skip_special_tokens=False)[1:]
        if text.endswith(("\n", " ")) or "\u4e00" <= text[-1:] <= "\u9fff":
            cutting.append(i)
    return Family(name, tokenizer, size, special, byte_of, cutting, byte_fallback)


def fast(backend: Any, **kwargs: Any) -> Any:
    """A ``tokenizers.Tokenizer`` as a tokenizer of transformers."""
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **kwargs)


def train_byte_level() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|end|>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([SAMPLE_TEXT], trainer)
    backend.add_tokens(["<tool>", "añadido", "两个字"])
    return backend


def train_byte_fallback() -> Any:
    """In the manner of Llama 2: 256 byte tokens, U+2581 for spaces, one space stripped."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "<s>", "</s>"],
        max_token_length=8,
        show_progress=False,
    )
    # All other characters become byte tokens. (The trainer's limit_alphabet would choose among
    # equally frequent ones at random.)
    text = SAMPLE_TEXT.replace(" ", "\u2581")
    frequent = sorted(set(text), key=lambda c: (-text.count(c), c))[:120]
    backend.train_from_iterator(["".join(c for c in text if c in frequent)], trainer)
    described = json.loads(backend.to_str())
    vocab: dict[str, int] = described["model"]["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    described["model"].update(byte_fallback=True, fuse_unk=True)
    backend = Tokenizer.from_str(json.dumps(described))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_tokens(["<tool>", "\u2581añadido"])
    return backend


def load_family(name: str) -> Family:
    transformers = pytest.importorskip("transformers")
    if name == "trained-byte-level":
        return family_of(name, fast(train_byte_level(), eos_token="<|end|>"))
    if name == "trained-byte-fallback":
        return family_of(name, fast(train_byte_fallback(), eos_token="</s>", unk_token="<unk>"))
    path = SHAKESPEARE if name == "shakespeare" else require_shared(name)
    return family_of(name, transformers.AutoTokenizer.from_pretrained(path))


@pytest.fixture(scope="session", params=(*SHARED_FAMILIES, *OWN_FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return load_family(request.param)


@pytest.fixture(scope="session", params=OWN_FAMILIES)
def own_family(request: pytest.FixtureRequest) -> Family:
    return load_family(request.param)


@pytest.fixture(scope="session")
def shakespeare() -> Any:
    """The tokenizer of the shipped model."""
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(SHAKESPEARE)


@pytest.fixture(scope="session")
def shakespeare_model() -> Any:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(1)
    return transformers.AutoModelForCausalLM.from_pretrained(SHAKESPEARE).eval()


# ---- texts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """The texts by name: the sample above and, where ../shared is there, its corpora."""
    found = {"sample": SAMPLE_TEXT}
    for path in sorted((SHARED / "corpus").glob("*.txt")):
        found[path.stem] = path.read_text(encoding="utf-8")
    return found


# ---- the documented exception --------------------------------------------------------------------


def bytes_as_text(data: bytes) -> str:
    """Valid characters as they are, every other byte as one U+FFFD."""
    text = ""
    while data:
        try:
            return text + data.decode()
        except UnicodeDecodeError as error:
            text += data[: error.start].decode() + "\N{REPLACEMENT CHARACTER}"
            data = data[error.start + 1 :]
    return text


def documented_decode(family: Family, ids: list[int], skip: bool) -> tuple[str, bool]:
    """What burble promises to make of ids of a byte-fallback tokenizer, and whether there was a
    run of byte tokens that is not UTF-8: the exception of BURBLE_STEP_BYTE_FALLBACK in
    include/burble/vocab.h, written down a second time."""
    special = set(family.special) if skip else set()
    parts: list[str] = []
    run = bytearray()
    malformed = False

    def end_run() -> None:
        nonlocal malformed
        text = bytes_as_text(bytes(run))
        malformed = malformed or text.encode() != bytes(run)
        parts.append(text)
        run.clear()

    for i in ids:
        if i in special or i >= family.size:
            continue
        if i in family.byte_of:
            run.append(family.byte_of[i])
            continue
        end_run()
        parts.append(family.backend.id_to_token(i).replace("\u2581", " "))
    end_run()
    text = "".join(parts)
    return text.removeprefix(" "), malformed


# ---- the tally -----------------------------------------------------------------------------------

_TALLY: pytest.StashKey[dict[str, Counter[str]]] = pytest.StashKey()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> dict[str, Counter[str]]:
    """Counts what was compared, by heading; shown at the end of the run."""
    return pytestconfig.stash.setdefault(_TALLY, {})


_MEASURED: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> list[str]:
    """Lines that say what was measured; shown at the end of the run."""
    return pytestconfig.stash.setdefault(_MEASURED, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash.get(_TALLY, {}) and not any((SHARED / "corpus").glob("*.txt")):
        terminalreporter.write_line(
            f"not compared: texts beside the sample; put some, in UTF-8, into {SHARED}/corpus/*.txt"
        )
    for line in config.stash.get(_MEASURED, []):
        terminalreporter.write_line(line)
    for heading, counts in sorted(config.stash.get(_TALLY, {}).items()):
        line = f"{heading}: {counts['compared']:,} sequences compared, {counts['differ']:,} differ"
        notes = {what: n for what, n in counts.items() if what not in ("compared", "differ")}
        if notes:
            line += f" ({', '.join(f'{n:,} {what}' for what, n in notes.items())})"
        terminalreporter.write_line(line)
