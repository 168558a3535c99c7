"""Dipoles that nobody asked to move: how far they moved all the same."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.concepts.text import same_pole
from dipole.effects import Bystander, Change, Interval
from dipole.evaluation.meters import score_samples, side_of
from dipole.evaluation.statistics import interval, mean_interval, quotient, resampling
from dipole.lm import LM, sample_seed
from dipole.protocols import Recognizer
from dipole.types import Sample


class Watched(NamedTuple):
    """One bystander dipole with its paired completions.

    Attributes:
        dipole: The bystander.
        before: Completions of the LM before.
        after: Completions of the LM after, by the same prompts and seeds.
        prompts: Index of the prompt of each pair.
    """

    dipole: Dipole
    before: list[Sample]
    after: list[Sample]
    prompts: list[int]


def bystanders_of(dipole: Dipole, candidates: Sequence[Dipole]) -> tuple[list[Dipole], int]:
    """The candidates that can be watched, and how many had to be left out for want of prompts.

    The dipole itself, either way round, is no bystander of its own.
    """
    own = {same_pole(dipole.claim), same_pole(dipole.against)}
    others = [d for d in candidates if {same_pole(d.claim), same_pole(d.against)} != own]
    usable = [d for d in others if d.held_out or d.prompts]
    return usable, len(others) - len(usable)


def watch(
    before: LM,
    after: LM,
    dipoles: Sequence[Dipole],
    n: int = 32,
    seed: int = 0,
    max_new_tokens: int = 28,
    batch_size: int = 64,
) -> list[Watched]:
    """Continue every bystander's own prompts with both LMs, in one call each, from common random numbers.

    Args:
        before: The LM before.
        after: The LM after.
        dipoles: Dipoles with prompts of their own.
        n: Completions a dipole, spread over its prompts.
        seed: The seeds of a dipole come from this and its poles, not from which other dipoles are watched.
        max_new_tokens: Token budget.
        batch_size: Rows a forward.
    """
    prompts: list[str] = []
    seeds: list[int] = []
    indices: list[list[int]] = []
    for dipole in dipoles:
        own = list(dipole.held_out or dipole.prompts)
        own_seed = sample_seed(seed, zlib.crc32(f"{dipole.claim}\n{dipole.against}".encode()), 1)
        indices.append([k % len(own) for k in range(n)])
        prompts.extend(own[k % len(own)] for k in range(n))
        seeds.extend(sample_seed(own_seed, k % len(own), k // len(own)) for k in range(n))
    drawn = [lm.sample(prompts, seeds, max_new_tokens, batch_size=batch_size) for lm in (before, after)]
    return [
        Watched(dipole, drawn[0][i * n : (i + 1) * n], drawn[1][i * n : (i + 1) * n], indices[i])
        for i, dipole in enumerate(dipoles)
    ]


def bystander_effects(
    watched: Sequence[Watched], judge: Recognizer, seed: int
) -> tuple[list[Bystander], list[Change]]:
    """Shift of each bystander in probability, and what they come to together.

    Args:
        watched: Bystanders with their completions.
        judge: Scores them; VELMA judged by the base as a rule.
        seed: Seed of the bootstrap.
    """
    if not watched:
        return [], []
    effects, shifts, errors, mentions = [], [], [], []
    pairs = unscored = 0
    for w in watched:
        scores = score_samples(judge, [*w.before, *w.after], w.dipole)
        probabilities = np.array([score.probability for score in scores])
        before, after = probabilities[: len(w.before)], probabilities[len(w.before) :]
        difference = after - before
        scored = ~np.isnan(difference)
        pairs, unscored = pairs + int(scored.sum()), unscored + int((~scored).sum())
        shift = mean_interval(difference, resampling(w.prompts, seed))
        effects.append(Bystander(w.dipole.label, _mean(before[scored]), _mean(after[scored]), shift))
        shifts.append(shift.mean)
        errors.append(_standard_error(difference[scored]))
        mentions.append(_mention_shift(w))
    return effects, _totals(np.array(shifts), np.array(errors), np.array(mentions), pairs, unscored, seed)


def _totals(
    shifts: NDArray[np.float64],
    errors: NDArray[np.float64],
    mentions: NDArray[np.float64],
    pairs: int,
    unscored: int,
    seed: int,
) -> list[Change]:
    # Dipoles are the units here, and each stands for itself: no groups.
    plan = resampling([0] * len(shifts), seed)
    floor = _mean(errors[~np.isnan(errors)]) * math.sqrt(2 / math.pi)

    def change(name: str, label: str, unit: str, value: Interval) -> Change:
        return Change(name, label, unit, None, value, None, False, pairs, unscored)

    changes = [
        change(
            "mean_bystander_shift",
            "mean size of a bystander's shift",
            "probability",
            mean_interval(np.abs(shifts), plan),
        ),
        change(
            "mean_bystander_shift_signed",
            "mean shift of the bystanders, with its sign",
            "probability",
            mean_interval(shifts, plan),
        ),
        change(
            "bystander_noise_floor",
            "mean size of shift that sampling alone would show",
            "probability",
            Interval(floor, math.nan, math.nan),
        ),
    ]
    if not np.isnan(mentions).all():
        columns = np.stack([np.nan_to_num(np.abs(mentions)), ~np.isnan(mentions)], axis=1)
        value = interval(columns, quotient, plan)
        label = "mean size of a bystander's shift in claim share less counterclaim share"
        changes.append(change("mean_bystander_mention_shift", label, "share", value))
    return changes


def _mention_shift(watched: Watched) -> float:
    """Change of (share on the claim's side - share on the other); NaN where no completion names either."""
    worth = {"claim": 1.0, "against": -1.0}
    sides = [[side_of(watched.dipole, s) for s in part] for part in (watched.before, watched.after)]
    if not any(side for part in sides for side in part):
        return math.nan
    lean = [_mean(np.array([worth.get(side or "", 0.0) for side in part])) for part in sides]
    return lean[1] - lean[0]


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
