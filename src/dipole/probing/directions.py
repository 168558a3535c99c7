"""Directions that tell two sets of activations apart: pure functions in float64, no model.

Pairs are rows: row i of `claim` and row i of `against` come from one prompt, with a pole and its opposite in
front. Every direction points from `against` to `claim`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dipole.probing.logistic import logistic

Form = Literal["midpoint", "shuffled"]


class Direction(NamedTuple):
    """A direction with its size.

    Attributes:
        vector: `(width,)` float64; its norm is the distance of the two means along it, so that adding it once
            moves the mean of one side as far as the other side's is.
        sign: -1 where the method found it the other way round, and it was turned.
    """

    vector: Tensor
    sign: int


def mean_difference(claim: Tensor, against: Tensor) -> Direction:
    """Mean of the claim's activations less that of the others' (Panickssery 2023, eq. 1).

    Args:
        claim: `(pairs, width)`.
        against: `(pairs, width)`.
    """
    return Direction(claim.double().mean(0) - against.double().mean(0), 1)


def principal_direction(claim: Tensor, against: Tensor, form: Form = "midpoint", seed: int = 0) -> Direction:
    """First principal component of the pairs' differences (LAT, Zou 2023, section 3.1).

    Differences all taken in one order and centred lose their mean, which is the signal; both forms here keep
    it.

    Args:
        claim: `(pairs, width)`.
        against: `(pairs, width)`.
        form: `midpoint` takes each pair's midpoint away and stacks both halves; `shuffled` turns each
            difference round by the throw of a coin, then centres, as published.
        seed: Of the coin.
    """
    difference = claim.double() - against.double()
    if form == "midpoint":
        rows = torch.cat([difference, -difference]) / 2  # their mean is 0 already
    else:
        coin = torch.randint(0, 2, (len(difference),), generator=torch.Generator().manual_seed(seed))
        rows = difference * (2.0 * coin[:, None] - 1.0)
        rows = rows - rows.mean(0)
    return _oriented(torch.linalg.svd(rows, full_matrices=False).Vh[0], difference)


def probe_direction(claim: Tensor, against: Tensor, ridge: float = 1.0) -> Direction:
    """The weights of a logistic regression that tells the two sides apart, as a direction.

    Args:
        claim: `(pairs, width)`.
        against: `(pairs, width)`.
        ridge: As in `logistic`.
    """
    probe = logistic(*labelled(claim, against), ridge)
    return _oriented(probe.weight / probe.weight.norm(), claim.double() - against.double())


def labelled(claim: Tensor, against: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of both sides with their labels, 1 for the claim."""
    rows = torch.cat([claim.double(), against.double()])
    return rows, torch.cat([torch.ones(len(claim)), torch.zeros(len(against))]).double()


def _oriented(unit: Tensor, difference: Tensor) -> Direction:
    """Turned towards the claim by the majority of pairs, ties by the mean margin."""
    margins = difference @ unit
    votes = float(torch.sign(margins).sum()) or float(margins.sum())
    sign = -1 if votes < 0 else 1
    return Direction(unit * sign * abs(float(margins.mean())), sign)


def pairwise_accuracy(direction: Tensor, claim: Tensor, against: Tensor) -> float:
    """Share of pairs whose claim lies further along the direction; half of the ties count."""
    margins = (claim.double() - against.double()) @ direction.double()
    return float(((margins > 0).double() + 0.5 * (margins == 0).double()).mean())
