# SPDX-License-Identifier: MIT
"""What a tokenizer says of itself, compiled into a vocabulary where its rule is known."""

from __future__ import annotations

import inspect
import itertools
import json
import re
import weakref
from collections.abc import Collection, Iterable
from typing import Any, Callable, NamedTuple, Union

from . import _core
from ._sources import vocabulary_of
from ._steps import PLAIN_STEPS, Step, literal_of
from ._window import Window, takes_back

Source = Union[_core.Vocabulary, Window]

# Where transformers defines the methods by which a fast tokenizer decodes. One that overrides them
# elsewhere has a rule of its own.
_TRANSFORMERS_DECODE = {
    "transformers.tokenization_utils_base",
    "transformers.tokenization_utils_fast",
    "transformers.tokenization_utils_tokenizers",
}

# The options of decode that run in C, for a tokenizer of transformers and for a raw one.
_KNOWN_OPTIONS = (
    # Only slow tokenizers use the last one; a fast one accepts it and ignores it.
    frozenset(
        {
            "skip_special_tokens",
            "clean_up_tokenization_spaces",
            "spaces_between_special_tokens",
        }
    ),
    frozenset({"skip_special_tokens"}),
)

# A text, and what the cleaning that runs in C makes of it.
_CLEANING = (
    " . a ? b ! c , d ' e n't f 'm g 's h 've i 're j do not k  . ' s ; ) % 'd 'll",
    ". a? b! c, d'en't f'm g's h've i're j do not k .'s ; ) % 'd 'll",
)

# From how many ids those are drawn on which a compiled rule is tried.
_LOOKED_AT = 1024

# The largest id that there can be.
MAX_ID = 2**31 - 1

_BYTE_TOKEN = re.compile(r"<0x(?:[0-9A-Fa-f]{2}|\+[0-9A-Fa-f])>")


class _Cached(NamedTuple):
    fingerprint: tuple[Any, ...]
    vocabulary: _core.Vocabulary | None


_cache: weakref.WeakKeyDictionary[Any, _Cached] = weakref.WeakKeyDictionary()

# The same for tokenizers that cannot be referred to weakly (those of older versions of the
# tokenizers library), by identity: the last few, which are thereby kept.
_kept: list[tuple[Any, _Cached]] = []
_KEPT = 8


def _cached(tokenizer: Any) -> _Cached | None:
    try:
        return _cache.get(tokenizer)
    except TypeError:
        return next((cached for kept, cached in _kept if kept is tokenizer), None)


def _remember(tokenizer: Any, cached: _Cached) -> None:
    try:
        _cache[tokenizer] = cached
    except TypeError:
        _kept[:] = [(tokenizer, cached), *(k for k in _kept if k[0] is not tokenizer)][:_KEPT]


def decoding_of(tokenizer: Any, decode_kwargs: dict[str, Any]) -> tuple[Source, bool]:
    """Say how to stream ``tokenizer.decode(ids, **decode_kwargs)``.

    :return: a vocabulary, or a window where the rule is not one that runs in C; and whether special
        tokens are skipped (in a window they are already).
    :raises TypeError: for what is no tokenizer, and for options that its kind does not have.
    """
    found = vocabulary_of(tokenizer)
    if found is not None:
        unknown = decode_kwargs.keys() - {"skip_special_tokens"}
        if unknown:
            raise TypeError(
                "decode options: expected skip_special_tokens alone for a "
                f"{type(tokenizer).__name__}, found {', '.join(sorted(unknown))}"
            )
        return found.vocabulary, bool(decode_kwargs.get("skip_special_tokens", found.skips))
    if not callable(getattr(tokenizer, "decode", None)):
        raise TypeError(
            "tokenizer: expected a tokenizer (an object with a decode method), a path or a list of "
            f"bytes, found {type(tokenizer).__name__}"
        )
    _check_options(tokenizer, decode_kwargs)
    raw = _is_raw(tokenizer)
    # tokenizers.Tokenizer.decode skips special tokens unless told otherwise, transformers does not.
    skip = bool(decode_kwargs.get("skip_special_tokens", raw))
    backend = tokenizer if raw else _backend(tokenizer)
    cleans_up = not raw and _cleans_up(tokenizer, decode_kwargs)
    if (
        backend is not None
        and not decode_kwargs.keys() - _KNOWN_OPTIONS[raw]
        and not (cleans_up and _cleaned(tokenizer) != _CLEANING)
    ):
        vocabulary = _vocabulary(tokenizer, backend)
        if vocabulary is not None:
            return vocabulary.cleaned_up() if cleans_up else vocabulary, skip
    return _window(tokenizer, decode_kwargs, raw, skip, cleans_up), skip


def _check_options(tokenizer: Any, decode_kwargs: dict[str, Any]) -> None:
    """Raise TypeError for an option that the tokenizer's decode says it does not have."""
    try:
        parameters = inspect.signature(tokenizer.decode).parameters.values()
    except (TypeError, ValueError):  # it does not say what it has
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty]
    unknown = sorted(decode_kwargs.keys() - {*known})
    if unknown:
        raise TypeError(
            f"decode options: expected those of {type(tokenizer).__name__}.decode "
            f"({', '.join(known) or 'none'}), found {', '.join(unknown)}"
        )


def _is_raw(tokenizer: Any) -> bool:
    return any(c.__module__ == "tokenizers" and c.__name__ == "Tokenizer" for c in _mro(tokenizer))


def _mro(thing: Any) -> tuple[type, ...]:
    return type(thing).__mro__


def _backend(tokenizer: Any) -> Any | None:
    """The ``tokenizers.Tokenizer`` that decodes for a fast tokenizer of transformers; else None."""
    for name in ("decode", "_decode"):
        owner = next((c for c in _mro(tokenizer) if name in vars(c)), None)
        if owner is None or owner.__module__ not in _TRANSFORMERS_DECODE:
            return None
        if name in getattr(tokenizer, "__dict__", {}):
            return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend if backend is not None and _is_raw(backend) else None


def _cleaned(tokenizer: Any) -> tuple[str, str] | None:
    """What the tokenizer's own cleaning makes of a text that every rule applies to."""
    try:
        return _CLEANING[0], tokenizer.clean_up_tokenization(_CLEANING[0])
    except Exception:  # it has none, or one of its own
        return None


def _cleans_up(tokenizer: Any, decode_kwargs: dict[str, Any]) -> bool:
    wanted = decode_kwargs.get("clean_up_tokenization_spaces")
    if wanted is None:
        wanted = getattr(tokenizer, "clean_up_tokenization_spaces", False)
    # From transformers 5 on, a fast BPE tokenizer cleans up only where this attribute is set, too.
    forced = getattr(
        tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", None
    )
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if forced is False and type(model).__name__ == "BPE":
        return False
    return bool(wanted)


# ---- compiling ---------------------------------------------------------------------------------


def _vocabulary(tokenizer: Any, backend: Any) -> _core.Vocabulary | None:
    """The compiled vocabulary of a tokenizer, made once; None where it cannot be compiled."""
    added = backend.get_added_tokens_decoder()
    state = b"" if backend.decoder is None else bytes(backend.decoder.__getstate__())
    fingerprint = (
        state,
        backend.get_vocab_size(with_added_tokens=True),
        tuple(_spelled(backend, added).items()),
        _special_texts(added),
    )
    cached = _cached(tokenizer)
    if cached is not None and cached.fingerprint == fingerprint:
        return cached.vocabulary

    vocabulary = None
    decoder = json.loads(state) if state else None
    steps = [] if decoder is None else _steps(decoder)
    if steps is not None:
        vocabulary = _compile(backend, steps, " " if decoder is None else None, added)
    _remember(tokenizer, _Cached(fingerprint, vocabulary))
    return vocabulary


def _steps(decoder: dict[str, Any]) -> list[Step] | None:
    """The steps of a decoder, as it stands in ``tokenizer.json``; None where one is unknown."""
    if decoder["type"] != "Sequence":
        step = _step(decoder)
        return None if step is None else [step]
    steps: list[Step] = []
    for inner in decoder["decoders"]:
        more = _steps(inner)
        if more is None:
            return None
        steps += more
    return steps


def _step(decoder: dict[str, Any]) -> Step | None:
    kind = decoder["type"]
    if kind in PLAIN_STEPS:
        return (PLAIN_STEPS[kind],)
    if kind == "Replace":
        pattern = decoder["pattern"]
        text = pattern["String"] if "String" in pattern else literal_of(pattern["Regex"])
        return None if text is None else ("replace", text, decoder["content"])
    if kind == "Strip":
        return ("strip", decoder["content"], None, decoder["start"], decoder["stop"])
    if kind == "Metaspace":
        prepends = decoder["prepend_scheme"] != "never"
        return ("metaspace", decoder["replacement"], None, 0, 0, prepends)
    if kind == "WordPiece":
        return ("wordpiece", decoder["prefix"], None, 0, 0, decoder["cleanup"])
    if kind == "BPEDecoder":
        return ("bpe", decoder["suffix"])
    if kind == "CTC":
        delimiter = decoder["word_delimiter_token"]
        return ("ctc", decoder["pad_token"], delimiter, 0, 0, decoder["cleanup"])
    return None


def _spelled(backend: Any, added: dict[int, Any]) -> dict[int, str]:
    """Added tokens as decode spells them: where they are normalized, not as they were added."""
    return {i: backend.id_to_token(i) for i in added}


def _texts(backend: Any, added: dict[int, Any]) -> dict[int, str]:
    """The text of each id, as decode returns it, where there are gaps between the ids. (Of a piece
    that a Unigram model has twice, the vocabulary has one id alone.)"""
    ids = range(backend.get_vocab_size(with_added_tokens=True))
    texts = {i: text for i, text in zip(ids, map(backend.id_to_token, ids)) if text is not None}
    texts.update((i, token) for token, i in backend.get_vocab(with_added_tokens=True).items())
    texts.update(_spelled(backend, added))
    return texts


def _special_texts(added: dict[int, Any]) -> frozenset[str]:
    """By what the tokenizers library tells special tokens when it decodes: text, not ids."""
    return frozenset(token.content for token in added.values() if token.special)


def _compile(
    backend: Any, steps: list[Step], join: str | None, added: dict[int, Any]
) -> _core.Vocabulary | None:
    special = _special_texts(added)
    size = backend.get_vocab_size(with_added_tokens=True)
    vocabulary = None
    ids: Collection[int] = range(size)
    text_of: Callable[[int], str] = backend.id_to_token
    try:
        # To ask for each is quicker than the vocabulary as a whole, which is from text to id.
        if backend.id_to_token(size) is None and max(added, default=0) < size:
            vocabulary = _core.Vocabulary.ask(steps, text_of, size, special, join)
        if vocabulary is None:
            texts = _texts(backend, added)
            ids, text_of = texts, texts.__getitem__
            known = map(special.__contains__, texts.values())
            vocabulary = _core.Vocabulary(
                steps, texts, list(itertools.compress(texts, known)), join
            )
    except (NotImplementedError, OverflowError, ValueError):
        # Steps that cannot be streamed, or ids, tokens or numbers beyond what the C side accepts.
        return None
    return vocabulary if _agrees(vocabulary, backend, ids, text_of, list(added)) else None


def _agrees(
    vocabulary: _core.Vocabulary,
    backend: Any,
    known: Collection[int],
    text_of: Callable[[int], str],
    specials: list[int],
) -> bool:
    """Hold the compiled rule against the tokenizer itself, so that a version of the library with
    another rule costs speed, not text."""
    import random  # here: it brings four modules, and only this needs it

    rng = random.Random(20261123)
    # A malformed run of byte tokens is where they differ by design.
    some = rng.sample(list(known), min(len(known), _LOOKED_AT))
    ids = [i for i in some if not _BYTE_TOKEN.fullmatch(text_of(i))]
    if not ids:
        return False
    for n in range(32):
        sample = rng.choices(ids, k=16) + rng.choices(specials, k=2 if specials else 0)
        rng.shuffle(sample)
        skip = n % 2 == 0
        detokenizer = _core.Detokenizer(vocabulary, skip)
        text = "".join([detokenizer.push(i) for i in sample]) + detokenizer.finish()
        if text != _decoded(backend, sample, skip):
            return False
    return True


def _decoded(backend: Any, ids: list[int], skip: bool) -> str | None:
    """What the tokenizer decodes; None where it gives up, as some decoders do on some ids."""
    try:
        return str(backend.decode(ids, skip_special_tokens=skip))
    except Exception:
        return None
    except BaseException as error:
        # A panic of the library's Rust code is none of Python's Exceptions.
        if type(error).__name__ != "PanicException":
            raise
        return None


# ---- the other way -----------------------------------------------------------------------------


def _window(
    tokenizer: Any, decode_kwargs: dict[str, Any], raw: bool, skip: bool, cleans_up: bool
) -> Window:
    decode: Callable[[list[int]], str] = lambda ids: tokenizer.decode(ids, **decode_kwargs)  # noqa: E731
    backend = tokenizer if raw else _backend(tokenizer)
    special: dict[int, str] = {}
    dropped: frozenset[int] = frozenset()
    if skip and backend is not None:
        added = backend.get_added_tokens_decoder()
        texts = _special_texts(added)
        special = {i: text for i, text in _spelled(backend, added).items() if text in texts}
        dropped = frozenset(special)
    elif skip:
        special = _said_to_be_special(tokenizer)
    # The decoders of the tokenizers library count nothing and take nothing back.
    return Window(
        decode,
        dropped=dropped,
        special=special,
        cleans_up=cleans_up,
        counts=backend is None,
        late=backend is None and _takes_back(tokenizer, decode, cleans_up),
    )


# Of vocabularies that are larger, no decoder is known that takes text back.
_TRIED = 300_000

_late: weakref.WeakKeyDictionary[Any, tuple[int, bool]] = weakref.WeakKeyDictionary()


def _takes_back(tokenizer: Any, decode: Callable[[list[int]], str], cleans_up: bool) -> bool:
    """Whether decode changes text that it has made, as :func:`takes_back` finds out once."""
    try:
        size = len(tokenizer)
        if size > _TRIED or cleans_up:
            return False
        found = _late.get(tokenizer)
        if found is None or found[0] != size:
            found = size, takes_back(decode, tokenizer.get_vocab())
            _late[tokenizer] = found
        return found[1]
    except Exception:  # it has no such methods, or does not decode just any ids
        return False


def _said_to_be_special(tokenizer: Any) -> dict[int, str]:
    """The special tokens of a tokenizer that decodes by itself, as far as it names them."""
    try:
        special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens))
        for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items():
            if token.special:
                special[i] = token.content
    except Exception:  # it has no such attributes, or others by these names
        return {}
    return {i: str(text) for i, text in special.items() if isinstance(i, int)}


def enders_of(
    source: Source, skip: bool, stop: tuple[str, ...], eos: Iterable[int] = ()
) -> tuple[tuple[int, int], ...]:
    """The tokens with which a text ends: special ones that are left out and whose text is a stop
    string, with its index among these; and ends of sequence, with -1."""
    found = source.stop_tokens(stop) if stop and skip else []
    return (*found, *((i, -1) for i in eos if 0 <= i <= MAX_ID))
