"""The linear map between two residual streams, by ridge regression on moments that are summed as rows come.

With centred rows X `(n, source width)` and Y `(n, target width)` the map is (recipe 2 (b) 4)

    A = (X'X + lambda I)^-1 X'Y,    b = mean_Y - mean_X A,

so a point goes to `x A + b`, and a vector, which is a difference of points, to `v A`: without b, because
`(x1 A + b) - (x0 A + b) = (x1 - x0) A`.

Departures from Bello et al. 2025 (arXiv:2506.00653): (1) the published formula adds the bias to vectors
too, which moves them all by one constant offset that looks like transfer; here it is left out. (2) The
optimum in closed form instead of AdamW. Everything is float64, and memory does not grow with the number of
rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dipole.types import UserError

LAMBDAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties that are tried, in units of the mean eigenvalue of X'X."""


def _empty() -> Tensor:
    return torch.zeros(0, dtype=torch.float64)


@dataclass(eq=False)
class Moments:
    """Running weighted sums over paired rows: weights, means, and centred products.

    Batches are merged by their own means (Chan, Golub and LeVeque 1979), so a large mean costs no digits.

    Attributes:
        n: How many rows so far.
        weight: Sum of their weights.
        squares: Sum of the squares of their weights.
        mean_x: `(source width,)`.
        mean_y: `(target width,)`.
        xx: `(source width, source width)` weighted sum of products of centred rows.
        xy: `(source width, target width)`.
        yy: `(target width,)` the diagonal alone; its sum is what FVU is measured against.
    """

    n: int = 0
    weight: float = 0.0
    squares: float = 0.0
    mean_x: Tensor = field(default_factory=_empty)
    mean_y: Tensor = field(default_factory=_empty)
    xx: Tensor = field(default_factory=_empty)
    xy: Tensor = field(default_factory=_empty)
    yy: Tensor = field(default_factory=_empty)

    @property
    def effective(self) -> float:
        """How many equally weighted rows would say as much (Kish 1965): `(sum w)² / sum w²`."""
        return self.weight**2 / self.squares if self.squares else 0.0

    def add(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Take in rows; nothing of them is kept.

        Args:
            x: `(rows, source width)`.
            y: `(rows, target width)`.
            weights: `(rows,)`, none negative; None for equal ones.
        """
        if len(x) != len(y):
            raise ValueError(f"{len(x)} source rows cannot be paired with {len(y)} target rows.")
        x, y = x.double(), y.double()
        w = x.new_ones(len(x)) if weights is None else weights.double()
        more = float(w.sum())
        self.n += len(x)
        self.squares += float((w**2).sum())
        if more <= 0.0:
            return
        if not self.weight:
            wide, tall = x.shape[1], y.shape[1]
            self.mean_x, self.mean_y, self.yy = x.new_zeros(wide), y.new_zeros(tall), y.new_zeros(tall)
            self.xx, self.xy = x.new_zeros(wide, wide), x.new_zeros(wide, tall)
        mean_x, mean_y = w @ x / more, w @ y / more
        cx, cy = x - mean_x, y - mean_y
        dx, dy = mean_x - self.mean_x, mean_y - self.mean_y
        total = self.weight + more
        between = self.weight * more / total
        weighted = (cx * w[:, None]).T
        self.xx += weighted @ cx + between * torch.outer(dx, dx)
        self.xy += weighted @ cy + between * torch.outer(dx, dy)
        self.yy += w @ cy**2 + between * dy**2
        self.mean_x = self.mean_x + dx * (more / total)
        self.mean_y = self.mean_y + dy * (more / total)
        self.weight = total


@dataclass(frozen=True, eq=False)
class Map:
    """An affine map between two residual streams.

    Attributes:
        matrix: `(source width, target width)` float64.
        bias: `(target width,)` float64.
        penalty: Lambda in units of the mean eigenvalue of X'X.
    """

    matrix: Tensor
    bias: Tensor
    penalty: float = 0.0

    def points(self, rows: Tensor) -> Tensor:
        """Where states of the source lie in the target: `x A + b`, float64."""
        mapped: Tensor = rows.double() @ self.matrix + self.bias
        return mapped

    def vectors(self, rows: Tensor) -> Tensor:
        """Where differences of states point in the target: `v A`, without the bias, float64."""
        mapped: Tensor = rows.double() @ self.matrix
        return mapped


def solve(moments: Moments, penalty: float = 0.0) -> Map:
    """The ridge map of some moments.

    Args:
        moments: Over the rows to fit on.
        penalty: Lambda in units of the mean eigenvalue of X'X; with 0 and fewer independent rows than the
            width, the smallest of the exact solutions.

    Raises:
        UserError: There are fewer than two rows, or they are not finite.
    """
    _check(moments)
    return next(iter(solve_all(moments, (penalty,))))


def solve_all(moments: Moments, penalties: Sequence[float]) -> list[Map]:
    """`solve` for several penalties, with one decomposition of X'X."""
    _check(moments)
    values, basis = torch.linalg.eigh(moments.xx)
    values = values.clamp(min=0.0)
    projected = basis.T @ moments.xy
    mean = float(values.mean())
    floor = float(values.max()) * len(values) * torch.finfo(torch.float64).eps
    found = []
    for penalty in penalties:
        shifted = values + penalty * mean
        inverse = torch.where(shifted > floor, 1.0 / shifted.clamp(min=1e-300), torch.zeros_like(shifted))
        matrix = basis @ (inverse[:, None] * projected)
        found.append(Map(matrix, moments.mean_y - moments.mean_x @ matrix, penalty))
    return found


def _check(moments: Moments) -> None:
    if moments.n < 2 or not moments.weight:
        raise UserError(
            f"A map between two models needs many pairs of activations, and there are {moments.n}; give a "
            "larger corpus."
        )
    if not bool(moments.xx.isfinite().all()) or not bool(moments.yy.isfinite().all()):
        raise UserError(
            "Some activations are not finite, so no map can be fitted; load both models with --dtype float32."
        )


def fvu(stitch: Map, moments: Moments) -> float:
    """Fraction of variance unexplained of a map, `|Y - (X A + b)|² / |Y - mean Y|²`, from moments alone.

    Args:
        stitch: The map.
        moments: Over rows that it may never have seen.

    Returns:
        0 for a perfect map, 1 for one as good as the mean of these rows; NaN where they do not vary.
    """
    variance = float(moments.yy.sum()) if moments.weight else 0.0
    if not moments.weight or variance <= 0.0:
        return math.nan
    a = stitch.matrix
    offset = moments.mean_y - moments.mean_x @ a - stitch.bias
    fitted = float(((moments.xx @ a) * a).sum())
    crossed = float((a * moments.xy).sum())
    return max(0.0, variance - 2 * crossed + fitted + moments.weight * float(offset @ offset)) / variance


def choose(fit_on: Moments, choose_on: Moments, penalties: Sequence[float] = LAMBDAS) -> Map:
    """The map of the penalty whose FVU on other documents is lowest; ties go to the larger penalty."""
    maps = solve_all(fit_on, penalties)
    return min(maps, key=lambda made: (fvu(made, choose_on), -made.penalty))
