# SPDX-License-Identifier: MIT
"""JSON for the loaders of vocabularies: what jansson accepts in the C library, and nothing else.

``src/text/load_json.h`` says which texts those are. The rest of it (how deep values are nested,
surrogates, NUL in a key) is checked in C.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

# The longest integer of 64 bits, in characters.
_INTEGER_MAX = 20


def decode(text: bytes) -> Any:
    """The value of a JSON text.

    :raises ValueError: says where it is none.
    """
    try:
        return _DECODER.decode(text.decode())
    except UnicodeDecodeError as error:
        found = text[error.start]
        raise ValueError(f"byte {error.start}: expected UTF-8, found {found:#04x}") from None
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{position}: expected JSON: {error.msg}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs) if pairs else {}  # dict([]) takes 232 bytes in Python 3.9 and 3.10
    if len(members) < len(pairs):
        known: set[str] = set()
        twice = next(key for key, _ in pairs if key in known or known.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"expected each key once in an object, found {_shown(twice)} twice")
    return members


def _integer(text: str) -> int:
    if len(text) <= _INTEGER_MAX:
        value = int(text)
        if -(1 << 63) <= value < 1 << 63:
            return value
    raise ValueError(f"expected integers of 64 bits, found {_shown(text)}")


def _real(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"expected numbers of a double, found {_shown(text)}")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"expected JSON, found {name}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_real, parse_constant=_constant
)
