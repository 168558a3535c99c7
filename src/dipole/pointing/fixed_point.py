"""Relabel and refit until nothing changes: where a start converges to, and whether that is the notion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.probing.logistic import logistic

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
_MOST_ROUNDS = 50
_SETTLED = 1e-3


class FixedPoint(NamedTuple):
    """Where the iteration ended.

    Attributes:
        labels: `(n,)`.
        log_odds: `(n,)` of the last probe.
        weight: `(width,)` of the last probe.
        bias: Of the last probe, for features as they came.
        rounds: How many times labels were made anew.
        settled: Whether less than 0.1 % of them changed in the last round.
    """

    labels: Labels
    log_odds: Array
    weight: Array
    bias: float
    rounds: int
    settled: bool


def fixed_point(
    rows: Array,
    start: Labels,
    prior: float | None = None,
    keep: float = 1.0,
    penalty: float = 1.0,
    most_rounds: int = _MOST_ROUNDS,
) -> FixedPoint:
    """Self-training of a linear probe (recipe 3, algorithm D).

    With the class prior held, as many documents are positive in each round as at the start: hardened labels
    left to themselves amplify whatever imbalance there is.

    Args:
        rows: `(n, width)`.
        start: `(n,)` labels, of both classes.
        prior: Share of positives that is held; that of the start by default, nothing is held where it is NaN.
        keep: Share of the documents of each label, the surest ones, that the next probe is fitted on.
        penalty: Of the probe's squared weights.
        most_rounds: Where it ends at the latest.
    """
    labels = start
    share = float(start.mean()) if prior is None else prior
    surest = np.ones(len(rows), dtype=bool)
    rounds, changed, odds = 0, 1.0, np.zeros(len(rows))
    weight, bias = np.zeros(rows.shape[1]), 0.0
    while rounds < most_rounds and changed >= _SETTLED and 0 < labels[surest].sum() < surest.sum():
        weight, bias = _fit(rows[surest], labels[surest].astype(float), penalty)
        odds = rows @ weight + bias
        new = odds > (0.0 if np.isnan(share) else _cut(odds, share))
        changed = float((new != labels).mean())
        labels, rounds = new, rounds + 1
        surest = _surest(odds, labels, keep)
    return FixedPoint(labels, odds, weight, bias, rounds, changed < _SETTLED)


def _fit(rows: Array, targets: Array, penalty: float) -> tuple[Array, float]:
    weight, bias = logistic(torch.from_numpy(rows), torch.from_numpy(targets), penalty, standardise=True)
    return weight.numpy(), bias


def _cut(odds: Array, share: float) -> float:
    """Above it lie `share` of the documents."""
    positives = min(max(round(share * len(odds)), 0), len(odds))
    ordered = np.sort(odds)[::-1]
    return float(ordered[positives]) if positives < len(odds) else -np.inf


def _surest(odds: Array, labels: Labels, keep: float) -> Labels:
    """The share of each label that lies farthest from the other."""
    kept = np.ones(len(odds), dtype=bool)
    if keep >= 1:
        return kept
    for label in (True, False):
        of_label = np.flatnonzero(labels == label)
        if len(of_label):
            order = np.argsort(-odds[of_label] if label else odds[of_label], kind="stable")
            kept[of_label[order[max(1, round(keep * len(of_label))) :]]] = False
    return kept
