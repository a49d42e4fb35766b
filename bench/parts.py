# SPDX-License-Identifier: MIT
"""The benchmarks, by name: how each is run, in full and quickly, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import detokenize
import generate
import handoff
import put
import streams
import vocabulary
import wakeup
import worst
from report import Measured, Outcome

import models


class Part(NamedTuple):
    """One benchmark."""

    measure: Callable[[bool], Measured]  # whether quickly
    outcome: Callable[[Measured], Outcome]


def parts(tokenizer: Path) -> Mapping[str, Part]:
    """Return all of them; ``tokenizer`` is the one of `put`. Even a quick run has the six rounds
    that an interval needs, where a round does not take long."""
    return {
        "put": Part(
            lambda quick: put.measure(models.load_tokenizer(tokenizer), n_rounds=3 if quick else 9),
            put.outcome,
        ),
        "handoff": Part(
            lambda quick: handoff.measure(
                models.load_tokenizer(tokenizer),
                n_rounds=6 if quick else 21,
                ours=100_000 if quick else 200_000,
                theirs=10_000 if quick else 20_000,
            ),
            handoff.outcome,
        ),
        "generate": Part(
            lambda quick: generate.measure(
                n_rounds=6 if quick else 31, tokens=64 if quick else 256
            ),
            generate.outcome,
        ),
        "streams": Part(
            lambda quick: streams.measure(n_rounds=2 if quick else 7, steps=50 if quick else 100),
            streams.outcome,
        ),
        "detokenize": Part(
            lambda quick: detokenize.measure(n_rounds=3 if quick else 11), detokenize.outcome
        ),
        "vocabulary": Part(
            lambda quick: vocabulary.measure(n_rounds=3 if quick else 7), vocabulary.outcome
        ),
        "worst": Part(lambda quick: worst.measure(n_rounds=2 if quick else 7), worst.outcome),
        "wakeup": Part(lambda quick: wakeup.measure(n_rounds=6 if quick else 21), wakeup.outcome),
    }


def names() -> tuple[str, ...]:
    """Return their names, in their order."""
    return tuple(parts(models.SHAKESPEARE))


def outcomes(found: Mapping[str, Measured]) -> dict[str, Outcome]:
    """Return what all that was measured says."""
    known = parts(models.SHAKESPEARE)
    return {name: part.outcome(found[name]) for name, part in known.items() if name in found}
