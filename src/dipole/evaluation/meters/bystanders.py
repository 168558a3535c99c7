"""Dipoles that nobody asked to move: how far they moved all the same."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dipole.concepts import Dipole
from dipole.concepts.text import same_pole
from dipole.effects import Bystander, Change, Interval
from dipole.evaluation.meters.protocol import Array, Judge
from dipole.evaluation.statistics import mean_interval, resampling
from dipole.protocols import LM
from dipole.types import Sample, sample_seed

_MANY = 4  # a small model spends most of a step on overhead that does not grow with the batch


@dataclass(frozen=True, eq=False)
class Watch:
    """Bystanders and what the LM before wrote to their own prompts.

    Attributes:
        dipoles: The bystanders.
        judge: Scores them; VELMA read by the base as a rule.
        indices: For each bystander the index of the prompt of each of its completions.
        before: Completions of the LM before, one bystander after another.
        seed: Seed of the bootstrap.
        max_new_tokens: Token budget of a completion.
        batch_size: Rows a forward.
    """

    dipoles: tuple[Dipole, ...]
    judge: Judge
    indices: tuple[tuple[int, ...], ...]
    before: tuple[Sample, ...]
    seed: int
    max_new_tokens: int
    batch_size: int

    def draw(self, lm: LM) -> list[list[Sample]]:
        """For each bystander the LM's completions, from the prompts and seeds of those before."""
        if not self.dipoles:
            return []
        prompts, seeds = [s.prompt for s in self.before], [s.seed for s in self.before]
        drawn = iter(lm.sample(prompts, seeds, self.max_new_tokens, batch_size=self.batch_size))
        return [[next(drawn) for _ in own] for own in self.indices]

    def effects(self, after: LM) -> tuple[list[Bystander], list[Change]]:
        """Shift of each bystander in probability under an LM, and what they come to together."""
        written, effects, rows = iter(self.before), [], []
        for dipole, prompts, new in zip(self.dipoles, self.indices, self.draw(after), strict=True):
            old = [next(written) for _ in new]
            scores = self.judge.score([*old, *new], dipole)
            was, now = np.array([score.probability for score in scores]).reshape(2, -1)
            moved = now - was
            scored = ~np.isnan(moved)
            shift = mean_interval(moved, resampling(prompts, self.seed))
            effects.append(Bystander(dipole.label, _mean(was[scored]), _mean(now[scored]), shift))
            error, lean = _standard_error(moved[scored]), _mention_shift(dipole, old, new)
            rows.append((shift.mean, error, lean, scored.sum(), (~scored).sum()))
        return effects, _totals(np.array(rows), self.seed) if rows else []


def watch(
    before: LM,
    dipoles: Sequence[Dipole],
    judge: Judge,
    n: int = 32,
    seed: int = 0,
    max_new_tokens: int = 28,
    batch_size: int = 64,
) -> Watch:
    """Continue every bystander's own prompts with the LM before, in one call.

    Args:
        before: The LM before.
        dipoles: Dipoles with prompts of their own.
        judge: Scores completions.
        n: Completions a dipole, spread over its prompts.
        seed: The seeds of a dipole come from this and its poles, not from which other dipoles are watched.
        max_new_tokens: Token budget.
        batch_size: Rows a forward, of which these short ones get four times as many.
    """
    prompts: list[str] = []
    seeds: list[int] = []
    indices: list[tuple[int, ...]] = []
    for other in dipoles:
        own = list(other.held_out or other.prompts)
        own_seed = sample_seed(seed, zlib.crc32(f"{other.claim}\n{other.against}".encode()), 1)
        indices.append(tuple(k % len(own) for k in range(n)))
        prompts.extend(own[k % len(own)] for k in range(n))
        seeds.extend(sample_seed(own_seed, k % len(own), k // len(own)) for k in range(n))
    rows = _MANY * batch_size
    drawn = before.sample(prompts, seeds, max_new_tokens, batch_size=rows) if dipoles else []
    return Watch(tuple(dipoles), judge, tuple(indices), tuple(drawn), seed, max_new_tokens, rows)


def bystanders_of(dipole: Dipole, candidates: Iterable[Dipole]) -> tuple[list[Dipole], int]:
    """The candidates that can be watched, and how many had to be left out for want of prompts.

    The dipole itself, either way round, is no bystander of its own.
    """
    own = {same_pole(dipole.claim), same_pole(dipole.against)}
    others = [d for d in candidates if {same_pole(d.claim), same_pole(d.against)} != own]
    usable = [d for d in others if d.held_out or d.prompts]
    return usable, len(others) - len(usable)


def _totals(rows: Array, seed: int) -> list[Change]:
    """What bystanders come to together.

    Args:
        rows: For each its shift, the shift's standard error, its shift in mentions, and how many pairs have a
            score and have none.
        seed: Seed of the bootstrap.
    """
    shifts, errors, mentions, pairs, unscored = rows.T
    # Dipoles are the units here, and each stands for itself: no groups.
    plan = resampling([0] * len(rows), seed)
    floor = _mean(errors[~np.isnan(errors)]) * math.sqrt(2 / math.pi)
    size, unit = "mean size of a bystander's shift", "probability"
    found = [
        ("mean_bystander_shift", size, unit, mean_interval(np.abs(shifts), plan)),
        (
            "mean_bystander_shift_signed", "mean shift of the bystanders, with its sign", unit,
            mean_interval(shifts, plan),
        ),
        (
            "bystander_noise_floor", "mean size of shift that sampling alone would show", unit,
            Interval(floor, math.nan, math.nan),
        ),
    ]  # fmt: skip
    if not np.isnan(mentions).all():
        label = f"{size} in claim share less counterclaim share"
        found.append(("mean_bystander_mention_shift", label, "share", mean_interval(np.abs(mentions), plan)))
    counts = int(pairs.sum()), int(unscored.sum())
    return [
        Change(name, label, unit, None, value, None, False, *counts) for name, label, unit, value in found
    ]


def _mention_shift(dipole: Dipole, before: Sequence[Sample], after: Sequence[Sample]) -> float:
    """Change of (share on the claim's side - share on the other); NaN where no completion names either."""
    worth = {"claim": 1.0, "against": -1.0}
    sides = [[dipole.side_taken(s.text) for s in part] for part in (before, after)]
    if not any(side for part in sides for side in part):
        return math.nan
    lean = [_mean(np.array([worth.get(side or "", 0.0) for side in part])) for part in sides]
    return lean[1] - lean[0]


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan
