"""The losses of ILQL (Snell et al. 2022, section 4), over actions; no model is named here.

Every tensor is `(n,)` over the actions of a batch, or `(heads, n)`; losses are unsummed. `live` is 1 where
the text goes on after the action and 0 where it was its last.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MOST_WEIGHT = 100.0


def standardised(rewards: Tensor) -> Tensor:
    """Rewards of all texts, with mean 0 and deviation 1: TD errors and CQL are then of one size."""
    return (rewards - rewards.mean()) / rewards.std(correction=0)


def td_targets(rewards: Tensor, next_values: Tensor, live: Tensor, gamma: float, lam: float = 0.0) -> Tensor:
    """What Q is drawn to: G = R + gamma ((1 - lam) V(s') + lam G') where the text goes on, R at its end.

    At `lam` 0 that is one step of the data and then V, as in the paper; at 1 it is what the text came to. No
    gradient reaches V.

    Args:
        rewards: `(n,)`, the actions of a text in their order, text after text.
        next_values: `(n,)` V of the state after each.
        live: `(n,)`.
        gamma: What a reward one action later is worth.
        lam: Share of what came of it.
    """
    found, later = [0.0] * len(rewards), 0.0
    columns = zip(rewards.tolist(), next_values.tolist(), live.tolist(), strict=True)
    for at, (reward, value, goes_on) in reversed([*enumerate(columns)]):
        later = reward + gamma * goes_on * ((1 - lam) * value + lam * later)
        found[at] = later
    return rewards.new_tensor(found)


def q_loss(q: Tensor, targets: Tensor) -> Tensor:
    """Squared TD errors, summed over the heads.

    Args:
        q: `(heads, n)` Q_i(s, a).
        targets: As `td_targets` gives them.
    """
    return (q - targets).square().sum(0)


def expectile_loss(values: Tensor, best: Tensor, tau: float) -> Tensor:
    """|tau - 1[u < 0]| u^2 with u = Q - V: at tau 1/2 half the squared error, towards 1 the best action's Q.

    Args:
        values: V(s).
        best: The smaller of the target heads' Q(s, a); no gradient reaches them.
        tau: The expectile.
    """
    u = best.detach() - values
    return torch.where(u < 0, 1 - tau, tau) * u.square()


def cql_loss(logprobs: Tensor) -> Tensor:
    """Cross-entropy with Q as logits, logsumexp Q_i(s, .) - Q_i(s, a), summed over the heads.

    Args:
        logprobs: `(heads, n)` log-softmax of Q_i(s, .) at a.
    """
    return -logprobs.sum(0)


def awac_weights(best: Tensor, values: Tensor, beta: float) -> Tensor:
    """exp(beta (Q - V)) without gradient, at most 100: how much a token is imitated; 1 at beta 0."""
    return (beta * (best - values).detach()).clamp(max=math.log(_MOST_WEIGHT)).exp()


@torch.no_grad()
def sync(target: Tensor, online: Tensor, alpha: float) -> None:
    """Move the target: alpha online + (1 - alpha) target."""
    target.lerp_(online, alpha)
