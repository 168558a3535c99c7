"""A mixture of two Gaussians from a labelled start: what k-means would be with weights that are free."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Covariance = Literal["shared", "unit"]
_MOST_ROUNDS = 1000
_SETTLED = 1e-7
_RIDGE = 1e-3


class TwoClusters(NamedTuple):
    """The first cluster's log-odds are linear, because the two have one covariance.

    Attributes:
        share: Weight of the first cluster.
        weight: `(width,)` of its log-odds.
        bias: Of its log-odds, nats.
        rounds: How many times memberships were made anew.
        settled: Whether memberships had stopped moving.
    """

    share: float
    weight: Array
    bias: float
    rounds: int
    settled: bool

    def log_odds(self, rows: Array) -> Array:
        """`(n,)` nats."""
        odds: Array = rows @ self.weight + self.bias
        return odds


def free_weights_em(
    rows: Array, start: Array, covariance: Covariance = "shared", most_rounds: int = _MOST_ROUNDS
) -> TwoClusters:
    """Expectation maximisation from a start, with free weights (recipe 3, golden basin).

    k-means is the same with hard memberships and equal weights: at a small minority its boundary moves into
    the majority, where this one's goes to the Bayes boundary.

    Args:
        rows: `(n, width)`.
        start: `(n,)` probability of the first cluster, or labels; with some weight on both sides.
        covariance: `shared` is estimated from all rows, `unit` is the identity.
        most_rounds: Where it ends at the latest.
    """
    member = start.astype(np.float64)
    second = rows.T @ rows / len(rows)
    identity = np.eye(rows.shape[1])
    share, weight, bias = float(member.mean()), np.zeros(rows.shape[1]), 0.0
    rounds, moved = 0, 1.0
    # A cluster that has run empty has no mean: what came before stays.
    while rounds < most_rounds and moved >= _SETTLED and 1e-9 < member.mean() < 1 - 1e-9:
        share = float(member.mean())
        first, other = member @ rows / member.sum(), (1 - member) @ rows / (1 - member).sum()
        spread = identity
        if covariance == "shared":
            spread = second - share * np.outer(first, first) - (1 - share) * np.outer(other, other)
            spread = spread + _RIDGE * identity
        weight = np.linalg.solve(spread, first - other)
        bias = float(np.log(share / (1 - share)) - weight @ (first + other) / 2)
        new = 1 / (1 + np.exp(-np.clip(rows @ weight + bias, -500, 500)))
        moved = float(np.abs(new - member).mean())
        member, rounds = new, rounds + 1
    return TwoClusters(share, weight, bias, rounds, moved < _SETTLED)
