# SPDX-License-Identifier: MIT
"""The results of a run, the machine that they come from, and the file that keeps them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from benchmark import ROOT, Measured

PACKAGES = (
    "burble",
    "transformers",
    "tokenizers",
    "tiktoken",
    "torch",
    "janus",
    "culsans",
    "aiologic",
    "uvloop",
)
DIGITS = 5


@dataclass
class Results:
    """A run: its machine, and what each benchmark measured, by its name."""

    machine: Mapping[str, str]
    quick: bool = False
    parts: dict[str, Measured] = field(default_factory=dict)

    def add(self, name: str, measured: Measured) -> None:
        """Add what a benchmark measured, with as many digits as the file has."""
        samples = {
            key: [float(f"{value:.{DIGITS}g}") for value in values]
            for key, values in measured.samples.items()
        }
        self.parts[name] = Measured(samples, measured.facts)

    def write(self, path: Path) -> None:
        """Write all values, each list of them in one line."""
        parts = {
            name: {"facts": measured.facts, "samples": measured.samples}
            for name, measured in self.parts.items()
        }
        document = {"machine": self.machine, "quick": self.quick, "parts": parts}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Results:
        """Read what was written, in one file or several: of one benchmark, each has other values.
        The machine is that of the last one."""
        results = cls({})
        for path in paths:
            document = json.loads(path.read_text(encoding="utf-8"))
            results.machine = document["machine"]
            results.quick = results.quick or document["quick"]
            for name, part in document["parts"].items():
                found = results.parts.setdefault(name, Measured({}, part["facts"]))
                found.samples.update(part["samples"])
        return results


# ---- the machine ---------------------------------------------------------------------------------


def describe_machine() -> dict[str, str]:
    """Return the machine and the versions, as they are printed first."""
    gil = "with" if getattr(sys, "_is_gil_enabled", lambda: True)() else "without"
    return {
        "when": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {_cores()} usable, load {load()}",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {gil} the GIL",
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "commit": _commit(),
    }


def load() -> str:
    """Return the load of the machine: the average number of running tasks in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.check_output(
            command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return "(not a checkout)"


def _cores() -> str:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "1 core" if count == 1 else f"{count} cores"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
