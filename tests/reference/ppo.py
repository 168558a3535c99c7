"""PPO's formulas the slow and obvious way: Python floats, one response at a time, no padding anywhere.

Each response is a list of numbers, one a token; a batch is a list of responses of any lengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]
Ragged = Sequence[Row]


def shaped_rewards(score: float, logprobs: Row, ref_logprobs: Row, kl_coef: float) -> list[float]:
    """Ziegler 2019, eq. 2: the price of KL on each token, the score on the last one."""
    rewards = []
    for t, (logprob, ref) in enumerate(zip(logprobs, ref_logprobs, strict=True)):
        reward = -kl_coef * (logprob - ref)
        if t == len(logprobs) - 1:
            reward += score
        rewards.append(reward)
    return rewards


def advantages(rewards: Row, values: Row, gamma: float, lam: float) -> list[float]:
    """Schulman 2016, eq. 16, as the sum that it is: each later surprise, discounted."""
    n = len(rewards)
    surprises = []
    for t in range(n):
        following = values[t + 1] if t + 1 < n else 0.0
        surprises.append(rewards[t] + gamma * following - values[t])
    return [sum((gamma * lam) ** (later - t) * surprises[later] for later in range(t, n)) for t in range(n)]


def whiten(batch: Ragged) -> list[list[float]]:
    """Zero mean, unit population variance over all tokens of all rows."""
    flat = [value for row in batch for value in row]
    mean = sum(flat) / len(flat)
    variance = sum((value - mean) ** 2 for value in flat) / len(flat)
    return [[(value - mean) / math.sqrt(variance + 1e-8) for value in row] for row in batch]


def policy_loss(new: Ragged, old: Ragged, advantage: Ragged, clip: float) -> float:
    """Schulman 2017, eq. 7: minus the sum over tokens of the more pessimistic of the two surrogates."""
    total = 0.0
    for new_row, old_row, advantage_row in zip(new, old, advantage, strict=True):
        for new_logprob, old_logprob, a in zip(new_row, old_row, advantage_row, strict=True):
            ratio = math.exp(new_logprob - old_logprob)
            bounded = min(max(ratio, 1 - clip), 1 + clip)
            total -= min(ratio * a, bounded * a)
    return total


def value_loss(new: Ragged, old: Ragged, returns: Ragged, clip: float) -> float:
    """Half the worse of two squared errors, summed: the value, and the value kept near the old one."""
    total = 0.0
    for new_row, old_row, return_row in zip(new, old, returns, strict=True):
        for value, old_value, wanted in zip(new_row, old_row, return_row, strict=True):
            near = min(max(value, old_value - clip), old_value + clip)
            total += 0.5 * max((value - wanted) ** 2, (near - wanted) ** 2)
    return total


def adapt_kl_coef(kl_coef: float, kl: float, target: float, horizon: float, n: int) -> float:
    """Ziegler 2019, section 2.2."""
    error = kl / target - 1
    if error > 0.2:
        error = 0.2
    if error < -0.2:
        error = -0.2
    return kl_coef + kl_coef * error * n / horizon
