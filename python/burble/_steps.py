# SPDX-License-Identifier: MIT
"""What the decoders of Hugging Face are called as steps."""

from __future__ import annotations

import re
from typing import Any

# A step as _core.Vocabulary takes it: name, text, with, start, stop, flag, or fewer of these.
Step = tuple[Any, ...]

# Decoders without members.
PLAIN_STEPS = {"ByteLevel": "byte_level", "ByteFallback": "byte_fallback", "Fuse": "fuse"}

# What an expression has operators of, and those in it that are escaped, and so plain.
_OPERATOR = re.compile(r"[\\^$.|?*+()\[\]{}]")
_ESCAPED = re.compile(r"\\([\\^$.|?*+()\[\]{}])")


def literal_of(regex: str) -> str | None:
    """The only string that a regular expression matches, if it is that plain.

    The same rule as in ``src/text/load_pattern.c``.
    """
    if not regex or _OPERATOR.search(_ESCAPED.sub("", regex)):
        return None
    return _ESCAPED.sub(r"\1", regex)
