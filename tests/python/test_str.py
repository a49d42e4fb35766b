# SPDX-License-Identifier: MIT
"""The strs that text becomes are those that Python makes of it, down to how they are kept."""

from __future__ import annotations

import sys

import pytest

import burble

# Where the number of bytes in UTF-8 or in a str changes, and the ends of what is no character.
ENDS = "\x00\x7f\x80\xff\u0100\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"


def through_a_stream(text: str) -> list[str]:
    writer, stream = burble.channel()
    writer.put_text(text)
    writer.end()
    return list(stream)


@pytest.mark.parametrize("before", ["", "a", "é", "中", "😀"], ids=ascii)
@pytest.mark.parametrize("character", ENDS, ids=ascii)
def test_text_of_any_length_in_any_script_is_str(character: str, before: str) -> None:
    for n in range(1, 70):  # short ones and long ones
        text = before + n * character
        fresh = text.encode().decode()
        (found,) = through_a_stream(text)
        assert found == fresh
        assert sys.getsizeof(found) == sys.getsizeof(fresh)


def test_characters_of_mixed_widths_are_str() -> None:
    for i, first in enumerate(ENDS):
        for second in ENDS[i:]:
            for text in (first + second, second + first, "ab" + second + first + "cd"):
                assert through_a_stream(text) == [text]


def test_every_character_is_str() -> None:
    """Alone and between others."""
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    writer, stream = burble.channel(max_lag=None)
    for i in range(0, len(every), 10):
        writer.put_text("".join(every[i : i + 10]))
    writer.end()
    assert "".join(stream) == "".join(every)
