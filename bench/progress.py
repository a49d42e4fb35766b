# SPDX-License-Identifier: MIT
"""Rounds, counted on standard error while they last."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tqdm import tqdm  # comes with transformers


def rounds(n: int, name: str) -> Iterator[int]:
    """Yield ``range(n)``, shown as a bar; where it goes to a file, as a line every ten seconds."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    yield from tqdm(range(n), desc=name, unit="round", leave=False, mininterval=interval)
