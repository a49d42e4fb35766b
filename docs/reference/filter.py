# SPDX-License-Identifier: MIT
"""Turns the comments of burble's headers into those that Doxygen reads.

The headers are written for people: plain comments, results as a table. Doxygen wants marks. This
is its INPUT_FILTER: the header is the argument, what it shall read goes to standard output,
line for line, so that the places in its messages are right.
"""

from __future__ import annotations

import re
import sys

RESULT = re.compile(r"^( +\*) (BURBLE_[A-Z]+|another error)(?: {2,}(.+?))?( \*/)?$")
TAG = re.compile(r"<(?=/?\w+>)(?!burble/)")
TRAILING = re.compile(r"^(.*\S[;,)]?)\s+/\*( .*)$")


def filtered(text: str) -> list[str]:
    lines = []
    inside = False  # a comment that Doxygen is to read
    for number, line in enumerate(text.splitlines()):
        stripped = line.lstrip()
        if number == 0:
            line, inside = "/** @file", True
        elif stripped.startswith("/* ") and not stripped.startswith("/* ----"):
            line, inside = line.replace("/*", "/**", 1), True
        elif not inside and (trailing := TRAILING.match(line)) and "/* X(" not in line:
            line, inside = f"{trailing[1]} /**<{trailing[2]}", True
        elif inside and (result := RESULT.match(line)):
            name = result[2].replace(" ", "_")
            line = f"{result[1]} @retval {name} {result[3] or ''}{result[4] or ''}"
        if inside:
            line = TAG.sub(r"\<", line)
        if "*/" in line:
            inside = False
        lines.append(line)
    return lines


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as header:
        print("\n".join(filtered(header.read())))
