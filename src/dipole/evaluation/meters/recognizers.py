"""What recognizers say of prompts and completions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.effects import Change
from dipole.evaluation.meters.protocol import Array, Direction, Judge, Meter, Quantity, Subject, after_only
from dipole.evaluation.statistics import Resampling
from dipole.protocols import LM
from dipole.types import Sample, Score


def meters(subject: Subject) -> list[Meter]:
    """Mean probability and mean log-odds of every judge."""
    return [meter for judge in subject.judges for meter in scored(judge, subject.dipole)]


def scored(judge: Judge, dipole: Dipole) -> list[Meter]:
    """Mean probability and mean log-odds of one judge."""
    name, role = judge.recognizer.name, ", the reward itself" if judge.in_loop else ""

    def quantity(key: str, label: str, unit: str, value: Callable[[Score], float]) -> Quantity:
        def reading(_: LM, samples: Sequence[Sample]) -> list[float]:
            return [value(score) for score in judge.score(samples, dipole)]

        return Quantity(f"{name}_{key}", f"{name} {label}{role}", unit, "higher", reading, judge.in_loop)

    return [
        quantity("probability", "probability", "probability", lambda score: score.probability),
        quantity("log_odds", "log-odds", "nats", lambda score: score.value),
    ]


def ways(subject: Subject, tolerance: float) -> list[Meter]:
    """Shares of inputs that the first judge saw move against the sign of the strength, and with it.

    Args:
        subject: As for every family.
        tolerance: Probability by which an input must move to count at all.
    """
    judge = subject.judges[0]
    probability = scored(judge, subject.dipole)[0].measure

    def quantity(index: int, way: str, direction: Direction) -> Quantity:
        def pair(own: Meter, before: Array, after: Array, plan: Resampling) -> Change:
            return after_only(own, before, wrong_way(before, after, subject.strength, tolerance)[index], plan)

        seen = f"inputs that {judge.recognizer.name} saw move the {way} way"
        label = f"{seen} by more than {tolerance:g} in probability"
        return Quantity(f"{way}_way_share", label, "share", direction, probability, judge.in_loop, pair)

    return [quantity(0, "wrong", "lower"), quantity(1, "right", "higher")]


def wrong_way(
    before: Array, after: Array, strength: float, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Which inputs moved against the sign of the strength, and which with it.

    Args:
        before: `(units,)` VELMA's probability, which, unlike its log-odds, does not tell a text that takes
            the side for sure from one that takes it for surer.
        after: `(units,)` the same after.
        strength: Its sign says where the inputs should go.
        tolerance: Probability by which an input must move to count at all.

    Returns:
        `(units,)` 1 where it moved the wrong way, and the same for the right way; NaN where unscored.
    """
    moved = (after - before) * math.copysign(1.0, strength)
    unknown = np.isnan(moved)
    wrong, right = (np.where(unknown, math.nan, hits) for hits in (moved < -tolerance, moved > tolerance))
    return wrong, right
