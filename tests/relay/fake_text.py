# SPDX-License-Identifier: MIT
"""The text of fake_engine.c."""

from __future__ import annotations

MASK = 2**64 - 1
ENDS = (" ", " é ", "€ ", "😀 ", "\n", " - ")


def mix(x: int) -> int:
    """As the engine's: splitmix64."""
    x = x + 0x9E3779B97F4A7C15 & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def piece(seed: int, k: int) -> str:
    """Piece k of the answer with a seed."""
    h = mix(mix(seed) + k & MASK)
    return f"{k}:{h & 0xFFFFFFFF:08x}{ENDS[(h >> 32) % 6]}{'x' * ((h >> 40) % 48)}"


def text_of(seed: int, pieces: int) -> str:
    """A whole answer."""
    return "".join(piece(seed, k) for k in range(pieces))
