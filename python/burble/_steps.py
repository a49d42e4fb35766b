# SPDX-License-Identifier: MIT
"""What the decoders in a ``tokenizer.json`` are called as steps, wherever they are read."""

from __future__ import annotations

import re
from typing import Any

# A step as _core.Vocabulary takes it: name, text, with, start, stop, flag, or fewer of these.
Step = tuple[Any, ...]

# Decoders without members.
PLAIN_STEPS = {"ByteLevel": "byte_level", "ByteFallback": "byte_fallback", "Fuse": "fuse"}

# A regular expression without operators, and the characters in it that only an escape makes plain.
_PLAIN_REGEX = re.compile(r"(?:[^\\^$.|?*+()\[\]{}]|\\[\\^$.|?*+()\[\]{}])+")
_ESCAPED = re.compile(r"\\(.)")


def literal_of(regex: str) -> str | None:
    """The only string that a regular expression matches, if it is that plain."""
    if not _PLAIN_REGEX.fullmatch(regex):
        return None
    return _ESCAPED.sub(r"\1", regex)
