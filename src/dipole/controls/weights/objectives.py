"""Six losses of scored tokens (Korbak et al. 2023, section 2); no model is named here.

Every tensor is `(n,)` over tokens. `nll` is minus the log-probability of a token, in nats, and a reward is
the probability of the claim less 1, so from -1 (bad) to 0 (good), where the paper has minus a score of harm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_WEIGHT = 1000.0  # of a token, in AWR
_LEAST = 1e-20  # 1 - p is no smaller


def unlikelihood_loss(nll: Tensor, bad: Tensor, alpha: float) -> Tensor:
    """-log p of good tokens and -alpha log(1 - p) of bad ones (Welleck 2019, eq. 4), unsummed.

    Args:
        nll: Minus the log-probabilities.
        bad: Whether each is of a bad segment.
        alpha: Weight of the bad ones.
    """
    rest = -torch.expm1(-nll)  # 1 - p, exact where p is small
    return torch.where(bad, -alpha * rest.clamp(min=_LEAST).log(), nll)


def rwr_weights(rewards: Tensor, beta: float, mean: float | None = None) -> Tensor:
    """exp(R / beta) over its mean (Peters 2007): beta then changes who is learned, not how fast.

    Args:
        rewards: From -1 to 0.
        beta: The smaller, the more the best alone count.
        mean: Mean of exp(R / beta) over all tokens that are learned; by default over these.
    """
    weights = (rewards / beta).exp()
    return weights / (weights.mean() if mean is None else mean)


def awr_weights(rewards: Tensor, values: Tensor, beta: float) -> Tensor:
    """exp((R - V) / beta) without gradient, at most 1000 (Peng 2019)."""
    advantage: Tensor = (rewards - values).detach() / beta
    return advantage.clamp(max=math.log(MOST_WEIGHT)).exp()


def awr_loss(nll: Tensor, rewards: Tensor, values: Tensor, alpha: float, beta: float) -> Tensor:
    """Imitation and the value's error, alpha exp((R - V) / beta) (-log p) + (1 - alpha) (R - V)^2, unsummed.

    Args:
        nll: Minus the log-probabilities.
        rewards: From -1 to 0.
        values: What the value head expects in the state before each token.
        alpha: Weight of imitation; at 1 the value head gets no gradient.
        beta: As in RWR.
    """
    return alpha * awr_weights(rewards, values, beta) * nll + (1 - alpha) * (rewards - values) ** 2


def bounded_value(raw: Tensor) -> Tensor:
    """A value from -1 to 0; -0.5 of a head that is still 0."""
    return -raw.sigmoid()
