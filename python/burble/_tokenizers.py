# SPDX-License-Identifier: MIT
"""What a tokenizer says of itself, compiled into a vocabulary where its rule is known."""

from __future__ import annotations

import contextlib
import json
import random
import re
import weakref
from typing import Any, Callable, Literal, NamedTuple, Union

from . import _core
from ._window import Window

Source = Union[_core.Vocabulary, Window]

# Where transformers defines the methods by which a fast tokenizer decodes. One that overrides them
# elsewhere has a rule of its own.
_TRANSFORMERS_DECODE = {
    "transformers.tokenization_utils_base",
    "transformers.tokenization_utils_fast",
    "transformers.tokenization_utils_tokenizers",
}

_BYTE_TOKEN = re.compile(r"<0x(?:[0-9A-Fa-f]{2}|\+[0-9A-Fa-f])>")


class _Rule(NamedTuple):
    """The decoders that the C side knows."""

    decoder: Literal["byte_level", "byte_fallback"]
    strip_left: int


class _Cached(NamedTuple):
    fingerprint: tuple[Any, ...]
    vocabulary: _core.Vocabulary | None


_cache: weakref.WeakKeyDictionary[Any, _Cached] = weakref.WeakKeyDictionary()


def decoding_of(tokenizer: Any, decode_kwargs: dict[str, Any]) -> tuple[Source, bool]:
    """Say how to stream ``tokenizer.decode(ids, **decode_kwargs)``.

    :return: a vocabulary, or a window where the rule is not one that runs in C; and whether special
        tokens are skipped (in a window they are already).
    :raises TypeError: for what is no tokenizer.
    """
    if not callable(getattr(tokenizer, "decode", None)):
        raise TypeError(
            "tokenizer: expected a tokenizer of transformers or a tokenizers.Tokenizer (an object "
            f"with a decode method), found {type(tokenizer).__name__}"
        )
    raw = _is_raw(tokenizer)
    # tokenizers.Tokenizer.decode skips special tokens unless told otherwise, transformers does not.
    skip = bool(decode_kwargs.get("skip_special_tokens", raw))
    backend = tokenizer if raw else _backend(tokenizer)
    if backend is not None and _options_are_plain(tokenizer, backend, raw, decode_kwargs):
        vocabulary = _vocabulary(tokenizer, backend)
        if vocabulary is not None:
            return vocabulary, skip
    return _window(tokenizer, decode_kwargs, raw, skip), skip


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


def _options_are_plain(
    tokenizer: Any, backend: Any, raw: bool, decode_kwargs: dict[str, Any]
) -> bool:
    """Whether nothing but ``skip_special_tokens`` changes what decode returns."""
    if raw:
        return not decode_kwargs.keys() - {"skip_special_tokens"}
    if decode_kwargs.keys() - {"skip_special_tokens", "clean_up_tokenization_spaces"}:
        return False
    return not _cleans_up(tokenizer, backend, decode_kwargs)


def _cleans_up(tokenizer: Any, backend: Any, decode_kwargs: dict[str, Any]) -> bool:
    wanted = decode_kwargs.get("clean_up_tokenization_spaces")
    if wanted is None:
        wanted = getattr(tokenizer, "clean_up_tokenization_spaces", False)
    # From transformers 5 on, a fast BPE tokenizer cleans up only where this attribute is set, too.
    forced = getattr(
        tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", None
    )
    if forced is False and backend is not None and type(backend.model).__name__ == "BPE":
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
        frozenset(_special_texts(added)),
    )
    try:
        cached = _cache.get(tokenizer)
    except TypeError:  # not to be referred to weakly, or not hashable
        cached = None
    if cached is not None and cached.fingerprint == fingerprint:
        return cached.vocabulary

    vocabulary = None
    rule = _rule(json.loads(state)) if state else None
    if rule is not None:
        vocabulary = _compile(backend, rule, added)
    with contextlib.suppress(TypeError):
        _cache[tokenizer] = _Cached(fingerprint, vocabulary)
    return vocabulary


def _rule(decoder: dict[str, Any]) -> _Rule | None:
    """Recognise a decoder, as it stands in ``tokenizer.json``."""
    if decoder["type"] == "ByteLevel":
        return _Rule("byte_level", 0)
    if decoder["type"] != "Sequence":
        return None
    steps = decoder["decoders"]
    if [step["type"] for step in steps[:3]] != ["Replace", "ByteFallback", "Fuse"]:
        return None
    if (
        steps[0]["pattern"] != {"String": "\N{LOWER ONE EIGHTH BLOCK}"}
        or steps[0]["content"] != " "
    ):
        return None
    if len(steps) == 3:
        return _Rule("byte_fallback", 0)
    strip = steps[3]
    if len(steps) == 4 and strip["type"] == "Strip" and strip["content"] == " ":
        return _Rule("byte_fallback", strip["start"]) if strip["stop"] == 0 else None
    return None


def _spelled(backend: Any, added: dict[int, Any]) -> dict[int, str]:
    """Added tokens as decode spells them: where they are normalized, not as they were added."""
    return {i: backend.id_to_token(i) for i in added}


def _special_texts(added: dict[int, Any]) -> set[str]:
    """By what the tokenizers library tells special tokens when it decodes: text, not ids."""
    return {token.content for token in added.values() if token.special}


def _compile(backend: Any, rule: _Rule, added: dict[int, Any]) -> _core.Vocabulary | None:
    tokens = backend.get_vocab(with_added_tokens=True)
    spelled = _spelled(backend, added)
    special = _special_texts(added)
    try:
        vocabulary = _core.Vocabulary(
            rule.decoder,
            tokens,
            spelled,
            [i for token, i in tokens.items() if spelled.get(i, token) in special]
            + [i for i, token in spelled.items() if token in special],
            rule.strip_left,
        )
    except ValueError:  # ids or tokens beyond what the C side accepts
        return None
    return vocabulary if _agrees(vocabulary, backend, tokens, added) else None


def _agrees(
    vocabulary: _core.Vocabulary, backend: Any, tokens: dict[str, int], added: dict[int, Any]
) -> bool:
    """Hold the compiled rule against the tokenizer itself, so that a version of the library with
    another rule costs speed, not text."""
    # A malformed run of byte tokens is where they differ by design.
    ids = [i for token, i in tokens.items() if not _BYTE_TOKEN.fullmatch(token)]
    if not ids:
        return False
    rng = random.Random(20261123)
    specials = list(added)
    for n in range(32):
        sample = rng.choices(ids, k=16) + rng.choices(specials, k=2 if specials else 0)
        rng.shuffle(sample)
        skip = n % 2 == 0
        detokenizer = _core.Detokenizer(vocabulary, skip)
        text = "".join([detokenizer.push(i) for i in sample]) + detokenizer.finish()
        if text != backend.decode(sample, skip_special_tokens=skip):
            return False
    return True


# ---- the other way -----------------------------------------------------------------------------


def _window(tokenizer: Any, decode_kwargs: dict[str, Any], raw: bool, skip: bool) -> Window:
    decode: Callable[[list[int]], str] = lambda ids: tokenizer.decode(ids, **decode_kwargs)  # noqa: E731
    backend = tokenizer if raw else _backend(tokenizer)
    dropped: frozenset[int] = frozenset()
    if skip and backend is not None:
        added = backend.get_added_tokens_decoder()
        special = _special_texts(added)
        dropped = frozenset(i for i, text in _spelled(backend, added).items() if text in special)
    cleans = not raw and _cleans_up(
        tokenizer, getattr(tokenizer, "backend_tokenizer", None), decode_kwargs
    )
    return Window(decode, dropped=dropped, cleans_up=cleans)
