"""The arithmetic of proximal policy optimisation: rewards, advantages, losses; no model in sight."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Advantages(NamedTuple):
    """Generalised advantage estimates and the returns that the value head learns, both `(rows, tokens)`."""

    advantages: Tensor
    returns: Tensor


def shaped_rewards(
    scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """Reward of each token: -kl_coef * (log pi - log ref), plus the score on the last real token.

    Ziegler et al. 2019, eq. 2. Rows are right-aligned, so the last real token is the last column.

    Args:
        scores: `(rows,)` reward of each text.
        logprobs: `(rows, tokens)` nats under the policy that sampled.
        ref_logprobs: `(rows, tokens)` nats under the reference.
        mask: `(rows, tokens)` 1 on response tokens.
        kl_coef: Price of one nat.
    """
    rewards = -kl_coef * (logprobs - ref_logprobs) * mask
    last = torch.zeros_like(rewards)
    last[:, -1] = 1.0
    return rewards + scores[:, None] * last * mask


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Advantages:
    """Generalised advantage estimation (Schulman 2016, eq. 16) over right-aligned rows.

    Returns are `advantage + value`, taken before any whitening.

    Args:
        rewards: `(rows, tokens)`.
        values: `(rows, tokens)` value of the state before each token.
        mask: `(rows, tokens)` 1 on response tokens; the columns before them carry nothing.
        gamma: Discount.
        lam: Trade of bias for variance.
    """
    advantages = torch.zeros_like(rewards)
    carried = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(carried)
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        carried = (delta + gamma * lam * carried) * mask[:, t]
        advantages[:, t] = carried
        next_value = values[:, t] * mask[:, t]
    return Advantages(advantages, (advantages + values) * mask)


def whiten(values: Tensor, mask: Tensor, min_std: float = 0.0) -> Tensor:
    """Zero mean and unit variance over the real tokens of the whole batch; zero on padding.

    Args:
        values: `(rows, tokens)`.
        mask: `(rows, tokens)` 1 on response tokens.
        min_std: The divisor is at least this, so that what is nearly constant is not blown up.
    """
    count = mask.sum().clamp(min=1)
    mean = (values * mask).sum() / count
    variance = ((values - mean).square() * mask).sum() / count
    return (values - mean) * torch.rsqrt(variance.clamp(min=min_std**2) + 1e-8) * mask


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """Clipped surrogate (Schulman 2017, eq. 7), negated and summed over response tokens."""
    ratio = ((logprobs - old_logprobs) * mask).exp()
    worst = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    return (worst * mask).sum()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Half the squared error with the value clipped around the old one, summed over response tokens."""
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    worst = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * (worst * mask).sum()


def adapt_kl_coef(kl_coef: float, kl: float, target: float, horizon: float, n: int) -> float:
    """Proportional controller of the price of KL (Ziegler 2019, section 2.2).

    Args:
        kl_coef: Price so far.
        kl: Mean KL to the reference, nats a sequence.
        target: Wanted KL, nats a sequence.
        horizon: Samples over which the price may change by a fifth or so.
        n: Samples since the last call.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * n / horizon)
