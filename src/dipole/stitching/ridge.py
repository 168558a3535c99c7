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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
        add_shared((self,), x, (y,), weights)


def add_shared(
    moments: Sequence[Moments], x: Tensor, outputs: Iterable[Tensor], weights: Tensor | None = None
) -> None:
    """Take in rows that several moments have in common but for y; they then hold one X'X between them.

    Args:
        moments: At least one; what they took in before must have been the same x and weights, by this.
        x: `(rows, source width)`.
        outputs: For each of the moments `(rows, target width)`; one at a time is held.
        weights: As for `Moments.add`.
    """
    x = x.double()
    w = x.new_ones(len(x)) if weights is None else weights.double()
    first, more = moments[0], float(w.sum())
    before, total = first.weight, first.weight + more
    n, squares = first.n + len(x), first.squares + float((w**2).sum())
    mean_x, xx = first.mean_x, first.xx
    if more > 0.0:
        if not before:
            mean_x, xx = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1], x.shape[1])
        mean = w @ x / more
        centred, step, between = x - mean, mean - mean_x, before * more / total
        weighted = (centred * w[:, None]).T
        xx += weighted @ centred + between * torch.outer(step, step)
        mean_x = mean_x + step * (more / total)
    for own, y in zip(moments, outputs, strict=True):
        if len(x) != len(y):
            raise ValueError(f"{len(x)} source rows cannot be paired with {len(y)} target rows.")
        own.n, own.weight, own.squares, own.mean_x, own.xx = n, total, squares, mean_x, xx
        if more > 0.0:
            _add_output(own, y.double(), weighted, w, step, before)


def _add_output(own: Moments, y: Tensor, weighted: Tensor, w: Tensor, step: Tensor, before: float) -> None:
    more = float(w.sum())
    if not before:
        own.mean_y, own.yy = y.new_zeros(y.shape[1]), y.new_zeros(y.shape[1])
        own.xy = y.new_zeros(len(step), y.shape[1])
    mean, between = w @ y / more, before * more / (before + more)
    centred, move = y - mean, mean - own.mean_y
    own.xy += weighted @ centred + between * torch.outer(step, move)
    own.yy += w @ centred**2 + between * move**2
    own.mean_y = own.mean_y + move * (more / (before + more))


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


class Spectrum(NamedTuple):
    """The eigendecomposition of X'X, which moments that share it need but once.

    Attributes:
        values: `(source width,)`, none negative.
        basis: `(source width, source width)`, an eigenvector a column.
    """

    values: Tensor
    basis: Tensor


def spectrum_of(moments: Moments) -> Spectrum:
    """Decompose the X'X of some moments.

    Raises:
        UserError: There are fewer than two rows, or they are not finite.
    """
    _check(moments)
    values, basis = torch.linalg.eigh(moments.xx)
    return Spectrum(values.clamp(min=0.0), basis)


def solve(moments: Moments, penalty: float = 0.0) -> Map:
    """The ridge map of some moments.

    Args:
        moments: Over the rows to fit on.
        penalty: Lambda in units of the mean eigenvalue of X'X; with 0 and fewer independent rows than the
            width, the smallest of the exact solutions.

    Raises:
        UserError: As for `spectrum_of`.
    """
    return next(solve_all(moments, (penalty,)))


def solve_all(
    moments: Moments, penalties: Sequence[float], spectrum: Spectrum | None = None
) -> Iterator[Map]:
    """`solve` for several penalties, one map at a time, with one decomposition of X'X."""
    _check(moments)
    values, basis = spectrum or spectrum_of(moments)
    projected = basis.T @ moments.xy
    mean = float(values.mean())
    floor = float(values.max()) * len(values) * torch.finfo(torch.float64).eps
    for penalty in penalties:
        shifted = values + penalty * mean
        inverse = torch.where(shifted > floor, 1.0 / shifted.clamp(min=1e-300), torch.zeros_like(shifted))
        matrix = basis @ (inverse[:, None] * projected)
        yield Map(matrix, moments.mean_y - moments.mean_x @ matrix, penalty)


def _check(moments: Moments) -> None:
    if moments.n < 2 or not moments.weight:
        raise UserError(
            f"A map between two models needs many pairs of activations, and there are {moments.n}; give a "
            "larger corpus."
        )
    if not bool(moments.xx.isfinite().all()) or not bool(moments.yy.isfinite().all()):
        raise UserError(
            "Some activations are not finite, so no map can be fitted; load both models with dtype='float32'."
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


def choose(
    fit_on: Moments,
    choose_on: Moments,
    penalties: Sequence[float] = LAMBDAS,
    spectrum: Spectrum | None = None,
) -> Map:
    """The map of the penalty whose FVU on other documents is lowest; ties go to the larger penalty."""
    maps = solve_all(fit_on, penalties, spectrum)
    return min(maps, key=lambda made: (fvu(made, choose_on), -made.penalty))
