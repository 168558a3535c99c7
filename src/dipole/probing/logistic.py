"""Logistic regression with a ridge, by Newton's method in float64: the one solver behind every probe."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

_NEWTON_STEPS = 100
_CONVERGED = 1e-10
_CONSTANT = 1e-9  # a column that varies less than this share of the widest one is rounding
_INTERCEPT = 1e-6  # a ridge of its own, so that labels all on one side leave it finite


class Logistic(NamedTuple):
    """A fitted logistic regression: log-odds in nats are `rows @ weight + bias`.

    Attributes:
        weight: `(width,)` float64.
        bias: Nats.
    """

    weight: Tensor
    bias: float

    def log_odds(self, rows: Tensor) -> Tensor:
        """Log-odds in nats of each row, `(rows,)` float64."""
        return rows.double() @ self.weight + self.bias


def logistic(
    rows: Tensor,
    targets: Tensor,
    ridge: float = 1.0,
    *,
    standardise: bool = False,
    weights: Tensor | None = None,
) -> Logistic:
    """Minimise the sum of cross-entropies `+ ridge/2 |w|²`, the intercept free.

    Rows are centred and divided first, so that `ridge` means the same for every layer and model: all columns
    by the rows' root mean square norm, or each by its own standard deviation. The cost grows with the square
    of the number of rows or of the width, whichever is less, times the other.

    Args:
        rows: `(n, width)`.
        targets: `(n,)` in [0, 1]; numbers between are soft labels.
        ridge: Above 0.
        standardise: Divide each column by its own standard deviation.
        weights: `(n,)` what the cross-entropy of each row counts; 1 without.

    Returns:
        Weights and bias for rows as they came.
    """
    rows, targets = rows.double(), targets.double()
    centre = rows.mean(0)
    x = rows - centre
    spread = x.square().mean(0).sqrt() if standardise else (x.norm() / len(x) ** 0.5).expand(x.shape[1])
    spread = torch.where(spread > _CONSTANT * spread.max(), spread, 1.0)
    x, basis = x / spread, None
    if x.shape[1] > len(x):
        # the ridge keeps the weights in the span of the rows, so coordinates in it give the same for less
        basis = torch.linalg.qr(x.T).Q
        x = x @ basis
    counts = targets.new_ones(len(targets)) if weights is None else weights.double()
    found = _minimised(torch.cat([x, x.new_ones(len(x), 1)], dim=1), targets, ridge, counts)
    weight = (found[:-1] if basis is None else basis @ found[:-1]) / spread
    return Logistic(weight, float(found[-1] - centre @ weight))


def _minimised(x: Tensor, targets: Tensor, ridge: float, counts: Tensor) -> Tensor:
    """Weights of the columns, the intercept last: Newton steps, halved until the loss falls."""
    penalty = torch.full((x.shape[1],), ridge, dtype=x.dtype)
    penalty[-1] = _INTERCEPT
    found = x.new_zeros(x.shape[1])
    loss = _loss(x, targets, penalty, found, counts)
    for _ in range(_NEWTON_STEPS):
        p = (x @ found).sigmoid()
        slope = x.T @ (counts * (p - targets)) + penalty * found
        curvature = (x.T * (counts * (p * (1 - p)))) @ x + torch.diag(penalty)
        step, size = torch.linalg.solve(curvature, slope), 1.0
        while (lower := _loss(x, targets, penalty, found - size * step, counts)) > loss and size > _CONVERGED:
            size /= 2
        if lower > loss:
            break
        found, fell = found - size * step, loss - lower
        loss = lower
        if fell <= _CONVERGED * (1 + loss):
            break
    return found


def _loss(x: Tensor, targets: Tensor, penalty: Tensor, weight: Tensor, counts: Tensor) -> float:
    f = x @ weight
    return float((counts * (softplus(f) - targets * f)).sum() + (penalty * weight.square()).sum() / 2)
