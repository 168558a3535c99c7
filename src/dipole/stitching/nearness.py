"""Weights that make a map best where a vector was read and will act.

One linear map for all text must carry everything that a residual stream of the source says through a matrix
of its rank; a direction that is used at few positions, such as where a choice is made, is then mapped by
what the other positions do with it. So rows count by how near their *source* activation is to the
activations where the vector was read, the last tokens of some prompts (locally weighted regression;
Cleveland 1979):

    w = max(0, cos(W (h - mean), W (h_prompts - mean)))^p,    W'W = (covariance + ridge)^-1

The target, the poles and what steering does take no part in it. p is the largest that leaves as many
effective rows (Kish 1965) as the map needs, `ROWS_PER_WIDTH` a source dimension; 0 is the map for all text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

ROWS_PER_WIDTH = 10
"""Rows that a map needs for each dimension of the source (recipe 2 (d))."""
MOST = 16.0
BINS = 4096
_SHRINK = 1e-3
_STEPS = 40


@dataclass(frozen=True, eq=False)
class Nearness:
    """Weights of rows by their nearness to an anchor.

    Attributes:
        mean: `(source width,)` mean of the source's rows.
        probe: `(source width,)` the whitened anchor, carried back: `W'W anchor / |W anchor|`.
        whiten: `(source width, source width)` W'.
        power: p.
    """

    mean: Tensor
    probe: Tensor
    whiten: Tensor
    power: float

    def cosines(self, rows: Tensor) -> Tensor:
        """Cosine of each whitened row with the whitened anchor, `(rows,)`, negative ones as 0."""
        centred = rows.double() - self.mean
        norms = (centred @ self.whiten).norm(dim=1).clamp(min=1e-300)
        found: Tensor = (centred @ self.probe / norms).clamp(min=0.0)
        return found

    def weights(self, rows: Tensor) -> Tensor:
        """Weight of each row of source activations, `(rows,)` float64 from 0 to 1."""
        return self.cosines(rows) ** self.power


def near(mean: Tensor, covariance: Tensor, anchors: Tensor, power: float = 1.0) -> Nearness:
    """Nearness to the mean of some activations.

    Args:
        mean: `(source width,)`.
        covariance: `(source width, source width)`.
        anchors: `(anchors, source width)` activations where the vector was read.
        power: p.
    """
    wide = covariance.shape[0]
    ridge = _SHRINK * float(covariance.trace()) / wide
    values, basis = torch.linalg.eigh(covariance + ridge * torch.eye(wide, dtype=covariance.dtype))
    whiten = basis / values.clamp(min=1e-300).sqrt()
    anchor = (anchors.double().mean(0) - mean) @ whiten
    return Nearness(mean, whiten @ (anchor / anchor.norm().clamp(min=1e-300)), whiten, power)


@dataclass(eq=False)
class CosineCounts:
    """How often each cosine comes up, in bins, so that the effective rows under any power can be told.

    Attributes:
        rows: How many rows there were.
        counts: `(BINS,)` those above 0, in bins of equal width from 0 to 1.
    """

    rows: int = 0
    counts: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))

    def add(self, cosines: Tensor) -> None:
        """Count some rows."""
        self.rows += len(cosines)
        bins = (cosines[cosines > 0].double() * BINS).long().clamp(0, BINS - 1)
        self.counts += torch.bincount(bins, minlength=BINS)

    def effective(self, power: float) -> float:
        """Effective rows under the weights `cosine ** power`: `(sum w)² / sum w²` (Kish 1965)."""
        if power == 0.0:
            return float(self.rows)
        w = ((torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS) ** power
        squares = float(self.counts @ w**2)
        return float(self.counts @ w) ** 2 / squares if squares else 0.0

    def largest_power(self, wanted: float) -> float:
        """The largest p up to `MOST` that leaves so many effective rows; 0 where there are not so many."""
        if self.effective(0.0) < wanted:
            return 0.0
        low, high = 0.0, MOST
        for _ in range(_STEPS):  # fewer rows count as p grows
            middle = (low + high) / 2
            low, high = (middle, high) if self.effective(middle) >= wanted else (low, middle)
        return low
