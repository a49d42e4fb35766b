# SPDX-License-Identifier: MIT
"""The file with all that was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from report import Measured

DIGITS = 5


@dataclass
class Results:
    """A run: what with, what on, and the values of each benchmark by its name."""

    machine: Mapping[str, str]
    quick: bool = False
    parts: dict[str, Measured] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write all values, a line for each list of them."""
        document = {
            "machine": self.machine,
            "quick": self.quick,
            "parts": {name: _as_dict(measured) for name, measured in self.parts.items()},
        }
        text = json.dumps(document, indent=1, ensure_ascii=False)
        text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what was written."""
        document = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: Measured(**part) for name, part in document["parts"].items()}
        return cls(document["machine"], document["quick"], parts)


def _as_dict(measured: Measured) -> dict[str, Any]:
    samples = {
        name: [float(f"{value:.{DIGITS}g}") for value in values]
        for name, values in measured.samples.items()
    }
    return {"facts": measured.facts, "samples": samples}
