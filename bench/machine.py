# SPDX-License-Identifier: MIT
"""What the figures were measured with, and on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

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


def describe() -> dict[str, str]:
    """Return the machine and the versions, as they are printed first."""
    return {
        "when": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {_cores()} usable, load {load()}",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {_threads()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "commit": _commit(),
    }


def version(package: str) -> str:
    """Return a package's version, or ``(not installed)``."""
    if package == "burble":
        import burble

        return burble.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def load() -> str:
    """Return how busy the machine is: the average number of running tasks in the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).resolve().parent
    try:
        return subprocess.check_output(
            command, cwd=folder, text=True, stderr=subprocess.DEVNULL
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


def _threads() -> str:
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return f"{'with' if enabled else 'without'} the GIL"
