"""Distinct n-grams, repeated claims and self-repetition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dipole.effects import Change
from dipole.evaluation.meters.protocol import Meter, Quantity, Subject, made
from dipole.evaluation.side_effects import (
    contains_claim,
    paired_distinct,
    paired_distinct_left_out,
    repeated_words,
)
from dipole.evaluation.statistics import Resampling, jackknife_interval
from dipole.protocols import LM
from dipole.types import Sample

_GRAMS = {1: "words", 2: "word pairs"}


def meters(subject: Subject) -> list[Meter]:
    """Of the words that completions are made of; the side effects that a reader sees first."""
    claim = subject.dipole.claim
    return [
        *(meter for n in _GRAMS for meter in distinct(n)),
        Quantity(
            "repeated_claim_rate", "completions that hold the claim word for word", "share", "lower",
            lambda _, samples: [contains_claim(s.text, claim) for s in samples],
        ),
        Quantity(
            "self_repetition", "word triples repeated within a completion", "share", "lower",
            lambda _, samples: [repeated_words(s.text) for s in samples],
        ),
    ]  # fmt: skip


def distinct(n: int) -> list[Meter]:
    """Distinct n-grams per n-gram of words, at equal numbers of completions and of n-grams, and the quotient.

    The set with more n-grams is rarefied to the size of the other, so longer completions are not called
    less varied. Intervals are jackknifed over pairs of completions.
    """

    def levels(own: Meter, before: NDArray[Any], after: NDArray[Any], _: Resampling) -> Change:
        (old, new), left_out = _distinct(before, after, n)
        parts = (
            jackknife_interval(old, left_out[:, 0]),
            jackknife_interval(new, left_out[:, 1]),
            jackknife_interval(new - old, left_out[:, 1] - left_out[:, 0]),
        )
        return made(own, *parts, n=len(before))

    def ratio(own: Meter, before: NDArray[Any], after: NDArray[Any], _: Resampling) -> Change:
        (old, new), left_out = _distinct(before, after, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotients = left_out[:, 1] / left_out[:, 0]
        value = jackknife_interval(new / old if old > 0 else math.nan, quotients, positive=True)
        return made(own, None, value, None, n=len(before))

    name, grams = f"distinct_{n}", f"distinct {_GRAMS[n]}"
    return [
        Quantity(name, f"{grams} per {_GRAMS[n][:-1]}", "", "none", _texts, pair=levels),
        Quantity(f"{name}_ratio", f"{grams}, over before", "ratio", "none", _texts, pair=ratio),
    ]


def _texts(_: LM, samples: Sequence[Sample]) -> NDArray[Any]:
    return np.array([s.text for s in samples], dtype=object)


def _distinct(
    before: NDArray[Any], after: NDArray[Any], n: int
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    old, new = before.tolist(), after.tolist()
    return paired_distinct(old, new, n), paired_distinct_left_out(old, new, n)
