# SPDX-License-Identifier: MIT
"""What a normalizer of Hugging Face's tokenizers makes of a text, as far as added tokens need it.

The rules are those of the ``normalizers`` of the tokenizers library; see ``src/text/normalize.c``.
"""

from __future__ import annotations

import base64
import functools
import json
import struct
import unicodedata
from typing import Any

from ._steps import literal_of

# A text that is longer than this, in bytes, is no token (BURBLE_VOCAB_MAX_TOKEN).
_LONGEST = 1 << 16

# Expressions that match nothing but white space.
_FOR_SPACES = {r"\s", r"\s+", r"\s{2,}", " +", " {2,}"}

# What Rust takes for white space.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def normalized(normalizer: Any, text: str) -> str:
    """What the normalizer, as it stands in a ``tokenizer.json``, makes of a text.

    :raises ValueError: where that is not known.
    """
    if normalizer is None:
        return text
    try:
        return _normalized(normalizer, text)
    except (AttributeError, IndexError, KeyError, TypeError, RecursionError, struct.error):
        shown = json.dumps(normalizer)[:100]
        raise ValueError(f"expected a normalizer that is whole, found {shown}") from None


def _normalized(normalizer: dict[str, Any], text: str) -> str:
    kind = normalizer["type"]
    if kind == "Sequence":
        for inner in normalizer["normalizers"]:
            text = _normalized(inner, text)
        return text
    if kind == "Prepend":
        prepend: str = normalizer["prepend"]
        return prepend + text if text else text
    if kind == "Replace":
        return _replaced(normalizer, text)
    if kind == "Strip":
        text = text.lstrip(_WHITE_SPACE) if normalizer["strip_left"] else text
        return text.rstrip(_WHITE_SPACE) if normalizer["strip_right"] else text
    if kind == "Lowercase":
        return "".join([c.lower() for c in text])
    if kind == "StripAccents":
        return "".join([c for c in text if not unicodedata.category(c).startswith("M")])
    if kind in ("NFC", "NFD", "NFKC", "NFKD"):
        return unicodedata.normalize(kind, text)
    if _is_printable_ascii(text):
        if kind == "BertNormalizer":
            return text.lower() if normalizer["lowercase"] else text
        if kind == "Nmt":
            return text
        if kind == "Precompiled" and not _keys(normalizer["precompiled_charsmap"]) & {*text}:
            return text
    return _refuse(kind, text)


def _refuse(kind: str, text: str) -> str:
    raise ValueError(f'the normalizer "{kind}" of {json.dumps(text)}, which is normalized')


def _is_printable_ascii(text: str) -> bool:
    return all(" " <= c <= "~" for c in text)


def _replaced(normalizer: dict[str, Any], text: str) -> str:
    pattern = normalizer["pattern"]
    content: str = normalizer["content"]
    regex = pattern.get("Regex")
    old = pattern["String"] if regex is None else literal_of(regex)
    if old:
        # Before it is made: a few steps that each make more of it would take all memory.
        if len(text) + text.count(old) * (len(content) - len(old)) > _LONGEST:
            raise ValueError(f"expected at most {_LONGEST} bytes after the normalizer, found more")
        return text.replace(old, content)
    if regex in _FOR_SPACES and _is_printable_ascii(text) and " " not in text:
        return text
    return _refuse("Replace", text)


@functools.lru_cache(maxsize=8)
def _keys(charsmap: str) -> frozenset[str]:
    """The ASCII characters that the table of a Precompiled has something else for.

    The table begins with a trie, a double array as Darts-clone writes it.
    """
    data = base64.b64decode(charsmap)
    (size,) = struct.unpack_from("<I", data)
    units = struct.unpack_from(f"<{size // 4}I", data, 4)
    root = units[0] >> 10 << ((units[0] & 1 << 9) >> 6)
    keys = set()
    for byte in range(1, 0x80):
        unit = units[root ^ byte] if root ^ byte < len(units) else 0
        if unit & (1 << 31 | 0xFF) == byte and unit & 1 << 8:
            keys.add(chr(byte))
    return frozenset(keys)
